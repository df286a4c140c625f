"""One part of a bill: batches of texts → lines with exact amounts and times; what is no line is refused by its row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from attribution.bills import LINES, rule_of
from attribution.cost_model import TAG_PREFIX, LineRule
from attribution.money import INT
from schemas.currencies import ACTIVE
from schemas.errors import UnavailableError, setting_error
from streams.bills.columns import ColumnMap, find_column
from streams.bills.files import batches, columns_of, csv_line
from streams.bills.values import added, amounts, credit_amounts, moments, months, tags
from streams.cost_tables import BillFile

#: What ``BillPart.lines`` has beside the columns of ``attribution.bills.LINES``: whose bill it is, and when it began.
IDENTITY: dict[str, pl.DataType] = {"issuer": pl.String(), "account": pl.String(), "period_start_us": pl.Int64()}
_AMOUNT = "an amount below 1000000000000 with at most 48 places, such as 12.50"
_TIME = "a time such as 2026-03-01T00:00:00Z, from 2000 to 2199"
_ROLES = ("cost", "start", "end", "billed_cost", "currency", "tags", "issuer", "account", "billing_period", "credits")
_FOCUS_ROLES = ("period_start", "period_end")


class BillPart:
    """A file of a bill. asked: the columns and tags that rules name and the file has, by the name that they use."""

    def __init__(self, path: Path, bill: BillFile, rules: Sequence[LineRule]) -> None:
        self.path = path
        self._bill = bill
        self._rules = rules
        there = columns_of(path)
        self._columns = _roles(bill.columns, there, path)
        if bill.currency is not None and "currency" in self._columns:
            raise setting_error(
                f"{bill.place}: currency",
                expected=f"no currency here, for {path} has the column {self._columns['currency']}",
                got=bill.currency,
            )
        keys = sorted({key for rule in rules for key in rule.match})
        self._tag_keys = [key for key in keys if key.startswith(TAG_PREFIX) and "tags" in self._columns]
        found = {
            key: find_column(key, there, is_focus=bill.columns.is_focus)
            for key in keys
            if not key.startswith(TAG_PREFIX)
        }
        self._matched = {key: column for key, column in found.items() if column is not None}
        self.asked = {*self._tag_keys, *self._matched}

    def lines(self) -> Iterator[pl.DataFrame]:
        """Lines with the columns of LINES and IDENTITY, a batch at a time.

        Raises UnavailableError that names file, row and column for a line without cost, currency or charge period, and
        for any text that is not what its column should hold.
        """
        rows = 0
        for texts in batches(self.path, sorted({*self._columns.values(), *self._matched.values()})):
            yield self._lines(texts, rows)
            rows += texts.height

    def _lines(self, texts: pl.DataFrame, rows_before: int) -> pl.DataFrame:
        cost, cost_rest = self._amounts(texts, "cost", rows_before)
        billed, billed_rest = self._amounts(texts, "billed_cost", rows_before)
        currency = self._text(texts, "currency")
        if self._bill.currency is not None:
            currency = pl.Series([self._bill.currency]).new_from_index(0, texts.height)
        known = currency.is_in(sorted(ACTIVE)).fill_null(value=False)
        self._refuse(texts, "currency", ~known, rows_before, "an active ISO 4217 code such as USD")
        start, end = (self._moments(texts, role, rows_before) for role in ("start", "end"))
        self._refuse(texts, "end", end < start, rows_before, "a time not before the start of the charge period")
        period_start, period_end = self._period(texts, rows_before)
        frame = pl.DataFrame(
            {
                "row": pl.int_range(rows_before + 1, rows_before + texts.height + 1, eager=True),
                "cost": cost,
                "cost_rest": cost_rest,
                "billed": billed,
                "billed_rest": billed_rest,
                "currency": currency,
                "start_us": start,
                "end_us": end,
                "period_end_us": period_end,
                "issuer": self._text(texts, "issuer"),
                "account": self._text(texts, "account"),
                "period_start_us": period_start,
            }
        )
        matchable, columns = self._matchable(texts, rows_before)
        rule = matchable.select(rule_of(self._rules, columns)).to_series()
        rule = rule if len(rule) == texts.height else rule.new_from_index(0, texts.height)
        return frame.with_columns(rule.alias("rule")).select(*LINES, *IDENTITY).cast({**LINES, **IDENTITY})  # type: ignore[dict-item]

    def _text(self, texts: pl.DataFrame, role: str) -> pl.Series:
        if role in self._columns:
            return texts[self._columns[role]]
        return pl.Series([None], dtype=pl.String).new_from_index(0, texts.height)

    def _amounts(self, texts: pl.DataFrame, role: str, rows_before: int) -> tuple[pl.Series, pl.Series]:
        """Units and rest of a column of money, with credits, which a bill may keep apart, added."""
        if role not in self._columns:
            none = pl.Series([None], dtype=INT).new_from_index(0, texts.height)
            return none, none.fill_null(0)
        units, rest = amounts(texts[self._columns[role]])
        self._refuse(texts, role, units.is_null(), rows_before, _AMOUNT)
        if "credits" not in self._columns:
            return units, rest
        written = texts[self._columns["credits"]]
        more, more_rest = amounts(credit_amounts(written).fill_null("0"))
        is_bad = more.is_null() | (credit_amounts(written).is_null() & written.is_not_null())
        self._refuse(texts, "credits", is_bad, rows_before, f"{_AMOUNT}, or a list of such credits")
        return added(units, rest, more, more_rest)

    def _moments(self, texts: pl.DataFrame, role: str, rows_before: int) -> pl.Series:
        found = moments(texts[self._columns[role]])
        self._refuse(texts, role, found.is_null(), rows_before, _TIME)
        return found

    def _period(self, texts: pl.DataFrame, rows_before: int) -> tuple[pl.Series, pl.Series]:
        """Start and end of the billing period, null where the bill has none."""
        if "billing_period" in self._columns:
            written = texts[self._columns["billing_period"]]
            start, end = months(written)
            is_bad = start.is_null() & written.is_not_null()
            self._refuse(texts, "billing_period", is_bad, rows_before, f"a month such as 2026-03, or {_TIME}")
            return start, end
        found = {}
        for role in _FOCUS_ROLES:
            written = self._text(texts, role)
            found[role] = moments(written)
            self._refuse(texts, role, found[role].is_null() & written.is_not_null(), rows_before, _TIME)
        return found["period_start"], found["period_end"]

    def _matchable(self, texts: pl.DataFrame, rows_before: int) -> tuple[pl.DataFrame, dict[str, str]]:
        """What rules match: columns and tags as texts, and which of the frame's columns each is."""
        if not self._tag_keys:
            return texts, self._matched
        names = [key.removeprefix(TAG_PREFIX) for key in self._tag_keys]
        of_keys, is_bad = tags(texts[self._columns["tags"]], names)
        self._refuse(texts, "tags", is_bad, rows_before, "tags as a JSON object")
        columns = {key: f"{TAG_PREFIX}{number}" for number, key in enumerate(self._tag_keys)}
        named = [column.alias(columns[key]) for key, column in zip(self._tag_keys, of_keys, strict=True)]
        matched = {key: f"column.{number}" for number, key in enumerate(self._matched)}
        found = [texts[column].alias(matched[key]) for key, column in self._matched.items()]
        return pl.DataFrame([*named, *found]), columns | matched

    def _refuse(self, texts: pl.DataFrame, role: str, is_bad: pl.Series, rows_before: int, expected: str) -> None:
        """Raises the message about the first bad row, if there is one."""
        numbers = is_bad.arg_true()
        if len(numbers) == 0:
            return
        column = self._columns.get(role) or getattr(self._bill.columns, role) or role
        found = self._text(texts, role)[numbers[0]]
        row = rows_before + numbers[0] + 1
        got = "nothing" if found is None else f'"{found}"'
        raise UnavailableError(f"{self.path}: row {row}{self._line(row)}: {column}: expected {expected}, got {got}")

    def _line(self, row: int) -> str:
        """Where an editor shows a row of a CSV: a value may hold line ends, and blank lines are no rows."""
        line = csv_line(self.path, row)
        return "" if line is None else f" (line {line})"


def _roles(columns: ColumnMap, there: Sequence[str], path: Path) -> dict[str, str]:
    """What the columns of a file are for. Those of FOCUS that are not needed may be missing."""
    found: dict[str, str] = {}
    for role in (*_ROLES, *_FOCUS_ROLES):
        name = getattr(columns, role)
        column = None if name is None else find_column(name, there, is_focus=columns.is_focus)
        if column is not None:
            found[role] = column
        elif name is not None and (role in ("cost", "start", "end") or not columns.is_focus):
            raise UnavailableError(f"{path}: expected the column {name}, got {', '.join(there) or 'no columns'}")
    return found
