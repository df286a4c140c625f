"""Durations such as ``"7d"`` or ``"1h30m"`` and instants, as whole microseconds, and their texts.

A duration is written with the units ms, s, m, h, d and w, each at most once, in any order, and is at
most 36500 days. A day is 24 hours: all times are UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND_US = 1_000
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
DURATION_MAX_US = 36_500 * DAY_US
DURATION_EXPECTED = 'a duration such as "7d" or "1h30m" (units ms s m h d w, each at most once; at most 36500d)'

_UNITS_US = {
    "w": 7 * DAY_US,
    "d": DAY_US,
    "h": 3_600 * SECOND_US,
    "m": 60 * SECOND_US,
    "s": SECOND_US,
    "ms": MILLISECOND_US,
}
#: 36500d has 13 digits in milliseconds: a longer number is too long in any unit.
_PART = re.compile(r"0*([0-9]{1,13})(ms|[smhdw])")
_DURATION = re.compile(rf"({_PART.pattern})+")


def parse_duration(text: str) -> int:
    """Microseconds of a duration; zero is a duration too, callers refuse it where it means nothing.

    Raises ValueError if the text is no duration or longer than 36500 days.

    >>> parse_duration("1h30m")
    5400000000
    """
    parts = _PART.findall(text) if _DURATION.fullmatch(text) else []
    written = [unit for _, unit in parts]
    duration_us = sum(int(number) * _UNITS_US[unit] for number, unit in parts)
    if not parts or len(set(written)) < len(written) or duration_us > DURATION_MAX_US:
        raise ValueError(f'expected {DURATION_EXPECTED}, got "{text}"')
    return duration_us


def format_duration(duration_us: int) -> str:
    """The one canonical text of a duration of whole milliseconds: days downwards, no weeks.

    >>> format_duration(parse_duration("90m")), format_duration(parse_duration("2w")), format_duration(0)
    ('1h30m', '14d', '0s')
    """
    assert duration_us >= 0, duration_us
    assert duration_us % MILLISECOND_US == 0, duration_us
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        number, duration_us = divmod(duration_us, _UNITS_US[unit])
        text += f"{number}{unit}" if number else ""
    return text or "0s"


def time_text(time_us: int) -> str:
    """An instant as RFC 3339 in UTC; a fraction of a second (six digits) only if there is one.

    >>> time_text(0), time_text(1_500_000)
    ('1970-01-01T00:00:00Z', '1970-01-01T00:00:01.500000Z')
    """
    return f"{(EPOCH + timedelta(microseconds=time_us)).replace(tzinfo=None).isoformat()}Z"
