"""The texts of a bill → exact amounts, moments, periods and tags.

Exports write absence as nothing, ``NULL`` or ``null``; money as ``0.000041370``, ``4.1E-5`` or ``$50,000.00 ``; times
as ``2026-03-01T00:00:00Z``, ``2026-03-01 00:00:00`` (UTC), ``2026-03-01`` or ``3/1/26`` (month first). Anything else is
not guessed at: it comes out as null, and the reader refuses the bill.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import polars as pl

from attribution.bills import REST_PLACES
from attribution.costs import COST_PLACES
from attribution.decimals import decimal_text
from attribution.money import INT, divide_half_even, integer
from attribution.windows import EPOCH
from schemas.events import TIME_MAX_US, TIME_MIN_US

NULLS = ("", "NULL", "null")
#: Amounts are below this: more in one line of a bill is an error of its export.
AMOUNT_LIMIT = 10**12
_PLAIN = r"^-?[0-9]{1,12}(\.[0-9]{1,24})?$"
_PLAIN_PLACES = 24
#: The specification of FOCUS itself has a line that ends at 30:00: hours may count on into the next day.
_HOURS_MAX = 48
_MONEY = re.compile(
    r"(?P<sign>[-+]?)(?:\$ ?(?P<inner>-?))?(?P<whole>\d{1,3}(?:,\d{3})+|\d*)(?P<fraction>\.\d*)?"
    r"(?P<exponent>[eE][+-]?\d{1,3})?",
    re.ASCII,
)
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2})(:\d{2}(?::\d{2})?)(\.\d+)?)? ?(Z|UTC|[+-]\d{2}:?\d{2})?", re.ASCII
)
_US = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?: (\d{1,2}):(\d{2})(?::(\d{2}))?)?", re.ASCII)
_MONTH = re.compile(r"(\d{4})-?(\d{2})", re.ASCII)


def amounts(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Units of 10⁻¹², rounded half-even, and what that cut off, in units of 10^-REST_PLACES (Int128).

    Both are null where a text is no amount. What is written plainly is worked out on whole columns; money with signs or
    an exponent goes text by text, each distinct one once.
    """
    is_plain = texts.str.contains(_PLAIN)
    plain = texts.to_frame("text").select(pl.when(is_plain).then("text").cast(pl.Decimal(38, _PLAIN_PLACES)))
    exact = plain.to_series().to_physical()
    scale = integer(10 ** (_PLAIN_PLACES - COST_PLACES))
    units = divide_half_even(exact, scale)
    rest = (exact - units * scale) * integer(10 ** (REST_PLACES - _PLAIN_PLACES))
    other = texts.filter(~is_plain.fill_null(value=True)).unique()
    if len(other) == 0:
        return units, rest
    parsed = [_amount(text) for text in other]
    table = pl.DataFrame(
        {
            "text": other,
            "units": [None if p is None else p[0] for p in parsed],
            "rest": [None if p is None else p[1] for p in parsed],
        },
        schema={"text": pl.String(), "units": INT, "rest": INT},
    )
    found = texts.to_frame("text").join(table, on="text", how="left", maintain_order="left")
    both = pl.DataFrame({"units": units, "rest": rest, "other": found["units"], "other_rest": found["rest"]})
    return both.select(pl.coalesce("units", "other")).to_series(), both.select(
        pl.coalesce("rest", "other_rest")
    ).to_series()


def _amount(text: str) -> tuple[int, int] | None:
    """
    >>> _amount("$50,000.00 "), _amount("4.1370E-5"), _amount("1,00")
    ((50000000000000000, 0), (41370000, 0), None)
    """
    found = _MONEY.fullmatch(text.strip())
    if not found or not (found["whole"] or (found["fraction"] or ".") != "."):
        return None
    digits = f"{found['whole'].replace(',', '') or '0'}{found['fraction'] or ''}{found['exponent'] or ''}"
    try:
        number = Fraction(Decimal(digits))
    except InvalidOperation:
        return None
    number = -number if (found["sign"] == "-") != (found["inner"] == "-") else number
    units = round(number * 10**COST_PLACES)
    rest = (number * 10**COST_PLACES - units) * 10 ** (REST_PLACES - COST_PLACES)
    if abs(number) >= AMOUNT_LIMIT or rest.denominator != 1:
        return None
    return units, int(rest)


def moments(texts: pl.Series) -> pl.Series:
    """µs since 1970 in UTC (Int64), null where a text is no time of 2000 to 2199; each distinct text is read once."""
    return _by_text(texts, _moment, pl.Int64())


def _moment(text: str) -> int | None:
    """
    >>> _moment("2026-03-01 07:00:00 UTC") == _moment("3/1/26 7:00") == _moment("2026-03-01T08:00:00.000+01:00")
    True
    """
    text = text.strip()
    try:
        if iso := _ISO.fullmatch(text):
            day, hour, clock, fraction, offset = iso.groups()
            zone = "+00:00" if offset in (None, "Z", "UTC") else offset
            zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
            if int(hour or 0) >= _HOURS_MAX:
                return None
            # Digits past the microsecond are cut off.
            microsecond = int(((fraction or ".0")[1:] + "000000")[:6])
            parsed = datetime.fromisoformat(f"{day}T00{clock or ':00'}{zone}")
            parsed += timedelta(hours=int(hour or 0), microseconds=microsecond)
        elif us := _US.fullmatch(text):
            month, day_of_month, year, hours, minutes, seconds = (int(part or 0) for part in us.groups())
            midnight = datetime(year + (2000 if year < 100 else 0), month, day_of_month, tzinfo=UTC)
            parsed = midnight + timedelta(seconds=(hours * 60 + minutes) * 60 + seconds)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    time_us = (parsed - EPOCH) // timedelta(microseconds=1)
    return time_us if TIME_MIN_US <= time_us < TIME_MAX_US else None


