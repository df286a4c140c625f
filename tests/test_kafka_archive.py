"""What was read from a broker outlives it: replays, audits and new states from the archive, or from the topics."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from kafka import KafkaProducer

from schemas.errors import ConfigurationError
from schemas.outputs import LEDGER_KEYS
from streams.cli import main
from streams.replay import replay
from streams.runner import run
from streams.settings import load_settings
from tests.broker import Broker, admin
from tests.case_files import write_case
from tests.cases import Case, in_time_order, random_case
from tests.kafka_pipeline import produce, write_kafka_pipeline
from tests.live_runs import net
from tests.reference import attribute

CASE = in_time_order(random_case(14, size=14, conflicts=False))


@pytest.fixture
def pipeline(broker: Broker, tmp_path: Path) -> Path:
    return write_kafka_pipeline(CASE, tmp_path, broker.bootstrap, partitions=3)


def consume(pipeline: Path) -> None:
    run(load_settings(pipeline), until_end=True, batch_records=40)


def topics_of(pipeline: Path) -> dict[str, str]:
    return {topic.kind.value: topic.name for topic in load_settings(pipeline).input.topics}


def command(*words: object) -> Any:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def audited(pipeline: Path, log: object) -> None:
    command("audit", pipeline, "--log", log, "--against", pipeline.parent / "out", "--format", "json")


def is_attributed(out: Path, case: Case = CASE) -> None:
    """Assert that the ledgers are the model's."""
    expected = attribute(**vars(case))
    assert net(out, "credits") == expected.credits
    assert net(out, "unattributed") == expected.unattributed


def lost(folder: Path, *names: str) -> None:
    for name in names:
        shutil.rmtree(folder / name)


def test_records_are_kept_with_key_headers_time_and_offset(pipeline: Path, broker: Broker, tmp_path: Path) -> None:
    topic = topics_of(pipeline)["conversion"]
    headers = [("trace", b"\x00\xff"), ("trace", b"")]
    with KafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        for key, value, some in ((b"k", b"{", headers), (b"t", None, []), (b"", b"", [])):
            producer.send(topic, key=key, value=value, headers=some, partition=2, timestamp_ms=1_700_000_000_123)
    consume(pipeline)
    rows = pl.read_parquet(tmp_path / "archive" / topic / "*" / "*.parquet", hive_partitioning=False)
    rows = rows.filter(partition=2).sort("offset").tail(3)
    assert rows.select("key", "value").rows() == [(b"k", b"{"), (b"t", None), (b"", b"")]
    assert rows["headers"].to_list() == [
        [{"key": name, "value": value} for name, value in headers],
        [],
        [],
    ]
    assert rows["record_time"].to_physical().to_list() == [1_700_000_000_123_000] * 3
    assert rows["offset"].diff().drop_nulls().to_list() == [1, 1]
    audited(pipeline, tmp_path / "archive")
    audited(pipeline, "kafka")


def test_a_replay_of_the_archive_after_the_topics_are_gone_is_what_was_published(
    pipeline: Path, broker: Broker, tmp_path: Path
) -> None:
    consume(pipeline)
    command("replay", pipeline, "--log", "kafka", "--out", tmp_path / "of-kafka")
    with admin(broker.bootstrap) as client:
        client.delete_topics([*topics_of(pipeline).values()])
    command("replay", pipeline, "--log", tmp_path / "archive", "--out", tmp_path / "of-archive")
    for out in ("of-kafka", "of-archive"):
        is_attributed(tmp_path / out)
        for table in ("credits", "unattributed"):
            assert net(tmp_path / out, table) == net(tmp_path / "out", table)
    manifests = [json.loads((tmp_path / out / "manifest.json").read_text()) for out in ("of-kafka", "of-archive")]
    of_kafka, of_archive = ({table: manifest["tables"][table] for table in LEDGER_KEYS} for manifest in manifests)
    assert of_kafka == of_archive
    ranges = [[entry for entry in manifest["inputs"] if "last_offset" in entry] for manifest in manifests]
    assert ranges[0] == ranges[1]
    audited(pipeline, tmp_path / "archive")


