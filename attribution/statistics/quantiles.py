"""Quantiles of latency and their difference, with intervals that know about clusters.

A quantile is no quotient, so it cannot be linearised, and order statistics of single requests would take the requests
of one session for independent. **Woodruff's interval** turns it round: the share of requests at or below the quantile
*is* a quotient over cluster groups, so its error is known; going down the same distribution at that share ± t × error
gives the bounds. They are as lopsided as latency is. **MOVER** (the method of variance estimates recovery) joins the
bounds of two sides into bounds on their difference without pretending that either is symmetric. Both need no more
than a histogram and counts per cluster group, where a bootstrap would need every request again and again.
Sources: Woodruff, R. S. (1952), J. Am. Stat. Assoc. 47, 635–646; Zou, G. Y., Donner, A. (2008), Stat. Med. 27,
1693–1702.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import polars as pl

from attribution.statistics.cells import Reason
from attribution.statistics.differences import Difference
from attribution.statistics.moments import Moments, student_t

P50 = Fraction(1, 2)
P95 = Fraction(95, 100)


@dataclass(frozen=True)
class Quantile:
    """In the histogram's own whole numbers. low, high: None with the reason ``too_few`` or ``unbounded``."""

    figure: int
    low: int | None = None
    high: int | None = None
    reason: str | None = None


def histogram_quantile(histogram: pl.DataFrame, share: Fraction) -> int | None:
    """The smallest latency that at least ``share`` of the requests do not exceed; None without any request.

    histogram: ``latency_ms`` (an integer), ``requests`` (an integer); rows of one latency are added up.
    """
    return _at_share(histogram, share)


def quantile_estimate(histogram: pl.DataFrame, share: Fraction, at_most: Moments | None) -> Quantile | None:
    """The quantile with its 95 % interval; None without any request.

    at_most: moments (unit 1) of the count of requests with latency ≤ the quantile over requests that have a latency,
    per cluster group. Fewer than 100 non-empty groups: ``too_few``; a share ± error outside (0, 1): ``unbounded``.
    """
    figure = _at_share(histogram, share)
    if figure is None:
        return None
    if at_most is None or at_most.is_thin:
        return Quantile(figure, reason=Reason.TOO_FEW.value)
    reach = Fraction(student_t(at_most.groups - 1) * math.sqrt(at_most.squared_error))
    if not 0 < share - reach <= share + reach < 1:
        return Quantile(figure, reason=Reason.UNBOUNDED.value)
    return Quantile(figure, _at_share(histogram, share - reach), _at_share(histogram, share + reach))


def quantile_difference(a: Quantile | None, b: Quantile | None) -> Difference:
    """b − a by MOVER; null ``no_requests`` where a side has no latency, without bounds where a side has none.

    low = d − √((b − b_low)² + (a_high − a)²), high = d + √((b_high − b)² + (a − a_low)²).
    """
    if a is None or b is None:
        missing = Reason.NO_REQUESTS.value
        return Difference(
            None if a is None else Fraction(a.figure),
            None if b is None else Fraction(b.figure),
            None,
            a_reason=missing if a is None else None,
            b_reason=missing if b is None else None,
            interval_reason=missing,
        )
    figure_a, figure_b = Fraction(a.figure), Fraction(b.figure)
    difference = figure_b - figure_a
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Difference(figure_a, figure_b, difference, interval_reason=a.reason or b.reason)
    middle = float(difference)
    low = middle - math.hypot(b.figure - b.low, a.high - a.figure)
    high = middle + math.hypot(b.high - b.figure, a.figure - a.low)
    return Difference(figure_a, figure_b, difference, low, high)


def _at_share(histogram: pl.DataFrame, share: Fraction) -> int | None:
    """The smallest value at which the cumulated count reaches ``share`` of all, in whole numbers."""
    counts = histogram.filter(pl.col("requests") > 0).group_by("latency_ms").agg(pl.col("requests").sum())
    counts = counts.sort("latency_ms")
    if counts.height == 0:
        return None
    cumulated = counts["requests"].cast(pl.Int64).cum_sum().to_numpy()
    least = math.ceil(share * int(cumulated[-1]))
    return int(counts["latency_ms"][int(np.searchsorted(cumulated, least))])
