"""What groups of inferences cost, what they are worth, and the ratio of the two.

**Every sum is exact and every quotient is sum over sum.** The data's way: counts → which money meets which inferences
(``cost_plan``) → day by day, slice by slice, inferences with their costs (``costing``) and credits → sums per group
(``collected``) → rows. Nothing is kept per inference but what ``group_sums`` tells.

Group and period are the inference's, never the outcome's or the bill's. Figures come out as ``Fraction`` (``int`` for
counts); an unknown one is None with its reason in ``FIGURE_reason``. Rounding is the printer's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Protocol

import polars as pl

from attribution.bill_rows import bill_rows, idle_rows, unallocated_rows, unamortised_rows
from attribution.bills import BillSums
from attribution.collected import Collected, ReportSlice
from attribution.cost_model import CostModel, CostType, Scope
from attribution.cost_plan import Counted, Origin, plan_costs, pot_of
from attribution.costing import Costing
from attribution.costs import Conversion, Estimator
from attribution.division import Costed
from attribution.figures import Row, Sums, cost_figures, figures, known_or
from attribution.money import UNIT
from attribution.overhead_sums import Group
from attribution.unattributed_rows import unattributed_rows
from attribution.view import View


class Source(Protocol):
    """Published tables up to the report's commit.

    slices: of one day, in order of time; would_be: as ``Collected`` takes it; credited_amounts: per day of the outcome,
    in units of 10⁻⁹; unattributed: ledger rows but those of holdouts, day by day of the outcome.
    """

    def slices(self, day: date) -> Sequence[ReportSlice]: ...

    def would_be(self) -> pl.DataFrame: ...

    def credited_amounts(self) -> Mapping[date, int]: ...

    def unattributed(self) -> Iterable[tuple[date, pl.DataFrame]]: ...


@dataclass(frozen=True)
class Inputs:
    """What a report rests on. counted: the inferences of the view's range."""

    model: CostModel
    bills: Sequence[BillSums]
    counted: Counted
    conversion: Conversion
    source: Source


@dataclass(frozen=True)
class Report:
    """rows: in printed order; warnings: what somebody should look at."""

    rows: list[Row]
    warnings: list[str]


def ratio_report(inputs: Inputs, view: View, observe: Callable[[date, Costed], None] | None = None) -> Report:
    """Rows ``requests`` (a group), ``total``, ``holdout`` and the others, each by period, then by key, nulls first.

    observe: gets every slice with its costs. With a period there is a ``total`` for each period that has requests,
    money or outcomes; without, one. Raises ConfigurationError for a pool or a driver's sum that is out of bounds, and
    for money to be written off that has no rate.
    """
    costing = costing_of(inputs, view)
    collected = Collected(view, inputs.model.overheads, inputs.source.would_be())
    for day in inputs.counted.days():
        slices = inputs.source.slices(day)
        for part, costed in zip(slices, costing.day(day, slices), strict=True):
            collected.add(day, costed, part)
            if observe is not None:
                observe(day, costed)
    rows = [
        *_group_rows(collected.groups(), inputs.model, view),
        *_total_rows(collected.totals(costing.plan.left_over), inputs, view),
        *_holdout_rows(collected.holdouts(), view),
        *idle_rows(costing.plan),
        *unattributed_rows(inputs.source.unattributed(), view),
        *unallocated_rows(inputs.bills, view, inputs.conversion.base_currency),
        *unamortised_rows(inputs.model, inputs.conversion),
        *_overhead_rows(collected, inputs.model),
        *bill_rows(inputs.bills, costing.plan, view, inputs.conversion.base_currency),
    ]
    return Report(rows, costing.warnings())


def costing_of(inputs: Inputs, view: View) -> Costing:
    """The costs of a range, ready to be worked out day by day."""
    counted = inputs.counted
    days = pl.Series(counted.days(), dtype=pl.Date)
    estimator = Estimator.of(counted.profiles, days, inputs.model.price_lists, inputs.conversion)
    plan = plan_costs(inputs.model, inputs.bills, counted, view, inputs.conversion)
    costing = Costing(inputs.model, plan, estimator, counted, view)
    _keep_overhead_that_serves_nobody_on_its_day(costing, inputs, view)
    return costing


