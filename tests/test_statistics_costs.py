"""Cost over time: its trend, why it changed, and what it would be at another scale."""

from __future__ import annotations

import math
from datetime import date, timedelta
from fractions import Fraction
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attribution.money import INT
from attribution.statistics import Spent, cost_change, cost_trend, scaling

COST_UNIT = 10**12
RNG = np.random.default_rng(5)


def days(unit_costs: Any, requests: Any, numbers: Any = None) -> pl.DataFrame:
    """One row per day: cost is unit cost × requests."""
    first = date(2026, 3, 1)
    numbers = range(len(unit_costs)) if numbers is None else numbers
    costs = [round(Fraction(cost) * count * COST_UNIT) for cost, count in zip(unit_costs, requests, strict=True)]
    return pl.DataFrame(
        {
            "day": [first + timedelta(days=int(number)) for number in numbers],
            "cost": pl.Series(costs, dtype=INT),
            "requests": list(requests),
        },
        schema_overrides={"requests": pl.Int64},
    )


# --- trend ---


def brute_force(y: list[float], x: list[int]) -> tuple[float, float]:
    """The median slope of all pairs; p of Mann–Kendall's S by the normal approximation, corrected for ties."""
    pairs = [(a, b) for a in range(len(y)) for b in range(a + 1, len(y))]
    slope = median((y[b] - y[a]) / (x[b] - x[a]) for a, b in pairs)
    s = sum(np.sign(y[b] - y[a]) for a, b in pairs)
    n = len(y)
    ties = [y.count(value) for value in set(y)]
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    return slope, 2 * stats.norm.sf(abs(s) / math.sqrt(variance))


@pytest.mark.parametrize("places", [2, 9])
def test_the_trend_is_the_median_slope_and_mann_kendalls_p_also_with_ties(places: int) -> None:
    numbers = [int(number) for number in sorted(RNG.choice(60, 30, replace=False))]
    costs = [round(0.5 + 0.001 * number + 0.02 * float(RNG.standard_normal()), places) for number in numbers]
    assert (len(set(costs)) < 30) == (places == 2)
    cells = cost_trend(days([Fraction(str(cost)) for cost in costs], [1] * 30, numbers)[RNG.permutation(30)])
    slope, p = brute_force(costs, numbers)
    assert cells["cost_trend_slope"] == pytest.approx(slope, rel=1e-9)
    assert cells["cost_trend_p"] == pytest.approx(p, rel=1e-9)
    expected = stats.theilslopes(costs, [float(number) for number in numbers], alpha=0.95)
    found = [cells["cost_trend_slope_low"], cells["cost_trend_slope_high"]]
    assert found == pytest.approx([expected.low_slope, expected.high_slope], rel=1e-9)


@pytest.mark.parametrize(("step", "word"), [(1, "rising"), (-1, "falling"), (0, "stable")])
def test_unit_cost_rises_falls_or_is_stable(step: int, word: str) -> None:
    cells = cost_trend(days([100 + step * number for number in range(14)], [3] * 14))
    assert cells["cost_trend"] == word
    assert cells["cost_trend_slope"] == pytest.approx(step)
    assert (cells["cost_trend_p"] == 1) == (step == 0)


def test_one_wrong_bill_bends_no_trend() -> None:
    costs = [100.0 + number for number in range(20)]
    costs[-1] = 0.0
    cells = cost_trend(days(costs, [3] * 20))
    assert cells["cost_trend"] == "rising"
    assert cells["cost_trend_slope"] == pytest.approx(1)


def test_noise_alone_is_called_a_trend_in_one_case_of_twenty() -> None:
    words = [cost_trend(days(RNG.lognormal(0, 1, 28), [1] * 28))["cost_trend"] for _ in range(400)]
    assert 0.03 < 1 - words.count("stable") / 400 < 0.08


@pytest.mark.parametrize("requests", [[3] * 13, [3] * 13 + [0]])
def test_fewer_than_14_days_with_requests_have_no_trend(requests: list[int]) -> None:
    cells = cost_trend(days([1.0] * len(requests), requests))
    assert {cells[name] for name in cells if not name.endswith("_reason")} == {None}
    assert {cells[f"{name}_reason"] for name in ("cost_trend", "cost_trend_slope", "cost_trend_p")} == {"too_few"}


def test_days_without_requests_are_left_out_and_the_others_keep_their_distance() -> None:
    costs, requests = [float(number) for number in range(28)], [1, 0] * 14
    assert cost_trend(days(costs, requests))["cost_trend_slope"] == pytest.approx(1)


# --- change ---


def spent(**models: tuple[int, str]) -> dict[Any, Spent]:
    return {name: Spent(requests, int(Fraction(cost) * COST_UNIT)) for name, (requests, cost) in models.items()}


