"""What a commit read, as rows of the archive: each record as it was read."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from schemas.archive import ARCHIVE, HEADERS
from schemas.errors import UnavailableError
from schemas.events import TIME
from streams.decode import Block
from streams.json_lines import Lines
from streams.live.batches import Read
from streams.live.output_folder import Layout
from streams.parquet_rows import rows_as_json
from streams.parquet_sink import COMPRESSION_LEVEL, unwritten
from streams.wire_records import Records


def archive_rows(reads: Iterable[Read], commit_id: int, now_us: int) -> dict[str, pl.DataFrame]:
    """By topic the records that were read, in reading order of each partition. now_us: the time of reading."""
    by_topic: dict[str, list[pl.DataFrame]] = {}
    for read in reads:
        if read.decoded.read:
            by_topic.setdefault(read.block.topic, []).append(_rows(read, commit_id, now_us))
    return {topic: pl.concat(frames) for topic, frames in by_topic.items()}


def _rows(read: Read, commit_id: int, now_us: int) -> pl.DataFrame:
    block, count = read.block, read.decoded.read
    if isinstance(block.data, Records):
        offsets, times = block.data.offsets, pl.Series(block.data.times_us)
        keys, values, headers = block.data.keys, block.data.values, block.data.headers
    else:
        offsets, times = np.arange(count) + block.first_offset, _constant(now_us, pl.Int64(), count)
        keys, values = _constant(None, pl.Binary(), count), pl.Series(_raw(block, read), dtype=pl.Binary)
        headers = _constant([], HEADERS, count)
    columns = [
        _constant(block.topic, ARCHIVE["topic"], count),
        _constant(block.partition, ARCHIVE["partition"], count),
        pl.Series(offsets, dtype=ARCHIVE["offset"]),
        _constant(block.file, ARCHIVE["file"], count),
        times.cast(TIME),
        keys,
        values,
        headers,
        _constant(commit_id, ARCHIVE["commit_id"], count),
    ]
    return pl.DataFrame([column.alias(name) for name, column in zip(ARCHIVE, columns, strict=True)])


def _raw(block: Block, read: Read) -> list[bytes]:
    """The records of event files. A list of Python's bytes: files keep their records themselves, few archive them."""
    if isinstance(block.data, bytes):
        lines = Lines(block.data)
        return lines.take(np.arange(len(lines)))
    assert isinstance(block.data, pl.DataFrame), "JSON Lines or Parquet rows"
    return rows_as_json(block.data, read.topic.kind)


def _constant(value: object, dtype: pl.DataType, length: int) -> pl.Series:
    return pl.Series([value], dtype=dtype).new_from_index(0, length)


def _write(topic: str, rows: pl.DataFrame, target: Path) -> None:
    """Raises UnavailableError where the file cannot be written."""
    assert dict(rows.schema) == ARCHIVE, f"{topic}: {rows.schema}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(target, compression="zstd", compression_level=COMPRESSION_LEVEL, statistics=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise unwritten(target, error) from error


def _label(topic: str) -> str:
    """A topic's name may be as long as that of a file."""
    return hashlib.sha256(topic.encode()).hexdigest()[:12]


#: Of the folder of an archive.
LAYOUT = Layout(_write, lambda _: None, _label)


def forget_before(archive: Path, committed_at_us: int, retention_us: int) -> None:
    """Delete the date folders all of whose records are older than the retention; raises UnavailableError."""
    oldest = (datetime.fromtimestamp(committed_at_us / 1e6, UTC) - timedelta(microseconds=retention_us)).date()
    try:
        for folder in archive.glob("*/date=*"):
            with suppress(ValueError):  # no folder of ours
                if date.fromisoformat(folder.name.removeprefix("date=")) < oldest:
                    shutil.rmtree(folder)
    except OSError as error:
        raise UnavailableError(f"{archive}: old records cannot be deleted: {error.strerror or error}") from error
