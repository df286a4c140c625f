"""Checks and conversions of whole columns, common to every bulk reader.

**A row is accepted here only when it provably means what ``strict_record`` says it means.** Anything else
is a *doubt*, not an error: the row's own bytes go to the strict decoder, which alone decides. So each
check may be narrower than the contract (a decimal text of 60 digits is in doubt, not wrong), never wider.

A reader hands over a frame with the columns of ``read_columns``: texts and decimals as text, few-valued
texts dictionary-coded, ``event_time`` already in microseconds (null where it is absent or in doubt).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.currencies import ACTIVE
from schemas.events import (
    COUNT_MAX,
    FIELDS,
    ID_MAX_BYTES,
    INFERENCE_IDS_MAX,
    NAMING_KINDS,
    TIME,
    TIME_MAX_US,
    TIME_MIN_US,
    Field,
    Kind,
    Type,
    canonical_columns,
)

#: At most 12 digits before the point keeps numbers within reach of every bound; 20 after it are what polars
#: parses and rounds half-even within 38 digits (doubles have at most 17 that matter).
_DECIMAL_TEXT = r"^-?[0-9]{1,12}(?:\.[0-9]{1,20})?$"
#: Widths in bytes of the times read in bulk: epoch milliseconds of 2000 to 2199; RFC 3339 from
#: ``2026-01-01T00:00:00Z`` to nine decimals and an offset. Rarer ones are the strict decoder's.
_EPOCH_MS_WIDTHS = range(12, 14)
_RFC3339_WIDTHS = range(20, 36)
_ZULU_BYTES, _OFFSET_BYTES = 1, 6
_SECONDS_END = 19
#: First day (since 1970) and length of each month from January 1999 to December 2200: with an offset, a local
#: time may lie a day outside the valid years.
_FIRST_YEAR, _LAST_YEAR = 1999, 2200
_MONTH_STARTS = np.arange(f"{_FIRST_YEAR}-01", f"{_LAST_YEAR + 1}-02", dtype="datetime64[M]").astype("datetime64[D]")
_MONTH_FIRST_DAY = _MONTH_STARTS.astype(np.int64)
_MONTH_DAYS = np.diff(_MONTH_FIRST_DAY).astype(np.int32)

Mask = pl.Series
Bytes = NDArray[np.uint8]
Integers = NDArray[np.int32]
Longs = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Reading:
    """What a bulk reader made of a block.

    frame: ``read_columns(kind)``, one row per record read in bulk, in record order.
    doubt: the reader's own doubts, one Boolean per row of ``frame``.
    records: the record number of each row (from 0 within the block); None: the rows are all the records.
    read: number of records in the block. Records without a row are in doubt too.
    raw: record numbers → those records' bytes.
    """

    frame: pl.DataFrame
    doubt: Mask
    records: Longs | None
    read: int
    raw: Callable[[Longs], list[bytes]]


def read_dtype(field: Field) -> pl.DataType:
    """The type of a field's column as a reader hands it over."""
    match field.type:
        case Type.TIME:
            return pl.Int64()
        case Type.DECIMAL:
            return pl.String()
        case _:
            return field.dtype


def read_columns(kind: Kind) -> dict[str, pl.DataType]:
    return {field.name: read_dtype(field) for field in FIELDS[kind]}


def nulls(name: str, dtype: pl.DataType, length: int) -> pl.Series:
    return pl.Series(name, [None], dtype=dtype).new_from_index(0, length)


def any_of(masks: Iterable[Mask | None], length: int) -> Mask:
    """True where any mask is; a null in a mask counts as False."""
    result = pl.Series([False], dtype=pl.Boolean).new_from_index(0, length)
    for mask in masks:
        if mask is not None and mask.any():
            result = result | mask.fill_null(False)
    return result


