"""That the topics of a pipeline are still those it began with.

A topic that was deleted and made again has other records at the same offsets, and positions alone do not tell: the new
one may be longer. The cluster gives every topic an id that none ever had (from Kafka 2.8 on). The commits hold it, and
records count only after the broker they came from has said that the topic still has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from kafka import TopicPartition
from kafka.errors import AuthorizationError, InvalidTopicError, UnknownTopicOrPartitionError

from schemas.errors import UnavailableError
from streams.kafka_client import unreachable
from streams.kafka_connections import Connections, TopicNow
from streams.settings import KafkaInput

#: A broker that has just come up may not know its topics yet; one that is missing for longer was deleted.
_GONE_SECONDS = 30.0
_ANSWER_MS = 5_000


class KnownTopics:
    """The topics of a source. ids: by name, as the newest commit has them; those that it lacks are learned.

    now: a monotonic clock.
    """

    def __init__(
        self,
        source: KafkaInput,
        connections: Connections,
        ids: Mapping[str, str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._connections = connections
        self.ids = dict(ids)
        self._now = now
        self._missing_since: dict[str, float] = {}

    def look(
        self,
        next_offsets: Mapping[TopicPartition, int],
        leaders_of: Iterable[TopicPartition] = (),
        *,
        is_start: bool = False,
    ) -> dict[str, frozenset[int]]:
        """The partitions of each topic that is there now, as the brokers say that lead some of them.

        next_offsets: where it stands in each partition, for messages.

        Raises UnavailableError for a topic that is not the one it was, is gone (at the start at once) or may not be
        read, KafkaError where no broker answers.
        """
        names = [topic.name for topic in self._source.topics]
        found: dict[str, frozenset[int]] = {}
        for answer in self._connections.topics(names, leaders_of, _ANSWER_MS):
            for name in names:
                place = min((tp for tp in next_offsets if tp.topic == name), default=TopicPartition(name, 0))
                if self._is_there(answer[name], place, next_offsets.get(place, 0), is_start=is_start):
                    found[name] = found.get(name, frozenset()) | answer[name].partitions
        return found

    def _is_there(self, topic: TopicNow, place: TopicPartition, offset: int, *, is_start: bool) -> bool:
        name = place.topic
        if topic.error is not None and issubclass(topic.error, AuthorizationError):
            raise unreachable(self._source, topic.error(name))
        if topic.error in (UnknownTopicOrPartitionError, InvalidTopicError):
            if is_start:
                raise UnavailableError(f"{self._source.bootstrap_servers}: no topic {name}")
            self._note_missing(place, offset)
            return False
        self._missing_since.pop(name, None)
        if topic.id is not None and self.ids.setdefault(name, topic.id) != topic.id:
            raise UnavailableError(
                f"{name}/{place.partition}: the topic was made anew: its offset {offset} is not the one this pipeline "
                "would read next. Hint: give the new topic another name, or begin a new state"
            )
        return True

    def _note_missing(self, place: TopicPartition, offset: int) -> None:
        since = self._missing_since.setdefault(place.topic, self._now())
        if self._now() - since >= _GONE_SECONDS:
            raise UnavailableError(
                f"{place.topic}/{place.partition}: the topic was deleted; this pipeline would read its offset {offset} "
                "next. Hint: begin a new state, without it or with another topic"
            )
