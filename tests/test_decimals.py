"""Exact decimals: text to units and back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attribution.decimals import decimal_text, units


@given(number=st.integers(0, 10**30 - 1), places=st.integers(0, 12))
@example(number=10**30 - 1, places=0)
def test_decimal_text_and_units_are_inverse(number: int, places: int) -> None:
    assert units(decimal_text(number, places), places) == number


def test_thirty_digits_before_the_point_are_the_most() -> None:
    assert units(decimal_text(10**39 - 1, 9), 9) == 10**39 - 1
    with pytest.raises(ValueError, match="expected at most 30 digits before the point, got 31"):
        units(decimal_text(10**39, 9), 9)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1.", ".1", "1e3", "1_0", " 1", "1\n", "\u0661", "0.1234567890", "1" * 31]
)
def test_what_is_no_exact_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        units(text, 9)
