"""The connections of a Kafka client: what became of its logins, and what the cluster says of its topics now.

The client says in its log only that a broker sent it away, and tries on for ever; it looks at topics every few minutes,
and would have a broker make those that are gone. So its connections are made here::

    connections = Connections()
    consumer = KafkaConsumer(kafka_client=connections.client, **client_options(source))
    ...
    if connections.refusal is not None:  # trying on will not help
        raise unreachable(source, connections.refusal)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from kafka.errors import (
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
    for_code,
)
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.protocol.metadata import MetadataRequest

from streams.kafka_token import NoTokenError, TokenRefusedError

#: What TLS says of certificates that one side does not take, or of a side that speaks no TLS; of connections that
#: merely broke it says other things.
_TLS_REFUSAL = re.compile(
    r"\[SSL: \w*(?:CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE|WRONG_VERSION|PROTOCOL_VERSION|DECRYPT)\w*\] ([^(\n]*)"
)


def tls_refusal(error: BaseException) -> str:
    """Why TLS came to nothing where that is for good, in the words of the library; else empty."""
    found = _TLS_REFUSAL.search(str(error)) if isinstance(error, KafkaConnectionError) else None
    return found[1].strip() if found else ""


@dataclass(frozen=True)
class TopicNow:
    """A topic as a broker knows it. error: None if it may be read; id: never given again, None from old brokers."""

    error: type[KafkaError] | None
    id: str | None
    partitions: frozenset[int]


class Connections:
    """Of one client, which is given ``client`` as ``kafka_client``.

    refusal: why a broker, or who gives out the tokens, sent us away; no_token: why there was none, in time, for the
    newest login that was tried.
    """

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.no_token: NoTokenError | None = None
        self._client: KafkaNetClient | None = None
        self._manager: Any = None
        self._watched: WeakSet[Any] = WeakSet()

    def client(self, **options: Any) -> KafkaNetClient:
        """Makes the inside of a client."""
        net = NetworkSelector(**options)
        manager = KafkaConnectionManager(net, **options)
        manager.cluster.config["allow_auto_create_topics"] = False
        get_connection = manager.get_connection

        def watched(*args: Any, **named: Any) -> Any:
            connection = get_connection(*args, **named)
            if connection not in self._watched:
                self._watched.add(connection)
                connection.init_future.add_callback(self._succeeded)
                connection.init_future.add_errback(self._failed)
                _hear_out(connection)
            return connection

        manager.get_connection = watched
        self._manager = manager
        self._client = KafkaNetClient(net=net, manager=manager)
        return self._client

    def _succeeded(self, _: object) -> None:
        self.no_token = None

    def _failed(self, error: Exception) -> None:
        self.no_token = error if isinstance(error, NoTokenError) else None
        refusals = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, TokenRefusedError)
        if isinstance(error, refusals) or tls_refusal(error):
            self.refusal = error
            if not self._manager.bootstrapped:  # a start need not wait until its patience is over
                self._manager.close()

    def topics(self, names: Sequence[str], leaders_of: Iterable[Any], timeout_ms: int) -> list[dict[str, TopicNow]]:
        """The topics as each broker knows them that leads one of the partitions; as any does, where none is known.

        Who hands out a topic's records knows its id; another broker may hear of a new one later. Makes no topic.
        Raises KafkaError where a broker does not answer in time.
        """
        leaders = {self._manager.cluster.leader_for_partition(partition) for partition in leaders_of}
        nodes = sorted(leaders - {None, -1}) or [None]

        async def ask() -> list[Any]:
            asked = [self._manager.send(_question(names), node) for node in nodes]
            return [await self._manager.wait_for(answer, timeout_ms) for answer in asked]

        return [{topic.name: _topic_now(topic) for topic in answer.topics} for answer in self._manager.run(ask)]

    def close(self) -> None:
        """For a client that never came to be; one that did closes them itself."""
        if self._client is not None:
            with suppress(KafkaError, RuntimeError):
                self._client.close()


def _question(names: Sequence[str]) -> MetadataRequest:
    return MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=name) for name in names],
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=False,
        include_topic_authorized_operations=False,
    )


def _hear_out(connection: Any) -> None:
    """What a broker says right before it hangs up, such as that a login is refused, is heard, then that it hung up.

    The client throws away what it reads together with an end; there is no public way around that.
    """
    connection_made = connection.connection_made

    def made(transport: Any) -> None:
        receive = getattr(transport, "_sock_recv", None)
        if receive is None:  # another release: then a refusal is heard at the next try, or the one after
            connection_made(transport)
            return
        ends: list[Exception] = []

        def received() -> tuple[bytes, Exception | None]:
            if ends:
                return b"", ends[0]
            content, end = receive()
            if content and end is not None:
                ends.append(end)
                return content, None
            return content, end

        transport._sock_recv = received  # noqa: SLF001
        connection_made(transport)

    connection.connection_made = made


def _topic_now(topic: Any) -> TopicNow:
    error = for_code(topic.error_code)
    has_id = topic.topic_id is not None and topic.topic_id.int
    return TopicNow(
        error if topic.error_code else None,
        str(topic.topic_id) if has_id else None,
        frozenset(partition.partition_index for partition in topic.partitions or ()),
    )
