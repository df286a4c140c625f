"""Which money meets which inferences: a pool per rule and day, and pots that a whole period shares evenly.

A *pool* is a rule's bill of one day; it is divided over that day's inferences in the rule's scope. A *pot* is divided
evenly over a scope's requests of a whole period: pools of days without inferences (idle), and what is written off over
time. A pot of a period without requests is left over: the report shows it as a row ``idle``.

Everything here is known before any single inference is looked at: it needs counts only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import polars as pl

from attribution.bills import PARTS, BillSums
from attribution.cost_model import Amortised, CostModel, CostType, LineRule, Scope
from attribution.costs import COST_PLACES, Conversion, rate_table
from attribution.decimals import decimal_text
from attribution.money import UNIT
from attribution.shares import rounded_share
from attribution.toml_tables import Bare
from attribution.view import ONE_DAY, View
from schemas.errors import setting_error

#: A pool is smaller than this, in units of 10⁻¹²: 10⁹ of the base currency.
POOL_LIMIT = 10**9 * 10**COST_PLACES


@dataclass(frozen=True)
class Counted:
    """How many inferences there are, of what.

    profiles: ``profile`` (UInt32, the row's number) and the texts of ``attribution.costs.PROFILE_WORDS``; by_day:
    ``day``, ``profile``, ``is_holdout``, ``inferences``, of all days of the range.
    """

    profiles: pl.DataFrame
    by_day: pl.DataFrame

    def days(self) -> list[date]:
        """Every day with inferences, in order."""
        return self.by_day["day"].unique().sort().to_list()

    def members(self, scope: Scope) -> Members:
        """The inferences of a scope."""
        is_member = self.profiles.with_columns(scope.covers().alias("_is_member"))["_is_member"]
        is_request = ~pl.col("is_holdout")
        counts = (
            self.by_day.filter(is_member.gather(self.by_day["profile"]))
            .group_by("day")
            .agg(
                pl.col("inferences").sum(),
                pl.col("inferences").filter(is_request).sum().alias("requests"),
            )
            .sort("day")
        )
        return Members(
            is_member,
            dict(counts.select("day", "inferences").iter_rows()),
            {day: count for day, count in counts.select("day", "requests").iter_rows() if count},
        )


@dataclass(frozen=True)
class Members:
    """The inferences of a scope: whether a profile's are among them, by its number; how many by day, and requests.

    Days without any are left out.
    """

    is_member: pl.Series
    inferences: Mapping[date, int]
    requests: Mapping[date, int]


@dataclass(frozen=True)
class Pool:
    """A rule's bill of one day. rule: its position; cost: units of 10⁻¹² of the base currency.

    replaces: it is what its inferences cost, and no estimate of them counts any more.
    """

    rule: int
    cost: int
    replaces: bool


@dataclass(frozen=True)
class Origin:
    """Where a pot's money comes from: a rule (``line``, its name) or another table of the cost file (``entry``)."""

    cost_type: CostType
    scope: Scope
    line: str | None = None
    entry: str | None = None


@dataclass(frozen=True)
class Pot:
    """Money for all of a scope's requests in a period, evenly.

    costs: by component (``indirect``, ``idle``, ``amortised``), in units of 10⁻¹²; requests: of how many, 0 where
    nobody takes it.
    """

    origin: Origin
    period: date | None
    costs: Mapping[str, int]
    members: Members
    days: tuple[date, ...]

    @cached_property
    def requests(self) -> int:
        return sum(self.members.requests[day] for day in self.days)

    @cached_property
    def before(self) -> Mapping[date, int]:
        """How many of the requests stand before each day."""
        counts, running = {}, 0
        for day in self.days:
            counts[day] = running
            running += self.members.requests[day]
        return counts


@dataclass
class CostPlan:
    """members: per rule; pools: by day; pots: by period, those that requests take; left_over: the others."""

    members: list[Members]
    pools: dict[date, list[Pool]]
    pots: dict[date | None, list[Pot]] = field(default_factory=lambda: defaultdict(list))
    left_over: list[Pot] = field(default_factory=list)

    def add(self, pot: Pot) -> None:
        if not any(pot.costs.values()):
            return
        if pot.requests:
            self.pots[pot.period].append(pot)
        else:
            self.left_over.append(pot)


def plan_costs(
    model: CostModel, bills: Iterable[BillSums], counted: Counted, view: View, conversion: Conversion
) -> CostPlan:
    """The plan for a range; raises ConfigurationError for a pool that is too large and for money without a rate."""
    members = [counted.members(rule.scope) for rule in model.lines]
    plan = CostPlan(members, defaultdict(list))
    idle: dict[tuple[int, date | None], int] = defaultdict(int)
    for rule, day, cost, has_positive in charged_parts(bills, view).iter_rows():  # one row per rule and day
        if not cost and not has_positive:
            continue
        _refuse_large(model.lines[rule], day, cost)
        if day in members[rule].inferences:
            replaces = has_positive and model.lines[rule].cost_type is CostType.SERVING
            plan.pools[day].append(Pool(rule, cost, replaces))
        else:
            idle[rule, view.period_of(day)] += cost
    for (rule, period), cost in idle.items():
        line = model.lines[rule]
        origin = Origin(line.cost_type, line.scope, line=line.name)
        plan.add(pot_of(origin, period, {"idle": cost}, members[rule], view))
    for number, entry in enumerate(model.amortised, start=1):
        _add_amortised(plan, number, entry, counted, view, conversion)
    return plan


def charged_parts(bills: Iterable[BillSums], view: View) -> pl.DataFrame:
    """What inferences of the range are charged: ``rule``, ``day``, ``cost``, ``has_positive``, in order."""
    parts = pl.concat([pl.DataFrame(schema=PARTS), *(bill.parts for bill in bills)])
    is_charged = pl.col("is_converted") & pl.col("rule").is_not_null() & ~pl.col("is_pending")
    in_range = (pl.col("day") >= view.from_day) & (pl.col("day") < view.to_day)
    return (
        parts.filter(is_charged & in_range)
        .group_by("rule", "day")
        .agg(pl.col("cost").sum(), pl.col("has_positive").any())
        .sort("rule", "day")
    )


def pot_of(origin: Origin, period: date | None, costs: Mapping[str, int], members: Members, view: View) -> Pot:
    """A pot for the requests that a scope has in a period of the range."""
    days = tuple(day for day in sorted(members.requests) if view.period_of(day) == period)
    return Pot(origin, period, costs, members, days)


def _refuse_large(rule: LineRule, day: date, cost: int) -> None:
    if abs(cost) >= POOL_LIMIT:
        raise setting_error(
            f'line "{rule.name}": {day}',
            expected="a day's bill below 1000000000 of the base currency",
            got=Bare(decimal_text(cost, COST_PLACES)),
            hint="look at its amounts and at the rate that converts them",
        )


# What is written off over time


def _add_amortised(
    plan: CostPlan, number: int, entry: Amortised, counted: Counted, view: View, conversion: Conversion
) -> None:
    total = amortised_total(number, entry, conversion)
    members = counted.members(entry.scope)
    origin = Origin(entry.cost_type, entry.scope, entry=f"amortise {number}")
    of_period: dict[date | None, int] = defaultdict(int)
    day = max(entry.from_day, view.from_day)
    end = min(entry.retired or entry.until_day, entry.until_day, view.to_day)
    while day < end:
        of_period[view.period_of(day)] += _upto(total, entry, day + ONE_DAY) - _upto(total, entry, day)
        day += ONE_DAY
    for period, cost in of_period.items():
        plan.add(pot_of(origin, period, {"amortised": cost}, members, view))


def amortised_total(number: int, entry: Amortised, conversion: Conversion) -> int:
    """An entry's amount in the base currency; raises ConfigurationError where there is no rate for its first day."""
    rate = rate_table([entry.currency], pl.Series([entry.from_day], dtype=pl.Date), conversion)["rate"].item()
    if rate is None:
        raise setting_error(
            f"amortise {number}: currency",
            expected=f"a rate for {entry.from_day}, dated before it, at most {conversion.fx_max_age_days} days older",
            got=entry.currency,
            hint="add one to the rates, or write the amount in the base currency",
        )
    return rounded_share(entry.amount, rate, UNIT)


def unamortised(number: int, entry: Amortised, conversion: Conversion) -> int:
    """What is left from the day on which it was retired, in units of 10⁻¹²."""
    total = amortised_total(number, entry, conversion)
    return 0 if entry.retired is None else total - _upto(total, entry, entry.retired)


def _upto(total: int, entry: Amortised, day: date) -> int:
    """What is charged before a day: straight line, with cumulative rounding."""
    days = min(max((day - entry.from_day).days, 0), entry.life_days)
    return rounded_share(total, days, entry.life_days)