def months(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Start and end, in µs, of the month that a text names or a time lies in; null where it is neither."""
    starts = _by_text(texts, lambda text: _month(text, after=0), pl.Int64())
    return starts, _by_text(texts, lambda text: _month(text, after=1), pl.Int64())


def _month(text: str, *, after: int) -> int | None:
    """The start of the month, or of the one after it."""
    named = _MONTH.fullmatch(text.strip())
    time_us = _moment(f"{named[1]}-{named[2]}-01" if named else text)
    if time_us is None:
        return None
    day = (EPOCH + timedelta(microseconds=time_us)).date()
    number = day.year * 12 + day.month - 1 + after
    start = date(number // 12, number % 12 + 1, 1)
    return (start - EPOCH.date()).days * 86_400_000_000


def tags(texts: pl.Series, keys: Sequence[str]) -> tuple[list[pl.Series], pl.Series]:
    """The texts of each key, and where the text is no set of tags; each distinct text is read once.

    Tags are a JSON object, or a list of objects with ``key`` and ``value``, or an object without its brackets (as Azure
    writes it). A tag without a value is ``true``.
    """
    distinct = texts.drop_nulls().unique()
    parsed = [_tags(text) for text in distinct]
    names = [f"tag_{number}" for number in range(len(keys))]
    table = pl.DataFrame(
        {
            "text": distinct,
            "is_bad": [found is None for found in parsed],
            **{
                name: [None if found is None else found.get(key) for found in parsed]
                for name, key in zip(names, keys, strict=True)
            },
        },
        schema={"text": pl.String(), "is_bad": pl.Boolean(), **dict.fromkeys(names, pl.String())},
    )
    joined = texts.to_frame("text").join(table, on="text", how="left", maintain_order="left")
    return [joined[name] for name in names], joined["is_bad"].fill_null(value=False)


def _tags(text: str) -> dict[str, str | None] | None:
    """
    >>> _tags('{"model": "M", "spot": true}'), _tags('"model": "M"'), _tags('[{"key": "model", "value": "M"}]')
    ({'model': 'M', 'spot': 'true'}, {'model': 'M'}, {'model': 'M'})
    """
    text = text.strip()
    try:
        # Numbers stay the texts that they are.
        found: Any = json.loads(f"{{{text}}}" if text.startswith('"') else text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list) and all(isinstance(item, dict) and "key" in item for item in found):
        found = {item["key"]: item.get("value", True) for item in found}
    if not isinstance(found, dict):
        return None
    return {str(key): _tag_value(value) for key, value in found.items()}


def _tag_value(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)


def credit_amounts(texts: pl.Series) -> pl.Series:
    """Amounts of credits as one amount's text: a list of objects with ``amount`` as JSON, or an amount itself."""
    return _by_text(texts, _credits, pl.String())


def _credits(text: str) -> str | None:
    """
    >>> _credits('[{"name": "promotion", "amount": -0.25}, {"amount": -1E-7}]'), _credits("[]"), _credits("-3")
    ('-0.2500001', '0', '-3')
    """
    if not text.strip().startswith("["):
        return text
    try:
        found = json.loads(text, parse_float=Decimal, parse_int=Decimal)
        total = sum((Fraction(item["amount"]) for item in found), Fraction())
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    places = next(places for places in range(400) if (total * 10**places).denominator == 1)
    units = int(total * 10**places)
    return f"{'-' if units < 0 else ''}{decimal_text(abs(units), places)}"


def added(units: pl.Series, rest: pl.Series, more: pl.Series, more_rest: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The sums of two columns of amounts, as ``amounts`` gives them: rounded half-even once."""
    half, one = 10 ** (REST_PLACES - COST_PLACES) // 2, 10 ** (REST_PLACES - COST_PLACES)
    frame = pl.DataFrame({"units": units + more, "rest": rest + more_rest})
    is_odd = (pl.col("units") % 2) != 0
    carry = (
        pl.when((pl.col("rest") > half) | ((pl.col("rest") == half) & is_odd))
        .then(1)
        .when((pl.col("rest") < -half) | ((pl.col("rest") == -half) & is_odd))
        .then(-1)
        .otherwise(0)
        .cast(INT)
        .alias("carry")
    )
    with_carry = frame.with_columns(carry)
    return with_carry["units"] + with_carry["carry"], with_carry["rest"] - with_carry["carry"] * integer(one)


def _by_text(texts: pl.Series, parse: Callable[[str], Any], dtype: pl.DataType) -> pl.Series:
    """What each text means; a column has far fewer distinct texts than rows, and each of them is read once."""
    distinct = texts.drop_nulls().unique()
    table = pl.DataFrame(
        {"text": distinct, "found": [parse(text) for text in distinct]}, schema={"text": pl.String(), "found": dtype}
    )
    return texts.to_frame("text").join(table, on="text", how="left", maintain_order="left")["found"]
