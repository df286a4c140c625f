"""Intervals on value per inference: clusters, moments, Fieller, and what follows for margin, ROI and the ratio."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import optimize, stats

from attribution.match import hashed
from attribution.money import INT, UNIT
from attribution.statistics import (
    Concentration,
    Interval,
    Moments,
    cluster,
    cluster_group,
    concentrations,
    interval_figures,
    ratio_moments,
    significant,
    value_interval,
)
from attribution.statistics.intervals import INTERVAL_FIGURES
from attribution.statistics.moments import fieller, student_t

RNG = np.random.default_rng(7)
#: Cluster groups of one report group: requests, and value that is loosely proportional to them.
REQUESTS = RNG.integers(1, 40, 400)
VALUES = RNG.lognormal(0, 1, 400) * REQUESTS * (RNG.random(400) < 0.4)


def sums_of(values: Any, requests: Any, **keys: Any) -> pl.DataFrame:
    units = [round(float(value) * UNIT) for value in values]
    frame = {"cluster_group": np.arange(len(units)), "requests": requests, "value": pl.Series(units, dtype=INT)}
    return pl.DataFrame(frame | {name: [key] * len(units) for name, key in keys.items()})


def moments_of(values: Any, requests: Any) -> Moments:
    [moments] = ratio_moments(sums_of(values, requests), [], "value").values()
    return moments


def textbook(u: Any, v: Any) -> tuple[float, float]:
    """A, B, C and the roots, as they stand in the literature."""
    n, t = len(u), stats.t.ppf(0.975, len(u) - 1)
    k = t * t / n
    (suu, suv), (_, svv) = np.cov(u, v)
    a, b, c = v.mean() ** 2 - k * svv, u.mean() * v.mean() - k * suv, u.mean() ** 2 - k * suu
    root = math.sqrt(b * b - a * c)
    return (b - root) / a, (b + root) / a


# --- clusters ---


def test_a_cluster_is_the_session_else_the_trace_else_the_inference() -> None:
    ids = {
        "session_id": ["a", None, None, "a"],
        "trace_id": ["b", "a", None, None],
        "inference_id": ["1", "2", "a", "4"],
    }
    frame = pl.DataFrame(ids, schema=dict.fromkeys(ids, pl.String))
    expected = hashed(pl.Series(["s:a", "t:a", "i:a", "s:a"]))
    found = frame.select(cluster(), cluster_group())
    assert found["cluster"].to_list() == expected.to_list()
    assert found["cluster_group"].to_list() == (expected % 1_000).to_list()
    assert found.schema == {"cluster": pl.UInt64(), "cluster_group": pl.UInt16()}


def test_clusters_stream_also_where_the_first_chunk_is_empty() -> None:
    names = ["session_id", "trace_id", "inference_id"]
    rows = pl.DataFrame({name: ["x", "y", None] for name in names[:2]} | {"inference_id": ["1", "2", "3"]})
    chunks = pl.concat([rows.head(0), rows], rechunk=False)
    streamed = chunks.lazy().group_by(cluster_group()).len().collect(engine="streaming")
    assert sorted(streamed.rows()) == sorted(rows.group_by(cluster_group()).len().rows())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1] * 99, Concentration(99, 99, 1)),
        ([1] * 100, Concentration(100, 100, 1)),
        ([1] * 100 + [7], Concentration(101, 107, 8)),
        ([-9] + [1] * 99, Concentration(100, 108, 9)),
        ([0] * 5 + [2], Concentration(1, 2, 2)),
    ],
)
def test_the_top_hundredth_of_clusters_is_rounded_up_and_weighs_losses_like_gains(
    values: list[int], expected: Concentration
) -> None:
    frame = pl.DataFrame({"cluster": range(len(values)), "value": pl.Series(values, dtype=INT)})
    assert concentrations(frame, []) == {(): expected}


def test_clusters_are_counted_by_their_net_value_per_group_and_in_all() -> None:
    frame = pl.DataFrame(
        {
            "model": ["A", "A", "B", "B", None],
            "cluster": [1, 1, 1, 2, 3],
            "value": pl.Series([5, -5, -4, 4, 1], dtype=INT),
        }
    )
    assert concentrations(frame, ["model"]) == {("B",): Concentration(2, 8, 4), (None,): Concentration(1, 1, 1)}
    assert concentrations(frame, []) == {(): Concentration(3, 9, 4)}
    assert concentrations(frame.head(0), ["model"]) == {}


# --- moments and Fieller ---


def test_moments_are_those_of_the_residuals() -> None:
    moments = moments_of(VALUES, REQUESTS)
    ratio = VALUES.sum() / REQUESTS.sum()
    (dd, dv), (_, vv) = np.cov(VALUES - ratio * REQUESTS, REQUESTS)
    assert moments.groups == 400
    assert float(moments.ratio) == pytest.approx(ratio, rel=1e-9)
    assert moments.residual_variance == pytest.approx(dd, rel=1e-6)
    assert moments.residual_covariance == pytest.approx(dv, rel=1e-6)
    assert moments.denominator_variance == pytest.approx(vv, rel=1e-12)


def test_the_ratio_is_exact() -> None:
    frame = pl.DataFrame({"cluster_group": [1, 2], "requests": [1, 2], "value": pl.Series([10**25, 1], dtype=INT)})
    assert ratio_moments(frame, [], "value")[()].ratio == Fraction(10**25 + 1, 3 * UNIT)


def test_finer_rows_add_up_and_groups_without_requests_do_not_count() -> None:
    once = sums_of([1, 2, 3, 0], [1, 1, 4, 0], model="A")
    finer = pl.concat([sums_of([1, 2, 1], [1, 1, 3], model="A"), sums_of([0, 0, 2], [0, 0, 1], model="A")])
    assert ratio_moments(once, ["model"], "value") == ratio_moments(finer, ["model"], "value")
    assert ratio_moments(once, ["model"], "value")["A",].groups == 3


def test_moments_do_not_depend_on_the_order_of_rows() -> None:
    frame = pl.concat([sums_of(VALUES, REQUESTS, model="A"), sums_of(VALUES[::-1], REQUESTS, model=None)])
    shuffled = frame[RNG.permutation(frame.height)]
    assert ratio_moments(frame, ["model"], "value") == ratio_moments(shuffled, ["model"], "value")


def test_a_proportional_numerator_has_no_error_left_of_its_own() -> None:
    moments = moments_of([0.3 * count for count in REQUESTS], REQUESTS)
    low, high = fieller(moments) or (0, 0)
    assert low == pytest.approx(0.3, rel=1e-12)
    assert high == pytest.approx(0.3, rel=1e-12)


@pytest.mark.parametrize("freedom", [1, 2, 27.5, 99, 999])
def test_the_point_of_t_is_that_of_scipy(freedom: float) -> None:
    assert student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-12)


def test_fieller_is_the_textbooks_formula() -> None:
    assert fieller(moments_of(VALUES, REQUESTS)) == pytest.approx(textbook(VALUES, REQUESTS), rel=1e-7)


def test_fieller_holds_what_a_t_test_does_not_reject() -> None:
    """Independently of any formula: the ratios r at which the mean of u − r v is just significantly not 0."""

    def p(ratio: float) -> float:
        return float(stats.ttest_1samp(VALUES - ratio * REQUESTS, 0).pvalue) - 0.05

    ratio = VALUES.sum() / REQUESTS.sum()
    bounds = [optimize.brentq(p, end, ratio) for end in (0.0, 3 * ratio)]
    assert fieller(moments_of(VALUES, REQUESTS)) == pytest.approx(bounds, rel=1e-6)


def test_with_one_request_per_group_fieller_is_the_t_interval() -> None:
    expected = stats.ttest_1samp(VALUES, 0).confidence_interval()
    assert fieller(moments_of(VALUES, [1] * 400)) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_the_interval_is_bounded_just_while_the_denominator_is_surely_not_0() -> None:
    moments = moments_of(VALUES, REQUESTS)
    edge = moments.mean_denominator**2 * moments.groups / student_t(399) ** 2
    assert fieller(replace(moments, denominator_variance=edge * (1 - 1e-9))) is not None
    assert fieller(replace(moments, denominator_variance=edge * (1 + 1e-9))) is None
    # One group with nearly all of the requests is such a denominator.
    assert fieller(moments_of(VALUES, [10**9, *REQUESTS[1:]])) is None


# --- the interval and its reasons ---

SPREAD = Concentration(100, 1_000, 200)
HEAVY = Concentration(100, 1_000, 201)
BOUNDED, UNBOUNDED = moments_of(VALUES, REQUESTS), moments_of(VALUES, [10**9, *REQUESTS[1:]])


@pytest.mark.parametrize(
    ("moments", "concentration", "is_immature", "reason"),
    [
        (BOUNDED, SPREAD, False, None),
        (BOUNDED, HEAVY, False, "heavy_tail"),
        (BOUNDED, HEAVY, True, "immature"),
        (UNBOUNDED, HEAVY, True, "unbounded"),
        (UNBOUNDED, Concentration(99, 1_000, 201), True, "too_few"),
        (BOUNDED, None, False, "too_few"),
        (None, None, False, "too_few"),
        (moments_of([5], [9]), SPREAD, False, "too_few"),
    ],
)
def test_an_interval_or_its_first_reason(
    moments: Moments | None, concentration: Concentration | None, *, is_immature: bool, reason: str | None
) -> None:
    found = value_interval(moments, concentration, is_immature=is_immature)
    assert found.reason == reason
    expected = fieller(BOUNDED) if reason in (None, "heavy_tail") else None
    assert (found.low, found.high) == (expected or (None, None))


def test_margin_roi_and_ratio_follow_from_value() -> None:
    cells = interval_figures(Interval(2.0, 5.0), 10, Fraction(4), INTERVAL_FIGURES)
    assert cells == {
        "value_per_inference_low": 2.0,
        "value_per_inference_high": 5.0,
        "margin_low": 16.0,
        "margin_high": 46.0,
        "roi_multiple_low": 5.0,
        "roi_multiple_high": 12.5,
        "cost_to_value_ratio_low": 0.08,
        "cost_to_value_ratio_high": 0.2,
    }


@pytest.mark.parametrize(("low", "high"), [(-1.0, 5.0), (0.0, 5.0), (-5.0, 0.0)])
def test_the_ratio_has_no_bounds_where_values_interval_holds_0(low: float, high: float) -> None:
    cells = interval_figures(Interval(low, high, "heavy_tail"), 10, Fraction(4), INTERVAL_FIGURES)
    assert cells["cost_to_value_ratio_low"] is cells["cost_to_value_ratio_high"] is None
    assert (cells["roi_multiple_low"], cells["roi_multiple_high"]) == (10 * low / 4, 10 * high / 4)
    assert cells["interval_reason"] == "heavy_tail"


def test_an_unknown_figure_has_no_bounds() -> None:
    cells = interval_figures(Interval(2.0, 5.0), 10, Fraction(0), ["value_per_inference", "roi_multiple"])
    known = {name for name, cell in cells.items() if cell is not None}
    assert known == {"value_per_inference_low", "value_per_inference_high"}
    nothing = interval_figures(Interval(reason="too_few"), 10, Fraction(4), INTERVAL_FIGURES)
    assert {name for name, cell in nothing.items() if cell is not None} == {"interval_reason"}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (123456.5, "123456"),
        (123457.5, "123458"),
        (Fraction(2, 3), "0.666667"),
        (-1e-7, "-0.0000001"),
        (Fraction(10**30, 3), "333333000000000000000000000000"),
        (0.1, "0.1"),
        (0, "0"),
        (200, "200"),
    ],
)
def test_an_estimate_is_written_with_six_significant_digits(number: float | Fraction, text: str) -> None:
    assert significant(number) == text
