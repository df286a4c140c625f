"""Step 8: how much of a use case's value each of its touches gets, as whole-number weights.

Each credit model is one function in ``CREDIT_MODELS``: arrays with one element per touch in, integer
weights out. Adding a model is adding a function here and a word to the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from attribution.in_force import RuleColumns
from attribution.money import Int64s
from attribution.paths import Paths


@dataclass(frozen=True)
class PathPlaces:
    """Where each touch stands in the path of its use case.

    place: 0 for the first; length: touches of the path; lag_us: how much older the touch is, at the
    outcome, than the youngest of the path; half_life_us, position: of the governing rule.
    """

    place: Int64s
    length: Int64s
    lag_us: Int64s
    half_life_us: Int64s
    position: Int64s


def _first(at: PathPlaces) -> Int64s:
    return np.asarray(at.place == 0, dtype=np.int64)


def _last(at: PathPlaces) -> Int64s:
    return np.asarray(at.place == at.length - 1, dtype=np.int64)


def _linear(at: PathPlaces) -> Int64s:
    return np.ones_like(at.place)


def _position(at: PathPlaces) -> Int64s:
    """First and last get their share whole, the middle ones divide theirs: f·(n−2), m each, l·(n−2)."""
    first, middle, last = at.position[:, 0], at.position[:, 1], at.position[:, 2]
    ends = np.maximum(at.length - 2, 1)
    weight = np.where(at.place == 0, first * ends, np.where(at.place == at.length - 1, last * ends, middle))
    return np.where(at.length == 1, 1, weight)


#: (−ln 2)^k / k! for k = 0 … 15, each the nearest double: the Taylor coefficients of 2^−x on [0, 1).
HALVING_COEFFICIENTS = (
    1.0,
    -0.6931471805599453,
    0.24022650695910072,
    -0.05550410866482158,
    0.009618129107628477,
    -0.0013333558146428443,
    0.0001540353039338161,
    -1.5252733804059841e-05,
    1.321548679014431e-06,
    -1.01780860092397e-07,
    7.054911620801123e-09,
    -4.4455382718708116e-10,
    2.5678435993488206e-11,
    -1.3691488853904128e-12,
    6.778726354822545e-14,
    -3.1324367070884287e-15,
)


def _time_decay(at: PathPlaces) -> Int64s:
    """floor(2^(40−q) · p(r / half_life) + ½), (q, r) = divmod(lag, half_life); 0 for q > 41.

    p(x) = 2^−x by Horner in IEEE doubles with + and × alone, which every machine rounds alike; library
    functions such as exp2 differ between machines in the last bit.
    """
    halvings, rest = np.divmod(at.lag_us, at.half_life_us)
    x = rest.astype(np.float64) / at.half_life_us.astype(np.float64)
    p = np.full_like(x, HALVING_COEFFICIENTS[-1])
    for coefficient in reversed(HALVING_COEFFICIENTS[:-1]):
        p = p * x + coefficient
    counted = np.minimum(halvings, 42)
    weight = np.floor(np.ldexp(p, (40 - counted).astype(np.int32)) + 0.5).astype(np.int64)
    return np.where(halvings > 41, 0, weight)


CREDIT_MODELS: dict[str, Callable[[PathPlaces], Int64s]] = {
    "first": _first,
    "last": _last,
    "linear": _linear,
    "time_decay": _time_decay,
    "position": _position,
}


def weights(paths: Paths, columns: RuleColumns) -> Int64s:
    """The weight of each touch under the credit model of its governing rule; ≥ 0, some > 0 in every path."""
    starts = np.flatnonzero(paths.starts_group)
    if len(starts) == 0:
        return np.zeros(0, dtype=np.int64)
    lengths = np.diff(np.append(starts, len(paths.outcome)))
    result = np.ones(len(paths.outcome), dtype=np.int64)
    several = np.flatnonzero(np.repeat(lengths > 1, lengths))
    place = (np.arange(len(paths.outcome)) - np.repeat(starts, lengths))[several]
    length = np.repeat(lengths, lengths)[several]
    lag = (paths.age_us - np.repeat(np.minimum.reduceat(paths.age_us, starts), lengths))[several]
    rule = paths.governing[several]
    model_of = columns.credit[rule]
    for name, model in CREDIT_MODELS.items():
        chosen = np.flatnonzero(model_of == name)
        if len(chosen):
            at = PathPlaces(
                place[chosen],
                length[chosen],
                lag[chosen],
                columns.half_life_us[rule[chosen]],
                columns.position_weights[rule[chosen]],
            )
            result[several[chosen]] = model(at)
    return result
