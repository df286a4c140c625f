"""The Kafka of the tests: it keeps records over SIGKILL, asks for a password, and dies with who started it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaTimeoutError

from tests.broker import NAMED, POM, ROOT, Broker, NamedBroker, admin, free_ports, missing, new_topic
from tests.broker_security import PASSWORD

RECORDS = [f"record {number}".encode() for number in range(300)]


def produce(bootstrap: str, topic: str, values: list[bytes], **security: str) -> None:
    with KafkaProducer(bootstrap_servers=bootstrap, compression_type="gzip", **security) as producer:
        for sent in [producer.send(topic, value, headers=[("kind", b"test")]) for value in values]:
            sent.get(timeout=30)


def consume(bootstrap: str, topic: str, **security: str) -> Iterator[Any]:
    """Every record the topic holds, partition after partition."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, **security)
    try:
        partitions = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        for partition, end in consumer.end_offsets(partitions).items():
            consumer.assign([partition])
            consumer.seek(partition, 0)
            while consumer.position(partition) < end:
                yield from consumer.poll(timeout_ms=1_000).get(partition, [])
    finally:
        consumer.close()


def test_what_was_produced_is_consumed_with_its_headers(broker: Broker | NamedBroker) -> None:
    topic = new_topic(broker.bootstrap, partitions=3)
    produce(broker.bootstrap, topic, RECORDS)
    records = list(consume(broker.bootstrap, topic))
    assert sorted(record.value for record in records) == sorted(RECORDS)
    assert {tuple(record.headers) for record in records} == {(("kind", b"test"),)}


def test_a_topic_has_the_settings_asked_for(broker: Broker | NamedBroker) -> None:
    topic = new_topic(broker.bootstrap, "kept", retention_ms="1234")
    with admin(broker.bootstrap) as client:
        (described,) = client.describe_topics([topic])
        configs = client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    assert topic.startswith("kept-")
    assert len(described["partitions"]) == 1
    assert configs["topic"][topic]["retention.ms"]["value"] == "1234"


def test_records_and_addresses_outlive_a_sigkill(broker_of_its_own: Broker) -> None:
    bootstrap = broker_of_its_own.bootstrap
    topic = new_topic(bootstrap)
    produce(bootstrap, topic, RECORDS[:200])
    broker_of_its_own.kill()
    assert not broker_of_its_own.is_running
    broker_of_its_own.restart()
    assert broker_of_its_own.bootstrap == bootstrap
    produce(bootstrap, topic, RECORDS[200:])
    assert [record.value for record in consume(bootstrap, topic)] == RECORDS


def test_records_make_the_round_trip_over_scram_and_tls(secured_broker: Broker) -> None:
    topic = new_topic(secured_broker.bootstrap)
    produce(secured_broker.sasl_bootstrap, topic, RECORDS, **secured_broker.scram())
    assert [
        record.value for record in consume(secured_broker.sasl_bootstrap, topic, **secured_broker.scram())
    ] == RECORDS


def test_scram_without_tls_too(secured_broker: Broker) -> None:
    security = secured_broker.scram() | {"security_protocol": "SASL_PLAINTEXT"}
    with admin(secured_broker.address("SASL_PLAINTEXT"), **security) as client:
        assert client.describe_cluster()["brokers"]


def test_a_wrong_password_is_refused(secured_broker: Broker) -> None:
    # kafka-python's admin client tries until its time is over, whatever the refusal.
    with pytest.raises(KafkaTimeoutError):
        admin(secured_broker.sasl_bootstrap, bootstrap_timeout_ms=1_000, **secured_broker.scram("wrong"))


def test_the_password_is_in_no_file_of_the_broker(secured_broker: Broker) -> None:
    files = [path for path in secured_broker.folder.rglob("*") if path.is_file()]
    assert secured_broker.log_file in files
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []


STARTER = (
    "import sys, time; from pathlib import Path; from tests.broker import Broker; Broker(Path(sys.argv[1])).start()"
)


@pytest.fixture
def stopped_broker(tmp_path: Path, secured_broker: Broker) -> Iterator[Broker]:
    """One that other processes start; there is what it takes, or the shared one would not run."""
    broker = Broker(tmp_path / "broker")
    yield broker
    broker.kill()


def test_a_broker_dies_with_a_process_that_is_killed(stopped_broker: Broker) -> None:
    program = f"{STARTER}; print('serves', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", program, str(stopped_broker.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"serves\n"
        assert stopped_broker.is_running
        starter.send_signal(signal.SIGKILL)
    wait_until(lambda: not stopped_broker.is_running)


def test_make_kafka_leaves_one_broker_until_it_is_stopped(stopped_broker: Broker) -> None:
    folder = stopped_broker.folder
    for _ in range(2):
        assert command_line("start", "--dir", folder) == f"{stopped_broker.bootstrap}\n"
        assert stopped_broker.is_running
    for _ in range(2):
        assert command_line("stop", "--dir", folder) == ""
        assert not stopped_broker.is_running


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(ValueError, match="found other files"):
        Broker(tmp_path)
    assert command_line("stop", "--dir", tmp_path) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_free_ports_are_not_those_of_outgoing_connections() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert max(ports) < 32_768


@pytest.fixture
def without_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("CI", "true")


@pytest.mark.usefixtures("without_java")
def test_without_java_a_named_broker_does_where_only_an_address_is_needed(broker: Broker | NamedBroker) -> None:
    environment = os.environ | {NAMED: broker.bootstrap}
    tests = "settings_asked_for or password_is_refused"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", tests, __file__]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "1 passed, 1 skipped" in run.stdout
    # .ci/run looks for this line.
    assert re.search(r"^SKIPPED .*: needs a Kafka broker: install Java 17 and Maven", run.stdout, re.MULTILINE)


@pytest.mark.usefixtures("without_java")
def test_without_java_the_reason_says_what_to_install() -> None:
    assert re.match(r"needs a Kafka broker: install .*apt-get install maven", missing())


def test_docker_compose_starts_the_same_kafka() -> None:
    (version,) = re.findall(r"<artifactId>kafka_2.13</artifactId>\s*<version>(.*)</version>", POM.read_text())
    assert f"image: apache/kafka:{version}\n" in (ROOT / "compose.yaml").read_text()


def command_line(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "tests.broker", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
