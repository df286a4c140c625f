"""The figures of one group: from whole numbers to quotients, and why a figure is unknown.

Never infinity, never 0 for unknown: a figure that cannot be had is None, with the first reason that applies in
``FIGURE_reason``. Figures are exact (``Fraction``; ``int`` for counts); rounding is the printer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from fractions import Fraction

from attribution.costs import COST_PLACES, CostReason
from attribution.money import UNIT

COST_UNIT = 10**COST_PLACES
Cell = str | int | Fraction | date | datetime | Mapping[str, str] | None
Row = dict[str, Cell]

#: Figures of groups and totals, in printed order, with places after the point (None: a count or a word).
FIGURES: dict[str, int | None] = {
    "requests": None,
    "outcomes": None,
    "basis": None,
    "serving_cost": 12,
    "indirect_cost": 12,
    "idle_cost": 12,
    "cost": 12,
    "priced_share": 12,
    "unpriced_no_price": None,
    "unpriced_no_usage": None,
    "unpriced_no_fx_rate": None,
    "amortised_cost": 12,
    "full_cost": 12,
    "estimated": 12,
    "variance": 12,
    "value": 9,
    "settled_value": 9,
    "reversible_value": 9,
    "cost_per_inference": 12,
    "value_per_inference": 12,
    "cost_to_value_ratio": 12,
    "margin": 12,
    "margin_contribution": 12,
    "roi_multiple": 12,
    "band": None,
    "full_roi_multiple": 12,
    "full_band": None,
    "cost_per_outcome": 12,
    "break_even_multiple": 12,
    "share_with_value": 12,
    "top_share": 12,
    "trace_share": 12,
    "attributed_share": 12,
    "inferences": None,
    "would_be_value": 9,
    "amount": 9,
}
#: Figures of a bill, printed with all the places that they have.
BILL_FIGURES = ("effective", "billed", "allocated", "idle", "unallocated", "pending", "outside", "rounding")
_ROI_REASONS = ("no_requests", "incomplete_cost", "negative_cost", "no_cost")
#: Figure → why it can be unknown, in the order in which the reasons are tried.
REASONS: dict[str, tuple[str, ...]] = {
    "basis": ("no_requests",),
    "priced_share": ("no_requests",),
    "estimated": ("no_estimate",),
    "variance": ("no_estimate",),
    "cost_per_inference": ("no_requests", "incomplete_cost"),
    "value_per_inference": ("no_requests",),
    "cost_to_value_ratio": ("no_requests", "incomplete_cost", "negative_cost", "no_value", "negative_value"),
    "margin": ("no_requests", "incomplete_cost"),
    "margin_contribution": ("no_requests", "incomplete_cost"),
    "roi_multiple": _ROI_REASONS,
    "band": _ROI_REASONS,
    "full_roi_multiple": _ROI_REASONS,
    "full_band": _ROI_REASONS,
    "cost_per_outcome": ("incomplete_cost", "no_outcomes"),
    "break_even_multiple": ("incomplete_cost", "no_time_saved", "already_paid"),
    "share_with_value": ("no_requests",),
    "top_share": ("no_requests", "no_value"),
    "trace_share": ("no_requests", "no_value"),
    "attributed_share": ("no_amount",),
    "amount": ("no_amount",),
}
_BANDS = ((10, "excellent"), (3, "good"), (1, "marginal"))


@dataclass
class Sums:
    """Whole numbers of one group: counts, costs in units of 10⁻¹², values and amounts in units of 10⁻⁹.

    served_by: inferences of other use cases that serve its requests (overhead); unpriced: of both, those without a
    known cost, by reason; billed: requests whose cost is a bill, billed_estimated: those of them with an estimate, with
    the sums of both, ``estimated`` and ``billed_serving``.
    """

    requests: int = 0
    served_by: int = 0
    serving: int = 0
    indirect: int = 0
    idle: int = 0
    amortised: int = 0
    unpriced: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CostReason, 0))
    billed: int = 0
    billed_estimated: int = 0
    estimated: int = 0
    billed_serving: int = 0
    outcomes: int = 0
    value: int = 0
    conversion_value: int = 0
    trace_value: int = 0
    reversible_value: int = 0
    settled_value: int = 0
    with_value: int = 0
    top_value: int = 0

    def add(self, other: Sums) -> None:
        """Add what can be added: all but ``outcomes``, ``with_value`` and ``top_value``."""
        for name, number in vars(other).items():
            if isinstance(number, int) and name not in ("outcomes", "with_value", "top_value"):
                setattr(self, name, getattr(self, name) + number)
        self.add_unpriced(other.unpriced)

    def add_unpriced(self, unpriced: Mapping[str, int]) -> None:
        self.unpriced = {code: count + unpriced[code] for code, count in self.unpriced.items()}

    @property
    def cost(self) -> int:
        return self.serving + self.indirect + self.idle

    @property
    def full_cost(self) -> int:
        return self.cost + self.amortised

    @property
    def costed(self) -> int:
        """All inferences whose cost is the group's."""
        return self.requests + self.served_by

    @property
    def priced(self) -> int:
        return self.costed - sum(self.unpriced.values())


