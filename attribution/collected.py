"""What a report keeps of each slice: sums of costs, values and counts per group.

Every inference is one of three: a request, held out, or overhead (it serves another use case). Requests are the
denominator and the scope of cost and value; the other two have rows of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Protocol

import polars as pl

from attribution.cost_model import Overhead
from attribution.cost_plan import Pot
from attribution.costing import Slice
from attribution.division import COMPONENTS, Costed
from attribution.figures import Sums
from attribution.group_sums import DistinctOutcomes, GroupNumbers, GroupSums, RequestValues
from attribution.inference_sums import inference_sums, sums_of
from attribution.money import INT
from attribution.overhead_sums import Group, OverheadSums
from attribution.view import View, key_column

_VALUES = ("value", "conversion_value", "trace_value", "reversible_value", "settled_value")


class ReportSlice(Slice, Protocol):
    """A slice with what its inferences earned.

    credits: their ledger rows (``outcome_id``, ``inference_id``, ``kind``, ``via``, ``outcome_time``, ``value``,
    ``sign``); settled: their settled ``attributed`` rows (``inference_id``, ``attributed_value``).
    """

    def credits(self) -> pl.DataFrame: ...

    def settled(self) -> pl.DataFrame: ...


class Collected:
    """The sums of all slices that were added.

    would_be: what holdout inferences would have earned, net (``inference_id``, ``would_be_value`` in units of 10⁻⁹).
    """

    def __init__(self, view: View, overheads: Sequence[Overhead], would_be: pl.DataFrame) -> None:
        self._view = view
        self._would_be = would_be
        self._keys = ["_period", *(f"_key_{number}" for number in range(len(view.by)))]
        self._requests = GroupSums(self._keys)
        self._holdouts = GroupSums(self._keys)
        self._values = GroupSums(self._keys)
        self._would_be_values = GroupSums(self._keys)
        self._numbers = GroupNumbers(self._keys)
        self._outcomes = DistinctOutcomes()
        self._request_values = RequestValues()
        self.overhead = OverheadSums(view, overheads, self._keys)

    def add(self, day: date, costed: Costed, part: ReportSlice) -> None:
        """Take the sums of one slice of a day.

        What is known of single inferences is known here, and only here: whatever else is summed over them (for
        intervals, maturity, trends) belongs beside these.
        """
        keyed = self._keyed(costed.frame)
        is_overhead = pl.col("overhead").is_not_null()
        requests = keyed.filter(~is_overhead & ~pl.col("is_holdout"))
        holdouts = keyed.filter(~is_overhead & pl.col("is_holdout"))
        self._requests.add(inference_sums(requests, self._keys))
        self._holdouts.add(inference_sums(holdouts, self._keys))
        self._would_be_values.add(self._by_group(holdouts, self._would_be, "would_be_value"))
        pairs = self._pairs(keyed, part.credits())
        self._add_values(pairs.filter(~is_overhead & ~pl.col("is_holdout")))
        self._values.add(self._settled_values(requests, part.settled()))
        self.overhead.add(day, keyed.filter(is_overhead), requests, pairs.filter(is_overhead))

    def _keyed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Inferences with their group in columns of their own, so that no key can hide a figure."""
        keys = [key_column(name).alias(column) for name, column in zip(self._view.by, self._keys[1:], strict=True)]
        return frame.select(
            *("inference_id", "overhead", "is_holdout", "is_billed", "cost_reason", "estimate"),
            *COMPONENTS,
            pl.col("use_case").alias("_use_case"),
            self._view.period_column("event_time").alias("_period"),
            *keys,
        )

    def _by_group(self, inferences: pl.DataFrame, earned: pl.DataFrame, figure: str) -> pl.DataFrame:
        """A figure that stands per inference, summed per group."""
        joined = inferences.select("inference_id", *self._keys).join(earned, on="inference_id", how="inner")
        return joined.group_by(self._keys).agg(pl.col(figure).sum())

    def _pairs(self, keyed: pl.DataFrame, credits_: pl.DataFrame) -> pl.DataFrame:
        """One row per outcome and inference that it credits: net values, whether the credit stands, the group."""
        value = pl.col("value").to_physical()
        is_reversible = pl.col("outcome_time") >= self._view.as_of - self._view.reversal_window
        nets = credits_.group_by("outcome_id", "inference_id").agg(
            value.sum().alias("value"),
            value.filter(pl.col("kind") == "conversion").sum().alias("conversion_value"),
            value.filter(pl.col("via") == "trace").sum().alias("trace_value"),
            value.filter(is_reversible).sum().alias("reversible_value"),
            (pl.col("sign").cast(pl.Int64).sum() == 1).alias("stands"),
        )
        columns = ("inference_id", "overhead", "is_holdout", *self._keys)
        return keyed.select(columns).join(nets, on="inference_id", how="inner")

    def _add_values(self, pairs: pl.DataFrame) -> None:
        """pairs: of requests only."""
        zero = pl.lit(0, dtype=INT).alias(_VALUES[-1])
        self._values.add(pairs.group_by(self._keys).agg(pl.col(_VALUES[:-1]).sum(), zero))
        standing = pairs.filter("stands")
        self._outcomes.add(self._numbers.numbers(standing), standing["outcome_id"])
        by_request = pairs.group_by("inference_id", *self._keys).agg(pl.col("value").sum())
        self._request_values.add(self._numbers.numbers(by_request), by_request["value"])

    def _settled_values(self, requests: pl.DataFrame, settled: pl.DataFrame) -> pl.DataFrame:
        earned = settled.select("inference_id", pl.col("attributed_value").to_physical().alias(_VALUES[-1]))
        sums = self._by_group(requests, earned.filter(pl.col(_VALUES[-1]) != 0), _VALUES[-1])
        zeros = [pl.lit(0, dtype=INT).alias(name) for name in _VALUES[:-1]]
        return sums.with_columns(zeros).select(*self._keys, *_VALUES)

    # What came of it

    def groups(self) -> dict[Group, Sums]:
        """Requests per group."""
        groups = self._own_sums()
        for group, serving in self.overhead.serving().items():
            groups[group].served_by = serving.inferences
            groups[group].add_unpriced(serving.unpriced)
        self._count(groups, lambda group: group)
        return groups

    def totals(self, left_over: Iterable[Pot]) -> dict[Group, Sums]:
        """Requests per period, with what no request takes; left_over: pots of periods without requests."""
        totals: dict[Group, Sums] = {}
        for (period, *_), sums in self._own_sums().items():
            totals.setdefault((period,), Sums()).add(sums)
        for (period, _), own in self.overhead.by_period().items():
            total = totals.setdefault((period,), Sums())
            total.served_by += own.requests
            total.add_unpriced(own.unpriced)
        for pot in left_over:
            total = totals.setdefault((pot.period,), Sums())
            for component, cost in pot.costs.items():
                setattr(total, component, getattr(total, component) + cost)
        self._count(totals, lambda group: group[:1])
        return totals

    def holdouts(self) -> dict[Group, tuple[Sums, int]]:
        """Holdout inferences per group, with their would-be value."""
        would_be = {self._group(row): row["would_be_value"] for row in self._would_be_values.rows()}
        sums = {self._group(row): sums_of(row) for row in self._holdouts.rows()}
        return {group: (of_group, would_be.get(group, 0)) for group, of_group in sums.items()}

    def _own_sums(self) -> dict[Group, Sums]:
        groups = {self._group(row): sums_of(row) for row in self._requests.rows()}
        for row in self._values.rows():
            for name in _VALUES:
                setattr(groups[self._group(row)], name, row[name])
        return groups

    def _group(self, row: Mapping[str, Any]) -> Group:
        return tuple(row[name] for name in self._keys)

    def _count(self, larger: dict[Group, Sums], larger_of: Callable[[Group], Group]) -> None:
        """Outcomes and concentration of groups, or of larger groups that they are parts of."""
        position = {group: number for number, group in enumerate(larger)}
        of_group = pl.Series([position[larger_of(group)] for group in self._numbers.groups()], dtype=pl.UInt32)
        outcomes = self._outcomes.counts(of_group)
        concentration = self._request_values.concentration(of_group, [sums.requests for sums in larger.values()])
        for group, number in position.items():
            sums = larger[group]
            sums.outcomes = outcomes.get(number, 0)
            sums.with_value, sums.top_value = concentration.get(number, (0, 0))
