"""The sections that hold the arithmetic of one outcome: measure, value, shares, weights, credits, reversals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from attribution.explain.arithmetic import Figures, Group, Reduction, measure_steps, value_steps
from attribution.explain.candidates import shown_rule
from attribution.explain.kernel import Work
from attribution.explain.split import Whole, cut_steps, share_steps, touch_steps, weight_steps, wholes
from attribution.explain.words import Section, Step, number, shown, sums
from attribution.rules import SHARE_PLACES

Lines = list[str | Step]


def arithmetic(work: Work) -> list[Section]:
    """Steps 5 to 8: as the outcome stands and, where it was reversed, what of it is needed without reversals."""
    steps = measure_steps(work.facts, work.net, work.own_amount(is_net=True), needs_quantity=work.needs_quantity)
    sections = [Section("Measure", tuple(steps or ["none of its own: the rule gives it"]))]
    if not work.groups:
        return sections
    net = work.figures(work.net)
    sections.append(Section("Value", tuple(_values(work, net))))
    if shares := _shares(work, net):
        sections.append(Section("Over use cases", tuple(shares)))
    sections.append(Section("Weights", tuple(_weights(work.groups))))
    title = "Credits" if work.reason is None else "What the holdout would have earned"
    sections.append(Section(title, tuple(_touches(work, net))))
    if work.reason is not None:
        return sections
    if work.counted.height == 0:
        return [*sections, Section("Reversed", ("no reversal counts: reversed_value is 0 in every credit",))]
    return [*sections, *_reversed(work, net)]


def _values(work: Work, figures: Figures, *, prefix: str = "") -> Lines:
    lines: Lines = []
    for at, group in enumerate(work.groups):
        if not prefix:
            lines.append(f"use case {shown(group.use_case)}: path {', '.join(shown(touch) for touch in group.touches)}")
            lines.append(f"  governed by {shown_rule(group.rule)}, in force for its last touch")
        lines += value_steps(work.facts, group, at, figures, prefix=prefix)
    return lines


def _shares(work: Work, figures: Figures, *, prefix: str = "") -> Lines:
    """Over use cases; of one alone there is nothing to say but what its cap cut."""
    lines: Lines = []
    if len(work.groups) > 1:
        if not prefix:
            shares = [group.rule.share for group in work.groups]
            lines.append(Step("Σ share", number(sum(shares), SHARE_PLACES), sums(shares, SHARE_PLACES)))
        for whole in _split_wholes(work, figures, prefix):
            lines += share_steps(whole, _parts(work.groups, whole.of_touch), work.groups, prefix=prefix)
    if not prefix and work.reason is None:
        lines += cut_steps(work.facts, figures, work.groups)
    return lines


def _split_wholes(work: Work, figures: Figures, prefix: str) -> list[Whole]:
    """Without reversals, only the value is asked for."""
    found = wholes(work.facts, figures, len(work.groups))
    return [whole for whole in found if whole.name == "value" or not prefix]


def _parts(groups: Sequence[Group], of_touch: Sequence[int]) -> list[int]:
    """Per use case what its touches get in all, which is what it got, to the unit."""
    ends = np.cumsum([len(group.touches) for group in groups]).tolist()
    return [sum(of_touch[end - len(group.touches) : end]) for group, end in zip(groups, ends, strict=True)]


def _weights(groups: Sequence[Group]) -> Lines:
    lines: Lines = []
    for group in groups:
        rule = group.rule
        model = f"credit {rule.credit}"
        if rule.half_life_us is not None:
            model += f", half_life {rule.half_life_us} µs, p(x) is 2^-x in doubles"
        if rule.credit == "position":
            model += f", position_weights {', '.join(str(weight) for weight in rule.position_weights)} millionths"
        lines += [f"use case {shown(group.use_case)}: {model}", *weight_steps(group)]
    return lines


def _touches(work: Work, figures: Figures, *, prefix: str = "") -> Lines:
    lines: Lines = []
    for whole in _split_wholes(work, figures, prefix):
        start = 0
        for group, part in zip(work.groups, _parts(work.groups, whole.of_touch), strict=True):
            of_touch = whole.of_touch[start : start + len(group.touches)]
            lines += touch_steps(group, part, f"{prefix}{whole.name}", whole.unit, of_touch)
            start += len(group.touches)
    return lines


def _reversed(work: Work, net: Figures) -> list[Section]:
    """The value without reversals, and what they took from each credit."""
    gross = work.figures(work.gross)
    nothing = Reduction()
    facts = replace(work.facts, taken_amount=nothing, taken_quantity=nothing, taken_seconds=nothing)
    own_amount = work.own_amount(is_net=False)
    lines = measure_steps(facts, work.gross, own_amount, needs_quantity=work.needs_quantity, prefix="gross ")
    lines += [*_values(work, gross, prefix="gross "), *_shares(work, gross, prefix="gross ")]
    lines += _touches(work, gross, prefix="gross ")
    rows = work.ledger.credits.select("inference_id", pl.col("reversed_value").to_physical())
    reversed_value = dict(rows.iter_rows())
    touches = [touch for group in work.groups for touch in group.touches]
    steps = [
        Step(
            f"reversed_value({shown(touch)})",
            number(reversed_value[touch]),
            f"{number(net.touch_value[at])} − {number(gross.touch_value[at])}",
            work.policy.base_currency,
        )
        for at, touch in enumerate(touches)
        if touch in reversed_value
    ]
    return [Section("Without reversals", tuple(lines)), Section("Reversed", tuple(steps))]
