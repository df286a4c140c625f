"""``attribution publish`` where something fails or stops it: one message, with what was sent, and nothing twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from kafka.errors import SaslAuthenticationFailedError

from schemas.errors import UnavailableError
from streams import kafka_outbox
from streams.kafka_outbox import Outbox
from streams.kafka_publish import cluster
from streams.log_runs import Run
from tests.broker import Broker, NamedBroker, new_topic
from tests.broker_security import MECHANISM, PASSWORD, USER
from tests.sent_records import (
    NOWHERE,
    event,
    new_name,
    partition_counts,
    publish,
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


def test_a_broker_that_is_not_there_is_told(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka_client._PATIENCE_MS", 1_000)
    result = publish(log, "--bootstrap", NOWHERE, code=3)
    assert result.stderr.startswith(f"error: {NOWHERE}: no broker answers there")
    assert result.stderr.count("\n") == 1


def test_a_record_that_the_topic_does_not_take_is_told_with_what_was_sent(broker: NamedBroker, tmp_path: Path) -> None:
    topic = new_topic(broker.bootstrap, "small", max_message_bytes="20000")
    large = json.dumps({"event_id": "large", "text": random.Random(1).randbytes(20_000).hex()}).encode()
    (tmp_path / topic).mkdir()
    write(tmp_path / topic / "1.jsonl", [event(number) for number in range(20_000)])
    write(tmp_path / topic / "2.jsonl", [large])
    result = publish(tmp_path, "--bootstrap", broker.bootstrap, code=3)
    assert result.stdout == ""
    place, why = (
        f"error: {broker.bootstrap}: topic {topic}: ",
        f"a record of {len(large):,} bytes is more than it takes",
    )
    assert result.stderr.startswith(place + why)
    assert result.stderr.endswith(f"; acknowledged so far: 20,000 {topic}\n")
    assert result.stderr.count("\n") == 1
    assert values(broker.bootstrap, topic) == [event(number) for number in range(20_000)]


def test_a_batch_that_is_too_large_is_sent_in_parts(broker: NamedBroker, log: Path) -> None:
    topic = new_topic(broker.bootstrap, "small", max_message_bytes="20000")
    [folder] = log.iterdir()
    folder.rename(log / topic)
    publish(log, "--bootstrap", broker.bootstrap, "--compression", "none")
    assert values(broker.bootstrap, topic) == [event(number) for number in range(1_000)]


def test_a_file_that_cannot_be_read_is_told_with_what_was_sent(broker: NamedBroker, log: Path, topic: str) -> None:
    (log / topic / "3.jsonl.gz").write_bytes(b"no gzip")
    result = publish(log, "--bootstrap", broker.bootstrap, "--partitions", "1", code=3)
    assert "3.jsonl.gz: cannot be read: " in result.stderr
    assert result.stderr.endswith(f"; acknowledged so far: 1,000 {topic}\n")
    assert len(values(broker.bootstrap, topic)) == 1_000


def in_background(broker: Broker, log: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "streams.cli", "publish", "--log", str(log), "--bootstrap", broker.bootstrap]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def wait_for_records(bootstrap: str, topic: str, count: int) -> None:
    until = time.monotonic() + 30
    while topic not in partition_counts(bootstrap) or len(values(bootstrap, topic)) < count:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_every_record_stands_once_where_the_broker_was_killed_and_came_back(
    broker_of_its_own: Broker, log: Path, topic: str
) -> None:
    with in_background(broker_of_its_own, log, "--partitions", "2", "--rate", "400") as process:
        wait_for_records(broker_of_its_own.bootstrap, topic, 50)
        broker_of_its_own.kill()
        broker_of_its_own.start()
        stdout, stderr = process.communicate(timeout=90)
    assert (process.returncode, stderr) == (0, "")
    assert json.loads(stdout)["records"] == 1_000
    assert sorted(values(broker_of_its_own.bootstrap, topic)) == sorted(event(number) for number in range(1_000))


def test_a_broker_that_stays_away_is_told_with_what_was_sent(
    broker_of_its_own: Broker, log: Path, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_outbox, "_DELIVERY_SECONDS", 4)
    monkeypatch.setattr(kafka_outbox, "_GRACE_SECONDS", 1)

    def kill() -> None:
        wait_for_records(broker_of_its_own.bootstrap, topic, 20)
        broker_of_its_own.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    arguments = ("--partitions", "1", "--rate", "10")  # the whole log would take 100 seconds
    started = time.monotonic()
    result = publish(log, "--bootstrap", broker_of_its_own.bootstrap, *arguments, code=3)
    assert time.monotonic() - started < 60
    killer.join()
    place = f"error: {broker_of_its_own.bootstrap}: topic {topic}: no answer within 4 s; acknowledged so far: "
    assert result.stderr.startswith(place)
    assert result.stderr.count("\n") == 1
    count = int(result.stderr.removeprefix(place).split()[0].replace(",", ""))
    broker_of_its_own.start()
    found = values(broker_of_its_own.bootstrap, topic)
    assert found == [event(number) for number in range(len(found))]
    assert 0 < count <= len(found) < 1_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_says_what_was_sent(
    number: signal.Signals, secured_broker: Broker, log: Path, topic: str
) -> None:
    with in_background(secured_broker, log, "--partitions", "1", "--rate", "50") as process:
        wait_for_records(secured_broker.bootstrap, topic, 20)
        os.kill(process.pid, number)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert stderr == "stopped before the end of the log\n"
    found = values(secured_broker.bootstrap, topic)
    assert found == [event(each) for each in range(len(found))]
    assert 20 <= json.loads(stdout)["records"] == len(found) < 1_000


def test_a_second_interrupt_ends_it_at_once(broker_of_its_own: Broker, log: Path, topic: str) -> None:
    with in_background(broker_of_its_own, log, "--partitions", "1", "--rate", "50") as process:
        wait_for_records(broker_of_its_own.bootstrap, topic, 20)
        broker_of_its_own.kill()
        time.sleep(0.3)  # records that nobody will acknowledge
        os.kill(process.pid, signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        os.kill(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)  # less than the two minutes of a record nobody acknowledges
    assert process.returncode == 1
    assert (stdout, stderr.strip()) == ("", "Aborted!")


def test_a_pipeline_names_the_cluster_and_its_login(
    secured_broker: Broker, log: Path, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = tmp_path / "pipeline.toml"
    text = (ROOT / "configs" / "kafka.toml").read_text().replace("127.0.0.1:9092", secured_broker.sasl_bootstrap)
    login = f'protocol = "SASL_SSL"\nmechanism = "{MECHANISM}"\nca_file = "{secured_broker.ca_file}"\n'
    pipeline.write_text(text.replace("[time]", f"[input.security]\n{login}[time]"))
    arguments = ("--pipeline", str(pipeline), "--partitions", "1")
    assert "the environment variable KAFKA_USERNAME" in publish(log, *arguments, code=2).stderr
    monkeypatch.setenv("KAFKA_USERNAME", USER)
    monkeypatch.setenv("KAFKA_PASSWORD", f"{PASSWORD}-wrong")
    refused = publish(log, *arguments, code=3)
    assert refused.stderr.startswith(f"error: {secured_broker.sasl_bootstrap}: authentication refused")
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    accepted = publish(log, *arguments)
    assert PASSWORD not in refused.output + accepted.output
    assert len(values(secured_broker.bootstrap, topic)) == 1_000


def test_what_a_client_cannot_even_take_fails_like_what_a_cluster_refuses(
    broker: NamedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_outbox, "_REQUEST_BYTES", 1_000)
    topic = new_topic(broker.bootstrap)
    outbox = Outbox(cluster(broker.bootstrap, None), "lz4")
    outbox.send(Run(topic, [event(1), b"x" * 2_000, event(2)], [None] * 3))
    assert outbox.has_failed
    with pytest.raises(UnavailableError, match=f"a record of 2,000 bytes .* acknowledged so far: 1 {topic}"):
        outbox.finish()
    outbox.close()
    assert values(broker.bootstrap, topic) == [event(1)]


def test_a_login_refused_on_the_way_is_told_as_the_reason(broker: NamedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_outbox, "_REQUEST_BYTES", 1_000)
    topic = new_topic(broker.bootstrap)
    outbox = Outbox(cluster(broker.bootstrap, None), "lz4")
    outbox.send(Run(topic, [event(1), b"x" * 2_000], [None] * 2))
    outbox._connections.refusal = SaslAuthenticationFailedError()
    with pytest.raises(UnavailableError, match=f"authentication refused.*; acknowledged so far: 1 {topic}"):
        outbox.finish()
    outbox.close()
