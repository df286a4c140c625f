"""The bulk path of Parquet: rows of any types → columns, with every row that is not proven in doubt.

**A row means what its JSON means.** That JSON is the row's record: it goes to the strict decoder where a column
could not prove a value, and into the dead letter where it is refused. Its texts are texts, times RFC 3339,
decimals decimal texts, doubles and integers numbers; what the contract has no place for (a binary id, a date
as a time) comes out as something that is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice

import numpy as np
import polars as pl

from schemas.events import FIELDS, TIME_MAX_US, TIME_MIN_US, WORD, Field, Kind, Type
from streams.columns import Longs, Mask, Reading, any_of, epoch_us, nulls, read_dtype, times_us
from streams.strict_record import canonical_texts, is_unicode, nests_too_deep, parse_json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = int((datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH).total_seconds())
_FIRST_SECOND = int((datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())
_UNITS_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
#: A JSON escape takes six bytes for one; a number or a time, quotes, colon and comma fit in so many.
_ESCAPE_BYTES, _SCALAR_BYTES = 6, 64


def read_rows(frame: pl.DataFrame, kind: Kind, *, max_record_bytes: int) -> Reading:
    """One row per row. Unknown columns matter to the row's JSON only."""
    frame = pl.DataFrame([_stored(column) for column in frame])
    columns: list[pl.Series] = []
    masks: list[Mask | None] = [_may_exceed(frame, max_record_bytes)]
    for field in FIELDS[kind]:
        column, doubt = _read(frame, field)
        columns.append(column.alias(field.name))
        masks.append(doubt)
    doubt = any_of(masks, frame.height)
    return Reading(pl.DataFrame(columns), doubt, None, frame.height, lambda rows: rows_as_json(frame[rows], kind))


def _stored(column: pl.Series) -> pl.Series:
    """A map as the list of its entries, an extension type (JSON, UUID) as what it is stored as."""
    if isinstance(column.dtype, pl.Map):
        return column.map.entries()
    return column.ext.storage() if column.dtype.is_extension() else column


# --- a column as the checks take it -------------------------------------------------------------------


def _read(frame: pl.DataFrame, field: Field) -> tuple[pl.Series, Mask | None]:
    """A field's column as ``read_dtype``; rows with a value that this type does not hold are in doubt."""
    nothing = nulls(field.name, read_dtype(field), frame.height)
    if field.name not in frame.columns or frame[field.name].null_count() == frame.height:
        return nothing, None
    column = frame[field.name]
    if field.type is Type.TEXTS:
        return _canonical_attributes(column)
    read = _cast(column, field)
    if read is None:
        return nothing, column.is_not_null()
    return read, (column.is_not_null() & read.is_null())


def _cast(column: pl.Series, field: Field) -> pl.Series | None:
    """None where the contract knows no such type for the field."""
    dtype = column.dtype
    match field.type:
        case Type.ID | Type.TEXT if _is_text(dtype):
            return column.cast(pl.String)
        case Type.WORD | Type.CHOICE | Type.CURRENCY if _is_text(dtype):
            return column.cast(pl.String).cast(WORD)
        case Type.DECIMAL if dtype.is_float():
            return column.cast(pl.Float64).cast(pl.String)
        case Type.DECIMAL if dtype.is_numeric() or _is_text(dtype):
            return column.cast(pl.String)
        case Type.COUNT if dtype.is_integer():
            return column.cast(pl.Int64, strict=False)
        case Type.FLAG if dtype == pl.Boolean:
            return column
        case Type.IDS if isinstance(dtype, pl.List | pl.Array) and _is_text(dtype.inner):
            return column.cast(pl.List(pl.String))
        case Type.TIME if isinstance(dtype, pl.Datetime):
            return _timestamps_us(column.to_physical(), _UNITS_PER_SECOND[dtype.time_unit])
        case Type.TIME if dtype.is_integer():
            return epoch_us(column.cast(pl.Int64, strict=False))
        case Type.TIME if _is_text(dtype):
            times, digits = times_us(column.cast(pl.String))
            return times.set(digits, None)
    return None


def _is_text(dtype: object) -> bool:
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def _timestamps_us(units: pl.Series, per_second: int) -> pl.Series:
    """Timestamps in their own unit → microseconds, cut off toward the past; null out of range."""
    if per_second == 1_000:
        return epoch_us(units)
    us = units // (per_second // 1_000_000)
    return us.set((us < TIME_MIN_US) | (us >= TIME_MAX_US), None)


