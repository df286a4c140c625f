"""What has been read of a log: valid events, refused records and counts; on disk where memory does not hold it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from attribution.deduplicate import COMMIT
from schemas.events import SOURCE_COLUMNS, Kind, canonical_columns
from schemas.outputs import DEAD_LETTERS
from streams.counts import Counts
from streams.decode import Decoded
from streams.spilled import SpilledEvents

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
#: At its peak a replay takes about so many times the memory of its decoded events (benchmarks/).
_PEAK_FACTOR = 2.5
#: Decoded events take about so many times the bytes of compressed files.
_COMPRESSION = 8
_PARTS_MIN, _PARTS_MAX = 4, 512


@dataclass(frozen=True)
class InputFile:
    """One file of the log as it was read."""

    topic: str
    name: str
    bytes: int
    records: int
    sha256: str


@dataclass(frozen=True)
class Spill:
    """From which memory at the peak on events go to disk, where to, and in how many parts."""

    memory_bytes: int
    folder: Path
    parts: int


@dataclass
class EventLog:
    """Grows block by block, in memory or, past a limit, on disk.

    has_commits: events have ``commit_id``, too; oldest_inference_us: by use case.
    """

    spill: Spill | None = None
    has_commits: bool = False
    counts: dict[tuple[str, int], Counts] = field(default_factory=lambda: defaultdict(Counts))
    dead_letters: list[pl.DataFrame] = field(default_factory=list)
    newest_event_time_us: int | None = None
    oldest_inference_us: dict[str, int] = field(default_factory=dict)
    spilled: SpilledEvents | None = None
    _frames: dict[Kind, list[pl.DataFrame]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    _bytes: int = 0

    def add(self, kind: Kind, topic: str, partition: int, decoded: Decoded, before_us: int | None) -> None:
        """Take in a block; before_us: without events at or after this time, as if the log had ended there."""
        events = decoded.events
        if before_us is not None:
            events = events.filter(pl.col("event_time").to_physical() < before_us)
        counts = self.counts[topic, partition]
        counts.read += decoded.read - (decoded.events.height - events.height)
        counts.accepted += events.height
        counts.dead_letters += decoded.dead_letters.height
        counts.ignored += decoded.ignored
        if decoded.dead_letters.height:
            self.dead_letters.append(decoded.dead_letters)
        if events.height:
            self._note_times(kind, events)
            self._keep(kind, events)

    def events(self, kind: Kind) -> pl.DataFrame:
        """All valid events of a kind that are in memory: canonical columns, source columns and any ``commit_id``."""
        schema = {**canonical_columns(kind), **SOURCE_COLUMNS} | ({COMMIT: pl.Int64()} if self.has_commits else {})
        return pl.concat([pl.DataFrame(schema=schema), *self._frames[kind]])

    def refused(self) -> pl.DataFrame:
        schema = {name: dtype for name, dtype in DEAD_LETTERS.items() if name != "commit_id"}
        return pl.concat([pl.DataFrame(schema=schema), *self.dead_letters])

    def _note_times(self, kind: Kind, events: pl.DataFrame) -> None:
        time = pl.col("event_time").to_physical()
        newest = int(events.select(time.max()).item())
        self.newest_event_time_us = max(newest, self.newest_event_time_us or newest)
        if kind is Kind.INFERENCE:
            oldest = events.group_by("use_case").agg(time.min()).cast({"use_case": pl.String})
            for use_case, time_us in oldest.iter_rows():
                self.oldest_inference_us[use_case] = min(time_us, self.oldest_inference_us.get(use_case, time_us))

    def _keep(self, kind: Kind, events: pl.DataFrame) -> None:
        if self.spilled is not None:
            self.spilled.add(kind, events)
            return
        self._frames[kind].append(events)
        self._bytes += int(events.estimated_size())
        if self.spill is not None and self._bytes * _PEAK_FACTOR > self.spill.memory_bytes:
            self.spilled = SpilledEvents(self.spill.folder, self.spill.parts, has_commits=self.has_commits)
            for of_kind, frames in self._frames.items():
                while frames:
                    self.spilled.add(of_kind, frames.pop(0))


def usable_memory() -> int:
    """Half of this machine's memory, or of the container's limit, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no cgroup, or "max"
        total = min(total, int(_CGROUP_LIMIT.read_text()))
    return total // 2


def parts_needed(files: Iterable[Path], memory_bytes: int) -> int:
    """How many parts a log is dealt out in, so that one part fits well into memory.

    Ids are spread evenly, but names and traces of a part come on top: each part is planned at a quarter.
    """
    decoded = sum(file.stat().st_size * (1 if file.suffix == ".jsonl" else _COMPRESSION) for file in files)
    return min(max(4 * int(decoded * _PEAK_FACTOR) // memory_bytes, _PARTS_MIN), _PARTS_MAX)
