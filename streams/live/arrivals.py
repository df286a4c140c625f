"""Which of a batch's events are new: not too late, no copy, no conflict. Each gets its number and its expiry.

In a batch, outcomes are looked at first: whether a reversal's retention is over depends on its outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from attribution.content import content_digest
from attribution.deduplicate import deduplicate
from attribution.frames import as_outcomes
from attribution.match import hashed
from attribution.money import Bools
from attribution.retention import Retention
from attribution.words import constant
from schemas.events import OUTCOME_COLUMNS, SOURCE_COLUMNS, Kind, canonical_columns
from schemas.reasons import Refusal
from streams.live.families import EXPIRY, INFERENCES, OUTCOMES, REVERSALS, SCORES, Family
from streams.live.family_state import ASKED
from streams.live.state import State

_REFUSED = ["reason", "detail", *SOURCE_COLUMNS]


@dataclass(frozen=True)
class Arrivals:
    """inferences, outcomes, reversals, scores: accepted events, canonical and source columns, and those of their
    family (without any score in the batch: not these).

    refused: reason, detail and source columns of events that came too late or in conflict; duplicates: source
    columns of copies. Reversals have ``outcome_hash`` and ``outcome_number`` of the kept outcome they reverse.
    """

    inferences: pl.DataFrame
    outcomes: pl.DataFrame
    reversals: pl.DataFrame
    scores: pl.DataFrame
    refused: pl.DataFrame
    duplicates: pl.DataFrame


def take_in(events: dict[Kind, pl.DataFrame], state: State, retention: Retention) -> Arrivals:
    """events: valid and in time in their own partitions; canonical and source columns, in reading order."""
    named = [
        events[kind].with_columns(constant(kind.value, events[kind].height).alias("kind"))
        for kind in (Kind.CONVERSION, Kind.TIME_SAVED)
    ]
    outcomes = as_outcomes(named)
    outcomes = outcomes.with_columns(pl.Series(EXPIRY, retention.outcome_expiry_us(_times(outcomes))))
    sieve = _Sieve(state)
    outcomes = sieve.new(outcomes, OUTCOMES, "event_id", list(OUTCOME_COLUMNS))
    due = pl.Series("due_us", retention.due_us(_times(outcomes)))
    outcomes = outcomes.with_columns(due, pl.Series("profile", state.outcome_profiles.numbers(outcomes)))

    inferences = events[Kind.INFERENCE]
    expiry = retention.inference_expiry_us(inferences["use_case"], _times(inferences))
    inferences = inferences.with_columns(pl.Series(EXPIRY, expiry))
    inferences = sieve.new(inferences, INFERENCES, "inference_id", list(canonical_columns(Kind.INFERENCE)))
    inferences = inferences.with_columns(
        hashed(inferences["trace_id"]).alias("trace_hash"),
        pl.Series("profile", state.inference_profiles.numbers(inferences)),
    )

    reversals = _with_outcomes(events[Kind.REVERSAL], outcomes, state, retention)
    reversals = sieve.new(reversals, REVERSALS, "event_id", list(canonical_columns(Kind.REVERSAL)))

    scores = events[Kind.SCORE]
    if scores.height:  # most pipelines have none
        scores = scores.with_columns(pl.Series(EXPIRY, retention.outcome_expiry_us(_times(scores))))
        scores = sieve.new(scores, SCORES, "event_id", list(canonical_columns(Kind.SCORE)))
    return Arrivals(inferences, outcomes, reversals, scores, sieve.refused(), sieve.duplicates())


def _with_outcomes(reversals: pl.DataFrame, new: pl.DataFrame, state: State, retention: Retention) -> pl.DataFrame:
    """With the outcome that each reverses, if it is known, and the expiry that follows."""
    hashes = hashed(reversals["reverses"])
    kept = state.find_texts(OUTCOMES, "id_hash", "event_id", reversals["reverses"], [EXPIRY, "number"])
    known = pl.concat(
        [
            reversals["reverses"]
            .gather(kept[ASKED])
            .alias("reverses")
            .to_frame()
            .hstack(kept.select(pl.col(EXPIRY).alias("outcome_expiry_us"), pl.col("number").alias("outcome_number"))),
            new.select(
                pl.col("event_id").alias("reverses"),
                pl.col(EXPIRY).alias("outcome_expiry_us"),
                pl.col("number").alias("outcome_number"),
            ),
        ]
    ).unique("reverses")
    found = reversals.with_columns(hashes.alias("reverses_hash")).join(
        known, on="reverses", how="left", maintain_order="left"
    )
    of_outcome = found["outcome_expiry_us"].fill_null(0).to_numpy()
    return found.with_columns(
        pl.Series(EXPIRY, retention.reversal_expiry_us(_times(found), of_outcome)),
        pl.col("outcome_number").is_not_null().alias("is_outcome_known"),
    ).drop("outcome_expiry_us")


def _times(events: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return events["event_time"].to_physical().to_numpy()


class _Sieve:
    """Lets through what is new, and remembers what was refused and what was a copy."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._refused: list[pl.DataFrame] = []
        self._duplicates: list[pl.DataFrame] = []

    def new(self, events: pl.DataFrame, family: Family, id_column: str, content: list[str]) -> pl.DataFrame:
        """The events to be accepted, with ``id_hash``, ``digest`` and ``number``."""
        if self._state.watermark_us is not None:
            events = self._in_time(events)
        events = events.with_columns(
            hashed(events[id_column]).alias("id_hash"), pl.Series("digest", content_digest(events, content))
        )
        events = self._not_known(events, family, id_column)
        found = deduplicate(events, id_column, content)
        self._refuse_conflicts(found.conflicting, id_column)
        self._duplicates.append(found.duplicates.select(*SOURCE_COLUMNS))
        accepted = found.events
        return accepted.with_columns(self._state.numbered(accepted.height).alias("number"))

    def _in_time(self, events: pl.DataFrame) -> pl.DataFrame:
        """Without those whose own retention is over: they could not be told from copies."""
        is_over = events[EXPIRY] < self._state.watermark_us
        if not is_over.any():
            return events
        detail = "event_time: its retention was over at the watermark of the commit before"
        self._refuse(events.filter(is_over), Refusal.TOO_LATE, pl.lit(detail))
        return events.filter(~is_over)

    def _not_known(self, events: pl.DataFrame, family: Family, id_column: str) -> pl.DataFrame:
        """Without those whose id is kept: copies where the content is equal, else conflicts."""
        known = self._state.find(family, "id_hash", events["id_hash"], [id_column, "digest"])
        known = known.filter(known[id_column] == events[id_column].gather(known[ASKED])).unique(ASKED)
        if known.height == 0:
            return events
        rows = known[ASKED].to_numpy()
        is_equal = (events["digest"].gather(known[ASKED]) == known["digest"]).to_numpy()
        is_known, is_copy = np.zeros(events.height, dtype=np.bool_), np.zeros(events.height, dtype=np.bool_)
        is_known[rows], is_copy[rows] = True, is_equal
        self._duplicates.append(_where(events, is_copy).select(*SOURCE_COLUMNS))
        self._refuse_conflicts(_where(events, is_known & ~is_copy), id_column)
        return _where(events, ~is_known)

    def _refuse_conflicts(self, events: pl.DataFrame, id_column: str) -> None:
        # Not pl.format, which panics over a column whose first chunk is empty (polars 2.1).
        detail = pl.lit(f"{id_column}: ") + pl.col(id_column) + " was read before with other content"
        self._refuse(events, Refusal.CONFLICTING_DUPLICATE, detail)

    def _refuse(self, events: pl.DataFrame, reason: Refusal, detail: pl.Expr) -> None:
        if events.height:
            why = constant(reason, events.height).alias("reason")
            self._refused.append(events.with_columns(why, detail.alias("detail")).select(_REFUSED))

    def refused(self) -> pl.DataFrame:
        schema = {"reason": pl.Categorical(), "detail": pl.String(), **SOURCE_COLUMNS}
        return pl.concat([pl.DataFrame(schema=schema), *self._refused])

    def duplicates(self) -> pl.DataFrame:
        return pl.concat([pl.DataFrame(schema=SOURCE_COLUMNS), *self._duplicates])


def _where(events: pl.DataFrame, keep: Bools) -> pl.DataFrame:
    return events.filter(pl.Series(keep))
