"""The promise of the intervals and of the projection, kept on traffic whose truth is known."""

from __future__ import annotations

from fractions import Fraction

import pytest

from attribution.statistics.quantiles import P50, P95
from benchmarks.coverage import (
    DIFFERENCES,
    NORMAL_95,
    TRUTHS,
    coverage,
    difference_coverage,
    latency_coverage,
    projection,
)

WELL_BEHAVED, SPARSE, HEAVY, SESSIONS = TRUTHS.values()


def test_intervals_hold_the_truth_in_95_of_100_draws_where_value_is_common() -> None:
    found = coverage(WELL_BEHAVED, 2_000)
    assert found.claimed_share == 1
    assert found.all == pytest.approx(0.95, abs=0.015)


def test_intervals_hold_the_truth_in_91_of_100_draws_where_value_is_rare_and_skewed() -> None:
    found = coverage(SPARSE, 2_000)
    assert found.all >= 0.91
    assert found.claimed >= 0.91
    assert 0.4 < found.claimed_share < 0.6  # 100 clusters with value are what is expected: half the draws have fewer


def test_where_the_tail_is_heavy_intervals_are_too_low_and_the_draws_without_a_large_value_most_of_all() -> None:
    found = coverage(HEAVY, 2_000)
    assert found.all < 0.91
    assert found.too_low > 0.95 * (1 - found.all)
    assert found.heavy_share > 0.5
    assert found.not_heavy < 0.9 < found.heavy


def test_sessions_must_be_kept_together() -> None:
    found = coverage(SESSIONS, 500)
    assert found.all == pytest.approx(0.95, abs=0.03)
    assert found.ignoring_sessions is not None
    assert found.ignoring_sessions < 0.75


@pytest.mark.parametrize("name", DIFFERENCES)
def test_differences_hold_the_truth(name: str) -> None:
    assert difference_coverage(*DIFFERENCES[name], 500) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(("share", "z"), [(P50, 0.0), (P95, NORMAL_95)])
def test_differences_of_latency_hold_the_truth(share: Fraction, z: float) -> None:
    assert latency_coverage(share, z, 150) == pytest.approx(0.95, abs=0.05)


def test_the_projected_value_of_a_cohort_cut_off_at_half_its_window_is_near_the_truth() -> None:
    found = projection(200)
    assert found.projected == pytest.approx(1, abs=0.02)
    assert found.measured < 0.8
