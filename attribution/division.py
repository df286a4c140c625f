"""A day's pools and pots, divided over its inferences slice by slice, with cumulative rounding over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

import polars as pl

from attribution.cost_model import CostType, Driver, LineRule
from attribution.cost_plan import Members, Pool, Pot
from attribution.drivers import Chosen, DriverSums, choose, weights
from attribution.money import INT, integer
from attribution.shares import even_shares, exact_sum, weighted_shares

COMPONENTS = ("serving", "indirect", "idle", "amortised")
#: A pool of less than this part of the estimates that it replaces is suspicious.
_SUSPICIOUS_PART = 10


@dataclass
class DayPool:
    """A pool while it is divided; estimates: of the inferences in its scope, in units of 10⁻¹²."""

    pool: Pool
    rule: LineRule
    members: Members
    sums: dict[Driver, DriverSums] = field(default_factory=dict)
    estimates: int = 0
    chosen: Chosen | None = None

    @property
    def is_far_below_estimates(self) -> bool:
        return self.pool.replaces and self.pool.cost * _SUSPICIOUS_PART < self.estimates

    def rows(self, frame: pl.DataFrame) -> pl.Series:
        """The row numbers of the inferences in its scope."""
        return self.members.is_member.gather(frame["profile"]).arg_true()


@dataclass(frozen=True)
class PoolShare:
    """What one pool gave to inferences of a slice, in order; before: the weights of those of earlier slices."""

    day_pool: DayPool
    rows: pl.Series
    weights: pl.Series
    before: int
    costs: pl.Series


@dataclass(frozen=True)
class Costed:
    """A slice's inferences in order of (event_time, inference_id), with what they cost.

    frame: the slice's columns but those that only estimates need; ``profile``, ``overhead`` (position of the overhead
    that it is, null: none), ``is_holdout``, ``is_served`` (a request that did not fail), ``estimate``,
    ``estimate_reason``, ``price_list``; ``is_billed`` (a bill is its cost), ``cost_reason`` (why it has no known cost);
    COMPONENTS, in units of 10⁻¹², an unknown cost as 0.
    """

    frame: pl.DataFrame
    shares: list[PoolShare]


def choose_drivers(
    day: date, pools: Sequence[DayPool], frames: Callable[[], Iterable[pl.DataFrame]], min_share: Fraction
) -> None:
    """Settle each pool's driver, from all of the day's inferences."""
    if not pools:
        return
    for pool in pools:
        pool.sums = {driver: DriverSums() for driver in pool.rule.drivers}
    for frame in frames():
        of_drivers = weights(frame)
        for pool in pools:
            rows = pool.rows(frame)
            is_served = frame["is_served"].gather(rows)
            for driver, sums in pool.sums.items():
                sums.add(of_drivers[driver].gather(rows), is_served)
            if pool.pool.replaces:
                pool.estimates += exact_sum(frame["estimate"].gather(rows))
    for pool in pools:
        pool.chosen = choose(pool.rule, day, pool.sums, pool.members.inferences[day], min_share)


class Divider:
    """Gives each slice its parts; slices come in order of time, each once."""

    def __init__(self, day: date, pools: Sequence[DayPool], pots: Sequence[Pot]) -> None:
        self._pools = pools
        self._pots = pots
        self._weights_before = [0 for _ in pools]
        self._requests_before = [pot.before[day] for pot in pots]

    def costed(self, estimated: pl.DataFrame) -> Costed:
        """The slice with its costs; estimated: as ``Costed.frame``, without what is added here."""
        shares = self._pool_shares(estimated)
        parts = _Parts(estimated.height)
        is_billed = pl.Series([False]).new_from_index(0, estimated.height)
        for share in shares:
            is_serving = share.day_pool.rule.cost_type is CostType.SERVING
            parts.add("serving" if is_serving else "indirect", share.rows, share.costs)
            if share.day_pool.pool.replaces:
                is_billed = is_billed.scatter(share.rows, values=True)
        frame = _with_costs(estimated, parts, is_billed)
        for number, pot in enumerate(self._pots):
            rows = (pot.members.is_member.gather(frame["profile"]) & ~frame["is_holdout"]).arg_true()
            frame = with_even_shares(frame, rows, pot.costs, pot.requests, self._requests_before[number])
            self._requests_before[number] += len(rows)
        return Costed(frame, shares)

    def _pool_shares(self, estimated: pl.DataFrame) -> list[PoolShare]:
        shares = []
        of_drivers = weights(estimated) if self._pools else {}
        for number, pool in enumerate(self._pools):
            assert pool.chosen is not None, "drivers are chosen before anything is divided"
            rows = pool.rows(estimated)
            weight = pool.chosen.weights(
                of_drivers[pool.chosen.driver].gather(rows), estimated["is_served"].gather(rows)
            )
            before = self._weights_before[number]
            costs = weighted_shares(pool.pool.cost, weight, pool.chosen.whole, before)
            shares.append(PoolShare(pool, rows, weight, before, costs))
            self._weights_before[number] += exact_sum(weight)
        return shares


class _Parts:
    """Components of a slice's rows while parts are added to them."""

    def __init__(self, height: int) -> None:
        self.columns = {name: integer(0).new_from_index(0, height) for name in COMPONENTS}

    def add(self, component: str, rows: pl.Series, costs: pl.Series) -> None:
        self.columns[component] = _added(self.columns[component], rows, costs)


def _added(column: pl.Series, rows: pl.Series, costs: pl.Series) -> pl.Series:
    if len(rows) == len(column):
        return column + costs
    return column.clone().scatter(rows, column.gather(rows) + costs) if len(rows) else column


def with_even_shares(
    frame: pl.DataFrame, rows: pl.Series, costs: Mapping[str, int], whole: int, before: int
) -> pl.DataFrame:
    """Some rows of a costed frame with their even parts added; costs: by component; whole, before: counts of rows."""
    if len(rows) == 0:
        return frame
    return frame.with_columns(
        _added(frame[name], rows, even_shares(cost, len(rows), whole, before)).alias(name)
        for name, cost in costs.items()
        if cost
    )


def _with_costs(estimated: pl.DataFrame, parts: _Parts, is_billed: pl.Series) -> pl.DataFrame:
    """A bill replaces the estimate; where only negative lines came, they are taken beside it."""
    frame = estimated.with_columns(
        is_billed.alias("is_billed"),
        parts.columns["serving"].alias("_bill"),
        *(parts.columns[name].alias(name) for name in COMPONENTS[1:]),
    )
    zero = pl.lit(0, dtype=INT)
    own = pl.when("is_billed").then("_bill").otherwise(pl.col("estimate").fill_null(zero))
    beside = pl.when("is_billed").then(zero).otherwise("_bill")
    return frame.with_columns(
        own.alias("serving"),
        pl.col("indirect") + beside,
        pl.when(~pl.col("is_billed")).then("cost_reason").alias("cost_reason"),
        pl.col("cost_reason").alias("estimate_reason"),
    ).drop("_bill")
