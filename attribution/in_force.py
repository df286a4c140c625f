"""Which rules are in force for an inference, as table look-ups over whole columns.

Between two neighbouring ``effective_from`` of its rules nothing changes for a use case: such a stretch
is a *segment*. An inference's segment follows from its use case and time; a segment has one window in
which its inferences are open, and for each kind and type of outcome at most one rule.

An inference whose use case has no rule in force falls into the segment of the whole pipeline at that
time, which has a window (the longest of all rules in force) but no rule.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from attribution.money import Bools, Int64s
from attribution.rules import Rule, Rules
from attribution.words import codes
from schemas.events import WORD, Kind

NO_RULE = -1
ANY_TYPE = "*"
_KINDS = (Kind.CONVERSION.value, Kind.TIME_SAVED.value)
_NONE = -1


class RulesInForce:
    """Rules compiled for look-up. Columns of ``table`` follow ``rules``, one row per rule."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules.rules
        self._use_cases = sorted({rule.use_case for rule in self.rules})
        self._kind_types = sorted({(rule.kind, rule.type) for rule in self.rules if rule.type != ANY_TYPE})
        self._starts = np.array(sorted({rule.effective_from_us for rule in self.rules}), dtype=np.int64)
        self._early: list[int] = []
        self._late: list[int] = []
        rule_rows: list[list[int]] = []
        # One row per use case and a last one for every other; one column per interval between starts.
        self._segments = np.empty((len(self._use_cases) + 1, len(self._starts) + 1), dtype=np.int64)
        for interval in range(len(self._starts) + 1):
            at = self._starts[interval - 1] if interval else None
            in_force = _newest(self.rules, at)
            pipeline = self._add(in_force.values(), rule_rows, has_rules=False)
            self._segments[:, interval] = pipeline
        for row, use_case in enumerate(self._use_cases):
            own = [rule for rule in self.rules if rule.use_case == use_case]
            starts = sorted({rule.effective_from_us for rule in own})
            for position, start in enumerate(starts):
                segment = self._add(_newest(own, start).values(), rule_rows, has_rules=True)
                first = int(np.searchsorted(self._starts, start)) + 1
                end = starts[position + 1] if position + 1 < len(starts) else None
                last = len(self._starts) + 1 if end is None else int(np.searchsorted(self._starts, end)) + 1
                self._segments[row, first:last] = segment
        self.early_us = np.array(self._early, dtype=np.int64)
        self.late_us = np.array(self._late, dtype=np.int64)
        self._rule = np.array(rule_rows, dtype=np.int64)

    def _add(self, rules: Iterable[Rule], rows: list[list[int]], *, has_rules: bool) -> int:
        rules = list(rules)
        self._early.append(max((rule.early_tolerance_us for rule in rules), default=0))
        self._late.append(max((rule.lookback_window_us for rule in rules), default=0))
        number = {(rule.kind, rule.type): self.rules.index(rule) for rule in rules} if has_rules else {}
        any_type = [number.get((kind, ANY_TYPE), _NONE) for kind in _KINDS]
        exact = [number.get(key, any_type[_KINDS.index(key[0])]) for key in self._kind_types]
        rows.append([*exact, *any_type])
        return len(rows) - 1

    def segments(self, use_case: pl.Series, time_us: Int64s) -> Int64s:
        """The segment of each inference, from its use case (words) and event time."""
        interval = np.searchsorted(self._starts, time_us, side="right")
        return self._segments[codes(use_case, self._use_cases), interval]

    def is_open(self, segment: Int64s, inference_us: Int64s, outcome_us: Int64s) -> Bools:
        """Per pair: i − E ≤ o ≤ i + L, both ends inclusive; segment: of the inference."""
        early, late = self.early_us[segment], self.late_us[segment]
        return (inference_us - early <= outcome_us) & (outcome_us <= inference_us + late)

    def open_until_us(self, use_case: pl.Series, time_us: Int64s) -> Int64s:
        """The last moment at which an outcome finds the inference open."""
        return time_us + self.late_us[self.segments(use_case, time_us)]

    def kind_types(self, kind: pl.Series, type_: pl.Series) -> Int64s:
        """A number for each outcome's kind and type, for ``rule_of``."""
        kinds = codes(kind, _KINDS)
        names = sorted({type_name for _, type_name in self._kind_types})
        types = codes(type_, names)
        table = np.empty((len(_KINDS), len(names) + 1), dtype=np.int64)
        for row, kind_name in enumerate(_KINDS):
            table[row, :] = len(self._kind_types) + row  # the kind's "*"
            for column, type_name in enumerate(names):
                if (kind_name, type_name) in self._kind_types:
                    table[row, column] = self._kind_types.index((kind_name, type_name))
        return table[kinds, types]

    def rule_of(self, segment: Int64s, kind_type: Int64s) -> Int64s:
        """Index into ``rules`` of the rule in force, or NO_RULE."""
        return self._rule[segment, kind_type]

    def longest_early_us(self) -> int:
        """The longest early tolerance of all rules."""
        return max((rule.early_tolerance_us for rule in self.rules), default=0)

    def first_start_us(self) -> dict[str, int]:
        """Per use case the start of its oldest rule."""
        starts: dict[str, int] = {}
        for rule in self.rules:
            starts[rule.use_case] = min(rule.effective_from_us, starts.get(rule.use_case, rule.effective_from_us))
        return starts


