"""The figures of one outcome and the arithmetic of steps 5 and 6, as lines that can be worked out by hand.

Every result is the kernel's own: ``worked_out`` calls the functions that made the published rows, on this
outcome alone. The expressions before the results are built from the inputs of each step, so a reader (and
``tests/test_explain.py``) can see that they agree. An outcome that was reversed is shown twice, as it stands
and, with names that begin with "gross", as it would stand without its reversals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from attribution.explain.words import Step, number, shown
from attribution.in_force import ANY_TYPE, RuleColumns
from attribution.measure import Measures
from attribution.money import Bools, Int64s
from attribution.paths import Paths
from attribution.rules import Rule
from attribution.split import split
from attribution.value import worth
from schemas.events import Kind


@dataclass(frozen=True)
class Reduction:
    """What the reversals that count take from one field, in units; is_whole: one of them takes all."""

    parts: tuple[int, ...] = ()
    is_whole: bool = False

    def expression(self, gross: int) -> str:
        """sign × max(0, |gross| − parts), as simple as it gets."""
        if self.is_whole:
            return f"{number(gross)} − {number(gross)}"
        left = " − ".join(number(part) for part in (abs(gross), *self.parts))
        if sum(self.parts) > abs(gross):
            left = f"max(0, {left})"
        return left if gross >= 0 else f"-1 × ({left})"


@dataclass(frozen=True)
class Facts:
    """An outcome's own figures in units; None where it has none. rate: base currency per unit of its currency."""

    kind: Kind
    base_currency: str
    currency: str | None
    amount: int | None
    quantity: int | None
    seconds: int | None
    baseline_seconds: int | None
    actual_seconds: int | None
    role: str | None
    rate: int | None
    taken_amount: Reduction
    taken_quantity: Reduction
    taken_seconds: Reduction

    @property
    def own_seconds(self) -> int | None:
        if self.baseline_seconds is not None and self.actual_seconds is not None:
            return self.baseline_seconds - self.actual_seconds
        return self.seconds


@dataclass(frozen=True)
class Group:
    """The path of one use case: ids, ages and weights of its touches in path order, and the rule that governs."""

    use_case: str
    rule: Rule
    touches: tuple[str, ...]
    ages_us: tuple[int, ...]
    weights: tuple[int, ...]


@dataclass(frozen=True)
class Figures:
    """Steps 5 to 8 as the kernel worked them out, in units: measures, per use case, per touch, and what was cut."""

    amount: int | None
    quantity: int | None
    own_seconds: int | None
    value: list[int]
    full_value: list[int]
    seconds: list[int | None]
    full_seconds: list[int | None]
    touch_amount: list[int | None]
    touch_value: list[int]
    touch_seconds: list[int | None]
    cut_value: int
    cut_seconds: int | None


def groups(paths: Paths, weight: Int64s, inferences: pl.DataFrame, rules: Sequence[Rule]) -> list[Group]:
    """The paths of one outcome, use case by use case."""
    starts = np.flatnonzero(paths.starts_group).tolist()
    found = []
    for start, end in pairwise([*starts, len(paths.outcome)]):
        rows = pl.Series(paths.inference[start:end], dtype=pl.UInt32)
        found.append(
            Group(
                str(inferences["use_case"][int(rows[0])]),
                rules[int(paths.governing[start])],
                tuple(inferences["inference_id"].gather(rows)),
                tuple(paths.age_us[start:end].tolist()),
                tuple(weight[start:end].tolist()),
            )
        )
    return found


def worked_out(
    paths: Paths, weight: Int64s, outcome: pl.DataFrame, measures: Measures, is_conversion: Bools, columns: RuleColumns
) -> Figures:
    """The kernel's figures of one outcome (one row) with a path."""
    first_touches = np.flatnonzero(paths.starts_group)
    row = pl.Series(np.zeros(len(first_touches)), dtype=pl.UInt32)
    per_use_case = worth(
        measures.rows(row),
        is_conversion[paths.outcome[first_touches]],
        outcome["role"].gather(row),
        paths.governing[first_touches],
        columns,
    )
    earned, cut = split(paths, weight, outcome, measures, is_conversion, columns)
    return Figures(
        measures.amount.item(),
        measures.quantity.item(),
        measures.own_seconds.item(),
        per_use_case.value.to_list(),
        per_use_case.full_value.to_list(),
        per_use_case.seconds.to_list(),
        per_use_case.full_seconds.to_list(),
        earned.amount.to_list(),
        earned.value.to_list(),
        earned.seconds.to_list(),
        cut.value.item(),
        cut.seconds.item(),
    )


# Step 5: the measure


