"""Uplift: what an inference earns beyond what a held-out one would have earned.

Would-be value of a holdout inference is what its outcomes would have brought it, had it been eligible; customers who
were not served buy too. The difference per inference is what serving them adds.
"""

from __future__ import annotations

from attribution.statistics.cells import Cells, Reason, known_or
from attribution.statistics.clusters import Concentration
from attribution.statistics.differences import Side, ratio_difference
from attribution.statistics.moments import Moments


def uplift_figures(
    treated: Moments | None,
    holdout: Moments | None,
    treated_value: Concentration | None,
    holdout_value: Concentration | None,
    holdout_outcomes: int,
) -> Cells:
    """``uplift`` (a ``Fraction``), ``uplift_low``, ``uplift_high``: value per request − would-be value per holdout one.

    treated: value over requests of arm ``treatment``, of all requests where no arm is so named; holdout: would-be value
    over holdout inferences; *_value: the concentration of each; holdout_outcomes: distinct outcomes that name a holdout
    inference. Null: ``no_requests``; ``holdout_not_observed`` where none does (what would have been is not known then).
    The bounds are null for the same reason, or ``too_few`` with fewer than 100 clusters with value in either arm
    (``uplift_interval_reason``).
    """
    not_observed = holdout_outcomes == 0 or holdout is None
    sides = (
        Side(holdout, _is_thin(holdout_value), Reason.HOLDOUT_NOT_OBSERVED.value if not_observed else None),
        Side(treated, _is_thin(treated_value)),
    )
    found = ratio_difference(*sides)
    cells = known_or("uplift", found.difference, found.b_reason or found.a_reason)
    cells |= {"uplift_low": found.low, "uplift_high": found.high}
    reason = found.b_reason or found.interval_reason
    return cells if reason is None else cells | {"uplift_interval_reason": reason}


def _is_thin(concentration: Concentration | None) -> bool:
    return concentration is None or concentration.is_thin
