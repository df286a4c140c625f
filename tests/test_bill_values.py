"""What the texts of a bill mean: exact amounts, moments, months, tags; and what is not guessed at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.windows import EPOCH
from streams.bills.values import added, amounts, credit_amounts, moments, months, tags

REST = 10**48


def amount(text: str | None) -> Fraction | None:
    """An amount put together again from its two parts; the rounded one is the nearest of 12 places, ties to even."""
    units, rest = amounts(pl.Series([text], dtype=pl.String))
    if units.item() is None:
        return None
    exact = Fraction(units.item(), 10**12) + Fraction(rest.item(), REST)
    assert units.item() == round(exact * 10**12)
    return exact


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.00000041370", "0.00000041370"),
        ("-13.5", "-13.5"),
        ("4.1370E-7", "0.00000041370"),
        ("1.1102230246251565e-16", "0.00000000000000011102230246251565"),
        ("$50,000.00 ", "50000"),
        ("-$1,234.5", "-1234.5"),
        ("$-0.01", "-0.01"),
        (" 7 ", "7"),
        (".5", "0.5"),
        ("5.", "5"),
        ("0.0000000000005", "0.0000000000005"),
        ("0.0000000000015", "0.0000000000015"),
        ("-0.0000000000025", "-0.0000000000025"),
        ("999999999999.999999999999", "999999999999.999999999999"),
        ("1e-48", "0.000000000000000000000000000000000000000000000001"),
    ],
)
def test_an_amount_is_read_exactly(text: str, value: str) -> None:
    assert amount(text) == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "abc",
        "1,5",
        "1.234,56",
        "(5)",
        "12,34",
        "1 000",
        "NaN",
        "inf",
        "1e12",
        "1000000000000",
        "1e-49",
        ".",
        "-",
        "--5",
        "€5",
    ],
)
def test_what_is_no_amount_is_not_guessed_at(text: str | None) -> None:
    assert amount(text) is None


@given(st.decimals(-(10**11), 10**11, places=20) | st.decimals(-1, 1, places=40), st.sampled_from("ef"))
def test_any_amount_is_exact_however_it_is_written(number: Decimal, form: str) -> None:
    assert amount(format(number, form)) == Fraction(number)


@given(st.decimals(-10, 10, places=15), st.decimals(-10, 10, places=15))
def test_credits_are_added_before_anything_is_rounded(cost: Decimal, credit: Decimal) -> None:
    parts = [amounts(pl.Series([f"{number:f}"])) for number in (cost, credit)]
    units, rest = added(*parts[0], *parts[1])
    exact = Fraction(cost) + Fraction(credit)
    assert units.item() == round(exact * 10**12)
    assert Fraction(units.item(), 10**12) + Fraction(rest.item(), REST) == exact


@pytest.mark.parametrize(
    ("text", "amount_text"),
    [
        ("[]", "0"),
        ('[{"name": "promotion", "amount": -0.25}, {"amount": -1E-7}]', "-0.2500001"),
        ('[{"amount": "0.5"}]', "0.5"),
        ("-3.5", "-3.5"),
        ('[{"name": "x"}]', None),
        ('[{"amount": ', None),
    ],
)
def test_a_list_of_credits_is_one_amount(text: str, amount_text: str | None) -> None:
    assert credit_amounts(pl.Series([text])).item() == amount_text


def moment(text: str) -> datetime | None:
    time_us = moments(pl.Series([text])).item()
    return None if time_us is None else EPOCH + timedelta(microseconds=time_us)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T07:00:00Z",
        "2026-03-01T07:00:00.000Z",
        "2026-03-01 07:00:00",
        "2026-03-01 07:00:00 UTC",
        "2026-03-01T07:00",
        "2026-03-01T08:00:00+01:00",
        "2026-03-01T08:00:00+0100",
        "3/1/26 7:00",
        "03/01/2026 07:00:00",
        "2026-02-28T31:00:00Z",
    ],
)
def test_a_time_is_read_however_it_is_written(text: str) -> None:
    assert moment(text) == datetime(2026, 3, 1, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "day"), [("5/1/25", (2025, 5, 1)), ("12/31/2199", (2199, 12, 31)), ("2026-03-01", (2026, 3, 1))]
)
def test_a_day_is_its_first_moment_and_the_month_comes_first(text: str, day: tuple[int, int, int]) -> None:
    assert moment(text) == datetime(*day, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "13/1/26",
        "2026-02-30",
        "2026-13-01",
        "2026-03-01T48:00:00Z",
        "2026-03-01T07:60:00Z",
        "20260301",
        "1999-12-31",
        "2200-01-01",
        "yesterday",
        "2026-03-01T07:00:00 CET",
    ],
)
def test_what_is_no_time_is_not_guessed_at(text: str) -> None:
    assert moment(text) is None


@pytest.mark.parametrize("text", ["202603", "2026-03", "2026-03-01T00:00:00Z", "03/31/2026", "2026-03-15"])
def test_a_billing_period_is_the_month_that_it_names_or_lies_in(text: str) -> None:
    start, end = (EPOCH + timedelta(microseconds=series.item()) for series in months(pl.Series([text])))
    assert (start, end) == (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))


def test_a_year_ends_with_its_twelfth_month() -> None:
    start, end = (EPOCH + timedelta(microseconds=series.item()) for series in months(pl.Series(["202612"])))
    assert (start.year, start.month, end.year, end.month) == (2026, 12, 2027, 1)


@pytest.mark.parametrize(
    ("text", "model", "spot"),
    [
        ('{"model": "M", "spot": true}', "M", "true"),
        ('"model": "M","spot": "1.50"', "M", "1.50"),
        ('[{"key": "model", "value": "M"}, {"key": "spot"}]', "M", "true"),
        ('{"model": null, "spot": 1.50}', None, "1.50"),
        ("{}", None, None),
        (None, None, None),
    ],
)
def test_tags_are_read_in_the_shapes_that_clouds_write(text: str | None, model: str | None, spot: str | None) -> None:
    columns, is_bad = tags(pl.Series([text], dtype=pl.String), ["model", "spot"])
    assert ([column.item() for column in columns], is_bad.item()) == ([model, spot], False)


@pytest.mark.parametrize("text", ["model=M", '{"model": ', "[1]", "3"])
def test_what_is_no_set_of_tags_is_told(text: str) -> None:
    assert tags(pl.Series([text]), ["model"])[1].item()
