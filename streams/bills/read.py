"""Bills: their parts, summed by rule and day, one bill after the other; two that hold the same month are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import polars as pl

from attribution.bills import LINES, BillSums, Pending, lines_on
from attribution.cost_model import LineRule
from attribution.costs import Conversion
from attribution.toml_tables import Bare
from attribution.windows import EPOCH, time_text
from schemas.errors import setting_error
from streams.bills.files import parts_of
from streams.bills.lines import IDENTITY, BillPart
from streams.cost_tables import BillFile


def read_bills(
    bills: Sequence[BillFile],
    rules: Sequence[LineRule],
    conversion: Conversion,
    as_of: datetime,
    say: Callable[[str], None],
) -> list[BillSums]:
    """The bills of a cost file, in file order; say: takes what somebody should look at.

    Raises UnavailableError, naming file and row, for a bill that cannot be read whole, and ConfigurationError for two
    that hold lines of one issuer, billing account and billing period: a month delivered twice would count twice.
    """
    found: list[BillSums] = []
    asked: set[str] = set()
    for bill in bills:
        sums, of_bill = _read_bill(bill, rules, conversion, as_of)
        _refuse_twice(sums, bill, found, bills)
        found.append(sums)
        asked |= of_bill
    if bills:
        for rule in rules:
            for key in rule.match:
                if key not in asked and not key.startswith("tags."):
                    say(f'line "{rule.name}": no bill has the column {key}, so it matches nothing')
    return found


def read_lines_on(
    day: date, bills: Sequence[BillFile], rules: Sequence[LineRule], conversion: Conversion, as_of: datetime
) -> pl.DataFrame:
    """The lines that inferences of a day are charged for, as ``attribution.bills.lines_on``, with their ``file``."""
    found = [pl.DataFrame()]
    for bill in bills:
        for path in parts_of(bill.path):
            for lines in BillPart(path, bill, rules).lines():
                named = lines.with_columns(pl.lit(str(path)).alias("file"))
                found.append(lines_on(day, named, conversion, _pending(bill, as_of)))
    return pl.concat(found, how="diagonal")


def _pending(bill: BillFile, as_of: datetime) -> Pending:
    return Pending((as_of - EPOCH) // timedelta(microseconds=1), bill.complete_until)


def _read_bill(
    bill: BillFile, rules: Sequence[LineRule], conversion: Conversion, as_of: datetime
) -> tuple[BillSums, set[str]]:
    """One bill, and which of the columns that rules name it has."""
    sums = BillSums(str(bill.path))
    asked: set[str] = set()
    pending = _pending(bill, as_of)
    for path in parts_of(bill.path):
        part = BillPart(path, bill, rules)
        asked |= part.asked
        for lines in part.lines():
            # Without a period, or any word on whose bill it is, nothing says that two lines are of one month.
            has_period = pl.col("period_start_us").is_not_null()
            is_known = has_period & (pl.col("issuer").is_not_null() | pl.col("account").is_not_null())
            sums.periods.update(lines.filter(is_known).select(list(IDENTITY)).unique().iter_rows())
            sums.add(lines.select(list(LINES)), conversion, pending)
    return sums, asked


def _refuse_twice(sums: BillSums, bill: BillFile, earlier: Sequence[BillSums], bills: Sequence[BillFile]) -> None:
    for other, other_bill in zip(earlier, bills, strict=False):
        for issuer, account, period in sorted(sums.periods & other.periods, key=str):
            raise setting_error(
                f"{bill.place}: path",
                expected=f"lines that {other_bill.path} does not hold",
                got=Bare(
                    f"{bill.path}, which holds the same issuer {issuer}, billing account {account} and billing period "
                    f"from {time_text(period)}"
                ),
                hint="keep the newest delivery of a month only: with both it would count twice",
            )
