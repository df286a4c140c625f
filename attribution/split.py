"""Steps 7 and 8: an outcome's worth over its use cases, and each use case's part over its touches.

Both splits use cumulative rounding, so the parts sum to the rounded whole, to the last unit. Most
outcomes have one touch: it takes all, and nothing is divided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from attribution.in_force import RuleColumns
from attribution.measure import Measures
from attribution.money import (
    Bools,
    Int64s,
    cumulative_within,
    divide_half_even,
    integers,
    steps,
)
from attribution.paths import Paths
from attribution.value import worth


@dataclass(frozen=True)
class Earned:
    """Per touch what it earns: Int128 units, amount and seconds null where the outcome has none."""

    amount: pl.Series
    value: pl.Series
    seconds: pl.Series


@dataclass(frozen=True)
class Cut:
    """What caps took: one row per outcome (``outcome`` row numbers) of those with a path."""

    outcome: Int64s
    value: pl.Series
    seconds: pl.Series


def split(
    paths: Paths, weight: Int64s, outcomes: pl.DataFrame, measures: Measures, is_conversion: Bools, columns: RuleColumns
) -> tuple[Earned, Cut]:
    """Steps 6 to 8 for whole paths. measures, is_conversion: per outcome row; weight: per touch."""
    group_starts = np.flatnonzero(paths.starts_group)
    outcome = paths.outcome[group_starts]
    rule = paths.governing[group_starts]
    rows = pl.Series(outcome, dtype=pl.UInt32)
    own = measures.rows(rows)
    worths = worth(own, is_conversion[outcome], outcomes["role"].gather(rows), rule, columns)

    # Step 7: over use cases.
    starts_outcome = paths.starts_outcome[group_starts]
    over = _OverUseCases(starts_outcome, columns.share[rule])
    value, value_total = over.split(worths.value)
    seconds, seconds_total = over.split(worths.seconds)
    full_value_total = value_total if worths.full_value is worths.value else over.split(worths.full_value)[1]
    full_seconds_total = seconds_total if worths.full_seconds is worths.seconds else over.split(worths.full_seconds)[1]
    cut = Cut(outcome[starts_outcome], full_value_total - value_total, full_seconds_total - seconds_total)
    amount, _ = over.split(own.amount)

    # Step 8: over the touches of a use case.
    within = _OverTouches(group_starts, weight)
    return Earned(within.split(amount), within.split(value), within.split(seconds)), cut


class _OverUseCases:
    """Splits per-(outcome, use case) columns by share: part k = round(Σ_{≤k} p·x / P) − round(Σ_{<k} p·x / P)."""

    def __init__(self, starts: Bools, share: Int64s) -> None:
        first = np.flatnonzero(starts)
        lengths = np.diff(np.append(first, len(starts)))
        last = first + lengths - 1
        several = np.repeat(lengths > 1, lengths)
        self._last_of_outcome = _rows(last)
        self._several = _rows(np.flatnonzero(several))
        self._starts = starts[several]
        self._share = integers(share[several])
        totals = np.add.reduceat(share, first) if len(first) else share
        self._whole = integers(np.repeat(totals, lengths)[several])
        self._last_of_several = _rows(last[lengths > 1])
        self._last_within_several = _rows(np.flatnonzero(np.append(self._starts[1:], True)))

    def split(self, column: pl.Series) -> tuple[pl.Series, pl.Series]:
        """(part per row, rounded whole per outcome)."""
        if len(self._several) == 0 or column.null_count() == len(column):
            return column, column.gather(self._last_of_outcome)
        chosen = column.gather(self._several)
        rounded = divide_half_even(cumulative_within(chosen * self._share, self._starts), self._whole)
        parts = column.clone().scatter(self._several, _null_where(chosen, steps(rounded, self._starts)))
        wholes = parts.clone().scatter(self._last_of_several, rounded.gather(self._last_within_several))
        return parts, wholes.gather(self._last_of_outcome)


class _OverTouches:
    """Splits per-(outcome, use case) columns by weight: part k = round(V·ΣW_{≤k} / W) − round(V·ΣW_{<k} / W)."""

    def __init__(self, starts: Int64s, weight: Int64s) -> None:
        lengths = np.diff(np.append(starts, len(weight)))
        self._group = _rows(np.repeat(np.arange(len(starts)), lengths))
        several = np.repeat(lengths > 1, lengths)
        self._several = _rows(np.flatnonzero(several))
        # One running sum over all touches, less what stood before each path; it fits where a path's sum does.
        running = np.cumsum(weight)
        before = (running - weight)[starts]
        self._cumulative = integers((running - np.repeat(before, lengths))[several])
        totals = running[starts + lengths - 1] - before if len(starts) else weight
        self._whole = integers(np.repeat(totals, lengths)[several])
        is_start = np.zeros(len(weight), dtype=np.bool_)
        is_start[starts] = True
        self._starts = is_start[several]

    def split(self, column: pl.Series) -> pl.Series:
        per_touch = column.gather(self._group)
        if len(self._several) == 0 or column.null_count() == len(column):
            return per_touch
        chosen = per_touch.gather(self._several)
        rounded = divide_half_even(chosen.fill_null(0) * self._cumulative, self._whole)
        return per_touch.scatter(self._several, _null_where(chosen, steps(rounded, self._starts)))


def _null_where(source: pl.Series, column: pl.Series) -> pl.Series:
    if source.null_count() == 0:
        return column
    frame = pl.DataFrame({"source": source, "column": column})
    return frame.select(pl.when(pl.col("source").is_not_null()).then("column")).to_series()


def _rows(numbers: Int64s) -> pl.Series:
    return pl.Series(numbers, dtype=pl.UInt32)
