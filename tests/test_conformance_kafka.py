"""The conformance cases through a real broker: the same ledgers from 1 and from 8 partitions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaProducer

from streams.runner import run
from streams.settings import load_settings
from tests.broker import Broker, admin
from tests.conformance_compare import compare_published
from tests.conformance_format import TOPICS, ConformanceCase, write_files
from tests.kafka_pipeline import key_of, to_kafka
from tests.test_conformance import CASES, ORDER_FREE

#: What a broker has otherwise than files, and of several partitions the places, too.
_OF_FILES = {"source_file", "record_key"}
_PLACES = {"source_offset", "source_partition"}


@pytest.fixture(scope="module")
def producer(broker: Broker) -> Iterator[KafkaProducer]:
    with KafkaProducer(bootstrap_servers=broker.bootstrap, max_request_size=4 << 20, linger_ms=0) as producer:
        yield producer


#: Every third case from 8 partitions here, the others in the long form.
SEVERAL = [pytest.param(name, 8, marks=() if n % 3 == 0 else pytest.mark.soak) for n, name in enumerate(ORDER_FREE)]


@pytest.mark.parametrize(("name", "partitions"), [*((name, 1) for name in CASES), *SEVERAL])
def test_a_broker_gives_what_was_worked_out_by_hand(
    name: str, partitions: int, broker: Broker, producer: KafkaProducer, tmp_path: Path
) -> None:
    case = CASES[name]
    suffix = secrets.token_hex(4)
    topics = {topic: f"{topic}-{suffix}" for topic in TOPICS}
    pipeline = to_kafka(write_files(case, tmp_path), topics, broker.bootstrap)
    with admin(broker.bootstrap) as client:
        wanted = {"num_partitions": partitions, "replication_factor": 1}
        client.create_topics(dict.fromkeys(topics.values(), wanted), wait_for_metadata=True)
    for topic in TOPICS:
        for record in case.topic_records(topic):
            producer.send(topics[topic], key=_key(topic, record), value=record)
    producer.flush()
    run(load_settings(pipeline), until_end=True, batch_records=7)
    compare_published(_on_broker(case, topics, partitions), tmp_path / "out", partitions)


def _key(topic: str, record: bytes) -> bytes | None:
    try:
        return key_of(topic, msgspec.json.decode(record))
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, KeyError):
        return None


def _on_broker(case: ConformanceCase, topics: dict[str, str], partitions: int) -> ConformanceCase:
    """The case as its rows come from a broker."""
    left_out = _OF_FILES | (_PLACES if partitions > 1 else set())
    expected = {}
    for name, table in case.expected.items():
        columns = tuple(column for column in table.columns if column not in left_out)
        rows = [
            {key: topics[value] if key == "source_topic" else value for key, value in row.items()} for row in table.rows
        ]
        expected[name] = replace(table, columns=columns, rows=tuple(rows))
    records = [replace(record, topic=topics[record.topic]) for record in case.records if record.line.strip()]
    return replace(case, expected=expected, records=records)
