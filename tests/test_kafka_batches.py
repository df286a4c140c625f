"""Records of a real broker, read as columns and as objects: all of them, once, in batches as large as was asked for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.consumer.fetcher import Fetcher

from schemas.errors import UnavailableError
from streams.counts import Counts
from streams.decode import Limits
from streams.kafka_fetch import columns_of, use_columns
from streams.live.batches import Batch
from streams.live.commit import Partition
from streams.live.kafka_batches import KafkaBatches
from streams.settings import KafkaInput
from streams.wire_records import Records
from tests.broker import Broker, admin, new_topic
from tests.record_batches import Row
from tests.test_wire_batches import WAYS, as_rows

EVENT = {"event_id": "", "event_time": "2026-03-02T00:00:00Z", "type": "x"}
#: Of now, or the broker's retention might take them: but in no test's way.
BEGIN_MS = int(time.time() * 1_000) - 3_600_000
NOW_US = 5_000_000
LIMITS = Limits(max_record_bytes=1 << 20, max_future_skew_us=1 << 50, now_us=NOW_US)


def event(number: int, **more: object) -> bytes:
    return json.dumps(EVENT | {"event_id": f"o{number}"} | more).encode()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Columns, or objects because the client is not as expected."""
    name: str = request.param
    if name == "objects":
        monkeypatch.setattr("streams.kafka_columns.check_alike", _refuse)
    return name


def _refuse(_: object) -> None:
    raise LookupError("as a test wants it")


def send(bootstrap: str, topic: str, rows: list[Row], **options: Any) -> list[Row]:
    """Into partition 0; returns them with their offsets."""
    with KafkaProducer(bootstrap_servers=bootstrap, **options) as producer:
        futures = [
            producer.send(topic, row.value, row.key, headers=[*row.headers], partition=0, timestamp_ms=row.time_ms)
            for row in rows
        ]
        offsets = [future.get(30).offset for future in futures]
    return [Row(at, row.value, row.key, row.headers, row.time_ms) for at, row in zip(offsets, rows, strict=True)]


def polled(bootstrap: str, topic: str, way: str, position: int = 0, max_records: int = 100_000) -> list[Row]:
    """All of partition 0 from a position on."""
    place = TopicPartition(topic, 0)
    parts: list[Records] = []
    options = {"isolation_level": "read_committed", "auto_offset_reset": "none", "enable_auto_commit": False}
    with closing(KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, **options)) as consumer:
        if way == "columns":
            assert use_columns(consumer) == ""
        consumer.assign([place])
        consumer.seek(place, position)
        end = consumer.end_offsets([place])[place]
        while consumer.position(place) < end:
            for found in consumer.poll(200, max_records).values():
                assert {type(item) is Records for item in found} == {way == "columns"}
                parts.append(columns_of(found))
                assert len(parts[-1]) <= max_records
    return as_rows(parts)


def sample(count: int) -> list[Row]:
    """Records of every kind a producer can send."""
    values = (b'{"a":1}', b"", None, b"x" * 500, "größe".encode())
    keys = (None, b"key", b"", (7).to_bytes(8, "big"))
    headers = ((), (("a", b"1"), ("b", b""), ("a", b"\xff")), (("much longer than twelve", b"x" * 20),))
    return [
        Row(n, values[n % 5], keys[n % 4] if n % 5 != 2 else b"gone", headers[n % 3], BEGIN_MS + n * 13 % 5_000)
        for n in range(count)
    ]


# --- what a poll gives ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_bytes", [1, 16_384, 262_144])
@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
def test_every_compression_and_batch_size_is_read_as_it_was_sent(
    compression: str | None, batch_bytes: int, broker: Broker
) -> None:
    topic = new_topic(broker.bootstrap)
    options = {"compression_type": compression, "batch_size": batch_bytes, "linger_ms": 50 if batch_bytes > 1 else 0}
    sent = send(broker.bootstrap, topic, sample(300 if batch_bytes == 1 else 3_000), **options)
    for way in WAYS:
        assert polled(broker.bootstrap, topic, way) == sent
        assert polled(broker.bootstrap, topic, way, position=137, max_records=17) == sent[137:]


def test_only_what_was_committed_is_read(broker: Broker) -> None:
    topic = new_topic(broker.bootstrap)
    producer = KafkaProducer(
        bootstrap_servers=broker.bootstrap, transactional_id=f"t-{topic}", compression_type="lz4", linger_ms=50
    )
    producer.init_transactions()
    kept = []
    for number in range(6):
        producer.begin_transaction()
        futures = [producer.send(topic, event(n), partition=0) for n in range(number, 90)]
        producer.flush()
        if number % 2:
            producer.abort_transaction()
        else:
            kept += [future.get(30).offset for future in futures]
            producer.commit_transaction()
    producer.close()
    for way in WAYS:
        assert [row.offset for row in polled(broker.bootstrap, topic, way)] == kept
        assert [row.offset for row in polled(broker.bootstrap, topic, way, max_records=7)] == kept


