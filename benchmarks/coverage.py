"""How often the intervals hold the truth: ``python -m benchmarks.coverage [--draws N]``.

A 95 % interval is a promise: of a hundred such intervals, 95 hold the true figure. Here the truth is known, because
the traffic is drawn from it, again and again with one seed, and goes through the functions that the report uses.
*all* is the formula's coverage over every draw; *claimed* that over the draws for which a report shows bounds (at
least 100 clusters with value). Then the same of differences, and how near the projected value of a young cohort
comes.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

import numpy as np
import polars as pl

from attribution.money import UNIT
from attribution.statistics import (
    Earned,
    Moments,
    Quantile,
    Side,
    age_us,
    concentrations,
    delay_curves,
    histogram_quantile,
    maturity_figures,
    quantile_difference,
    quantile_estimate,
    ratio_difference,
    ratio_moments,
    reach_sums,
    settled_delays,
    settled_outcomes,
    with_reach,
)
from attribution.statistics.moments import fieller
from attribution.statistics.quantiles import P50, P95
from benchmarks.coverage_draws import AS_OF, Delays, Draws, Truth, credits_of, drawn, latencies

SEED = 20_260_302
TRUTHS: Mapping[str, Truth] = {
    "2,000 requests, 50 % with value, σ 0.5": Truth(2_000, session_share=0.5, sigma=0.5),
    "5,000 requests, 2 % with value, σ 1.0": Truth(5_000, session_share=0.02, sigma=1.0),
    "5,000 requests, 2 % with value, σ 1.5": Truth(5_000, session_share=0.02, sigma=1.5),
    "400 sessions of 20 requests": Truth(400, 20, session_share=0.5, share=0.3, sigma=0.5, session_sigma=0.5),
}
DIFFERENCES: Mapping[str, tuple[Truth, Truth]] = {
    "2,000 requests a side, 50 % with value, σ 0.5": (TRUTHS["2,000 requests, 50 % with value, σ 0.5"],) * 2,
    "20,000 with 3 % against 5,000 with 4 %, σ 1.0": (
        Truth(20_000, session_share=0.03, sigma=1.0),
        Truth(5_000, session_share=0.04, sigma=1.0),
    ),
}
#: Latencies of two sides, 400 sessions of 20 requests each: lognormal, the second a quarter slower.
MEDIANS_MS, SIGMA_OF_LATENCY = (400, 500), 0.6
NORMAL_95 = 1.6448536269514722


@dataclass(frozen=True)
class Coverage:
    """Shares that hold the truth: of all draws, of the claimed, of those with and without the mark ``heavy_tail``.

    claimed_share: of all draws; heavy_share: of the claimed; too_low: of all draws, intervals that end below the truth;
    ignoring_sessions: of all, were every inference a cluster of its own.
    """

    all: float
    claimed: float
    heavy: float
    not_heavy: float
    claimed_share: float
    heavy_share: float
    too_low: float
    ignoring_sessions: float | None


def coverage(truth: Truth, draws: int, seed: int = SEED) -> Coverage:
    """Of the intervals on value per inference."""
    rng = np.random.default_rng(seed)
    traffic = drawn(truth, draws, rng)
    spread = concentrations(traffic.values, ["draw"])
    moments_of = _moments(traffic)
    holds = {key: _holds(moments, truth.mean) for key, moments in moments_of.items()}
    claimed = [key for key in holds if not spread[key].is_thin]
    heavy = [key for key in claimed if spread[key].has_heavy_tail]
    naive = None
    if truth.size > 1:
        as_if = _moments(drawn(truth, draws, rng, ignore_sessions=True))
        naive = _mean([_holds(moments, truth.mean) for moments in as_if.values()])
    return Coverage(
        all=_mean(list(holds.values())),
        claimed=_mean([holds[key] for key in claimed]),
        heavy=_mean([holds[key] for key in heavy]),
        not_heavy=_mean([holds[key] for key in claimed if not spread[key].has_heavy_tail]),
        claimed_share=len(claimed) / draws,
        heavy_share=len(heavy) / max(len(claimed), 1),
        too_low=_mean([not holds[key] and truth.mean > moments_of[key].ratio for key in holds]),
        ignoring_sessions=naive,
    )


def difference_coverage(a: Truth, b: Truth, draws: int, seed: int = SEED) -> float:
    """Of the intervals on the difference in value per inference, b − a."""
    rng = np.random.default_rng(seed)
    of_a, of_b = (_moments(drawn(truth, draws, rng)) for truth in (a, b))
    true = b.mean - a.mean
    found = [ratio_difference(Side(of_a[key]), Side(of_b[key])) for key in of_a]
    return _mean([one.low is not None and one.high is not None and one.low <= true <= one.high for one in found])


def latency_coverage(share: Fraction, z: float, draws: int, seed: int = SEED) -> float:
    """Of the intervals on the difference of one quantile of latency; z: the quantile of the standard normal."""
    rng = np.random.default_rng(seed)
    true = (MEDIANS_MS[1] - MEDIANS_MS[0]) * math.exp(SIGMA_OF_LATENCY * z)
    held = []
    for _ in range(draws):
        a, b = (_quantile(latencies(rng, median, 400, 20, SIGMA_OF_LATENCY), share) for median in MEDIANS_MS)
        found = quantile_difference(a, b)
        held.append(found.low is not None and found.high is not None and found.low <= true <= found.high)
    return _mean(held)


@dataclass(frozen=True)
class Projection:
    """Shares of the true value, means over draws; spread: the standard deviation of one draw's projection."""

    measured: float
    projected: float
    spread: float