def to_canonical(frame: pl.DataFrame, kind: Kind, *, latest_us: int | pl.Series) -> tuple[pl.DataFrame, Mask]:
    """``read_columns(kind)`` → (``canonical_columns(kind)``, doubt).

    Rows in doubt hold anything. latest_us: an event time after it is in doubt (``future_time``); for all rows, or for
    each its own.
    """
    columns: dict[str, pl.Series] = {}
    masks: list[Mask | None] = []
    for field in FIELDS[kind]:
        column, doubt = _convert(frame[field.name], field)
        columns[field.name] = column
        masks.append(doubt)
        if field.required:
            masks.append(column.is_null())
    masks.append(_later_than(columns["event_time"], latest_us))
    converted = pl.DataFrame(list(columns.values()))
    masks.extend(converted.select(rule.alias(str(n)) for n, rule in enumerate(_ACROSS_FIELDS[kind])).get_columns())
    if kind in NAMING_KINDS:
        converted = converted.with_columns(inference_ids=_ONE_OR_MORE_IDS)
    return converted.select(*canonical_columns(kind)), any_of(masks, frame.height)


# --- one column: read type → canonical type and its doubts -----------------------------------------------


def _convert(column: pl.Series, field: Field) -> tuple[pl.Series, Mask | None]:
    if column.null_count() == len(column):
        default = Decimal(field.default) if field.default and field.type is Type.DECIMAL else field.default
        return pl.Series(field.name, [default], dtype=field.dtype).new_from_index(0, len(column)), None
    match field.type:
        case Type.TIME:
            return column.cast(TIME), None
        case Type.ID:
            return column, _not_an_id(column)
        case Type.IDS:
            return _sorted_sets(column), _not_ids(column)
        case Type.DECIMAL:
            return _decimals(column, field)
        case Type.COUNT:
            return column, _outside(column, 0, COUNT_MAX + 1)
        case Type.CURRENCY:
            return column, _other_words(column, ACTIVE)
        case Type.CHOICE:
            doubt = _other_words(column, field.choices)
            return (column if field.default is None else column.fill_null(field.default)), doubt
        case Type.WORD | Type.TEXT:
            return column, (column == "" if field.not_empty else None)
        case Type.FLAG | Type.TEXTS:
            return column, None


def _not_an_id(column: pl.Series) -> Mask | None:
    lengths = column.str.len_bytes()
    return _outside(lengths, 1, ID_MAX_BYTES + 1)


def _not_ids(column: pl.Series) -> Mask | None:
    lengths = column.list.len()
    too_few_or_many = _outside(lengths, 1, INFERENCE_IDS_MAX + 1)
    items = column.explode(empty_as_null=False, keep_nulls=False)
    item_doubt = any_of([items.is_null(), _not_an_id(items)], len(items))
    return any_of([too_few_or_many, rows_with(item_doubt, lengths)], len(column))


def rows_with(items: Mask, lengths: pl.Series) -> Mask | None:
    """True for the lists that hold an item that is True; ``items``: of all lists, one after another."""
    if not items.any():
        return None
    items = items.fill_null(False)
    owners = np.repeat(np.arange(len(lengths)), lengths.fill_null(0).to_numpy())
    rows = np.zeros(len(lengths), dtype=np.bool_)
    rows[owners[items.to_numpy()]] = True
    return pl.Series(rows)


def _sorted_sets(column: pl.Series) -> pl.Series:
    """Lists without repeats, sorted as bytes.

    Only lists of several are touched, all at once: sorting list by list costs 9 µs each.
    """
    rows = (column.list.len() > 1).arg_true()
    if rows.is_empty():
        return column
    several = pl.DataFrame({"row": rows, "id": column.gather(rows)})
    items = several.explode("id", empty_as_null=False).unique().sort("row", "id")
    sets = items.group_by("row", maintain_order=True).agg("id")["id"]
    order = np.arange(len(column))
    order[rows.to_numpy()] = len(column) + np.arange(len(sets))
    return pl.concat([column, sets.alias(column.name)]).gather(order)


def _decimals(column: pl.Series, field: Field) -> tuple[pl.Series, Mask | None]:
    proven = column.str.contains(_DECIMAL_TEXT)
    if not proven.all():
        column = column.set(~proven, None)
    numbers = column.cast(field.dtype)
    low = numbers <= field.low if field.low_open else numbers < field.low
    doubt = any_of([~proven, low, numbers >= field.high], len(column))
    return (numbers if field.default is None else numbers.fill_null(Decimal(field.default))), doubt


