"""Sums per group over slices: what a report keeps of inferences that it reads once and forgets.

Each slice gives frames of sums by group; they are added up as they come, so that what is kept grows with groups, not
with inferences. Two things are not plain sums and are kept per credited request or outcome: an outcome may touch
requests of several slices and counts once in a group, and the best hundredth of requests is known only at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from attribution.money import INT

#: Sums are made in two halves: one of 128 bits could wrap.
_HALF = 10**18
_ROWS_KEPT = 200_000
_FITS_64_BITS = 2**63
#: Outcomes are told apart a part at a time, to save memory.
_PARTS = 8


def halves(column: str, name: str, where: pl.Expr | None = None) -> list[pl.Expr]:
    """The sum of a column of Int128, however large, as two columns that ``whole`` puts together."""
    half = pl.lit(_HALF, dtype=INT)
    values = pl.col(column) if where is None else pl.col(column).filter(where)
    return [(values // half).sum().alias(f"{name}_high"), (values % half).sum().alias(f"{name}_low")]


def whole(row: Mapping[str, Any], name: str) -> int:
    """The sum that ``halves`` took apart."""
    return int(row[f"{name}_high"]) * _HALF + int(row[f"{name}_low"])


class GroupSums:
    """Sums by keys; every column but the keys is added up."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._frames: list[pl.DataFrame] = []
        self._height = 0

    def add(self, sums: pl.DataFrame) -> None:
        self._frames.append(sums)
        self._height += sums.height
        if self._height > _ROWS_KEPT:
            self._frames = [self._total()]
            # What cannot be made smaller is not tried again with every slice.
            self._height = self._frames[0].height // 2

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per group: its keys and sums."""
        return self._total().iter_rows(named=True) if self._frames else iter(())

    def _total(self) -> pl.DataFrame:
        return pl.concat(self._frames).group_by(self._keys).agg(pl.all().sum())


class GroupNumbers:
    """Groups, numbered in order of appearance, so that what is kept per request needs a number only."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._known: pl.DataFrame | None = None

    def numbers(self, frame: pl.DataFrame) -> pl.Series:
        """The number (UInt32) of each row's group."""
        found = frame.select(self._keys).unique(maintain_order=True)
        if self._known is None:
            known = found.with_row_index("_group")
        else:
            new = found.join(self._known, on=self._keys, how="anti", nulls_equal=True)
            numbered = new.with_row_index("_group", offset=self._known.height)
            known = pl.concat([self._known, numbered.select(self._known.columns)])
        self._known = known
        joined = frame.select(self._keys).join(
            known, on=self._keys, how="left", nulls_equal=True, maintain_order="left"
        )
        return joined["_group"]

    def groups(self) -> list[tuple[Any, ...]]:
        """The keys of each group, by its number."""
        return [] if self._known is None else self._known.select(self._keys).rows()


class DistinctOutcomes:
    """How many outcomes have a standing credit in each group. An outcome is known by two hashes of 64 bits: that two
    among a billion are taken for one has a chance of less than 10⁻²⁰."""

    def __init__(self) -> None:
        schema = {"_group": pl.UInt32(), "_first": pl.UInt64(), "_second": pl.UInt64()}
        self._frames = [pl.DataFrame(schema=schema)]

    def add(self, groups: pl.Series, outcome_ids: pl.Series) -> None:
        """One row per credit that stands."""
        frame = pl.DataFrame(
            {"_group": groups, "_first": outcome_ids.hash(seed=1), "_second": outcome_ids.hash(seed=2)}
        )
        self._frames.append(frame.unique())

    def counts(self, of_group: pl.Series) -> dict[int, int]:
        """How many in each of some larger groups; of_group: the larger group's number, by that of the group."""
        counts: dict[int, int] = {}
        for part in range(_PARTS):
            of_part = [frame.filter(pl.col("_first") % _PARTS == part) for frame in self._frames]
            larger = pl.concat(of_part).with_columns(of_group.gather(pl.concat(of_part)["_group"]).alias("_group"))
            for group, count in larger.unique().group_by("_group").len().iter_rows():  # one row per group
                counts[group] = counts.get(group, 0) + count
        return counts


class RequestValues:
    """The net values, where they are not 0, of single requests; in 64 bits where they fit, to save memory."""

    def __init__(self) -> None:
        self._frames = [pl.DataFrame(schema={"_group": pl.UInt32(), "value": pl.Int64()})]
        self._dtype: pl.DataType = pl.Int64()

    def add(self, groups: pl.Series, values: pl.Series) -> None:
        """One row per request."""
        if (values.abs() >= _FITS_64_BITS).any():
            self._dtype = INT
        else:
            values = values.cast(pl.Int64)
        frame = pl.DataFrame({"_group": groups, "value": values})
        self._frames.append(frame.filter(pl.col("value") != 0))

    def concentration(self, of_group: pl.Series, requests: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Per larger group: requests with value, and the value of the top ⌈requests / 100⌉.

        of_group: as in ``DistinctOutcomes``; requests: how many each larger group has, by its number. Requests of
        value 0 stand between gains and losses, so a loss is among the top ones only where gains and zeros are fewer
        than the top.
        """
        frame = pl.concat([frame.cast({"value": self._dtype}) for frame in self._frames])
        larger = frame.select(of_group.gather(frame["_group"]).alias("_group"), "value")
        ordered = larger.sort("_group", "value", descending=[False, True])
        counts = ordered.group_by("_group", maintain_order=True).len()
        with_value = [0] * len(requests)
        for group, count in counts.iter_rows():  # one row per group
            with_value[group] = count
        before = pl.Series([0, *with_value[:-1]], dtype=pl.Int64).cum_sum()
        zeros = pl.Series([of - count for of, count in zip(requests, with_value, strict=True)], dtype=pl.Int64)
        top = pl.Series([(count + 99) // 100 for count in requests], dtype=pl.Int64)
        group = ordered["_group"]
        position = pl.int_range(len(group), eager=True) - before.gather(group)
        position += zeros.gather(group) * (ordered["value"] < 0).cast(pl.Int64)
        of_top = ordered.filter(position < top.gather(group)).group_by("_group").agg(pl.col("value").cast(INT).sum())
        sums = dict(of_top.iter_rows())
        return {number: (count, sums.get(number, 0)) for number, count in enumerate(with_value) if count}