class RuleColumns:
    """The rules' own figures as arrays, to be gathered by rule index (NO_RULE gathers the last row)."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        def column(values: Iterable[int | None], absent: int = 0) -> Int64s:
            return np.array([absent if value is None else value for value in values], dtype=np.int64)

        self.lookback_us = column([*(r.lookback_window_us for r in rules), -1])
        self.early_us = column([*(r.early_tolerance_us for r in rules), -1])
        self.joins_trace = np.array([*(r.join == "trace" for r in rules), False])
        self.max_touches = column([*(r.max_touches for r in rules), None], absent=np.iinfo(np.int64).max)
        self.share = column([*(r.share for r in rules), 1])
        self.margin = column([*(r.margin for r in rules), 0])
        self.has_value_per_event = np.array([*(r.value_per_event is not None for r in rules), False])
        self.value_per_event = column([*(r.value_per_event for r in rules), 0])
        self.is_loss = np.array([*(r.effect == "loss" for r in rules), False])
        self.max_value = pl.Series([*(r.max_value for r in rules), None], dtype=pl.Int64)
        self.has_baseline = np.array([*(r.baseline_seconds is not None for r in rules), False])
        self.baseline_seconds = column([*(r.baseline_seconds for r in rules), 0])
        self.realisation = column([*(r.realisation for r in rules), 0])
        self.max_seconds = pl.Series([*(r.max_seconds for r in rules), None], dtype=pl.Int64)
        self.credit = np.array([*(r.credit for r in rules), ""])
        self.half_life_us = column([*(r.half_life_us for r in rules), 1], absent=1)
        self.position_weights = np.array([*(r.position_weights for r in rules), (1, 1, 1)], dtype=np.int64)
        self.rule_id = pl.Series([*(r.rule_id for r in rules), None], dtype=pl.String).cast(WORD)
        self._roles = sorted({role for r in rules for role, _ in r.hourly_rates if role != ANY_TYPE})
        self._hourly_rate = np.zeros((len(rules) + 1, len(self._roles) + 1), dtype=np.int64)
        for row, rule in enumerate(rules):
            rates = dict(rule.hourly_rates)
            for position, role in enumerate([*self._roles, ANY_TYPE]):
                self._hourly_rate[row, position] = rates.get(role, rates.get(ANY_TYPE, 0))

    def hourly_rate(self, rule: Int64s, role: pl.Series) -> Int64s:
        """Units per hour for each (rule, role); an unknown or absent role takes ``*``."""
        return self._hourly_rate[rule, codes(role, self._roles)]


def _newest(rules: Iterable[Rule], at: int | None) -> dict[tuple[str, str, str], Rule]:
    """Per use case, kind and type the newest rule that began at or before ``at`` (none before the first)."""
    in_force: dict[tuple[str, str, str], Rule] = {}
    for rule in rules:
        key = (rule.use_case, rule.kind, rule.type)
        if at is not None and rule.effective_from_us <= at:
            known = in_force.get(key)
            if known is None or known.effective_from_us < rule.effective_from_us:
                in_force[key] = rule
    return in_force