def figures(sums: Sums, min_priced_share: Fraction) -> Row:
    """A group's figures, exact; an unknown one is None and has its ``FIGURE_reason``."""
    requests = sums.requests
    cost, full_cost = (Fraction(units, COST_UNIT) for units in (sums.cost, sums.full_cost))
    value, conversion_value = (Fraction(units, UNIT) for units in (sums.value, sums.conversion_value))
    estimated = Fraction(sums.estimated, COST_UNIT)
    time_saved_value = value - conversion_value
    is_so = {
        "no_requests": requests == 0,
        "incomplete_cost": sums.priced < min_priced_share * sums.costed,
        "negative_cost": cost < 0,
        "no_cost": cost == 0,
        "no_value": value == 0,
        "negative_value": value < 0,
        "no_outcomes": sums.outcomes == 0,
        "no_time_saved": time_saved_value <= 0,
        "already_paid": cost < conversion_value,
        "no_estimate": not sums.billed or sums.billed_estimated < min_priced_share * sums.billed,
    }
    is_so_in_full = is_so | {"negative_cost": full_cost < 0, "no_cost": full_cost == 0}
    quotients: dict[str, tuple[Fraction | int, Fraction | int]] = {
        "estimated": (estimated, 1),
        "variance": (Fraction(sums.billed_serving, COST_UNIT) - estimated, 1),
        "cost_per_inference": (cost, requests),
        "value_per_inference": (value, requests),
        "cost_to_value_ratio": (cost, value),
        "margin": (value - cost, 1),
        "margin_contribution": (value - cost, requests),
        "roi_multiple": (value, cost),
        "full_roi_multiple": (value, full_cost),
        "cost_per_outcome": (cost, sums.outcomes),
        "break_even_multiple": (cost - conversion_value, time_saved_value),
        "share_with_value": (sums.with_value, requests),
        "top_share": (Fraction(sums.top_value, UNIT), value),
        "trace_share": (Fraction(sums.trace_value, UNIT), value),
    }
    row: Row = {"requests": requests, "outcomes": sums.outcomes}
    row |= cost_figures(sums)
    row |= {
        "value": value,
        "settled_value": Fraction(sums.settled_value, UNIT),
        "reversible_value": Fraction(sums.reversible_value, UNIT),
    }
    for name, (numerator, denominator) in quotients.items():
        holds = is_so_in_full if name.startswith("full_") else is_so
        reason = next((code for code in REASONS[name] if holds[code]), None)
        row |= known_or(name, None if reason else Fraction(numerator) / denominator, reason)
    return row | _band(row, "roi_multiple", "band") | _band(row, "full_roi_multiple", "full_band")


def known_or(name: str, figure: Cell, reason: str | None) -> Row:
    """The figure, or None beside the reason why it is unknown."""
    return {name: figure} if reason is None else {name: None, f"{name}_reason": reason}


def cost_figures(sums: Sums) -> Row:
    """Cost, a lower bound where the share with a known cost is below 1, and how many have none, by reason."""
    share = Fraction(sums.priced, sums.costed) if sums.requests else None
    reason = None if sums.requests else "no_requests"
    return {
        **known_or("basis", _basis(sums), reason),
        "serving_cost": Fraction(sums.serving, COST_UNIT),
        "indirect_cost": Fraction(sums.indirect, COST_UNIT),
        "idle_cost": Fraction(sums.idle, COST_UNIT),
        "cost": Fraction(sums.cost, COST_UNIT),
        **known_or("priced_share", share, reason),
        **{f"unpriced_{code}": count for code, count in sums.unpriced.items()},
        "amortised_cost": Fraction(sums.amortised, COST_UNIT),
        "full_cost": Fraction(sums.full_cost, COST_UNIT),
    }


def _basis(sums: Sums) -> str:
    """Where the requests' costs come from."""
    if sums.billed == 0:
        return "estimated"
    return "billed" if sums.billed == sums.requests else "mixed"


def _band(row: Row, roi_name: str, band_name: str) -> Row:
    roi = row[roi_name]
    if not isinstance(roi, Fraction):
        return {band_name: None, f"{band_name}_reason": row[f"{roi_name}_reason"]}
    return {band_name: next((name for least, name in _BANDS if roi >= least), "unsustainable")}