@pytest.mark.parametrize(
    ("before", "after", "volume", "mix", "unit_cost"),
    [
        # Twice the requests at the same cost each.
        (spent(A=(10, "5")), spent(A=(20, "10")), "5", "0", "0"),
        # As many, each dearer by 0.1.
        (spent(A=(10, "5")), spent(A=(10, "6")), "0", "0", "1"),
        # From the dear model A (1.00) to the cheap B (0.20): 10 × 0.5 × (0.20 − 1.00).
        (spent(A=(10, "10"), B=(10, "2")), spent(A=(5, "5"), B=(15, "3")), "0", "-4", "0"),
        # A new model at 0.50 beside A at 1.00 is mix: 10 × (0.5 × (0.50 − 1.00)).
        (spent(A=(10, "10")), spent(A=(5, "5"), B=(5, "2.5")), "0", "-2.5", "0"),
        # One that went away: its 0.50 each is what the others no longer save.
        (spent(A=(5, "5"), B=(5, "2.5")), spent(A=(10, "10")), "0", "2.5", "0"),
        # All at once: u₀ = 0.6; volume 10 × 0.6; mix 20 × 0.25 × (0.2 − 1.0); unit cost 20 × 0.75 × 0.1.
        (spent(A=(5, "5"), B=(5, "1")), spent(A=(5, "5"), B=(15, "4.5")), "6", "-4", "1.5"),
    ],
)
def test_a_change_is_volume_mix_and_unit_cost(
    before: dict[Any, Spent], after: dict[Any, Spent], volume: str, mix: str, unit_cost: str
) -> None:
    found = cost_change(before, after)
    assert found is not None
    parts = [found[name] for name in ("change_volume", "change_mix", "change_unit_cost")]
    assert parts == [Fraction(volume), Fraction(mix), Fraction(unit_cost)]


@pytest.mark.parametrize(("before", "after"), [({}, spent(A=(1, "1"))), (spent(A=(1, "1")), spent(A=(0, "1")))])
def test_a_period_without_requests_has_no_change(before: dict[Any, Spent], after: dict[Any, Spent]) -> None:
    assert cost_change(before, after) is None


PERIOD = st.dictionaries(
    st.sampled_from("ABCD"), st.builds(Spent, st.integers(0, 10**9), st.integers(-(10**20), 10**24))
)


@given(PERIOD, PERIOD)
def test_the_parts_sum_to_the_change_to_the_last_digit(before: dict[Any, Spent], after: dict[Any, Spent]) -> None:
    found = cost_change(before, after)
    if found is None:
        assert 0 in (sum(spent.requests for spent in part.values()) for part in (before, after))
        return
    assert all((part * COST_UNIT).denominator == 1 for part in found.values())
    change = found["cost_after"] - found["cost_before"]
    assert found["change_volume"] + found["change_mix"] + found["change_unit_cost"] == change
    assert found["cost_after"] == Fraction(sum(spent.cost for spent in after.values()), COST_UNIT)


@given(PERIOD, PERIOD)
def test_unit_cost_is_the_contracts_sum_up_to_rounding(before: dict[Any, Spent], after: dict[Any, Spent]) -> None:
    with_requests = [{name: one for name, one in part.items() if one.requests} for part in (before, after)]
    found = cost_change(*with_requests)
    if found is None:
        return
    old, new = with_requests
    own = sum(
        (one.cost - Fraction(one.requests * old[name].cost, old[name].requests))
        for name, one in new.items()
        if name in old
    )
    assert abs(found["change_unit_cost"] * COST_UNIT - own) <= 1


# --- scaling ---


def scaled(costs: Any, requests: Any) -> list[float]:
    cells = scaling(days([1] * len(costs), [0] * len(costs)).with_columns(*columns(costs, requests)))
    assert set(cells) == {"fixed_per_day", "unit_cost", "at_1x", "at_2x", "at_10x"}
    return [float(cell) for cell in cells.values() if isinstance(cell, float)]


def columns(costs: Any, requests: Any) -> list[pl.Series]:
    whole = [round(Fraction(float(cost)) * COST_UNIT) for cost in costs]
    return [pl.Series("cost", whole, dtype=INT), pl.Series("requests", list(requests), dtype=pl.Int64)]


TRAFFIC = [100_000 + 10_000 * number for number in range(14)]
MEAN = sum(TRAFFIC) / 14


def test_a_fixed_and_a_variable_part_are_found_again_and_spread_over_more_traffic() -> None:
    found = scaled([50 + 0.002 * count for count in TRAFFIC], TRAFFIC)
    expected = [50, 0.002, 50 / MEAN + 0.002, 50 / (2 * MEAN) + 0.002, 50 / (10 * MEAN) + 0.002]
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_fit_is_that_of_least_squares_where_both_parts_are_positive() -> None:
    costs = [50 + 0.002 * count + float(RNG.normal(0, 5)) for count in TRAFFIC]
    line = stats.linregress(TRAFFIC, costs)
    assert scaled(costs, TRAFFIC)[:2] == pytest.approx([line.intercept, line.slope], rel=1e-9)


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        # Falls with traffic: all fixed, at the mean cost. Rises faster than traffic: none fixed, through the origin.
        ([200 - 0.0005 * count for count in TRAFFIC], lambda y: [sum(y) / 14, 0]),
        (
            [0.004 * count - 100 for count in TRAFFIC],
            lambda y: [0, sum(a * b for a, b in zip(y, TRAFFIC, strict=True)) / sum(count**2 for count in TRAFFIC)],
        ),
        ([-1.0] * 14, lambda _: [0, 0]),
    ],
)
def test_no_part_is_negative(costs: list[float], expected: Any) -> None:
    assert scaled(costs, TRAFFIC)[:2] == pytest.approx(expected(costs), rel=1e-9)


@pytest.mark.parametrize("requests", [TRAFFIC[:13], [100] * 20, [0] * 20])
def test_too_few_days_or_all_of_one_traffic_say_nothing_of_scale(requests: list[int]) -> None:
    cells = scaling(pl.DataFrame(columns([5.0] * len(requests), requests)))
    assert {cells[name] for name in ("fixed_per_day", "unit_cost", "at_1x", "at_2x", "at_10x")} == {None}
    assert {cell for name, cell in cells.items() if name.endswith("_reason")} == {"too_few"}
