"""Per outcome, do the published parts sum to the outcome's net amount in base currency?"""

from __future__ import annotations

import polars as pl

from attribution.engine import CompiledPolicy
from attribution.measure import gross_measures, match_reversals, net_measures, rates
from attribution.money import decimals
from schemas.events import OUTCOME_COLUMNS, WORD, Kind, canonical_columns


def broken_sums(
    outcomes: pl.DataFrame, ledgers: list[pl.LazyFrame], compiled: CompiledPolicy, waiting: pl.Series
) -> pl.DataFrame:
    """Outcomes whose rows of credits and unattributed do not sum to what they amount to: id, expected, found.

    outcomes: the published table; ledgers: ``credits`` and ``unattributed``; waiting: ids without rows so far.
    """
    policy = compiled.policy
    kinds = _events(outcomes.filter(pl.col("kind") != Kind.REVERSAL.value), OUTCOME_COLUMNS)
    kinds = kinds.filter(~kinds["event_id"].is_in(waiting.implode()))
    reversals = _events(outcomes.filter(kind=Kind.REVERSAL.value), canonical_columns(Kind.REVERSAL))
    rate = rates(kinds, policy.fx, policy.base_currency, policy.fx_max_age_days)
    taken = match_reversals(kinds, reversals, policy.reversal_window_us).taken
    net = net_measures(kinds, gross_measures(kinds, rate), rate, taken)
    expected = pl.DataFrame({"outcome_id": kinds["event_id"], "expected": decimals(net.amount)})
    sums = (
        pl.concat([rows.filter(pl.col("outcome_id").is_not_null()).select("outcome_id", "amount") for rows in ledgers])
        .group_by("outcome_id")
        .agg(pl.col("amount").sum().alias("found"))
        .collect()
    )
    both = expected.join(sums, on="outcome_id", how="left")
    return both.filter(pl.col("expected").fill_null(0) != pl.col("found").fill_null(0)).sort("outcome_id")


def _events(rows: pl.DataFrame, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    texts = rows.select(list(columns))
    return texts.with_columns(pl.col(name).cast(WORD) for name, dtype in columns.items() if dtype == WORD)
