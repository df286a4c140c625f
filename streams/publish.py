"""A whole batch of events → the published tables, all of them or none.

Everything is written aside first and moved into place when all of it stands; the manifest comes last.
What the tables hold does not depend on the engine: replay writes every inference's ``attributed`` row, a
live engine those that have settled.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attribution.batch import as_outcomes, attribute_batch, attributed_rows
from attribution.deduplicate import Deduplicated, deduplicate
from attribution.engine import CompiledPolicy, Ledger, Policy
from attribution.money import Int64s
from attribution.settle import Settlement, is_settled
from attribution.words import constant
from schemas.errors import ConfigurationError, UnavailableError
from schemas.events import OUTCOME_COLUMNS, SOURCE_COLUMNS, TIME, WORD, Kind, canonical_columns
from schemas.outputs import COMMITS, TABLES
from schemas.reasons import Refusal
from streams.digests import table_digest
from streams.fx_file import FX_COLUMNS, load_fx
from streams.log_reader import Counts, Log
from streams.manifest import write_manifest
from streams.parquet_sink import DaySlice, WrittenFile, days_of, take, write_frame, write_table
from streams.rule_files import load_rules, rule_sources
from streams.settings import Settings, check_rules_against

#: Two cores: one attributes and writes, the other writes.
_THREADS = 2

#: Gives the raw bytes of records by their source columns.
RawRecords = Callable[[str, pl.DataFrame], list[bytes]]


def load_policy(settings: Settings) -> CompiledPolicy:
    """Rules and rates of a pipeline, checked against its settings and compiled."""
    rules = load_rules(settings.rules)
    check_rules_against(rules, settings)
    fx = pl.DataFrame(schema=FX_COLUMNS)
    if settings.fx is not None:
        fx = load_fx(settings.fx, settings.base_currency)
    return Policy(
        rules, fx, settings.base_currency, settings.time.reversal_window_us, settings.fx_max_age_days
    ).compiled()


@dataclass(frozen=True)
class Accepted:
    """Events without copies: canonical columns and source columns."""

    inferences: pl.DataFrame
    outcomes: pl.DataFrame
    reversals: pl.DataFrame


def drop_copies(log: Log, raw_records: RawRecords) -> Accepted:
    """Deduplicate the log's events; copies are counted, conflicting ones become dead letters of the log."""
    outcomes = as_outcomes(
        [
            events.with_columns(constant(kind.value, events.height).alias("kind"))
            for kind in (Kind.CONVERSION, Kind.TIME_SAVED)
            for events in [log.events(kind)]
        ]
    )
    found = [
        deduplicate(log.events(Kind.INFERENCE), "inference_id", list(canonical_columns(Kind.INFERENCE))),
        deduplicate(outcomes, "event_id", list(OUTCOME_COLUMNS)),
        deduplicate(log.events(Kind.REVERSAL), "event_id", list(canonical_columns(Kind.REVERSAL))),
    ]
    for kept, id_column in zip(found, ("inference_id", "event_id", "event_id"), strict=True):
        _count_copies(log, kept)
        _refuse_conflicting(log, kept.conflicting, id_column, raw_records)
    return Accepted(*(kept.events for kept in found))


def _count_copies(log: Log, kept: Deduplicated) -> None:
    for rows, is_conflict in ((kept.duplicates, False), (kept.conflicting, True)):
        for topic, partition, count in rows.group_by("source_topic", "source_partition").len().iter_rows():
            counts = log.counts[topic, partition]
            counts.accepted -= count
            if is_conflict:
                counts.dead_letters += count
            else:
                counts.duplicates += count


def _refuse_conflicting(log: Log, rows: pl.DataFrame, id_column: str, raw_records: RawRecords) -> None:
    for (topic,), part in rows.group_by("source_topic"):
        log.dead_letters.append(
            part.select(
                constant(Refusal.CONFLICTING_DUPLICATE, part.height).alias("reason"),
                pl.format("{}: {} was read before with other content", pl.lit(id_column), id_column).alias("detail"),
                pl.lit(None, dtype=pl.Binary).alias("record_key"),
                pl.Series("record_value", raw_records(str(topic), part), dtype=pl.Binary),
                *SOURCE_COLUMNS,
            )
        )


