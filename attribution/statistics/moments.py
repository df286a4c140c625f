"""A quotient of two sums over cluster groups, with all that an interval on it needs.

For a ratio R = Σu / Σv over groups g with sums (u_g, v_g), everything rests on the residuals d_g = u_g − R·v_g: their
sum is 0, and their spread is the spread of R. Taking them directly, instead of from the variances of u and v, loses no
digits where u is nearly proportional to v (cost often is).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import polars as pl

from attribution.money import UNIT
from attribution.statistics.clusters import MIN_CLUSTERS, Key

#: All intervals are two-sided.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Moments:
    """Of one report group, over its n non-empty cluster groups (those with a denominator above 0).

    numerator: exact sum, in whole numbers of 1 / ``unit``; denominator: exact sum of a count.
    residual_variance: of d; residual_covariance: of d with v; denominator_variance: of v (all over n − 1, in wholes).
    """

    groups: int
    numerator: int
    denominator: int
    unit: int
    residual_variance: float
    residual_covariance: float
    denominator_variance: float

    @property
    def ratio(self) -> Fraction:
        """R, exactly."""
        return Fraction(self.numerator, self.denominator * self.unit)

    @property
    def mean_denominator(self) -> float:
        return self.denominator / self.groups

    @property
    def squared_error(self) -> float:
        """The estimated variance of R, by linearisation: s²(d) / (n v̄²)."""
        return self.residual_variance / self.groups / self.mean_denominator**2

    @property
    def is_thin(self) -> bool:
        """Fewer than 100 non-empty groups, so hardly more clusters."""
        return self.groups < MIN_CLUSTERS


def ratio_moments(
    sums: pl.DataFrame, by: Sequence[str], numerator: str, *, denominator: str = "requests", unit: int = UNIT
) -> dict[Key, Moments]:
    """Moments per report group; a group without any denominator is not there.

    sums: ``by``, ``cluster_group`` (as ``cluster_group()`` gives it), the numerator (a whole number of 1 / ``unit``:
    Int128 for money, any integer for counts with ``unit`` 1) and the denominator (an integer count). Rows of one
    cluster group are added up, so the frame may be finer than ``by``: the same one gives groups and totals.
    """
    u, v = pl.col("u"), pl.col("v")
    residual = (u.cast(pl.Float64) - v * (u.sum().cast(pl.Float64) / v.sum())) / unit
    centred = v - v.mean()
    found = (
        sums.group_by(pl.lit(0).alias("_all"), *by, "cluster_group")
        .agg(pl.col(numerator).sum().alias("u"), pl.col(denominator).sum().cast(pl.Int64).alias("v"))
        .filter(v > 0)
        .sort("cluster_group")  # so that no sum of floats depends on the order of the input
        .group_by("_all", *by, maintain_order=True)
        .agg(
            pl.len().alias("n"),
            u.sum().alias("total_u"),
            v.sum().alias("total_v"),
            residual.pow(2).sum().alias("dd"),
            (residual * centred).sum().alias("dv"),
            centred.pow(2).sum().alias("vv"),
        )
    )
    moments = {}
    for _, *key, n, total_u, total_v, dd, dv, vv in found.iter_rows():  # one row per report group
        freedom = max(n - 1, 1)  # a single group has no spread to tell, and no interval either
        moments[tuple(key)] = Moments(n, total_u, total_v, unit, dd / freedom, dv / freedom, vv / freedom)
    return moments


@lru_cache(maxsize=4_096)
def student_t(freedom: float) -> float:
    """The two-sided 95 % point of Student's t (``scipy.stats.t.ppf``, without its start-up time)."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def fieller(moments: Moments) -> tuple[float, float] | None:
    """Fieller's 95 % interval on R; None where it has no bounds. Needs two groups or more.

    It holds every r for which Σu − rΣv is not significantly different from 0. With k = t²/n, t at n − 1 degrees of
    freedom, r = R + δ solves A δ² + 2 k s(d,v) δ − k s²(d) ≤ 0, where A = v̄² − k s²(v); this is the textbook's
    A r² − 2 B r + C ≤ 0 written about R. A ≤ 0: the denominator itself may be 0, and no bound exists.
    Source: Fieller, E. C. (1954), Some problems in interval estimation, J. R. Stat. Soc. B 16, 175–185.
    """
    k = student_t(moments.groups - 1) ** 2 / moments.groups
    a = moments.mean_denominator**2 - k * moments.denominator_variance
    if a <= 0:
        return None
    shift = -k * moments.residual_covariance
    half = math.sqrt(shift**2 + a * k * moments.residual_variance)
    ratio = float(moments.ratio)
    return ratio + (shift - half) / a, ratio + (shift + half) / a
