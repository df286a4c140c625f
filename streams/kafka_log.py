"""What Kafka still holds of a pipeline's topics, brought into an archive: from there it is read as any other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import msgspec
import polars as pl
from kafka import TopicPartition
from kafka.errors import KafkaError

from streams.decode import Limits
from streams.kafka_client import known_offsets, open_consumer, unreachable
from streams.live.archiving import LAYOUT, archive_rows
from streams.live.batches import Batch
from streams.live.commit import Partition
from streams.live.kafka_batches import KafkaBatches
from streams.parquet_sink import dated_path
from streams.settings import KafkaInput

#: Offsets by (topic, partition).
Offsets = Mapping[tuple[str, int], int]

_BATCH_RECORDS = 250_000
_BATCH_SECONDS = 60.0
_TIMEOUT_MS = 10_000


def fetch(
    source: KafkaInput, limits: Callable[[], Limits], folder: Path, upto: Iterable[Partition] | None = None
) -> dict[tuple[str, int], int]:
    """Write every record to ``folder`` as the archive of commit 0; gives where reading goes on.

    upto: read these partitions up to where they stand, others not at all; by default all of them up to where they end
    now. Raises UnavailableError for a broker or topic that is not there, and for offsets that it does not give.
    """
    known = [] if upto is None else list(upto)
    wanted = ends(source) if upto is None else {(p.topic, p.partition): p.next_offset or 0 for p in known}
    # From the beginning of the topics that were read, not of others of their names.
    first = {(p.topic, p.partition): msgspec.structs.replace(p, next_offset=None, newest_us=None) for p in known}
    batches = KafkaBatches(source.model_copy(update={"start": "earliest"}), limits, float("inf"), first)
    never = threading.Event()
    try:
        for number in count():
            batch = batches.next_batch(_BATCH_RECORDS, _BATCH_SECONDS, never, wait=False)
            _write(batch, wanted, folder, number, limits().now_us)
            if batch.at_end or all(_position(batch, key) >= end for key, end in wanted.items()):
                return {key: max(_position(batch, key), 0) if upto is None else end for key, end in wanted.items()}
    finally:
        batches.close()
    raise AssertionError("there is always a next number")


def ends(source: KafkaInput) -> dict[tuple[str, int], int]:
    """Where each partition ends now; raises UnavailableError for a broker that is not there."""
    consumer = open_consumer(source)
    try:
        known = [
            TopicPartition(topic.name, number)
            for topic in source.topics
            for number in consumer.partitions_for_topic(topic.name) or ()
        ]
        found = known_offsets(consumer.end_offsets, known, _TIMEOUT_MS)
        return {(tp.topic, tp.partition): end for tp, end in found.items()}
    except KafkaError as error:
        raise unreachable(source, error) from error
    finally:
        consumer.close()


def _position(batch: Batch, key: tuple[str, int]) -> int:
    position = batch.positions.get(key)
    return -1 if position is None or position.next_offset is None else position.next_offset


def _write(batch: Batch, upto: Offsets, folder: Path, number: int, now_us: int) -> None:
    today = datetime.fromtimestamp(now_us / 1e6, UTC).date()
    for topic, rows in archive_rows(batch.reads, 0, now_us).items():
        ends = pl.DataFrame(
            [(partition, end) for (of, partition), end in upto.items() if of == topic],
            schema={"partition": pl.Int32, "end": pl.Int64},
            orient="row",
        )
        asked = rows.join(ends, on="partition", maintain_order="left").filter(pl.col("offset") < pl.col("end"))
        if asked.height:
            LAYOUT.write(topic, asked.drop("end"), folder / dated_path(topic, today, f"{0:012d}-{number:06d}"))