def _keep_overhead_that_serves_nobody_on_its_day(costing: Costing, inputs: Inputs, view: View) -> None:
    """Such days come first: their cost is shared by the requests of the whole period."""
    left: dict[tuple[int, date | None], dict[str, int]] = defaultdict(lambda: {"indirect": 0, "amortised": 0})
    for number, served in enumerate(costing.served):
        for day in filter(served.is_left_over_from, inputs.counted.days()):
            moved = costing.own_costs(day, inputs.source.slices(day), number)
            costs = left[number, view.period_of(day)]
            for component, cost in moved.items():
                costs[component] += cost
    for (number, period), costs in left.items():
        served = costing.served[number]
        origin = Origin(CostType.INDIRECT, Scope({"use_case": served.of}), entry=f"overhead {served.use_case}")
        costing.plan.add(pot_of(origin, period, costs, served.others, view))


# Rows: from whole numbers per group to figures


def _in_order(groups: Iterable[Group]) -> list[Group]:
    """By period, then by key as bytes (which is Python's order of texts); nulls first."""
    return sorted(groups, key=lambda group: [(part is not None, str(part)) for part in group])


def _head(row: str, group: Group, by: Sequence[str]) -> Row:
    return {"row": row, "period": group[0], **dict(zip(by, group[1:], strict=True))}


def _group_rows(groups: Mapping[Group, Sums], model: CostModel, view: View) -> list[Row]:
    share = model.min_priced_share
    return [_head("requests", group, view.by) | figures(groups[group], share) for group in _in_order(groups)]


def _total_rows(totals: Mapping[Group, Sums], inputs: Inputs, view: View) -> list[Row]:
    amounts = _amounts(inputs.source, view)
    periods: set[Group] = {*totals, *amounts} if view.period else {(None,)}
    rows = []
    for period in _in_order(periods):
        credited, unattributed = amounts.get(period, (0, 0))
        everything = credited + unattributed
        share = Fraction(credited, everything) if everything else None
        attributed_share = known_or("attributed_share", share, "no_amount" if share is None else None)
        shown = figures(totals.get(period, Sums()), inputs.model.min_priced_share)
        rows.append(_head("total", period, ()) | shown | attributed_share)
    return rows


def _amounts(source: Source, view: View) -> dict[Group, tuple[int, int]]:
    """Per period of the outcome: credited and unattributed amounts in units, without holdout."""
    sums: dict[Group, tuple[int, int]] = {}

    def add(day: date, credited: int, unattributed: int) -> None:
        if view.holds_day(day):
            before = sums.get(period := (view.period_of(day),), (0, 0))
            sums[period] = before[0] + credited, before[1] + unattributed

    for day, amount in source.credited_amounts().items():
        add(day, amount, 0)
    for day, rows in source.unattributed():
        add(day, 0, int(rows["amount"].to_physical().sum()))
    return sums


def _holdout_rows(holdouts: Mapping[Group, tuple[Sums, int]], view: View) -> list[Row]:
    rows = []
    for group in _in_order(holdouts):
        sums, would_be = holdouts[group]
        figures_ = {"inferences": sums.requests} | cost_figures(sums)
        rows.append(_head("holdout", group, view.by) | figures_ | {"would_be_value": Fraction(would_be, UNIT)})
    return rows


def _overhead_rows(collected: Collected, model: CostModel) -> list[Row]:
    """Inferences that serve another use case: what they cost was moved there, what they earned stands here only."""
    by_period = collected.overhead.by_period()
    rows: list[Row] = []
    for period, number in sorted(by_period, key=lambda key: (key[0] or date.min, model.overheads[key[1]].use_case)):
        sums, overhead = by_period[period, number], model.overheads[number]
        rows.append(
            {
                "row": "overhead",
                "period": period,
                "use_case": overhead.use_case,
                "of": overhead.of,
                "inferences": sums.requests,
                **cost_figures(sums),
                "value": Fraction(sums.value, UNIT),
            }
        )
    return rows
