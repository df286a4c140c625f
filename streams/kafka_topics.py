"""Topics of a cluster: which of those that are wanted are there, and making the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, NoError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from schemas.errors import UnavailableError
from streams.kafka_client import connect, unreachable
from streams.settings import KafkaInput

#: What Kafka takes as the name of a topic.
TOPIC_NAME = re.compile(r"(?!\.{1,2}\Z)[a-zA-Z0-9._-]{1,249}")


def make_topics(source: KafkaInput, names: Sequence[str], partitions: int | None) -> None:
    """See to it that the topics are there: missing ones are made with so many partitions, each replicated as the
    cluster does by default. None: a missing topic is an error.

    Raises UnavailableError, also for topics that may not be looked at or made.
    """
    with closing(connect(source, KafkaAdminClient)) as admin:
        try:
            missing = _missing(source, admin, names)
            if missing and partitions is None:
                text = (
                    f"no topic {', '.join(missing)}. Hint: --partitions N makes missing topics, with N partitions each"
                )
                raise UnavailableError(f"{source.bootstrap_servers}: {text}")
            if missing:
                wanted = {name: {"num_partitions": partitions} for name in missing}
                _refuse_errors(source, admin.create_topics(wanted, raise_errors=False)["topics"])
                admin.wait_for_topics(missing)
        except (KafkaError, OSError, RuntimeError) as error:
            raise unreachable(source, error) from error


def _missing(source: KafkaInput, admin: KafkaAdminClient, names: Sequence[str]) -> list[str]:
    unknown = UnknownTopicOrPartitionError.errno
    found = admin.describe_topics(list(names))  # which makes none, whatever the broker's auto.create.topics.enable
    _refuse_errors(source, [topic for topic in found if topic["error_code"] != unknown])
    return sorted(topic["name"] for topic in found if topic["error_code"] == unknown)


def _refuse_errors(source: KafkaInput, topics: list[dict[str, object]]) -> None:
    for topic in topics:
        error = for_code(topic["error_code"])
        if error not in (NoError, TopicAlreadyExistsError):
            why = topic.get("error_message") or error.__name__
            raise UnavailableError(f"{source.bootstrap_servers}: topic {topic['name']}: {why}")
