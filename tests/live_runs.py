"""Drives the live engine commit by commit through a generated log, and reads back what it published."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from schemas.events import SOURCE_COLUMNS, Kind
from schemas.outputs import LEDGER_KEYS
from streams.decode import Block, Limits, decode
from streams.live.batches import Batch, Position, Read
from streams.live.engine import Engine
from streams.publish import load_policy
from streams.settings import Settings, load_settings
from tests.case_files import to_fx_csv, to_json_events, write_case
from tests.cases import EVENT_LISTS, Case
from tests.conformance_compare import published_rows
from tests.frames import plain
from tests.live_cases import LiveLog
from tests.live_reference import LiveResult
from tests.reference_parts import Row

#: The tables that a judge works out, and their keys.
JUDGED = LEDGER_KEYS | {"scores": ("event_id",)}
LIMITS = Limits(max_record_bytes=1 << 20, max_future_skew_us=2**60, now_us=2**60)


class LivePipeline:
    """A pipeline in a folder, driven by hand: each commit gets the records it is told."""

    def __init__(self, log: LiveLog, folder: Path) -> None:
        self.log = log
        empty: dict[str, list[Any]] = {name: [] for name in EVENT_LISTS}
        self.case = Case(**empty, rules=log.rules, fx=log.fx, settings=log.settings)
        self.topics = log.topics
        self.settings: Settings = load_settings(write_case(self.case, folder, topics=log.topics))
        self.offsets = dict.fromkeys(log.topics, 0)
        self.folder = folder
        self.raw: dict[str, list[bytes]] = {name: [] for name in log.topics}

    def open(self) -> Engine:
        return Engine(self.settings, load_policy(self.settings))

    def set_rates(self, fx: Sequence[tuple[int, str, int]]) -> None:
        text = to_fx_csv(Case(**{name: [] for name in EVENT_LISTS}, rules=[], fx=list(fx), settings={}))
        path = self.folder / "fx.csv"
        if path.read_text() != text:
            aside = self.folder / "fx.new"
            aside.write_text(text)
            aside.replace(path)

    def batch(self, reads: Sequence[Any], idle: frozenset[tuple[str, int]], *, at_end: bool = False) -> Batch:
        """The engine's batch of some records of the model's form, each partition's in reading order."""
        by_topic: dict[str, list[Any]] = {name: [] for name in self.topics}
        for read in reads:
            by_topic[read.partition[0]].append(read.event)
        events = to_json_events(Case(**by_topic, rules=[], fx=[], settings={}), seed=1)
        blocks = [self._read(topic, events[topic]) for topic in self.topics if events.get(topic)]
        positions = {(topic, 0): Position(None, (topic, 0) in idle) for topic in self.topics}
        return Batch(blocks, positions, [], at_end)

    def _read(self, topic: str, events: list[dict[str, Any]]) -> Read:
        lines = [json.dumps(event).encode() + b"\n" for event in events]
        block = Block(topic, 0, "events.jsonl", self.offsets[topic], b"".join(lines))
        self.offsets[topic] += len(lines)
        self.raw[topic] += lines
        [setting] = [setting for setting in self.settings.input.topics if setting.name == topic]
        return Read(setting, block, decode(block, Kind(self.topics[topic]), LIMITS))

    @property
    def out(self) -> Path:
        return self.settings.output.path


def drive(pipeline: LivePipeline, *, restart: bool = False) -> Iterator[int]:
    """Commit batch after batch and roll each time; gives how many were committed, after each one."""
    engine = pipeline.open()
    try:
        count = len(pipeline.log.batches)
        for number, batch in enumerate(pipeline.log.batches, start=1):
            pipeline.set_rates(batch.fx)
            made = pipeline.batch(batch.reads, batch.idle)
            engine.commit(made, LIMITS, resolve_all=number == count, roll=True)
            yield number
            if restart and number < count:
                engine.close()
                engine = pipeline.open()
    finally:
        engine.close()


def net(out: Path, table: str) -> list[Row]:
    """A published ledger's standing rows, or scores, in the judge's plain form."""
    frame = pl.DataFrame(published_rows(out, table), infer_schema_length=None)
    if frame.height == 0:
        return []
    return plain(frame.drop("sign", "commit_id", *SOURCE_COLUMNS, strict=False), *JUDGED[table])


def letters(out: Path, reason: str) -> list[tuple[str, int]]:
    frame = pl.read_parquet(out / "dead_letters" / "**" / "*.parquet", hive_partitioning=False)
    chosen = frame.filter(pl.col("reason") == reason)
    return sorted(zip(chosen["source_topic"], chosen["source_offset"], strict=True))


def differences(out: Path, expected: LiveResult) -> list[str]:
    """What a reader finds that the model does not, and the reverse."""
    found = []
    for table in JUDGED:
        rows, wanted = net(out, table), [_bare(row) for row in getattr(expected, table)]
        rows = [_bare(row) for row in rows]
        found += [f"{table}: expected {row}" for row in wanted if row not in rows]
        found += [f"{table}: found {row}" for row in rows if row not in wanted]
    for reason, refused in (("too_late", expected.too_late), ("conflicting_duplicate", expected.conflicting)):
        places = sorted((position[0], position[3]) for _, _, position in refused)
        if letters(out, reason) != places:
            found.append(f"{reason}: expected {places}, found {letters(out, reason)}")
    return found


def _bare(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("sign", "commit_id")}