def test_a_topic_with_the_brokers_times_has_these(broker: Broker) -> None:
    topic = new_topic(broker.bootstrap, message_timestamp_type="LogAppendTime")
    before_ms = time.time() * 1_000
    send(broker.bootstrap, topic, sample(50), linger_ms=50)
    found = [polled(broker.bootstrap, topic, way) for way in WAYS]
    assert found[0] == found[1]
    assert all(before_ms - 1 <= row.time_ms <= time.time() * 1_000 for row in found[0])


def test_a_compacted_topic_has_gaps(secured_broker: Broker) -> None:
    topic = new_topic(
        secured_broker.bootstrap, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.001"
    )
    with admin(secured_broker.bootstrap) as client:  # it looks every 15 seconds by default
        client.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", {"log.cleaner.backoff.ms": "200"})])
    rows = [Row(n, event(n), b"k%d" % (n % 10 if n % 3 else n), time_ms=BEGIN_MS) for n in range(500)]
    sent = send(secured_broker.bootstrap, topic, rows, compression_type="lz4", linger_ms=50)
    newest = {row.key: row for row in sent}
    deadline = time.monotonic() + 60
    while len(found := polled(secured_broker.bootstrap, topic, "columns")) > len(newest) + 50:
        assert time.monotonic() < deadline
        # So much later that another segment begins: the newest one is never compacted.
        sent += send(secured_broker.bootstrap, topic, [Row(0, b"{}", b"last", time_ms=BEGIN_MS + 1_000 * len(sent))])
        newest[b"last"] = sent[-1]
        time.sleep(0.3)
    assert {row.key: row for row in found} == newest
    assert found == polled(secured_broker.bootstrap, topic, "objects")
    middle = found[len(found) // 2].offset + 1
    for way in WAYS:
        assert polled(secured_broker.bootstrap, topic, way, position=middle, max_records=3) == [
            row for row in found if row.offset >= middle
        ]


# --- what a batch holds -----------------------------------------------------------------------------------


@contextmanager
def batches(
    bootstrap: str,
    *topics: str,
    known: Mapping[tuple[str, int], Partition] | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Iterator[KafkaBatches]:
    of_conversions = [{"name": topic, "kind": "conversion"} for topic in topics]
    source = KafkaInput.model_validate({"source": "kafka", "bootstrap_servers": bootstrap, "topic": of_conversions})
    with closing(KafkaBatches(source, lambda: LIMITS, 60.0, known or {}, on_slow_client=told)) as found:
        yield found


def all_of(source: KafkaBatches, max_records: int) -> list[Batch]:
    """Batch after batch to the end."""
    found: list[Batch] = []
    while not found or not found[-1].at_end:
        found.append(source.next_batch(max_records, 30.0, threading.Event(), wait=False))
        assert sum(read.decoded.read for read in found[-1].reads) <= max_records
    return found


def ids_of(found: list[Batch]) -> list[str]:
    return pl.concat([read.decoded.events["event_id"] for batch in found for read in batch.reads]).to_list()


@pytest.mark.parametrize("max_records", [1, 7, 250, 100_000])
def test_a_batch_of_records_larger_than_asked_for_is_handed_out_in_parts(
    max_records: int, way: str, broker: Broker
) -> None:
    topic = new_topic(broker.bootstrap)
    count = 40 if max_records == 1 else 700
    send(
        broker.bootstrap,
        topic,
        [Row(n, event(n), time_ms=BEGIN_MS) for n in range(count)],
        batch_size=1 << 20,
        linger_ms=500,
    )
    with batches(broker.bootstrap, topic) as source:
        found = all_of(source, max_records)
    assert ids_of(found) == [f"o{n}" for n in range(count)]
    assert found[-1].positions[topic, 0].next_offset == count
    ends = [batch.positions[topic, 0].next_offset for batch in found if batch.reads]
    assert ends == [*range(max_records, count, max_records), count]


def test_one_that_goes_on_from_a_position_in_the_middle_of_a_batch_misses_none(way: str, broker: Broker) -> None:
    topic = new_topic(broker.bootstrap)
    send(
        broker.bootstrap,
        topic,
        [Row(n, event(n), time_ms=BEGIN_MS) for n in range(500)],
        batch_size=1 << 20,
        linger_ms=500,
    )
    with batches(broker.bootstrap, topic) as source:
        first = source.next_batch(123, 30.0, threading.Event(), wait=False)
        source._discovered -= 60  # a partition that is found makes it take up all positions anew
        with admin(broker.bootstrap) as client:
            client.create_partitions({topic: 2})
        rest = all_of(source, 100)
    assert sorted(ids_of([first, *rest])) == sorted(f"o{n}" for n in range(500))


def test_a_partition_that_waits_for_another_is_read_to_its_end_afterwards(way: str, broker: Broker) -> None:
    ahead, behind = new_topic(broker.bootstrap, "ahead"), new_topic(broker.bootstrap, "behind")
    late = "2026-03-03T00:00:00Z"
    rows = [Row(n, event(n, event_time=late), time_ms=BEGIN_MS) for n in range(300)]
    send(broker.bootstrap, ahead, rows, linger_ms=500)
    send(broker.bootstrap, behind, [Row(n, event(300 + n), time_ms=BEGIN_MS) for n in range(300)], linger_ms=500)
    first_us = 1_772_409_600_000_000
    known = {
        (topic, 0): Partition(topic, 0, first_us, first_us, False, None, Counts(), Counts(), 0)
        for topic in (ahead, behind)
    }
    with batches(broker.bootstrap, ahead, behind, known=known) as source:
        found = all_of(source, 50)
    topics = [read.block.topic for batch in found for read in batch.reads]
    assert topics[:2] + topics[-1:] == [ahead, behind, ahead]
    assert sorted(ids_of(found)) == sorted(f"o{n}" for n in range(600))


def test_few_records_a_poll_are_decoded_together(way: str, broker: Broker) -> None:
    topic = new_topic(broker.bootstrap)
    with batches(broker.bootstrap, topic) as source, KafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        is_over = threading.Event()

        def trickle() -> None:
            for number in range(30):
                producer.send(topic, event(number)).get(30)
                time.sleep(0.05)
            is_over.set()

        sender = threading.Thread(target=trickle)
        sender.start()
        found = []
        while not is_over.is_set():
            found.append(source.next_batch(100_000, 1.0, threading.Event(), wait=True))
        sender.join()
        found += all_of(source, 100_000)
    assert ids_of(found) == [f"o{n}" for n in range(30)]
    assert {len(batch.reads) for batch in found} <= {0, 1}


def test_large_records_make_small_batches(way: str, broker: Broker) -> None:
    topic = new_topic(broker.bootstrap)
    send(
        broker.bootstrap,
        topic,
        [Row(n, event(n, note="x" * 100_000), time_ms=BEGIN_MS) for n in range(60)],
        batch_size=1,
    )
    with batches(broker.bootstrap, topic) as source:
        found = all_of(source, 1_000)
    assert ids_of(found) == [f"o{n}" for n in range(60)]
    assert len([batch for batch in found if batch.reads]) > 1


def test_a_record_without_a_time_is_held_against_the_time_of_reading(way: str, broker: Broker) -> None:
    topic = new_topic(broker.bootstrap)
    send(broker.bootstrap, topic, [Row(0, event(0), time_ms=-1), Row(1, event(1), time_ms=BEGIN_MS)], linger_ms=500)
    with batches(broker.bootstrap, topic) as source:
        found = all_of(source, 10)
    [block] = [read.block for batch in found for read in batch.reads]
    assert isinstance(block.data, Records)
    assert block.data.times_us.tolist() == [NOW_US, BEGIN_MS * 1_000]


def test_why_records_are_read_as_objects_is_told_once(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = new_topic(broker.bootstrap)
    send(broker.bootstrap, topic, [Row(0, event(0), time_ms=BEGIN_MS)])
    told: list[str] = []
    with batches(broker.bootstrap, topic, told=told.append) as source:
        all_of(source, 10)
    assert told == []
    monkeypatch.delattr(Fetcher, "PartitionRecords")
    monkeypatch.setattr("streams.live.kafka_batches.KafkaBatches._poll", lambda *_: {})
    with batches(broker.bootstrap, topic, told=told.append):
        pass
    assert told == ["AttributeError: 'Fetcher' object has no attribute 'PartitionRecords'"]


def test_a_wrong_checksum_stops_it(way: str, secured_broker: Broker) -> None:
    topic = new_topic(secured_broker.bootstrap)
    send(secured_broker.bootstrap, topic, [Row(n, event(n), time_ms=BEGIN_MS) for n in range(50)], linger_ms=500)
    spoil(secured_broker, topic)
    wrong = pytest.raises(UnavailableError, match=r"damaged records: .*offset 0")
    with batches(secured_broker.bootstrap, topic) as source, wrong:
        all_of(source, 1_000)


def spoil(broker: Broker, topic: str) -> None:
    """Change one byte of its only segment, as a disk might."""
    [segment] = Path(broker.folder / "records" / f"{topic}-0").glob("*.log")
    with segment.open("r+b") as file:
        file.seek(200)
        octet = file.read(1)
        file.seek(200)
        file.write(bytes([octet[0] ^ 1]))
