"""In proportion to what a day's pool is divided: weights of inferences, and the first driver that works.

A driver works if enough of the day's served requests in scope have it (``min_priced_share`` of them, or all but one of
at least twenty), and its sum is positive. Served requests without it count the mean of those with it; failed and
holdout inferences without it count 0. Weights are whole numbers: estimates in 10⁻⁹ of the base currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

import polars as pl

from attribution.cost_model import Driver, LineRule
from attribution.money import INT, divide_half_even, integer
from attribution.shares import WHOLE_LIMIT, rounded_share
from attribution.toml_tables import Bare
from schemas.errors import setting_error

#: All but one of so many will do.
_ALL_BUT_ONE_FROM = 20
_HALF = 10**18
#: Estimates are units of 10⁻¹²; as weights they are units of 10⁻⁹.
_ESTIMATE_PER_WEIGHT = 1_000


def weights(inferences: pl.DataFrame) -> dict[Driver, pl.Series]:
    """Each driver's weights (Int128, null where an inference lacks it), per inference.

    inferences: ``estimate`` (units of 10⁻¹²), ``input_tokens``, ``output_tokens``, ``compute_ms``.
    """
    tokens = inferences.select(pl.col("input_tokens") + pl.col("output_tokens").fill_null(0)).to_series()
    return {
        Driver.ESTIMATE: divide_half_even(inferences["estimate"], integer(_ESTIMATE_PER_WEIGHT)),
        Driver.TOKENS: tokens.cast(INT),
        Driver.COMPUTE_MS: inferences["compute_ms"].cast(INT),
        Driver.REQUESTS: integer(1).new_from_index(0, inferences.height),
    }


@dataclass
class DriverSums:
    """What a day's inferences in a scope have of one driver.

    served: served requests, served_with: those that have it, served_sum: theirs; other_sum: of failed and holdout ones.
    """

    served: int = 0
    served_with: int = 0
    served_sum: int = 0
    other_sum: int = 0

    def add(self, weight: pl.Series, is_served: pl.Series) -> None:
        """Some more of the scope's inferences."""
        half = pl.lit(_HALF, dtype=INT)
        frame = pl.DataFrame({"weight": weight, "is_served": is_served})
        sums = frame.group_by("is_served").agg(
            pl.len(),
            pl.col("weight").count().alias("with"),
            (pl.col("weight") // half).sum().alias("high"),
            (pl.col("weight") % half).sum().alias("low"),
        )
        for row in sums.iter_rows(named=True):  # at most two
            total = row["high"] * _HALF + row["low"]
            if row["is_served"]:
                self.served += row["len"]
                self.served_with += row["with"]
                self.served_sum += total
            else:
                self.other_sum += total

    @property
    def mean(self) -> int:
        """Of the served requests that have it, rounded half-even."""
        return rounded_share(self.served_sum, 1, self.served_with) if self.served_with else 0

    @property
    def whole(self) -> int:
        """The sum of all weights, with the mean in the place of those that lack it."""
        return self.served_sum + self.mean * (self.served - self.served_with) + self.other_sum

    def works(self, min_share: Fraction) -> bool:
        is_enough = self.served_with >= min_share * self.served
        lacks_one = self.served >= _ALL_BUT_ONE_FROM and self.served_with >= self.served - 1
        return (is_enough or lacks_one) and self.whole > 0


@dataclass(frozen=True)
class Chosen:
    """The driver by which a pool is divided; mean: the weight of served requests without it; whole: all weights."""

    driver: Driver
    mean: int
    whole: int

    def weights(self, weight: pl.Series, is_served: pl.Series) -> pl.Series:
        """The weights with their gaps filled."""
        frame = pl.DataFrame({"weight": weight, "is_served": is_served})
        filled = pl.when("is_served").then(pl.lit(self.mean, dtype=INT)).otherwise(pl.lit(0, dtype=INT))
        return frame.select(pl.col("weight").fill_null(filled)).to_series()


def choose(
    rule: LineRule, day: date, sums: Mapping[Driver, DriverSums], inferences: int, min_share: Fraction
) -> Chosen:
    """The first of the rule's drivers that works; inferences: how many lie in its scope on the day, at least one.

    Raises ConfigurationError where its sum is too large to divide by.
    """
    for driver in rule.drivers:
        if driver is Driver.REQUESTS:
            break
        found = sums[driver]
        if found.works(min_share):
            if found.whole >= WHOLE_LIMIT:
                raise setting_error(
                    f'line "{rule.name}": {day}: {driver}',
                    expected=f"a sum of the day's weights below {WHOLE_LIMIT}",
                    got=Bare(str(found.whole)),
                    hint="name another driver",
                )
            return Chosen(driver, found.mean, found.whole)
    return Chosen(Driver.REQUESTS, 1, inferences)
