"""``attribution publish`` on a real broker: every record once, unchanged and keyed; topics; wrong calls."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest
from kafka.partitioner.default import murmur2

from streams import kafka_outbox
from streams.kafka_outbox import Outbox
from tests.broker import NamedBroker, new_topic
from tests.sent_records import (
    NOWHERE,
    consume,
    event,
    new_name,
    partition_counts,
    publish,
    told,
    values,
    write,
    write_log,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture
def topic() -> str:
    """The name of a topic that is not there yet."""
    return new_name()


@pytest.fixture
def log(tmp_path: Path, topic: str) -> Path:
    """Its log, a thousand records in two files."""
    return write_log(tmp_path / "log", topic)


# --- what is sent ---


def test_every_record_is_sent_unchanged_in_name_order(broker: NamedBroker, log: Path, topic: str) -> None:
    odd = [b'{"event_id": "a", "x": "\xff"}', b"no json", b"[1]", b' {"event_id":"b"}']
    (log / topic / "3.jsonl.gz").write_bytes(gzip.compress(b"\r\n\n".join(odd)))
    (log / topic / ".4.jsonl").write_bytes(b'{"hidden":1}\n')
    for left_alone in (".hidden", "_notes"):
        (log / left_alone).mkdir()
        write(log / left_alone / "1.jsonl", [event(0)])
    (log / "README").write_text("no folder")
    result = publish(log, "--bootstrap", broker.bootstrap, "--partitions", "1")
    expected = [*(event(number) for number in range(1_000)), *odd]
    assert values(broker.bootstrap, topic) == expected
    counts = {"records": len(expected), "bytes": sum(map(len, expected))}
    found = told(result)
    assert found["topics"] == {topic: counts}
    assert (found["records"], found["bytes"]) == tuple(counts.values())
    assert found["records_per_second"] == pytest.approx(found["records"] / found["seconds"], rel=0.2)
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_a_key_chooses_the_partition_as_in_any_other_client(broker: NamedBroker, log: Path, topic: str) -> None:
    write(log / topic / "3.jsonl", [b"no event"] * 40)
    publish(log, "--bootstrap", broker.bootstrap, "--partitions", "3")
    keyless = []
    for record in consume(broker.bootstrap, topic):
        if record.key is None:
            keyless.append(record)
        else:
            assert record.key == json.loads(record.value)["event_id"].encode()
            assert record.partition == (murmur2(record.key) & 0x7FFFFFFF) % 3
    assert [record.value for record in keyless] == [b"no event"] * 40


def test_events_of_one_key_keep_their_order(broker: NamedBroker, tmp_path: Path, topic: str) -> None:
    records = [
        json.dumps({"event_id": f"o{n % 7}", "event_time": 1_772_409_600_000, "n": n}).encode() for n in range(5_000)
    ]
    (tmp_path / topic).mkdir()
    write(tmp_path / topic / "1.jsonl", records)
    publish(tmp_path, "--bootstrap", broker.bootstrap, "--partitions", "4")
    numbers: dict[bytes, list[int]] = {}
    for record in consume(broker.bootstrap, topic):
        numbers.setdefault(record.key, []).append(json.loads(record.value)["n"])
    assert numbers == {f"o{key}".encode(): [*range(key, 5_000, 7)] for key in range(7)}


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "snappy", "zstd"])
def test_what_was_compressed_is_read_as_it_was(compression: str, broker: NamedBroker, log: Path, topic: str) -> None:
    publish(log, "--bootstrap", broker.bootstrap, "--partitions", "1", "--compression", compression)
    assert values(broker.bootstrap, topic) == [event(number) for number in range(1_000)]


def test_the_time_of_a_record_is_when_it_was_sent(broker: NamedBroker, log: Path, topic: str) -> None:
    before = time.time() * 1_000 - 1
    publish(log, "--bootstrap", broker.bootstrap, "--partitions", "1")
    assert all(before <= record.timestamp <= time.time() * 1_000 for record in consume(broker.bootstrap, topic))


def test_a_rate_is_kept(broker: NamedBroker, log: Path, topic: str) -> None:
    result = publish(log, "--bootstrap", broker.bootstrap, "--partitions", "1", "--rate", "1000")
    assert told(result)["seconds"] >= 0.95
    times = [record.timestamp for record in consume(broker.bootstrap, topic)]
    assert times[-1] - times[0] >= 700


def test_all_is_sent_where_hardly_anything_may_be_unacknowledged(
    broker: NamedBroker, log: Path, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_outbox, "_UNACKNOWLEDGED_BYTES", 20_000)
    weights = []
    settle = Outbox._settle_oldest

    def watched(outbox: Outbox) -> None:
        weights.append(outbox._waiting_weight)
        settle(outbox)

    monkeypatch.setattr(Outbox, "_settle_oldest", watched)
    publish(log, "--bootstrap", broker.bootstrap, "--partitions", "1", "--rate", "10000")
    assert sorted(values(broker.bootstrap, topic)) == sorted(event(number) for number in range(1_000))
    run = 500 * (kafka_outbox._RECORD_BYTES + len(event(999)))
    assert max(weights) <= 20_000 + run


# --- topics ---


def test_a_missing_topic_is_named_and_not_made(broker: NamedBroker, log: Path, topic: str) -> None:
    there = new_topic(broker.bootstrap, "there")
    (log / there).mkdir()
    write(log / there / "1.jsonl", [event(1)])
    result = publish(log, "--bootstrap", broker.bootstrap, code=3)
    assert result.stderr.startswith(f"error: {broker.bootstrap}: no topic {topic}. Hint: --partitions N ")
    assert topic not in partition_counts(broker.bootstrap)
    assert values(broker.bootstrap, there) == []


def test_missing_topics_are_made_and_others_left_as_they_are(broker: NamedBroker, log: Path, topic: str) -> None:
    there = new_topic(broker.bootstrap, "there", partitions=2)
    (log / there).mkdir()
    write(log / there / "1.jsonl", [event(1)])
    (log / f"{topic}-empty").mkdir()
    result = publish(log, "--bootstrap", broker.bootstrap, "--partitions", "3")
    counts = partition_counts(broker.bootstrap)
    assert (counts[topic], counts[f"{topic}-empty"], counts[there]) == (3, 3, 2)
    assert told(result)["topics"][f"{topic}-empty"] == {"records": 0, "bytes": 0}
    assert values(broker.bootstrap, there) == [event(1)]
    publish(log, "--bootstrap", broker.bootstrap)
    assert len(values(broker.bootstrap, topic)) == 2_000


def test_more_partitions_than_the_cluster_takes_is_one_message(broker: NamedBroker, log: Path, topic: str) -> None:
    result = publish(log, "--bootstrap", broker.bootstrap, "--partitions", str(2**31 - 1), code=3)
    assert result.stderr.startswith(f"error: {broker.bootstrap}: topic {topic}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["my sales", "é", "a" * 250, "a:b", "x\n"])
def test_folders_that_cannot_be_topics_are_named_before_anything_is_sent(name: str, tmp_path: Path) -> None:
    for folder in (name, "good", "a" * 249, "a.b_c-D9"):
        (tmp_path / folder).mkdir()
    result = publish(tmp_path, "--bootstrap", NOWHERE, code=2)
    assert f"got {name!r}. Hint: rename the folders" in result.stderr
    assert result.stderr.count("\n") == 1


# --- usage ---


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "expected one of --bootstrap and --pipeline"),
        (["--bootstrap", NOWHERE, "--pipeline", "configs/kafka.toml"], 2, "expected one of --bootstrap and --pipeline"),
        (["--bootstrap", "localhost"], 2, "--bootstrap: expected one or more HOST:PORT"),
        (["--bootstrap", NOWHERE, "--partitions", "0"], 2, "--partitions"),
        (["--bootstrap", NOWHERE, "--rate", "0"], 2, "--rate"),
        (["--bootstrap", NOWHERE, "--compression", "best"], 2, "--compression"),
        (["--pipeline", str(ROOT / "configs" / "demo.toml")], 2, 'input.source: expected "kafka", got "files"'),
        (["--pipeline", "gone.toml"], 2, "gone.toml"),
    ],
)
def test_a_wrong_call_is_told(arguments: list[str], code: int, message: str, log: Path) -> None:
    assert message in publish(log, *arguments, code=code).stderr


def test_a_missing_log_and_one_without_topics_are_told(tmp_path: Path) -> None:
    assert "nowhere: no such log folder" in publish(tmp_path / "nowhere", "--bootstrap", NOWHERE, code=3).stderr
    write(tmp_path / "1.jsonl", [event(1)])
    assert "Hint: files lie in LOG/<topic>/" in publish(tmp_path, "--bootstrap", NOWHERE, code=3).stderr
