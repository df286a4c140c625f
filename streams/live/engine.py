"""The live engine: one batch, one commit.

A batch is attributed against the state as the commit before left it, and its facts are added to the state at once.
Making that durable may go on behind, while the next batch is attributed; at most one commit is on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

import polars as pl

from attribution.engine import CompiledPolicy
from attribution.event_time import Progress, watermark
from attribution.retention import Retention
from schemas.errors import UnavailableError
from schemas.events import Kind
from streams import __version__
from streams.counts import Counts
from streams.decode import Limits
from streams.live.archiving import LAYOUT as ARCHIVE_LAYOUT
from streams.live.archiving import archive_rows
from streams.live.batches import Batch
from streams.live.commit import Commit, Held, Rolled, decode_commit, tables_digest
from streams.live.commit_log import CommitLog, commits_folder
from streams.live.committer import Clocks, Committed, Committer, Planned
from streams.live.families import FAMILIES, OF_INFERENCES
from streams.live.held import held_by, refuse_changes
from streams.live.history import fold
from streams.live.intake import Intake, counted, intake
from streams.live.memory import MemoryLimit, release_unused
from streams.live.merging import Merger
from streams.live.moment import Moment
from streams.live.output_folder import OutputFolder, refuse_occupied_output
from streams.live.policy_copies import publish_policy
from streams.live.rates import Rates, policy_with, rates_name
from streams.live.rows import commit_rows, count_up, table_rows, with_raw
from streams.live.segments import SegmentFile
from streams.live.state_folder import StateFolder, kept_rates, lasting_facts
from streams.live.step import Stepped, step
from streams.rule_files import rule_sources
from streams.settings import Settings

__all__ = ["Clocks", "Committed", "Engine"]


class Engine:
    """The state of a pipeline, open for the one process that changes it.

    newest: the newest commit, also one that is still being made durable (then without its files).
    """

    def __init__(
        self,
        settings: Settings,
        compiled: CompiledPolicy,
        *,
        clocks: Clocks | None = None,
        on_commit: Callable[[Committed], None] = lambda _: None,
        on_rates_refused: Callable[[str], None] = lambda _: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """Recovers from the newest commit.

        compiled: the rules; rates are read here. on_failure: called when a commit made behind fails, by its thread;
        the next call raises why. Raises ConfigurationError (settings or rules that changed under
        the state, an output folder in use) and UnavailableError (a second process, damaged or missing files).
        """
        self._settings = settings
        self._clocks = clocks or Clocks()
        self._on_rates_refused = on_rates_refused
        self._on_failure = on_failure
        folder = settings.state_path()
        self._rates = Rates(settings.fx, compiled)
        self._rules = dict(rule_sources(settings.rules))
        self.retention = Retention(
            compiled.in_force, settings.time.reversal_window_us, settings.time.allowed_lateness_us
        )
        self._held: Held = held_by(settings, compiled.policy.rules)
        if commits_folder(folder) is None:  # before anything is made
            self._refuse_occupied()
        self._log = CommitLog(folder)
        try:
            with self._log.fence():
                output = OutputFolder(settings.output.path, self._log.writer)
                archive = None
                if settings.archive is not None:
                    archive = OutputFolder(settings.archive.path, self._log.writer, ARCHIVE_LAYOUT)
                self._folder = StateFolder(folder, self._log.writer)
                newest = self._log.newest()
                self.newest = None if newest is None else decode_commit(newest[1], folder)
                self._policy_before = self._recovered(compiled, output, archive)
                self.state = self._folder.open(self.newest, MemoryLimit(settings.state.memory_bytes))
        except BaseException:
            self._log.close()
            raise
        buckets = {name: self.retention.bucket_us(is_of_inferences=name in OF_INFERENCES) for name in FAMILIES}
        self._merger = Merger(self._folder.segments, self._log.writer, buckets)
        self._committer = Committer(
            settings, self._log, output, archive, self._folder, self.newest, self._rules, self._clocks, on_commit
        )
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="committer")
        self._behind: Future[None] | None = None

    def _refuse_occupied(self) -> None:
        refuse_occupied_output(self._settings.output.path)
        if self._settings.archive is not None:
            hint = "replay --log ARCHIVE --state goes on from it; or give a new state an archive of its own"
            refuse_occupied_output(self._settings.archive.path, hint)

    def _recovered(
        self, compiled: CompiledPolicy, output: OutputFolder, archive: OutputFolder | None
    ) -> CompiledPolicy:
        """Bring the folders to what the newest commit says; returns the policy it was made under."""
        commit = self.newest
        if commit is None:
            self._refuse_occupied()
            output.recover([], [])
            if archive is not None:
                archive.recover([], [])
            self._folder.clean(commit)
            return self._rates.policy
        refuse_changes(commit.held, self._settings, compiled.policy.rules, commit.newest_inference_us)
        if commit.tables != tables_digest():
            raise UnavailableError(
                f"{output.path}: its tables have other columns than this version ({__version__}) writes. "
                "Hint: attribution compact --to writes a copy; replay --state begins new tables"
            )
        output.refuse_newer(commit.number)
        output.recover(commit.published, commit.parts)
        if archive is not None:
            archive.recover(commit.archived, commit.archive_parts)
        elif commit.archive_parts:
            raise UnavailableError(
                f"{self._settings.file}: [archive] is gone, but records wait for it. "
                "Hint: put the section back, stop the engine once with SIGTERM, then remove it"
            )
        self._folder.clean(commit)
        text = kept_rates(self._folder.path, commit)
        if commit.rolled.commit_id == commit.number:
            publish_policy(output.path, self._settings, self._rules, text, commit)
        fold(self._folder.path, self._log, commit.number)
        if text == self._rates.text:
            return self._rates.policy
        return policy_with(compiled, text, f"{self._folder.path / str(commit.rates)}")

    def commit(
        self, batch: Batch, limits: Limits, *, resolve_all: bool = False, roll: bool = False, behind: bool = False
    ) -> bool:
        """Attribute a batch and make it durable; False where nothing was new, and so nothing was committed.

        resolve_all: as if all partitions were idle, what waits is resolved with what is known. roll: publish, too.
        behind: return before it is durable; a later call raises what went wrong.
        """
        with self._log.fence():
            return self._commit(batch, limits, resolve_all=resolve_all, roll=roll, behind=behind)

    def _commit(self, batch: Batch, limits: Limits, *, resolve_all: bool, roll: bool, behind: bool) -> bool:
        began = self._clocks.monotonic()
        if not batch.reads:
            self.flush()
        message = self._rates.refresh()
        if message:
            self._on_rates_refused(message)
        taken = intake(batch, self.newest.partitions if self.newest else (), self._settings.time.allowed_lateness_us)
        watermark_us = self._watermark(taken, resolve_all=resolve_all)
        policy = self._rates.policy
        moment = Moment(watermark_us, self._policy_before, policy, resolve_all)
        stepped = step(taken.events, moment, self.state, self.retention)
        if not (self._is_news(batch, stepped, watermark_us) or self._committer.has_roll(wanted=roll)):
            return False
        planned = self._planned(batch, taken, stepped, limits, watermark_us, began, must_roll=roll)
        self.newest = planned.commit
        # From here, where merges are taken up, too: a list that still had merged segments would merge them again.
        self._merger.start(planned.commit.segments, planned.commit.number, watermark_us)
        self.state.watermark_us = watermark_us
        self._policy_before = policy
        self.flush()
        self._behind = self._pool.submit(self._committer.make, planned)
        self._behind.add_done_callback(self._note_failure)
        if not behind:
            self.flush()
        self.state.relieve()
        release_unused()
        return True

    def _watermark(self, taken: Intake, *, resolve_all: bool) -> int | None:
        progress = [partition.progress for partition in taken.partitions]
        if resolve_all:
            progress = [Progress(one.newest_us, is_idle=True) for one in progress]
        return watermark(progress, None if self.newest is None else self.newest.watermark_us)

    def _is_news(self, batch: Batch, stepped: Stepped, watermark_us: int | None) -> bool:
        newest = self.newest
        if newest is None or batch.reads or watermark_us != newest.watermark_us:
            return True
        published = (stepped.credits, stepped.unattributed, stepped.attributed)
        return (
            rates_name(self._rates.text) != newest.rates
            or bool(stepped.facts)
            or any(frame.height for frame in published)
            or self._held != newest.held
        )

    def _planned(
        self,
        batch: Batch,
        taken: Intake,
        stepped: Stepped,
        limits: Limits,
        watermark_us: int | None,
        began: float,
        *,
        must_roll: bool,
    ) -> Planned:
        """Adds what the step found to the state, and plans the commit that makes it durable."""
        number = 1 if self.newest is None else self.newest.number + 1
        counts = count_up(batch.reads, stepped, taken.late)
        refused = with_raw(pl.concat([taken.late, stepped.arrivals.refused]), batch.reads, limits)
        letters = pl.concat([*(read.decoded.dead_letters for read in batch.reads), refused])
        committed_at_us = self._clocks.wall_us()
        committed_at = datetime.fromtimestamp(committed_at_us / 1e6, UTC)
        rows = table_rows(stepped, letters, commit_rows(counts, number, committed_at, watermark_us), number)
        new = self._folder.write_facts(number, self.state, stepped.facts | lasting_facts(self.state, batch.finished))
        expired = self._without_expired(watermark_us)
        commit = Commit(
            number=number,
            writer=self._log.writer,
            committed_at_us=committed_at_us,
            code_version=__version__,
            held=self._held,
            watermark_us=watermark_us,
            newest_inference_us=self._newest_inference(taken),
            next_number=self.state.next_number,
            partitions=[counted(p, counts.get((p.topic, p.partition), Counts())) for p in taken.partitions],
            segments={name: family.files() for name, family in self.state.families.items()},
            parts=[],
            published=[],
            rolled=Rolled(number, watermark_us),
            rates=rates_name(self._rates.text),
            tables=tables_digest(),
            archive_base=0 if self.newest is None else self.newest.archive_base,
        )
        archived = {}
        if self._settings.archive is not None:
            archived = archive_rows(batch.reads, commit.archive_base + number, limits.now_us)
        return Planned(commit, rows, archived, self._rates.text, new, expired, taken.steps_us, began, must_roll)

    def _without_expired(self, watermark_us: int | None) -> list[SegmentFile]:
        """Take up a merge that is done and leave out what has expired; returns the segments not listed any more."""
        merged = self._merger.finished()
        gone = [] if merged is None else self.state.families[merged.family].replace(merged.old, merged.new)
        if watermark_us is not None:
            gone += [file for family in self.state.families.values() for file in family.forget(watermark_us)]
        return gone

    def _newest_inference(self, taken: Intake) -> int | None:
        """The newest inference time read, also of one that came too late."""
        topics = {topic.name for topic in self._settings.input.topics if topic.kind is Kind.INFERENCE}
        times = [p.newest_us for p in taken.partitions if p.topic in topics and p.newest_us is not None]
        return max(times, default=None)

    def _note_failure(self, made: Future[None]) -> None:
        if made.exception() is not None:
            self._on_failure()

    def flush(self) -> None:
        """Wait until the commit on its way is durable; raises what stopped it."""
        if self._behind is not None:
            behind, self._behind = self._behind, None
            with self._log.fence():
                behind.result()

    def close(self) -> None:
        """Let another process have the state."""
        self._pool.shutdown()
        self._merger.close()
        self._log.close()