def _canonical_attributes(column: pl.Series) -> tuple[pl.Series, Mask]:
    """``attributes`` of any type → (canonical JSON text, doubt). Row by row, about 8 µs each: few files have any."""
    canonical: list[str | None] = []
    doubt: list[bool] = []
    for text in _attributes_json(column):
        value = parse_json(text)
        proven = isinstance(value, dict) and all(is_unicode(part) for pair in value.items() for part in pair)
        canonical.append(canonical_texts(value) if isinstance(value, dict) and proven else None)
        doubt.append(value is not None and not proven)
    return pl.Series(canonical, dtype=pl.String), pl.Series(doubt, dtype=pl.Boolean)


# --- rows as JSON -------------------------------------------------------------------------------------


def rows_as_json(rows: pl.DataFrame, kind: Kind | None) -> list[bytes]:
    """Each row as a JSON object, members in the order of the file's columns.

    kind: None where it is not known; a field that several kinds have is of one type in all of them.
    """
    types = {field.name: field.type for each in (Kind if kind is None else [kind]) for field in FIELDS[each]}
    columns = []
    for column in rows:
        due = types.get(column.name)
        columns.append(_attributes_json(column) if due is Type.TEXTS else _as_json(column, due))
    names = [_dump(name) for name in rows.columns]
    return [_object(zip(names, row, strict=True)).encode() for row in zip(*columns, strict=True)]


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _object(members: Iterable[tuple[str, str]]) -> str:
    """Names and values, both as JSON text → an object."""
    return f"{{{','.join(f'{name}:{value}' for name, value in members)}}}"


def _as_json(column: pl.Series, due: Type | None) -> list[str]:
    """Each value as JSON text. due: what the field's type is; None: an unknown field."""
    column = _stored(column)
    match column.dtype:
        case pl.Null():
            return ["null"] * len(column)
        case pl.Boolean() | pl.String():
            return [_dump(value) for value in column]
        case pl.Categorical() | pl.Enum():
            return [_dump(value) for value in column.cast(pl.String)]
        case pl.List() | pl.Array():
            return [f"[{','.join(items)}]" if items is not None else "null" for items in _items(column, due)]
        case pl.Struct():
            members = _members(column, due)
            return [_object(row) if row is not None else "null" for row in members]
        case dtype if dtype.is_integer():
            return [_dump(value) for value in column]
        case dtype if dtype.is_float():
            return [_float_as_json(value, due) for value in column]
    texts = _as_texts(column)
    timely = due is Type.TIME and isinstance(column.dtype, pl.Datetime)
    if due is None or timely or (due is Type.DECIMAL and column.dtype.is_decimal()):
        return [_dump(text) for text in texts]
    name = type(column.dtype).__name__.lower()
    return ["null" if text is None else _refused(name, text) for text in texts]


def _float_as_json(value: float | None, due: Type | None) -> str:
    """What JSON has no number for is a text where that is harmless: no decimal, and no field of the contract."""
    if value is None or math.isfinite(value):
        return _dump(value)
    return _dump(str(value)) if due in (None, Type.DECIMAL) else _refused("float64", str(value))


def _refused(dtype: str, text: str) -> str:
    """A text where the contract takes a text but not this one: an object in a list, which no field takes."""
    return _dump([{dtype: text}])


def _items(column: pl.Series, due: Type | None) -> list[list[str] | None]:
    """The items of each list as JSON text."""
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    items = iter(_as_json(column.explode(empty_as_null=False, keep_nulls=False), due))
    return [None if length is None else list(islice(items, length)) for length in column.list.len()]


def _members(column: pl.Series, due: Type | None) -> list[list[tuple[str, str]] | None]:
    """The fields of each struct, names and values as JSON text."""
    parts = [(_dump(part.name), _as_json(part, due)) for part in column.struct.unnest()]
    return [
        None if missing else [(name, values[row]) for name, values in parts]
        for row, missing in enumerate(column.is_null())
    ]


def _as_texts(column: pl.Series) -> list[str | None]:
    """Timestamps, decimals, bytes and the like as text."""
    match column.dtype:
        case pl.Datetime() as dtype:
            per_second = _UNITS_PER_SECOND[dtype.time_unit]
            return [None if units is None else _rfc3339(units, per_second) for units in column.to_physical()]
        case pl.Duration():
            return column.dt.to_string("iso").to_list()
        case pl.Binary():
            return column.bin.encode("hex").to_list()
    return column.cast(pl.String).to_list()


