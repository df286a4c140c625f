"""What lag tools see: offsets committed to Kafka for a group of the pipeline's name, and how far behind it is.

Nothing depends on these offsets: reading goes on from the pipeline's own commits. So a thread and a connection of their
own do it, the engine never waits for them, and a cluster that refuses them is told of once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import AuthorizationError, KafkaError
from kafka.structs import OffsetAndMetadata

from schemas.errors import AttributionError
from streams.kafka_client import connect, known_offsets
from streams.settings import KafkaInput

#: At most so often: each is a request to the broker that leads the group's offsets.
_SECONDS = 2.0
#: How old the lag may become where no commit is made.
_REFRESH_SECONDS = 15.0
_TIMEOUT_MS = 5_000
#: Leaving does not wait longer for a broker.
_CLOSING_SECONDS = 2.0

Offsets = Mapping[tuple[str, int], int]


class KafkaLag:
    """Told of each commit's positions.

    on_lag: takes records per (topic, partition) between position and end; on_refused: takes, once, why offsets cannot
    be committed.
    """

    def __init__(
        self,
        source: KafkaInput,
        group: str,
        on_lag: Callable[[dict[tuple[str, int], int]], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self._source = source
        self._group = group
        self._on_lag = on_lag
        self._on_refused = on_refused
        self._newest: Offsets = {}
        self._told = threading.Event()
        self._closed = threading.Event()
        self._is_refused = False
        self._thread = threading.Thread(target=self._work, name="kafka-lag", daemon=True)
        self._thread.start()

    def committed(self, offsets: Offsets) -> None:
        """The next offset of each partition, as of a durable commit; returns at once."""
        self._newest = offsets
        self._told.set()

    def close(self) -> None:
        """What was told last is committed first, if the broker answers."""
        self._closed.set()
        self._told.set()
        self._thread.join(_CLOSING_SECONDS)

    def _work(self) -> None:
        consumer: KafkaConsumer | None = None
        is_last = False
        while not is_last:
            self._told.wait(_REFRESH_SECONDS)
            self._told.clear()
            is_last = self._closed.is_set()
            # The engine itself tells of a broker that is away; here the next round tries again.
            with suppress(KafkaError, AttributionError, OSError):
                consumer = self._tell(consumer, dict(self._newest)) if self._newest else consumer
            self._closed.wait(_SECONDS)
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=_TIMEOUT_MS)

    def _tell(self, consumer: KafkaConsumer | None, offsets: dict[tuple[str, int], int]) -> KafkaConsumer:
        if consumer is None:
            options: dict[str, Any] = {"enable_auto_commit": False, "isolation_level": self._source.isolation}
            consumer = connect(self._source, KafkaConsumer, group_id=self._group, **options)
        partitions = {TopicPartition(*key): offset for key, offset in offsets.items()}
        ends = known_offsets(consumer.end_offsets, list(partitions), _TIMEOUT_MS)
        self._on_lag({(tp.topic, tp.partition): max(end - partitions[tp], 0) for tp, end in ends.items()})
        if not self._is_refused:
            try:
                consumer.commit({tp: OffsetAndMetadata(at, "", -1) for tp, at in partitions.items()}, _TIMEOUT_MS)
            except AuthorizationError as error:
                self._is_refused = True
                self._on_refused(f"group {self._group}: {type(error).__name__}")
        return consumer
