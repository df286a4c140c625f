"""Times and sizes as a person writes them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from schemas.errors import setting_error

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})", re.ASCII)
_SIZE = re.compile(r"([1-9][0-9]{0,8})(MiB|GiB|TiB)")
_SIZE_UNITS = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def parse_moment(option: str, text: str) -> datetime:
    """A date (its first moment, UTC) or an RFC 3339 time, in UTC; raises ConfigurationError for anything else."""
    is_date = _DATE.fullmatch(text) is not None
    if is_date or _TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(f"{text}T00:00:00Z" if is_date else text).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise setting_error(option, expected="a date or a time with an offset such as 2026-03-10T00:00:00Z", got=text)


def parse_size(option: str, text: str) -> int:
    """Bytes of a size such as ``4GiB``; raises ConfigurationError for anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise setting_error(option, expected='a size such as "4GiB" (units MiB GiB TiB)', got=text)
    return int(match[1]) * _SIZE_UNITS[match[2]]
