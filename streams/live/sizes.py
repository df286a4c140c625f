"""How large a state is now, and how large it will become."""

from __future__ import annotations

from dataclasses import dataclass

from attribution.retention import Retention
from schemas.events import Kind
from streams.live.commit import Commit
from streams.live.families import INFERENCES, OUTCOMES, RESOLVED, WAITS
from streams.live.state import State

#: Bytes on disk of an open inference, and of a kept outcome with its touches (measured: docs/performance.md).
INFERENCE_BYTES = 150
OUTCOME_BYTES = 330
#: Of a kept score: 32 and its id, here of 36 characters.
SCORE_BYTES = 70
#: By kind, of what is kept as long as an outcome.
_KEPT_BYTES = {Kind.CONVERSION: OUTCOME_BYTES, Kind.TIME_SAVED: OUTCOME_BYTES, Kind.SCORE: SCORE_BYTES}


@dataclass(frozen=True)
class Sizes:
    """Inferences that are open, outcomes that are kept and that wait, bytes of all segments."""

    open_inferences: int
    kept_outcomes: int
    waiting_outcomes: int
    state_bytes: int


def sizes_of(state: State) -> Sizes:
    """The state as of its newest commit."""
    watermark_us = state.watermark_us
    counts = {
        family.name: state.families[family.name].count(watermark_us)
        for family in (INFERENCES, OUTCOMES, WAITS, RESOLVED)
    }
    return Sizes(
        counts[INFERENCES.name],
        counts[OUTCOMES.name],
        max(counts[WAITS.name] - counts[RESOLVED.name], 0),
        sum(file.bytes for family in state.families.values() for file in family.files()),
    )


def predicted_bytes(commit: Commit, retention: Retention) -> tuple[int, int] | None:
    """(of open inferences, of kept outcomes and scores): rates seen so far × how long each is kept; None before there
    are any.

    The rate is what was accepted in all over the event time that it covers.
    """
    kinds = {topic.name: Kind(topic.kind) for topic in commit.held.topics}
    of_inferences = of_outcomes = 0
    for partition in commit.partitions:
        kind, accepted = kinds[partition.topic], partition.totals.accepted
        of_inferences += accepted * INFERENCE_BYTES if kind is Kind.INFERENCE else 0
        of_outcomes += accepted * _KEPT_BYTES.get(kind, 0)
    newest = [p.newest_us for p in commit.partitions if p.newest_us is not None]
    oldest = [p.oldest_us for p in commit.partitions if p.oldest_us is not None]
    if not newest or not oldest or max(newest) <= min(oldest):
        return None
    covered = max(newest) - min(oldest)
    return of_inferences * retention.longest_inference_us // covered, of_outcomes * retention.outcome_us // covered
