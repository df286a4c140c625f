"""Exchange rates: the one CSV that is accepted, and every row that refuses it."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from schemas.events import OUTCOME_COLUMNS
from streams.fx_file import FX_COLUMNS, load_fx, parse_fx

HEADER = "date,currency,rate\n"
RATE = "digits such as 1.0842, above 0 and below 1000000 when rounded to 9 places"


def rates(text: str) -> list[Decimal]:
    return parse_fx(HEADER + text, "fx.csv", "USD")["rate"].to_list()


def test_rates_come_sorted_by_currency_and_date(tmp_path: Path) -> None:
    file = tmp_path / "fx.csv"
    file.write_text(HEADER + "2026-01-02,GBP,1.25\n2026-01-01,GBP,1.2\n2026-01-05,EUR,1.08\n")
    frame = load_fx(file, "USD")
    assert dict(frame.schema) == FX_COLUMNS
    assert frame.rows() == [
        (date(2026, 1, 5), "EUR", Decimal("1.08")),
        (date(2026, 1, 1), "GBP", Decimal("1.2")),
        (date(2026, 1, 2), "GBP", Decimal("1.25")),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "date,currency,rate\r\n2026-01-01,EUR,1.5\r\n",
        "date,currency,rate\n\n2026-01-01,EUR,1.5",
        '"date","currency","rate"\n"2026-01-01","EUR","1.5"\n',
        "\ufeffdate,currency,rate\n2026-01-01,EUR,1.5\n",
        "date,currency,rate\n2026-01-01,EUR,0001.500000000000000000000000000000000000000000\n",
    ],
    ids=["line ends of Windows", "blank line", "quotes", "byte order mark", "zeros"],
)
def test_other_spellings_of_the_same_rates_are_the_same(text: str) -> None:
    assert parse_fx(text, "fx.csv", "USD").rows() == [(date(2026, 1, 1), "EUR", Decimal("1.5"))]


def test_a_file_without_rates_is_a_table_without_rows() -> None:
    frame = parse_fx("date,currency,rate\n", "fx.csv", "USD")
    assert frame.height == 0
    assert dict(frame.schema) == FX_COLUMNS


@pytest.mark.parametrize(
    ("written", "rounded"),
    [
        ("0.0000000015", "0.000000002"),
        ("0.0000000025", "0.000000002"),
        ("0.00000000250000000000000000000000000000000001", "0.000000003"),
        ("0.00000000050000000000000000000000000000000001", "0.000000001"),
        ("999999.9999999994", "999999.999999999"),
    ],
)
def test_a_rate_is_rounded_half_even_to_9_places(written: str, rounded: str) -> None:
    assert rates(f"2026-01-01,EUR,{written}\n") == [Decimal(rounded)]


@given(st.decimals("0.001", "999999", places=18))
def test_any_rate_is_rounded_half_even(rate: Decimal) -> None:
    assert rates(f"2026-01-01,EUR,{rate}\n") == [rate.quantize(Decimal("1e-9"), rounding=ROUND_HALF_EVEN)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'line 1: expected the header date,currency,rate, got ""'),
        ("currency,date,rate\n", 'line 1: expected the header date,currency,rate, got "currency,date,rate"'),
        (
            "date,currency,rate,source\n",
            'line 1: expected the header date,currency,rate, got "date,currency,rate,source"',
        ),
        (HEADER + "2026-01-01,EUR\n", 'line 2: expected three values: date,currency,rate, got "2026-01-01,EUR"'),
        (
            HEADER + "2026-01-01,EUR,1,2\n",
            'line 2: expected three values: date,currency,rate, got "2026-01-01,EUR,1,2"',
        ),
        (HEADER + " \n", 'line 2: expected three values: date,currency,rate, got " "'),
    ],
)
def test_another_shape_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_fx(text, "fx.csv", "USD")
    assert str(caught.value) == f"fx.csv: {message}"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("row", "column", "expected", "got"),
    [
        *[
            (f"{text},EUR,1", "date", "a date such as 2026-01-31", text)
            for text in ("2026-1-1", "2026-02-30", "01/02/2026", "2026-01-01T00:00:00Z", "", " 2026-01-01")
        ],
        *[
            (f"2026-01-01,{text},1", "currency", "an active ISO 4217 code in capitals", text)
            for text in ("EUX", "eur", "DEM", "", "EUR ")
        ],
        ("2026-01-01,USD,1", "currency", "a currency other than the base currency USD", "USD"),
        *[
            (f"2026-01-01,EUR,{text}", "rate", RATE, text)
            for text in ("0", "0.0000000005", "-1", "+1", "1e3", ".5", "1.", "", "nan", "1 ", "1000000", "9" * 60)
        ],
        ("2026-01-01,EUR,999999.9999999995", "rate", RATE, "999999.9999999995"),
        ("2026-01-02,GBP,2", "currency", "one row for a date and currency", "GBP"),
    ],
)
def test_a_wrong_row_refuses_the_file_and_is_named(row: str, column: str, expected: str, got: str) -> None:
    text = f"{HEADER}2026-01-02,GBP,2\n\n{row}\n2026-01-03,GBP,2\n"
    with pytest.raises(ConfigurationError) as caught:
        parse_fx(text, "fx.csv", "USD")
    assert str(caught.value) == f'fx.csv: line 4: {column}: expected {expected}, got "{got}"'


def test_a_missing_or_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes(b"date,currency,rate\n2026-01-01,\xe9,1\n")
    expected = {
        "none.csv": "expected a readable file, got No such file or directory",
        "latin.csv": "expected UTF-8 text, got other bytes at position 30",
        ".": "expected a readable file, got Is a directory",
    }
    for name, message in expected.items():
        with pytest.raises(ConfigurationError) as caught:
            load_fx(tmp_path / name, "USD")
        assert str(caught.value) == f"{tmp_path / name}: {message}"
        assert caught.value.exit_code == 2


def test_the_columns_are_the_ones_an_outcome_is_joined_on() -> None:
    assert FX_COLUMNS["date"] == pl.Date()
    assert FX_COLUMNS["currency"] == OUTCOME_COLUMNS["currency"]
    assert FX_COLUMNS["rate"] == OUTCOME_COLUMNS["amount"]
