"""Published tables as hive-style Parquet: ``<table>/date=YYYY-MM-DD/<name>.parquet``.

In memory, texts with few values are dictionary-coded; in files every text is plain text, so that any
glob over any files reads alike. polars would note the dictionary in the file's Arrow schema, and files
with other dictionaries could then not be read together; the schema of an empty plain-text frame is
written in its place (a third less time than making the texts plain first; ``tests/test_parquet_sink.py``
reads such files back with four readers).
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from attribution.money import Int64s
from schemas.errors import UnavailableError
from schemas.outputs import DATE_COLUMN, TABLES, in_files

_DAY_US = 86_400_000_000
EPOCH_DAY = date(1970, 1, 1)
#: Level 1 writes a fifth faster than level 3, for files a twentieth larger.
COMPRESSION_LEVEL = 1
#: A disk with less free space than this is the reason why a file could not be written.
_FULL_BELOW = 1 << 20


@dataclass(frozen=True)
class WrittenFile:
    """path: relative to the output folder."""

    path: str
    rows: int


@dataclass(frozen=True)
class DaySlice:
    """Row numbers of one day's rows; a plain slice where the rows stand together."""

    day: date
    rows: slice | Int64s


def day_slices(days: Int64s) -> Iterator[DaySlice]:
    """Rows by day (days since 1970), in order of day. Ordered input costs nothing."""
    if len(days) == 0:
        return
    order: Int64s | None = None
    if np.any(days[1:] < days[:-1]):
        order = np.argsort(days, kind="stable")
        days = days[order]
    starts = np.flatnonzero(np.concatenate(([True], days[1:] != days[:-1])))
    ends = np.append(starts[1:], len(days))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        day = EPOCH_DAY + timedelta(days=int(days[start]))
        yield DaySlice(day, slice(start, end) if order is None else order[start:end])


def days_of(times: pl.Series) -> Int64s:
    """UTC days since 1970 of a time column."""
    return times.to_physical().to_numpy() // _DAY_US


def write_table(
    table: str,
    days: Int64s,
    rows_of: Callable[[DaySlice], pl.DataFrame],
    folder: Path,
    name: str,
    *,
    at_once: int = 2,
) -> list[WrittenFile]:
    """Write a table's rows, one file per day; without rows nothing is written.

    days: per row; rows_of: the table's rows of one day, so that wide tables are never whole in memory. at_once:
    days at a time: making the rows of one goes on while those of another are compressed.
    """
    with ThreadPoolExecutor(at_once) as pool:
        parts = day_slices(days)
        return list(pool.map(lambda part: _write_file(table, rows_of(part), part.day, folder, name), parts))


def write_frame(table: str, frame: pl.DataFrame, folder: Path, name: str, commit_day: date) -> list[WrittenFile]:
    """Write a whole frame; tables without an event date go under the day of the commit.

    A frame without rows is one file with the table's schema, under 1970-01-01.
    """
    if frame.height == 0:
        return [_write_file(table, frame, EPOCH_DAY, folder, name)]
    column = DATE_COLUMN[table]
    if column is not None:
        days = days_of(frame[column])
    else:
        days = np.full(frame.height, (commit_day - EPOCH_DAY).days, dtype=np.int64)
    return write_table(table, days, lambda part: take(frame, part.rows), folder, name)


def take(frame: pl.DataFrame, rows: slice | Int64s) -> pl.DataFrame:
    if isinstance(rows, slice):
        return frame.slice(rows.start, rows.stop - rows.start)
    return frame[rows]


def _write_file(table: str, frame: pl.DataFrame, day: date, folder: Path, name: str) -> WrittenFile:
    path = dated_path(table, day, name)
    write_file(table, frame, folder / path)
    return WrittenFile(path, frame.height)


def dated_path(table: str, day: date, name: str) -> str:
    """Where a table's rows of a day lie, relative to the output folder."""
    return f"{table}/date={day.isoformat()}/{name}.parquet"


def write_file(table: str, frame: pl.DataFrame, target: Path) -> None:
    """Write rows of a table as one file; raises UnavailableError where it cannot be written."""
    columns = list(TABLES[table])
    assert frame.columns == columns, f"{table}: {frame.columns}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(
            target,
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            statistics=True,
            metadata={"ARROW:schema": _plain_arrow_schema(table)},
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise unwritten(target, error) from error


def unwritten(target: Path, error: Exception) -> UnavailableError:
    """The one message about a file that could not be written; what polars says of a full disk tells nobody."""
    why = getattr(error, "strerror", None) or str(error)
    with suppress(OSError):
        if shutil.disk_usage(target.parent).free < _FULL_BELOW:
            why = "no space left on the device"
    return UnavailableError(f"{target}: cannot be written: {why}")


@cache
def _plain_arrow_schema(table: str) -> str:
    buffer = io.BytesIO()
    pl.DataFrame(schema=in_files(table)).write_parquet(buffer)
    metadata = pq.read_metadata(io.BytesIO(buffer.getvalue())).metadata
    return bytes(metadata[b"ARROW:schema"]).decode()
