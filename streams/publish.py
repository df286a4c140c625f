"""A whole batch of events → the published tables.

What the tables hold does not depend on the engine: replay writes every inference's ``attributed`` row, a
live engine those that have settled.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from attribution.batch import attribute_batch
from attribution.deduplicate import Deduplicated, deduplicate
from attribution.engine import CompiledPolicy, Policy
from attribution.frames import as_outcomes
from attribution.words import constant
from schemas.events import OUTCOME_COLUMNS, SOURCE_COLUMNS, Kind, canonical_columns
from schemas.reasons import Refusal
from streams.digests import table_digest
from streams.event_log import EventLog
from streams.manifest import write_manifest
from streams.published import load_rates
from streams.rule_files import load_rules, rule_sources
from streams.settings import Settings, check_rules_against
from streams.spilled import attribute_spilled
from streams.tables import TableWriter

#: Two cores: one attributes and writes, the other writes.
_THREADS = 2
_DIGESTED = ("credits", "unattributed")

#: Gives ``record_key`` and ``record_value`` of a topic's records by their source columns.
RawRecords = Callable[[str, pl.DataFrame], pl.DataFrame]


def load_policy(settings: Settings) -> CompiledPolicy:
    """Rules and rates of a pipeline, checked against its settings and compiled."""
    rules = load_rules(settings.rules)
    check_rules_against(rules, settings)
    fx = load_rates(settings.fx, settings.base_currency)
    return Policy(
        rules, fx, settings.base_currency, settings.time.reversal_window_us, settings.fx_max_age_days
    ).compiled()


def publish(
    settings: Settings,
    compiled: CompiledPolicy,
    log: EventLog,
    stage: Path,
    *,
    raw_records: RawRecords,
    commit_id: int,
    open_too: bool,
    describe: Callable[[dict[str, Any]], dict[str, Any]],
    notify: Callable[[str], None],
) -> dict[str, Any]:
    """Attribute a log and write all tables to ``stage`` (see ``staging``); returns the manifest.

    open_too: also ``attributed`` rows of inferences that have not settled. describe: makes the manifest from
    the rows and digests per table. notify: takes warnings.
    """
    writer = TableWriter(
        stage,
        compiled,
        commit_id,
        datetime.now(UTC),
        log.newest_event_time_us,
        settings.time.allowed_lateness_us,
        open_too,
    )
    refuse = _Refusals(log, raw_records)
    if log.spilled is None:
        digests = _publish_from_memory(log, writer, refuse)
    else:
        attribute_spilled(log.spilled, writer, refuse)
        digests = {table: table_digest(table, _days(stage, table)) for table in _DIGESTED}
    _warn_before_rules(log, compiled, notify)
    writer.dead_letters(log.refused())
    writer.commits(log.counts)
    writer.complete()
    content = describe(
        {
            table: {"rows": rows} | ({"digest": digests[table]} if table in digests else {})
            for table, rows in writer.rows.items()
        }
    )
    _copy_policy(settings, stage)
    write_manifest(stage, content)
    return content


def _publish_from_memory(log: EventLog, writer: TableWriter, refuse: _Refusals) -> dict[str, str]:
    """Write the event tables, ledgers and ``attributed``; returns the digests."""
    frames = {kind: log.events(kind) for kind in Kind}
    kept = deduplicate(frames[Kind.INFERENCE], "inference_id", list(canonical_columns(Kind.INFERENCE)))
    named = [
        frames[kind].with_columns(constant(kind.value, frames[kind].height).alias("kind"))
        for kind in (Kind.CONVERSION, Kind.TIME_SAVED)
    ]
    outcomes = deduplicate(as_outcomes(named), "event_id", list(OUTCOME_COLUMNS))
    reversals, scores = (
        deduplicate(frames[kind], "event_id", list(canonical_columns(kind))) for kind in (Kind.REVERSAL, Kind.SCORE)
    )
    refuse(kept, "inference_id")
    for found in (outcomes, reversals, scores):
        refuse(found, "event_id")
    kind = constant(Kind.REVERSAL.value, reversals.events.height).alias("kind")
    with ThreadPoolExecutor(_THREADS) as pool:
        # Events are written while outcomes are attributed, digests made while the ledgers are written.
        writing = [
            pool.submit(writer.inferences, kept.events),
            pool.submit(writer.outcomes, outcomes.events, reversals.events.with_columns(kind)),
            pool.submit(writer.scores, scores.events),
        ]
        ledger = attribute_batch(kept.events, outcomes.events, reversals.events, writer.compiled)
        rows = {"credits": ledger.credits, "unattributed": ledger.unattributed}
        digests = {table: pool.submit(table_digest, table, [rows[table]]) for table in _DIGESTED}
        for table in _DIGESTED:
            writer.ledger(table, rows[table])
        writer.attributed(kept.events, ledger.credits)
        for written in writing:
            written.result()
        return {table: digest.result() for table, digest in digests.items()}


def _days(folder: Path, table: str) -> Iterator[pl.DataFrame]:
    """The rows just written, day by day."""
    for day in sorted((folder / table).glob("date=*")):
        yield pl.read_parquet(day / "*.parquet", hive_partitioning=False)


@dataclass(frozen=True)
class _Refusals:
    """What deduplication leaves out: copies are counted, conflicting ones become dead letters of the log."""

    log: EventLog
    raw_records: RawRecords

    def __call__(self, kept: Deduplicated, id_column: str) -> None:
        for rows, is_conflict in ((kept.duplicates, False), (kept.conflicting, True)):
            for topic, partition, count in rows.group_by("source_topic", "source_partition").len().iter_rows():
                counts = self.log.counts[topic, partition]
                counts.accepted -= count
                if is_conflict:
                    counts.dead_letters += count
                else:
                    counts.duplicates += count
        for (topic,), rows in kept.conflicting.group_by("source_topic"):
            self.log.dead_letters.append(
                rows.select(
                    constant(Refusal.CONFLICTING_DUPLICATE, rows.height).alias("reason"),
                    # Not pl.format, which panics over a column whose first chunk is empty (polars 2.1).
                    (pl.lit(f"{id_column}: ") + pl.col(id_column) + " was read before with other content").alias(
                        "detail"
                    ),
                    *self.raw_records(str(topic), rows),
                    *SOURCE_COLUMNS,
                )
            )


def _warn_before_rules(log: EventLog, compiled: CompiledPolicy, notify: Callable[[str], None]) -> None:
    """Inferences of a use case that has rules, all of which begin later, earn nothing: most likely a mistake."""
    for use_case, start_us in sorted(compiled.in_force.first_start_us().items()):
        if log.oldest_inference_us.get(use_case, start_us) < start_us:
            notify(f"warning: {use_case}: inferences are older than every rule of their use case (no_rule)")


def _copy_policy(settings: Settings, folder: Path) -> None:
    """The rules and rates as used, beside the tables."""
    (folder / "rules").mkdir()
    for name, content in rule_sources(settings.rules):
        (folder / "rules" / name).write_bytes(content)
    if settings.fx is not None:
        shutil.copyfile(settings.fx, folder / "fx.csv")
