"""A case in a real broker's topics, and the pipeline that reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from tests.broker import new_topic
from tests.case_files import to_json_events, write_case
from tests.cases import SCORED_TOPICS, TOPICS, Case


def key_of(topic: str, event: dict[str, Any]) -> bytes:
    """By inference id where an event names one, reversals by the outcome that they reverse."""
    name = event.get("reverses") or event.get("inference_id") or event["event_id"]
    return str(name).encode()


def produce(bootstrap: str, topic: str, events: list[dict[str, Any]], **options: Any) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, **options)
    for event in events:
        producer.send(topic, key=key_of(topic, event), value=json.dumps(event).encode())
    producer.flush()
    producer.close()


def write_kafka_pipeline(case: Case, folder: Path, bootstrap: str, partitions: int) -> Path:
    """Topics of the case in the broker, each event sent in list order; the pipeline file that reads them."""
    pipeline = write_case(case, folder)
    names = {topic: new_topic(bootstrap, topic, partitions=partitions) for topic in TOPICS}
    for topic, events in to_json_events(case).items():
        produce(bootstrap, names[topic], events)
    return to_kafka(pipeline, names, bootstrap)


def to_kafka(pipeline: Path, names: dict[str, str], bootstrap: str, more: str = "") -> Path:
    """The pipeline file reading topics of a broker in place of files."""
    text = pipeline.read_text(encoding="utf-8")
    start, end = text.index("[input]"), text.index("[time]")
    more += "".join(line for line in text[start:end].splitlines(keepends=True) if line.startswith("max_record_bytes"))
    kinds = {name: SCORED_TOPICS[topic] for topic, name in names.items()}
    topics = "".join(f'[[input.topic]]\nname = "{name}"\nkind = "{kind}"\n' for name, kind in kinds.items())
    section = f'[input]\nsource = "kafka"\nbootstrap_servers = "{bootstrap}"\n{more}{topics}'
    archive = '[archive]\npath = "archive"\n'
    pipeline.write_text(f"{text[:start]}{section}{text[end:]}{archive}", encoding="utf-8")
    return pipeline
