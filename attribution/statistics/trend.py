"""Is cost per inference rising? A line that outliers cannot bend, and a test that asks for no distribution.

Theil–Sen: the median of the slopes between all pairs of days. Mann–Kendall: Kendall's τ of unit cost against the day,
by its normal approximation with correction for ties. One day with a wrong bill moves neither.
Sources: Sen, P. K. (1968), J. Am. Stat. Assoc. 63, 1379–1389; Mann, H. B. (1945), Econometrica 13, 245–259.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from attribution.costs import COST_PLACES
from attribution.statistics.cells import Cells, Reason, known_or
from attribution.statistics.moments import CONFIDENCE

#: Fewer days with requests than this say nothing of a trend.
MIN_DAYS = 14
SIGNIFICANT = 0.05
_NAMES = ("cost_trend", "cost_trend_slope", "cost_trend_p")


def cost_trend(days: pl.DataFrame) -> Cells:
    """``cost_trend`` (rising, falling, stable), ``cost_trend_slope`` per day, ``_low``, ``_high``, ``cost_trend_p``.

    days: ``day`` (Date, each once, whole days only: not the as-of day), ``cost`` (Int128 units of 10⁻¹²), ``requests``.
    A day without requests has no unit cost and is left out; the days keep their distance. Fewer than 14 left: null,
    ``too_few``. Costs of neighbouring days resemble one another, which makes p smaller than it should be.
    """
    with_requests = days.filter(pl.col("requests") > 0)
    if with_requests.height < MIN_DAYS:
        cells: Cells = {"cost_trend_slope_low": None, "cost_trend_slope_high": None}
        for name in _NAMES:
            cells |= known_or(name, None, Reason.TOO_FEW.value)
        return cells
    from scipy import stats

    day = with_requests["day"].to_physical().to_numpy().astype(np.float64)
    unit_cost = (with_requests["cost"].cast(pl.Float64) / 10**COST_PLACES / with_requests["requests"]).to_numpy()
    slope = stats.theilslopes(unit_cost, day, alpha=CONFIDENCE)
    if unit_cost.min() == unit_cost.max():
        tau, p = 0.0, 1.0  # nothing moves; τ itself is 0 / 0
    else:
        found = stats.kendalltau(day, unit_cost, method="asymptotic")
        tau, p = float(found.statistic), float(found.pvalue)
    return {
        "cost_trend": "stable" if p >= SIGNIFICANT else "rising" if tau > 0 else "falling",
        "cost_trend_slope": float(slope.slope),
        "cost_trend_slope_low": float(slope.low_slope),
        "cost_trend_slope_high": float(slope.high_slope),
        "cost_trend_p": p,
    }