@dataclass(frozen=True)
class Publication:
    """What a batch publishes, beside its events."""

    accepted: Accepted
    ledger: Ledger
    compiled: CompiledPolicy
    commit_id: int
    watermark_us: int | None
    committed_at: datetime
    open_too: bool


def publish(
    settings: Settings,
    log: Log,
    out: Path,
    *,
    raw_records: RawRecords,
    commit_id: int,
    open_too: bool,
    describe: Callable[[dict[str, Any]], dict[str, Any]],
    notify: Callable[[str], None],
) -> dict[str, Any]:
    """Attribute a log and write all tables to ``out``, a new or empty folder; returns the manifest.

    open_too: also ``attributed`` rows of inferences that have not settled. describe: makes the manifest from
    the rows and digests per table. notify: takes warnings.
    """
    compiled = load_policy(settings)
    with _staged(out) as stage, ThreadPoolExecutor(_THREADS) as pool:
        accepted = drop_copies(log, raw_records)
        _warn_before_rules(accepted.inferences, compiled, notify)
        name = f"{commit_id:012d}"
        # Events are written while outcomes are attributed, digests made while the ledgers are written.
        inferences = pool.submit(_write_inferences, accepted.inferences, commit_id, stage, name)
        outcomes = pool.submit(_write_outcomes, accepted, commit_id, stage, name)
        ledger = attribute_batch(accepted.inferences, accepted.outcomes, accepted.reversals, compiled)
        publication = Publication(
            accepted, ledger, compiled, commit_id, log.newest_event_time(), datetime.now(UTC), open_too
        )
        digests = {
            table: pool.submit(table_digest, table, frame)
            for table, frame in (("credits", ledger.credits), ("unattributed", ledger.unattributed))
        }
        written = {
            "credits": _write_ledger("credits", ledger.credits, publication, stage, name),
            "unattributed": _write_ledger("unattributed", ledger.unattributed, publication, stage, name),
            "attributed": _write_attributed(settings, publication, stage, name),
            "dead_letters": _write_plain("dead_letters", log.refused(), publication, stage, name),
            "commits": _write_plain("commits", _commit_rows(log.counts, publication), publication, stage, name),
            "inferences": inferences.result(),
            "outcomes": outcomes.result(),
        }
        tables: dict[str, Any] = {
            table: {"rows": sum(file.rows for file in written[table])}
            | ({"digest": digests[table].result()} if table in digests else {})
            for table in TABLES
        }
        _copy_policy(settings, stage)
        content = describe(tables)
        write_manifest(stage, content)
    return content


