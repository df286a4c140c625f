"""What has no rows yet, for it still waits: outcomes for what they name, reversals for their outcome."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from attribution.retention import Retention
from schemas.events import Kind
from streams.audit.explained import Tables


@dataclass(frozen=True)
class Waiting:
    outcomes: pl.Series
    reversals: pl.Series


def still_waiting(
    found: dict[str, pl.DataFrame],
    published: dict[str, pl.LazyFrame],
    tables: Tables,
    retention: Retention,
    watermark_us: int | None,
) -> Waiting:
    """Outcomes and reversals that have no rows yet, for they still wait for what they name."""
    rows = pl.concat([published[table].select("outcome_id") for table in found]).unique().collect()["outcome_id"]
    outcomes = tables.outcomes.filter(pl.col("kind") != Kind.REVERSAL.value)
    due = pl.Series(retention.due_us(outcomes["event_time"].to_physical().to_numpy()))
    may_wait = pl.repeat(value=True, n=outcomes.height, eager=True) if watermark_us is None else due >= watermark_us
    candidates = outcomes.filter(may_wait & ~outcomes["event_id"].is_in(rows.implode()))
    named = candidates.select("event_id", "inference_ids").explode(
        "inference_ids", empty_as_null=False, keep_nulls=False
    )
    unseen = named.join(tables.inferences, left_on="inference_ids", right_on="inference_id", how="anti")["event_id"]
    waits = candidates["trace_id"].is_not_null() | candidates["event_id"].is_in(unseen.implode())
    waiting = candidates.filter(waits)["event_id"]
    lone = found["unattributed"].filter(pl.col("reversal_id").is_not_null() & (pl.col("sign") == -1))
    own = lone["outcome_time"].to_physical() + retention.allowed_lateness_us
    not_due = pl.repeat(value=True, n=lone.height, eager=True) if watermark_us is None else own >= watermark_us
    not_due |= lone["outcome_id"].is_in(waiting.implode())
    return Waiting(waiting, lone.filter(not_due)["reversal_id"])


def is_waiting(rows: pl.DataFrame, waiting: Waiting) -> pl.Series:
    is_outcome = rows["outcome_id"].is_in(waiting.outcomes.implode())
    if "reversal_id" not in rows.columns:
        return is_outcome
    return is_outcome | rows["reversal_id"].is_in(waiting.reversals.implode()).fill_null(value=False)
