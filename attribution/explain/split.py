"""Steps 7 and 8 as lines of arithmetic: shares over use cases, weights, and parts of touches.

All splits are by cumulative rounding: a part is the rounded sum up to it less the rounded sum before it, so
the parts always sum to the rounded whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import floor

from attribution.credit import HALVING_COEFFICIENTS
from attribution.explain.arithmetic import Facts, Figures, Group
from attribution.explain.words import Step, number, shown
from attribution.rules import SHARE_PLACES
from schemas.events import Kind

#: Decimal places of a share or a weight times a figure.
_WEIGHTED_PLACES = SHARE_PLACES + 9


# Step 7: over use cases


@dataclass(frozen=True)
class Whole:
    """One figure to be split: per use case what goes in and, where it is split over touches, what comes out."""

    name: str
    unit: str
    of_use_case: list[int]
    of_touch: list[int]


def wholes(facts: Facts, figures: Figures, count: int) -> list[Whole]:
    """Value, amount and seconds, as far as the outcome has them; count: its use cases."""
    found = [Whole("value", facts.base_currency, figures.value, figures.touch_value)]
    if figures.amount is not None:
        of_touch = [amount or 0 for amount in figures.touch_amount]
        found.append(Whole("amount", facts.base_currency, [figures.amount] * count, of_touch))
    if facts.kind is Kind.TIME_SAVED:
        seconds = [[second or 0 for second in column] for column in (figures.seconds, figures.touch_seconds)]
        found.append(Whole("seconds", "s", *seconds))
    return found


def share_steps(whole: Whole, parts: Sequence[int], by: Sequence[Group], *, prefix: str = "") -> list[Step]:
    """One figure over several use cases, by share, with cumulative rounding. parts: per use case what it gets."""
    steps = running_steps(f"{prefix}{whole.name}", whole.of_use_case, by)
    total = number(sum(group.rule.share for group in by), SHARE_PLACES)
    upto = ""
    for group, step, part in zip(by, steps.copy(), parts, strict=True):
        before, upto = upto, f"round9({step.result} / {total})"
        expression = f"{upto} − {before}" if before else upto
        steps.append(Step(f"{prefix}{whole.name} of {shown(group.use_case)}", number(part), expression, whole.unit))
    return steps


def running_steps(name: str, of_use_case: Sequence[int], by: Sequence[Group]) -> list[Step]:
    """Σ share × figure up to each use case."""
    steps: list[Step] = []
    upto = 0
    for group, figure in zip(by, of_use_case, strict=True):
        term = f"{number(group.rule.share, SHARE_PLACES)} × {number(figure)}"
        expression = f"{number(upto, _WEIGHTED_PLACES)} + {term}" if steps else term
        upto += group.rule.share * figure
        label = f"Σ share × {name} up to {shown(group.use_case)}"
        steps.append(Step(label, number(upto, _WEIGHTED_PLACES), expression))
    return steps


def cut_steps(facts: Facts, figures: Figures, by: Sequence[Group]) -> list[Step]:
    """What the caps cut: the ``capped`` row. Empty where they cut nothing."""
    if not figures.cut_value and not figures.cut_seconds:
        return []
    steps = _cut("value", figures.full_value, figures.value, figures.cut_value, facts.base_currency, by)
    if facts.kind is Kind.TIME_SAVED:
        full, kept = ([second or 0 for second in column] for column in (figures.full_seconds, figures.seconds))
        steps += _cut("seconds", full, kept, figures.cut_seconds or 0, "s", by)
    return steps


def _cut(name: str, full: list[int], kept: list[int], cut: int, unit: str, by: Sequence[Group]) -> list[Step]:
    if len(by) == 1:
        return [Step(f"capped {name}", number(cut), f"{number(full[0])} − {number(kept[0])}", unit)]
    total = number(sum(group.rule.share for group in by), SHARE_PLACES)
    running = running_steps(f"full {name}", full, by)
    kept_upto = number(sum(group.rule.share * k for group, k in zip(by, kept, strict=True)), _WEIGHTED_PLACES)
    expression = f"round9({running[-1].result} / {total}) − round9({kept_upto} / {total})"
    return [*running, Step(f"capped {name}", number(cut), expression, unit)]


# Step 8: over touches


def weight_steps(group: Group) -> list[str | Step]:
    """The weight of each touch under the credit model, and their running sum."""
    if len(group.touches) == 1:
        return [Step(f"W({shown(group.touches[0])})", "1")]
    steps: list[str | Step] = []
    upto = 0
    for at, (touch, weight) in enumerate(zip(group.touches, group.weights, strict=True)):
        name = shown(touch)
        expression = ""
        if group.rule.credit == "position":
            expression = _position_weight(group, at)
        if group.rule.credit == "time_decay":
            decay, expression = _decay(group, at)
            steps += decay
        steps.append(Step(f"W({name})", str(weight), expression))
        steps.append(Step(f"ΣW up to {name}", str(upto + weight), f"{upto} + {weight}"))
        upto += weight
    return steps


def _position_weight(group: Group, at: int) -> str:
    first, _, last = group.rule.position_weights
    count = len(group.touches)
    if count == 2 or 0 < at < count - 1:
        return ""
    return f"{first if at == 0 else last} × ({count} − 2)"


def _decay(group: Group, at: int) -> tuple[list[str | Step], str]:
    """W = floor(2^(40−q) × p(r / half_life) + 1/2), (q, r) = divmod(lag, half_life), p(x) = 2^−x in doubles.

    p is written with as many digits as give the weight exactly: a double's shortest text nearly always.
    """
    name, half_life = shown(group.touches[at]), group.rule.half_life_us
    assert half_life is not None
    lag = group.ages_us[at] - min(group.ages_us)
    halvings, rest = divmod(lag, half_life)
    steps: list[str | Step] = [
        Step(f"lag({name})", str(lag), f"{group.ages_us[at]} − {min(group.ages_us)}", "µs"),
        Step(f"halvings({name})", str(halvings), f"floor({lag} / {half_life})"),
    ]
    if halvings > 41:
        return [*steps, f"{name} is more than 41 halvings older than the youngest touch: it weighs nothing"], ""
    p = HALVING_COEFFICIENTS[-1]
    x = float(rest) / float(half_life)
    for coefficient in reversed(HALVING_COEFFICIENTS[:-1]):
        p = p * x + coefficient
    short, exact = (format(Decimal(text), "f") for text in (repr(p), p))
    weight = floor(Fraction(2) ** (40 - halvings) * Fraction(short) + Fraction(1, 2))
    digits = short if weight == group.weights[at] else exact
    steps.append(f"p({rest} / {half_life}) is {digits}")
    return steps, f"floor(2^(40 − {halvings}) × {digits} + 1/2)"


def touch_steps(group: Group, whole: int, name: str, unit: str, of_touch: Sequence[int]) -> list[Step]:
    """One figure over the touches of a use case, by weight, with cumulative rounding; none for a touch of weight 0."""
    total = sum(group.weights)
    steps = []
    upto = ""
    reached = 0
    for touch, weight, part in zip(group.touches, group.weights, of_touch, strict=True):
        reached += weight
        before, upto = upto, f"round9({number(whole)} × {reached}/{total})"
        if weight:
            expression = f"{upto} − {before}" if before else upto
            if len(group.touches) == 1:
                expression = ""
            steps.append(Step(f"{name}({shown(touch)})", number(part), expression, unit))
    return steps
