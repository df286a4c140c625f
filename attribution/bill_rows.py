"""What became of each bill, to the last digit, and what of it no inference was charged.

**Conservation:** of a bill's effective cost, allocated + idle + unallocated + pending + outside + rounding is all there
is, per currency: in the base currency, or in the lines' own where there is no rate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fractions import Fraction

from attribution.bills import BillSums
from attribution.cost_model import CostModel
from attribution.cost_plan import CostPlan, unamortised
from attribution.costs import Conversion
from attribution.figures import COST_UNIT, Row
from attribution.view import View


class UnallocatedReason(StrEnum):
    """Why a bill line's cost is no inference's."""

    NO_RULE = "no_rule"
    NO_FX_RATE = "no_fx_rate"


class Fate(StrEnum):
    """What became of a line's part of one day."""

    ALLOCATED = "allocated"
    IDLE = "idle"
    UNALLOCATED = "unallocated"
    PENDING = "pending"
    OUTSIDE = "outside"


@dataclass(frozen=True)
class _Part:
    """A bill's lines of one currency, rule and day."""

    currency: str
    is_converted: bool
    rule: int | None
    day: date
    is_pending: bool
    cost: int

    @property
    def reason(self) -> UnallocatedReason | None:
        if self.rule is None:
            return UnallocatedReason.NO_RULE
        return None if self.is_converted else UnallocatedReason.NO_FX_RATE


def _parts(bill: BillSums) -> Iterator[_Part]:
    """A loop over rules and days, not over lines."""
    columns = ("currency", "is_converted", "rule", "day", "is_pending", "cost")
    return (_Part(*row) for row in bill.parts.select(columns).sort(columns[:-1]).iter_rows())


def _fate(part: _Part, plan: CostPlan, view: View) -> Fate:
    """Out of range comes first, then unallocated, then pending."""
    if not view.holds_day(part.day):
        return Fate.OUTSIDE
    if part.rule is None or not part.is_converted:
        return Fate.UNALLOCATED
    if part.is_pending:
        return Fate.PENDING
    members, period = plan.members[part.rule], view.period_of(part.day)
    if part.day in members.inferences or any(view.period_of(day) == period for day in members.requests):
        return Fate.ALLOCATED
    return Fate.IDLE


def bill_rows(bills: Iterable[BillSums], plan: CostPlan, view: View, base_currency: str) -> list[Row]:
    """One row per bill and currency, and one more for lines of a currency without a rate."""
    return [row for bill in bills for row in _rows_of(bill, plan, view, base_currency)]


def _rows_of(bill: BillSums, plan: CostPlan, view: View, base_currency: str) -> Iterator[Row]:
    fates: dict[tuple[str, bool], dict[Fate, int]] = defaultdict(lambda: dict.fromkeys(Fate, 0))
    for part in _parts(bill):
        fates[part.currency, part.is_converted][_fate(part, plan, view)] += part.cost
    for currency, is_converted in sorted({(currency, rate is not None) for currency, rate in bill.exact}):
        exact = [sums for (c, rate), sums in bill.exact.items() if (c, rate is not None) == (currency, is_converted)]
        effective = sum((sums.effective for sums in exact), Fraction())
        rounding = sum((sums.rounding for sums in exact), Fraction())
        billed = [sums.billed_amount for sums in exact]
        known = [amount for amount in billed if amount is not None]
        of_fate = {fate.value: Fraction(cost, COST_UNIT) for fate, cost in fates[currency, is_converted].items()}
        assert sum(of_fate.values(), rounding) == effective, f"{bill.name}: {currency}: conservation"
        yield {
            "row": "bill",
            "period": None,
            "bill": bill.name,
            "currency": currency,
            "shown_in": base_currency if is_converted else currency,
            "effective": effective,
            "billed": sum(known, Fraction()) if known else None,
            **of_fate,
            "rounding": rounding,
        }


def unallocated_rows(bills: Iterable[BillSums], view: View, base_currency: str) -> list[Row]:
    """Per period, reason, bill and currency: what of the range's bills is no inference's cost."""
    sums: dict[tuple[date | None, str, str, str, bool], int] = defaultdict(int)
    for bill in bills:
        for part in _parts(bill):
            if part.reason is not None and view.holds_day(part.day):
                period = view.period_of(part.day)
                sums[period, part.reason.value, bill.name, part.currency, part.is_converted] += part.cost
    in_order = sorted(sums.items(), key=lambda item: (item[0][0] or date.min, *item[0][1:]))
    return [
        {
            "row": "unallocated",
            "period": period,
            "reason": reason,
            "bill": name,
            "currency": currency,
            "shown_in": base_currency if is_converted else currency,
            "cost": Fraction(cost, COST_UNIT),
        }
        for (period, reason, name, currency, is_converted), cost in in_order
    ]


def unamortised_rows(model: CostModel, conversion: Conversion) -> list[Row]:
    """Per entry that was retired early: what is left of it."""
    rows: list[Row] = []
    for number, entry in enumerate(model.amortised, start=1):
        left = unamortised(number, entry, conversion)
        if left:
            rows.append(
                {
                    "row": "unamortised",
                    "period": None,
                    "entry": f"amortise {number}",
                    "cost_type": entry.cost_type.value,
                    "scope": dict(entry.scope.keys),
                    "cost": Fraction(left, COST_UNIT),
                }
            )
    return rows


def idle_rows(plan: CostPlan) -> list[Row]:
    """Money of periods in which its scope has no requests."""
    rows: list[Row] = []
    for pot in sorted(plan.left_over, key=lambda pot: pot.period or date.min):
        units = {name: Fraction(pot.costs.get(name, 0), COST_UNIT) for name in ("indirect", "idle", "amortised")}
        cost = units["indirect"] + units["idle"]
        rows.append(
            {
                "row": "idle",
                "period": pot.period,
                "line": pot.origin.line,
                "entry": pot.origin.entry,
                "cost_type": pot.origin.cost_type.value,
                "scope": dict(pot.origin.scope.keys),
                "requests": 0,
                **{f"{name}_cost": amount for name, amount in units.items()},
                "cost": cost,
                "full_cost": cost + units["amortised"],
            }
        )
    return rows
