"""Step 6: what an outcome is worth under the rule of one use case, before and after its cap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from attribution.in_force import RuleColumns
from attribution.measure import Measures
from attribution.money import (
    INT,
    UNIT,
    Bools,
    Int64s,
    clamp,
    divide_half_even,
    integer,
    integers,
    product,
    reduce_towards_zero,
)

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Worth:
    """Per (outcome, use case), Int128 units: ``full_*`` before the cap. Seconds are null but for time saved."""

    value: pl.Series
    full_value: pl.Series
    seconds: pl.Series
    full_seconds: pl.Series


def worth(measures: Measures, is_conversion: Bools, role: pl.Series, rule: Int64s, columns: RuleColumns) -> Worth:
    """Value each measure (one row per outcome and use case) under its governing rule.

    Conversion: amount ⊗ margin, or quantity ⊗ value_per_event; capped at ±max_value; negated for a loss.
    Time saved: (seconds × hourly_rate / 3600) ⊗ realisation, with seconds capped at ±max_seconds.
    """
    if is_conversion.all():
        return _conversions(measures, rule, columns)
    rows = [np.flatnonzero(is_conversion), np.flatnonzero(~is_conversion)]
    parts = [
        _conversions(measures.rows(_numbers(rows[0])), rule[rows[0]], columns),
        _time_saved(measures.rows(_numbers(rows[1])), role.gather(_numbers(rows[1])), rule[rows[1]], columns),
    ]
    back = pl.Series(np.argsort(np.concatenate(rows), kind="stable"), dtype=pl.UInt32)

    def joined(name: str) -> pl.Series:
        halves: list[pl.Series] = [getattr(part, name) for part in parts]
        return pl.concat(halves).gather(back)

    return Worth(joined("value"), joined("full_value"), joined("seconds"), joined("full_seconds"))


def _conversions(measures: Measures, rule: Int64s, columns: RuleColumns) -> Worth:
    by_amount = product(measures.amount, integers(columns.margin[rule]))
    by_event = product(measures.quantity, integers(columns.value_per_event[rule]))
    sign = integers(np.where(columns.is_loss[rule], -1, 1))
    frame = pl.DataFrame({"a": by_amount, "e": by_event, "per_event": columns.has_value_per_event[rule]})
    full = frame.select(pl.when("per_event").then("e").otherwise("a")).to_series() * sign
    value = clamp(full, columns.max_value.gather(_numbers(rule)).cast(INT))
    none = pl.Series([None], dtype=INT).new_from_index(0, len(rule))
    return Worth(value, full, none, none)


def _time_saved(measures: Measures, role: pl.Series, rule: Int64s, columns: RuleColumns) -> Worth:
    by_rule = integers(columns.baseline_seconds[rule]) - measures.actual_seconds
    frame = pl.DataFrame(
        {
            "own": measures.own_seconds,
            "by_rule": reduce_towards_zero(by_rule, measures.taken_seconds),
            "whole": measures.is_taken_whole,
        }
    )
    by_rule_net = pl.when("whole").then(pl.lit(0, dtype=INT)).otherwise("by_rule")
    full_seconds = frame.select(pl.coalesce("own", by_rule_net)).to_series()
    seconds = clamp(full_seconds, columns.max_seconds.gather(_numbers(rule)).cast(INT))
    hourly_rate = integers(columns.hourly_rate(rule, role))
    realisation = integers(columns.realisation[rule])

    def worth_of(of: pl.Series) -> pl.Series:
        paid = divide_half_even(of * hourly_rate, integer(_SECONDS_PER_HOUR * UNIT))
        return product(paid, realisation)

    value = worth_of(seconds)
    full_value = value if full_seconds is seconds else worth_of(full_seconds)
    return Worth(value, full_value, seconds, full_seconds)


def _numbers(rows: Int64s) -> pl.Series:
    """Row numbers; −1 (no rule) gathers the last row."""
    return pl.Series(rows, dtype=pl.Int64)