def _other_words(column: pl.Series, words: Iterable[str]) -> Mask | None:
    """Rows with another word; looks at each distinct word once."""
    others = [word for word in column.unique() if word is not None and word not in words]
    if not others:
        return None
    return column.is_in(others)


def _outside(column: pl.Series, low: int, high: int) -> Mask | None:
    """Rows not in [low, high)."""
    smallest, largest = column.min(), column.max()
    if isinstance(smallest, int) and isinstance(largest, int) and low <= smallest and largest < high:
        return None
    return (column < low) | (column >= high)


def _later_than(times: pl.Series, latest_us: int | pl.Series) -> Mask | None:
    return times.to_physical() > latest_us


# --- several columns ------------------------------------------------------------------------------------


def _given(name: str) -> pl.Expr:
    return pl.col(name).is_not_null()


def _count_given(*names: str) -> pl.Expr:
    return pl.sum_horizontal(_given(name).cast(pl.UInt8) for name in names)


def _several_given(*names: str) -> pl.Expr:
    return _count_given(*names) > 1


_NAMES = ("inference_id", "inference_ids", "trace_id")
_NAMED_TWICE = _several_given(*_NAMES)
_PARTS_ABOVE_INPUT = (
    pl.col("cached_input_tokens").fill_null(0) + pl.col("cache_write_input_tokens").fill_null(0)
) > pl.col("input_tokens")

#: What is in doubt because of two or more fields together (missing_field, conflicting_fields).
_ACROSS_FIELDS: dict[Kind, tuple[pl.Expr, ...]] = {
    Kind.INFERENCE: (_given("cost") != _given("cost_currency"), _PARTS_ABOVE_INPUT),
    Kind.CONVERSION: (_NAMED_TWICE, _given("amount") != _given("currency")),
    Kind.TIME_SAVED: (
        _NAMED_TWICE,
        _several_given("seconds", "baseline_seconds"),
        _given("seconds") == _given("actual_seconds"),
    ),
    Kind.REVERSAL: (_several_given("amount", "quantity", "seconds"), _given("currency") & ~_given("amount")),
    Kind.SCORE: (_count_given(*_NAMES) != 1,),
}
_ONE_OR_MORE_IDS = pl.when(_given("inference_id")).then(pl.concat_list("inference_id")).otherwise("inference_ids")


# --- times ----------------------------------------------------------------------------------------------


def times_us(texts: pl.Series) -> tuple[pl.Series, Mask]:
    """Texts of times → (microseconds since 1970, null where absent or in doubt; which are all digits).

    RFC 3339 texts and epoch milliseconds as digits, 2000 to 2199. Texts are taken by width, so that each
    digit of a column stands at one place: a matrix of bytes, checked and added up place by place.
    """
    widths = texts.str.len_bytes()
    us = np.zeros(len(texts), dtype=np.int64)
    proven = np.zeros(len(texts), dtype=np.bool_)
    digits = np.zeros(len(texts), dtype=np.bool_)
    distinct = widths.unique().to_list()
    for width in distinct:
        if width in _EPOCH_MS_WIDTHS or width in _RFC3339_WIDTHS:
            read = _epoch_ms if width in _EPOCH_MS_WIDTHS else _rfc3339
            if len(distinct) == 1:
                us, proven = read(_places(texts, width))
                digits[:] = width in _EPOCH_MS_WIDTHS
            else:
                rows = (widths == width).arg_true()
                at = rows.to_numpy()
                us[at], proven[at] = read(_places(texts.gather(rows), width))
                digits[at] = width in _EPOCH_MS_WIDTHS
    proven &= (us >= TIME_MIN_US) & (us < TIME_MAX_US)
    times = pl.Series(texts.name, us)
    return (times if proven.all() else times.set(pl.Series(~proven), None)), pl.Series(digits & proven)