def projection(draws: int, requests: int = 5_000, seed: int = SEED, truth: Delays | None = None) -> Projection:
    """A cohort seen at half its window, with the curve of a settled cohort of as many requests."""
    rng = np.random.default_rng(seed)
    truth = truth or Delays()
    half = truth.window_days / 2
    true = requests * truth.mean
    measured, projected = [], []
    for _ in range(draws):
        settled = credits_of(truth, requests, 2 * truth.window_days, rng).lazy()
        curves = delay_curves(settled_delays(settled).collect(), settled_outcomes(settled).collect())
        young = credits_of(truth, requests, half, rng).filter(pl.col("outcome_time") <= AS_OF)
        cohort = pl.LazyFrame(
            {"use_case": ["reco"] * requests, "event_time": AS_OF - timedelta(days=half), "settled": False}
        )
        sums = [pl.len().alias("requests"), pl.col("settled").sum(), pl.col("gain_reach", "loss_reach").sum()]
        aged = with_reach(cohort.with_columns(age_us(AS_OF, timedelta(0))), curves)
        reaches = reach_sums(aged.group_by("use_case").agg(sums).collect(), [])[()]
        value = int(young["value"].sum())
        figures = maturity_figures(reaches, curves, Earned(has_gains=True, gains=value))
        measured.append(value / UNIT / true)
        projected.append(float(figures["projected_value"] or 0) / true)
    return Projection(float(np.mean(measured)), float(np.mean(projected)), float(np.std(projected, ddof=1)))


def _moments(traffic: Draws) -> dict[tuple[object, ...], Moments]:
    return ratio_moments(traffic.sums, ["draw"], "value")


def _holds(moments: Moments, true: float) -> bool:
    bounds = fieller(moments)
    return bounds is None or bounds[0] <= true <= bounds[1]


def _quantile(requests: pl.DataFrame, share: Fraction) -> Quantile | None:
    histogram = requests.group_by("latency_ms").agg(pl.len().alias("requests"))
    at_most = (pl.col("latency_ms") <= histogram_quantile(histogram, share)).sum().alias("at_most")
    sums = requests.group_by("cluster_group").agg(at_most, pl.len().alias("requests"))
    return quantile_estimate(histogram, share, ratio_moments(sums, [], "at_most", unit=1).get(()))


def _mean(hits: list[bool]) -> float:
    return float(np.mean(hits)) if hits else math.nan


def _percent(share: float) -> str:
    return f"{'–' if math.isnan(share) else f'{share:.1%}':>10}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.coverage", description="How often intervals hold the truth.")
    parser.add_argument("--draws", type=int, default=2_000)
    draws: int = parser.parse_args().draws
    began = time.perf_counter()
    print(f"coverage of 95 % intervals, {draws:,} draws each, seed {SEED}; lognormal value")
    heads = ("all", "too low", "claimed", "of all", "heavy", "of those", "not heavy")
    print("  {:46}".format("value per inference") + "".join(f"{head:>10}" for head in heads))
    for name, truth in TRUTHS.items():
        found = coverage(truth, draws)
        shares = [found.all, found.too_low, found.claimed, found.claimed_share, found.heavy, found.heavy_share]
        print(f"  {name:46}" + "".join(map(_percent, [*shares, found.not_heavy])), flush=True)
        if found.ignoring_sessions is not None:
            print(f"  {'  were each inference a cluster of its own':46}{_percent(found.ignoring_sessions)}")
    print("  difference of value per inference")
    for name, (a, b) in DIFFERENCES.items():
        print(f"  {name:46} {difference_coverage(a, b, draws):9.1%}", flush=True)
    print(f"  difference of latency, 400 sessions of 20 requests a side, {draws // 4:,} draws")
    for name, share, z in (("p50", P50, 0.0), ("p95", P95, NORMAL_95)):
        print(f"  {name:46} {latency_coverage(share, z, draws // 4):9.1%}", flush=True)
    near = projection(200)
    print("a cohort of 5,000 requests at half its window, 200 draws, as a share of the true value")
    print(f"  measured {near.measured:.1%}, projected {near.projected:.1%}, one draw ± {near.spread:.1%}")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
