"""Records of a broker: values of any bytes, each with an offset, a time, a key and headers of its own.

Values are joined and read as one block of JSON Lines. What would break the lines (a value that holds a line end, or
that is blank) is read one by one; a record without a value, a tombstone, is no event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from schemas.archive import HEADERS
from schemas.events import TIME_MAX_US, Kind
from streams.columns import Longs, Reading
from streams.json_block import read_json

#: In place of the time of a record that has none.
_NO_TIME = -1


@dataclass(frozen=True)
class Records:
    """One partition's records in order of offset, with gaps where the log has them.

    times_us: each record's own time, −1 where it has none; keys, values: Binary, null where there is none; headers:
    ``HEADERS`` in their order, names more than once as they came; never null: a record without headers has an empty
    list, for on the wire the two are the same.
    """

    offsets: Longs
    times_us: Longs
    keys: pl.Series
    values: pl.Series
    headers: pl.Series

    def __len__(self) -> int:
        return len(self.offsets)

    def slice(self, first: int, count: int | None = None) -> Records:
        end = None if count is None else first + count
        return Records(
            self.offsets[first:end],
            self.times_us[first:end],
            self.keys.slice(first, count),
            self.values.slice(first, count),
            self.headers.slice(first, count),
        )

    def timed(self, now_us: int) -> Records:
        """With this time where a record has none of its own."""
        if not (self.times_us == _NO_TIME).any():
            return self
        times_us = np.where(self.times_us == _NO_TIME, now_us, self.times_us)
        return Records(self.offsets, times_us, self.keys, self.values, self.headers)

    @property
    def value_bytes(self) -> int:
        """How many bytes the values have together."""
        return int(self.values.bin.size().sum())

    @property
    def tombstones(self) -> Longs:
        """The numbers of the records without a value."""
        return np.flatnonzero(self.values.is_null().to_numpy())


def join_records(parts: Sequence[Records]) -> Records:
    """Successive records of one partition, at least one part; a part may be empty."""
    parts = [part for part in parts if len(part)] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    return Records(
        np.concatenate([part.offsets for part in parts]),
        np.concatenate([part.times_us for part in parts]),
        pl.concat([part.keys for part in parts]),
        pl.concat([part.values for part in parts]),
        pl.concat([part.headers for part in parts]),
    )


def no_headers(count: int) -> pl.Series:
    """``HEADERS`` of records without any."""
    import pyarrow as pa

    nothing = pl.Series([], dtype=HEADERS.inner).to_arrow()
    # A fifth of the time that polars takes to repeat one empty list.
    return pl.Series(pa.LargeListArray.from_arrays(np.zeros(count + 1, dtype=np.int64), nothing), dtype=HEADERS)


def record_times_us(times_ms: Longs) -> Longs:
    """The times of records as the broker has them; one after the last that an event can have stands for that."""
    times: Longs = np.where(times_ms < 0, _NO_TIME, np.minimum(times_ms, TIME_MAX_US // 1_000) * 1_000)
    return times


def records_of(client_records: Iterable[Any]) -> Records:
    """The client's record objects as columns.

    Loops over records, half a microsecond for each: the client has made an object of it, which took several. Field by
    field, for another object of each record would have the garbage collector look at all of them.
    """
    records = list(client_records)
    # The oldest formats have no time. A later one may be more than 64 bits hold.
    times_ms = [_NO_TIME if r.timestamp is None else min(max(r.timestamp, _NO_TIME), TIME_MAX_US) for r in records]
    headers = [r.headers for r in records]
    return Records(
        np.array([r.offset for r in records], dtype=np.int64),
        record_times_us(np.array(times_ms, dtype=np.int64)),
        pl.Series([r.key for r in records], dtype=pl.Binary),
        pl.Series([r.value for r in records], dtype=pl.Binary),
        _headers(headers) if any(headers) else no_headers(len(records)),
    )


def _headers(headers: Iterable[Iterable[tuple[str, bytes | None]]]) -> pl.Series:
    rows = [[{"key": key, "value": value} for key, value in pairs] for pairs in headers]
    return pl.Series(rows, dtype=HEADERS)


def read_wire(records: Records, kind: Kind, *, max_record_bytes: int) -> Reading:
    """One row per record that is read in bulk; the others have none."""
    lines = records.values.to_frame("value").select(
        (pl.col("value").bin.size() > 0)
        & ~pl.col("value").bin.contains(b"\n")
        & ~pl.col("value").bin.starts_with(b" ")
        & ~pl.col("value").bin.starts_with(b"\t")
        & ~pl.col("value").bin.starts_with(b"\r")
    )["value"]
    numbers = np.flatnonzero(lines.fill_null(value=False).to_numpy())
    chosen = records.values if len(numbers) == len(records) else records.values.gather(numbers)
    reading = read_json(_as_lines(chosen), kind, max_record_bytes=max_record_bytes)
    assert reading.read == len(numbers), "every value is one line"

    def raw(wanted: Longs) -> list[bytes]:
        return records.values.gather(wanted).to_list()

    return Reading(
        reading.frame,
        reading.doubt,
        numbers if reading.records is None else numbers[reading.records],
        len(records),
        raw,
    )


def _as_lines(values: pl.Series) -> bytes:
    """Values, each with a line end, as one block: in Arrow's plain layout of bytes they stand one behind the other.

    A quarter of the time of ``b"\\n".join``, which makes an object of each value.
    """
    ended = values.to_frame("value").select(pl.col("value") + pl.lit(b"\n"))["value"]
    flat = ended.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, buffer, data = flat.buffers()
    bounds = np.frombuffer(buffer, dtype=np.int64)[flat.offset :]
    joined: bytes = data[int(bounds[0]) : int(bounds[len(flat)])].to_pybytes()
    return joined