def measure_steps(
    facts: Facts, measures: Measures, own_amount: int | None, *, needs_quantity: bool, prefix: str = ""
) -> list[str | Step]:
    """What the outcome amounts to. own_amount: net, in its own currency; prefix "gross ": without reversals."""
    steps: list[str | Step] = []
    is_net = not prefix
    if facts.amount is not None and own_amount is not None:
        steps += _amount_steps(facts, measures.amount.item(), own_amount, prefix)
    if needs_quantity and facts.quantity is not None:
        expression = facts.taken_quantity.expression(facts.quantity) if is_net else ""
        steps.append(Step(f"{prefix}quantity", number(measures.quantity.item()), expression))
    own = facts.own_seconds
    if own is not None:
        gross = "" if facts.baseline_seconds is None else _difference(facts.baseline_seconds, facts.actual_seconds)
        if is_net and _takes(facts.taken_seconds):
            steps.append(Step("own seconds", number(own), gross, "s"))
            expression = facts.taken_seconds.expression(own)
            steps.append(Step("net seconds", number(measures.own_seconds.item()), expression, "s"))
        else:
            steps.append(Step(f"{prefix}seconds", number(measures.own_seconds.item()), gross, "s"))
    return steps


def _amount_steps(facts: Facts, amount: int | None, own_amount: int, prefix: str) -> list[str | Step]:
    assert facts.amount is not None
    reduction = "" if prefix else facts.taken_amount.expression(facts.amount)
    if facts.currency == facts.base_currency:
        return [Step(f"{prefix}amount", number(own_amount), reduction, facts.base_currency)]
    own = Step(f"{prefix}own amount", number(own_amount), reduction, str(facts.currency))
    if amount is None or facts.rate is None:
        return [own, f"{prefix}amount in {facts.base_currency}: none, for there is no rate"]
    expression = f"round9({number(own_amount)} × {number(facts.rate)})"
    return [own, Step(f"{prefix}amount", number(amount), expression, facts.base_currency)]


def _takes(reduction: Reduction) -> bool:
    return bool(reduction.parts) or reduction.is_whole


def _difference(baseline: int, actual: int | None) -> str:
    return f"{number(baseline)} − {number(actual or 0)}"


# Step 6: the value for each use case


def value_steps(facts: Facts, group: Group, at: int, figures: Figures, *, prefix: str = "") -> list[Step]:
    """What the outcome is worth to one use case, the ``at``-th, before and after its cap."""
    if facts.kind is Kind.CONVERSION:
        return _conversion_steps(facts, group, at, figures, prefix)
    return _time_saved_steps(facts, group, at, figures, prefix)


def _conversion_steps(facts: Facts, group: Group, at: int, figures: Figures, prefix: str) -> list[Step]:
    rule, name = group.rule, shown(group.use_case)
    if rule.value_per_event is not None:
        worth_of = f"round9({number(figures.quantity or 0)} × {number(rule.value_per_event)})"
    else:
        worth_of = f"round9({number(figures.amount or 0)} × {number(rule.margin)})"
    if rule.effect == "loss":
        worth_of = f"-1 × {worth_of}"
    value = number(figures.value[at])
    if rule.max_value is None:
        return [Step(f"{prefix}value for {name}", value, worth_of, facts.base_currency)]
    full = number(figures.full_value[at])
    return [
        Step(f"{prefix}full value for {name}", full, worth_of, facts.base_currency),
        Step(f"{prefix}value for {name}", value, _clamped(full, rule.max_value), facts.base_currency),
    ]


def _time_saved_steps(facts: Facts, group: Group, at: int, figures: Figures, prefix: str) -> list[Step]:
    rule, name = group.rule, shown(group.use_case)
    seconds, full_seconds = figures.seconds[at], figures.full_seconds[at]
    assert seconds is not None
    assert full_seconds is not None
    steps = []
    if figures.own_seconds is None:
        gross = (rule.baseline_seconds or 0) - (facts.actual_seconds or 0)
        difference = _difference(rule.baseline_seconds or 0, facts.actual_seconds)
        if not prefix and _takes(facts.taken_seconds):
            steps.append(Step(f"own seconds for {name}", number(gross), difference, "s"))
            difference = facts.taken_seconds.expression(gross)
        steps.append(Step(f"{prefix}net seconds for {name}", number(full_seconds), difference, "s"))
    rates = dict(rule.hourly_rates)
    rate = rates.get(facts.role or ANY_TYPE, rates[ANY_TYPE])

    def value_of(units: int) -> str:
        return f"round9(round9({number(units)} × {number(rate)} / 3600) × {number(rule.realisation)})"

    if rule.max_seconds is not None:
        clamped = _clamped(number(full_seconds), rule.max_seconds)
        full = number(figures.full_value[at])
        steps.append(Step(f"{prefix}full value for {name}", full, value_of(full_seconds), facts.base_currency))
        steps.append(Step(f"{prefix}seconds for {name}", number(seconds), clamped, "s"))
    value = number(figures.value[at])
    return [*steps, Step(f"{prefix}value for {name}", value, value_of(seconds), facts.base_currency)]


def _clamped(full: str, limit: int) -> str:
    return f"max({number(-limit)}, min({number(limit)}, {full}))"
