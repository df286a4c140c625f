"""Micro-batches of a pipeline's Kafka topics, read from the positions of its own commits.

Partitions are assigned by hand: no group, no rebalance. New ones are found while it runs, and read from their
beginning. A partition that is ahead of the others in event time is paused while they have backlog. Positions that the
broker no longer holds, or does not hold yet, stop it: records would be lost, or another topic would be read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CorruptRecordError, KafkaError, OffsetOutOfRangeError, RetriableError

from schemas.errors import UnavailableError
from streams.decode import Block, Limits, decode
from streams.kafka_client import open_consumer, unreachable
from streams.live.batches import Batch, Position, Read
from streams.live.commit import Partition
from streams.settings import KafkaInput, Topic
from streams.wire_records import Records

_POLL_MS = 200
_POLL_RECORDS = 65_536
_DISCOVERY_SECONDS = 10.0
#: How far ahead of the others in event time a partition may be read while they have backlog.
_AHEAD_US = 3_600_000_000
#: ``--until-end`` gives up on a broker that has not answered for so long.
_PATIENCE_SECONDS = 60.0


@dataclass
class _Open:
    topic: Topic
    next_offset: int
    newest_us: int | None
    is_idle: bool
    has_records: bool
    last_read: float
    at_end: bool = False


class KafkaBatches:
    """Reads the topics of a Kafka source; one thread at a time may call ``next_batch``.

    known: the partitions of the newest commit; idle_after: seconds; now: a monotonic clock.
    """

    def __init__(
        self,
        source: KafkaInput,
        limits: Callable[[], Limits],
        idle_after: float,
        known: Mapping[tuple[str, int], Partition],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises UnavailableError for a broker, topic or position that is not there."""
        self._source = source
        self._limits = limits
        self._idle_after = idle_after
        self._now = now
        self._open: dict[TopicPartition, _Open] = {}
        self._heard = now()
        self._consumer: KafkaConsumer = open_consumer(source, max_poll_records=_POLL_RECORDS)
        try:
            self._discover(known, is_first_start=not known)
        except BaseException:
            self.close()
            raise

    def _discover(self, known: Mapping[tuple[str, int], Partition], *, is_first_start: bool = False) -> None:
        """Open partitions that are there and not open yet."""
        self._discovered = self._now()
        new = [tp for topic in self._source.topics for tp in self._partitions(topic) if tp not in self._open]
        if not new:
            return
        try:
            first, end = self._consumer.beginning_offsets(new), self._consumer.end_offsets(new)
        except KafkaError as error:
            raise unreachable(self._source, error) from error
        topics = {topic.name: topic for topic in self._source.topics}
        for tp in new:
            was = known.get((tp.topic, tp.partition))
            starts_late = is_first_start and self._source.start == "latest"
            offset = end[tp] if starts_late else first[tp]
            if was is not None and was.next_offset is not None:
                offset = was.next_offset
                self._refuse_lost(tp, offset, first[tp], end[tp])
            self._open[tp] = _Open(
                topics[tp.topic],
                offset,
                None if was is None else was.newest_us,
                is_idle=was is not None and was.is_idle,
                has_records=was is not None and was.totals.read > 0,
                last_read=self._now(),
            )
        self._consumer.assign(list(self._open))
        for tp, partition in self._open.items():
            self._consumer.seek(tp, partition.next_offset)

    def _partitions(self, topic: Topic) -> list[TopicPartition]:
        try:
            numbers = self._consumer.partitions_for_topic(topic.name)
        except KafkaError as error:
            raise unreachable(self._source, error) from error
        if not numbers and not any(tp.topic == topic.name for tp in self._open):
            raise UnavailableError(f"{self._source.bootstrap_servers}: no topic {topic.name}")
        return [TopicPartition(topic.name, number) for number in sorted(numbers)]

    def _refuse_lost(self, tp: TopicPartition, offset: int, first: int, end: int) -> None:
        place = f"{tp.topic}/{tp.partition}"
        if offset < first:
            raise UnavailableError(
                f"{place}: offset {offset} is gone, the broker's first is {first}. "
                "Hint: its retention is shorter than this pipeline was stopped; begin a new state from what it holds"
            )
        if offset > end:
            raise UnavailableError(
                f"{place}: offset {offset} is not there, the broker's end is {end}: the topic was made anew. "
                "Hint: give the new topic another name, or begin a new state"
            )

    def next_batch(self, max_records: int, seconds: float, stopped: threading.Event, *, wait: bool) -> Batch:
        """At most so many records; fewer where the time is over or, unless it is to wait for more, all is read.

        Raises UnavailableError where records cannot be read and waiting will not help.
        """
        until = self._now() + seconds
        reads: list[Read] = []
        left = max_records
        while left > 0 and not stopped.is_set():
            if self._now() - self._discovered >= _DISCOVERY_SECONDS:
                self._discover({})
            self._hold_back()
            polled = self._poll(min(left, _POLL_RECORDS))
            for tp, records in polled.items():
                reads.append(self._read(tp, records))
                left -= reads[-1].decoded.read
            if not polled:
                self._note_ends(patient=wait)
            if self._now() >= until or (not wait and not polled and all(p.at_end for p in self._open.values())):
                break
        return Batch(reads, self._positions(), [], all(partition.at_end for partition in self._open.values()))

    def _hold_back(self) -> None:
        """Pause partitions that are ahead of one that has backlog."""
        behind = [p.newest_us for p in self._open.values() if not p.at_end]
        slowest = None if not behind or None in behind else min(time_us for time_us in behind if time_us is not None)
        ahead = [
            tp
            for tp, p in self._open.items()
            if slowest is not None and p.newest_us is not None and p.newest_us > slowest + _AHEAD_US
        ]
        paused = self._consumer.paused()
        if resumed := [tp for tp in paused if tp not in ahead]:
            self._consumer.resume(*resumed)
        if ahead := [tp for tp in ahead if tp not in paused]:
            self._consumer.pause(*ahead)

    def _poll(self, max_records: int) -> dict[TopicPartition, list[object]]:
        try:
            polled: dict[TopicPartition, list[object]] = self._consumer.poll(
                timeout_ms=_POLL_MS, max_records=max_records
            )
        except OffsetOutOfRangeError as error:
            [tp, *_] = [*getattr(error, "args", [{}])[0]] or [None]
            raise UnavailableError(
                f"{tp}: the position asked for is not there any more: retention or a topic made anew. "
                "Hint: start again to see which offsets are left"
            ) from error
        except CorruptRecordError as error:
            raise UnavailableError(
                f"{self._source.bootstrap_servers}: a record's checksum is wrong: {error}"
            ) from error
        except KafkaError as error:
            if isinstance(error, RetriableError):
                return {}
            raise unreachable(self._source, error) from error
        if polled:
            self._heard = self._now()
        return polled

    def _read(self, tp: TopicPartition, records: Iterable[object]) -> Read:
        partition = self._open[tp]
        limits = self._limits()
        wire = _as_records(records, limits.now_us)
        block = Block(tp.topic, tp.partition, "", int(wire.offsets[0]), wire)
        decoded = decode(block, partition.topic.kind, limits, partition.topic.mapping)
        partition.next_offset = int(wire.offsets[-1]) + 1
        partition.last_read = self._now()
        partition.is_idle, partition.has_records, partition.at_end = False, True, False
        if decoded.events.height:
            newest = int(decoded.events["event_time"].to_physical().to_numpy().max())
            partition.newest_us = max(newest, partition.newest_us or newest)
        return Read(partition.topic, block, decoded)

    def _note_ends(self, *, patient: bool) -> None:
        """Which partitions have been read to their ends; a broker that is away says nothing."""
        try:
            ends = self._consumer.end_offsets(list(self._open), timeout_ms=5_000)
            self._heard = self._now()
        except KafkaError as error:
            for partition in self._open.values():
                partition.at_end = False
            if not patient and self._now() - self._heard > _PATIENCE_SECONDS:
                raise unreachable(self._source, error) from error
            return
        for tp, partition in self._open.items():
            # Past aborted and control records, which are never handed out.
            partition.next_offset = max(partition.next_offset, self._consumer.position(tp) or 0)
            partition.at_end = partition.next_offset >= ends[tp]
            if partition.at_end:
                is_silent = self._now() - partition.last_read >= self._idle_after
                partition.is_idle = partition.is_idle or is_silent or not partition.has_records

    def _positions(self) -> dict[tuple[str, int], Position]:
        return {
            (tp.topic, tp.partition): Position(None, p.is_idle and p.at_end, p.next_offset)
            for tp, p in self._open.items()
        }

    def close(self) -> None:
        self._consumer.close()


def _as_records(records: Iterable[object], now_us: int) -> Records:
    """The client's record objects as columns. A loop over records: the client makes an object of each anyway."""
    rows = [(r.offset, r.timestamp, r.key, r.value) for r in records]  # type: ignore[attr-defined]
    offsets, times, keys, values = zip(*rows, strict=True)
    times_us = np.array(times, dtype=np.int64) * 1_000
    times_us[times_us < 0] = now_us
    return Records(
        np.array(offsets, dtype=np.int64),
        times_us,
        pl.Series(keys, dtype=pl.Binary),
        pl.Series(values, dtype=pl.Binary),
    )
