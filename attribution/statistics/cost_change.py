"""Why a use case's cost changed from one period to the next: more requests, other models, or dearer ones.

With requests N, shares s and unit costs c per model, and u = cost / N, before (0) and after (1): volume = (N₁ − N₀)
u₀, mix = N₁ Σ (s₁ − s₀) c₀, unit cost = N₁ Σ s₁ (c₁ − c₀). A model that is new in the period has no cost before, so
c₀ := c₁: that it is used at all is mix. Volume and mix are rounded half-even to 10⁻¹² and unit cost is what remains,
so **the three always sum to the change, to the last digit.**

>>> before, after = {"A": Spent(10, 10 * 10**12)}, {"A": Spent(10, 10 * 10**12), "B": Spent(10, 30 * 10**12)}
>>> {name: str(part) for name, part in (cost_change(before, after) or {}).items()}
{'cost_before': '10', 'cost_after': '40', 'change_volume': '10', 'change_mix': '20', 'change_unit_cost': '0'}
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from attribution.costs import COST_PLACES

_COST_UNIT = 10**COST_PLACES


@dataclass(frozen=True)
class Spent:
    """One model in one period. cost: whole units of 10⁻¹²."""

    requests: int
    cost: int

    @property
    def unit_cost(self) -> Fraction | None:
        """In units of 10⁻¹² per request; None without requests."""
        return Fraction(self.cost, self.requests) if self.requests else None


def cost_change(before: Mapping[Hashable, Spent], after: Mapping[Hashable, Spent]) -> dict[str, Fraction] | None:
    """``cost_before``, ``cost_after``, ``change_volume``, ``change_mix``, ``change_unit_cost``: multiples of 10⁻¹².

    before, after: one use case's models in two neighbouring periods. None where a period has no requests.
    """
    requests_before, requests_after = (sum(spent.requests for spent in part.values()) for part in (before, after))
    cost_before, cost_after = (sum(spent.cost for spent in part.values()) for part in (before, after))
    if requests_before == 0 or requests_after == 0:
        return None
    nothing = Spent(0, 0)
    mix = Fraction(0)
    for model in {*before, *after}:  # a sum of fractions: no order matters
        old, new = before.get(model, nothing), after.get(model, nothing)
        unit_cost = old.unit_cost if old.requests else new.unit_cost
        if unit_cost is not None:
            mix += (new.requests - Fraction(requests_after * old.requests, requests_before)) * unit_cost
    volume = round(Fraction((requests_after - requests_before) * cost_before, requests_before))
    parts = {
        "cost_before": cost_before,
        "cost_after": cost_after,
        "change_volume": volume,
        "change_mix": round(mix),
        "change_unit_cost": cost_after - cost_before - volume - round(mix),
    }
    return {name: Fraction(part, _COST_UNIT) for name, part in parts.items()}
