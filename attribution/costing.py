"""What a day's inferences cost: pools divided, estimates replaced, pots shared evenly, overhead moved on.

A day is worked on in slices of time, each small enough for memory, in order: first all of them are looked at for the
sums of drivers, then each inference gets its parts. A cost has four components, in units of 10⁻¹²: ``serving`` (the
bill where there is one, else the estimate), ``indirect``, ``idle`` and ``amortised``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol, TypeVar

import polars as pl

from attribution.cost_model import CostModel, Scope
from attribution.cost_plan import CostPlan, Counted, Members
from attribution.costs import COST_PLACES, PROFILE_WORDS, Estimator
from attribution.decimals import decimal_text
from attribution.division import Costed, DayPool, Divider, choose_drivers, with_even_shares
from attribution.shares import exact_sum
from attribution.view import HOLDOUT, View

_T = TypeVar("_T")
_ONLY_FOR_ESTIMATES = (
    *("service_tier", "cost", "cost_currency", "cache_hit", "status"),
    *("cached_input_tokens", "cache_write_input_tokens"),
)
#: A day's cost of one overhead's inferences, by the component that it becomes for those whom they serve.
Moved = dict[str, int]


class Slice(Protocol):
    """Some of a day's inferences: all of a stretch of time, in any order.

    Columns: ``inference_id``, ``event_time``, those of ``attribution.view.KEYS``, ``attributes`` where a key needs it,
    ``status``, ``service_tier``, the token columns, ``compute_ms``, ``cache_hit``, ``cost``, ``cost_currency``.
    """

    def inferences(self) -> pl.DataFrame: ...


@dataclass(frozen=True)
class Served:
    """One overhead: its own inferences, and those whose requests it serves."""

    use_case: str
    of: str
    own: Members
    others: Members

    def is_moved_within(self, day: date) -> bool:
        """Whether a day's inferences serve requests of the same day."""
        return day in self.own.inferences and day in self.others.requests

    def is_left_over_from(self, day: date) -> bool:
        return day in self.own.inferences and day not in self.others.requests


class Costing:
    """Costs of a range's inferences, day by day."""

    def __init__(self, model: CostModel, plan: CostPlan, estimator: Estimator, counted: Counted, view: View) -> None:
        self.model = model
        self.plan = plan
        self.served = [
            Served(
                overhead.use_case,
                overhead.of,
                counted.members(Scope({"use_case": overhead.use_case})),
                counted.members(Scope({"use_case": overhead.of})),
            )
            for overhead in model.overheads
        ]
        self._far_below: dict[int, dict[date, DayPool]] = defaultdict(dict)
        self._estimator = estimator
        self._view = view
        use_cases = {overhead.use_case: number for number, overhead in enumerate(model.overheads)}
        overhead_of = pl.col("use_case").replace_strict(use_cases, default=None, return_dtype=pl.Int32)
        self._profiles = counted.profiles.with_columns(overhead_of.alias("overhead"))

    def day(self, day: date, slices: Sequence[Slice]) -> Iterator[Costed]:
        """The day's slices, in order, with what their inferences cost."""
        divided = self._divided(day, slices)
        moving = [number for number, served in enumerate(self.served) if served.is_moved_within(day)]
        moved = {number: self._own_costs(divided(), number) for number in moving}
        before = dict.fromkeys(moving, 0)
        for costed in divided():
            frame = costed.frame
            for number, costs in moved.items():
                others = self.served[number].others
                is_other = others.is_member.gather(frame["profile"]) & ~frame["is_holdout"]
                rows = is_other.arg_true()
                frame = with_even_shares(frame, rows, costs, others.requests[day], before[number])
                before[number] += len(rows)
            yield Costed(frame, costed.shares)

    def own_costs(self, day: date, slices: Sequence[Slice], number: int) -> Moved:
        """What the inferences of one overhead cost on a day, as it is moved to whom they serve."""
        return self._own_costs(self._divided(day, slices)(), number)

    def warnings(self) -> list[str]:
        """A sentence per rule whose bill was, on some day, far below the estimates that it replaces."""
        sentences = []
        for rule, days in sorted(self._far_below.items()):
            day = min(days)
            bill, estimates = _money(days[day].pool.cost), _money(days[day].estimates)
            sentences.append(
                f'line "{self.model.lines[rule].name}": its bill is below a tenth of the estimates that it replaces on '
                f"{len(days)} day{'' if len(days) == 1 else 's'}; on {day} it is {bill}, they are {estimates}"
            )
        return sentences

    def _own_costs(self, divided: Iterable[Costed], number: int) -> Moved:
        moved = {"indirect": 0, "amortised": 0}
        for costed in divided:
            own = costed.frame.filter(pl.col("overhead") == number)
            moved["indirect"] += sum(exact_sum(own[component]) for component in ("serving", "indirect", "idle"))
            moved["amortised"] += exact_sum(own["amortised"])
        return moved

    def _divided(self, day: date, slices: Sequence[Slice]) -> Callable[[], Iterable[Costed]]:
        """The day's slices with the costs of their own, as often as they are asked for.

        One slice is worked out once and kept; several are worked out anew, for all of them together may not fit.
        """
        estimated = _repeatable(lambda: (self._estimated(part) for part in slices), is_kept=len(slices) == 1)
        pools = [
            DayPool(pool, self.model.lines[pool.rule], self.plan.members[pool.rule]) for pool in self.plan.pools[day]
        ]
        choose_drivers(day, pools, estimated, self.model.min_priced_share)
        for pool in pools:
            if pool.is_far_below_estimates:
                self._far_below[pool.pool.rule][day] = pool
        pots = [pot for pot in self.plan.pots[self._view.period_of(day)] if day in pot.before]

        def divided() -> Iterator[Costed]:
            divider = Divider(day, pools, pots)
            return (divider.costed(frame) for frame in estimated())

        return _repeatable(divided, is_kept=len(slices) == 1)

    def _estimated(self, part: Slice) -> pl.DataFrame:
        """A slice's inferences with their estimates, in the order in which they are served."""
        inferences = part.inferences().with_columns(pl.col(*PROFILE_WORDS).cast(pl.String))
        is_holdout = (pl.col("arm").cast(pl.String) == HOLDOUT).fill_null(value=False)
        is_failed = (pl.col("status").cast(pl.String) == "failed").fill_null(value=False)
        profiled = inferences.select(PROFILE_WORDS).join(
            self._profiles, on=PROFILE_WORDS, how="left", nulls_equal=True, maintain_order="left"
        )
        assert profiled["profile"].null_count() == 0, "profiles are those of the same inferences"
        frame = inferences.with_columns(
            profiled["profile"],
            profiled["overhead"],
            is_holdout.alias("is_holdout"),
            (~is_holdout & ~is_failed).alias("is_served"),
        )
        # Columns that only estimates need are not sorted and carried on.
        with_estimates = frame.hstack(self._estimator.estimates(frame)).drop(_ONLY_FOR_ESTIMATES)
        return with_estimates.sort("event_time", "inference_id")


def _repeatable(make: Callable[[], Iterable[_T]], *, is_kept: bool) -> Callable[[], Iterable[_T]]:
    if not is_kept:
        return make
    kept = list(make())
    return lambda: kept


def _money(units: int) -> str:
    return decimal_text(units, COST_PLACES)
