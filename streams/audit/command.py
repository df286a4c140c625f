"""The audit itself: replay what was read, compare, explain, count, and look at the files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from attribution.engine import CompiledPolicy
from attribution.retention import Retention
from attribution.settle import FIGURES, earned_per_inference
from schemas.events import WORD, Kind
from schemas.outputs import TABLES
from schemas.reasons import Refusal
from streams.audit.conservation import broken_sums
from streams.audit.explained import Tables, explanations
from streams.audit.files import FileProblem, input_problems, published_problems, unreadable
from streams.audit.ledgers import differences, rows_of
from streams.audit.recorded import Recorded, read_recorded
from streams.audit.refusals import judged, wrong_refusals
from streams.audit.report import Audit
from streams.decode import Block, Limits, decode
from streams.event_log import EventLog, Spill, parts_needed, usable_memory
from streams.live.rates import policy_with
from streams.live.state_folder import kept_rates
from streams.log_reader import read_log
from streams.publish import load_policy, publish
from streams.published import scan_table
from streams.replay import limits_of, raw_records_of
from streams.settings import Settings

_LEDGERS = ("credits", "unattributed")
_REFUSED_LATER = (Refusal.TOO_LATE, Refusal.CONFLICTING_DUPLICATE, Refusal.FUTURE_TIME)


def audit(settings: Settings, log: Path, against: Path, *, notify: Callable[[str], None] = lambda _: None) -> Audit:
    """Audit what was published under ``against`` from the event files under ``log``.

    Raises ConfigurationError for rules that are wrong, UnavailableError where state, log or tables cannot be read.
    """
    compiled = load_policy(settings)
    state = settings.state_path()
    with TemporaryDirectory(prefix="attribution-audit-") as folder:
        recorded = read_recorded(state, against, Path(folder) / "waiting")
        files = published_problems(against, recorded)
        inputs = input_problems(log, recorded.inputs)
        compiled = policy_with(compiled, kept_rates(state, recorded.newest), str(against / "fx.csv"))
        retention = Retention(compiled.in_force, settings.time.reversal_window_us, settings.time.allowed_lateness_us)
        replayed = Path(folder) / "replayed"
        events = _replay(settings, compiled, recorded, log, replayed, retention, notify)
        return _compared(
            settings, compiled, recorded, replayed, retention, events, files, inputs, unreadable(against, files)
        )


def _replay(
    settings: Settings,
    compiled: CompiledPolicy,
    recorded: Recorded,
    log: Path,
    folder: Path,
    retention: Retention,
    notify: Callable[[str], None],
) -> pl.DataFrame | None:
    """Replay the records that were read into ``folder``, but for missing files; gives the ``judged`` events."""
    read = {
        topic: {path: file.records for file in of_topic if (path := log / topic / file.name).exists()}
        for topic, of_topic in recorded.inputs.items()
    }
    files = {topic.name: sorted(read.get(topic.name, {})) for topic in settings.input.topics}
    memory = usable_memory()
    parts = parts_needed([path for of_topic in files.values() for path in of_topic], memory)
    events = EventLog(Spill(memory, folder / "_spill", parts))
    limits = limits_of(settings)
    upto = {path: records for of_topic in read.values() for path, records in of_topic.items()}
    read_log(events, settings, files, limits, upto=upto)
    found = judged(events, recorded.inputs, retention)
    folder.mkdir()
    publish(
        settings,
        compiled,
        events,
        folder,
        raw_records=raw_records_of(settings, log, limits),
        commit_id=0,
        open_too=True,
        describe=lambda tables: {"tables": tables},
        notify=notify,
    )
    return found


def _compared(
    settings: Settings,
    compiled: CompiledPolicy,
    recorded: Recorded,
    replayed: Path,
    retention: Retention,
    events: pl.DataFrame | None,
    files: list[FileProblem],
    inputs: list[FileProblem],
    without: set[Path],
) -> Audit:
    commit = recorded.newest
    published = {table: rows_of(table, recorded, without) for table in TABLES}
    tables = Tables(
        published["inferences"].collect(),
        published["outcomes"].collect(),
        scan_table(replayed, "inferences").collect(),
        scan_table(replayed, "outcomes").collect(),
        published["dead_letters"].collect(),
    )
    refused = refused_events(settings, tables.dead_letters)
    found = {table: differences(published[table], scan_table(replayed, table), table) for table in _LEDGERS}
    waiting = _waiting(found, published, tables, retention, commit.watermark_us)
    found = {table: rows.filter(~_is_waiting(rows, waiting)) for table, rows in found.items()}
    asked = pl.concat([rows["outcome_id"] for rows in found.values()]).unique()
    in_rate = pl.concat([rows.filter(pl.col("fx_rate").is_not_null())["outcome_id"] for rows in found.values()])
    why = explanations(asked, tables, refused, retention, recorded.watermark_before(), in_rate, commit.watermark_us)
    explained = _explained(found, why)
    different = {table: rows.join(why, on="outcome_id", how="anti") for table, rows in found.items()} | {
        "attributed": _attributed_differences(published, tables, retention, commit.watermark_us)
    }
    missing = _missing_events(tables, refused, retention, recorded.watermark_before())
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
        late=_late_counts(refused, tables),
        outcomes_checked=tables.outcomes.filter(pl.col("kind") != Kind.REVERSAL.value).height,
        broken_sums=broken.join(why, on="outcome_id", how="anti").filter(
            ~pl.col("outcome_id").is_in(_ever_explained(tables, refused).implode())
        ),
        counts=_counts(published, tables, recorded, scan_table(replayed, "dead_letters")),
        wrong_refusals=wrong_refusals(events, tables.dead_letters, recorded.watermark_before()),
        files=files,
        inputs=inputs,
    )


@dataclass(frozen=True)
class _Waiting:
    outcomes: pl.Series
    reversals: pl.Series


def _waiting(
    found: dict[str, pl.DataFrame],
    published: dict[str, pl.LazyFrame],
    tables: Tables,
    retention: Retention,
    watermark_us: int | None,
) -> _Waiting:
    """Outcomes and reversals that have no rows yet, for they still wait for what they name."""
    rows = pl.concat([published[table].select("outcome_id") for table in _LEDGERS]).unique().collect()["outcome_id"]
    outcomes = tables.outcomes.filter(pl.col("kind") != Kind.REVERSAL.value)
    due = pl.Series(retention.due_us(outcomes["event_time"].to_physical().to_numpy()))
    may_wait = pl.repeat(value=True, n=outcomes.height, eager=True) if watermark_us is None else due >= watermark_us
    candidates = outcomes.filter(may_wait & ~outcomes["event_id"].is_in(rows.implode()))
    named = candidates.select("event_id", "inference_ids").explode(
        "inference_ids", empty_as_null=False, keep_nulls=False
    )
    unseen = named.join(tables.inferences, left_on="inference_ids", right_on="inference_id", how="anti")["event_id"]
    is_waiting = candidates["trace_id"].is_not_null() | candidates["event_id"].is_in(unseen.implode())
    waiting = candidates.filter(is_waiting)["event_id"]
    lone = found["unattributed"].filter(pl.col("reversal_id").is_not_null() & (pl.col("sign") == -1))
    own = lone["outcome_time"].to_physical() + retention.allowed_lateness_us
    not_due = pl.repeat(value=True, n=lone.height, eager=True) if watermark_us is None else own >= watermark_us
    not_due |= lone["outcome_id"].is_in(waiting.implode())
    return _Waiting(waiting, lone.filter(not_due)["reversal_id"])


def _is_waiting(rows: pl.DataFrame, waiting: _Waiting) -> pl.Series:
    is_outcome = rows["outcome_id"].is_in(waiting.outcomes.implode())
    if "reversal_id" not in rows.columns:
        return is_outcome
    return is_outcome | rows["reversal_id"].is_in(waiting.reversals.implode()).fill_null(value=False)


def refused_events(settings: Settings, dead_letters: pl.DataFrame) -> pl.DataFrame:
    """Events that are valid and were refused all the same: kind (inference, outcome, reversal), id, reverses, why."""
    topics = {topic.name: topic for topic in settings.input.topics}
    limits = Limits(2**40, 2**60, 2**60)
    schema = {"kind": pl.String, "id": pl.String, "reverses": pl.String, "reason": pl.String}
    frames = [pl.DataFrame(schema=schema)]
    chosen = dead_letters.filter(pl.col("reason").is_in([reason.value for reason in _REFUSED_LATER]))
    for (name,), letters in chosen.group_by("source_topic"):
        topic = topics[str(name)]
        data = b"\n".join(letters["record_value"]) + b"\n"
        events = decode(Block(topic.name, 0, "", 0, data), topic.kind, limits, topic.mapping).events
        reasons = letters["reason"].gather(events["source_offset"])
        kind = "outcome" if topic.kind in (Kind.CONVERSION, Kind.TIME_SAVED) else topic.kind.value
        id_column = "inference_id" if topic.kind is Kind.INFERENCE else "event_id"
        reverses = pl.col("reverses") if "reverses" in events.columns else pl.lit(None, dtype=pl.String)
        frames.append(
            events.select(
                pl.lit(kind).alias("kind"), pl.col(id_column).alias("id"), reverses.alias("reverses")
            ).with_columns(reasons.cast(pl.String).alias("reason"))
        )
    return pl.concat(frames)


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


def _attributed_differences(
    published: dict[str, pl.LazyFrame], tables: Tables, retention: Retention, watermark_us: int | None
) -> pl.DataFrame:
    """Ids whose ``attributed`` rows are not the sum of what is published of their credits once they have settled."""
    inferences = tables.inferences
    expiry = pl.Series(
        retention.inference_expiry_us(
            inferences["use_case"].cast(WORD), inferences["event_time"].to_physical().to_numpy()
        )
    )
    is_settled = (
        pl.repeat(value=False, n=inferences.height, eager=True) if watermark_us is None else expiry < watermark_us
    )
    settled = inferences.filter(is_settled).group_by("inference_id").agg(pl.len().cast(pl.Int64).alias("sign"))
    earned = earned_per_inference(published["credits"].collect(), "inference_id")
    expected = settled.join(earned, on="inference_id", how="left").with_columns(pl.col(FIGURES).fill_null(0))
    rows = (
        published["attributed"]
        .group_by("inference_id")
        .agg(pl.col(*FIGURES).sum(), pl.col("sign").cast(pl.Int64).sum())
    )
    both = pl.concat(
        [
            rows.collect().select("inference_id", "sign", *FIGURES),
            expected.select("inference_id", -pl.col("sign"), *(-pl.col(name) for name in FIGURES)).cast(
                dict(rows.collect_schema())  # type: ignore[arg-type]
            ),
        ]
    )
    words = ["inference_id", "event_time", "use_case", "model", "model_version", "endpoint", "provider", "arm"]
    strange = (
        published["attributed"]
        .select(words)
        .unique()
        .collect()
        .join(inferences.select(words), on=words, how="anti", nulls_equal=True)
        .select("inference_id")
        .unique()
    )
    # Of an id used again one inference may have settled and the other not: their credits cannot be told apart by id.
    half = inferences.filter(inferences["inference_id"].is_duplicated() & ~is_settled).select("inference_id")
    both = both.join(half, on="inference_id", how="anti")
    net = both.group_by("inference_id").agg(pl.col("sign", *FIGURES).sum())
    differs = pl.any_horizontal(pl.col(name) != 0 for name in ("sign", *FIGURES))
    return net.filter(differs | pl.col("inference_id").is_in(strange["inference_id"].implode())).sort("inference_id")


def _missing_events(
    tables: Tables, refused: pl.DataFrame, retention: Retention, watermark_before: dict[int, int | None]
) -> pl.DataFrame:
    """Events that only one side accepted as they are, though nothing was refused under their id, and events that
    were accepted again while they were kept: kind, id, where."""
    keys = ["kind", "id", "digest"]
    published, replayed = tables.contents
    known = pl.concat([refused.select(keys[:2]), tables.used_again()])
    again = tables.used_again().join(tables.forgotten_in_between(retention, watermark_before), on=keys[:2], how="anti")
    sides = [again.with_columns(pl.lit("accepted twice").alias("where"))]
    for one, other, where in ((replayed, published, "replay only"), (published, replayed, "published only")):
        lost = one.join(other, on=keys, how="anti").join(known, on=keys[:2], how="anti")
        sides.append(lost.select("kind", "id", pl.lit(where).alias("where")))
    return pl.concat(sides).sort("kind", "id", "where")


def _late_counts(refused: pl.DataFrame, tables: Tables) -> dict[str, int]:
    """How many records came too late, and how many of them are copies of accepted events."""
    late = refused.filter(reason=Refusal.TOO_LATE.value)
    is_reversal = pl.col("kind").cast(pl.String) == Kind.REVERSAL.value
    role = pl.when(is_reversal).then(pl.lit("reversal")).otherwise(pl.lit("outcome"))
    accepted = pl.concat(
        [
            tables.inferences.select(pl.lit("inference").alias("kind"), pl.col("inference_id").alias("id")),
            tables.outcomes.select(role.alias("kind"), pl.col("event_id").alias("id")),
        ]
    )
    return {"too_late": late.height, "copies": late.join(accepted, on=["kind", "id"], how="semi").height}


def _counts(
    published: dict[str, pl.LazyFrame], tables: Tables, recorded: Recorded, replayed_letters: pl.LazyFrame
) -> pl.DataFrame:
    """Per topic and partition what became of the records, the rows there are of them, and whether all of it sums.

    in_log: the records of the files that were read; refused: dead letters that the replay has, too.
    """
    keys = ["source_topic", "source_partition"]
    names = ["read", "accepted", "duplicates", "dead_letters", "ignored"]
    counts = published["commits"].filter(pl.col("source_topic").is_not_null()).group_by(keys).agg(pl.col(names).sum())
    events = pl.concat([tables.inferences.select(keys), tables.outcomes.select(keys)])
    in_log = pl.DataFrame(
        [(topic, 0, sum(file.records for file in files)) for topic, files in recorded.inputs.items()],
        schema={"source_topic": pl.String, "source_partition": pl.Int32, "in_log": pl.Int64},
        orient="row",
    )
    later = [reason.value for reason in _REFUSED_LATER]
    ours, theirs = (
        letters.filter(~pl.col("reason").is_in(later)).group_by(keys).len(name)
        for letters, name in ((tables.dead_letters.lazy(), "refused"), (replayed_letters, "refused_in_replay"))
    )
    rows = ["accepted_rows", "dead_letter_rows", "in_log", "refused", "refused_in_replay"]
    return (
        in_log.filter(pl.col("in_log") > 0)
        .join(counts.collect(), on=keys, how="full", coalesce=True)
        .join(events.group_by(keys).len("accepted_rows"), on=keys, how="left")
        .join(tables.dead_letters.group_by(keys).len("dead_letter_rows"), on=keys, how="left")
        .join(ours.collect(), on=keys, how="left")
        .join(theirs.collect(), on=keys, how="left")
        .with_columns(pl.col(*names, *rows).fill_null(0).cast(pl.Int64))
        .with_columns(
            (
                (pl.col("read") == pl.sum_horizontal(names[1:]))
                & (pl.col("read") == pl.col("in_log"))
                & (pl.col("accepted") == pl.col("accepted_rows"))
                & (pl.col("dead_letters") == pl.col("dead_letter_rows"))
                & (pl.col("refused") == pl.col("refused_in_replay"))
            ).alias("sums")
        )
        .sort(keys)
    )
