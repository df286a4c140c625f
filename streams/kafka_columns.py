# ruff: noqa: SLF001 - what kafka-python keeps to itself; tests/test_kafka_seam.py tells when it has moved
"""A partition's part of a response of kafka-python, as columns.

The client keeps all of its work but one: protocol, security, positions, checksums, decompression, aborted transactions.
Only that it makes an object of each record, which takes several times as long as all the rest, is done by
``wire_batches`` for many batches at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from types import SimpleNamespace
from typing import Any

from kafka import TopicPartition, codec
from kafka.consumer.fetcher import IsolationLevel
from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecords
from kafka.record.memory_records import MemoryRecordsBuilder

from streams.wire_batches import WireBatch, read_batches
from streams.wire_records import Records, join_records, records_of

#: So many decompressed bytes are read at once: more would leave the processor's cache and take longer, and less would
#: be felt as the fixed cost of a read, a quarter of a millisecond.
_GROUP_BYTES = 4 << 20
_FORMAT = 2
_DECODERS: dict[int, Callable[[Any], bytes]] = {
    1: codec.gzip_decode,
    2: codec.snappy_decode,
    3: codec.lz4_decode,
    4: codec.zstd_decode,
}


class PartitionColumns:
    """In place of a ``PartitionRecords``, which is kept for what it knows and for the fetcher's own books.

    records: the same ``MemoryRecords`` that it would read from.
    """

    def __init__(self, plain: Any, records: Any) -> None:
        self._plain = plain
        self._batches = self._readable(records)
        self._ready: Records | None = None
        self._error: Exception | None = None
        self._behind: int | None = None
        self._is_reached = self._is_read = False

    @property
    def topic_partition(self) -> Any:
        return self._plain.topic_partition

    @property
    def next_fetch_offset(self) -> int:
        offset: int = self._plain.next_fetch_offset
        return offset

    @property
    def leader_epoch(self) -> int:
        epoch: int = self._plain.leader_epoch
        return epoch

    def __bool__(self) -> bool:
        return bool(self._plain)

    def drain(self) -> None:
        self._ready = None
        self._plain.drain()

    def take(self, n: int | None = None) -> _Taken | list[Records]:
        """At most so many records, fewer where they are large; none where there are no more.

        Raises KafkaError where the next ones cannot be read, then and ever after.
        """
        wanted = sys.maxsize if n is None else n
        if self._ready is None:
            self._ready = self._next_records(wanted)
        taken = self._ready
        if taken is None:
            self._finish()
            return []
        self._ready = taken.slice(wanted) if len(taken) > wanted else None
        taken = taken.slice(0, wanted)
        self._plain.next_fetch_offset = int(taken.offsets[-1]) + 1
        self._plain.records_read += len(taken)
        if self._ready is None and self._is_read:
            self._finish()
        return _Taken(taken)

    def _finish(self) -> None:
        if self and self._behind is not None:
            # Behind what compaction or an abort has left out, too, or it would be fetched again and again.
            self._plain.next_fetch_offset = self._behind
        self.drain()

    def _next_records(self, wanted: int) -> Records | None:
        """At least one record, where there is any."""
        while group := self._next_group(wanted):
            records = _read(group)
            # The first batch may begin before the position.
            is_due = records.offsets >= (0 if self._is_reached else self._plain.fetch_offset)
            if is_due.any():
                self._is_reached = True
                return records.slice(int(is_due.argmax()))
        return None

    def _next_group(self, wanted: int) -> list[_Batch]:
        """Batches with so many records, or bytes enough; fewer before an error, which the next call raises."""
        if self._error is not None:
            raise self._error
        group: list[_Batch] = []
        count = size = 0
        try:
            for batch in self._batches:
                group.append(batch)
                count += batch.count
                size += batch.size
                if count >= wanted or size >= _GROUP_BYTES:
                    break
            else:
                self._is_read = True
        except Exception as error:
            self._error = error
            if not group:
                raise
        self._plain.bytes_read += size
        return group

    def _readable(self, records: Any) -> Iterator[_Batch]:
        """The batches with records for the reader; the client's own steps, in its order."""
        plain = self._plain
        while (batch := records.next_batch()) is not None:
            if plain.check_crcs and not batch.validate_crc():
                place = f"{plain.topic_partition} at offset {batch.base_offset}"
                raise CorruptRecordError(f"Record batch for partition {place} failed crc check")
            if batch.magic == _FORMAT:
                plain.leader_epoch = batch.leader_epoch
                self._behind = batch.next_offset
                if self._is_left_out(batch):
                    continue
            else:
                self._behind = None
            yield _Batch(batch, check_crcs=plain.check_crcs)

    def _is_left_out(self, batch: Any) -> bool:
        plain = self._plain
        if plain.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            plain._consume_aborted_transactions_up_to(batch.last_offset)
            if plain._contains_abort_marker(batch):
                plain.aborted_producer_ids.discard(batch.producer_id)
            elif plain._is_batch_aborted(batch):
                return True
        is_control: bool = batch.is_control_batch
        return is_control


