"""How long events are kept, how long outcomes wait, and which inferences an outcome keeps a copy of.

A moment is *passed* when the watermark is greater than it. Times are µs since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from attribution.in_force import RulesInForce
from attribution.money import Bools, Int64s
from attribution.paths import OPEN_MAX, changes


@dataclass(frozen=True)
class Retention:
    """The windows of a pipeline, as the moments that the watermark must pass."""

    in_force: RulesInForce
    reversal_window_us: int
    allowed_lateness_us: int

    def inference_expiry_us(self, use_case: pl.Series, times_us: Int64s) -> Int64s:
        """When an inference settles and is forgotten: its time + widest lookback window + allowed lateness."""
        return self.in_force.open_until_us(use_case, times_us) + self.allowed_lateness_us

    def outcome_expiry_us(self, times_us: Int64s) -> Int64s:
        """When an outcome and its id are forgotten: its time + reversal window + allowed lateness."""
        return times_us + self.outcome_us

    def reversal_expiry_us(self, times_us: Int64s, outcome_expiry_us: Int64s | None = None) -> Int64s:
        """When a reversal is forgotten: with its outcome, if that is known, in any case not before its own lateness."""
        own = times_us + self.allowed_lateness_us
        return own if outcome_expiry_us is None else np.maximum(own, outcome_expiry_us)

    def due_us(self, times_us: Int64s) -> Int64s:
        """Until when an outcome waits for inferences: its time + longest early tolerance + allowed lateness.

        No early tolerance exceeds the reversal window, so an outcome that waits is never forgotten.
        """
        return times_us + (self.in_force.longest_early_us() + self.allowed_lateness_us)

    def bucket_us(self, *, is_of_inferences: bool) -> int:
        """A sixteenth of the longest time that inferences, or outcomes, are kept; at least a minute."""
        longest = self.longest_inference_us if is_of_inferences else self.outcome_us
        return max(longest // 16, 60_000_000)

    @property
    def longest_inference_us(self) -> int:
        """How long after its time an inference is kept, under the rules that keep it longest."""
        return int(self.in_force.late_us.max(initial=0)) + self.allowed_lateness_us

    @property
    def outcome_us(self) -> int:
        """How long after its time an outcome is kept."""
        return self.reversal_window_us + self.allowed_lateness_us

    def is_open(self, use_case: pl.Series, inference_us: Int64s, outcome_us: Int64s) -> Bools:
        """Per pair: i − E ≤ o ≤ i + L, both ends inclusive."""
        return self.in_force.is_open(self.in_force.segments(use_case, inference_us), inference_us, outcome_us)


def kept_touches(outcome: Int64s, use_case: Int64s) -> Bools:
    """Per touch (rows in order of ``outcome``) whether its outcome keeps it: all, up to one more than are split.

    An outcome of more touches is ``too_many_touches`` for good. What is published of it beside that is whether they
    share one use case: so where they do not, one of another use case than the first is among those kept.
    """
    starts = np.flatnonzero(changes(outcome))
    lengths = np.diff(np.append(starts, len(outcome)))
    place = np.arange(len(outcome)) - np.repeat(starts, lengths)
    keep = place <= OPEN_MAX
    if keep.all():
        return keep
    # A loop over outcomes with over 10,000 touches: there are few of them.
    for start, length in zip(starts[lengths > OPEN_MAX + 1], lengths[lengths > OPEN_MAX + 1], strict=True):
        others = np.flatnonzero(use_case[start : start + length] != use_case[start])
        if len(others) and others[0] > OPEN_MAX:
            keep[start + OPEN_MAX] = False
            keep[start + others[0]] = True
    return keep
