"""The judge's arithmetic."""

from __future__ import annotations

from tests.cases import HARD_AGES
from tests.plain_events import u
from tests.reference_parts import DAY_US, cumulative, decay_polynomial, decay_weight, times


def test_products_round_half_to_even() -> None:
    half = u("0.5")
    assert [times(n, half) for n in (1, 3, 5, -1, -3)] == [0, 2, 2, 0, -2]


def test_cumulative_rounding_sums_to_the_whole() -> None:
    assert cumulative([10, 10, 10], 3) == [3, 4, 3]
    assert cumulative([1, 1], 2) == [0, 1]
    assert cumulative([-10, -10, -10], 3) == [-3, -4, -3]


def test_decay_weight_halves_and_underflows() -> None:
    assert [decay_weight(k, 1) for k in (0, 1, 40, 41, 42)] == [2**40, 2**39, 1, 1, 0]
    assert decay_weight(41 * 1000 + 1, 1000) == 0
    assert decay_weight(1, 2) == 777_472_127_994  # 2^40 / √2 = 777 472 127 993.6…
    two_days = 2 * DAY_US
    naive = [int(2.0 ** -(age / two_days) * 2.0**40 + 0.5) for age in HARD_AGES]
    assert [decay_weight(age, two_days) - n for age, n in zip(HARD_AGES, naive, strict=True)] == [1, 1, 1, 1, -1]
    assert all(abs(decay_polynomial(x / 1000) - 2 ** (-x / 1000)) <= 2**-52 for x in range(1000))
