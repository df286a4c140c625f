"""Reads settings out of TOML, one table at a time, with messages that help.

Whatever is wrong is a ``ConfigurationError`` that names file, table and key, what was expected, what was found and a
hint. Durations and times come out as integer microseconds, decimals as integer units (``attribution.decimals``)::

    table = Table("search.toml: rule 2", {"lookback_window": "7 days"})
    table.duration("lookback_window")
    # search.toml: rule 2: lookback_window: expected a duration such as "7d" …, got "7 days"
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from attribution.decimals import Bounds
from attribution.windows import DURATION_EXPECTED, EPOCH, parse_duration
from schemas.errors import ConfigurationError, setting_error
from schemas.events import TIME_MAX_US, TIME_MIN_US


@dataclass(frozen=True)
class Bare:
    """Something found that a message shows without quotes."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """One TOML table and its place; each method reads one key or raises a ConfigurationError that names it."""

    place: str
    values: Mapping[str, object]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def error(self, key: str, expected: str, *, got: object = None, hint: str = "") -> ConfigurationError:
        """The message about a key; ``got`` is its value unless told otherwise."""
        found = shown(self.values[key]) if got is None else got
        return setting_error(f"{self.place}: {key}", expected=expected, got=found, hint=hint)

    def get(self, key: str, expected: str) -> object:
        """The value of a required key."""
        if key not in self.values:
            raise self.error(key, expected, got=Bare("nothing"), hint=f"{key} is required here")
        return self.values[key]

    def refuse_unknown(self, keys: Sequence[str]) -> None:
        """Every key must be one of these."""
        for key in self.values:
            if key not in keys:
                raise self.error(key, "a known key", got=key, hint=nearest(key, keys) or f"known are {', '.join(keys)}")

    def tables(self, key: str) -> list[Mapping[str, object]]:
        """A required array of at least one table."""
        found = self.get(key, expected := f"one or more [[{key}]] tables")
        if not isinstance(found, list) or not found or not all(isinstance(item, dict) for item in found):
            raise self.error(key, expected, hint=f"write [[{key}]], with two brackets")
        return found

    def text(self, key: str) -> str:
        """A required text that is not empty."""
        text = self.get(key, expected := "a text that is not empty")
        if not isinstance(text, str) or not text:
            raise self.error(key, expected)
        return text

    def word(self, key: str, words: Sequence[str], default: str | None = None) -> str:
        """One of the words; required where there is no default."""
        if key not in self and default is not None:
            return default
        word = self.get(key, expected := "one of " + ", ".join(f'"{word}"' for word in words))
        if not isinstance(word, str) or word not in words:
            raise self.error(key, expected, hint=nearest(word, words) if isinstance(word, str) else "")
        return word

    def integer(self, key: str, low: int, high: int) -> int:
        """A required integer from low to high."""
        number = self.get(key, expected := f"an integer from {low} to {high}")
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise self.error(key, expected)
        return number

    def duration(self, key: str, *, positive: bool = False) -> int:
        """A required duration, in microseconds."""
        text = self.get(key, expected := DURATION_EXPECTED + (", above 0" if positive else ""))
        try:
            duration_us = parse_duration(text if isinstance(text, str) else "")
        except ValueError:
            raise self.error(key, expected) from None
        if positive and not duration_us:
            raise self.error(key, expected)
        return duration_us

    def decimal(self, key: str, bounds: Bounds, default: int | None = None) -> int:
        """A decimal in units; required where there is no default."""
        if key not in self and default is not None:
            return default
        value = self.get(key, bounds.expected)
        number = bounds.units(value)
        if number is None:
            raise self.error(key, bounds.expected, hint=_quotes_hint(value, bounds))
        return number

    def optional_decimal(self, key: str, bounds: Bounds) -> int | None:
        """A decimal in units, or None where the key is absent."""
        return self.decimal(key, bounds) if key in self else None

    def time(self, key: str) -> int:
        """A required offset date-time in 2000 to 2199, in microseconds since 1970."""
        expected = "a date-time with an offset such as 2026-01-01T00:00:00Z, from 2000 to 2199"
        found = self.get(key, expected)
        if not isinstance(found, datetime) or found.tzinfo is None:
            local = "write it with time and offset: without them it is no instant" if isinstance(found, date) else ""
            raise self.error(key, expected, hint="write it without quotes" if isinstance(found, str) else local)
        time_us = (found - EPOCH) // timedelta(microseconds=1)
        if not TIME_MIN_US <= time_us < TIME_MAX_US:
            raise self.error(key, expected)
        return time_us


def parse_toml(text: str, file: str) -> dict[str, object]:
    """The TOML document; raises ConfigurationError that names file, line and the line's text."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) else "nested too deeply"
        position = re.search(r"\(at line (\d+), ", reason)
        lines = text.rstrip().split("\n")
        line = int(position[1]) if position else len(lines)
        got = lines[min(line, len(lines)) - 1].strip()
        hint = reason.partition(" (at ")[0]
        raise setting_error(f"{file}: line {line}", expected="TOML", got=got, hint=hint) from None


def nearest(word: str, words: Sequence[str]) -> str:
    """The hint for a word that is not one of these; empty if none is near."""
    close = difflib.get_close_matches(word, words, n=1)
    return f'did you mean "{close[0]}"?' if close else ""


def shown(value: object) -> object:
    """A TOML value as a message shows it: a text as it is (the message puts it in quotes), all else bare."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return Bare("a table" if isinstance(value, dict) else f"a list of {len(value)}")
    if isinstance(value, date | time):
        return Bare(value.isoformat())
    if isinstance(value, int) and abs(value) >= 2**63:
        return Bare(hex(value))
    return Bare(str(value).lower() if isinstance(value, bool) else str(value))


def _quotes_hint(value: object, bounds: Bounds) -> str:
    """How to write a number that would be right as a text: as a float it is not exactly what it looks like."""
    text = format(Decimal(repr(value)), "f") if isinstance(value, float) else str(shown(value))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f'write it in quotes: "{text}"' if is_number and bounds.units(text) is not None else ""
