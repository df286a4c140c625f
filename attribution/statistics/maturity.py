"""How much of a group's value is in, and what it will come to.

A request of yesterday has had a day for its outcomes to come; F (``delay_curves``) says which share of value comes
within a day. The mean of F over a group's requests, settled ones counted whole, is the group's *maturity*, and value
so far divided by it is what the group is heading for. **The projection stands beside the measured value, never
instead of it,** and knows nothing of refunds to come.

All of it is exact: value within an age is a whole number of units, so whether a group is mature depends on no order of
summation and no rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import polars as pl

from attribution.money import INT, UNIT, integer
from attribution.statistics.cells import Cell, Cells, Reason, known_or
from attribution.statistics.clusters import Key
from attribution.statistics.delay_curves import Curves

#: Below this a group is immature: no band, no interval is claimed.
MATURE = Fraction(95, 100)
_REACH = pl.Struct({"gain_reach": INT, "loss_reach": INT})


@dataclass(frozen=True)
class Reach:
    """A group's requests of one use case. settled: how many are; *_reach: Σ F × the curve's total over the others."""

    requests: int = 0
    settled: int = 0
    gain_reach: int = 0
    loss_reach: int = 0


@dataclass(frozen=True)
class Earned:
    """A group's net credits by sign. has_*: whether it has any as of now; gains, losses: units (losses negative) of the
    outcomes with outcome_time ≤ as-of − allowed lateness, the moment up to which F counts."""

    has_gains: bool = False
    has_losses: bool = False
    gains: int = 0
    losses: int = 0


def with_reach(requests: pl.LazyFrame, curves: Mapping[str, Curves]) -> pl.LazyFrame:
    """Adds ``gain_reach`` and ``loss_reach`` (Int128 units): F × the curve's total at each request's age.

    requests: ``use_case`` and ``age_us`` (as ``age_us()`` gives it). 0 where the age is null or the use case has no
    curve. Elementwise, so it streams; a total stays below 10³⁸ units while value × requests does.
    """
    both = pl.struct(pl.col("use_case").cast(pl.String), "age_us")
    reach = both.map_batches(partial(_reach, dict(curves)), return_dtype=_REACH, is_elementwise=True)
    return requests.with_columns(reach.alias("_reach")).unnest("_reach")


def reach_sums(sums: pl.DataFrame, by: Sequence[str]) -> dict[Key, dict[str, Reach]]:
    """Per report group and use case.

    sums: ``by``, ``use_case``, ``requests``, ``settled`` (counts), ``gain_reach``, ``loss_reach`` (sums of
    ``with_reach``'s columns); ``by`` may hold ``use_case`` too. Rows are added up, so the frame may be finer than
    ``by``.
    """
    figures = ["requests", "settled", "gain_reach", "loss_reach"]
    use_case = pl.col("use_case").cast(pl.String).alias("_use_case")
    summed = sums.group_by(*by, use_case).agg(pl.col(figures).sum())
    found: dict[Key, dict[str, Reach]] = {}
    for *key, of, requests, settled, gains, losses in summed.select(*by, "_use_case", *figures).iter_rows():
        found.setdefault(tuple(key), {})[of] = Reach(requests, settled, gains, losses)
    return found  # one row per report group and use case


def maturity_figures(reaches: Mapping[str, Reach], curves: Mapping[str, Curves], earned: Earned) -> Cells:
    """``maturity`` and ``projected_value`` (``Fraction``), or the reason why they are null.

    reaches: the group's, by use case. Maturity is the mean F, the smaller one of the signs that the group has (no
    credits: of gains). Projected value: per sign, value so far / its mean F, added up. Null: ``no_requests``;
    ``too_few`` where a use case has unsettled requests and no curve; projected value also where value came earlier
    than it ever has (mean F 0).
    """
    means = _mean_f(reaches, curves)
    if isinstance(means, str):
        return known_or("maturity", None, means) | known_or("projected_value", None, means)
    of_gains, of_losses = means
    signs = [
        (of_gains, earned.gains, earned.has_gains or not earned.has_losses),
        (of_losses, earned.losses, earned.has_losses),
    ]
    present = [(mean, value) for mean, value, is_there in signs if is_there]
    maturity = min(mean for mean, _ in present)
    if maturity == 0:
        return known_or("maturity", maturity, None) | known_or("projected_value", None, Reason.TOO_FEW)
    projected = sum((Fraction(value, UNIT) / mean for mean, value in present), Fraction(0))
    return known_or("maturity", maturity, None) | known_or("projected_value", projected, None)


def is_immature(maturity: Cell) -> bool:
    """Whether a ``maturity`` is below 0.95 or null."""
    return not isinstance(maturity, Fraction) or maturity < MATURE


def _mean_f(reaches: Mapping[str, Reach], curves: Mapping[str, Curves]) -> tuple[Fraction, Fraction] | str:
    """The mean F of gains and of losses over a group's requests, or the reason why there is none."""
    requests = sum(reach.requests for reach in reaches.values())
    if requests == 0:
        return Reason.NO_REQUESTS.value
    gains = losses = Fraction(sum(reach.settled for reach in reaches.values()))
    for use_case, reach in reaches.items():
        if reach.settled == reach.requests:
            continue
        if use_case not in curves:
            return Reason.TOO_FEW.value
        gains += Fraction(reach.gain_reach, curves[use_case].gains.total)
        losses += Fraction(reach.loss_reach, curves[use_case].losses.total)
    return gains / requests, losses / requests


def _reach(curves: Mapping[str, Curves], batch: pl.Series) -> pl.Series:
    """batch: structs of ``use_case`` and ``age_us``."""
    use_cases, ages = batch.struct.field("use_case"), batch.struct.field("age_us")
    gains = losses = integer(0).new_from_index(0, len(batch))
    for use_case in use_cases.unique().drop_nulls():
        if use_case not in curves:
            continue
        rows = ((use_cases == use_case) & ages.is_not_null()).arg_true()
        ages_us = ages.gather(rows).to_numpy()
        own = curves[use_case]
        gain = own.gains.within(ages_us)
        loss = gain if own.losses is own.gains else own.losses.within(ages_us)
        gains, losses = gains.clone().scatter(rows, gain), losses.clone().scatter(rows, loss)
    return pl.DataFrame({"gain_reach": gains, "loss_reach": losses}).to_struct(batch.name)
