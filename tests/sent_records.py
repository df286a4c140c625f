"""Small logs for ``attribution publish``, the command itself, and what a consumer then finds in a broker."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from kafka import KafkaConsumer, TopicPartition

from streams.cli import main
from tests.broker import admin

#: No broker listens there.
NOWHERE = "127.0.0.1:1"


def event(number: int) -> bytes:
    return json.dumps({"event_id": f"o{number}", "event_time": 1_772_409_600_000 + number, "type": "sale"}).encode()


def publish(log: Path, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["publish", "--log", str(log), *arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def told(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def consume(bootstrap: str, topic: str) -> Iterator[Any]:
    """Every record, partition after partition."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(partitions)
        until = time.monotonic() + 60
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            assert time.monotonic() < until
            for records in consumer.poll(timeout_ms=200).values():
                yield from records
    finally:
        consumer.close()


def values(bootstrap: str, topic: str) -> list[bytes]:
    return [record.value for record in consume(bootstrap, topic)]


def partition_counts(bootstrap: str) -> dict[str, int]:
    with admin(bootstrap) as client:
        return {topic["name"]: len(topic["partitions"]) for topic in client.describe_topics()}


def new_name() -> str:
    """Of a topic that is not there yet."""
    return f"sales-{secrets.token_hex(4)}"


def write(file: Path, records: Sequence[bytes]) -> None:
    file.write_bytes(b"".join(record + b"\n" for record in records))


def write_log(log: Path, topic: str) -> Path:
    """A log of one topic: events 0 to 999 in two files."""
    (log / topic).mkdir(parents=True)
    write(log / topic / "2.jsonl", [event(number) for number in range(600, 1_000)])
    write(log / topic / "1.jsonl", [event(number) for number in range(600)])
    return log
