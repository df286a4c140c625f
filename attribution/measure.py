"""Step 5: what an outcome amounts to, net of its reversals and in the base currency.

A measure is an outcome's own quantity before any rule: money, quantity, seconds. Every outcome has
one, whether it is split or not, because what stays unattributed is published too.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from attribution.money import INT, UNIT, integer, product, reduce_towards_zero, units
from schemas.events import Kind

#: An outcome worth this much or more, in units of the base currency, is not split.
AMOUNT_LIMIT = 10**12 * UNIT


@dataclass(frozen=True)
class Measures:
    """Per outcome, Int128 units.

    amount: in base currency, null without an amount or a rate; own_seconds: as the outcome itself
    gives them, null where it does not; actual_seconds: where the rule must give the baseline;
    taken_seconds, is_taken_whole: what reversals take from seconds that only the rule can work out.
    """

    amount: pl.Series
    quantity: pl.Series
    own_seconds: pl.Series
    actual_seconds: pl.Series
    taken_seconds: pl.Series
    is_taken_whole: pl.Series

    def rows(self, numbers: pl.Series) -> Measures:
        """The measures of some outcomes, by row number."""
        return Measures(
            self.amount.gather(numbers),
            self.quantity.gather(numbers),
            self.own_seconds.gather(numbers),
            self.actual_seconds.gather(numbers),
            self.taken_seconds.gather(numbers),
            self.is_taken_whole.gather(numbers),
        )


@dataclass(frozen=True)
class MatchedReversals:
    """taken: one row per reversed outcome (``outcome`` row number, what is taken of each field);
    unmatched: the reversals that count for none."""

    taken: pl.DataFrame
    unmatched: pl.DataFrame


def match_reversals(outcomes: pl.DataFrame, reversals: pl.DataFrame, reversal_window_us: int) -> MatchedReversals:
    """Each reversal goes to the outcome it names, if it lies in the window and names a field that is there."""
    known = outcomes.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("outcome"),
        pl.col("event_id").alias("reverses"),
        pl.col("event_time").to_physical().alias("outcome_time"),
        (pl.col("kind") == Kind.CONVERSION.value).alias("is_conversion"),
        pl.col("amount").is_not_null().alias("has_amount"),
        pl.col("currency").alias("outcome_currency"),
    )
    if reversals.height < outcomes.height // 8:
        known = known.join(reversals.select("reverses"), on="reverses", how="semi")
    joined = reversals.join(known, on="reverses", how="left", maintain_order="left")
    time = pl.col("event_time").to_physical()
    outcome_time = pl.col("outcome_time")
    in_window = (outcome_time <= time) & (time <= outcome_time + reversal_window_us)
    same_currency = pl.col("currency").is_null() | (pl.col("currency") == pl.col("outcome_currency"))
    fits = (
        (pl.col("amount").is_null() | (pl.col("has_amount") & same_currency))
        & (pl.col("quantity").is_null() | pl.col("is_conversion"))
        & (pl.col("seconds").is_null() | ~pl.col("is_conversion"))
    )
    joined = joined.with_columns((in_window & fits).fill_null(False).alias("counts"))
    names_none = pl.col("amount").is_null() & pl.col("quantity").is_null() & pl.col("seconds").is_null()
    taken = (
        joined.filter("counts")
        .with_columns(pl.col("amount", "quantity", "seconds").to_physical().fill_null(0), names_none.alias("whole"))
        .group_by("outcome")
        # Sums of up to 10²¹ each: 10¹⁷ reversals of one outcome would be needed to pass 128 bits.
        .agg(pl.col("amount", "quantity", "seconds").sum(), pl.col("whole").any())
        .sort("outcome")
    )
    unmatched = joined.filter(~pl.col("counts")).select(reversals.columns)
    return MatchedReversals(taken, unmatched)


def rates(outcomes: pl.DataFrame, fx: pl.DataFrame, base_currency: str, max_age_days: int) -> pl.Series:
    """Per outcome the exchange rate to the base currency, in units; null without an amount or a rate.

    The newest row of the currency dated before the outcome's UTC date and at most ``max_age_days`` older.
    """
    currency = outcomes["currency"].cast(pl.String)
    is_base = currency == base_currency
    if (is_base | currency.is_null()).all():
        return pl.DataFrame({"b": is_base}).select(pl.when("b").then(integer(UNIT))).to_series()
    asked = pl.DataFrame({"currency": currency, "day": outcomes["event_time"].dt.date(), "is_base": is_base})
    distinct = asked.filter(~pl.col("is_base")).select("currency", "day").unique().sort("day")
    table = fx.select(
        pl.col("date").alias("day"), pl.col("currency").cast(pl.String), pl.col("rate").to_physical(), "date"
    ).sort("day")
    found = distinct.join_asof(
        table, on="day", by="currency", strategy="backward", allow_exact_matches=False, check_sortedness=False
    )
    is_fresh = (pl.col("day") - pl.col("date")) <= pl.duration(days=max_age_days)
    found = found.select("currency", "day", pl.when(is_fresh).then(pl.col("rate")).alias("rate"))
    joined = asked.join(found, on=["currency", "day"], how="left", maintain_order="left")
    return joined.select(pl.when("is_base").then(pl.lit(UNIT, dtype=INT)).otherwise("rate")).to_series()


def gross_measures(outcomes: pl.DataFrame, rate: pl.Series) -> Measures:
    """The measures before reversals."""
    baseline, actual = units(outcomes["baseline_seconds"]), units(outcomes["actual_seconds"])
    frame = pl.DataFrame({"seconds": units(outcomes["seconds"]), "difference": baseline - actual})
    return Measures(
        amount=product(units(outcomes["amount"]), rate),
        quantity=units(outcomes["quantity"]),
        own_seconds=frame.select(pl.coalesce("seconds", "difference")).to_series(),
        actual_seconds=actual,
        taken_seconds=integer(0).new_from_index(0, outcomes.height),
        is_taken_whole=pl.Series([False]).new_from_index(0, outcomes.height),
    )


def net_measures(outcomes: pl.DataFrame, gross: Measures, rate: pl.Series, taken: pl.DataFrame) -> Measures:
    """The measures after reversals: net = sign × max(0, |gross| − taken), 0 where all is taken.

    The amount is reduced in its own currency, then converted.
    """
    if taken.height == 0:
        return gross
    rows = taken["outcome"]
    few = gross.rows(rows)
    whole = taken["whole"]

    def net(column: pl.Series, taken_units: pl.Series) -> pl.Series:
        left = reduce_towards_zero(column, taken_units)
        frame = pl.DataFrame({"left": left, "whole": whole})
        zero = pl.when(pl.col("left").is_not_null()).then(pl.lit(0, dtype=INT))
        return frame.select(pl.when("whole").then(zero).otherwise("left")).to_series()

    own_amount = units(outcomes["amount"]).gather(rows)
    return Measures(
        amount=_replaced(gross.amount, rows, product(net(own_amount, taken["amount"]), rate.gather(rows))),
        quantity=_replaced(gross.quantity, rows, net(few.quantity, taken["quantity"])),
        own_seconds=_replaced(gross.own_seconds, rows, net(few.own_seconds, taken["seconds"])),
        actual_seconds=gross.actual_seconds,
        taken_seconds=_replaced(gross.taken_seconds, rows, taken["seconds"]),
        is_taken_whole=_replaced(gross.is_taken_whole, rows, whole),
    )


def _replaced(column: pl.Series, rows: pl.Series, values: pl.Series) -> pl.Series:
    return column.clone().scatter(rows, values)
