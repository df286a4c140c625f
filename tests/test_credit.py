"""Credit models: each touch's weight, above all those of time decay, to the last integer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attribution.credit import CREDIT_MODELS, HALVING_COEFFICIENTS, PathPlaces
from attribution.rules import CREDITS
from tests.reference_parts import DECAY, decay_weight

MAX_US = 36_500 * 86_400_000_000
HALF_LIVES = st.integers(1, MAX_US) | st.sampled_from([1, 1_000, 86_400_000_000, 2 * 86_400_000_000, MAX_US])


def weights(model: str, length: int, *, position: tuple[int, int, int] = (1, 1, 1)) -> list[int]:
    ones = np.ones(length, dtype=np.int64)
    places = PathPlaces(np.arange(length), ones * length, ones * 0, ones, np.array([position] * length))
    made: list[int] = CREDIT_MODELS[model](places).tolist()
    return made


def decay(lag_us: list[int], half_life_us: int) -> list[int]:
    count = len(lag_us)
    half_lives = np.full(count, half_life_us, dtype=np.int64)
    places = PathPlaces(np.arange(count), np.full(count, count), np.array(lag_us), half_lives, np.ones((count, 3), int))
    made: list[int] = CREDIT_MODELS["time_decay"](places).tolist()
    return made


def test_every_word_of_the_rules_is_a_model() -> None:
    assert set(CREDIT_MODELS) == set(CREDITS)


def test_the_halving_coefficients_are_the_nearest_doubles() -> None:
    assert list(HALVING_COEFFICIENTS) == list(DECAY)


@given(st.lists(st.integers(0, MAX_US), min_size=1, max_size=50), HALF_LIVES)
@example([0, 1, 2, 39, 40, 41, 42, 43, 10**9], 1)
def test_decay_weights_are_the_reference_s_integers(lags: list[int], half_life: int) -> None:
    assert decay(lags, half_life) == [decay_weight(lag, half_life) for lag in lags]


def test_decay_weights_are_the_reference_s_integers_within_one_half_life() -> None:
    half_life = 2 * 86_400_000_000
    lags = np.random.default_rng(3).integers(0, 3 * half_life, 20_000).tolist()
    assert decay(lags, half_life) == [decay_weight(lag, half_life) for lag in lags]


def test_each_half_life_halves_the_weight_until_nothing_is_left() -> None:
    assert decay([0, 10, 20, 400, 410, 420], 10) == [2**40, 2**39, 2**38, 1, 1, 0]


@pytest.mark.parametrize(
    ("model", "length", "expected"),
    [
        ("first", 1, [1]),
        ("first", 3, [1, 0, 0]),
        ("last", 1, [1]),
        ("last", 3, [0, 0, 1]),
        ("linear", 4, [1, 1, 1, 1]),
        ("position", 1, [1]),
        ("position", 2, [4, 5]),
        ("position", 3, [4, 2, 5]),
        ("position", 5, [12, 2, 2, 2, 15]),
    ],
)
def test_weights_by_place_in_the_path(model: str, length: int, expected: list[int]) -> None:
    assert weights(model, length, position=(4, 2, 5)) == expected
