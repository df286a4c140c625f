"""Facts of state → the attribution function → ledger rows that say which inference they belong to."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from attribution.engine import CompiledPolicy, attribute_outcomes
from schemas.events import OUTCOME_COLUMNS, TIME, WORD, Kind, canonical_columns
from schemas.outputs import CREDITS, UNATTRIBUTED
from streams.live.state import State

#: The columns of ``outcomes``: what the attribution function reads of an outcome, and its number.
KERNEL_OUTCOME = {
    **{name: dtype for name, dtype in OUTCOME_COLUMNS.items() if name != "attributes"},
    "number": pl.Int64(),
}
#: What the attribution function reads of a reversal.
KERNEL_REVERSAL = {name: dtype for name, dtype in canonical_columns(Kind.REVERSAL).items() if name != "reason"}
#: Further columns of credits: the inference's number, expiry and profile.
OF_INFERENCE: dict[str, pl.DataType] = {
    "inference_number": pl.Int64(),
    "inference_expiry_us": pl.Int64(),
    "profile": pl.UInt32(),
}


@dataclass(frozen=True)
class Ledgers:
    """credits (with ``OF_INFERENCE``) and unattributed rows, without ``sign`` and ``commit_id``."""

    credits: pl.DataFrame
    unattributed: pl.DataFrame


def ledgers(
    outcomes: pl.DataFrame, touches: pl.DataFrame, reversals: pl.DataFrame, compiled: CompiledPolicy, state: State
) -> Ledgers:
    """The ledger rows of some outcomes.

    outcomes: KERNEL_OUTCOME, in any order; touches: facts, also of others; reversals:
    KERNEL_REVERSAL, all of these outcomes, and those to be reported as unmatched.
    """
    rows = outcomes.select(
        pl.col("number").alias("outcome_number"), pl.int_range(pl.len(), dtype=pl.UInt32).alias("row")
    )
    placed = touches.join(rows, on="outcome_number", how="inner").sort("row", "inference_number")
    placed = _once(placed, outcomes["event_time"], compiled, state)
    inferences = state.inference_profiles.words(placed["profile"]).with_columns(
        placed["inference_id"], placed["event_time_us"].cast(TIME).alias("event_time")
    )
    pairs = pl.DataFrame(
        {"outcome": placed["row"], "inference": pl.int_range(placed.height, dtype=pl.UInt32, eager=True)}
    )
    ledger = attribute_outcomes(outcomes, inferences, pairs, reversals, compiled)
    of_inference = placed.select(list(OF_INFERENCE))[ledger.credits["inference"]]
    return Ledgers(ledger.credits.drop("inference").hstack(of_inference), ledger.unattributed)


def _once(touches: pl.DataFrame, outcome_times: pl.Series, compiled: CompiledPolicy, state: State) -> pl.DataFrame:
    """An id used again after its inference was forgotten is another inference; an outcome keeps the first open one."""
    again = touches.select("row", "inference_id").is_duplicated()
    if not again.any():
        return touches
    use_case = state.inference_profiles.words(touches["profile"])["use_case"]
    time, at = touches["event_time_us"].to_numpy(), outcome_times.to_physical().gather(touches["row"]).to_numpy()
    is_open = compiled.in_force.is_open(compiled.in_force.segments(use_case, time), time, at)
    return touches.filter(pl.Series(is_open)).unique(["row", "inference_id"], keep="first", maintain_order=True)


def no_ledgers() -> Ledgers:
    """The ledgers of no outcome."""
    columns = [{n: t for n, t in table.items() if n not in ("sign", "commit_id")} for table in (CREDITS, UNATTRIBUTED)]
    return Ledgers(pl.DataFrame(schema=columns[0] | OF_INFERENCE), pl.DataFrame(schema=columns[1]))


def kept_outcomes(rows: pl.DataFrame, state: State) -> pl.DataFrame:
    """Facts of outcomes as the attribution function takes them."""
    words = state.outcome_profiles.words(rows["profile"])
    frame = rows.hstack(words).with_columns(pl.col("event_time_us").cast(TIME).alias("event_time"))
    return frame.select(list(KERNEL_OUTCOME))


def kept_reversals(rows: pl.DataFrame) -> pl.DataFrame:
    """Facts of reversals as the attribution function takes them."""
    return rows.with_columns(
        pl.col("event_time_us").cast(TIME).alias("event_time"), pl.col("currency").cast(WORD)
    ).select(list(KERNEL_REVERSAL))
