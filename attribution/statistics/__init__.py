"""How sure a figure is, how it moves, and what would have happened anyway: statistics over aggregates.

**No function here sees a single request.** What comes in are sums that a streaming group-by gives, so memory does not
grow with the number of inferences (two of the sums, per delay and per cluster with value, do with that of credits):

1. Sums per *cluster group* (``clusters``): inferences of one session (else trace, else the inference itself) stand
   or fall together, so a cluster is what is sampled; clusters fall by a hash of their id into 1,000 groups, and the
   groups' sums are what intervals rest on (``moments`` → ``intervals``, ``differences``, ``quantiles``).
2. Sums of value per delay (``delay_curves``), which say how much of a young cohort's value is still to come
   (``maturity``).
3. Sums per day (``trend``, ``scaling``), per model and period (``cost_change``), per evidence entry (``evidence``).

Sums come in exact, as whole numbers: value in units of 10⁻⁹, cost in units of 10⁻¹². What goes out are ``Fraction``
where the figure is an exact quotient and ``float`` where it is an estimate (``cells``). A figure that the data cannot
carry is None with its reason, never infinity and never a guess. scipy is imported where it is used.
"""

from __future__ import annotations

from attribution.statistics.cells import Cell, Cells, significant
from attribution.statistics.clusters import Concentration, cluster, cluster_group, concentrations
from attribution.statistics.cost_change import Spent, cost_change
from attribution.statistics.delay_curves import Curve, Curves, age_us, delay_curves, settled_delays, settled_outcomes
from attribution.statistics.differences import Difference, Side, ratio_difference
from attribution.statistics.evidence import Evidence, evidence_index, incremental_figures, overlapping
from attribution.statistics.intervals import Interval, interval_figures, value_interval
from attribution.statistics.maturity import Earned, Reach, is_immature, maturity_figures, reach_sums, with_reach
from attribution.statistics.moments import Moments, ratio_moments
from attribution.statistics.quantiles import Quantile, histogram_quantile, quantile_difference, quantile_estimate
from attribution.statistics.scaling import scaling
from attribution.statistics.side_by_side import side_by_side
from attribution.statistics.trend import cost_trend
from attribution.statistics.uplift import uplift_figures

__all__ = [
    "Cell",
    "Cells",
    "Concentration",
    "Curve",
    "Curves",
    "Difference",
    "Earned",
    "Evidence",
    "Interval",
    "Moments",
    "Quantile",
    "Reach",
    "Side",
    "Spent",
    "age_us",
    "cluster",
    "cluster_group",
    "concentrations",
    "cost_change",
    "cost_trend",
    "delay_curves",
    "evidence_index",
    "histogram_quantile",
    "incremental_figures",
    "interval_figures",
    "is_immature",
    "maturity_figures",
    "overlapping",
    "quantile_difference",
    "quantile_estimate",
    "ratio_difference",
    "ratio_moments",
    "reach_sums",
    "scaling",
    "settled_delays",
    "settled_outcomes",
    "side_by_side",
    "significant",
    "uplift_figures",
    "value_interval",
    "with_reach",
]
