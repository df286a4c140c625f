"""The live engine on a real broker: the answer is the one from files, whatever the partitions and the restarts."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import TopicAlreadyExistsError

from schemas.errors import ConfigurationError, UnavailableError
from streams.runner import run
from streams.settings import load_settings
from tests.broker import Broker, admin
from tests.broker_security import MECHANISM, PASSWORD, USER
from tests.cases import in_time_order, random_case
from tests.kafka_pipeline import produce, write_kafka_pipeline
from tests.live_runs import net
from tests.reference import attribute


@pytest.mark.parametrize("partitions", [1, 8])
@pytest.mark.parametrize("seed", [4, 14])
def test_what_is_read_from_a_broker_is_attributed_as_the_model_says(
    seed: int, partitions: int, broker: Broker, tmp_path: Path
) -> None:
    case = in_time_order(random_case(seed, size=14, conflicts=False))
    pipeline = write_kafka_pipeline(case, tmp_path, broker.bootstrap, partitions)
    run(load_settings(pipeline), until_end=True, batch_records=40)
    expected = attribute(**vars(case))
    for table in ("credits", "unattributed"):
        assert net(tmp_path / "out", table) == getattr(expected, table)
    assert net(tmp_path / "out", "attributed") == [row for row in expected.attributed if row["settled"]]
    run(load_settings(pipeline), until_end=True)
    assert net(tmp_path / "out", "credits") == expected.credits


@pytest.fixture
def pipeline(broker: Broker, tmp_path: Path) -> Path:
    """A pipeline whose topics hold a small case."""
    return write_kafka_pipeline(in_time_order(random_case(4, size=8, conflicts=False)), tmp_path, broker.bootstrap, 1)


def topic_of(pipeline: Path, kind: str) -> str:
    return next(topic.name for topic in load_settings(pipeline).input.topics if topic.kind.value == kind)


def consume(pipeline: Path) -> None:
    run(load_settings(pipeline), until_end=True)


def test_records_without_a_value_are_ignored_and_counted(pipeline: Path, broker: Broker, tmp_path: Path) -> None:
    consume(pipeline)
    with KafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        for value in (None, b"", b"{"):
            producer.send(topic_of(pipeline, "conversion"), key=b"k", value=value)
    consume(pipeline)
    counts = pl.read_parquet(tmp_path / "out" / "commits" / "**" / "*.parquet", hive_partitioning=False)
    last = counts.filter(pl.col("commit_id") == counts["commit_id"].max()).row(0, named=True)
    assert (last["read"], last["ignored"], last["dead_letters"]) == (3, 1, 2)
    letters = pl.read_parquet(tmp_path / "out" / "dead_letters" / "**" / "*.parquet", hive_partitioning=False)
    assert letters.select("record_key", "record_value").rows() == [(b"k", b""), (b"k", b"{")]


@pytest.mark.parametrize("compression", ["gzip", "lz4", "zstd", "snappy"])
def test_outcomes_of_aborted_transactions_earn_nothing(
    compression: str, pipeline: Path, broker: Broker, tmp_path: Path
) -> None:
    topic = topic_of(pipeline, "conversion")
    sale = '{"event_id":"%s","event_time":"2099-01-01T00:00:00Z","type":"x"}'
    producer = KafkaProducer(
        bootstrap_servers=broker.bootstrap, transactional_id=f"t-{compression}-{topic}", compression_type=compression
    )
    producer.init_transactions()
    for ending, names in ((producer.commit_transaction, "ab"), (producer.abort_transaction, "cd")):
        producer.begin_transaction()
        for name in names:
            producer.send(topic, value=(sale % f"transaction-{name}").encode())
        producer.flush()
        ending()
    producer.close()
    consume(pipeline)
    outcomes = pl.read_parquet(tmp_path / "out" / "outcomes" / "**" / "*.parquet", hive_partitioning=False)
    ids = outcomes.filter(pl.col("event_id").str.starts_with("transaction-"))["event_id"]
    assert sorted(ids) == ["transaction-a", "transaction-b"]
    consume(pipeline)  # the markers at the topic's end are read, too: nothing is left


def test_a_topic_that_is_not_there_is_named(pipeline: Path) -> None:
    name = topic_of(pipeline, "reversal")
    pipeline.write_text(pipeline.read_text().replace(name, "no-such-topic"))
    with pytest.raises(UnavailableError, match="no topic no-such-topic"):
        consume(pipeline)


def test_a_broker_that_is_not_there_is_named(pipeline: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka_client._PATIENCE_MS", 1_000)
    pipeline.write_text(pipeline.read_text().replace(broker.bootstrap, "127.0.0.1:1"))
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1: no broker answers there"):
        consume(pipeline)


def test_offsets_that_retention_has_taken_stop_it(pipeline: Path, broker: Broker) -> None:
    consume(pipeline)
    topic = topic_of(pipeline, "conversion")
    produce(broker.bootstrap, topic, [{"event_id": f"more{number}"} for number in range(5)])
    with admin(broker.bootstrap) as client:
        client.delete_records({TopicPartition(topic, 0): -1})
    with pytest.raises(UnavailableError, match=rf"{topic}/0: offset \d+ is gone, the broker's first is \d+"):
        consume(pipeline)


def test_a_topic_made_anew_stops_it(pipeline: Path, broker: Broker) -> None:
    consume(pipeline)
    topic = topic_of(pipeline, "conversion")
    with admin(broker.bootstrap) as client:
        client.delete_topics([topic])
    create_again(broker.bootstrap, topic)
    with pytest.raises(UnavailableError, match=rf"{topic}/0: the topic was made anew: its offset \d+ is not "):
        consume(pipeline)


def create_again(bootstrap: str, topic: str) -> None:
    """A topic is gone a moment after it was deleted."""
    until = time.monotonic() + 30
    while True:
        try:
            with admin(bootstrap) as client:
                client.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            assert time.monotonic() < until
            time.sleep(0.2)
        else:
            return


def test_a_partition_that_is_added_is_read_from_its_beginning(pipeline: Path, broker: Broker, tmp_path: Path) -> None:
    consume(pipeline)
    topic = topic_of(pipeline, "conversion")
    with admin(broker.bootstrap) as client:
        client.create_partitions({topic: 2})
    with KafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        event = b'{"event_id":"late","event_time":"2099-01-01T00:00:00Z","type":"x"}'
        producer.send(topic, value=event, partition=1)
    consume(pipeline)
    outcomes = pl.read_parquet(tmp_path / "out" / "outcomes" / "**" / "*.parquet", hive_partitioning=False)
    assert outcomes.filter(event_id="late").select("source_partition", "source_offset").rows() == [(1, 0)]


def test_a_password_is_asked_for_and_found_nowhere(
    pipeline: Path,
    secured_broker: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = pipeline.read_text().replace(secured_broker.bootstrap, secured_broker.sasl_bootstrap)
    section = (
        f'[input.security]\nprotocol = "SASL_SSL"\nmechanism = "{MECHANISM}"\nca_file = "{secured_broker.ca_file}"\n'
    )
    pipeline.write_text(text.replace("[time]", f"{section}[time]"))
    with pytest.raises(ConfigurationError, match="the environment variable KAFKA_USERNAME"):
        consume(pipeline)
    monkeypatch.setenv("KAFKA_USERNAME", USER)
    monkeypatch.setenv("KAFKA_PASSWORD", f"{PASSWORD}-wrong")
    with caplog.at_level("DEBUG"), pytest.raises(UnavailableError, match="authentication refused") as refused:
        consume(pipeline)
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    with caplog.at_level("DEBUG"):
        consume(pipeline)
    assert PASSWORD not in caplog.text + str(refused.value)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


def test_lag_tools_see_the_offsets_of_the_newest_commit(pipeline: Path, broker: Broker) -> None:
    pipeline.write_text(pipeline.read_text().replace("[input]\n", '[input]\ngroup = "told"\n'))
    consume(pipeline)
    with admin(broker.bootstrap) as client:
        ends = {tp: at.offset for tp, at in client.list_group_offsets({"told": None})["told"].items()}
    assert ends.keys() == {TopicPartition(topic.name, 0) for topic in load_settings(pipeline).input.topics}
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap)
    assert consumer.end_offsets(list(ends)) == ends
    consumer.close()