def epoch_us(ms: pl.Series) -> pl.Series:
    """Integer epoch milliseconds → microseconds, null where absent or out of range."""
    doubt = _outside(ms, TIME_MIN_US // 1000, TIME_MAX_US // 1000)
    return (ms if doubt is None else ms.set(doubt, None)).cast(pl.Int64) * 1000


def _places(texts: pl.Series, width: int) -> Bytes:
    """Texts of one width → their bytes, one row per place."""
    joined = np.frombuffer(texts.str.join("").item().encode(), dtype=np.uint8)
    return np.ascontiguousarray(joined.reshape(len(texts), width).T)


def _number(digits: Bytes, first: int, last: int) -> Integers:
    """The number that stands at places [first, last), at most seven of them."""
    number: Integers = digits[first].astype(np.int32)
    for place in range(first + 1, last):
        number *= 10
        number += digits[place]
    return number


def _epoch_ms(places: Bytes) -> tuple[Longs, Booleans]:
    digits = places - ord("0")
    ms = _number(digits, 0, 6) * np.int64(10 ** (len(digits) - 6)) + _number(digits, 6, len(digits))
    return ms * 1000, np.asarray((digits <= 9).all(axis=0))


def _rfc3339(places: Bytes) -> tuple[Longs, Booleans]:
    """Microseconds, and where the text is proven. Rows that end in Z and rows with an offset apart."""
    zulu = places[-1] == ord("Z")
    if zulu.all():
        return _rfc3339_with_tail(places, _ZULU_BYTES)
    us = np.zeros(places.shape[1], dtype=np.int64)
    proven = np.zeros(places.shape[1], dtype=np.bool_)
    for rows, tail in ((zulu, _ZULU_BYTES), (~zulu, _OFFSET_BYTES)):
        us[rows], proven[rows] = _rfc3339_with_tail(np.ascontiguousarray(places[:, rows]), tail)
    return us, proven


def _rfc3339_with_tail(places: Bytes, tail: int) -> tuple[Longs, Booleans]:
    end = len(places) - tail
    if end < _SECONDS_END or end == _SECONDS_END + 1:
        nothing = np.zeros(places.shape[1], dtype=np.int64)
        return nothing, nothing > 0
    digits = places - ord("0")
    signs = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":"} | ({19: "."} if end > _SECONDS_END else {})
    signs |= {end: "Z"} if tail == _ZULU_BYTES else {end + 3: ":"}
    proven = np.ones(places.shape[1], dtype=np.bool_)
    for place in range(len(places)):
        if place in signs:
            proven &= places[place] == ord(signs[place])
        elif place != end:
            proven &= digits[place] <= 9
    year, month, day, hour, minute, second = (_number(digits, *span) for span in _SPANS)
    proven &= (year >= _FIRST_YEAR) & (year <= _LAST_YEAR) & (month >= 1) & (month <= 12)
    months = np.where(proven, (year - _FIRST_YEAR) * 12 + month - 1, 0)
    proven &= (day >= 1) & (day <= _MONTH_DAYS[months]) & (hour <= 23) & (minute <= 59) & (second <= 59)
    us = (_MONTH_FIRST_DAY[months] + day - 1) * 86_400_000_000
    us += (hour * 3600 + minute * 60 + second) * np.int64(1_000_000)
    if end > _SECONDS_END:
        decimals = min(end, _SECONDS_END + 7) - _SECONDS_END - 1
        us += _number(digits, _SECONDS_END + 1, _SECONDS_END + 1 + decimals) * 10 ** (6 - decimals)
    if tail == _OFFSET_BYTES:
        ahead, offset = places[end] == ord("+"), _number(digits, end + 1, end + 3)
        offset_minute = _number(digits, end + 4, end + 6)
        proven &= (ahead | (places[end] == ord("-"))) & (offset <= 23) & (offset_minute <= 59)
        us -= np.where(ahead, 1, -1) * (offset * 60 + offset_minute) * np.int64(60_000_000)
    return us, proven


_SPANS = ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
