"""What a report is asked for: which days, as of when, by which keys and period."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

KEYS = ("use_case", "model", "model_version", "endpoint", "provider", "arm")
ATTRIBUTE_PREFIX = "attributes."
DEFAULT_BY = ("use_case", "model", "model_version")
#: Period → what polars truncates times to; a week is an ISO week, from Monday.
PERIODS = {"day": "1d", "week": "1w", "month": "1mo", "quarter": "1q"}
HOLDOUT = "holdout"
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class View:
    """Inferences of [from_day, to_day), UTC, as of one moment, by group and period.

    period: of PERIODS, None for the whole range as one.
    """

    as_of: datetime
    from_day: date
    to_day: date
    reversal_window: timedelta
    by: tuple[str, ...] = DEFAULT_BY
    period: str | None = None

    def holds(self, column: str) -> pl.Expr:
        """From the first moment of from_day, inclusive, to that of to_day, exclusive."""
        start, end = (datetime.combine(day, time(), UTC) for day in (self.from_day, self.to_day))
        return (pl.col(column) >= start) & (pl.col(column) < end)

    def holds_day(self, day: date) -> bool:
        return self.from_day <= day < self.to_day

    def period_of(self, day: date) -> date | None:
        """The first day of a day's period, which may lie before the range; None without periods.

        >>> View(datetime.min, date.min, date.max, ONE_DAY, period="week").period_of(date(2026, 3, 1))
        datetime.date(2026, 2, 23)
        """
        match self.period:
            case "day":
                return day
            case "week":
                return day - timedelta(days=day.weekday())
            case "month":
                return day.replace(day=1)
            case "quarter":
                return day.replace(month=day.month - (day.month - 1) % 3, day=1)
            case _:
                return None

    def period_column(self, column: str) -> pl.Expr:
        """As ``period_of``, of a time column."""
        if self.period is None:
            return pl.lit(None, dtype=pl.Date)
        return pl.col(column).dt.truncate(PERIODS[self.period]).dt.date()

    def days(self) -> Iterator[date]:
        """Every day of the range."""
        for number in range((self.to_day - self.from_day).days):
            yield self.from_day + timedelta(days=number)


def key_column(name: str) -> pl.Expr:
    """The text of one key of a group: a column of KEYS, or one attribute."""
    if not name.startswith(ATTRIBUTE_PREFIX):
        return pl.col(name).cast(pl.String)
    key = name.removeprefix(ATTRIBUTE_PREFIX)
    texts = pl.col("attributes").str.json_decode(pl.Struct({key: pl.String()}))
    return texts.struct.rename_fields(["value"]).struct.field("value")  # a key may read like a pattern
