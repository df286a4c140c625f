"""The bulk path of JSON Lines: a block of bytes → columns, with every row that is not proven in doubt.

**polars parses, this module proves.** polars' reader is strict on syntax, UTF-8, integers, booleans and
dictionary-coded texts: one wrong value fails the block, and then msgspec finds the lines to take out. It is
lenient in one thing only: a number, ``true`` or an object where a *text* is due becomes text. The parsed text
then looks like one (``17``, ``true``, ``{"a": 1}``), so only fields where some text does look like one are
searched for in the raw bytes. Texts that merely look like numbers (``"00417"`` in every row) thus cost one
search and stay in bulk.

Also in doubt: lines with escapes that could hide a field's name from that search or hold a lone surrogate, and
lines with brackets enough to nest too deep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import msgspec
import numpy as np
import polars as pl

from schemas.events import COUNT_MAX, FIELDS, NESTING_MAX, Kind, Type
from streams.columns import Booleans, Longs, Mask, Reading, any_of, epoch_us, read_columns, rows_with, times_us
from streams.json_lines import Lines, count_brackets, may_exceed

#: What polars makes of a number, a boolean, an array or an object where a text is due.
_LOOKS_LIKE_JSON = r"^(?:-?[0-9][0-9.]*$|true$|false$|[\[{])"
#: What it makes of an integer of more than 64 bits where a dictionary-coded text is due: its own notation.
_NUMBER_AS_WORD = "Static("
#: Escapes that matter: surrogates, and the letters that field names are made of.
_SUSPECT = rb"(?:[dD][89a-fA-F]|00(?:5[fF]|6[1-9a-fA-F]|7[0-9aA]))"
_HAS_SUSPECT_ESCAPE = re.compile(rb"\\u" + _SUSPECT)
#: All escapes one by one, so that an escaped backslash is never taken for the start of the next, and surrogates
#: that make a pair together; group 1: suspect.
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u" + _SUSPECT + rb")|.)", re.DOTALL
)
_ESCAPED_BACKSLASH = rb"\\(?:\\|u005[cC])"
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f]"
_BREAKS = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TEXTS_DECODER = msgspec.json.Decoder(list[dict[str, str]])
_TEXTS_ENCODER = msgspec.json.Encoder(order="sorted")
#: A failing part is halved until it is this small; then its lines go to the strict decoder.
_SMALLEST_PART = 32
#: So many rows cost the strict decoder less than a search through the block costs.
_FEW_ROWS = 256
_NO_RECORDS: Longs = np.zeros(0, dtype=np.int64)
#: The first event time is looked for in so many bytes.
_FIRST_BYTES = 4096
_TIME = re.compile(rb'"event_time"\s*+:\s*+(?:(-?[0-9])|")')
_TEXT_TIME = re.compile(rb'"event_time"\s*+:\s*+"')
#: (``read_columns(kind)``, doubt)
_Read = tuple[pl.DataFrame, Mask]


def read_json(data: bytes, kind: Kind, *, max_record_bytes: int) -> Reading:
    """One row per line that polars takes; the others have none."""
    lines = Lines(data)
    time_type = _time_type(data)
    if not may_exceed(data, max_record_bytes):
        whole = _read(lines, kind, time_type)
        if whole is None and time_type == pl.Int64 and _TEXT_TIME.search(data):
            time_type = pl.String()
            whole = _read(lines, kind, time_type)
        if whole is not None:
            return Reading(*whole, None, whole[0].height, lines.take)
    starts, ends = lines.bounds
    records = np.flatnonzero(ends - starts <= max_record_bytes)
    frames, doubts, numbers = [pl.DataFrame(schema=read_columns(kind))], [any_of([], 0)], [_NO_RECORDS]
    for part, (frame, doubt) in _read_around(lines, records, kind, time_type):
        frames.append(frame)
        doubts.append(doubt)
        numbers.append(part)
    return Reading(pl.concat(frames), pl.concat(doubts), np.concatenate(numbers), len(lines), lines.take)


def _time_type(data: bytes) -> pl.DataType:
    """How to read ``event_time``: as integers if the first one is, for then polars itself is strict on them."""
    first = _TIME.search(data[:_FIRST_BYTES])
    return pl.Int64() if first and first[1] else pl.String()


def _read(lines: Lines, kind: Kind, time_type: pl.DataType) -> _Read | None:
    """None when polars does not take one of the lines."""
    try:
        frame = pl.read_ndjson(lines.data, schema=read_columns(kind) | {"event_time": time_type}, batch_size=4096)
    except pl.exceptions.PolarsError:
        return None
    return _prove(frame, lines, kind)


# --- around lines that polars does not take ---------------------------------------------------------------


def _read_around(lines: Lines, records: Longs, kind: Kind, time_type: pl.DataType) -> Iterator[tuple[Longs, _Read]]:
    """Takes lines out, by ever dearer means, until the rest can be read: (its records, what was read)."""
    reading = _read_some(lines, records, kind, time_type) if len(records) < len(lines) else None
    if reading is None:
        records = records[_well_typed(lines, records, kind, time_type)]
        reading = _read_some(lines, records, kind, time_type)
    if reading is not None:
        yield records, reading
    else:
        yield from _read_halves(lines, records, kind, time_type)


def _read_halves(lines: Lines, records: Longs, kind: Kind, time_type: pl.DataType) -> Iterator[tuple[Longs, _Read]]:
    if len(records) <= _SMALLEST_PART:
        return
    for half in np.array_split(records, 2):
        reading = _read_some(lines, half, kind, time_type)
        if reading is not None:
            yield half, reading
        else:
            yield from _read_halves(lines, half, kind, time_type)


def _read_some(lines: Lines, records: Longs, kind: Kind, time_type: pl.DataType) -> _Read | None:
    return _read(Lines(b"\n".join(lines.take(records))), kind, time_type)


def _well_typed(lines: Lines, records: Longs, kind: Kind, time_type: pl.DataType) -> Booleans:
    """Records that msgspec takes with the types on which polars is strict.

    Line by line, about a microsecond each: the one way to tell the bad lines of a block from the good ones.
    """
    decoder = _line_decoder(kind, time_type)
    return np.array([_is_taken(decoder, line) for line in lines.take(records)], dtype=np.bool_)


def _is_taken(decoder: msgspec.json.Decoder[Any], line: bytes) -> bool:
    try:
        decoder.decode(line)
        return line.isascii() or bool(line.decode("utf-8"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


@cache
def _line_decoder(kind: Kind, time_type: pl.DataType) -> msgspec.json.Decoder[Any]:
    types: dict[Type, Any] = {
        Type.TIME: int | None if time_type == pl.Int64 else Any,
        Type.COUNT: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)] | None,
        Type.FLAG: bool | None,
        Type.IDS: list[Any] | None,
        **dict.fromkeys((Type.WORD, Type.CHOICE, Type.CURRENCY), str | None),
    }
    members = [(field.name, types[field.type], None) for field in FIELDS[kind] if field.type in types]
    return msgspec.json.Decoder(msgspec.defstruct("Line", members))


# --- proof that texts are texts ---------------------------------------------------------------------------


def _prove(frame: pl.DataFrame, lines: Lines, kind: Kind) -> _Read:
    """Parsed columns → (read columns, doubt)."""
    suspects = [_escaped(lines), _deep(lines, frame.height)]
    columns: list[pl.Series] = []
    masks: list[Mask | None] = []
    for field in FIELDS[kind]:
        column = frame[field.name]
        if field.type is not Type.TIME and column.null_count() == len(column):
            continue
        match field.type:
            case Type.TIME if column.dtype == pl.Int64:
                columns.append(epoch_us(column))
            case Type.TIME:
                times, digits = times_us(column)
                columns.append(times)
                masks.append(_in_doubt(digits, _NOT_AN_INTEGER % field.name.encode(), lines))
            case Type.ID | Type.TEXT:
                alike = column.str.contains(_LOOKS_LIKE_JSON)
                masks.append(_in_doubt(alike, _NOT_A_TEXT % field.name.encode(), lines))
            case Type.IDS:
                items = column.explode(empty_as_null=False, keep_nulls=False)
                lists = rows_with(items.str.contains(_LOOKS_LIKE_JSON), column.list.len())
                masks.append(_in_doubt(lists, _NOT_ONLY_TEXTS % field.name.encode(), lines))
            case Type.WORD:
                words = [word for word in column.unique() if word is not None and word.startswith(_NUMBER_AS_WORD)]
                masks.append(column.is_in(words) if words else None)
            case Type.TEXTS:
                other = _rows(_search(_NOT_AN_OBJECT % field.name.encode(), lines), frame.height)
                texts, doubt = _canonical_texts(column, other, lines)
                columns.append(texts)
                masks.append(doubt)
    masks.append(_rows(np.concatenate(suspects), frame.height))
    return frame.with_columns(columns), any_of(masks, frame.height)


#: Searches for a field's name with a value that is not what is due, and not null. Possessive repeats (``*+``)
#: never give back what they took, so a search is one pass.
_NOT_A_TEXT = rb'"%s"\s*+:\s*+(?!null)[^"]'
_NOT_AN_OBJECT = rb'"%s"\s*+:\s*+(?!null)[^{]'
_NOT_AN_INTEGER = rb'"%s"\s*+:\s*+(?:"[0-9]*+["\\]|-?[0-9]++[.eE])'  # but may be another text
_NOT_ONLY_TEXTS = rb'"%s"\s*+:\s*+\[(?:\s*+"(?:[^"\\]++|\\.)*+"\s*+,?+)*+\s*+[^"\]]'


def _in_doubt(alike: Mask | None, pattern: bytes, lines: Lines) -> Mask | None:
    """Rows that look like one JSON type and may be another: all of them if they are few, else what the search finds."""
    if alike is None or (alike.sum() or 0) <= _FEW_ROWS:
        return alike
    return alike & _rows(_search(pattern, lines), len(alike))


def _search(pattern: bytes, lines: Lines) -> Longs:
    """The records in which the pattern occurs."""
    positions = [match.start() for match in re.finditer(pattern, lines.data)]
    return lines.holding(np.array(positions, dtype=np.int64)) if positions else _NO_RECORDS


def _escaped(lines: Lines) -> Longs:
    """The records with a suspect escape."""
    if b"\\" not in lines.data or not _HAS_SUSPECT_ESCAPE.search(lines.data):
        return _NO_RECORDS
    positions = [match.start() for match in _ESCAPES.finditer(lines.data) if match[1]]
    return lines.holding(np.array(positions, dtype=np.int64)) if positions else _NO_RECORDS


def _deep(lines: Lines, read: int) -> Longs:
    """The records that may nest too deep. Each has one bracket at least: the others must be enough for one."""
    if count_brackets(lines.data) < read + NESTING_MAX:
        return _NO_RECORDS
    return lines.with_brackets(NESTING_MAX + 1)


def _rows(records: Longs, length: int) -> Mask:
    rows = np.zeros(length, dtype=np.bool_)
    rows[records] = True
    return pl.Series(rows)


# --- attributes -------------------------------------------------------------------------------------------


def _canonical_texts(column: pl.Series, other: Mask, lines: Lines) -> tuple[pl.Series, Mask]:
    """Objects as polars writes them into text → (canonical JSON text, null for ``{}``; doubt).

    polars writes ``{"k": "v"}`` and escapes quotation marks, but neither backslashes nor control characters. So a
    text is JSON once its line breaks and tabs are escaped, unless it holds another control character, or a
    backslash in a record that had an escaped one. other: rows that hold no object.
    """
    given = column.is_not_null() & (column != "{}")
    doubt = other | (given & column.str.contains(_CONTROL))
    backslash = column.str.contains("\\", literal=True)
    if backslash.any():
        doubt |= backslash & _rows(_search(_ESCAPED_BACKSLASH, lines), len(column))
    doubt = doubt.fill_null(False)
    rows = (given & ~doubt).arg_true()
    written, proven = _canonical_json(_with_breaks_escaped(column.gather(rows)))
    canonical = pl.Series(column.name, [None], dtype=pl.String).new_from_index(0, len(column))
    return canonical.scatter(rows, written), doubt.scatter(rows, doubt.gather(rows) | ~proven)


def _with_breaks_escaped(texts: pl.Series) -> pl.Series:
    for character, escape in _BREAKS.items():
        if texts.str.contains(character, literal=True).any():
            texts = texts.str.replace_all(character, escape, literal=True)
    return texts


def _canonical_json(texts: pl.Series) -> tuple[pl.Series, Mask]:
    """JSON texts of objects that are not empty → (keys sorted, compact; where every value is a text, no key twice)."""
    objects = _objects_of_texts(texts)
    written = pl.Series(_TEXTS_ENCODER.encode_lines(objects).decode().split("\n")[: len(texts)], dtype=pl.String)
    members = pl.Series([len(each) for each in objects], dtype=pl.UInt32)
    return written, (members == texts.str.count_matches('": "', literal=True)) & (members > 0)


def _objects_of_texts(texts: pl.Series) -> list[dict[str, str]]:
    """All objects decoded at once; one by one only where one of them holds more than texts (it comes out empty)."""
    try:
        return _TEXTS_DECODER.decode(f"[{texts.str.join(',').item() or ''}]")
    except msgspec.DecodeError:
        return [_object_of_texts(text) for text in texts]


def _object_of_texts(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError:
        return {}
