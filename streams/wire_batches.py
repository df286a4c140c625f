"""Record batches of a broker (format version 2) → columns, many batches at once and no object per record.

**Where the records begin is guessed, then proven.** A record is its length, a zero byte (attributes that no version
uses), then its fields one after the other, each as long as it says: read one by one, that is a loop. But the lengths
that stand before a zero byte are found in all records at once; the right ones lead from the first record to the next
and so on to the end, and every batch must have as many as it says. From there on, each field is read in all records at
once. Keys and values are not copied: they are views of the decompressed bytes.

What is not proven to be read as the client reads it (attributes that are not zero, offsets that do not rise, …) is
``None`` here, and the client's to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.archive import HEADERS
from streams.columns import Booleans, Bytes, Longs
from streams.wire_records import Records, no_headers, record_times_us

#: Attributes, time, offset, key, value and headers take a byte each at least.
_RECORD_BYTES_MIN = 6
_LENGTH_BYTES_MAX = 5
_MORE, _BITS = 0x80, 0x7F
#: A number of more bits is the client's to read: nine groups of seven never overflow.
_SHIFT_MAX = 56
#: Values that hold many a pair like a length and a zero byte: then the client is not slower.
_GUESSES_MAX = 16
#: Headers are read one after the other, for all records at once: a record with more is the client's.
_HEADERS_MAX = 64
#: Texts up to so many bytes stand in their view itself.
_INLINE_BYTES = 12
#: Behind the last byte, so that reading a view's first bytes never goes past the end.
_PADDING = bytes(16)


@dataclass(frozen=True)
class WireBatch:
    """A batch whose checksum is right.

    records: its records, decompressed; count: how many; last_delta: the offset of the last one it ever had, from
    base_offset; base_ms: the time that the records' own are added to, or where that is not is_create_time, of all.
    """

    base_offset: int
    last_delta: int
    count: int
    base_ms: int
    is_create_time: bool
    records: bytes | memoryview


class _NotProvenError(Exception):
    pass


def read_batches(batches: Sequence[WireBatch]) -> Records | None:
    """The records of successive batches of one partition; None where these are not proven to be as read."""
    octets = np.frombuffer(b"".join([*(batch.records for batch in batches), _PADDING]), dtype=np.uint8)
    if len(octets) >= 1 << 31:  # of a view
        return None
    try:
        return _read(octets, batches)
    except (_NotProvenError, IndexError):  # a position past the end
        return None


def _read(octets: Bytes, batches: Sequence[WireBatch]) -> Records:
    counts = np.array([batch.count for batch in batches], dtype=np.int64)
    starts, at, ends = _frames(octets[: len(octets) - len(_PADDING)], int(counts.sum()))
    _check_counts(starts, batches, counts)
    delta_ms, at = _numbers(octets, at)
    delta, at = _numbers(octets, at)
    key_bytes, keys_at = _numbers(octets, at)
    value_bytes, values_at = _numbers(octets, _behind(octets, keys_at, key_bytes))
    header_count, at = _numbers(octets, _behind(octets, values_at, value_bytes))
    headers, at = _headers(octets, at, header_count)
    _prove(np.array_equal(at, ends))
    return Records(
        _offsets(delta, batches, counts),
        record_times_us(_times_ms(delta_ms, batches, counts)),
        _binary(octets, keys_at, key_bytes),
        _binary(octets, values_at, value_bytes),
        headers,
    )


def _prove(holds: bool | np.bool_) -> None:  # noqa: FBT001 - as an assertion takes it
    if not holds:
        raise _NotProvenError


# --- where records begin ----------------------------------------------------------------------------------


def _frames(octets: Bytes, count: int) -> tuple[Longs, Longs, Longs]:
    """(start of each record, where its time begins, its end), proven to cover all bytes; count: how many are due."""
    starts, bodies, ends = _guesses(octets)
    _prove(len(starts) <= _GUESSES_MAX * max(count, _GUESSES_MAX))
    if not np.array_equal(starts[1:], ends[:-1]):
        chain = _chain(starts, ends, len(octets))
        starts, bodies, ends = starts[chain], bodies[chain], ends[chain]
    if len(starts):
        _prove(starts[0] == 0 and ends[-1] == len(octets))
    else:
        _prove(not len(octets))
    return starts, bodies + 1, ends


def _guesses(octets: Bytes) -> tuple[Longs, Longs, Longs]:
    """Every length that stands before a zero byte and ends within the bytes: (its start, the zero byte, the end)."""
    zeros = np.flatnonzero(octets == 0)
    zeros = zeros[zeros > 0]
    at = zeros - 1
    zeros, at = (both[octets[at] < _MORE] for both in (zeros, at))
    length = octets[at].astype(np.int64)
    found = []
    for width in range(1, _LENGTH_BYTES_MAX + 1):
        # Lengths are twice what they say: an odd one would be below zero.
        fits = (length & 1 == 0) & (length >= 2 * _RECORD_BYTES_MIN) & (zeros + (length >> 1) <= len(octets))
        found.append((at[fits], zeros[fits], zeros[fits] + (length[fits] >> 1)))
        # One byte further to the front, where that one says that it goes on.
        longer = np.flatnonzero((at > 0) & (octets[at - 1] >= _MORE))
        if not len(longer) or width == _LENGTH_BYTES_MAX:
            break
        zeros, at = zeros[longer], at[longer] - 1
        length = length[longer] << 7 | (octets[at] & _BITS)
    starts, bodies, ends = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if len([one for one, _, _ in found if len(one)]) > 1:
        order = np.argsort(starts, kind="stable")
        starts, bodies, ends = starts[order], bodies[order], ends[order]
    return starts, bodies, ends


def _chain(starts: Longs, ends: Longs, size: int) -> Longs:
    """The guesses reached from the first one, in order; size: where the last must end.

    In each round the steps are twice as long, and twice as many guesses are known.
    """
    there = np.searchsorted(starts, ends)
    last, lost = len(starts), len(starts) + 1
    follows = np.where(starts[np.minimum(there, last - 1)] == ends, there, lost)
    step = np.append(np.where(ends == size, last, follows), [last, lost])
    known = np.zeros(1, dtype=np.int64)
    while known[-1] < last:
        known = np.concatenate([known, step[known]])
        step = step[step]
    length = int(np.searchsorted(known, last))
    _prove(known[length] == last)
    return known[:length]


def _check_counts(starts: Longs, batches: Sequence[WireBatch], counts: Longs) -> None:
    """Each batch begins with a record, and has as many as it says."""
    begins = np.cumsum([0, *(len(batch.records) for batch in batches)])
    firsts = np.searchsorted(starts, begins)
    _prove(np.array_equal(np.diff(firsts), counts))
    held = counts > 0
    _prove(np.array_equal(starts[firsts[:-1][held]], begins[:-1][held]))


# --- fields, each in all records at once ------------------------------------------------------------------


def _numbers(octets: Bytes, at: Longs) -> tuple[Longs, Longs]:
    """Numbers of seven bits a byte, the sign in the lowest, from these positions: (number, position behind)."""
    first = octets[at]
    number = (first & _BITS).astype(np.int64)
    behind = at + 1
    more = np.flatnonzero(first >= _MORE)
    shift = 7
    while len(more):
        _prove(shift <= _SHIFT_MAX)
        octet = octets[behind[more]]
        number[more] |= (octet & _BITS).astype(np.int64) << shift
        behind[more] += 1
        more = more[octet >= _MORE]
        shift += 7
    return (number >> 1) ^ -(number & 1), behind


def _behind(octets: Bytes, at: Longs, length: Longs) -> Longs:
    """The position behind a text; one without a length is not there."""
    _prove(not len(length) or int(length.max()) <= len(octets))
    return at + np.maximum(length, 0)


def _offsets(delta: Longs, batches: Sequence[WireBatch], counts: Longs) -> Longs:
    last = np.repeat([batch.last_delta for batch in batches], counts)
    _prove(bool(((delta >= 0) & (delta <= last)).all()))
    offsets: Longs = np.repeat(np.array([batch.base_offset for batch in batches], dtype=np.int64), counts) + delta
    _prove(bool((offsets[1:] > offsets[:-1]).all()))
    return offsets


def _times_ms(delta_ms: Longs, batches: Sequence[WireBatch], counts: Longs) -> Longs:
    base_ms = np.array([batch.base_ms for batch in batches], dtype=np.int64)
    is_create_time = np.array([batch.is_create_time for batch in batches], dtype=np.bool_)
    if not is_create_time.all():
        delta_ms = np.where(np.repeat(is_create_time, counts), delta_ms, 0)
    _prove(not len(delta_ms) or int(np.abs(delta_ms).max()) < 1 << 61)
    _prove(int(np.abs(base_ms).max()) < 1 << 61)
    times: Longs = np.repeat(base_ms, counts) + delta_ms
    return times


def _headers(octets: Bytes, at: Longs, counts: Longs) -> tuple[pl.Series, Longs]:
    """(``HEADERS`` of each record, the position behind them)."""
    _prove(not len(counts) or (int(counts.min()) >= 0 and int(counts.max()) <= _HEADERS_MAX))
    total = int(counts.sum())
    if not total:
        return no_headers(len(counts)), at
    firsts = np.cumsum(counts) - counts
    keys_at, key_bytes, values_at, value_bytes = np.zeros((4, total), dtype=np.int64)
    behind = at.copy()
    rows = np.flatnonzero(counts)
    for number in range(int(counts.max())):
        rows = rows[counts[rows] > number]
        slots = firsts[rows] + number
        key_bytes[slots], keys_at[slots] = _numbers(octets, behind[rows])
        behind[rows] = _behind(octets, keys_at[slots], key_bytes[slots])
        value_bytes[slots], values_at[slots] = _numbers(octets, behind[rows])
        behind[rows] = _behind(octets, values_at[slots], value_bytes[slots])
    _prove(int(key_bytes.min()) >= 0)
    keys = _texts(_binary(octets, keys_at, key_bytes))
    pairs = pl.DataFrame([keys.alias("key"), _binary(octets, values_at, value_bytes).alias("value")])
    bounds = pa.array(np.append(firsts, total))
    lists = pa.LargeListArray.from_arrays(bounds, pairs.to_struct().to_arrow(compat_level=pl.CompatLevel.newest()))
    headers = pl.Series(lists, dtype=HEADERS)
    return headers, behind


def _texts(keys: pl.Series) -> pl.Series:
    """Bytes as text; what is no UTF-8 in them is replaced by U+FFFD, for a header's name is for people to read."""
    try:
        return keys.cast(pl.String)
    except pl.exceptions.ComputeError:
        return pl.Series([key.decode("utf-8", "replace") for key in keys], dtype=pl.String)


def _binary(octets: Bytes, at: Longs, length: Longs) -> pl.Series:
    """Stretches of the bytes as a column of views of them, null where the length is below zero."""
    is_there: Booleans = length >= 0
    views = np.zeros((len(at), 4), dtype=np.int32)
    views[:, 0] = np.maximum(length, 0)
    long = length > _INLINE_BYTES
    words = np.ndarray(len(octets) - 3, np.int32, octets, 0, (1,))  # at every position, four bytes
    if long.all():
        views[:, 1], views[:, 3] = words[at], at
    else:
        views[long, 1], views[long, 3] = words[at[long]], at[long]
        short = np.flatnonzero(is_there & ~long)
        near = np.lib.stride_tricks.sliding_window_view(octets, _INLINE_BYTES)[at[short]]
        near[np.arange(_INLINE_BYTES) >= length[short, None]] = 0
        views.view(np.uint8)[short, 4:] = near
    nulls = None if is_there.all() else pa.py_buffer(np.packbits(is_there, bitorder="little"))
    buffers = [nulls, pa.py_buffer(views), pa.py_buffer(octets)]
    return pl.Series(pa.Array.from_buffers(pa.binary_view(), len(at), buffers), dtype=pl.Binary)
