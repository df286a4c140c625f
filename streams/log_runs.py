"""The topics of a log side by side, as they were when it was written: runs of records in order of event time.

An engine that reads along must not see a topic's end before another's beginning: it would take the second one's events
for late. So the topic that is behind always goes next, with as many records as come before all the others' (within
``_SLACK_US``). Within a topic records keep their order: files by name, then lines or rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from streams.columns import Longs
from streams.event_keys import Named, read_names
from streams.file_source import read_blocks
from streams.json_lines import Lines
from streams.parquet_rows import rows_as_json

_BLOCK_BYTES = 4 << 20
_RECORDS_AHEAD = 4_096
#: Far below any time that events are waited for, and enough for runs of hundreds where a log is dense.
_SLACK_US = 60_000_000
_NEVER_US = 1 << 62


@dataclass(frozen=True)
class Run:
    """Records of one topic that follow each other, and their keys."""

    topic: str
    records: list[bytes]
    keys: list[bytes | None]


def read_runs(
    files: dict[str, list[Path]], *, longest: int, on_read: Callable[[int], None] = lambda _: None
) -> Iterator[Run]:
    """All records of all topics. files: of each topic, in order; longest: records in a run; on_read: takes bytes read.

    Raises UnavailableError for a file that cannot be read to its end.
    """
    heads = [_Head(topic, _read(topic, of_topic, on_read)) for topic, of_topic in files.items()]
    heads = [head for head in heads if head.has_more()]
    while heads:
        behind = min(heads, key=lambda head: head.time_us)
        others = min((head.time_us for head in heads if head is not behind), default=_NEVER_US)
        yield behind.take(others + _SLACK_US, longest)
        if not behind.has_more():
            heads.remove(behind)


class _Head:
    """Where a topic has been read to."""

    def __init__(self, topic: str, chunks: Iterator[list[bytes]]) -> None:
        self._topic = topic
        self._chunks = chunks
        self._records: list[bytes] = []
        self._at = 0

    def has_more(self) -> bool:
        """Whether there is a next record; reads on where it has to."""
        if self._at == len(self._records):
            self._records = next(self._chunks, [])
            self._named = read_names(self._records)
            self._times_us = _rising(self._named)
            self._at = 0
        return bool(self._records)

    @property
    def time_us(self) -> int:
        """Of the next record."""
        return int(self._times_us[self._at])

    def take(self, until_us: int, longest: int) -> Run:
        """The next record, and more up to this time."""
        end = int(np.searchsorted(self._times_us, until_us, side="right"))
        part = slice(self._at, min(max(end, self._at + 1), self._at + longest))
        run = Run(self._topic, self._records[part], self._named.keys[part])
        self._at += len(run.records)
        return run


def _rising(named: Named) -> Longs:
    """Each record's time, or an earlier one that is still to come: a wrong clock far ahead holds nothing up."""
    rising: Longs = np.minimum.accumulate(named.times_us[::-1])[::-1]
    return rising


def _read(topic: str, files: list[Path], on_read: Callable[[int], None]) -> Iterator[list[bytes]]:
    """A topic's records, some at a time."""
    for file in files:
        untold = file.stat().st_size
        for block in read_blocks(file, topic, block_bytes=_BLOCK_BYTES):
            if isinstance(block.data, pl.DataFrame):
                yield from _rows(block.data)
            elif isinstance(block.data, bytes):
                yield from _lines(block.data)
                if file.suffix == ".jsonl":  # of others, one knows only at the end how much was read
                    untold -= len(block.data)
                    on_read(len(block.data))
        on_read(untold)


def _lines(data: bytes) -> Iterator[list[bytes]]:
    starts, ends = Lines(data).bounds
    for first in range(0, len(starts), _RECORDS_AHEAD):
        part = slice(first, first + _RECORDS_AHEAD)
        yield [data[start:end] for start, end in zip(starts[part].tolist(), ends[part].tolist(), strict=True)]


def _rows(rows: pl.DataFrame) -> Iterator[list[bytes]]:
    for part in rows.iter_slices(_RECORDS_AHEAD):
        yield rows_as_json(part, None)
