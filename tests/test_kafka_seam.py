"""What ``streams/kafka_columns.py`` takes for granted of kafka-python, part by part.

These fail where a release of the client has moved one: the engine still reads then, but at a sixth of the speed. See to
``kafka_columns``, which says what it needs of whom.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from types import SimpleNamespace
from typing import Any

import kafka
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer import fetcher as module
from kafka.consumer.fetcher import CompletedFetch, Fetcher, IsolationLevel
from kafka.consumer.subscription_state import SubscriptionState
from kafka.record import MemoryRecords

from streams.kafka_fetch import columns_of, free_the_line, use_columns
from streams.wire_records import Records
from tests.record_batches import SHAPES, BatchOf, marker, rows

PLACE = TopicPartition("topic", 0)
MOVED = f"kafka-python {kafka.__version__} has moved what streams/kafka_columns.py builds on: "


def partition_records(*batches: BatchOf, position: int = 0, **options: Any) -> Any:
    data = b"".join(batch.encoded() for batch in batches)
    return Fetcher.PartitionRecords(position, PLACE, MemoryRecords(data), **options)


def test_the_class_that_is_replaced_has_its_name_and_its_arguments() -> None:
    assert inspect.isclass(Fetcher.PartitionRecords), f"{MOVED}Fetcher.PartitionRecords"
    assert [*inspect.signature(Fetcher.PartitionRecords.__init__).parameters] == [
        "self",
        "fetch_offset",
        "tp",
        "records",
        "key_deserializer",
        "value_deserializer",
        "check_crcs",
        "isolation_level",
        "aborted_transactions",
        "metric_aggregator",
        "on_drain",
    ], f"{MOVED}the arguments of PartitionRecords"


def test_the_fetcher_makes_it_by_way_of_itself_with_the_records_third() -> None:
    source = inspect.getsource(Fetcher._parse_fetched_data)
    assert "self.PartitionRecords(fetch_offset, tp, records," in source, f"{MOVED}who makes a PartitionRecords, and how"


def test_it_has_the_attributes_that_are_read_and_set() -> None:
    plain = partition_records(BatchOf(rows(3)), position=2)
    found = {name: getattr(plain, name, None) for name in ("fetch_offset", "next_fetch_offset", "leader_epoch")}
    found |= {name: getattr(plain, name, None) for name in ("bytes_read", "records_read", "topic_partition")}
    assert found == {
        "fetch_offset": 2,
        "next_fetch_offset": 2,
        "leader_epoch": -1,
        "bytes_read": 0,
        "records_read": 0,
        "topic_partition": PLACE,
    }, f"{MOVED}attributes of PartitionRecords"
    assert plain.check_crcs is True, f"{MOVED}check_crcs"
    assert plain.isolation_level == IsolationLevel.READ_UNCOMMITTED, f"{MOVED}isolation_level"
    assert plain.aborted_producer_ids == set(), f"{MOVED}aborted_producer_ids"


def test_it_is_true_until_it_is_drained_which_tells_the_fetcher_once() -> None:
    told: list[Any] = []
    plain = partition_records(BatchOf(rows(3)), on_drain=told.append)
    assert plain, f"{MOVED}truth of PartitionRecords"
    plain.drain()
    plain.drain()
    assert not plain, f"{MOVED}drain"
    assert told == [plain], f"{MOVED}on_drain"


def test_it_tells_which_batches_were_aborted() -> None:
    transaction = SimpleNamespace(producer_id=7, first_offset=5)
    plain = partition_records(aborted_transactions=[transaction])
    aborted = BatchOf(rows(3, 5), producer=7, is_transactional=True)
    records = MemoryRecords(
        aborted.encoded() + marker(8, 7, aborts=True).encoded() + marker(9, 7, aborts=False).encoded()
    )
    batch, abort, commit = records.next_batch(), records.next_batch(), records.next_batch()
    plain._consume_aborted_transactions_up_to(4)
    assert not plain._is_batch_aborted(batch), f"{MOVED}_consume_aborted_transactions_up_to"
    plain._consume_aborted_transactions_up_to(5)
    assert plain._is_batch_aborted(batch), f"{MOVED}_is_batch_aborted"
    found = [plain._contains_abort_marker(each) for each in (batch, abort, commit)]
    assert found == [False, True, False], f"{MOVED}_contains_abort_marker"


def test_a_batch_has_the_fields_that_are_read() -> None:
    [batch] = MemoryRecords(BatchOf(rows(3, 10), base=9, last=20, producer=7, append_ms=5, epoch=4).encoded())
    fields = {
        "magic": 2,
        "base_offset": 9,
        "last_offset": 20,
        "next_offset": 21,
        "last_offset_delta": 11,
        "records_count": 3,
        "first_timestamp": rows(1)[0].time_ms,
        "max_timestamp": 5,
        "timestamp_type": 1,
        "CREATE_TIME": 0,
        "compression_type": 0,
        "producer_id": 7,
        "leader_epoch": 4,
        "is_control_batch": False,
    }
    assert {name: getattr(batch, name, None) for name in fields} == fields, f"{MOVED}DefaultRecordBatch"
    assert batch.has_producer_id() is True, f"{MOVED}has_producer_id"
    assert batch.validate_crc() is True, f"{MOVED}validate_crc"
    encoded = BatchOf(rows(3, 10), base=9).encoded()
    [batch] = MemoryRecords(encoded)
    assert bytes(batch._buffer[batch.HEADER_STRUCT.size :]) == encoded[61:], f"{MOVED}where a batch keeps its bytes"
    batch._assert_has_codec(1)


def test_a_poll_asks_the_fetcher_that_the_consumer_has() -> None:
    assert "self._fetcher = Fetcher(" in inspect.getsource(KafkaConsumer.__init__), f"{MOVED}KafkaConsumer._fetcher"
    assert "self._fetcher.fetch_records(" in inspect.getsource(KafkaConsumer._poll_once), f"{MOVED}poll"
    assert "self.fetched_records(" in inspect.getsource(Fetcher.fetch_records), f"{MOVED}fetch_records"


def fetcher_of(*fetched: tuple[int, bytes], columns: bool) -> Any:
    """A fetcher to which a response has come for each partition, numbered from 0: its position and the bytes."""
    subscriptions = SubscriptionState("none")
    places = [TopicPartition("topic", number) for number in range(len(fetched))]
    subscriptions.assign_from_user(places)
    manager = SimpleNamespace(_net=None)
    found = Fetcher(SimpleNamespace(_manager=manager), subscriptions, isolation_level="read_committed")
    for place, (position, data) in zip(places, fetched, strict=True):
        subscriptions.seek(place, position)
        part = SimpleNamespace(
            error_code=0,
            high_watermark=1 << 20,
            diverging_epoch=None,
            records=data,
            aborted_transactions=None,
            preferred_read_replica=-1,
        )
        found._completed_fetches.append(CompletedFetch(place, position, 12, part, None))
    if columns:
        assert use_columns(SimpleNamespace(_fetcher=found)) == ""
    return found


def drained(fetcher: Any, max_records: int) -> tuple[list[dict[int, list[int]]], list[int]]:
    """(offsets by partition, poll by poll; the positions in the end)."""
    polls = []
    while fetcher._completed_fetches or fetcher._next_partition_records:
        polled, _ = fetcher.fetched_records(max_records)
        polls.append({place.partition: columns_of(some).offsets.tolist() for place, some in polled.items()})
    subscriptions = fetcher._subscriptions
    return polls, [subscriptions.position(place).offset for place in sorted(subscriptions.assigned_partitions())]


@pytest.mark.parametrize("max_records", [1, 3, 100, 100_000])
def test_a_poll_gives_the_same_records_of_each_partition_either_way(max_records: int) -> None:
    shapes = [shape for shape in SHAPES.values() if not shape.aborted]
    fetched = [(shape.position, shape.data) for shape in shapes]
    results = []
    for columns in (False, True):
        polls, positions = drained(fetcher_of(*fetched, columns=columns), max_records)
        assert max(sum(map(len, poll.values())) for poll in polls) <= max_records
        offsets = [[at for poll in polls for at in poll.get(number, [])] for number in range(len(shapes))]
        results.append((offsets, positions))
    assert results[0] == results[1], f"{MOVED}how polls are put together"
    assert results[1][0] == [[row.offset for row in shape.expected] for shape in shapes]
    assert results[1][1] == [shape.next_offset for shape in shapes]


def test_a_poll_extends_a_list_by_what_is_taken() -> None:
    fetcher = fetcher_of((0, BatchOf(rows(5)).encoded()), columns=True)
    polled, _ = fetcher.fetched_records(100)
    assert [type(item) for item in polled[PLACE]] == [Records], f"{MOVED}how a poll keeps what is taken"


@pytest.mark.parametrize("columns", [False, True])
def test_records_of_a_partition_that_is_paused_wait_until_it_is_resumed(columns: bool) -> None:  # noqa: FBT001
    fetcher = fetcher_of((0, BatchOf(rows(5)).encoded()), (0, BatchOf(rows(5)).encoded()), columns=columns)
    first, _ = fetcher.fetched_records(2)
    assert [*first] == [PLACE]
    fetcher._subscriptions.pause(PLACE)
    other, _ = fetcher.fetched_records(100)
    assert [(place.partition, columns_of(some).offsets.tolist()) for place, some in other.items()] == [(1, [*range(5)])]
    fetcher._subscriptions.resume(PLACE)
    free_the_line(SimpleNamespace(_fetcher=fetcher))
    rest, _ = fetcher.fetched_records(100)
    assert {place: columns_of(some).offsets.tolist() for place, some in rest.items()} == {PLACE: [2, 3, 4]}


@pytest.mark.parametrize("columns", [False, True])
def test_records_that_are_not_at_the_position_any_more_are_let_go(columns: bool) -> None:  # noqa: FBT001
    fetcher = fetcher_of((0, BatchOf(rows(5)).encoded()), columns=columns)
    fetcher.fetched_records(2)
    fetcher._subscriptions.seek(PLACE, 0)
    polled, _ = fetcher.fetched_records(100)
    assert (polled, bool(fetcher._next_partition_records)) == ({}, False)


@pytest.mark.parametrize(
    "other",
    [
        SimpleNamespace(),
        SimpleNamespace(PartitionRecords=None),
        SimpleNamespace(PartitionRecords=lambda: None),
        SimpleNamespace(PartitionRecords=lambda *_, **__: deque()),
    ],
)
def test_a_client_that_is_not_as_expected_is_left_as_it_is(other: Any) -> None:
    before = dict(vars(other))
    assert use_columns(SimpleNamespace(_fetcher=other)) != ""
    assert vars(other) == before
    assert use_columns(object()) != ""


def test_a_client_whose_modules_have_moved_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streams.kafka_columns", None)
    assert "kafka_columns" in use_columns(SimpleNamespace(_fetcher=Fetcher))


def test_a_client_that_reads_otherwise_than_columns_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Fetcher.PartitionRecords, "take", lambda *_: [])
    assert use_columns(SimpleNamespace(_fetcher=Fetcher)) != ""
