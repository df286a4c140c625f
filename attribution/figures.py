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
    "cost": 12,
    "priced_share": 12,
    "unpriced_no_price": None,
    "unpriced_no_usage": None,
    "unpriced_no_fx_rate": None,
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
#: Figure → why it can be unknown, in the order in which the reasons are tried.
REASONS: dict[str, tuple[str, ...]] = {
    "priced_share": ("no_requests",),
    "cost_per_inference": ("no_requests", "incomplete_cost"),
    "value_per_inference": ("no_requests",),
    "cost_to_value_ratio": ("no_requests", "incomplete_cost", "negative_cost", "no_value", "negative_value"),
    "margin": ("no_requests", "incomplete_cost"),
    "margin_contribution": ("no_requests", "incomplete_cost"),
    "roi_multiple": ("no_requests", "incomplete_cost", "negative_cost", "no_cost"),
    "band": ("no_requests", "incomplete_cost", "negative_cost", "no_cost"),
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
    """Whole numbers of one group: counts, cost in units of 10⁻¹², values and amounts in units of 10⁻⁹."""

    requests: int = 0
    cost: int = 0
    unpriced: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CostReason, 0))
    outcomes: int = 0
    value: int = 0
    conversion_value: int = 0
    trace_value: int = 0
    reversible_value: int = 0
    settled_value: int = 0
    with_value: int = 0
    top_value: int = 0

    @property
    def priced(self) -> int:
        return self.requests - sum(self.unpriced.values())


def figures(sums: Sums, min_priced_share: Fraction) -> Row:
    """A group's figures, exact; an unknown one is None and has its ``FIGURE_reason``."""
    requests = sums.requests
    cost, value = Fraction(sums.cost, COST_UNIT), Fraction(sums.value, UNIT)
    conversion_value = Fraction(sums.conversion_value, UNIT)
    time_saved_value = value - conversion_value
    is_so = {
        "no_requests": requests == 0,
        "incomplete_cost": sums.priced < min_priced_share * requests,
        "negative_cost": cost < 0,
        "no_cost": cost == 0,
        "no_value": value == 0,
        "negative_value": value < 0,
        "no_outcomes": sums.outcomes == 0,
        "no_time_saved": time_saved_value <= 0,
        "already_paid": cost < conversion_value,
    }
    quotients: dict[str, tuple[Fraction | int, Fraction | int]] = {
        "cost_per_inference": (cost, requests),
        "value_per_inference": (value, requests),
        "cost_to_value_ratio": (cost, value),
        "margin": (value - cost, 1),
        "margin_contribution": (value - cost, requests),
        "roi_multiple": (value, cost),
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
        reason = next((code for code in REASONS[name] if is_so[code]), None)
        row |= known_or(name, None if reason else Fraction(numerator) / denominator, reason)
    return row | _band(row)


def known_or(name: str, figure: Cell, reason: str | None) -> Row:
    """The figure, or None beside the reason why it is unknown."""
    return {name: figure} if reason is None else {name: None, f"{name}_reason": reason}


def cost_figures(sums: Sums) -> Row:
    """Cost, a lower bound where the share with a known cost is below 1, and how many have none, by reason."""
    share = Fraction(sums.priced, sums.requests) if sums.requests else None
    return {
        "cost": Fraction(sums.cost, COST_UNIT),
        **known_or("priced_share", share, "no_requests" if share is None else None),
        **{f"unpriced_{code}": count for code, count in sums.unpriced.items()},
    }


def _band(row: Row) -> Row:
    roi = row["roi_multiple"]
    if not isinstance(roi, Fraction):
        return {"band": None, "band_reason": row["roi_multiple_reason"]}
    return {"band": next((name for least, name in _BANDS if roi >= least), "unsustainable")}
