"""Bill lines, summed by rule and day: to the first rule that matches, converted once, spread over UTC days by time.

60.00 EUR for 20:00 to 02:00 the day after, at 1.10, is 66.00 USD: 44.00 on the first day and 22.00 on the second. A
line of no length is a cost of its start day. Amounts were rounded to 10⁻¹² when they were read, and are once more
when they are converted; what both cut is the bill's ``rounding``. Spreading cuts nothing: the parts sum to the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction

import polars as pl

from attribution.cost_model import LineRule
from attribution.costs import COST_PLACES, Conversion, rate_table
from attribution.money import INT, UNIT, integer
from attribution.shares import proportion
from attribution.windows import DAY_US

#: What was cut off an amount when it was read, in units of 10^-REST_PLACES: an amount has at most as many places.
REST_PLACES = 48
#: Lines as they come from a bill; times in µs since 1970, the end not included; money in the line's own currency.
LINES: dict[str, pl.DataType] = {
    "row": pl.Int64(),  # of its file, from 1, without the header
    "cost": INT,  # units of 10⁻¹²
    "cost_rest": INT,
    "billed": INT,  # null where the bill does not say
    "billed_rest": INT,
    "currency": pl.String(),
    "start_us": pl.Int64(),
    "end_us": pl.Int64(),
    "period_end_us": pl.Int64(),  # of its billing period; null where it has none
    "rule": pl.Int32(),  # position of the rule that matches it; null: none
}
#: Sums of lines by rule and day: in base currency where ``is_converted``, else in their own.
PARTS: dict[str, pl.DataType] = {
    "currency": pl.String(),
    "is_converted": pl.Boolean(),
    "rule": pl.Int32(),
    "day": pl.Date(),
    "is_pending": pl.Boolean(),
    "cost": INT,
    "has_positive": pl.Boolean(),  # whether a part of a line above 0 is in it
}
_HALF = 10**18
_ROWS_AT_ONCE = 1_000_000
_COST_UNIT = 10**COST_PLACES


@dataclass
class Exact:
    """What lines of one currency at one rate come to: as written, and converted, in whole units.

    rate: units of 10⁻⁹, None where there is none: then all is in the lines' own currency.
    """

    rate: int | None
    cost: int = 0
    cost_rest: int = 0
    billed: int | None = None
    billed_rest: int = 0
    converted: int = 0

    @property
    def effective(self) -> Fraction:
        """The cost as the bill has it, at the rate, with nothing rounded."""
        return self._at_rate(self.cost, self.cost_rest)

    @property
    def billed_amount(self) -> Fraction | None:
        return None if self.billed is None else self._at_rate(self.billed, self.billed_rest)

    @property
    def rounding(self) -> Fraction:
        """What rounding cut, on reading and on conversion."""
        return self.effective - Fraction(self.converted, _COST_UNIT)

    def _at_rate(self, units: int, rest: int) -> Fraction:
        amount = Fraction(units, _COST_UNIT) + Fraction(rest, 10**REST_PLACES)
        return amount if self.rate is None else amount * Fraction(self.rate, UNIT)


@dataclass
class BillSums:
    """One bill: its lines by rule and day, and what it comes to.

    periods: (issuer, account, start of the billing period in µs) of its lines, where they have them; newest_day: the
    last day that a line charges for, of lines of at most a day if there are such; first_day: the first one that a line
    which some rule matches charges for.
    """

    name: str
    parts: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=PARTS))
    exact: dict[tuple[str, int | None], Exact] = field(default_factory=dict)
    periods: set[tuple[str | None, str | None, int]] = field(default_factory=set)
    newest_day: date | None = None
    newest_is_short: bool = False
    first_day: date | None = None

    def add(self, lines: pl.DataFrame, conversion: Conversion, pending: Pending) -> None:
        """Add some of the bill's lines (LINES)."""
        if lines.height == 0:
            return
        converted = _converted(lines, conversion)
        parts = [_summed(part) for part in _day_parts(converted.with_columns(pending.first_day()))]
        self.parts = _summed(pl.concat([self.parts, *parts]))
        self._add_exact(converted)
        self._add_days(lines)

    def _add_exact(self, converted: pl.DataFrame) -> None:
        half = pl.lit(_HALF, dtype=INT)
        sums = converted.group_by("currency", "rate").agg(
            pl.col("cost", "billed", "converted").sum(),
            pl.col("billed").count().alias("billed_count"),
            *(
                part.sum().alias(f"{rest}_{name}")
                for rest in ("cost_rest", "billed_rest")
                for name, part in (("high", pl.col(rest) // half), ("low", pl.col(rest) % half))
            ),
        )
        for row in sums.iter_rows(named=True):  # one row per currency and rate
            exact = self.exact.setdefault((row["currency"], row["rate"]), Exact(row["rate"]))
            exact.cost += row["cost"]
            exact.converted += row["converted"]
            exact.cost_rest += row["cost_rest_high"] * _HALF + row["cost_rest_low"]
            if row["billed_count"]:
                exact.billed = (exact.billed or 0) + row["billed"]
                exact.billed_rest += row["billed_rest_high"] * _HALF + row["billed_rest_low"]

    def _add_days(self, lines: pl.DataFrame) -> None:
        days = lines.select(
            (pl.col("start_us") // DAY_US).alias("first"),
            _last_day().alias("last"),
            (pl.col("end_us") - pl.col("start_us") <= DAY_US).alias("is_short"),
            "rule",
        )
        is_short = bool(days["is_short"].any())
        counted = days.filter("is_short") if is_short else days
        newest = _date(counted["last"].max())
        if is_short > self.newest_is_short:
            self.newest_day, self.newest_is_short = newest, True
        elif is_short == self.newest_is_short:
            self.newest_day = max(filter(None, (self.newest_day, newest)), default=None)
        first = _date(days.filter(pl.col("rule").is_not_null())["first"].min())
        self.first_day = min(filter(None, (self.first_day, first)), default=None)


@dataclass(frozen=True)
class Pending:
    """From which day on a bill is not yet complete.

    complete_until: the first such day, where the bill says so; else the day before as-of's, of lines whose billing
    period still runs at as-of.
    """

    as_of_us: int
    complete_until: date | None = None

    def first_day(self) -> pl.Expr:
        """Per line the first pending day as days since 1970, null where there is none."""
        if self.complete_until is not None:
            return pl.lit(_days(self.complete_until), dtype=pl.Int64).alias("pending_from")
        is_running = pl.col("period_end_us") > self.as_of_us
        return pl.when(is_running).then(self.as_of_us // DAY_US - 1).cast(pl.Int64).alias("pending_from")


def rule_of(rules: Sequence[LineRule], columns: Mapping[str, str]) -> pl.Expr:
    """The position of the first rule that matches a line; null: none does.

    columns: what a rule calls a column (or tag) → the text column of the frame; a rule with a column that is not there
    matches nothing. An absent text matches nothing.
    """
    found = pl.lit(None, dtype=pl.Int32)
    for number, rule in reversed(list(enumerate(rules))):
        if not set(rule.match) <= set(columns):
            continue
        equal = [pl.col(columns[key]).is_in(list(texts)).fill_null(value=False) for key, texts in rule.match.items()]
        matches = pl.all_horizontal(pl.lit(value=True), *equal)
        found = pl.when(matches).then(pl.lit(number, dtype=pl.Int32)).otherwise(found)
    return found.alias("rule")


def _converted(lines: pl.DataFrame, conversion: Conversion) -> pl.DataFrame:
    """Lines with ``rate`` (of the day on which their charge period starts) and ``converted``, in units of 10⁻¹²."""
    dated = lines.with_columns((pl.col("start_us") // DAY_US).cast(pl.Int32).cast(pl.Date).alias("_day"))
    rates = rate_table(dated["currency"].unique().sort().to_list(), dated["_day"].unique(), conversion)
    rated = dated.join(rates, on=["currency", "_day"], how="left", maintain_order="left").drop("_day")
    at_rate = proportion(rated["cost"], rated["rate"], integer(UNIT))
    return rated.with_columns(
        pl.when(pl.col("rate").is_null()).then("cost").otherwise(at_rate).alias("converted"),
        pl.col("rate").is_not_null().alias("is_converted"),
    )


def _last_day() -> pl.Expr:
    """The day of a line's last moment, as days since 1970; of a line of no length its start day."""
    return (pl.max_horizontal("start_us", pl.col("end_us") - 1) // DAY_US).alias("last")


def _day_parts(converted: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """One row per line and day that it charges for: the columns of PARTS, not yet summed."""
    spread = converted.filter(pl.col("converted") != 0).select(
        *("currency", "is_converted", "rule", "pending_from", "converted", "start_us", "end_us"),
        (pl.col("start_us") // DAY_US).alias("first"),
        _last_day(),
    )
    is_one_day = pl.col("first") == pl.col("last")
    yield _part(spread.filter(is_one_day).with_columns(day="first", cost_on_day="converted"))
    several = spread.filter(~is_one_day)
    # A line of a year is 366 rows: some lines at a time, so that no frame is large.
    lengths = (several["last"] - several["first"] + 1).cum_sum().to_numpy()
    start = 0
    while start < several.height:
        before = int(lengths[start - 1]) if start else 0
        end = max(int((lengths <= before + _ROWS_AT_ONCE).sum()), start + 1)
        yield _part(_over_days(several[start:end]))
        start = end


def _over_days(several: pl.DataFrame) -> pl.DataFrame:
    """Lines over several days, in proportion to time, with cumulative rounding."""
    return _with_parts(several.with_columns(pl.int_ranges("first", pl.col("last") + 1).alias("day")).explode("day"))


def _with_parts(rows: pl.DataFrame) -> pl.DataFrame:
    """Lines with ``day``, each with what it costs on that day: ``cost``, and the µs that lead to it.

    ``before_us`` and ``upto_us``: of the charge period until the day begins and ends; a line of no length has 0 and 1.
    """
    start, end = pl.col("start_us"), pl.max_horizontal("end_us", pl.col("start_us") + 1)
    day_start = pl.col("day") * DAY_US
    timed = rows.with_columns(
        (pl.max_horizontal(day_start, start) - start).cast(INT).alias("before_us"),
        (pl.min_horizontal(day_start + DAY_US, end) - start).cast(INT).alias("upto_us"),
        (end - start).cast(INT).alias("whole_us"),
    )
    total, whole = timed["converted"], timed["whole_us"]
    upto, before = (proportion(total, timed[name], whole) for name in ("upto_us", "before_us"))
    return timed.with_columns((upto - before).alias("cost_on_day"))


def lines_on(day: date, lines: pl.DataFrame, conversion: Conversion, pending: Pending) -> pl.DataFrame:
    """The lines (LINES, and any further columns) that inferences of a day are charged for, with how.

    With ``rate`` (units of 10⁻⁹), ``converted``, ``cost_on_day`` and the columns of ``_with_parts``.
    """
    number = _days(day)
    converted = _converted(lines, conversion).with_columns(pending.first_day())
    is_charged = pl.col("is_converted") & pl.col("rule").is_not_null() & (pl.col("start_us") // DAY_US <= number)
    is_complete = (pl.col("pending_from") > number).fill_null(value=True)
    charged = converted.filter(is_charged & (_last_day() >= number) & is_complete)
    return _with_parts(charged.with_columns(pl.lit(number, dtype=pl.Int64).alias("day")))


def _part(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        *("currency", "is_converted", "rule"),
        pl.col("day").cast(pl.Int32).cast(pl.Date),
        (pl.col("day") >= pl.col("pending_from")).fill_null(value=False).alias("is_pending"),
        pl.col("cost_on_day").alias("cost"),
        (pl.col("cost_on_day") > 0).alias("has_positive"),
    )


def _summed(parts: pl.DataFrame) -> pl.DataFrame:
    keys = [name for name in PARTS if name not in ("cost", "has_positive")]
    return parts.group_by(keys).agg(pl.col("cost").sum(), pl.col("has_positive").any())


def _days(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _date(days: object) -> date | None:
    return date(1970, 1, 1) + timedelta(days=days) if isinstance(days, int) else None
