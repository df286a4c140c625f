"""What no inference earned: per use case, reason and period of the outcome."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

import polars as pl

from attribution.figures import Row, known_or
from attribution.money import UNIT
from attribution.view import View
from schemas.reasons import Unattributed


@dataclass
class _Entries:
    """Entries of one use case and reason. named: outcomes named by reversals that found none, by name."""

    outcomes: int = 0
    named: set[str] = field(default_factory=set)
    amount: int = 0
    value: int = 0
    has_amount: bool = False


def unattributed_rows(ledger: Iterable[tuple[date, pl.DataFrame]], view: View) -> list[Row]:
    """One row per period, use case and reason; only ``capped`` rows have a value.

    ledger: rows of ``unattributed`` but those of holdouts, by day of the outcome. All rows of an entry have one day, so
    a day's entries can be told whole; only reversals that found no outcome may name one outcome on several days.
    """
    sums: dict[tuple[date | None, str | None, str], _Entries] = {}
    for day, rows in ledger:
        if not view.holds_day(day):
            continue
        for use_case, reason, outcomes, names, amount, value, has_amount in _standing(rows).iter_rows():
            entries = sums.setdefault((view.period_of(day), use_case, reason), _Entries())
            entries.outcomes += outcomes
            entries.named.update(names)
            entries.amount += amount
            entries.value += value
            entries.has_amount |= has_amount
    in_order = sorted(sums, key=lambda key: [(part is not None, str(part)) for part in key])
    return [_row(period, use_case, reason, sums[period, use_case, reason]) for period, use_case, reason in in_order]


def _standing(rows: pl.DataFrame) -> pl.DataFrame:
    """Per use case and reason of one day: outcomes, names, amount, value in units, whether an amount is known."""
    words = ["use_case", "reason"]
    entries = rows.group_by(*words, "outcome_id", "inference_id", "reversal_id").agg(
        pl.col("amount", "value").to_physical().sum(),
        pl.col("amount").is_not_null().any().alias("has_amount"),
        (pl.col("sign").cast(pl.Int64).sum() == 1).alias("stands"),
    )
    is_unmatched = pl.col("reason") == Unattributed.REVERSAL_UNMATCHED.value
    return (
        entries.filter("stands")
        .group_by(words)
        .agg(
            pl.col("outcome_id").filter(~is_unmatched).n_unique().alias("outcomes"),
            pl.col("outcome_id").filter(is_unmatched).unique().alias("names"),
            pl.col("amount", "value").sum(),
            pl.col("has_amount").any(),
        )
    )


def _row(period: date | None, use_case: str | None, reason: str, entries: _Entries) -> Row:
    amount = Fraction(entries.amount, UNIT) if entries.has_amount else None
    row: Row = {
        "row": "unattributed",
        "period": period,
        "use_case": use_case,
        "reason": reason,
        "outcomes": entries.outcomes + len(entries.named),
        **known_or("amount", amount, None if entries.has_amount else "no_amount"),
    }
    return row | ({"value": Fraction(entries.value, UNIT)} if reason == Unattributed.CAPPED else {})