class _Taken:
    """Records as one item of a list, which yet counts as many: the fetcher asks how long it is, and extends by it."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Records]:
        yield self._records


class _Batch:
    """One of the client's batches; of the present format, with its records decompressed."""

    def __init__(self, batch: Any, *, check_crcs: bool) -> None:
        self._batch = batch
        self._check_crcs = check_crcs
        self.wire = _wire(batch) if batch.magic == _FORMAT else None
        self.count: int = 1 if self.wire is None else self.wire.count
        self.size: int = batch.size_in_bytes if self.wire is None else len(self.wire.records)

    def client_records(self) -> Iterator[Any]:
        """The client's own objects."""
        for record in self._batch:
            if self._check_crcs and not record.validate_crc():
                raise CorruptRecordError(f"Record at offset {record.offset} failed crc check")
            yield record


def _wire(batch: Any) -> WireBatch:
    records = memoryview(batch._buffer)[batch.HEADER_STRUCT.size :]
    is_create_time = batch.timestamp_type == batch.CREATE_TIME
    return WireBatch(
        batch.base_offset,
        batch.last_offset_delta,
        batch.records_count,
        batch.first_timestamp if is_create_time else batch.max_timestamp,
        is_create_time,
        _decompressed(batch, records) if batch.compression_type else records,
    )


def _decompressed(batch: Any, records: memoryview) -> bytes:
    batch._assert_has_codec(batch.compression_type)
    try:
        return _DECODERS[batch.compression_type](records)
    except Exception as error:  # each library has its own
        why = f"{type(error).__name__}: {error}"
        raise CorruptRecordError(f"Record batch at offset {batch.base_offset} cannot be decompressed: {why}") from error


def _read(group: list[_Batch]) -> Records:
    """Old formats, one message a batch, and what the columns do not prove are the client's to read."""
    parts: list[Records] = []
    for is_wire, batches in groupby(group, lambda batch: batch.wire is not None):
        same = list(batches)
        parts += _read_wire(same) if is_wire else [_read_plain(same)]
    return join_records(parts)


def _read_wire(group: list[_Batch]) -> list[Records]:
    records = read_batches([batch.wire for batch in group if batch.wire is not None])
    if records is not None:
        return [records]
    if len(group) == 1:
        return [_read_plain(group)]
    half = len(group) // 2
    return _read_wire(group[:half]) + _read_wire(group[half:])


def _read_plain(batches: list[_Batch]) -> Records:
    return records_of(record for batch in batches for record in batch.client_records())


def check_alike(plain: Any) -> None:
    """Raises whatever it meets unless a few records are read alike by the class given and as columns."""
    for judge, columns in (_probes(plain), _probes(plain, producer_id=1, producer_epoch=0, base_sequence=0)):
        found = []
        for way in (judge, columns):
            records = [record for count in (1, 5, 5) if way for record in way.take(count)]
            found.append((records, way.next_fetch_offset, way.topic_partition, bool(way)))
        (objects, *expected), (parts, *got) = found
        if got != expected or not _are_alike(objects, parts):
            raise LookupError("columns are not what the client reads")


def _probes(plain: Any, **producer: int) -> tuple[Any, Any]:
    """Both ways to read three records from the second one on; all three, where they have a producer, are aborted."""
    builder = MemoryRecordsBuilder(_FORMAT, 1, 1 << 10, transactional=bool(producer), **producer)
    for number in range(3):
        builder.append(number, None, b"%d" % number, [("name", b"value")])
    builder.close()
    options = {
        "check_crcs": True,
        "isolation_level": IsolationLevel.READ_COMMITTED,
        "aborted_transactions": [SimpleNamespace(producer_id=1, first_offset=0)] if producer else [],
    }
    judge, own = (MemoryRecords(bytes(builder.buffer())) for _ in range(2))
    place = TopicPartition("probe", 0)
    return plain(1, place, judge, **options), PartitionColumns(plain(1, place, own, **options), own)


def _are_alike(objects: list[Any], parts: list[Records]) -> bool:
    if not parts:
        return not objects
    expected, found = records_of(objects), join_records(parts)
    return (
        found.offsets.tolist() == expected.offsets.tolist()
        and found.times_us.tolist() == expected.times_us.tolist()
        and found.keys.equals(expected.keys)
        and found.values.equals(expected.values)
        and found.headers.equals(expected.headers)
    )