def _warn_before_rules(inferences: pl.DataFrame, compiled: CompiledPolicy, notify: Callable[[str], None]) -> None:
    """Inferences of a use case that has rules, all of which begin later, earn nothing: most likely a mistake."""
    time = pl.col("event_time").to_physical()
    oldest = dict(inferences.group_by("use_case").agg(time.min()).cast({"use_case": pl.String}).iter_rows())
    for use_case, start in sorted(compiled.in_force.first_start_us().items()):
        if oldest.get(use_case, start) < start:
            count = inferences.filter((pl.col("use_case") == use_case) & (time < start)).height
            notify(f"warning: {use_case}: {count} inferences are older than every rule of their use case: no_rule")


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder inside ``out`` whose content moves up when the block ends well, and is gone when it does not."""
    existed = out.is_dir()
    try:
        if existed and any(out.iterdir()):
            raise ConfigurationError(f"{out}: expected a new or empty folder, got one that holds files")
        stage = out / f"_staging-{os.getpid()}"
        stage.mkdir(parents=True)
    except OSError as error:
        raise UnavailableError(f"{out}: cannot be written: {error.strerror or error}") from error
    try:
        yield stage
        for name in [*TABLES, "rules", "fx.csv", "manifest.json"]:
            if (stage / name).exists():
                os.rename(stage / name, out / name)
        stage.rmdir()
    except BaseException as error:
        shutil.rmtree(out if not existed else stage, ignore_errors=True)
        if existed:
            for name in [*TABLES, "rules"]:
                shutil.rmtree(out / name, ignore_errors=True)
        if isinstance(error, OSError):
            raise UnavailableError(f"{out}: cannot be written: {error.strerror or error}") from error
        raise


def _write_inferences(inferences: pl.DataFrame, commit_id: int, folder: Path, name: str) -> list[WrittenFile]:
    columns = [*canonical_columns(Kind.INFERENCE), *SOURCE_COLUMNS]

    def rows_of(part: DaySlice) -> pl.DataFrame:
        rows = take(inferences, part.rows)
        return rows.select(*columns, _number("commit_id", commit_id))

    return write_table("inferences", days_of(inferences["event_time"]), rows_of, folder, name)


def _write_outcomes(accepted: Accepted, commit_id: int, folder: Path, name: str) -> list[WrittenFile]:
    schema = TABLES["outcomes"]
    kind = constant(Kind.REVERSAL.value, accepted.reversals.height).alias("kind")
    whole = pl.concat(
        [
            frame.select(
                pl.col(column) if column in frame.columns else pl.lit(None, dtype=dtype).alias(column)
                for column, dtype in schema.items()
                if column != "commit_id"
            )
            for frame in (accepted.outcomes, accepted.reversals.with_columns(kind))
        ]
    ).with_columns(_number("commit_id", commit_id))
    return write_table("outcomes", days_of(whole["event_time"]), lambda part: take(whole, part.rows), folder, name)


def _write_ledger(
    table: str, rows: pl.DataFrame, publication: Publication, folder: Path, name: str
) -> list[WrittenFile]:
    signed = rows.with_columns(
        pl.lit(1, dtype=pl.Int8).alias("sign"), _number("commit_id", publication.commit_id)
    ).select(list(TABLES[table]))
    return write_frame(table, signed, folder, name, publication.committed_at.date())


def _write_attributed(settings: Settings, publication: Publication, folder: Path, name: str) -> list[WrittenFile]:
    inferences = publication.accepted.inferences
    settlement = Settlement(publication.ledger.credits, inferences.height)
    watermark = publication.watermark_us or 0
    lateness = settings.time.allowed_lateness_us
    days = days_of(inferences["event_time"])
    if not publication.open_too:
        keep = np.flatnonzero(is_settled(inferences, publication.compiled.in_force, lateness, watermark))
    else:
        keep = None

    def rows_of(part: DaySlice) -> pl.DataFrame:
        rows: slice | Int64s = part.rows
        if keep is not None:
            rows = keep[part.rows]
        frame = attributed_rows(
            take(inferences, rows), settlement.rows(rows), publication.compiled, lateness, watermark
        )
        return frame.with_columns(pl.lit(1, dtype=pl.Int8).alias("sign"), _number("commit_id", publication.commit_id))

    return write_table("attributed", days if keep is None else days[keep], rows_of, folder, name)


def _write_plain(
    table: str, rows: pl.DataFrame, publication: Publication, folder: Path, name: str
) -> list[WrittenFile]:
    frame = rows.with_columns(_number("commit_id", publication.commit_id)).select(list(TABLES[table]))
    return write_frame(table, frame, folder, name, publication.committed_at.date())


def _commit_rows(counts: dict[tuple[str, int], Counts], publication: Publication) -> pl.DataFrame:
    """One row per topic and partition read; none read: one row without a topic."""
    rows = [
        {
            "source_topic": topic,
            "source_partition": partition,
            **vars(count),
        }
        for (topic, partition), count in counts.items()
    ] or [{"source_topic": None, "source_partition": None, **vars(Counts())}]
    schema = {name: pl.String() if dtype == WORD else dtype for name, dtype in COMMITS.items()}
    frame = pl.DataFrame(rows, schema={name: schema[name] for name in rows[0]})
    return frame.with_columns(
        pl.col("source_topic").cast(WORD),
        pl.lit(publication.committed_at).cast(TIME).alias("committed_at"),
        pl.lit(publication.watermark_us, dtype=pl.Int64).cast(TIME).alias("watermark"),
    )


def _copy_policy(settings: Settings, folder: Path) -> None:
    (folder / "rules").mkdir()
    for name, content in rule_sources(settings.rules):
        (folder / "rules" / name).write_bytes(content)
    if settings.fx is not None:
        shutil.copyfile(settings.fx, folder / "fx.csv")


def _number(name: str, value: int) -> pl.Expr:
    return pl.lit(value, dtype=pl.Int64).alias(name)
