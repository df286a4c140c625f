"""The difference of two quotients, each over cluster groups of its own: is one side really better?

Each quotient is linearised (its variance is that of its residuals), the variances add up, and Welch's degrees of
freedom say how far the two together may be trusted. Where every cluster group has the same denominator this is
Welch's t test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from attribution.statistics.cells import Cells, Reason, known_or
from attribution.statistics.moments import Moments, student_t


@dataclass(frozen=True)
class Side:
    """One side's figure.

    moments: None where there is nothing to divide by; reason: why the figure is unknown all the same.
    is_thin: too few clusters for an interval (fewer than 100 with value, for a figure of value; else
    ``Moments.is_thin``).
    """

    moments: Moments | None
    is_thin: bool = False
    reason: str | None = None

    @property
    def unknown(self) -> str | None:
        """Why the figure is null."""
        return self.reason or (Reason.NO_REQUESTS.value if self.moments is None else None)

    @property
    def figure(self) -> Fraction | None:
        return None if self.moments is None or self.reason else self.moments.ratio


@dataclass(frozen=True)
class Difference:
    """b − a. low, high: its 95 % interval, None with ``interval_reason``; a_reason, b_reason: why a side is unknown."""

    a: Fraction | None
    b: Fraction | None
    difference: Fraction | None
    low: float | None = None
    high: float | None = None
    a_reason: str | None = None
    b_reason: str | None = None
    interval_reason: str | None = None

    def cells(self, name: str) -> Cells:
        """``NAME_a``, ``NAME_b``, ``NAME_difference``, ``NAME_low``, ``NAME_high``, each null with its reason.

        The reason of both bounds is ``NAME_interval_reason``; that of the difference is the first unknown side's.
        """
        cells = known_or(f"{name}_a", self.a, self.a_reason) | known_or(f"{name}_b", self.b, self.b_reason)
        cells |= known_or(f"{name}_difference", self.difference, self.a_reason or self.b_reason)
        cells |= {f"{name}_low": self.low, f"{name}_high": self.high}
        return cells if self.interval_reason is None else cells | {f"{name}_interval_reason": self.interval_reason}


def welch(a: Moments, b: Moments) -> float:
    """Half the width of the 95 % interval on R_b − R_a, whose groups are independent; both need two groups or more.

    Welch–Satterthwaite: (e_a + e_b)² / (e_a² / (n_a − 1) + e_b² / (n_b − 1)) degrees of freedom, e the squared errors.
    Source: Welch, B. L. (1947), Biometrika 34, 28–35; linearised ratios: Deng, Knoblich, Lu (2018), KDD, 233–242.
    """
    errors = a.squared_error, b.squared_error
    total = sum(errors)
    if total == 0:
        return 0.0
    # Shares, not errors: their squares cannot underflow.
    shares = [error / total for error in errors]
    freedom = 1 / sum(share**2 / (m.groups - 1) for share, m in zip(shares, (a, b), strict=True))
    return student_t(freedom) * math.sqrt(total)


def ratio_difference(a: Side, b: Side) -> Difference:
    """b − a with its interval; null where a side is unknown, without bounds (``too_few``) where a side is thin."""
    unknown = a.unknown or b.unknown
    if unknown or a.moments is None or b.moments is None:
        return Difference(a.figure, b.figure, None, a_reason=a.unknown, b_reason=b.unknown, interval_reason=unknown)
    figure_a, figure_b = a.moments.ratio, b.moments.ratio
    difference = figure_b - figure_a
    if a.is_thin or b.is_thin or min(a.moments.groups, b.moments.groups) < 2:
        return Difference(figure_a, figure_b, difference, interval_reason=Reason.TOO_FEW.value)
    half, middle = welch(a.moments, b.moments), float(difference)
    return Difference(figure_a, figure_b, difference, middle - half, middle + half)
