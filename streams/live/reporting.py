"""What a running engine tells: its journal and its metrics, after each commit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import polars as pl

from attribution.windows import DAY_US, format_duration, time_text
from schemas.reasons import Unattributed
from streams.counts import Counts
from streams.live.engine import Committed, Engine
from streams.live.http import Metrics
from streams.live.journal import Journal
from streams.live.sizes import sizes_of

_RESULTS = {"accepted": "accepted", "duplicates": "duplicate", "dead_letters": "dead_letter", "ignored": "ignored"}


class Reporter:
    """Told of each commit; lateness_us: of the pipeline; folders: whose free space is told, by name."""

    def __init__(
        self, journal: Journal, metrics: Metrics, lateness_us: int, folders: Mapping[str, Path] | None = None
    ) -> None:
        self._folders = folders or {}
        self._journal = journal
        self._metrics = metrics
        self._step_limit_us = lateness_us + DAY_US
        self._largest_step_us: dict[tuple[str, int], int] = {}
        self.engine: Engine | None = None

    def rates_refused(self, message: str) -> None:
        self._metrics.rates_refused.inc()
        self._journal("rates_refused", level="warning", message=message)

    def committed(self, made: Committed) -> None:
        commit = made.commit
        sums = {name: sum(getattr(p.counts, name) for p in commit.partitions) for name in Counts.__dataclass_fields__}
        waiting_rows = sum(part.rows for part in commit.parts)
        self._journal(
            "commit",
            commit_id=commit.number,
            watermark=None if commit.watermark_us is None else time_text(commit.watermark_us),
            **sums,
            waiting_rows=waiting_rows,
            published_files=len(commit.published),
            seconds=round(made.seconds, 3),
        )
        metrics = self._metrics
        metrics.commits.inc()
        metrics.commit_duration.observe(made.seconds)
        metrics.last_commit.set(commit.committed_at_us / 1e6)
        metrics.waiting_rows.set(waiting_rows)
        if commit.published:
            metrics.rolls.inc()
        if commit.watermark_us is not None:
            metrics.watermark.set(commit.watermark_us / 1e6)
        self._count_partitions(made)
        self._measure_rows(made.rows)
        self.measure_state()

    def lag(self, records: Mapping[tuple[str, int], int]) -> None:
        """How far each partition is behind its end; called by another thread."""
        for (topic, partition), count in records.items():
            self._metrics.partition_lag.labels(topic, str(partition)).set(count)

    def offsets_refused(self, why: str) -> None:
        self._journal(
            "offsets_refused",
            level="warning",
            message=f"{why}: lag tools see no offsets; the engine goes by its own commits",
        )

    def slow_client(self, why: str) -> None:
        self._journal(
            "slow_client", level="warning", message=f"{why}: records are read one by one, several times slower"
        )

    def started(self, engine: Engine) -> None:
        """What the newest commit says of a process that has made none itself."""
        self.engine = engine
        self.measure_state()
        commit = engine.newest
        if commit is not None:
            self._metrics.last_commit.set(commit.committed_at_us / 1e6)
            self._metrics.waiting_rows.set(sum(part.rows for part in commit.parts))
            if commit.watermark_us is not None:
                self._metrics.watermark.set(commit.watermark_us / 1e6)

    def measure_state(self) -> None:
        """How large the state is, and how much room there is, after a commit or a start."""
        for name, folder in self._folders.items():
            with suppress(OSError):  # not made yet
                self._metrics.disk_free.labels(name).set(shutil.disk_usage(folder).free)
        if self.engine is None:
            return
        sizes = sizes_of(self.engine.state)
        self._metrics.open_inferences.set(sizes.open_inferences)
        self._metrics.kept_outcomes.set(sizes.kept_outcomes)
        self._metrics.waiting_outcomes.set(sizes.waiting_outcomes)
        self._metrics.state_bytes.set(sizes.state_bytes)

    def _count_partitions(self, made: Committed) -> None:
        for partition in made.commit.partitions:
            labels = (partition.topic, str(partition.partition))
            self._metrics.records_read.labels(*labels).inc(partition.counts.read)
            for name, result in _RESULTS.items():
                self._metrics.records.labels(*labels, result).inc(getattr(partition.counts, name))
            self._metrics.partition_idle.labels(*labels).set(partition.is_idle)
            if partition.newest_us is not None:
                self._metrics.partition_event_time.labels(*labels).set(partition.newest_us / 1e6)
        for (topic, number), step_us in made.steps_us.items():
            largest = max(step_us, self._largest_step_us.get((topic, number), 0))
            self._largest_step_us[topic, number] = largest
            self._metrics.event_time_step.labels(topic, str(number)).set(largest / 1e6)
            if step_us > self._step_limit_us:
                self._journal(
                    "event_time_step",
                    level="warning",
                    topic=topic,
                    partition=number,
                    step=format_duration(step_us // 1_000 * 1_000),
                    message="one record moved the partition's event time by more than allowed_lateness and a day: "
                    "if its clock was wrong, the records after it come too late",
                )

    def _measure_rows(self, rows: dict[str, pl.DataFrame]) -> None:
        for topic, reason, count in rows["dead_letters"].group_by("source_topic", "reason").len().iter_rows():
            self._metrics.dead_letters.labels(topic, reason).inc(count)
        credited = rows["credits"].group_by("use_case", "currency").agg(pl.col("value", "amount").sum())
        for use_case, currency, value, amount in credited.iter_rows():
            self._metrics.attributed_value.labels(use_case, currency).inc(float(value))
            self._metrics.credited_amount.labels(currency).inc(float(amount))
        # What is held out was never to earn anything.
        lost = rows["unattributed"].filter(pl.col("reason") != Unattributed.HOLDOUT, pl.col("amount").is_not_null())
        for reason, currency, amount in lost.group_by("reason", "currency").agg(pl.col("amount").sum()).iter_rows():
            self._metrics.unattributed_amount.labels(reason, currency).inc(float(amount))
