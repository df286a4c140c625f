"""Reads the exchange rates: a CSV with the header ``date,currency,rate``, base currency per unit.

A rate is an exact decimal, rounded half-even to 9 places. One bad row refuses the file: a rate that is
wrong or stands twice would move money without anybody noticing.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from attribution.decimals import GRAMMAR
from schemas.currencies import ACTIVE
from schemas.errors import setting_error
from schemas.events import DECIMAL, WORD
from streams.rule_files import read_text

FX_COLUMNS: dict[str, pl.DataType] = {"date": pl.Date(), "currency": WORD, "rate": DECIMAL}

_HEADER = ["date", "currency", "rate"]
_RATE_BELOW = 10**6
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


def load_fx(path: Path, base_currency: str) -> pl.DataFrame:
    """The rates as ``FX_COLUMNS``, sorted by (currency, date).

    Raises ConfigurationError, naming file and line, for a missing or unreadable file, another header, a
    value out of its grammar or bounds, an unknown currency, the base currency, a (date, currency) twice.
    """
    return parse_fx(read_text(path), str(path), base_currency)


def parse_fx(text: str, file: str, base_currency: str) -> pl.DataFrame:
    """As ``load_fx``, of the file's text."""
    written = _records(text, file)
    date = pl.col("date").str.to_date("%Y-%m-%d", strict=False)
    parsed = written.with_columns(
        day=pl.when(pl.col("date").str.contains(_DATE)).then(date),
        exact=pl.when(pl.col("rate").str.contains(f"^{GRAMMAR}$")).then(pl.col("rate").cast(DECIMAL, strict=False)),
    )
    in_bounds = (pl.col("exact") > 0) & (pl.col("exact") < _RATE_BELOW)
    _refuse(parsed, file, "date", pl.col("day").is_null(), expected="a date such as 2026-01-31")
    unknown = ~pl.col("currency").is_in(sorted(ACTIVE))
    _refuse(parsed, file, "currency", unknown, expected="an active ISO 4217 code in capitals")
    is_base = pl.col("currency") == base_currency
    _refuse(parsed, file, "currency", is_base, expected=f"a currency other than the base currency {base_currency}")
    expected = f"digits such as 1.0842, above 0 and below {_RATE_BELOW} when rounded to 9 places"
    _refuse(parsed, file, "rate", ~in_bounds.fill_null(value=False), expected=expected)
    again = ~pl.struct("day", "currency").is_first_distinct()
    _refuse(parsed, file, "currency", again, expected="one row for a date and currency")
    in_order = parsed.sort("currency", "day")
    return in_order.select(date="day", currency=pl.col("currency").cast(WORD), rate="exact").cast(FX_COLUMNS)  # type: ignore[arg-type]


def _records(text: str, file: str) -> pl.DataFrame:
    """The rows as they are written, with their line; blank lines are no rows.

    No value can hold a comma or a line end, so a line is a row; quotes around a value are allowed, as in any CSV.
    """
    lines = pl.DataFrame({"text": text.removeprefix("\ufeff").split("\n")}, schema={"text": pl.String})
    lines = lines.with_row_index("line", offset=1).with_columns(pl.col("text").str.strip_suffix("\r"))
    header = str(lines["text"][0])
    if header.replace('"', "") != ",".join(_HEADER):
        raise setting_error(f"{file}: line 1", expected="the header date,currency,rate", got=header)
    rows = lines.slice(1).filter(pl.col("text") != "")
    ragged = rows.filter(pl.col("text").str.count_matches(",", literal=True) != len(_HEADER) - 1)
    if ragged.height:
        place = f"{file}: line {ragged['line'][0]}"
        raise setting_error(place, expected="three values: date,currency,rate", got=str(ragged["text"][0]))
    parts = pl.col("text").str.split_exact(",", len(_HEADER) - 1).struct.rename_fields(_HEADER)
    without_quotes = pl.col(_HEADER).str.replace(r'^"(.*)"$', "$1")
    return rows.select("line", parts.alias("parts")).unnest("parts").with_columns(without_quotes)


def _refuse(rows: pl.DataFrame, file: str, column: str, bad: pl.Expr, *, expected: str) -> None:
    """Raises the message about the first bad row, if there is one."""
    found = rows.filter(bad).head(1)
    if found.height:
        place = f"{file}: line {found['line'][0]}: {column}"
        raise setting_error(place, expected=expected, got=str(found[column][0]))
