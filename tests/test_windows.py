"""Durations: text to microseconds and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.windows import DURATION_MAX_US, format_duration, parse_duration


@given(milliseconds=st.integers(0, DURATION_MAX_US // 1000))
def test_the_canonical_text_of_a_duration_parses_to_it(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds * 1000)) == milliseconds * 1000


@given(st.permutations(["1w", "2d", "3h", "4m", "5s", "6ms"]))
def test_the_order_of_units_does_not_matter(parts: list[str]) -> None:
    assert format_duration(parse_duration("".join(parts))) == "9d3h4m5s6ms"


@pytest.mark.parametrize(
    "text", ["", "d", "7", "7D", "7d ", "7d\n", "7dd", "1m1m", "1.5h", "+1d", "\u0667d", "1" * 5000 + "d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)
