"""Two versions side by side: differences with intervals, quantiles of latency, the verdict."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.money import INT, UNIT
from attribution.statistics import (
    Difference,
    Moments,
    Quantile,
    Side,
    histogram_quantile,
    quantile_difference,
    quantile_estimate,
    ratio_difference,
    ratio_moments,
    side_by_side,
)
from attribution.statistics.moments import student_t
from attribution.statistics.quantiles import P50, P95
from attribution.statistics.side_by_side import RATIOS, SCORE, verdict

RNG = np.random.default_rng(23)
COST_UNIT = 10**12


# --- quotients ---


def sums(groups: int = 200, cost: str = "0.5") -> pl.DataFrame:
    requests = RNG.integers(1, 20, groups)
    units = int(Fraction(cost) * COST_UNIT)
    return pl.DataFrame(
        {
            "cluster_group": range(groups),
            "requests": requests,
            "cost": pl.Series([int(count) * units for count in requests], dtype=INT),
            "value": pl.Series([int(value * UNIT) for value in RNG.lognormal(0, 1, groups)], dtype=INT),
            "outcomes": RNG.binomial(requests, 0.3),
            "cache_hits": RNG.binomial(requests, 0.2),
            "score": pl.Series([int(score * UNIT) for score in RNG.normal(4, 1, groups)], dtype=INT),
            "scores": [1] * groups,
        }
    )


def moments(frame: pl.DataFrame, figure: str) -> Moments:
    ratio = RATIOS.get(figure, SCORE)
    return ratio_moments(frame, [], ratio.numerator, denominator=ratio.denominator, unit=ratio.unit)[()]


A, B = sums(), sums(cost="0.4")


@pytest.mark.parametrize("figure", [*RATIOS, "score_helpfulness"])
def test_each_figure_is_a_quotient_of_sums_and_its_difference_is_exact(figure: str) -> None:
    ratio = RATIOS.get(figure, SCORE)
    found = ratio_difference(Side(moments(A, figure)), Side(moments(B, figure)))
    a, b = (
        Fraction(int(frame[ratio.numerator].sum()), int(frame[ratio.denominator].sum()) * ratio.unit)
        for frame in (A, B)
    )
    assert (found.a, found.b, found.difference) == (a, b, b - a)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= float(b - a) <= found.high
    assert (found.low < found.high) == (figure != "cost_per_inference") or found.high - found.low < 1e-12


def test_a_cost_that_is_the_same_for_every_request_differs_for_sure() -> None:
    found = ratio_difference(Side(moments(A, "cost_per_inference")), Side(moments(B, "cost_per_inference")))
    assert found.low == pytest.approx(-0.1, rel=1e-12)
    assert found.high == pytest.approx(-0.1, rel=1e-12)


def test_swapping_the_sides_turns_the_difference_round() -> None:
    a, b = (Side(moments(frame, "value_per_inference")) for frame in (A, B))
    there, back = ratio_difference(a, b), ratio_difference(b, a)
    assert there.low is not None
    assert there.high is not None
    assert (there.difference, there.low, there.high) == (-(back.difference or 0), -(back.high or 0), -(back.low or 0))


FULL = moments(A, "value_per_inference")


@pytest.mark.parametrize(
    ("a", "b", "reason", "interval_reason"),
    [
        (Side(FULL), Side(FULL, is_thin=True), None, "too_few"),
        (Side(FULL, is_thin=True), Side(FULL), None, "too_few"),
        (Side(FULL), Side(moments(A.head(1), "value_per_inference")), None, "too_few"),
        (Side(FULL), Side(None), "no_requests", "no_requests"),
        (Side(FULL, reason="incomplete_cost"), Side(None), "incomplete_cost", "incomplete_cost"),
    ],
)
def test_a_difference_or_its_reason(a: Side, b: Side, reason: str | None, interval_reason: str) -> None:
    cells = ratio_difference(a, b).cells("x")
    assert cells.get("x_difference_reason") == reason
    assert (cells["x_difference"] is None) == (reason is not None)
    assert cells.get("x_a_reason") == a.reason
    assert cells.get("x_b_reason") == ("no_requests" if b.moments is None else None)
    assert (cells["x_low"], cells["x_high"], cells["x_interval_reason"]) == (None, None, interval_reason)


@pytest.mark.parametrize(("groups", "is_thin"), [(99, True), (100, False)])
def test_fewer_than_100_groups_of_clusters_are_thin(groups: int, *, is_thin: bool) -> None:
    assert moments(A.head(groups), "cost_per_inference").is_thin == is_thin


# --- quantiles ---


def histogram(latencies: Any) -> pl.DataFrame:
    return pl.DataFrame({"latency_ms": latencies}).group_by("latency_ms").agg(pl.len().alias("requests"))


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=40),
    st.sampled_from([P50, P95, Fraction(1, 100), Fraction(1), Fraction(1, 3)]),
)
def test_a_quantile_of_a_histogram_is_that_of_the_requests(latencies: list[int], share: Fraction) -> None:
    expected = next(x for x in sorted(latencies) if sum(y <= x for y in latencies) >= share * len(latencies))
    assert histogram_quantile(histogram(latencies), share) == expected


def test_an_empty_histogram_has_no_quantile() -> None:
    assert histogram_quantile(histogram(pl.Series([], dtype=pl.Int64)), P50) is None
    assert quantile_estimate(histogram(pl.Series([], dtype=pl.Int64)), P50, None) is None


def at_most(groups: Any, latencies: Any, limit: int | None) -> Moments:
    frame = pl.DataFrame({"cluster_group": groups, "at_most": latencies <= limit, "requests": 1})
    return ratio_moments(frame.cast({"at_most": pl.Int64}), [], "at_most", unit=1)[()]


def estimate(latencies: Any, groups: Any, share: Fraction) -> Quantile | None:
    counts = histogram(latencies)
    return quantile_estimate(counts, share, at_most(groups, latencies, histogram_quantile(counts, share)))


@pytest.mark.parametrize("share", [P50, P95])
@pytest.mark.parametrize("count", [100, 1_000])
def test_with_one_request_per_group_the_bounds_are_order_statistics(count: int, share: Fraction) -> None:
    latencies = np.array(RNG.permutation(count) + 1)
    found = estimate(latencies, range(count), share)
    assert found is not None
    reach = student_t(count - 1) * math.sqrt(share * (1 - share) / (count - 1))  # of a share of independent requests
    expected = [math.ceil(count * (float(share) + sign * reach)) for sign in (-1, 1)]
    assert [found.figure, found.low, found.high] == [count * share, *expected]


def test_requests_that_resemble_one_another_widen_the_bounds() -> None:
    latencies = np.repeat(RNG.permutation(500) + 1, 20)
    apart, together = (
        estimate(latencies, groups, P50) for groups in (np.arange(10_000) % 1_000, np.repeat(range(500), 20))
    )
    assert apart is not None
    assert together is not None
    assert apart.figure == together.figure == 250
    assert (together.high or 0) - (together.low or 0) > 3 * ((apart.high or 0) - (apart.low or 0)) > 0


def test_a_quantile_without_enough_clusters_or_room_has_no_bounds() -> None:
    latencies = np.arange(99)
    assert estimate(latencies, latencies, P50) == Quantile(49, reason="too_few")
    # In 100 groups p95 has bounds, p99 has not: 0.99 + 0.02 is no share.
    more = np.arange(100)
    assert (estimate(more, more, P95) or Quantile(0)).reason is None
    assert estimate(more, more, Fraction(99, 100)) == Quantile(98, reason="unbounded")


def test_the_difference_of_quantiles_joins_the_lopsided_bounds() -> None:
    found = quantile_difference(Quantile(100, 97, 104), Quantile(150, 138, 153))
    assert [found.a, found.b, found.difference] == [100, 150, 50]
    assert (found.low, found.high) == (50 - math.hypot(12, 4), 50 + math.hypot(3, 3))


@pytest.mark.parametrize(
    ("a", "b", "cells"),
    [
        (None, Quantile(5, 4, 6), {"x_a_reason": "no_requests", "x_difference_reason": "no_requests", "x_b": 5}),
        (Quantile(5, 4, 6), None, {"x_b_reason": "no_requests", "x_interval_reason": "no_requests", "x_a": 5}),
        (Quantile(5, 4, 6), Quantile(7, reason="unbounded"), {"x_difference": 2, "x_interval_reason": "unbounded"}),
        (Quantile(5, reason="too_few"), Quantile(7, 6, 8), {"x_low": None, "x_interval_reason": "too_few"}),
    ],
)
def test_a_difference_of_quantiles_or_its_reason(a: Quantile | None, b: Quantile | None, cells: dict[str, Any]) -> None:
    assert quantile_difference(a, b).cells("x").items() >= cells.items()


# --- the verdict ---


def difference(low: float | None, high: float | None, middle: str = "0") -> Difference:
    return Difference(Fraction(1), 1 + Fraction(middle), Fraction(middle), low, high)


LESS, MORE, UNCLEAR = difference(-2, -1), difference(1, 2), difference(-1, 1)


@pytest.mark.parametrize(
    ("cost", "value", "expected"),
    [
        (LESS, MORE, "dominates"),
        (LESS, UNCLEAR, "dominates"),
        (UNCLEAR, MORE, "dominates"),
        (MORE, LESS, "dominated"),
        (MORE, UNCLEAR, "dominated"),
        (UNCLEAR, LESS, "dominated"),
        (MORE, MORE, "trade_off"),
        (LESS, LESS, "trade_off"),
        (UNCLEAR, UNCLEAR, "undecided"),
        (difference(None, None), MORE, "dominates"),
        (difference(0, 2), difference(-2, 0), "undecided"),
        (difference(0, 0), difference(None, None), "undecided"),
    ],
)
def test_the_verdict_is_on_cost_and_value(cost: Difference, value: Difference, expected: str) -> None:
    assert verdict(cost, value) == expected


@pytest.mark.parametrize(
    ("cost", "value", "expected"),
    [
        ("3", "6", Fraction(1, 2)),
        ("-3", "-6", Fraction(1, 2)),
        ("3", "-6", "no_trade_off"),
        ("-3", "6", "no_trade_off"),
        ("3", "0", "no_trade_off"),
        ("0", "6", "no_trade_off"),
    ],
)
def test_incremental_cost_per_incremental_value_is_given_for_more_of_both_or_less_of_both(
    cost: str, value: str, expected: object
) -> None:
    figures = {"cost_per_inference": difference(0, 1, cost), "value_per_inference": difference(0, 1, value)}
    cells = side_by_side(figures, 10, 10)
    assert cells.get("incremental_cost_per_value_reason", cells["incremental_cost_per_value"]) == expected


@pytest.mark.parametrize(("requests", "with_arm", "observational"), [(10, 10, False), (10, 9, True), (0, 0, True)])
def test_a_verdict_is_observational_unless_every_request_carries_an_arm(
    requests: int, with_arm: int, *, observational: bool
) -> None:
    figures = {"cost_per_inference": LESS, "value_per_inference": MORE}
    assert side_by_side(figures, requests, with_arm)["observational"] is observational


def test_a_row_has_every_figure_of_both_sides() -> None:
    names = [*RATIOS, "score_helpfulness"]
    figures = {name: ratio_difference(Side(moments(A, name)), Side(moments(B, name))) for name in names}
    figures["latency_p95_ms"] = quantile_difference(Quantile(5, 4, 6), Quantile(7, 6, 8))
    cells = side_by_side(figures, 10, 0)
    ends = ("a", "b", "difference", "low", "high")
    further = ["incremental_cost_per_value", "incremental_cost_per_value_reason", "verdict", "observational"]
    assert [name for name in cells if name not in further] == [f"{name}_{end}" for name in figures for end in ends]


def test_an_unknown_cost_leaves_the_rest_standing() -> None:
    cost = ratio_difference(Side(FULL, reason="incomplete_cost"), Side(FULL))
    cells = side_by_side({"cost_per_inference": cost, "value_per_inference": MORE}, 10, 10)
    assert cells["verdict"] == "dominates"
    assert cells["incremental_cost_per_value_reason"] == "incomplete_cost"
