"""Makes commits durable, one after the other: rows staged, files rolled, the commit file, then what follows it.

A commit's steps, in this order: segments, rates, parts and rolled files forced to disk; then the commit file, which
makes them count; then files are renamed into place and what is done with is deleted. Whatever is cut off before the
commit file never was; whatever is cut off after it is caught up at the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import polars as pl

from schemas.outputs import TABLES
from streams.live.archiving import forget_before
from streams.live.commit import Commit, Part, Rolled
from streams.live.commit_log import CommitLog
from streams.live.history import fold
from streams.live.output_folder import OutputFolder
from streams.live.policy_copies import publish_policy
from streams.live.segments import SegmentFile
from streams.live.state_folder import StateFolder
from streams.live.steps import reached
from streams.settings import Settings

#: Waiting rows from which on a roll does not wait for its time.
_ROLL_ROWS = 1_500_000


@dataclass
class Clocks:
    """wall_us: µs since 1970; monotonic: seconds."""

    wall_us: Callable[[], int] = lambda: time.time_ns() // 1_000
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Committed:
    """What was just made durable. rows: by table; steps_us: by partition, how far one record moved its event time."""

    commit: Commit
    rows: dict[str, pl.DataFrame]
    steps_us: dict[tuple[str, int], int]
    seconds: float


@dataclass(frozen=True)
class Planned:
    """A commit that is still to be made durable.

    commit: without parts, published files and roll; rows: of each table; archived: of each topic; rates: their text;
    new, expired: segments that it lists first, and lists no more; began: on the monotonic clock.
    """

    commit: Commit
    rows: dict[str, pl.DataFrame]
    archived: dict[str, pl.DataFrame]
    rates: str | None
    new: list[SegmentFile]
    expired: list[SegmentFile]
    steps_us: dict[tuple[str, int], int]
    began: float
    must_roll: bool


class Committer:
    """newest: the newest durable commit; rules: the rule files as they were read at the start."""

    def __init__(
        self,
        settings: Settings,
        log: CommitLog,
        output: OutputFolder,
        archive: OutputFolder | None,
        folder: StateFolder,
        newest: Commit | None,
        rules: dict[str, bytes],
        clocks: Clocks,
        on_commit: Callable[[Committed], None],
    ) -> None:
        self.newest = newest
        self._settings = settings
        self._log = log
        self._output = output
        self._archive = archive
        self._folder = folder
        self._rules = rules
        self._clocks = clocks
        self._on_commit = on_commit
        self._last_roll = clocks.monotonic()

    def make(self, planned: Planned) -> None:
        """Raises UnavailableError where something cannot be written; then there is no such commit."""
        commit = planned.commit
        self._folder.force(planned.new)
        self._folder.write_rates(planned.rates)
        committed_on = datetime.fromtimestamp(commit.committed_at_us / 1e6, UTC).date()
        parts = [*(self.newest.parts if self.newest else ())]
        parts += self._output.stage(commit.number, planned.rows, committed_on)
        to_archive = [*(self.newest.archive_parts if self.newest else ())]
        archive_id = commit.archive_base + commit.number
        if self._archive is not None:
            to_archive += self._archive.stage(archive_id, planned.archived, committed_on)
        if planned.must_roll or self.newest is None or self.is_roll_due(parts):
            empty = () if self.newest else [table for table in TABLES if all(part.table != table for part in parts)]
            commit = msgspec.structs.replace(
                commit,
                published=self._output.roll(commit.number, parts, empty),
                archived=self._archive.roll(archive_id, to_archive) if self._archive else [],
                rolled=Rolled(commit.number, commit.watermark_us),
            )
        else:
            commit = msgspec.structs.replace(commit, parts=parts, archive_parts=to_archive, rolled=self.newest.rolled)
        self._log.append(commit.number, commit.encoded())
        self._follow(commit, parts, to_archive, planned)

    def _follow(self, commit: Commit, parts: list[Part], archived: list[Part], planned: Planned) -> None:
        """What follows a durable commit; a start does the same for the newest one."""
        before, self.newest = self.newest, commit
        # A writer that stalled right after its commit: the new owner has done what follows, and gone on.
        self._log.refuse_fenced()
        if commit.published:
            self._output.publish(commit.published)
            publish_policy(self._output.path, self._settings, self._rules, planned.rates, commit)
            self._output.forget(parts)
            self._follow_archive(commit, archived)
            self._last_roll = self._clocks.monotonic()
        self._folder.forget(planned.expired)
        if before is not None and before.rates != commit.rates:
            self._folder.forget_rates(before.rates)
        fold(self._folder.path, self._log, commit.number)
        seconds = self._clocks.monotonic() - planned.began
        self._on_commit(Committed(commit, planned.rows, planned.steps_us, seconds))
        reached("commit.clean")

    def _follow_archive(self, commit: Commit, archived: list[Part]) -> None:
        if self._archive is not None and self._settings.archive is not None:
            self._archive.publish(commit.archived)
            self._archive.forget(archived)
            forget_before(self._archive.path, commit.committed_at_us, self._settings.archive.retention_us)

    def has_roll(self, *, wanted: bool) -> bool:
        """Whether rows of durable commits wait for a roll that is wanted or due."""
        parts = self.newest.parts if self.newest else []
        return bool(parts) and (wanted or self.is_roll_due(parts))

    def is_roll_due(self, parts: Iterable[Part]) -> bool:
        """Rows have waited for so long, or there are so many."""
        waited_us = (self._clocks.monotonic() - self._last_roll) * 1e6
        return waited_us >= self._settings.output.roll_interval_us or sum(part.rows for part in parts) >= _ROLL_ROWS
