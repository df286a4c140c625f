"""The audit itself: replay what was read, compare, explain, count, and look at the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from attribution.engine import CompiledPolicy
from attribution.retention import Retention
from schemas.events import Kind
from schemas.outputs import TABLES
from schemas.reasons import Refusal
from streams.audit.conservation import broken_sums
from streams.audit.events import late_counts, missing_events, record_counts, refused_events
from streams.audit.explained import Tables, explanations
from streams.audit.files import FileProblem, published_problems, unreadable
from streams.audit.inputs import open_recorded
from streams.audit.ledgers import attributed_differences, differences, rows_of
from streams.audit.recorded import Recorded, read_recorded
from streams.audit.refusals import judged, wrong_refusals
from streams.audit.report import Audit
from streams.audit.waiting import is_waiting, still_waiting
from streams.event_log import usable_memory
from streams.live.rates import policy_with
from streams.live.state_folder import kept_rates
from streams.log import Log
from streams.log_source import LogSource
from streams.publish import load_policy, publish
from streams.published import scan_table
from streams.replay import read_within
from streams.settings import Settings

_LEDGERS = ("credits", "unattributed")
_REFUSED_LATER = (Refusal.TOO_LATE, Refusal.CONFLICTING_DUPLICATE, Refusal.FUTURE_TIME)


def audit(
    settings: Settings, log: LogSource, against: Path, *, notify: Callable[[str], None] = lambda _: None
) -> Audit:
    """Audit what was published under ``against`` from a log: a folder of event files, an archive, or Kafka.

    Raises ConfigurationError for rules that are wrong, UnavailableError where state, log or tables cannot be read.
    """
    compiled = load_policy(settings)
    state = settings.state_path()
    with TemporaryDirectory(prefix="attribution-audit-") as folder:
        archive = None if settings.archive is None else settings.archive.path
        recorded = read_recorded(state, against, archive, Path(folder) / "waiting")
        files = published_problems(against, recorded)
        opened = open_recorded(settings, log, recorded, Path(folder) / "fetched")
        inputs = opened.problems
        compiled = policy_with(compiled, kept_rates(state, recorded.newest), str(against / "fx.csv"))
        retention = Retention(compiled.in_force, settings.time.reversal_window_us, settings.time.allowed_lateness_us)
        replayed = Path(folder) / "replayed"
        events, read = _replay(settings, compiled, opened.log, replayed, retention, notify)
        in_log = read if opened.in_log is None else opened.in_log
        return _compared(
            settings, compiled, recorded, replayed, retention, events, in_log, files, inputs, unreadable(against, files)
        )


def _replay(
    settings: Settings,
    compiled: CompiledPolicy,
    log: Log,
    folder: Path,
    retention: Retention,
    notify: Callable[[str], None],
) -> tuple[pl.DataFrame | None, dict[tuple[str, int], int]]:
    """Replay the records that were read into ``folder``, but for missing files; gives the ``judged`` events, and how
    many records there were."""
    folder.mkdir()
    events = read_within(usable_memory(), folder / "_spill", log)
    found = judged(events, retention)
    read = {partition: counts.read for partition, counts in events.counts.items()}
    publish(
        settings,
        compiled,
        events,
        folder,
        raw_records=log.records_at,
        commit_id=0,
        open_too=True,
        describe=lambda tables: {"tables": tables},
        notify=notify,
    )
    return found, read


def _compared(
    settings: Settings,
    compiled: CompiledPolicy,
    recorded: Recorded,
    replayed: Path,
    retention: Retention,
    events: pl.DataFrame | None,
    in_log: dict[tuple[str, int], int],
    files: list[FileProblem],
    inputs: list[FileProblem],
    without: set[Path],
) -> Audit:
    commit = recorded.newest
    published = {table: rows_of(table, recorded, without) for table in TABLES}
    tables = Tables(
        published["inferences"].collect(),
        published["outcomes"].collect(),
        published["scores"].collect(),
        scan_table(replayed, "inferences").collect(),
        scan_table(replayed, "outcomes").collect(),
        scan_table(replayed, "scores").collect(),
        published["dead_letters"].collect(),
    )
    refused = refused_events(settings, tables.dead_letters)
    found = {table: differences(published[table], scan_table(replayed, table), table) for table in _LEDGERS}
    waiting = still_waiting(found, published, tables, retention, commit.watermark_us)
    found = {table: rows.filter(~is_waiting(rows, waiting)) for table, rows in found.items()}
    asked = pl.concat([rows["outcome_id"] for rows in found.values()]).unique()
    in_rate = pl.concat([rows.filter(pl.col("fx_rate").is_not_null())["outcome_id"] for rows in found.values()])
    why = explanations(asked, tables, refused, retention, recorded.watermark_before(), in_rate, commit.watermark_us)
    explained = _explained(found, why)
    different = {table: rows.join(why, on="outcome_id", how="anti") for table, rows in found.items()} | {
        "attributed": attributed_differences(published, tables.inferences, retention, commit.watermark_us)
    }
    missing = missing_events(tables, refused, retention, recorded.watermark_before())
    broken = broken_sums(tables.outcomes, [published[table] for table in _LEDGERS], compiled, waiting.outcomes)
    return Audit(
        commit_id=commit.number,
        watermark_us=commit.watermark_us,
        rows={table: int(rows.select(pl.len()).collect().item()) for table, rows in published.items()},
        explained=explained,
        different={table: rows for table, rows in different.items() if rows.height},
        missing_events=missing,
        waiting_outcomes=len(waiting.outcomes),
        waiting_reversals=len(waiting.reversals),
        late=late_counts(refused, tables),
        outcomes_checked=tables.outcomes.filter(pl.col("kind") != Kind.REVERSAL.value).height,
        broken_sums=broken.join(why, on="outcome_id", how="anti").filter(
            ~pl.col("outcome_id").is_in(_ever_explained(tables, refused).implode())
        ),
        counts=record_counts(published, tables, in_log, scan_table(replayed, "dead_letters")),
        wrong_refusals=wrong_refusals(events, tables.dead_letters, recorded.watermark_before()),
        files=files,
        inputs=inputs,
    )


def _explained(found: dict[str, pl.DataFrame], why: pl.DataFrame) -> pl.DataFrame:
    """Per explained outcome: why, and by how much the replay's amount and value are larger."""
    sums = pl.concat([rows.select("outcome_id", "amount", "value") for rows in found.values()])
    return (
        why.join(sums, on="outcome_id", how="left")
        .group_by("outcome_id", "why")
        .agg(-pl.col("amount", "value").sum())
        .sort("why", "outcome_id")
    )


def _ever_explained(tables: Tables, refused: pl.DataFrame) -> pl.Series:
    """Outcomes whose own sum may be another than the records say: reversals of them came too late, or again."""
    reversals = tables.outcomes.filter(kind=Kind.REVERSAL.value)
    return pl.concat(
        [refused["reverses"].drop_nulls(), reversals["reverses"].filter(reversals["event_id"].is_duplicated())]
    )
