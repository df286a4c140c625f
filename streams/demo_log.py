"""The demo's log: events in their order of arrival, written as files that appear whole.

Only ``Random.random()`` and integers are used, because they give the same bytes on every machine and Python
version; logarithms, ``randint`` and sums of floats do not promise that.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeAlias

TOPICS = ("inferences", "conversions", "time_saved", "reversals")
SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US

Json: TypeAlias = str | int | float | bool | list[str] | dict[str, str]
Event: TypeAlias = dict[str, Json]

_DATA = Path(__file__).parent / "demo_data"
_LINES_PER_FILE = 4_000
#: Far below the pipeline's allowed lateness of a day, so that no record is too late.
_MAX_DELAY_US = 6 * HOUR_US
_USUAL_DELAY_US = 600 * SECOND_US
_LONG_DELAY_SHARE = 0.03
_DUPLICATE_SHARE = 0.008


@dataclass(frozen=True, slots=True)
class Line:
    arrives_us: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Log:
    """The lines of each topic with their time of arrival: late by minutes to hours, some of them twice."""

    rng: Random
    lines: dict[str, list[Line]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})

    def add(self, topic: str, at_us: int, event: Event) -> None:
        longest_us = _MAX_DELAY_US if chance(self.rng, _LONG_DELAY_SHARE) else _USUAL_DELAY_US
        self.add_raw(topic, at_us + int(self.rng.random() * longest_us), _encode(event))
        if chance(self.rng, _DUPLICATE_SHARE):
            self.add_raw(topic, at_us + int(self.rng.random() * _MAX_DELAY_US), _encode(_respell(topic, event)))

    def add_raw(self, topic: str, arrives_us: int, text: bytes) -> None:
        self.lines[topic].append(Line(arrives_us, text))


def write_topic(folder: Path, lines: list[Line]) -> None:
    """Write the lines in order of arrival, as files that appear whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jsonl"):
        old.unlink()
    ordered = sorted(lines, key=lambda line: line.arrives_us)
    for start in range(0, len(ordered), _LINES_PER_FILE):
        name = f"{start // _LINES_PER_FILE:04d}.jsonl"
        unfinished = folder / f".{name}"
        unfinished.write_bytes(b"".join(line.text + b"\n" for line in ordered[start : start + _LINES_PER_FILE]))
        unfinished.replace(folder / name)


def read_data(name: str) -> Iterator[dict[str, str]]:
    """The rows of one table shipped in ``demo_data``."""
    with gzip.open(_DATA / name, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def between(rng: Random, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return low + int(rng.random() * (high - low + 1))


def chance(rng: Random, share: float) -> bool:
    return rng.random() < share


def _respell(topic: str, event: Event) -> Event:
    """The same event as another producer would write it: keys reversed, an id as a list, a default spelled out."""
    again = dict(reversed(event.items()))
    if topic == "inferences":
        return again | {"status": event.get("status", "served")}
    if "inference_id" in again:
        again["inference_ids"] = [str(again.pop("inference_id"))] * 2
    return again | {"quantity": event.get("quantity", 1)} if topic == "conversions" else again


def _encode(event: Event) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
