"""What an inference would cost at twice or ten times the traffic.

A served model costs something whether it is asked or not. The day's cost = fixed + unit × requests is fitted by least
squares with neither part below 0 (a negative fixed cost would promise that traffic pays for itself); the fixed part
then spreads over more requests. A straight line is all that it claims: not that ten times the traffic fits the same
machines.
Source: Lawson, C. L., Hanson, R. J. (1974), Solving Least Squares Problems (``scipy.optimize.nnls``).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from attribution.costs import COST_PLACES
from attribution.statistics.cells import Cells, Reason, known_or
from attribution.statistics.trend import MIN_DAYS

SCALES = {"at_1x": 1, "at_2x": 2, "at_10x": 10}
_NAMES = ("fixed_per_day", "unit_cost", *SCALES)


def scaling(days: pl.DataFrame) -> Cells:
    """``fixed_per_day``, ``unit_cost``, and cost per inference at the days' mean traffic, twice and ten times that.

    days: of one serving rule, days that its lines cover: ``cost`` (Int128 units of 10⁻¹², of lines with a charge
    period of at most a day), ``requests`` in its scope (0 too). Null, ``too_few``: fewer than 14 days, or days whose
    traffic is all the same, which do not say what is fixed.
    """
    if days.height < MIN_DAYS or days["requests"].n_unique() == 1:
        return {key: cell for name in _NAMES for key, cell in known_or(name, None, Reason.TOO_FEW.value).items()}
    from scipy.optimize import nnls

    requests = days["requests"].cast(pl.Float64).to_numpy()
    cost = (days["cost"].cast(pl.Float64) / 10**COST_PLACES).to_numpy()
    mean = float(requests.mean())
    # In units of the mean traffic both columns are of one size, which the solver's tolerance asks for.
    (fixed, at_mean), _ = nnls(np.column_stack([np.ones_like(requests), requests / mean]), cost)
    unit_cost = float(at_mean) / mean
    cells: Cells = {"fixed_per_day": float(fixed), "unit_cost": unit_cost}
    return cells | {name: float(fixed) / (mean * scale) + unit_cost for name, scale in SCALES.items()}