@pytest.mark.parametrize("log", ["archive", "kafka"])
def test_a_lost_state_is_rebuilt_and_the_run_goes_on(log: str, pipeline: Path, broker: Broker, tmp_path: Path) -> None:
    consume(pipeline)
    before = pl.read_parquet(tmp_path / "archive" / "*" / "*" / "*.parquet", hive_partitioning=False)
    lost(tmp_path, "state", "out", *(["archive"] if log == "kafka" else []))
    source = tmp_path / "archive" if log == "archive" else "kafka"
    command("replay", pipeline, "--log", source, "--out", tmp_path / "out", "--state", tmp_path / "state")
    for kind, topic in topics_of(pipeline).items():
        if kind == "conversion":
            produce(broker.bootstrap, topic, [{"event_id": "new", "event_time": "2099-01-01T00:00:00Z", "type": "x"}])
    consume(pipeline)
    rows = pl.read_parquet(tmp_path / "archive" / "*" / "*" / "*.parquet", hive_partitioning=False)
    assert rows.height == before.height + 1
    assert rows.select("topic", "partition", "offset").is_unique().all()
    new = rows.filter(pl.col("value").bin.contains(b'"new"'))
    assert new["commit_id"].item() > before["commit_id"].max() if log == "archive" else new["commit_id"].item() == 1
    outcomes = pl.read_parquet(tmp_path / "out" / "outcomes" / "**" / "*.parquet", hive_partitioning=False)
    assert outcomes.filter(event_id="new").height == 1
    assert outcomes["event_id"].is_unique().all() or CASE.reversals
    audited(pipeline, "kafka")
    audited(pipeline, tmp_path / "archive")
    command("replay", pipeline, "--log", tmp_path / "archive", "--out", tmp_path / "again")
    for table in ("credits", "unattributed"):
        assert net(tmp_path / "again", table) == net(tmp_path / "out", table)


def test_an_archive_that_holds_records_is_not_filled_again_from_the_topics(pipeline: Path, tmp_path: Path) -> None:
    consume(pipeline)
    lost(tmp_path, "state", "out")
    words = ["replay", pipeline, "--log", "kafka", "--out", tmp_path / "out", "--state", tmp_path / "state"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 2
    assert "archive: expected a new or empty folder" in result.stderr


@pytest.mark.parametrize("log", ["log", "elsewhere"])
def test_a_state_begins_from_the_pipelines_own_records_only(log: str, pipeline: Path, tmp_path: Path) -> None:
    words = ["replay", pipeline, "--log", tmp_path / log, "--out", tmp_path / "out", "--state", tmp_path / "state"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 2
    assert "--log (with --state): expected the pipeline's own, kafka or " in result.stderr


def test_a_pipeline_over_files_has_no_topics_to_replay(tmp_path: Path) -> None:
    pipeline = write_case(CASE, tmp_path)
    with pytest.raises(ConfigurationError, match=r"--log: expected a folder, for .* reads files, got \"kafka\""):
        replay(load_settings(pipeline), "kafka", tmp_path / "out")


def test_a_commit_that_reads_on_is_not_audited_beyond_what_it_read(
    pipeline: Path, broker: Broker, tmp_path: Path
) -> None:
    consume(pipeline)
    topic = topics_of(pipeline)["conversion"]
    produce(broker.bootstrap, topic, [{"event_id": "unread", "event_time": "2099-01-01T00:00:00Z", "type": "x"}])
    audited(pipeline, "kafka")
    command("replay", pipeline, "--log", "kafka", "--out", tmp_path / "again")
    outcomes = pl.read_parquet(tmp_path / "again" / "outcomes" / "**" / "*.parquet", hive_partitioning=False)
    assert outcomes.filter(event_id="unread").height == 1


def test_status_tells_offsets_and_lag_also_without_a_broker(
    pipeline: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    consume(pipeline)
    topic = topics_of(pipeline)["conversion"]
    produce(broker.bootstrap, topic, [{"event_id": str(number)} for number in range(5)])
    found = command("status", pipeline, "--format", "json")
    of_topic = [partition for partition in found["partitions"] if partition["topic"] == topic]
    assert sum(partition["lag_records"] for partition in of_topic) == 5
    assert [partition["position"] for partition in of_topic] == [f"offset {p['read']}" for p in of_topic]
    pipeline.write_text(pipeline.read_text().replace(broker.bootstrap, "127.0.0.1:1"))
    monkeypatch.setattr("streams.kafka_client._PATIENCE_MS", 1_000)
    result = CliRunner().invoke(main, ["status", str(pipeline)])
    assert f"{topic}/0: read" in result.stdout
    assert "lag unknown, no broker answers" in result.stdout
