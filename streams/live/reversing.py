"""Which reversals belong to the outcomes concerned, and which belong to none."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from attribution.content import mixed_numbers
from streams.live.arrivals import Arrivals
from streams.live.families import EXPIRY, RESOLVED, REVERSALS
from streams.live.family_state import ASKED
from streams.live.state import State

_COLUMNS = list(REVERSALS.columns)


@dataclass(frozen=True)
class Reversals:
    """Facts of reversals, each once.

    earlier: of kept outcomes, from earlier commits; claimed: from earlier commits, of outcomes that arrive only now;
    new: of known outcomes, from this batch; unmatched: that are resolved now and have no outcome; withdrawn: those
    of ``claimed`` that were published as unmatched. All with ``outcome_number``, null for the unmatched.
    """

    earlier: pl.DataFrame
    claimed: pl.DataFrame
    new: pl.DataFrame
    unmatched: pl.DataFrame
    withdrawn: pl.DataFrame

    def facts(self, arrivals: Arrivals) -> pl.DataFrame:
        """To be added to state: new ones, and claimed ones anew, for they are now kept with their outcome."""
        expiry_of = arrivals.outcomes.select(pl.col("number").alias("outcome_number"), pl.col(EXPIRY).alias("later"))
        claimed = self.claimed.join(expiry_of, on="outcome_number", how="left", maintain_order="left").with_columns(
            pl.max_horizontal(EXPIRY, "later").alias(EXPIRY), pl.lit(value=True).alias("is_outcome_known")
        )
        return pl.concat([as_facts(arrivals.reversals).select(_COLUMNS), claimed.select(_COLUMNS)])


def as_facts(arrived: pl.DataFrame) -> pl.DataFrame:
    return arrived.with_columns(
        pl.col("event_time").to_physical().alias("event_time_us"), pl.col("currency").cast(pl.String)
    ).select(*_COLUMNS, "outcome_number")


def reversals_of(
    arrivals: Arrivals, kept: pl.DataFrame, state: State, watermark_us: int | None, *, resolve_all: bool
) -> Reversals:
    """kept: rows of the kept outcomes concerned."""
    earlier = _of_outcomes(kept, state)
    claimed = _of_outcomes(arrivals.outcomes, state)
    arrived = as_facts(arrivals.reversals)
    new = arrived.filter("is_outcome_known")
    lone = arrived.filter(~pl.col("is_outcome_known"))
    if not resolve_all:
        lone = lone.clear() if watermark_us is None else lone.filter(lone[EXPIRY] < watermark_us)
    unmatched = pl.concat([lone, _waited(claimed, state, watermark_us, resolve_all=resolve_all)])
    withdrawn = claimed.filter(is_resolved(claimed["number"], state))
    return Reversals(earlier, claimed, new, unmatched, withdrawn)


def is_resolved(numbers: pl.Series, state: State) -> pl.Series:
    """Which outcomes or reversals were resolved before what they waited for had passed."""
    found = state.find(RESOLVED, "outcome_key", pl.Series(mixed_numbers(numbers.to_numpy())), ["outcome_number"])
    return numbers.is_in(found["outcome_number"].implode())


def _of_outcomes(outcomes: pl.DataFrame, state: State) -> pl.DataFrame:
    """The reversals of some outcomes that earlier commits hold, each once."""
    found = state.find_texts(REVERSALS, "reverses_hash", "reverses", outcomes["event_id"], _COLUMNS)
    placed = found.with_columns(outcomes["number"].gather(found[ASKED]).alias("outcome_number")).drop(ASKED)
    return placed.sort("number", "is_outcome_known").unique("number", keep="last", maintain_order=True)


def _waited(claimed: pl.DataFrame, state: State, watermark_us: int | None, *, resolve_all: bool) -> pl.DataFrame:
    """Reversals whose outcome has not come while they waited for it."""
    if watermark_us is None and not resolve_all:
        return claimed.clear()
    rows = state.expiring(REVERSALS, None if resolve_all else watermark_us, _COLUMNS)
    rows = rows.filter(~pl.col("is_outcome_known"))
    if rows.height:
        again = state.find(REVERSALS, "id_hash", rows["id_hash"], ["number", "is_outcome_known"])
        known = pl.concat([again.filter("is_outcome_known")["number"], claimed["number"]])
        rows = rows.filter(~rows["number"].is_in(known.implode()) & ~is_resolved(rows["number"], state))
    return rows.with_columns(pl.lit(None, dtype=pl.Int64).alias("outcome_number"))
