"""Exact arithmetic on whole columns: money, seconds and rates as whole numbers of 10⁻⁹ in Int128.

Nothing here passes through a float. Every bound of the input and of the rules is checked at the door
(10²¹ units for an amount, 10¹⁵ for a rate, 10¹⁶ for the weights of a path …), so that every product and
sum below fits in 128 bits; polars would wrap silently where it does not.

>>> product(pl.Series([1_500_000_000], dtype=pl.Int128), pl.Series([300_000_000], dtype=pl.Int128)).item()
450000000
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import numpy.typing as npt
import polars as pl

UNIT = 10**9
INT = pl.Int128()

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def integer(value: int) -> pl.Series:
    """One Int128, which broadcasts against a column (polars refuses a bare Python int there)."""
    return pl.Series([value], dtype=INT)


def integers(values: Int64s) -> pl.Series:
    """An Int128 column from 64-bit integers."""
    return pl.Series(values).cast(INT)


def units(column: pl.Series) -> pl.Series:
    """Decimal(38, 9) → Int128 units of 10⁻⁹, without a copy."""
    return column.to_physical()


def decimals(column: pl.Series, places: int = 9) -> pl.Series:
    """Int128 units of 10⁻ᵖˡᵃᶜᵉˢ → Decimal(38, places)."""
    whole = column.cast(pl.Decimal(38, 0)).to_frame("units")
    scaled = pl.col("units") * pl.lit(Decimal(1).scaleb(-places), dtype=pl.Decimal(38, places))
    return whole.select(scaled.cast(pl.Decimal(38, places)).alias(column.name)).to_series()


def divide_half_even(numerator: pl.Series, denominator: pl.Series) -> pl.Series:
    """numerator ÷ denominator (> 0), rounded half-even to a whole number; a null stays null."""
    quotient = numerator // denominator
    remainder = numerator - quotient * denominator  # floor division: 0 <= remainder < denominator
    twice = remainder + remainder
    is_odd = (quotient % integer(2)) == integer(1)
    rounds_up = (twice > denominator) | ((twice == denominator) & is_odd)
    return quotient + rounds_up.cast(INT)


def product(a: pl.Series, b: pl.Series) -> pl.Series:
    """a ⊗ b: the product of two columns of units, rounded half-even to the unit."""
    return divide_half_even(a * b, integer(UNIT))


def clamp(column: pl.Series, limit: pl.Series) -> pl.Series:
    """Column limited to ±limit; a null limit does not limit. The column itself where none does."""
    if limit.null_count() == len(limit):
        return column
    frame = pl.DataFrame({"x": column, "limit": limit})
    x, limit_ = pl.col("x"), pl.col("limit")
    clamped = pl.when(x > limit_).then(limit_).when(x < -1 * limit_).then(-1 * limit_).otherwise(x)
    return frame.select(clamped.cast(INT)).to_series()


def reduce_towards_zero(column: pl.Series, taken: pl.Series) -> pl.Series:
    """sign(x) × max(0, |x| − taken), for taken ≥ 0."""
    frame = pl.DataFrame({"x": column, "taken": taken})
    x, left = pl.col("x"), pl.col("x").abs() - pl.col("taken")
    zero = pl.lit(0, dtype=INT)
    net = pl.when(left <= 0).then(zero).when(x < 0).then(zero - left).otherwise(left)
    return frame.select(pl.when(x.is_null()).then(None).otherwise(net).cast(INT)).to_series()


def cumulative_within(column: pl.Series, is_start: Bools) -> pl.Series:
    """Running sums that begin anew where ``is_start``; a null counts 0.

    One running sum over everything, less what stood before each start. The running sum over
    everything may pass 128 bits; it wraps, and the difference is right all the same.
    """
    running = column.fill_null(0).cum_sum()
    starts = np.flatnonzero(is_start)
    before = running.shift(1, fill_value=0).gather(pl.Series(starts, dtype=pl.UInt32))
    segment = pl.Series(np.cumsum(is_start) - 1, dtype=pl.UInt32)
    return running - before.gather(segment)


def steps(rounded: pl.Series, is_start: Bools) -> pl.Series:
    """Cumulative rounding: part k = rounded sum k − rounded sum k−1, within each segment.

    So the parts of a segment always sum to its rounded whole.
    """
    before = rounded.shift(1, fill_value=0)
    frame = pl.DataFrame({"rounded": rounded, "before": before, "is_start": is_start})
    part = pl.col("rounded") - pl.when("is_start").then(pl.lit(0, dtype=INT)).otherwise("before")
    return frame.select(part).to_series()
