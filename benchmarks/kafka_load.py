"""Topics full of events for the Kafka benchmark, and events that arrive at a steady rate.

Sent by confluent-kafka, which needs a tenth of the time that kafka-python takes to send: the load must not be what is
measured. 300 bytes an event, lz4.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from confluent_kafka import Producer

from benchmarks.events import RULES, USE_CASES, conversions, inferences
from tests.broker import new_topic

EVENT_BYTES = 300
PARTITIONS = 4
_NOT_SENT = ("session_id", "trace_id")
KINDS = {"inferences": "inference", "conversions": "conversion"}

PIPELINE = """
base_currency = "USD"
rules = "rules"
[input]
source = "kafka"
bootstrap_servers = "{bootstrap}"
{topics}
[output]
path = "out"
roll_interval = "{roll}"
[state]
path = "state"
commit_interval = "{commit}"
[archive]
path = "archive"
"""


def write_pipeline(
    folder: Path, bootstrap: str, topics: dict[str, str], *, commit: str = "10s", roll: str = "60s"
) -> Path:
    """topics: names by those of ``KINDS``; gives the pipeline file."""
    (folder / "rules").mkdir(parents=True)
    for use_case in USE_CASES:
        (folder / "rules" / f"{use_case}.toml").write_text(RULES.format(use_case=use_case))
    lines = [f'[[input.topic]]\nname = "{topics[name]}"\nkind = "{kind}"' for name, kind in KINDS.items()]
    file = folder / "pipeline.toml"
    file.write_text(PIPELINE.format(bootstrap=bootstrap, topics="\n".join(lines), commit=commit, roll=roll))
    return file


def new_topics(bootstrap: str) -> dict[str, str]:
    return {name: new_topic(bootstrap, name, PARTITIONS) for name in KINDS}


def fill(bootstrap: str, topics: dict[str, str], events: int, batch_bytes: int) -> float:
    """Send so many events, a sixth of them conversions; gives events per second."""
    began = time.perf_counter()
    producer = _producer(bootstrap, batch_bytes, linger_ms=100)
    for name, frame, id_column in _frames(events):
        for part in frame.iter_slices(200_000):
            keys = part[id_column].cast(pl.String).to_list()
            for key, line in zip(keys, _lines(part), strict=True):
                _send(producer, topics[name], key, line)
    producer.flush()
    return events / (time.perf_counter() - began)


def send_steadily(bootstrap: str, topics: dict[str, str], rate: int, seconds: float) -> int:
    """Send events in order of their times, so many a second; gives how many."""
    producer = _producer(bootstrap, 64 << 10, linger_ms=5)
    stream = _in_order_of_time(round(rate * seconds))
    began, sent = time.perf_counter(), 0
    for name, key, line in stream:
        _send(producer, topics[name], key, line)
        sent += 1
        if sent % 200 == 0:
            time.sleep(max(began + sent / rate - time.perf_counter(), 0))
    producer.flush()
    return sent


def _in_order_of_time(events: int) -> Iterator[tuple[str, str, str]]:
    parts = []
    for name, frame, id_column in _frames(events):
        parts.append(
            frame.select("event_time", pl.col(id_column).cast(pl.String).alias("key")).with_columns(
                pl.lit(name).alias("topic"), pl.Series("line", _lines(frame))
            )
        )
    ordered = pl.concat(parts).sort("event_time")
    yield from ordered.select("topic", "key", "line").iter_rows()


def _frames(events: int) -> list[tuple[str, pl.DataFrame, str]]:
    count = events * 5 // 6
    time_text = pl.col("event_time").dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
    made = inferences(count).drop(_NOT_SENT), conversions(events - count, count)
    first, second = (_padded(frame.with_columns(time_text.alias("event_time"))) for frame in made)
    single = pl.col("inference_ids").list.first().alias("key")
    return [("inferences", first, "inference_id"), ("conversions", second.with_columns(single), "key")]


def _padded(frame: pl.DataFrame) -> pl.DataFrame:
    sample = frame.head(1_000)
    mean = len(sample.write_ndjson()) / sample.height
    return frame.with_columns(pl.lit("x" * max(round(EVENT_BYTES - mean - len(',"note":""')), 0)).alias("note"))


def _lines(frame: pl.DataFrame) -> list[str]:
    return frame.drop("key", strict=False).write_ndjson().splitlines()


def _producer(bootstrap: str, batch_bytes: int, *, linger_ms: int) -> Producer:
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "batch.size": batch_bytes,
            "linger.ms": linger_ms,
            "queue.buffering.max.kbytes": 256 << 10,
            "acks": "all",
        }
    )


def _send(producer: Producer, topic: str, key: str, line: str) -> None:
    while True:
        try:
            producer.produce(topic, line, key)
        except BufferError:
            producer.poll(0.01)
        else:
            return
