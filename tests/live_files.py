"""A generated log as event files of a pipeline, several per topic, read in the order of the log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.case_files import to_json_events, write_case
from tests.cases import EVENT_LISTS, Case
from tests.live_cases import LiveLog


def write_pipeline(log: LiveLog, folder: Path) -> Path:
    """The pipeline file of a log, with its rules and rates, and empty topics."""
    empty: dict[str, list[Any]] = {name: [] for name in EVENT_LISTS}
    case = Case(**empty, rules=log.rules, fx=log.fx, settings=log.settings)
    pipeline = write_case(case, folder, topics=log.topics)
    for topic in log.topics:
        (folder / "log" / topic / "events.jsonl").unlink()
    return pipeline


def write_topics(log: LiveLog, folder: Path, *, topics: tuple[str, ...] | None = None, files: int = 3) -> None:
    """Each topic's records in reading order, cut into files."""
    by_topic: dict[str, list[Any]] = {name: [] for name in log.topics}
    for batch in log.batches:
        for read in batch.reads:
            by_topic[read.partition[0]].append(read.event)
    events = to_json_events(Case(**by_topic, rules=[], fx=[], settings={}), seed=2)
    for topic in log.topics if topics is None else topics:
        lines = [json.dumps(event) + "\n" for event in events[topic]]
        size = -(-len(lines) // files) or 1
        for number, first in enumerate(range(0, len(lines), size)):
            path = folder / "log" / topic / f"{number:03d}.jsonl"
            path.write_text("".join(lines[first : first + size]), encoding="utf-8")
