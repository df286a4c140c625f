"""How late value comes: per use case the share of value that came within a given time after its inference.

The curve is learnt where it is known whole, on *settled* requests, whose windows have closed. **It weighs value, not
outcomes:** large purchases often take longer than small ones, and a curve of first outcomes would call a cohort
mature whose value is still on its way. Gains and losses have curves of their own, because complaints come later than
purchases.

>>> curve = Curve.of(np.array([1, 3]), pl.Series([75, 25], dtype=INT))
>>> [str(curve.share(age_us)) for age_us in (0, 1, 2, 3)]
['0', '3/4', '3/4', '1']
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

import numpy as np
import polars as pl
from polars_hash import NonCryptographicHashingNameSpace

from attribution.money import INT, Int64s, integer
from attribution.windows import EPOCH

#: Fewer settled outcomes of a sign than this: both signs share one curve; fewer of both together: no curve.
MIN_OUTCOMES = 50


@dataclass(frozen=True)
class Curve:
    """F as a step function, exact.

    delays_us: ascending, each once; cumulated: Int128 units of |value| that came within the delay before, one longer
    than ``delays_us`` and beginning with 0.
    """

    delays_us: Int64s
    cumulated: pl.Series

    @classmethod
    def of(cls, delays_us: Int64s, values: pl.Series) -> Curve:
        """From ascending delays and their |value| in units (Int128)."""
        return cls(delays_us, pl.concat([integer(0), values.cum_sum().rename("")]))

    @property
    def total(self) -> int:
        return int(self.cumulated[-1])

    def within(self, ages_us: Int64s) -> pl.Series:
        """F × total per age, in units (Int128): what came at this age or before."""
        return self.cumulated.gather(pl.Series(np.searchsorted(self.delays_us, ages_us, side="right")))

    def share(self, age_us: int) -> Fraction:
        """F at one age."""
        return Fraction(int(self.within(np.array([age_us]))[0]), self.total)


@dataclass(frozen=True)
class Curves:
    """Of one use case; the same curve twice where either sign has fewer than 50 outcomes."""

    gains: Curve
    losses: Curve


def settled_delays(nets: pl.LazyFrame) -> pl.LazyFrame:
    """Value per use case and delay: ``use_case``, ``delay_us`` (Int64), ``gain``, ``loss`` (Int128 units, both ≥ 0).

    nets: one row per (outcome, inference) with the net credit known as of now, on settled requests: ``use_case``,
    ``inference_time``, ``outcome_time`` (Datetime µs), ``value`` (Int128 units). Sums of disjoint parts add up. There
    are about as many rows as settled credits; where that is too many, ``delay_us`` may be rounded up to a coarser grid:
    F is then off by at most the share of value within one step of it.
    """
    value, zero = pl.col("value"), pl.lit(0, dtype=INT)
    delay = pl.col("outcome_time").to_physical() - pl.col("inference_time").to_physical()
    return (
        nets.filter(value != 0)
        .group_by(pl.col("use_case").cast(pl.String), delay.alias("delay_us"))
        .agg(
            pl.when(value > 0).then(value).otherwise(zero).sum().alias("gain"),
            pl.when(value < 0).then(-1 * value).otherwise(zero).sum().alias("loss"),
        )
    )


def settled_outcomes(nets: pl.LazyFrame) -> pl.LazyFrame:
    """Distinct outcomes by sign: ``use_case``, ``gain_outcomes``, ``loss_outcomes``.

    nets: as in ``settled_delays``, with ``outcome_id``. Outcomes are told apart by the hash of their id; counts of
    disjoint outcomes add up.
    """
    value = pl.col("value")
    ids = NonCryptographicHashingNameSpace(pl.col("outcome_id")).xxhash64().alias("outcome")
    return (
        nets.filter(value != 0)
        .select(pl.col("use_case").cast(pl.String), "value", ids)
        .group_by("use_case")
        .agg(
            pl.col("outcome").filter(value > 0).n_unique().alias("gain_outcomes"),
            pl.col("outcome").filter(value < 0).n_unique().alias("loss_outcomes"),
        )
    )


def delay_curves(delays: pl.DataFrame, outcomes: pl.DataFrame) -> dict[str, Curves]:
    """Curves per use case; a use case with fewer than 50 settled outcomes in all is not there.

    delays, outcomes: as ``settled_delays`` and ``settled_outcomes`` give them.
    """
    counts = {use_case: (gains, losses) for use_case, gains, losses in _counts(outcomes).iter_rows()}
    curves = {}
    for (use_case,), part in delays.sort("delay_us").group_by("use_case", maintain_order=True):
        gains, losses = counts.get(str(use_case), (0, 0))
        if gains + losses < MIN_OUTCOMES:
            continue
        if min(gains, losses) < MIN_OUTCOMES:
            together = _curve(part, pl.col("gain") + pl.col("loss"))
            curves[str(use_case)] = Curves(together, together)
        else:
            curves[str(use_case)] = Curves(_curve(part, pl.col("gain")), _curve(part, pl.col("loss")))
    return curves  # one per use case


def age_us(as_of: datetime, allowed_lateness: timedelta, settled: str = "settled") -> pl.Expr:
    """Column ``age_us`` (Int64): as-of − allowed lateness − event_time; null where the column ``settled`` is true.

    May be negative: a request within the allowed lateness, whose outcomes may not have come at all.
    """
    cut_us = (as_of - allowed_lateness - EPOCH) // timedelta(microseconds=1)
    age = pl.lit(cut_us, dtype=pl.Int64) - pl.col("event_time").to_physical()
    return pl.when(~pl.col(settled)).then(age).alias("age_us")


def _counts(outcomes: pl.DataFrame) -> pl.DataFrame:
    return outcomes.group_by("use_case").agg(pl.col("gain_outcomes", "loss_outcomes").sum())


def _curve(part: pl.DataFrame, value: pl.Expr) -> Curve:
    """part: of one use case, by delay."""
    summed = part.group_by("delay_us", maintain_order=True).agg(value.sum().alias("value"))
    steps = summed.filter(pl.col("value") > 0)
    return Curve.of(steps["delay_us"].to_numpy(), steps["value"])
