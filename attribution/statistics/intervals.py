"""The 95 % interval on value per inference, and what follows from it for margin, ROI and the cost-to-value ratio.

Value is what a sample of sessions happened to bring; cost is what it was. So the interval on value per inference is the
only one that is estimated, and the other three follow by arithmetic: margin = requests × v − cost, ROI = requests × v /
cost, ratio = cost / (requests × v), which is inverted: its low end comes from value's high one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction

from attribution.statistics.cells import Cells, Reason
from attribution.statistics.clusters import Concentration
from attribution.statistics.moments import Moments, fieller

#: The figures that have ``FIGURE_low`` and ``FIGURE_high``, with one ``interval_reason`` for all.
INTERVAL_FIGURES = ("value_per_inference", "margin", "roi_multiple", "cost_to_value_ratio")


@dataclass(frozen=True)
class Interval:
    """low, high: both None where no interval is claimed; reason: why, or ``heavy_tail`` beside bounds."""

    low: float | None = None
    high: float | None = None
    reason: str | None = None


def value_interval(moments: Moments | None, concentration: Concentration | None, *, is_immature: bool) -> Interval:
    """The interval on value per inference, or the first reason that applies why there is none.

    moments: of value per request (None: no requests); concentration: of the same requests (None: no value). Reasons in
    order: ``too_few`` (fewer than 100 clusters with value), ``unbounded``, ``immature``; ``heavy_tail`` stands beside
    bounds that are too narrow, because a few clusters hold most of the value.
    """
    if moments is None or concentration is None or concentration.is_thin or moments.groups < 2:
        return Interval(reason=Reason.TOO_FEW.value)
    bounds = fieller(moments)
    if bounds is None:
        return Interval(reason=Reason.UNBOUNDED.value)
    if is_immature:
        return Interval(reason=Reason.IMMATURE.value)
    return Interval(*bounds, reason=Reason.HEAVY_TAIL.value if concentration.has_heavy_tail else None)


def interval_figures(interval: Interval, requests: int, cost: Fraction, known: Collection[str]) -> Cells:
    """``FIGURE_low`` and ``FIGURE_high`` of the four figures, and ``interval_reason`` where there is one.

    cost: of the group, in base currency; known: those of the four figures that are not null (an unknown figure has no
    bounds). The ratio has none where value's interval holds 0: the ratio would pass through infinity.
    """
    bounds: dict[str, tuple[float, float]] = {}
    low, high = interval.low, interval.high
    if low is not None and high is not None:
        spent = float(cost)
        bounds["value_per_inference"] = low, high
        bounds["margin"] = requests * low - spent, requests * high - spent
        if spent > 0:
            bounds["roi_multiple"] = requests * low / spent, requests * high / spent
        if low > 0 or high < 0:
            bounds["cost_to_value_ratio"] = spent / (requests * high), spent / (requests * low)
    cells: Cells = {}
    for name in INTERVAL_FIGURES:
        cells[f"{name}_low"], cells[f"{name}_high"] = bounds.get(name, (None, None)) if name in known else (None, None)
    return cells | ({} if interval.reason is None else {"interval_reason": interval.reason})
