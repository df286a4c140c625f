"""Incremental value from evidence entries, and uplift over a holdout."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from attribution.money import UNIT
from attribution.statistics import (
    Concentration,
    Evidence,
    Moments,
    evidence_index,
    incremental_figures,
    overlapping,
    ratio_moments,
    uplift_figures,
)


def at(day: int) -> datetime:
    return datetime(2026, 3, day, tzinfo=UTC)


def units(text: str) -> int:
    return int(Fraction(text) * UNIT)


def evidence(start: int = 1, end: int = 10, **more: Any) -> Evidence:
    base = Evidence("reco", "conversion", None, at(start), at(end), units("0.5"), units("0.2"), units("0.7"), "test 1")
    return replace(base, **more)


# --- which entry covers a credit ---


def covered(entries: list[Evidence], *credits_: tuple[str, str, str, datetime]) -> list[int | None]:
    schema: dict[str, Any] = {
        "use_case": pl.String,
        "kind": pl.Categorical,
        "type": pl.String,
        "inference_time": pl.Datetime("us", "UTC"),
    }
    frame = pl.DataFrame(credits_, schema=schema, orient="row")
    streamed = frame.lazy().with_columns(evidence_index(entries)).collect(engine="streaming")
    assert streamed.schema["evidence"] == pl.UInt32
    return streamed["evidence"].to_list()


def test_an_entry_covers_its_use_case_and_kind_from_its_start_to_before_its_end() -> None:
    last = datetime(2026, 3, 9, 23, 59, 59, 999_999, tzinfo=UTC)
    kinds = [("reco", "conversion"), ("chat", "conversion"), ("reco", "time_saved")]
    times = [datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC), at(1), last, at(10)]
    found = covered([evidence()], *((*kind, "purchase", time) for kind in kinds for time in times))
    assert found == [None, 0, 0, None, *[None] * 8]


def test_an_entry_for_the_exact_type_wins_over_one_for_all_where_it_is_in_force() -> None:
    entries = [evidence(), evidence(5, 8, type="purchase")]
    asked = [("reco", "conversion", kind, at(day)) for kind in ("purchase", "signup") for day in (4, 5, 8)]
    assert covered(entries, *asked) == [0, 1, 0, 0, 0, 0]


def test_without_entries_nothing_is_covered() -> None:
    assert covered([], ("reco", "conversion", "purchase", at(1))) == [None]


@pytest.mark.parametrize(
    ("other", "overlaps"),
    [
        (evidence(10, 20), False),
        (evidence(9, 20), True),
        (evidence(2, 3), True),
        (evidence(type="purchase"), False),
        (evidence(kind="time_saved"), False),
        (evidence(use_case="chat"), False),
    ],
)
def test_entries_for_one_use_case_kind_and_type_overlap_when_they_share_a_moment(
    other: Evidence, *, overlaps: bool
) -> None:
    unrelated = evidence(use_case="search")
    assert overlapping([evidence(), unrelated, other]) == ((0, 2) if overlaps else None)
    assert overlapping([other, unrelated, evidence()]) == ((0, 2) if overlaps else None)


# --- incremental value ---


def test_incremental_value_is_value_times_factor_exactly() -> None:
    third = replace(evidence(), factor=333_333_333, low=0, high=UNIT)
    cells = incremental_figures({0: 10**20 + 1, 1: -4 * UNIT}, [third, evidence()], Fraction(2), None)
    value = Fraction((10**20 + 1) * 333_333_333, 10**18) - 2
    assert cells == {
        "incremental_value": value,
        "incremental_value_low": Fraction("-2.8"),
        "incremental_value_high": Fraction(10**20 + 1, 10**9) - Fraction("0.8"),
        "incremental_roi_multiple": value / 2,
        "incremental_roi_multiple_low": Fraction("-1.4"),
        "incremental_roi_multiple_high": (Fraction(10**20 + 1, 10**9) - Fraction("0.8")) / 2,
    }


def test_a_factor_from_a_holdout_gives_the_interval_of_its_relative_risk() -> None:
    """540 of 10,000 against 450 of 10,000: a factor of 1 − 1/RR = 0.1667 [0.0585, 0.2624]."""
    risk = stats.contingency.relative_risk(540, 10_000, 450, 10_000)
    bounds = risk.confidence_interval(0.95)
    factor, low, high = (round((1 - 1 / ratio) * UNIT) for ratio in (risk.relative_risk, bounds.low, bounds.high))
    entry = evidence(factor=factor, low=low, high=high)
    cells = incremental_figures({0: 1_000 * UNIT}, [entry], Fraction(100), None)
    names = ("incremental_value", "incremental_value_low", "incremental_value_high", "incremental_roi_multiple")
    assert [round(float(str_or_number(cells[name])), 1) for name in names] == [166.7, 58.5, 262.4, 1.7]


def str_or_number(cell: object) -> Fraction:
    assert isinstance(cell, Fraction)
    return cell


@pytest.mark.parametrize(
    ("values", "roi_reason", "value", "roi"),
    [
        ({}, None, Fraction(0), Fraction(0)),
        ({}, "no_cost", Fraction(0), "no_cost"),
        ({0: 4 * UNIT}, "incomplete_cost", Fraction(2), "incomplete_cost"),
        ({0: 4 * UNIT, None: 1}, None, "no_evidence", "no_evidence"),
        ({None: 0}, "no_requests", "no_evidence", "no_requests"),
    ],
)
def test_incremental_figures_or_their_reasons(
    values: dict[int | None, int], roi_reason: str | None, value: object, roi: object
) -> None:
    cells = incremental_figures(values, [evidence()], Fraction(8), roi_reason)
    for name, expected in (("incremental_value", value), ("incremental_roi_multiple", roi)):
        assert cells.get(f"{name}_reason", cells[name]) == expected
        is_null = isinstance(expected, str)
        assert (cells[f"{name}_low"] is None) == (cells[f"{name}_high"] is None) == is_null
        assert (f"{name}_reason" in cells) == is_null


# --- uplift ---

RNG = np.random.default_rng(11)


def moments(values: Any, requests: Any) -> Moments:
    rounded = [round(float(value) * UNIT) for value in values]
    frame = pl.DataFrame({"cluster_group": range(len(rounded)), "requests": requests, "value": rounded})
    return ratio_moments(frame, [], "value")[()]


TREATED, HOLDOUT = RNG.lognormal(0, 1, 700), RNG.lognormal(-0.3, 0.5, 150)
MANY = Concentration(100, 10, 1)


def test_with_one_request_per_group_uplift_is_welchs_t_test() -> None:
    cells = uplift_figures(moments(TREATED, [1] * 700), moments(HOLDOUT, [1] * 150), MANY, MANY, 120)
    expected = stats.ttest_ind(TREATED, HOLDOUT, equal_var=False).confidence_interval()
    assert float(str_or_number(cells["uplift"])) == pytest.approx(TREATED.mean() - HOLDOUT.mean(), rel=1e-6)
    assert [cells["uplift_low"], cells["uplift_high"]] == pytest.approx([expected.low, expected.high], rel=1e-6)


def test_uplift_is_the_delta_method_of_the_literature() -> None:
    """Var(Σu / Σv) ≈ (s²ᵤ − 2 R sᵤᵥ + R² s²ᵥ) / (n v̄²), from plain variances."""
    requests = [RNG.integers(1, 30, len(values)) for values in (TREATED, HOLDOUT)]
    error, freedom = 0.0, 0.0
    for values, counts in zip((TREATED, HOLDOUT), requests, strict=True):
        ratio, n = values.sum() / counts.sum(), len(values)
        (uu, uv), (_, vv) = np.cov(values, counts)
        own = (uu - 2 * ratio * uv + ratio**2 * vv) / n / counts.mean() ** 2
        error, freedom = error + own, freedom + own**2 / (n - 1)
    half = stats.t.ppf(0.975, error**2 / freedom) * np.sqrt(error)
    cells = uplift_figures(moments(TREATED, requests[0]), moments(HOLDOUT, requests[1]), MANY, MANY, 120)
    middle = float(str_or_number(cells["uplift"]))
    assert [cells["uplift_low"], cells["uplift_high"]] == pytest.approx([middle - half, middle + half], rel=1e-6)


FEW = Concentration(99, 10, 1)
ONE, OTHER = moments([40.5], [9]), moments([12], [1])


@pytest.mark.parametrize(
    ("arguments", "uplift", "reason", "interval_reason"),
    [
        ((ONE, OTHER, FEW, FEW, 1), Fraction("-7.5"), None, "too_few"),
        ((ONE, OTHER, MANY, MANY, 1), Fraction("-7.5"), None, "too_few"),
        ((moments(TREATED, [1] * 700), moments(HOLDOUT, [1] * 150), MANY, FEW, 1), None, None, "too_few"),
        ((moments(TREATED, [1] * 700), moments(HOLDOUT, [1] * 150), FEW, MANY, 1), None, None, "too_few"),
        ((moments(TREATED, [1] * 700), moments(HOLDOUT, [1] * 150), MANY, None, 1), None, None, "too_few"),
        ((ONE, OTHER, MANY, MANY, 0), None, "holdout_not_observed", "holdout_not_observed"),
        ((ONE, None, MANY, None, 0), None, "holdout_not_observed", "holdout_not_observed"),
        ((None, OTHER, None, MANY, 1), None, "no_requests", "no_requests"),
        ((None, None, None, None, 0), None, "no_requests", "no_requests"),
    ],
)
def test_uplift_or_its_reason(
    arguments: Any, uplift: Fraction | None, reason: str | None, interval_reason: str
) -> None:
    cells = uplift_figures(*arguments)
    assert (cells["uplift"] is None) == (reason is not None)
    assert uplift is None or cells["uplift"] == uplift
    assert cells.get("uplift_reason") == reason
    assert (cells["uplift_low"], cells["uplift_high"], cells["uplift_interval_reason"]) == (None, None, interval_reason)
