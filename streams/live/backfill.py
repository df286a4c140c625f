"""``replay --state``: the live state of a whole log and its commit 0, so that ``run`` goes on from its end.

The log goes through the same steps as in a live engine, but as a replay sees it: nothing comes too late and nothing
is forgotten before the end. It comes in an order in which of two events with one id the same counts as in the replay.
What is published comes from the replay itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import msgspec
import polars as pl

from attribution.deduplicate import COMMIT
from attribution.engine import CompiledPolicy
from attribution.retention import Retention
from schemas.errors import ConfigurationError
from schemas.events import SOURCE_COLUMNS, Kind, canonical_columns
from streams import __version__
from streams.archive_log import newest_commit
from streams.counts import Counts
from streams.digests import sha256_of
from streams.live.commit import Commit, Partition, PublishedFile, Rolled, tables_digest
from streams.live.commit_log import CommitLog
from streams.live.file_reader import InputFile
from streams.live.held import held_by
from streams.live.moment import Moment
from streams.live.state import State
from streams.live.state_folder import StateFolder, lasting_facts
from streams.live.step import step
from streams.log import Log, Taken
from streams.settings import FilesInput, Settings


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
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._segments = 0

    def take_in(self, log: Log, watermark_us: int | None) -> None:
        """Read the log once more. watermark_us: of the replay; what it has passed is settled and forgotten at the end.

        Raises UnavailableError where a file has changed or gone meanwhile.
        """
        if isinstance(self._settings.input, FilesInput):
            for topic in self._settings.input.topics:
                self._partitions[topic.name, 0] = _unread(topic.name, 0)
        held = Moment(None, self._compiled, self._compiled)
        more: dict[str, pl.DataType] = {COMMIT: pl.Int64()} if log.has_commits else {}
        for taken in log.steps():
            events: dict[Kind, list[pl.DataFrame]] = {
                kind: [pl.DataFrame(schema={**canonical_columns(kind), **SOURCE_COLUMNS, **more})] for kind in Kind
            }
            for part in taken:
                self._note(part)
                events[part.topic.kind].append(part.decoded.events)
            self._step({kind: pl.concat(frames) for kind, frames in events.items()}, held)
        nothing = {kind: pl.DataFrame(schema={**canonical_columns(kind), **SOURCE_COLUMNS}) for kind in Kind}
        end = Moment(watermark_us, self._compiled, self._compiled, resolve_all=True)
        self._step(nothing, end, log.finished)
        self._state.watermark_us = watermark_us
        if watermark_us is not None:
            for family in self._state.families.values():
                self._folder.forget(family.forget(watermark_us))

    def _note(self, part: Taken) -> None:
        """How far the partition has been read, and how far it has come in event time."""
        key = part.topic.name, part.partition
        was = self._partitions.get(key, _unread(*key))
        times = part.decoded.events["event_time"].to_physical()
        first, last = cast("int | None", times.min()), cast("int | None", times.max())
        self._partitions[key] = msgspec.structs.replace(
            was,
            newest_us=max((time for time in (was.newest_us, last) if time is not None), default=None),
            oldest_us=min((time for time in (was.oldest_us, first) if time is not None), default=None),
            is_idle=was.is_idle and part.decoded.read == 0,
            next_offset=part.next_offset,
        )

    def _step(
        self, events: dict[Kind, pl.DataFrame], moment: Moment, finished: Iterable[tuple[str, InputFile]] = ()
    ) -> None:
        """What the events add to the state; what they publish comes from the replay."""
        facts = step(events, moment, self._state, self._retention).facts
        facts |= lasting_facts(self._state, finished)
        self._folder.force(self._folder.write_facts(0, self._state, facts, part=self._segments))
        self._segments += 1

    def commit(self, out: Path, counts: dict[tuple[str, int], Counts], archived: Iterable[Path]) -> None:
        """Write commit 0. out: the published tables; counts: what became of the records in them; archived: files of the
        archive that came with it."""
        watermark_us = self._state.watermark_us
        files = sorted(out.glob("*/date=*/*.parquet"))
        partitions = [
            msgspec.structs.replace(self._partitions[key], counts=found, totals=found)
            for key in sorted(self._partitions)
            for found in [counts.get(key, Counts())]
        ]
        archive = self._settings.archive
        commit = Commit(
            number=0,
            writer=self._log.writer,
            committed_at_us=time.time_ns() // 1_000,
            code_version=__version__,
            held=held_by(self._settings, self._compiled.policy.rules),
            watermark_us=watermark_us,
            newest_inference_us=self._newest_inference_us(),
            next_number=self._state.next_number,
            partitions=partitions,
            segments={name: family.files() for name, family in self._state.families.items()},
            parts=[],
            published=[_published(out, file) for file in files],
            rolled=Rolled(0, watermark_us),
            rates=self._folder.write_rates(self._rates),
            tables=tables_digest(),
            archive_base=0 if archive is None else newest_commit(archive.path),
            archived=[_published(archive.path, file) for file in archived] if archive else [],
        )
        self._log.append(0, commit.encoded())

    def _newest_inference_us(self) -> int | None:
        kinds = {topic.name: topic.kind for topic in self._settings.input.topics}
        times = [p.newest_us for p in self._partitions.values() if kinds[p.topic] is Kind.INFERENCE]
        return max((time for time in times if time is not None), default=None)

    def close(self) -> None:
        self._log.close()


def _unread(topic: str, partition: int) -> Partition:
    return Partition(topic, partition, None, None, is_idle=True, unfinished=None, counts=Counts(), totals=Counts())


def _published(out: Path, file: Path) -> PublishedFile:
    """A file of the replay as a roll would list it; it stands in its place already."""
    rows = int(pl.scan_parquet(file, glob=False, hive_partitioning=False).select(pl.len()).collect().item())
    return PublishedFile(f"replayed-{file.name}", str(file.relative_to(out)), rows, sha256_of(file))
