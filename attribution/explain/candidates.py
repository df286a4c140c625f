"""Steps 2 and 3 candidate by candidate: how far each named inference got, and what stopped it.

The kernel gives one reason per outcome, that of the candidate that came furthest. To hear it for each, the
outcome is put before the kernel once per candidate, with that candidate alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from attribution.engine import CompiledPolicy
from attribution.explain.words import number, shown
from attribution.in_force import NO_RULE
from attribution.paths import REASONS, SPLIT, eligible_paths
from attribution.rules import Rule
from attribution.windows import format_duration, time_text
from schemas.reasons import Unattributed

_LADDER = (
    Unattributed.NO_OPEN_INFERENCE,
    Unattributed.FAILED_INFERENCE,
    Unattributed.NO_RULE,
    Unattributed.NO_VALUATION,
    Unattributed.OUTSIDE_WINDOW,
    Unattributed.HOLDOUT,
)


@dataclass(frozen=True)
class Candidate:
    """One inference against one outcome: times in µs, the widest window of its use case, the rule in force.

    stopped_by: the filter that stops it; None: it is eligible.
    """

    inference_id: str
    time_us: int
    use_case: str
    model: str
    status: str
    arm: str | None
    early_us: int
    late_us: int
    rule: Rule | None
    stopped_by: Unattributed | None


def candidates(
    outcomes: pl.DataFrame, inferences: pl.DataFrame, pairs: pl.DataFrame, compiled: CompiledPolicy
) -> list[Candidate]:
    """One per pair (``outcome`` and ``inference`` row numbers), in order of the pairs."""
    o, i = pairs["outcome"], pairs["inference"]
    alone = outcomes[o.to_numpy()]
    own_pairs = pl.DataFrame({"outcome": np.arange(alone.height, dtype=np.uint32), "inference": i})
    reason = eligible_paths(alone, inferences, own_pairs, compiled.in_force, compiled.columns).reason
    rows = inferences[i.to_numpy()]
    time = rows["event_time"].to_physical().to_numpy()
    segment = compiled.in_force.segments(rows["use_case"], time)
    rule = compiled.in_force.rule_of(segment, compiled.in_force.kind_types(alone["kind"], alone["type"]))
    columns = ("inference_id", "use_case", "model", "status", "arm")
    # Words for a reader, one candidate at a time.
    return [
        Candidate(
            inference_id=row["inference_id"],
            time_us=int(time[n]),
            use_case=row["use_case"],
            model=row["model"],
            status=row["status"],
            arm=row["arm"],
            early_us=int(compiled.in_force.early_us[segment[n]]),
            late_us=int(compiled.in_force.late_us[segment[n]]),
            rule=None if rule[n] == NO_RULE else compiled.in_force.rules[int(rule[n])],
            stopped_by=None if reason[n] == SPLIT else REASONS[int(reason[n])],
        )
        for n, row in enumerate(rows.select(columns).iter_rows(named=True))
    ]


def candidate_lines(candidate: Candidate, outcome_us: int, *, names_trace: bool) -> list[str]:
    """The candidate and each check that it came to, the last one with what stopped it."""
    arm = "" if candidate.arm is None else f", arm {shown(candidate.arm)}"
    head = (
        f"{shown(candidate.inference_id)}: at {time_text(candidate.time_us)}, use case {shown(candidate.use_case)}, "
        f"model {shown(candidate.model)}, status {candidate.status}{arm}"
    )
    checks = [_check(candidate, step, outcome_us, names_trace=names_trace) for step in _LADDER]
    if candidate.stopped_by is None:
        return [head, *(f"  {passed}" for passed, _ in checks[:-1]), "  eligible"]
    last = _LADDER.index(candidate.stopped_by)
    stop = f"  not eligible: {candidate.stopped_by.value}: {checks[last][1]}"
    return [head, *(f"  {passed}" for passed, _ in checks[:last]), stop]


def _check(candidate: Candidate, step: Unattributed, outcome_us: int, *, names_trace: bool) -> tuple[str, str]:
    """What is said where the candidate passes, and where the check stops it."""
    rule = candidate.rule
    match step:
        case Unattributed.NO_OPEN_INFERENCE:
            span = window_text(candidate.time_us, candidate.early_us, candidate.late_us)
            windows = (
                f"the widest window in force reaches {span} (early_tolerance {format_duration(candidate.early_us)}, "
                f"lookback_window {format_duration(candidate.late_us)})"
            )
            beside = beside_text(candidate.time_us, candidate.early_us, candidate.late_us, outcome_us)
            return f"open: {windows}", f"{windows}, and the outcome is {beside}"
        case Unattributed.FAILED_INFERENCE:
            return "served", "its status is failed"
        case Unattributed.NO_RULE:
            if rule is not None:
                stopped = f'{rule.rule_id} has join = "inference", and the outcome names a trace'
                return f"rule in force: {shown_rule(rule)}", stopped if names_trace else ""
            return "", "its use case has no rule for this kind and type in force at its time"
        case Unattributed.NO_VALUATION:
            lacking = "value_per_event, and the outcome no amount"
            if rule is not None and rule.kind == "time_saved":
                lacking = "baseline_seconds, and the outcome only actual_seconds"
            return "the rule can value the outcome", f"the rule has no {lacking}"
        case Unattributed.OUTSIDE_WINDOW:
            if rule is None:
                return "", ""
            early, late = rule.early_tolerance_us, rule.lookback_window_us
            span = window_text(candidate.time_us, early, late)
            beside = beside_text(candidate.time_us, early, late, outcome_us)
            return (
                f"inside the rule's window {span}, both ends included",
                f"the rule's window is {span}, and the outcome is {beside}",
            )
        case _:
            return "", "its arm is holdout"


def window_text(time_us: int, early_us: int, late_us: int) -> str:
    """Both edges of a window around an inference."""
    return f"from {time_text(time_us - early_us)} to {time_text(time_us + late_us)}"


def beside_text(time_us: int, early_us: int, late_us: int, outcome_us: int) -> str:
    """By how much an outcome misses a window."""
    if outcome_us < time_us - early_us:
        return f"{number(time_us - early_us - outcome_us, 6)} s before it"
    return f"{number(outcome_us - time_us - late_us, 6)} s after it"


def shown_rule(rule: Rule) -> str:
    """The rule's id and where it stands."""
    return f"{shown(rule.rule_id)} ({rule.file}, rule {rule.number})"


def summary_lines(found: Sequence[Candidate]) -> list[str]:
    """How many candidates got how far, where there are too many to list."""
    counts: dict[str, int] = {}
    for candidate in found:
        name = "eligible" if candidate.stopped_by is None else candidate.stopped_by.value
        counts[name] = counts.get(name, 0) + 1
    return [f"{name}: {count}" for name, count in sorted(counts.items())]
