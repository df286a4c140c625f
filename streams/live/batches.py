"""Micro-batches of a pipeline's event files: what is read for one commit, and where reading stands after it.

The partition that is furthest back in event time is read next, so that none runs far ahead of the others while
there is backlog: what a reader far behind would still owe is not made late by one far ahead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from streams.decode import Block, Decoded, Limits, admitted, decode
from streams.live.file_reader import FileReader, InputFile
from streams.settings import FilesInput, Topic

#: Records taken from one partition before the others are looked at.
_TURN_RECORDS = 65_536
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Read:
    """Records of one partition, in order, raw and decoded."""

    topic: Topic
    block: Block
    decoded: Decoded

    @property
    def partition(self) -> tuple[str, int]:
        return self.block.topic, self.block.partition


@dataclass(frozen=True)
class Position:
    """Where a partition is read on from, and whether it is idle.

    unfinished: the file that is read next, of files; next_offset, topic_id: of Kafka.
    """

    unfinished: InputFile | None
    is_idle: bool
    next_offset: int | None = None
    topic_id: str | None = None


@dataclass(frozen=True)
class Batch:
    """reads: in reading order of each partition; finished: (topic, file) read to their ends; at_end: nothing more is
    there now."""

    reads: list[Read]
    positions: dict[tuple[str, int], Position]
    finished: list[tuple[str, InputFile]]
    at_end: bool


@dataclass
class _Partition:
    topic: Topic
    reader: FileReader
    newest_us: int | None
    is_idle: bool
    has_records: bool
    last_read: float
    at_end: bool = False


@dataclass
class FileBatches:
    """Reads the topics of a files source; one thread at a time may call ``next_batch``.

    idle_after: seconds; now: a monotonic clock.
    """

    source: FilesInput
    limits: Callable[[], Limits]
    idle_after: float
    now: Callable[[], float] = time.monotonic
    _partitions: list[_Partition] = field(default_factory=list)

    def add(
        self,
        topic: Topic,
        finished: Iterable[InputFile] = (),
        unfinished: InputFile | None = None,
        newest_us: int | None = None,
        *,
        is_idle: bool = False,
        has_records: bool = False,
    ) -> None:
        """A topic and how far it has been read; raises UnavailableError where a file in use has changed or is gone.

        is_idle, has_records: as the newest commit has it.
        """
        reader = FileReader(self.source.path, topic.name, finished, unfinished)
        self._partitions.append(_Partition(topic, reader, newest_us, is_idle, has_records, self.now()))

    def next_batch(self, max_records: int, seconds: float, stopped: threading.Event, *, wait: bool) -> Batch:
        """At most so many records; fewer where the time is over or, unless it is to wait for more, all is read.

        Raises UnavailableError for files that cannot be read, are not what they were, or a missing folder.
        """
        until = self.now() + seconds
        reads: list[Read] = []
        left = max_records
        limits = self.limits()
        for partition in self._partitions:
            partition.at_end = False
        while left > 0 and not stopped.is_set():
            open_ = [partition for partition in self._partitions if not partition.at_end]
            if open_:
                behind = min(open_, key=lambda p: -1 if p.newest_us is None else p.newest_us)
                read = self._read(behind, min(left, _TURN_RECORDS), limits)
                if read is not None:
                    reads.append(read)
                    left -= read.decoded.read
            if self.now() >= until or not (open_ or wait):
                break
            if not open_:
                stopped.wait(min(_POLL_SECONDS, max(until - self.now(), 0)))
                for partition in self._partitions:
                    partition.at_end = False
        return Batch(reads, self._positions(), self._finished(), all(p.at_end for p in self._partitions))

    def _read(self, partition: _Partition, max_records: int, limits: Limits) -> Read | None:
        block = partition.reader.next_block(max_records)
        if block is None:
            partition.at_end = True
            is_silent = self.now() - partition.last_read >= self.idle_after
            partition.is_idle = partition.is_idle or is_silent or not partition.has_records
            return None
        partition.last_read = self.now()
        partition.is_idle, partition.has_records = False, True
        block = admitted(block, limits)
        decoded = decode(block, partition.topic.kind, limits, partition.topic.mapping)
        if decoded.events.height:
            newest = int(decoded.events["event_time"].to_physical().max())  # type: ignore[arg-type]
            partition.newest_us = max(newest, partition.newest_us or newest)
        return Read(partition.topic, block, decoded)

    def close(self) -> None:
        """Files need no closing."""

    def _positions(self) -> dict[tuple[str, int], Position]:
        """Idle is only what this batch has found at its end: of the others it is not known what is there."""
        return {
            (partition.topic.name, 0): Position(partition.reader.unfinished, partition.is_idle and partition.at_end)
            for partition in self._partitions
        }

    def _finished(self) -> list[tuple[str, InputFile]]:
        return [(p.topic.name, file) for p in self._partitions for file in p.reader.take_finished()]
