"""``replay --state``: the live state of a whole log and its commit 0, so that ``run`` goes on from its end.

The log goes through the same steps as in a live engine, but as a replay sees it: nothing comes too late and nothing
is forgotten before the end. Topics are read one after the other in the order of their names, so that of two events
with one id the same counts as in the replay. What is published comes from the replay itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from attribution.engine import CompiledPolicy
from attribution.retention import Retention
from schemas.errors import ConfigurationError, UnavailableError
from schemas.events import SOURCE_COLUMNS, Kind, canonical_columns
from streams import __version__
from streams.counts import Counts
from streams.decode import Decoded, Limits, decode
from streams.digests import sha256_of
from streams.event_log import InputFile as ReplayedFile
from streams.live.commit import Commit, Partition, PublishedFile, Rolled, tables_digest
from streams.live.commit_log import CommitLog
from streams.live.file_reader import FileReader, InputFile
from streams.live.held import held_by
from streams.live.moment import Moment
from streams.live.state import State
from streams.live.state_folder import StateFolder, lasting_facts
from streams.live.step import step
from streams.settings import Settings, Topic

_BATCH_RECORDS = 250_000


def refuse_occupied_state(state: Path) -> None:
    """Raises ConfigurationError where the folder holds more than a start leaves that was refused before its commit."""
    if state.is_dir() and any(path.is_file() and path.name != "lock" for path in state.rglob("*")):
        raise ConfigurationError(f"{state}: expected a new or empty folder for the state, got one that holds files")


class Backfill:
    """Builds the state of a log; ``commit`` writes commit 0 once the tables are published."""

    def __init__(self, settings: Settings, compiled: CompiledPolicy, rates: str | None, state: Path) -> None:
        """Raises ConfigurationError for a state folder that holds files, UnavailableError where it is in use."""
        refuse_occupied_state(state)
        self._settings = settings
        self._compiled = compiled
        self._rates = rates
        self._log = CommitLog(state)
        self._folder = StateFolder(state, self._log.writer)
        self._state: State = self._folder.open(None)
        self._retention = Retention(
            compiled.in_force, settings.time.reversal_window_us, settings.time.allowed_lateness_us
        )
        self._partitions: list[Partition] = []
        self._newest_inference_us: int | None = None
        self._segments = 0

    def take_in(self, log: Path, read: Sequence[ReplayedFile], limits: Limits, watermark_us: int | None) -> None:
        """Read the log once more. read: the files that the replay read, and no others are; watermark_us: of the
        replay; what it has passed is settled and forgotten at the end.

        Raises UnavailableError where a file has changed or gone meanwhile.
        """
        held = Moment(None, self._compiled, self._compiled)
        finished: list[tuple[str, InputFile]] = []
        for topic in sorted(self._settings.input.topics, key=lambda topic: topic.name):
            digests = {file.name: file.sha256 for file in read if file.topic == topic.name}
            reader = FileReader(log, topic.name, only=digests)
            times: list[tuple[int, int]] = []
            counts = Counts()
            for decoded in _decoded(reader, topic, limits):
                counts.read += decoded.read
                times += _times(decoded)
                self._step({topic.kind: decoded.events}, held)
            files = reader.take_finished()
            if {file.name: file.sha256 for file in files} != digests:
                raise UnavailableError(f"{log / topic.name}: its files changed while they were replayed")
            finished += [(topic.name, file) for file in files]
            self._partitions.append(_partition(topic, times, counts))
            if topic.kind is Kind.INFERENCE and times:
                newest = max(last for _, last in times)
                self._newest_inference_us = max(newest, self._newest_inference_us or newest)
        self._step({}, Moment(watermark_us, self._compiled, self._compiled, resolve_all=True), finished)
        self._state.watermark_us = watermark_us
        if watermark_us is not None:
            for family in self._state.families.values():
                self._folder.forget(family.forget(watermark_us))

    def _step(
        self, events: dict[Kind, pl.DataFrame], moment: Moment, finished: Iterable[tuple[str, InputFile]] = ()
    ) -> None:
        """What the events add to the state; what they publish comes from the replay."""
        frames = {
            kind: events.get(kind, pl.DataFrame(schema={**canonical_columns(kind), **SOURCE_COLUMNS})) for kind in Kind
        }
        facts = step(frames, moment, self._state, self._retention).facts
        facts |= lasting_facts(self._state, finished)
        self._folder.force(self._folder.write_facts(0, self._state, facts, part=self._segments))
        self._segments += 1

    def commit(self, out: Path, counts: dict[tuple[str, int], Counts]) -> None:
        """Write commit 0. out: the published tables; counts: what became of the records in them."""
        watermark_us = self._state.watermark_us
        files = sorted(out.glob("*/date=*/*.parquet"))
        partitions = [
            Partition(p.topic, p.partition, p.newest_us, p.oldest_us, p.is_idle, None, found, found)
            for p in self._partitions
            for found in [counts.get((p.topic, p.partition), Counts())]
        ]
        commit = Commit(
            number=0,
            writer=self._log.writer,
            committed_at_us=time.time_ns() // 1_000,
            code_version=__version__,
            held=held_by(self._settings, self._compiled.policy.rules),
            watermark_us=watermark_us,
            newest_inference_us=self._newest_inference_us,
            next_number=self._state.next_number,
            partitions=partitions,
            segments={name: family.files() for name, family in self._state.families.items()},
            parts=[],
            published=[_published(out, file) for file in files],
            rolled=Rolled(0, watermark_us),
            rates=self._folder.write_rates(self._rates),
            tables=tables_digest(),
        )
        self._log.append(0, commit.encoded())

    def close(self) -> None:
        self._log.close()


def _published(out: Path, file: Path) -> PublishedFile:
    """A file of the replay as a roll would list it; it stands in its place already."""
    rows = int(pl.scan_parquet(file, glob=False, hive_partitioning=False).select(pl.len()).collect().item())
    return PublishedFile(f"replayed-{file.name}", str(file.relative_to(out)), rows, sha256_of(file))


def _decoded(reader: FileReader, topic: Topic, limits: Limits) -> Iterator[Decoded]:
    while (block := reader.next_block(_BATCH_RECORDS)) is not None:
        yield decode(block, topic.kind, limits, topic.mapping)


def _times(decoded: Decoded) -> list[tuple[int, int]]:
    """(smallest, largest) event time, if there are events."""
    if decoded.events.height == 0:
        return []
    times = decoded.events["event_time"].to_physical().to_numpy()
    return [(int(times.min()), int(times.max()))]


def _partition(topic: Topic, times: list[tuple[int, int]], counts: Counts) -> Partition:
    oldest = min((first for first, _ in times), default=None)
    newest = max((last for _, last in times), default=None)
    return Partition(topic.name, 0, newest, oldest, counts.read == 0, None, counts, counts)
