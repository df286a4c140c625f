"""Two model versions, or before and after a change, figure by figure, and which of the two is to be preferred.

Cost and value per inference decide; everything else is shown. A side is *better* on one of them where the interval of
the difference lies wholly on its side of 0, *unclear* where it holds 0 or is not known. **Without an experiment the
sides had different requests**, so the verdict is observational: the difference may be that of their traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from attribution.costs import COST_PLACES
from attribution.money import UNIT
from attribution.statistics.cells import Cells, Reason, known_or
from attribution.statistics.differences import Difference


@dataclass(frozen=True)
class Ratio:
    """A figure as a quotient of sums per cluster group: the columns and what the numerator is counted in."""

    numerator: str
    denominator: str
    unit: int


#: The quotients that are compared, for ``ratio_moments``; ``score_NAME`` is ``SCORE`` over one name's scores, and
#: ``latency_p50_ms`` and ``latency_p95_ms`` come from ``quantiles``.
RATIOS = {
    "cost_per_inference": Ratio("cost", "requests", 10**COST_PLACES),
    "value_per_inference": Ratio("value", "requests", UNIT),
    "outcome_rate": Ratio("outcomes", "requests", 1),
    "cache_hit_share": Ratio("cache_hits", "requests", 1),
}
SCORE = Ratio("score", "scores", UNIT)


def side_by_side(differences: Mapping[str, Difference], requests: int, requests_with_arm: int) -> Cells:
    """The figures of a row ``side_by_side`` but for ``a`` and ``b``.

    differences: by figure, in the order to be shown; ``cost_per_inference`` and ``value_per_inference`` must be there.
    requests: of both sides; requests_with_arm: those of them that carry an ``arm``. Beside each figure's cells:
    ``incremental_cost_per_value`` (``Fraction``; null ``no_trade_off`` unless cost and value differ in one direction:
    more for more, or less for less), ``verdict`` for b, and ``observational`` (bool).
    """
    cells: Cells = {}
    for name, difference in differences.items():
        cells |= difference.cells(name)
    cost, value = differences["cost_per_inference"], differences["value_per_inference"]
    cells |= _incremental_cost_per_value(cost, value)
    return cells | {
        "verdict": verdict(cost, value),
        "observational": requests == 0 or requests_with_arm < requests,
    }


def verdict(cost: Difference, value: Difference) -> str:
    """dominates (better on one, not worse on the other), dominated (the reverse), trade_off, undecided."""
    signs = {-_sign(cost), _sign(value)}
    if signs == {1, -1}:
        return "trade_off"
    return "dominates" if 1 in signs else "dominated" if -1 in signs else "undecided"


def _sign(difference: Difference) -> int:
    """1 where b is surely higher, −1 where it is surely lower, 0 where the interval holds 0 or is not known."""
    if difference.low is None or difference.high is None:
        return 0
    return 1 if difference.low > 0 else -1 if difference.high < 0 else 0


def _incremental_cost_per_value(cost: Difference, value: Difference) -> Cells:
    name = "incremental_cost_per_value"
    unknown = cost.a_reason or cost.b_reason or value.a_reason or value.b_reason
    if unknown or cost.difference is None or value.difference is None:
        return known_or(name, None, unknown or Reason.NO_REQUESTS.value)
    ratio = cost.difference / value.difference if value.difference else Fraction(0)
    return known_or(name, ratio, None if ratio > 0 else Reason.NO_TRADE_OFF.value)
