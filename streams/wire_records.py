"""Records of a broker: values of any bytes, each with an offset, a time and a key of its own.

Values are joined and read as one block of JSON Lines. What would break the lines (a value that holds a line end, or
that is blank) is read one by one; a record without a value, a tombstone, is no event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from schemas.events import Kind
from streams.columns import Longs, Reading
from streams.json_block import read_json


@dataclass(frozen=True)
class Records:
    """One partition's records in order of offset, with gaps where the log has them.

    times_us: each record's own time; keys, values: Binary, null where there is none.
    """

    offsets: Longs
    times_us: Longs
    keys: pl.Series
    values: pl.Series

    def __len__(self) -> int:
        return len(self.offsets)

    def slice(self, first: int, count: int | None = None) -> Records:
        end = None if count is None else first + count
        return Records(
            self.offsets[first:end],
            self.times_us[first:end],
            self.keys.slice(first, count),
            self.values.slice(first, count),
        )

    @property
    def tombstones(self) -> Longs:
        """The numbers of the records without a value."""
        return np.flatnonzero(self.values.is_null().to_numpy())


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
    joined = b"\n".join(records.values.gather(numbers)) + b"\n"
    reading = read_json(joined, kind, max_record_bytes=max_record_bytes)
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
