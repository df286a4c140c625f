"""The connections of a client: topics as the brokers know them now, with their ids, and which failures are for good."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    KafkaConnectionError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from schemas.errors import UnavailableError
from streams.kafka_client import known_offsets, open_consumer, unreachable
from streams.kafka_connections import Connections, TopicNow, tls_refusal
from streams.settings import KafkaInput
from tests.broker import Broker, NamedBroker, admin, new_topic


def source(bootstrap: str) -> KafkaInput:
    return KafkaInput.model_construct(source="kafka", bootstrap_servers=bootstrap, topics=())


@pytest.fixture
def connections() -> Connections:
    return Connections()


@pytest.fixture
def consumer(broker: Broker | NamedBroker, connections: Connections) -> Iterator[KafkaConsumer]:
    consumer = open_consumer(source(broker.bootstrap), connections)
    yield consumer
    consumer.close()


@pytest.mark.usefixtures("consumer")
def test_topics_are_as_the_broker_knows_them_now(broker: Broker | NamedBroker, connections: Connections) -> None:
    topic = new_topic(broker.bootstrap, partitions=2)
    with admin(broker.bootstrap) as client:
        [described] = client.describe_topics([topic])
        [answer] = connections.topics([topic, "not-there"], [], 5_000)
        assert answer[topic] == TopicNow(None, str(described["topic_id"]), frozenset({0, 1}))
        assert answer["not-there"] == TopicNow(UnknownTopicOrPartitionError, None, frozenset())
        client.create_partitions({topic: 3})
        until = time.monotonic() + 30  # the broker itself hears of it a moment later
        while True:
            [answer] = connections.topics([topic], [TopicPartition(topic, 0)], 5_000)
            if len(answer[topic].partitions) > 2 or time.monotonic() > until:
                break
            time.sleep(0.05)
        assert answer[topic].partitions == {0, 1, 2}
        assert "not-there" not in client.list_topics()


def test_the_leader_of_a_partition_is_asked_once(
    broker: Broker | NamedBroker, connections: Connections, consumer: KafkaConsumer
) -> None:
    topic = new_topic(broker.bootstrap, partitions=3)
    partitions = [TopicPartition(topic, number) for number in range(3)]
    consumer.end_offsets(partitions)
    assert [set(answer) for answer in connections.topics([topic], partitions, 5_000)] == [{topic}]


@pytest.mark.usefixtures("consumer")
def test_no_answer_in_time_is_an_error_of_the_client(connections: Connections) -> None:
    with pytest.raises(KafkaTimeoutError):
        connections.topics(["any"], [], 0)


def test_no_question_of_a_client_makes_a_topic(consumer: KafkaConsumer) -> None:
    assert consumer._cluster.metadata_request().allow_auto_topic_creation is False


def test_a_partition_nobody_leads_is_an_error_of_the_client() -> None:
    def leaves_out(partitions: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return {tp: {}[tp] for tp in partitions}

    with pytest.raises(LeaderNotAvailableError):
        known_offsets(leaves_out, [TopicPartition("a", 0)], 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed (_ssl.c:1000)",
         "certificate verify failed: self-signed"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)",
         "tlsv13 alert certificate required"),
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2580)", "tlsv1 alert unknown ca"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1000)", "wrong version number"),
        ("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:1000)", ""),
        ("[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error (_ssl.c:1000)", ""),
        ("[Errno 104] Connection reset by peer", ""),
    ],
)  # fmt: skip
def test_tls_that_is_refused_is_told_from_a_connection_that_broke(text: str, why: str) -> None:
    error = KafkaConnectionError(text)
    assert tls_refusal(error) == why
    assert tls_refusal(ValueError(text)) == ""
    message = str(unreachable(source("127.0.0.1:1"), error))
    assert message.startswith(f"127.0.0.1:1: TLS refused: {why}. " if why else "127.0.0.1:1: no broker answers there")


@pytest.mark.parametrize("error", [AuthorizationError(), TopicAuthorizationFailedError({"secret-topic"})])
def test_what_may_not_be_done_is_named_by_its_kind(error: AuthorizationError) -> None:
    message = str(unreachable(source("127.0.0.1:1"), error))
    assert message == f"127.0.0.1:1: not allowed: {type(error).__name__}"
    assert isinstance(unreachable(source("127.0.0.1:1"), error), UnavailableError)
