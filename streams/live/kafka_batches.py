"""Micro-batches of a pipeline's Kafka topics, read from the positions of its own commits.

Partitions are assigned by hand: no group, no rebalance. New ones are found while it runs, and read from their
beginning. A partition that is ahead of the others in event time is paused while they have backlog. Positions that the
broker no longer holds, or does not hold yet, stop it: records would be lost, or another topic would be read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CorruptRecordError, KafkaError, LogTruncationError, OffsetOutOfRangeError, RetriableError

from schemas.errors import UnavailableError
from streams.decode import Block, Limits, admitted, decode
from streams.kafka_client import known_offsets, open_consumer, unreachable
from streams.kafka_connections import Connections
from streams.kafka_fetch import columns_of, free_the_line, use_columns
from streams.live.batches import Batch, Position, Read
from streams.live.commit import Partition
from streams.live.kafka_identity import KnownTopics
from streams.settings import KafkaInput, Topic
from streams.wire_records import Records, join_records

_POLL_MS = 200
_POLL_RECORDS = 65_536
#: How much is asked for at once. While one response is read the next one is on its way, so of each broker that leads
#: some of the partitions there are two of ``fetch_max_bytes`` in memory at most, as compressed as they came; and a poll
#: decompresses no more than it gives. Beyond a MiB or two of each partition a larger response makes nothing faster.
#:
#: At the end of a topic a response costs some milliseconds, however few its records are. So the broker gathers for a
#: tenth of a second, which is little beside the time from commit to commit, or until a fetch is worth its while.
_FETCH: dict[str, Any] = {
    "fetch_max_bytes": 16 << 20,
    "max_partition_fetch_bytes": 2 << 20,
    "fetch_min_bytes": 256 << 10,
    "fetch_max_wait_ms": 100,
}
#: Fewer are decoded together with those of the next polls, up to the end of the batch: to decode takes some
#: milliseconds for each partition, however few its records are.
_DECODE_RECORDS = 16_384
#: A record of more bytes counts as several, so that a batch of large ones has its bounds, too.
_RECORD_BYTES = 1_024
_DISCOVERY_SECONDS = 10.0
#: How far ahead of the others in event time a partition may be read while they have backlog.
_AHEAD_US = 3_600_000_000
#: ``--until-end`` gives up on a broker that has not answered for so long.
_PATIENCE_SECONDS = 60.0
#: How long one question to the brokers may take; told to stop, it is not asked again.
_ANSWER_MS = 5_000


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

    known: the partitions of the newest commit; idle_after: seconds; now: a monotonic clock; on_slow_client: told, once,
    why the client's records are read object by object, where this release of it is not as expected.
    """

    def __init__(
        self,
        source: KafkaInput,
        limits: Callable[[], Limits],
        idle_after: float,
        known: Mapping[tuple[str, int], Partition],
        now: Callable[[], float] = time.monotonic,
        on_slow_client: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Raises UnavailableError for a broker, topic or position that is not there."""
        self._source = source
        self._limits = limits
        self._idle_after = idle_after
        self._now = now
        self._open: dict[TopicPartition, _Open] = {}
        self._heard = now()
        self._connections = Connections()
        self._topics = KnownTopics(
            source, self._connections, {p.topic: p.topic_id for p in known.values() if p.topic_id is not None}, now
        )
        self._consumer: KafkaConsumer = open_consumer(source, self._connections, **_FETCH)
        if why := use_columns(self._consumer):
            on_slow_client(why)
        try:
            self._discover(known, is_first_start=not known)
        except BaseException:
            self.close()
            raise

    def _discover(self, known: Mapping[tuple[str, int], Partition], *, is_first_start: bool = False) -> None:
        """Open partitions that are there and not open yet; while it runs, a broker that is away is asked next time."""
        self._discovered = self._now()
        is_start = not self._open
        at = {TopicPartition(*key): p.next_offset for key, p in known.items() if p.next_offset is not None}
        try:
            there = self._topics.look(at if is_start else self._offsets(), is_start=is_start)
            found = [TopicPartition(name, number) for name, numbers in there.items() for number in sorted(numbers)]
            new = [tp for tp in found if tp not in self._open]
            if not new:
                return
            first, end = self._first_and_end(new)
        except KafkaError as error:
            if is_start:
                raise unreachable(self._source, error) from error
            return
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
        # The others stay where they are, and keep what the client knows of their records' leaders.
        self._consumer.assign(list(self._open))
        for tp in new:
            self._consumer.seek(tp, self._open[tp].next_offset)

    def _first_and_end(self, partitions: list[TopicPartition]) -> list[dict[TopicPartition, int]]:
        """What the broker still has of each, and where it ends; raises KafkaError."""
        asks = (self._consumer.beginning_offsets, self._consumer.end_offsets)
        return [known_offsets(ask, partitions, _ANSWER_MS) for ask in asks]

    def _refuse_lost(self, tp: TopicPartition, offset: int, first: int, end: int) -> None:
        place = f"{tp.topic}/{tp.partition}"
        if offset < first:
            raise UnavailableError(
                f"{place}: offset {offset} is gone, the broker's first is {first}. "
                "Hint: its retention is shorter than this pipeline was behind; begin a new state from what it holds"
            )
        if offset > end:
            raise UnavailableError(
                f"{place}: offset {offset} is not there, the broker's end is {end}: the topic was made anew, or lost "
                "its newest records. Hint: begin a new state from what it holds"
            )

    def next_batch(self, max_records: int, seconds: float, stopped: threading.Event, *, wait: bool) -> Batch:
        """At most so many records; fewer where the time is over or, unless it is to wait for more, all is read.

        Raises UnavailableError where records cannot be read and waiting will not help.
        """
        until = self._now() + seconds
        before = self._offsets()
        reads: list[Read] = []
        gathered: dict[TopicPartition, list[Records]] = {}
        left = max_records
        while left > 0 and not stopped.is_set():
            if self._now() - self._discovered >= _DISCOVERY_SECONDS:
                self._discover({})
            self._hold_back()
            polled = self._poll(min(left, _POLL_RECORDS), until)
            for tp, found in polled.items():
                records = self._take_note(tp, columns_of(found))
                gathered.setdefault(tp, []).append(records)
                left -= max(len(records), records.value_bytes // _RECORD_BYTES)
            if sum(len(part) for parts in gathered.values() for part in parts) >= _DECODE_RECORDS:
                reads += self._decode(gathered)
                gathered = {}
            if not polled:
                self._note_ends(patient=wait)
            if self._now() >= until or (not wait and not polled and all(p.at_end for p in self._open.values())):
                break
        if not self._are_the_same_topics(before, stopped, patient=wait):
            return Batch([], self._positions(before), [], at_end=False)
        reads += self._decode(gathered)
        at_end = all(partition.at_end for partition in self._open.values())
        return Batch(reads, self._positions(self._offsets()), [], at_end)

    def _are_the_same_topics(
        self, before: Mapping[TopicPartition, int], stopped: threading.Event, *, patient: bool
    ) -> bool:
        """True where all that was read since came from the topics that this pipeline began with, as the brokers say.

        False where none says so: nothing was read, or it is told to stop. Until then it asks on, rather than count
        records of another topic.
        """
        read = [tp for tp, offset in self._offsets().items() if offset != before.get(tp)]
        while True:
            try:
                self._topics.look({**self._offsets(), **before}, read)
            except KafkaError as error:
                if not read or stopped.wait(_POLL_MS / 1_000):
                    return False
                self._give_up_on(error, patient=patient)
            else:
                return True

    def _give_up_on(self, error: KafkaError, *, patient: bool) -> None:
        """Raises UnavailableError where waiting for the brokers will not help, or has lasted too long."""
        if self._connections.refusal is not None:
            raise unreachable(self._source, self._connections.refusal) from error
        if not patient and self._now() - self._heard > _PATIENCE_SECONDS:
            raise unreachable(self._source, error) from error

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

    def _poll(self, max_records: int, until: float) -> dict[TopicPartition, list[object]]:
        timeout_ms = min(max(int((until - self._now()) * 1_000), 1), _POLL_MS)
        free_the_line(self._consumer)
        try:
            polled: dict[TopicPartition, list[object]] = self._consumer.poll(timeout_ms, max_records)
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            self._refuse_lost_now(error)
            return {}
        except CorruptRecordError as error:
            raise UnavailableError(f"{self._source.bootstrap_servers}: damaged records: {error}") from error
        except KafkaError as error:
            if isinstance(error, RetriableError):
                return {}
            raise unreachable(self._source, error) from error
        if polled:
            self._heard = self._now()
        return polled

    def _refuse_lost_now(self, error: OffsetOutOfRangeError | LogTruncationError) -> None:
        """Say why the broker does not have the next records, or has lost some that were read; does nothing where it is
        not there to ask, or has them after all: then they are asked for again."""
        try:
            self._topics.look(self._offsets())
            for tp in error.divergent_offsets if isinstance(error, LogTruncationError) else error.args[0]:
                offset = self._open[tp].next_offset
                first, end = self._first_and_end([tp])
                self._refuse_lost(tp, offset, first[tp], end[tp])
                if isinstance(error, LogTruncationError):
                    raise UnavailableError(
                        f"{tp.topic}/{tp.partition}: records before offset {offset}, which were read, are lost there. "
                        "Hint: begin a new state from what it holds"
                    ) from error
                self._consumer.seek(tp, offset)
        except KafkaError:
            return

    def _take_note(self, tp: TopicPartition, records: Records) -> Records:
        """Where the partition stands after these records; each of them with a time."""
        partition = self._open[tp]
        partition.next_offset = int(records.offsets[-1]) + 1
        partition.last_read = self._now()
        partition.is_idle, partition.has_records, partition.at_end = False, True, False
        return records.timed(self._limits().now_us)

    def _decode(self, gathered: Mapping[TopicPartition, list[Records]]) -> list[Read]:
        limits = self._limits()
        return [self._read(tp, join_records(parts), limits) for tp, parts in gathered.items()]

    def _read(self, tp: TopicPartition, wire: Records, limits: Limits) -> Read:
        partition = self._open[tp]
        block = admitted(Block(tp.topic, tp.partition, "", int(wire.offsets[0]), wire), limits)
        decoded = decode(block, partition.topic.kind, limits, partition.topic.mapping)
        if decoded.events.height:
            newest = int(decoded.events["event_time"].to_physical().to_numpy().max())
            partition.newest_us = max(newest, partition.newest_us or newest)
        return Read(partition.topic, block, decoded)

    def _note_ends(self, *, patient: bool) -> None:
        """Which partitions have been read to their ends; a broker that is away says nothing."""
        try:
            ends = known_offsets(self._consumer.end_offsets, list(self._open), _ANSWER_MS)
            positions = {tp: self._consumer.position(tp, timeout_ms=_ANSWER_MS) for tp in self._open}
            self._heard = self._now()
        except LogTruncationError as error:
            self._refuse_lost_now(error)
            return
        except KafkaError as error:
            for partition in self._open.values():
                partition.at_end = False
            self._give_up_on(error, patient=patient)
            return
        for tp, partition in self._open.items():
            # Past aborted and control records, which are never handed out.
            partition.next_offset = max(partition.next_offset, positions[tp] or 0)
            partition.at_end = partition.next_offset >= ends[tp]
            if partition.at_end:
                is_silent = self._now() - partition.last_read >= self._idle_after
                partition.is_idle = partition.is_idle or is_silent or not partition.has_records

    def _offsets(self) -> dict[TopicPartition, int]:
        """What is read next of each partition."""
        return {tp: partition.next_offset for tp, partition in self._open.items()}

    def _positions(self, offsets: Mapping[TopicPartition, int]) -> dict[tuple[str, int], Position]:
        return {
            (tp.topic, tp.partition): Position(
                None, partition.is_idle and partition.at_end, offsets[tp], self._topics.ids.get(tp.topic)
            )
            for tp, partition in self._open.items()
            if tp in offsets
        }

    def close(self) -> None:
        self._consumer.close()
