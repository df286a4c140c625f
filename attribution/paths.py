"""Steps 2 to 4: from the inferences an outcome names to its path of eligible touches.

An outcome's touches stand together and in path order. The work is done on arrays with one element
per touch; an outcome or inference is a row number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from attribution.in_force import NO_RULE, RuleColumns, RulesInForce
from attribution.money import Bools, Int64s
from attribution.words import codes, names_in_byte_order
from schemas.reasons import Unattributed

OPEN_MAX = 10_000

#: Reasons as numbers: an index into this list; SPLIT for an outcome that has none.
REASONS = tuple(Unattributed)
SPLIT = -1

# How far a touch got through the filters of step 3; the best touch of an outcome gives its reason.
_FILTERS = (
    Unattributed.FAILED_INFERENCE,
    Unattributed.NO_RULE,
    Unattributed.NO_VALUATION,
    Unattributed.OUTSIDE_WINDOW,
    Unattributed.HOLDOUT,
)
_ELIGIBLE = len(_FILTERS)
_TOO_MANY = REASONS.index(Unattributed.TOO_MANY_TOUCHES)
_REASON_OF_FILTER = np.array([*(REASONS.index(reason) for reason in _FILTERS), SPLIT])


@dataclass(frozen=True)
class Paths:
    """Eligible touches, by outcome, then use case in byte order, then time, then id as bytes.

    outcome, inference: row numbers; governing: index of the rule of the use case's last touch.
    """

    outcome: Int64s
    inference: Int64s
    use_case: Int64s
    governing: Int64s
    age_us: Int64s

    @property
    def starts_outcome(self) -> Bools:
        return changes(self.outcome)

    @property
    def starts_group(self) -> Bools:
        """True at the first touch of each (outcome, use case)."""
        return self.starts_outcome | changes(self.use_case)

    def only(self, keep: Bools) -> Paths:
        return Paths(
            self.outcome[keep], self.inference[keep], self.use_case[keep], self.governing[keep], self.age_us[keep]
        )


@dataclass(frozen=True)
class Eligibility:
    """What steps 2 to 4 found.

    reason: per outcome why it is not split, as an index into REASONS, or SPLIT; shared_use_case: per outcome a
    row number of an inference whose use case all its open inferences share, −1 where there is none; is_would_be:
    per outcome whether its path is of holdout touches only.
    """

    paths: Paths
    reason: Int64s
    shared_use_case: Int64s
    is_would_be: Bools


def eligible_paths(
    outcomes: pl.DataFrame,
    inferences: pl.DataFrame,
    pairs: pl.DataFrame,
    in_force: RulesInForce,
    columns: RuleColumns,
) -> Eligibility:
    """Steps 2 to 4 for canonical outcomes and inferences, and pairs (outcome row, inference row) that name each other.

    pairs: columns ``outcome`` and ``inference``, no pair twice, in order of outcome.
    """
    count = outcomes.height
    outcome, inference = (pairs[name].to_numpy().astype(np.int64) for name in ("outcome", "inference"))
    rows = pl.Series(inference, dtype=pl.UInt32)
    at = outcomes["event_time"].to_physical().to_numpy()
    time = inferences["event_time"].gather(rows).to_physical().to_numpy()
    use_case = inferences["use_case"].gather(rows)
    segment = in_force.segments(use_case, time)

    # Step 2: open inferences.
    outcome_time = at[outcome]
    is_open = in_force.is_open(segment, time, outcome_time)
    if not is_open.all():
        outcome, inference, time, segment, outcome_time = (
            a[is_open] for a in (outcome, inference, time, segment, outcome_time)
        )
        use_case = use_case.filter(pl.Series(is_open))
        rows = pl.Series(inference, dtype=pl.UInt32)
    use_case_code = codes(use_case, names_in_byte_order(use_case))

    # Step 3: the filters, each touch as far as it gets.
    kind_type = in_force.kind_types(outcomes["kind"], outcomes["type"])
    rule = in_force.rule_of(segment, kind_type[outcome])
    reached = _filters_passed(outcomes, inferences, rows, outcome, outcome_time, time, rule, columns)
    starts = np.flatnonzero(changes(outcome))
    touched = outcome[starts]
    reason = np.full(count, REASONS.index(Unattributed.NO_OPEN_INFERENCE), dtype=np.int64)
    reason[~_names_any(outcomes)] = REASONS.index(Unattributed.NO_INFERENCE_ID)
    best = np.full(count, -1, dtype=np.int64)
    best[touched] = np.maximum.reduceat(reached, starts) if len(starts) else reached
    reason[touched] = _REASON_OF_FILTER[best[touched]]
    open_count = np.diff(np.append(starts, len(outcome)))
    reason[touched[open_count > OPEN_MAX]] = _TOO_MANY
    is_would_be = reason == REASONS.index(Unattributed.HOLDOUT)
    is_split = (reason == SPLIT) | is_would_be

    # Step 4: path order and the governing rule.
    standing = np.flatnonzero(is_split[outcome] & (reached == best[outcome]))
    order = _path_order(standing, outcome, use_case_code, time, inferences["inference_id"], inference)
    age = np.maximum(outcome_time[order] - time[order], 0)
    paths = Paths(outcome[order], inference[order], use_case_code[order], rule[order], age)
    paths, overfull = _governed(paths, columns)
    if len(overfull):
        reason[overfull] = _TOO_MANY
        is_would_be[overfull] = False
        paths = paths.only(~np.isin(paths.outcome, overfull))
    return Eligibility(paths, reason, _shared(outcome, inference, use_case_code, starts, count), is_would_be)


def _filters_passed(
    outcomes: pl.DataFrame,
    inferences: pl.DataFrame,
    rows: pl.Series,
    outcome: Int64s,
    outcome_time: Int64s,
    time: Int64s,
    rule: Int64s,
    columns: RuleColumns,
) -> Int64s:
    """Step 3: per touch the number of the first filter that stops it, _ELIGIBLE where none does."""
    failed = codes(inferences["status"].gather(rows), ["failed"]) == 0
    holdout = codes(inferences["arm"].gather(rows), ["holdout"]) == 0
    names_trace = outcomes["trace_id"].is_not_null().to_numpy()
    no_rule = (rule == NO_RULE) | (names_trace[outcome] & ~columns.joins_trace[rule])
    is_conversion = codes(outcomes["kind"], ["conversion"]) == 0
    has_amount = outcomes["amount"].is_not_null().to_numpy()
    has_seconds = (outcomes["seconds"].is_not_null() | outcomes["baseline_seconds"].is_not_null()).to_numpy()
    valued = np.where(
        is_conversion[outcome],
        has_amount[outcome] | columns.has_value_per_event[rule],
        has_seconds[outcome] | columns.has_baseline[rule],
    )
    # Both ends inclusive, in microseconds.
    inside = (time - columns.early_us[rule] <= outcome_time) & (outcome_time <= time + columns.lookback_us[rule])
    stops = [failed, no_rule, ~valued, ~inside, holdout]
    return np.select(stops, range(_ELIGIBLE), default=_ELIGIBLE).astype(np.int64)


def _path_order(
    standing: Int64s, outcome: Int64s, use_case: Int64s, time: Int64s, ids: pl.Series, inference: Int64s
) -> Int64s:
    """The standing touches in path order. Only outcomes with several need sorting."""
    by_outcome = outcome[standing]
    starts = np.flatnonzero(changes(by_outcome))
    lengths = np.diff(np.append(starts, len(standing)))
    several = np.repeat(lengths > 1, lengths)
    chosen = standing[several]
    if len(chosen) == 0:
        return standing
    frame = pl.DataFrame(
        {
            "outcome": outcome[chosen],
            "use_case": use_case[chosen],
            "time": time[chosen],
            "id": ids.gather(pl.Series(inference[chosen], dtype=pl.UInt32)),
            "touch": chosen,
        }
    )
    ordered = standing.copy()
    ordered[several] = frame.sort("outcome", "use_case", "time", "id")["touch"].to_numpy()
    return ordered


def _governed(paths: Paths, columns: RuleColumns) -> tuple[Paths, Int64s]:
    """Each use case's last touch gives its rule; outcomes with more touches than that rule allows."""
    starts = np.flatnonzero(paths.starts_group)
    if len(starts) == 0:
        return paths, starts
    ends = np.append(starts[1:], len(paths.outcome))
    governing = paths.governing[ends - 1]
    overfull = np.unique(paths.outcome[starts][ends - starts > columns.max_touches[governing]])
    spread = np.repeat(governing, ends - starts)
    return Paths(paths.outcome, paths.inference, paths.use_case, spread, paths.age_us), overfull


def _shared(outcome: Int64s, inference: Int64s, use_case: Int64s, starts: Int64s, count: int) -> Int64s:
    shared = np.full(count, -1, dtype=np.int64)
    if len(starts):
        same = np.minimum.reduceat(use_case, starts) == np.maximum.reduceat(use_case, starts)
        shared[outcome[starts[same]]] = inference[starts[same]]
    return shared


def _names_any(outcomes: pl.DataFrame) -> Bools:
    named = outcomes["inference_ids"].is_not_null() | outcomes["trace_id"].is_not_null()
    return named.to_numpy()


def changes(column: Int64s) -> Bools:
    """True where a value differs from the one before it, and at the first."""
    differs = np.ones(len(column), dtype=np.bool_)
    np.not_equal(column[1:], column[:-1], out=differs[1:])
    return differs
