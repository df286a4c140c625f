"""Profiles: the same words have the same number, in this process and in one that goes on from what was written."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import WORD
from streams.live.profiles import Profiles

COLUMNS = ("model", "arm")
Row = tuple[str, str | None]


def frame(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String()), orient="row").cast(WORD)


def test_profiles_are_numbered_in_order_of_appearance_and_null_is_a_word_of_its_own() -> None:
    profiles = Profiles(COLUMNS)
    assert profiles.numbers(frame([("m", None), ("n", "a"), ("m", ""), ("m", None)])).tolist() == [0, 1, 2, 0]
    assert len(profiles) == 3


def test_only_new_profiles_are_written() -> None:
    profiles = Profiles(COLUMNS)
    profiles.numbers(frame([("m", None)]))
    assert profiles.take_new().rows() == [("m", None, 0)]
    profiles.numbers(frame([("m", None), ("n", None)]))
    assert profiles.take_new().rows() == [("n", None, 1)]
    assert profiles.take_new().rows() == []


def test_no_rows_no_profiles() -> None:
    profiles = Profiles(COLUMNS)
    assert profiles.numbers(frame([])).tolist() == []
    assert len(profiles) == 0


_ROWS = st.lists(st.tuples(st.sampled_from("mno"), st.none() | st.sampled_from("ab")))


@given(_ROWS, _ROWS)
def test_numbers_lead_back_to_the_words_after_a_restart_too(before: list[Row], after: list[Row]) -> None:
    first = Profiles(COLUMNS)
    numbers = first.numbers(frame(before))
    second = Profiles(COLUMNS, first.take_new())
    assert second.words(pl.Series(numbers)).rows() == before
    assert second.words(pl.Series(second.numbers(frame(after)))).rows() == after
    assert second.numbers(frame(before)).tolist() == numbers.tolist()
