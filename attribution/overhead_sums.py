"""Overhead: what its inferences cost and earned, and which groups' requests they served.

An overhead inference serves all requests of its use case on its day, so every group with such a request; on a day
without any it serves those of its whole period. A group's ``priced_share`` counts each of them once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from attribution.cost_model import Overhead
from attribution.costs import CostReason
from attribution.figures import Sums
from attribution.group_sums import GroupSums
from attribution.inference_sums import inference_sums, sums_of
from attribution.view import View

#: A group: its period's first day, then its keys' texts.
Group = tuple[date | str | None, ...]


@dataclass
class Serving:
    """How many overhead inferences serve something, and how many of them have no known cost, by reason."""

    inferences: int = 0
    unpriced: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CostReason, 0))

    def add(self, sums: Sums) -> None:
        self.inferences += sums.requests
        self.unpriced = {code: count + sums.unpriced[code] for code, count in self.unpriced.items()}


class OverheadSums:
    """The sums of all overhead of the slices that were added. keys: the columns of a group, its period first."""

    def __init__(self, view: View, overheads: Sequence[Overhead], keys: Sequence[str]) -> None:
        self._view = view
        self._overheads = overheads
        self._keys = list(keys)
        self._own = GroupSums(["overhead", "day"])
        self._values = GroupSums(["overhead", "_period"])
        self._served = GroupSums(["overhead", "day", *keys])

    def add(self, day: date, own: pl.DataFrame, requests: pl.DataFrame, pairs: pl.DataFrame) -> None:
        """own: overhead inferences of a slice of a day; requests: its requests; pairs: what overhead was credited."""
        on_day = pl.lit(day).alias("day")
        self._own.add(inference_sums(own.with_columns(on_day), ["overhead", "day"]))
        self._values.add(pairs.group_by("overhead", "_period").agg(pl.col("value").sum()))
        for number, overhead in enumerate(self._overheads):
            served = requests.filter(pl.col("_use_case") == overhead.of)
            at = [pl.lit(number, dtype=pl.Int32).alias("overhead"), on_day]
            self._served.add(served.with_columns(at).group_by("overhead", "day", *self._keys).agg(pl.len()))

    def by_period(self) -> dict[tuple[date | None, int], Sums]:
        """What each overhead's inferences cost and earned per period; ``requests`` counts them."""
        sums: dict[tuple[date | None, int], Sums] = {}
        for row in self._own.rows():
            period = self._view.period_of(row["day"])
            sums.setdefault((period, row["overhead"]), Sums()).add(sums_of(row))
        for row in self._values.rows():
            sums[row["_period"], row["overhead"]].value = row["value"]
        return sums

    def serving(self) -> dict[Group, Serving]:
        """Per group of requests what serves it."""
        groups_of_day: dict[tuple[int, date], set[Group]] = defaultdict(set)
        groups_of_period: dict[tuple[int, date | None], set[Group]] = defaultdict(set)
        for row in self._served.rows():
            group = tuple(row[name] for name in self._keys)
            groups_of_day[row["overhead"], row["day"]].add(group)
            groups_of_period[row["overhead"], self._view.period_of(row["day"])].add(group)
        serving: dict[Group, Serving] = defaultdict(Serving)
        for row in self._own.rows():  # one row per overhead and day
            own = sums_of(row)
            key = row["overhead"], row["day"]
            for group in groups_of_day.get(key) or groups_of_period[key[0], self._view.period_of(key[1])]:
                serving[group].add(own)
        return serving
