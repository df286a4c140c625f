"""The laws of exact arithmetic on columns, against Python's integers and fractions."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from attribution.money import (
    clamp,
    cumulative_within,
    decimals,
    divide_half_even,
    product,
    reduce_towards_zero,
    steps,
    units,
)

AMOUNTS = st.integers(-(10**21), 10**21)
RATES = st.integers(0, 10**15)


def column(values: list[int | None]) -> pl.Series:
    return pl.Series(values, dtype=pl.Int128)


@given(st.lists(st.tuples(st.integers(-(10**37), 10**37), st.integers(1, 10**17)), min_size=1, max_size=20))
def test_division_rounds_half_to_even(pairs: list[tuple[int, int]]) -> None:
    numerators, denominators = (column(list(side)) for side in zip(*pairs, strict=True))
    expected = [round(Fraction(n, d)) for n, d in pairs]  # Python rounds fractions half-even
    assert divide_half_even(numerators, denominators).to_list() == expected


def test_halves_go_to_the_even_neighbour_on_both_sides_of_zero() -> None:
    halves = column([1, 3, 5, -1, -3, -5])
    assert divide_half_even(halves, column([2])).to_list() == [0, 2, 2, 0, -2, -2]


@given(st.lists(st.tuples(AMOUNTS, RATES), min_size=1, max_size=20))
def test_a_product_of_units_is_exact_and_rounded_once(pairs: list[tuple[int, int]]) -> None:
    amounts, rates = (column(list(side)) for side in zip(*pairs, strict=True))
    assert product(amounts, rates).to_list() == [round(Fraction(a * r, 10**9)) for a, r in pairs]


@given(st.lists(st.lists(st.integers(-(10**30), 10**30), min_size=1, max_size=5), min_size=1, max_size=5))
def test_running_sums_begin_anew_in_each_segment(segments: list[list[int]]) -> None:
    starts = np.array([place == 0 for segment in segments for place in range(len(segment))])
    expected = [sum(segment[: place + 1]) for segment in segments for place in range(len(segment))]
    assert cumulative_within(column([value for segment in segments for value in segment]), starts).to_list() == expected


def test_running_sums_are_right_though_the_sum_over_everything_passes_128_bits() -> None:
    large = 10**37
    values = [large] * 40
    starts = np.array([place % 4 == 0 for place in range(40)])
    assert cumulative_within(column(list(values)), starts).to_list() == [large * (p % 4 + 1) for p in range(40)]


@given(AMOUNTS, st.lists(st.integers(1, 10**12), min_size=1, max_size=12))
def test_parts_by_cumulative_rounding_sum_to_the_whole(value: int, weights: list[int]) -> None:
    starts = np.array([place == 0 for place in range(len(weights))])
    cumulative = column([value * sum(weights[: place + 1]) for place in range(len(weights))])
    parts = steps(divide_half_even(cumulative, column([sum(weights)])), starts)
    assert sum(parts) == value
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(value * weight, sum(weights))) <= 1


@given(AMOUNTS, st.integers(0, 10**22))
def test_what_is_taken_never_turns_the_sign(value: int, taken: int) -> None:
    (net,) = reduce_towards_zero(column([value]), column([taken])).to_list()
    assert abs(net) == max(0, abs(value) - taken)
    assert net * value >= 0


def test_nulls_stay_null() -> None:
    nothing = column([None])
    assert product(nothing, column([1])).to_list() == [None]
    assert reduce_towards_zero(nothing, column([1])).to_list() == [None]
    assert clamp(nothing, column([5])).to_list() == [None]


def test_a_cap_limits_both_signs_and_no_cap_limits_nothing() -> None:
    assert clamp(column([7, -7, 3, 7]), column([5, 5, 5, None])).to_list() == [5, -5, 3, 7]


@given(st.integers(-(10**27), 10**27))
def test_units_and_decimals_are_each_others_inverse(value: int) -> None:
    decimal = decimals(column([value]))
    assert decimal.dtype == pl.Decimal(38, 9)
    assert decimal.item() == Decimal(value).scaleb(-9)
    assert units(decimal).item() == value
