"""The live engine: one batch, one commit.

A commit's steps, in this order: facts as segments, rows as parts, where it is time the files of a roll; all forced to
disk; then the commit file, which makes them count; then files are renamed into place and what is done with is
deleted. Whatever is cut off before the commit file never was; whatever is cut off after it is caught up at the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import numpy as np
import polars as pl

from attribution.engine import CompiledPolicy
from attribution.event_time import Progress, largest_step_us, too_late, watermark
from attribution.retention import Retention
from attribution.words import constant
from schemas.errors import UnavailableError
from schemas.events import SOURCE_COLUMNS, Kind, canonical_columns
from schemas.outputs import TABLES
from schemas.reasons import Refusal
from streams import __version__
from streams.counts import Counts
from streams.decode import Limits
from streams.live.batches import Batch, Read
from streams.live.commit import Commit, Held, Part, Partition, Rolled, decode_commit, tables_digest
from streams.live.commit_log import CommitLog
from streams.live.families import FAMILIES, OF_INFERENCES
from streams.live.held import held_by, refuse_changes
from streams.live.history import fold
from streams.live.merging import Merger
from streams.live.moment import Moment
from streams.live.output_folder import OutputFolder
from streams.live.policy_copies import publish_policy
from streams.live.rates import Rates, policy_with, rates_name
from streams.live.rows import commit_rows, count_up, table_rows, with_raw
from streams.live.segments import SegmentFile
from streams.live.state_folder import StateFolder, kept_rates, lasting_facts
from streams.live.step import Stepped, step
from streams.live.steps import reached
from streams.settings import Settings

#: Waiting rows from which on a roll does not wait for its time.
_ROLL_ROWS = 1_500_000


@dataclass(frozen=True)
class Committed:
    """What was just made durable. rows: by table; steps_us: by partition, how far one record moved its event time."""

    commit: Commit
    rows: dict[str, pl.DataFrame]
    steps_us: dict[tuple[str, int], int]
    seconds: float


@dataclass
class Clocks:
    """wall: µs since 1970; monotonic: seconds."""

    wall_us: Callable[[], int] = lambda: time.time_ns() // 1_000
    monotonic: Callable[[], float] = time.monotonic


class Engine:
    """The state of a pipeline, open for the one process that changes it."""

    def __init__(
        self,
        settings: Settings,
        compiled: CompiledPolicy,
        *,
        clocks: Clocks | None = None,
        on_commit: Callable[[Committed], None] = lambda _: None,
        on_rates_refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Recovers from the newest commit.

        compiled: the rules; rates are read here. Raises ConfigurationError (settings or rules that changed under
        the state, an output folder in use) and UnavailableError (a second process, damaged or missing files).
        """
        self._settings = settings
        self._clocks = clocks or Clocks()
        self._on_commit = on_commit
        self._on_rates_refused = on_rates_refused
        folder = settings.state_path()
        self._rates = Rates(settings.fx, compiled)
        self.retention = Retention(
            compiled.in_force, settings.time.reversal_window_us, settings.time.allowed_lateness_us
        )
        self._held: Held = held_by(settings, compiled.policy.rules)
        self._log = CommitLog(folder)
        try:
            self._output = OutputFolder(settings.output.path, self._log.writer)
            self._folder = StateFolder(folder, self._log.writer)
            newest = self._log.newest()
            self.newest = None if newest is None else decode_commit(newest[1], folder)
            self._policy_before = self._recovered(compiled)
            self.state = self._folder.open(self.newest)
        except BaseException:
            self._log.close()
            raise
        buckets = {name: self.retention.bucket_us(is_of_inferences=name in OF_INFERENCES) for name in FAMILIES}
        self._merger = Merger(self._folder.segments, self._log.writer, buckets)
        self._last_roll = self._began = self._clocks.monotonic()
        self._steps_us: dict[tuple[str, int], int] = {}

    # --- start ---

    def _recovered(self, compiled: CompiledPolicy) -> CompiledPolicy:
        """Bring the folders to what the newest commit says; returns the policy it was made under."""
        commit = self.newest
        if commit is None:
            self._output.refuse_occupied()
            self._output.recover([], [])
            self._folder.clean(commit)
            return self._rates.policy
        refuse_changes(commit.held, self._settings, compiled.policy.rules, commit.newest_inference_us)
        if commit.tables != tables_digest():
            raise UnavailableError(
                f"{self._output.path}: its tables have other columns than this version ({__version__}) writes. "
                "Hint: attribution compact --to writes a copy; replay --state begins new tables"
            )
        self._output.recover(commit.published, commit.parts)
        self._folder.clean(commit)
        if commit.rolled.commit_id == commit.number:
            self._publish_policy(commit)
        fold(self._folder.path, self._log, commit.number)
        text = kept_rates(self._folder.path, commit)
        if text == self._rates.text:
            return self._rates.policy
        return policy_with(compiled, text, f"{self._folder.path / str(commit.rates)}")

    # --- a commit ---

    def commit(self, batch: Batch, limits: Limits, *, resolve_all: bool = False, roll: bool = False) -> bool:
        """Attribute a batch and make it durable; False where nothing was new, and so nothing was committed.

        resolve_all: as if all partitions were idle, what waits is resolved with what is known. roll: publish, too.
        """
        self._began = self._clocks.monotonic()
        self._refresh_rates()
        if self.newest is not None and self.newest.parts:
            roll = roll or self._is_roll_due(self.newest.parts)
        in_time, late, partitions = self._in_time(batch)
        before_us = None if self.newest is None else self.newest.watermark_us
        progress = [partition.progress for partition in partitions]
        if resolve_all:
            progress = [Progress(p.newest_us, is_idle=True) for p in progress]
        watermark_us = watermark(progress, before_us)
        moment = Moment(watermark_us, self._policy_before, self._rates.policy, resolve_all)
        stepped = step(in_time, moment, self.state, self.retention)
        if not self._is_news(batch, stepped, watermark_us, before_us, roll=roll):
            return False
        number = 1 if self.newest is None else self.newest.number + 1
        counts = count_up(batch.reads, stepped, late)
        partitions = [_counted(p, counts.get((p.topic, p.partition), Counts())) for p in partitions]
        letters = [read.decoded.dead_letters for read in batch.reads]
        refused = pl.concat([late, stepped.arrivals.refused])
        letters.append(with_raw(refused, batch.reads, limits))
        committed_at = datetime.fromtimestamp(self._clocks.wall_us() / 1e6, UTC)
        rows = table_rows(stepped, pl.concat(letters), commit_rows(counts, number, committed_at, watermark_us), number)
        self._make_durable(number, committed_at, rows, stepped, batch, partitions, watermark_us, roll=roll)
        return True

    def _refresh_rates(self) -> None:
        message = self._rates.refresh()
        if message:
            self._on_rates_refused(message)

    def _is_news(
        self, batch: Batch, stepped: Stepped, watermark_us: int | None, before_us: int | None, *, roll: bool
    ) -> bool:
        if self.newest is None or batch.reads or watermark_us != before_us:
            return True
        rates = rates_name(self._rates.text)
        published = (stepped.credits, stepped.unattributed, stepped.attributed)
        return (
            rates != self.newest.rates
            or (roll and bool(self.newest.parts))
            or bool(stepped.facts)
            or any(frame.height for frame in published)
            or self._held != self.newest.held
        )

    def _in_time(self, batch: Batch) -> tuple[dict[Kind, pl.DataFrame], pl.DataFrame, list[Partition]]:
        """(events in time by kind, refused ones that came too late, partitions after the batch, not yet counted)."""
        known = {} if self.newest is None else {(p.topic, p.partition): p for p in self.newest.partitions}
        newest = {key: partition.newest_us for key, partition in known.items()}
        events: dict[Kind, list[pl.DataFrame]] = {kind: [] for kind in Kind}
        self._steps_us = {}
        late = [pl.DataFrame(schema={"reason": pl.Categorical(), "detail": pl.String(), **SOURCE_COLUMNS})]
        for read in batch.reads:
            in_time, refused, newest[read.partition] = self._sorted_by_lateness(read, newest.get(read.partition))
            events[read.topic.kind].append(in_time)
            late.append(refused)
        oldest = {key: partition.oldest_us for key, partition in known.items()}
        for read in batch.reads:
            if read.decoded.events.height:
                first = int(read.decoded.events["event_time"].to_physical().to_numpy().min())
                oldest[read.partition] = min(first, oldest.get(read.partition) or first)
        partitions = [
            Partition(
                *key,
                newest.get(key),
                oldest.get(key),
                position.is_idle,
                position.unfinished,
                Counts(),
                known[key].totals if key in known else Counts(),
            )
            for key, position in batch.positions.items()
        ]
        frames = {
            kind: pl.concat([pl.DataFrame(schema={**canonical_columns(kind), **SOURCE_COLUMNS}), *frames_])
            for kind, frames_ in events.items()
        }
        return frames, pl.concat(late), partitions

    def _sorted_by_lateness(self, read: Read, newest_us: int | None) -> tuple[pl.DataFrame, pl.DataFrame, int | None]:
        events = read.decoded.events
        times = events["event_time"].to_physical().to_numpy()
        step_us = largest_step_us(times, newest_us)
        self._steps_us[read.partition] = max(step_us, self._steps_us.get(read.partition, 0))
        is_late, newest_us = too_late(times, newest_us, self._settings.time.allowed_lateness_us)
        late = events.filter(pl.Series(is_late)) if is_late.any() else events.clear()
        refused = late.select(
            constant(Refusal.TOO_LATE, late.height).alias("reason"),
            pl.lit("event_time: further behind the newest of its partition than allowed_lateness").alias("detail"),
            *SOURCE_COLUMNS,
        )
        return (events.filter(pl.Series(~is_late)) if late.height else events), refused, newest_us

    def _make_durable(
        self,
        number: int,
        committed_at: datetime,
        rows: dict[str, pl.DataFrame],
        stepped: Stepped,
        batch: Batch,
        partitions: list[Partition],
        watermark_us: int | None,
        *,
        roll: bool,
    ) -> None:
        facts = stepped.facts | lasting_facts(self.state, batch.finished)
        self._folder.write_facts(number, self.state, facts)
        rates = self._folder.write_rates(self._rates.text)
        parts = [*(() if self.newest is None else self.newest.parts)]
        parts += self._output.stage(number, rows, committed_at.date())
        published = []
        rolled = None if self.newest is None else self.newest.rolled
        if roll or rolled is None or self._is_roll_due(parts):
            empty = [table for table in TABLES if all(p.table != table for p in parts)] if rolled is None else []
            published = self._output.roll(number, parts, empty)
            rolled = Rolled(number, watermark_us)
        expired = self._take_up_merge()
        expired += [] if watermark_us is None else self._forget(watermark_us)
        commit = Commit(
            number=number,
            writer=self._log.writer,
            committed_at_us=int(committed_at.timestamp() * 1_000_000),
            code_version=__version__,
            held=self._held,
            watermark_us=watermark_us,
            newest_inference_us=self._newest_inference(batch),
            next_number=self.state.next_number,
            partitions=partitions,
            segments={name: family.files() for name, family in self.state.families.items()},
            parts=[] if published else parts,
            published=published,
            rolled=rolled,
            rates=rates,
            tables=tables_digest(),
        )
        self._log.append(number, commit.encoded())
        self._finish(commit, parts, expired, rows)

    def _finish(
        self, commit: Commit, parts: list[Part], expired: list[SegmentFile], rows: dict[str, pl.DataFrame]
    ) -> None:
        """What follows a durable commit; a start does the same for the newest one."""
        before, self.newest = self.newest, commit
        self.state.watermark_us = commit.watermark_us
        self._policy_before = self._rates.policy
        if commit.published:
            self._output.publish(commit.published)
            self._publish_policy(commit)
            self._output.forget(parts)
            self._last_roll = self._clocks.monotonic()
        self._folder.forget(expired)
        if before is not None and before.rates != commit.rates:
            self._folder.forget_rates(before.rates)
        fold(self._folder.path, self._log, commit.number)
        self._merger.start(commit.segments, commit.number, commit.watermark_us)
        seconds = self._clocks.monotonic() - self._began
        self._on_commit(Committed(commit, rows, self._steps_us, seconds))
        reached("commit.clean")

    def _is_roll_due(self, parts: list[Part]) -> bool:
        waited = self._clocks.monotonic() - self._last_roll
        return waited * 1e6 >= self._settings.output.roll_interval_us or sum(p.rows for p in parts) >= _ROLL_ROWS

    def _forget(self, watermark_us: int) -> list[SegmentFile]:
        return [file for family in self.state.families.values() for file in family.forget(watermark_us)]

    def _take_up_merge(self) -> list[SegmentFile]:
        merged = self._merger.finished()
        return [] if merged is None else self.state.families[merged.family].replace(merged.old, merged.new)

    def _newest_inference(self, batch: Batch) -> int | None:
        times = [0 if self.newest is None else self.newest.newest_inference_us or 0]
        times += [
            int(np.max(read.decoded.events["event_time"].to_physical().to_numpy()))
            for read in batch.reads
            if read.topic.kind is Kind.INFERENCE and read.decoded.events.height
        ]
        return max(times) or None

    def _publish_policy(self, commit: Commit) -> None:
        publish_policy(self._output.path, self._settings, self._rates.text, commit)

    def close(self) -> None:
        """Let another process have the state."""
        self._merger.close()
        self._log.close()


def _counted(partition: Partition, counts: Counts) -> Partition:
    was = partition.totals
    totals = Counts(*(getattr(was, name) + getattr(counts, name) for name in Counts.__dataclass_fields__))
    return msgspec.structs.replace(partition, counts=counts, totals=totals)
