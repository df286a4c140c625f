"""Records on their way to Kafka: handed to a client, and counted when the cluster has acknowledged them.

The producer is idempotent and waits for all replicas in sync, so a record that it sends again stands once. Its own
buffer has no bound; here what is not yet acknowledged has one. Each record's end is looked at, not the batch's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.producer.future import FutureRecordMetadata

from schemas.errors import UnavailableError
from streams.kafka_client import connect, unreachable
from streams.kafka_connections import Connections
from streams.log_runs import Run
from streams.settings import KafkaInput

#: How long the cluster may take for a record, a new leader's election and a broker's restart included.
_DELIVERY_SECONDS = 120
#: How much longer to wait for what was handed over before a failure, and for the client's own end.
_GRACE_SECONDS = 10
_LINGER_MS = 5
#: Below a broker's usual limit of 1 MiB, also where nothing is compressed.
_BATCH_BYTES = 512 << 10
#: A larger record is the cluster's to refuse, not the client's.
_REQUEST_BYTES = 64 << 20
#: What may be unacknowledged: about a second's records. A record's own objects take some 700 bytes.
_UNACKNOWLEDGED_BYTES = 64 << 20
_RECORD_BYTES = 1 << 10
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


@dataclass
class Sent:
    """What the cluster has acknowledged: records, and bytes of their values."""

    records: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class _Failure:
    topic: str
    error: Exception
    record_bytes: int
    at: float


@dataclass(frozen=True)
class _Handed:
    """A run that was handed over. Where handing over itself failed there are fewer futures than records."""

    run: Run
    at: float
    futures: list[FutureRecordMetadata] = field(default_factory=list)

    @cached_property
    def weight(self) -> int:
        return sum(map(len, self.run.records)) + _RECORD_BYTES * len(self.run.records)


class Outbox:
    """Sends to one cluster. sent: by topic, what was acknowledged so far."""

    def __init__(self, source: KafkaInput, compression: str) -> None:
        """compression: none, gzip, lz4, snappy or zstd. Raises UnavailableError where there is no cluster."""
        self._source = source
        self._connections = Connections()
        self._producer: KafkaProducer = connect(
            source,
            KafkaProducer,
            self._connections,
            acks="all",
            enable_idempotence=True,
            compression_type=None if compression == "none" else compression,
            linger_ms=_LINGER_MS,
            batch_size=_BATCH_BYTES,
            max_request_size=_REQUEST_BYTES,
            request_timeout_ms=_DELIVERY_SECONDS * 250,  # one attempt: a quarter of it
            delivery_timeout_ms=_DELIVERY_SECONDS * 1_000,
            max_block_ms=_DELIVERY_SECONDS * 1_000,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        self._waiting: deque[_Handed] = deque()
        self._waiting_weight = 0
        self._failure: _Failure | None = None
        self.sent: dict[str, Sent] = {}

    @property
    def has_failed(self) -> bool:
        return self._failure is not None

    def send(self, run: Run) -> None:
        """Hand over a run; waits for the oldest ones where too much is unacknowledged.

        Notes what became of those whose end is known, so that a failure shows with the next run.
        """
        handed = _Handed(run, time.monotonic())
        self._waiting.append(handed)
        self._waiting_weight += handed.weight
        send, take = self._producer.send, handed.futures.append
        try:
            # A loop: the client takes one record at a time, 25 µs each.
            for record, key in zip(run.records, run.keys, strict=True):
                take(send(run.topic, value=record, key=key))
        except (KafkaError, ValueError) as error:  # ValueError: the topic is gone
            self._note(run.topic, error, len(run.records[len(handed.futures)]))
        while self._waiting and (self._waiting_weight > _UNACKNOWLEDGED_BYTES or self._is_due(self._waiting[0])):
            self._settle_oldest()

    def finish(self) -> None:
        """Wait for the end of all that was handed over; raises UnavailableError if any of it failed."""
        while self._waiting:
            self._settle_oldest()
        refusal = self._connections.refusal or self._connections.no_token
        if self._failure is not None and refusal is not None:
            raise UnavailableError(f"{unreachable(self._source, refusal)}; {told(self.sent)}")
        if self._failure is not None:
            place = f"{self._source.bootstrap_servers}: topic {self._failure.topic}"
            raise UnavailableError(f"{place}: {_why(self._failure)}; {told(self.sent)}")

    def _settle_oldest(self) -> None:
        handed = self._waiting[0]
        topic = handed.run.topic
        sent = self.sent.setdefault(topic, Sent())
        for future, record in zip(handed.futures, handed.run.records, strict=False):
            try:
                if not future.is_done:
                    future.get(timeout=self._patience(handed))
            except KafkaError as error:
                self._note(topic, error, len(record))
                continue
            if future.exception is not None:
                self._note(topic, future.exception, len(record))
                continue
            sent.records += 1
            sent.bytes += len(record)
        self._waiting.popleft()
        self._waiting_weight -= handed.weight

    def _is_due(self, handed: _Handed) -> bool:
        return all(future.is_done for future in handed.futures) or not self._patience(handed)

    def _patience(self, handed: _Handed) -> float:
        """Seconds to wait for a record's end. The client's own timeouts do not always come: while it asks a broker
        that is away for a new producer id, it looks at no other."""
        until = handed.at + _DELIVERY_SECONDS + _GRACE_SECONDS
        if self._failure is not None:
            until = min(until, self._failure.at + _GRACE_SECONDS)
        return max(0.0, until - time.monotonic())

    def _note(self, topic: str, error: Exception, record_bytes: int) -> None:
        """The first failure tells why; those that follow are its effect, as a rule."""
        self._failure = self._failure or _Failure(topic, error, record_bytes, time.monotonic())

    def close(self) -> None:
        """At once, also where records wait for a cluster that does not answer: those are given up."""
        if self._waiting or self.has_failed:
            # The client's close waits for what it still holds, however short its timeout; there is no public way round.
            self._producer._sender.force_close()  # noqa: SLF001
        self._producer.close(timeout=_GRACE_SECONDS)


def told(sent: Mapping[str, Sent]) -> str:
    """What was sent, for a message."""
    counts = ", ".join(f"{each.records:,} {topic}" for topic, each in sent.items() if each.records)
    return f"acknowledged so far: {counts or 'nothing'}"


def _why(failure: _Failure) -> str:
    error = failure.error
    if isinstance(error, _TOO_LARGE):
        hint = "Hint: raise the topic's max.message.bytes, or move the record out of its file"
        return f"a record of {failure.record_bytes:,} bytes is more than it takes. {hint}"
    if isinstance(error, AuthorizationError):
        return f"not allowed to write: {type(error).__name__}"
    if isinstance(error, KafkaTimeoutError):
        return f"no answer within {_DELIVERY_SECONDS} s"
    return str(error)
