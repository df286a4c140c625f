"""The options of ``attribution ratio``, as written and as understood."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from attribution.toml_tables import Bare, nearest
from attribution.view import ATTRIBUTE_PREFIX, DEFAULT_BY, KEYS, PERIODS
from schemas.errors import setting_error
from streams.options import parse_moment
from streams.ratio_report import FORMATS


@dataclass(frozen=True)
class RatioOptions:
    """The command's options, as written; None: not given. width: of the terminal, None where there is none."""

    costs: Path | None = None
    from_: str | None = None
    to: str | None = None
    as_of: str | None = None
    by: str = ",".join(DEFAULT_BY)
    period: str | None = None
    format: str = "table"
    width: int | None = None
    write_costs: Path | None = None
    check: bool = False


@dataclass(frozen=True)
class Asked:
    """The options that are not about files; None: not given."""

    by: tuple[str, ...]
    period: str | None
    from_day: date | None
    to_day: date | None
    as_of: datetime | None


def parse_options(options: RatioOptions) -> Asked:
    """The options, checked; raises ConfigurationError that names the one that is wrong."""
    _word("--format", options.format, FORMATS)
    asked = Asked(
        by=_keys(options.by),
        period=None if options.period is None else _word("--period", options.period, PERIODS),
        from_day=_day("--from", options.from_),
        to_day=_day("--to", options.to),
        as_of=None if options.as_of is None else parse_moment("--as-of", options.as_of),
    )
    if options.check and asked.by != DEFAULT_BY:
        hint = "a check is by use case, model and version"
        raise setting_error("--check", expected="no --by beside it", got=options.by, hint=hint)
    for option, given in (("--period", options.period), ("--write-costs", options.write_costs)):
        if options.check and given is not None:
            raise setting_error("--check", expected=f"no {option} beside it", got=Bare(str(given)))
    return asked


def _word(option: str, word: str, words: Iterable[str]) -> str:
    known = list(words)
    if word not in known:
        raise setting_error(option, expected="one of " + ", ".join(known), got=word, hint=nearest(word, known))
    return word


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(text.split(","))
    for position, key in enumerate(keys):
        is_attribute = key.startswith(ATTRIBUTE_PREFIX) and len(key) > len(ATTRIBUTE_PREFIX)
        if key not in KEYS and not is_attribute:
            expected = f"{', '.join(KEYS)} or {ATTRIBUTE_PREFIX}KEY, separated by commas"
            raise setting_error("--by", expected=expected, got=key, hint=nearest(key, KEYS))
        if key in keys[:position]:
            raise setting_error("--by", expected="each key once", got=text)
    return keys


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise setting_error(option, expected="a date such as 2026-03-01", got=text)