def _rfc3339(units: int, per_second: int) -> str:
    """In UTC, every digit of the unit kept; a year that has no four digits is left as a count."""
    seconds, rest = divmod(units, per_second)
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        return f"{units}/{per_second} s since 1970"
    date_time = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    return f"{date_time}.{rest:0{len(str(per_second)) - 1}d}Z"


def _attributes_json(column: pl.Series) -> list[str]:
    """``attributes`` as the JSON object that they mean: a struct without its nulls, a map, or the JSON text itself."""
    column = _stored(column)
    dtype = column.dtype
    if _is_text(dtype):
        return [_dump(text) if text is None or not _is_json(text) else text for text in column.cast(pl.String)]
    if isinstance(dtype, pl.Struct):
        structs = _members(column, Type.TEXTS)
        return [
            "null" if members is None else _object(member for member in members if member[1] != "null")
            for members in structs
        ]
    if _is_map(column):
        return _maps_as_json(column)
    return _as_json(column, Type.TEXTS)


def _is_map(column: pl.Series) -> bool:
    """A Parquet map: a list of (key, value) with texts as keys, none of them null."""
    dtype = column.dtype
    if not isinstance(dtype, pl.List) or not isinstance(dtype.inner, pl.Struct):
        return False
    fields = dtype.inner.fields
    return [field.name for field in fields] == ["key", "value"] and _is_text(fields[0].dtype) and _has_all_keys(column)


def _has_all_keys(column: pl.Series) -> bool:
    return not column.explode(empty_as_null=False, keep_nulls=False).struct.field("key").has_nulls()


def _maps_as_json(column: pl.Series) -> list[str]:
    entries = column.explode(empty_as_null=False, keep_nulls=False).struct
    keys, values = (_as_json(entries.field(name), Type.TEXTS) for name in ("key", "value"))
    members = zip(keys, values, strict=True)
    return ["null" if length is None else _object(islice(members, length)) for length in column.list.len()]


def _is_json(text: str) -> bool:
    if nests_too_deep(text.encode()):
        return False
    try:
        parse_json(text)
    except ValueError:
        return False
    return True


# --- how long a row's JSON may be ---------------------------------------------------------------------


def _may_exceed(frame: pl.DataFrame, max_record_bytes: int) -> Mask | None:
    """Rows whose JSON may be longer, by an upper bound; as a rule the columns' largest show that none is."""
    names = [_ESCAPE_BYTES * len(column.name.encode()) for column in frame]
    if sum(map(_largest, frame)) + sum(names) <= max_record_bytes:
        return None
    bounds = [_most_bytes(column) + name for column, name in zip(frame, names, strict=True)]
    return pl.Series(_total(bounds, frame.height) > max_record_bytes)


def _largest(column: pl.Series) -> int:
    """The largest of ``_most_bytes``; flat columns, the rule, without an array of them."""
    if column.dtype == pl.String:
        longest = column.str.len_bytes().max()
        return _SCALAR_BYTES + _ESCAPE_BYTES * (longest if isinstance(longest, int) else 0)
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        return _SCALAR_BYTES
    return int(_most_bytes(column).max(initial=0))


def _total(bounds: list[Longs], length: int) -> Longs:
    total: Longs = sum(bounds, np.zeros(length, dtype=np.int64))
    return total


def _most_bytes(column: pl.Series) -> Longs:
    """An upper bound of each value's length as JSON."""
    column = _stored(column)
    match column.dtype:
        case pl.String() | pl.Categorical() | pl.Enum():
            lengths = column.cast(pl.String).str.len_bytes()
        case pl.Binary():
            lengths = column.bin.size()
        case pl.Array():
            return _most_bytes(column.arr.to_list())
        case pl.List():
            items = _most_bytes(column.explode(empty_as_null=False, keep_nulls=False))
            ends = column.list.len().fill_null(0).cum_sum().to_numpy()
            totals = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(items)])[ends]
            sizes: Longs = np.diff(totals, prepend=0) + _SCALAR_BYTES
            return sizes
        case pl.Struct():
            parts = [_most_bytes(part) + _ESCAPE_BYTES * len(part.name.encode()) for part in column.struct.unnest()]
            return _total(parts, len(column)) + _SCALAR_BYTES
        case _:
            return np.full(len(column), _SCALAR_BYTES, dtype=np.int64)
    most: Longs = lengths.fill_null(0).to_numpy().astype(np.int64) * _ESCAPE_BYTES + _SCALAR_BYTES
    return most
