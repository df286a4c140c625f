"""The tables of a cost file, one function each: checked, with messages that name table, key, expected and got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from attribution.cost_model import (
    DEFAULT_DRIVERS,
    REMEDIATION_DAYS_MAX,
    SCOPE_KEYS,
    TAG_PREFIX,
    Amortised,
    Change,
    CostType,
    Driver,
    LineRule,
    Overhead,
    Remediation,
    Scope,
)
from attribution.costs import COST_PLACES, PriceList
from attribution.decimals import Bounds
from attribution.toml_tables import Bare, Table, nearest
from attribution.windows import DAY_US
from schemas.currencies import ACTIVE
from streams.bills.columns import COLUMN_KEYS, FOCUS, ColumnMap
from streams.price_lists import load_price_list

#: The keys of each table, in the order in which they are documented.
TABLE_KEYS: dict[str, tuple[str, ...]] = {
    "price_list": ("path", "effective_from", "currency"),
    "bill": ("path", "format", "columns", "currency", "complete_until", "max_age"),
    "line": ("name", "match", "cost_type", "scope", "drivers"),
    "amortise": ("cost_type", "scope", "amount", "currency", "from", "life_days", "retired"),
    "overhead": ("use_case", "of"),
    "remediation": ("use_case", "model", "model_version", "owner", "reason", "from", "until"),
    "change": ("scope", "at", "note"),
}
_REMEDIATED = ("use_case", "model", "model_version")
_REQUIRED_COLUMNS = ("cost", "start", "end")
_DEFAULT_MAX_AGE_US = 3 * DAY_US
_AMOUNT = Bounds(places=COST_PLACES, high=10**12, positive=True)
_LIFE_DAYS_MAX = 36_500
_YEARS = range(2000, 2200)


@dataclass(frozen=True)
class BillFile:
    """One bill: where it is and how it is read.

    place: of its table in the cost file; columns: what its columns are called; currency: of lines in an export that has
    no column of currencies; complete_until: the first day that is not yet billed in full, where the file says so.
    """

    place: str
    path: Path
    columns: ColumnMap
    currency: str | None
    complete_until: date | None
    max_age_us: int


def price_list(table: Table, folder: Path) -> PriceList:
    currency = _currency(table) if "currency" in table else "USD"
    return load_price_list(folder / table.text("path"), table.time("effective_from"), currency)


def bill(table: Table, folder: Path) -> BillFile:
    is_focus = table.word("format", ("focus", "columns"), "focus") == "focus"
    if is_focus and "columns" in table:
        raise table.error("columns", 'format = "columns" beside it', got=Bare('format = "focus"'))
    columns = FOCUS if is_focus else _column_map(table)
    currency = _currency(table) if "currency" in table else None
    if not is_focus and columns.currency is None and currency is None:
        hint = "name the column of currencies, or write the one currency of the export beside columns"
        raise table.error("columns", "currency in columns, or currency = beside it", got=Bare("neither"), hint=hint)
    if not is_focus and columns.currency is not None and currency is not None:
        raise table.error("currency", "one of columns.currency and currency", got=Bare("both"))
    return BillFile(
        place=table.place,
        path=folder / table.text("path"),
        columns=columns,
        currency=currency,
        complete_until=_day(table, "complete_until") if "complete_until" in table else None,
        max_age_us=table.duration("max_age", positive=True) if "max_age" in table else _DEFAULT_MAX_AGE_US,
    )


def _column_map(table: Table) -> ColumnMap:
    expected = "a table of column names, such as { cost = …, start = …, end = … }"
    columns = _inner(table, "columns", expected)
    columns.refuse_unknown(COLUMN_KEYS)
    names = {key: columns.text(key) for key in COLUMN_KEYS if key in columns or key in _REQUIRED_COLUMNS}
    return ColumnMap(
        cost=names["cost"],
        start=names["start"],
        end=names["end"],
        billed_cost=names.get("billed_cost"),
        currency=names.get("currency"),
        tags=names.get("tags"),
        issuer=names.get("issuer"),
        account=names.get("account"),
        billing_period=names.get("billing_period"),
        credits=names.get("credits"),
    )


def line(table: Table, _folder: Path) -> LineRule:
    return LineRule(
        name=table.text("name"),
        match=_match(table),
        cost_type=CostType(table.word("cost_type", (CostType.SERVING, CostType.INDIRECT))),
        scope=_scope(table),
        drivers=_drivers(table),
    )


def _match(table: Table) -> Mapping[str, tuple[str, ...]]:
    """Column or tag → the texts that will do."""
    match = _inner(table, "match", 'a table of columns or tags, such as { "tags.model" = "M" }; {} for every line')
    found = {}
    for key, value in match.values.items():
        texts = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            inner = next(iter(value), "KEY")
            hint = f'write "{key}.{inner}" in quotes'
            raise match.error(key, "a text or a list of texts", hint=hint)
        if not texts or not all(isinstance(text, str) and text for text in texts):
            raise match.error(key, "a text that is not empty, or a list of such texts")
        if key in ("", TAG_PREFIX):
            raise match.error(key, "the name of a column, or tags.KEY", got=key)
        found[key] = tuple(texts)
    return found


def _drivers(table: Table) -> tuple[Driver, ...]:
    if "drivers" not in table:
        return DEFAULT_DRIVERS
    expected = "a list of " + ", ".join(f'"{driver}"' for driver in Driver) + ", each at most once"
    drivers = table.get("drivers", expected)
    if not isinstance(drivers, list) or not drivers:
        raise table.error("drivers", expected)
    for number, driver in enumerate(drivers):
        if driver not in tuple(Driver):
            hint = nearest(driver, list(Driver)) if isinstance(driver, str) else ""
            raise table.error(
                "drivers", expected, got=driver if isinstance(driver, str) else Bare(str(driver)), hint=hint
            )
        if driver in drivers[:number]:
            raise table.error("drivers", expected, got=Bare(f'"{driver}" twice'))
    return tuple(map(Driver, drivers))


def amortise(table: Table, _folder: Path) -> Amortised:
    entry = Amortised(
        cost_type=CostType(table.word("cost_type", (CostType.DEVELOPMENT, CostType.RETRAINING))),
        scope=_scope(table),
        amount=table.decimal("amount", _AMOUNT),
        currency=_currency(table),
        from_day=_day(table, "from"),
        life_days=table.integer("life_days", 1, _LIFE_DAYS_MAX),
        retired=_day(table, "retired") if "retired" in table else None,
    )
    if entry.retired is not None and entry.retired < entry.from_day:
        raise table.error("retired", f"a day not before from, {entry.from_day}")
    return entry


def overhead(table: Table, _folder: Path) -> Overhead:
    return Overhead(table.text("use_case"), table.text("of"))


def remediation(table: Table, _folder: Path) -> Remediation:
    entry = Remediation(
        keys={key: table.text(key) for key in _REMEDIATED if key in table},
        owner=table.text("owner"),
        reason=table.text("reason"),
        from_day=_day(table, "from"),
        until_day=_day(table, "until"),
    )
    days = (entry.until_day - entry.from_day).days
    if not 0 <= days <= REMEDIATION_DAYS_MAX:
        expected = f"a day from {entry.from_day} to {REMEDIATION_DAYS_MAX} days after it"
        raise table.error("until", expected, hint="it is the last day in force; a later entry may follow")
    return entry


def change(table: Table, _folder: Path) -> Change:
    return Change(_scope(table), table.time("at"), table.text("note") if "note" in table else "")


# Values


def _scope(table: Table) -> Scope:
    if "scope" not in table:
        return Scope()
    scope = _inner(table, "scope", 'a table such as { model = "M" }; {} for all inferences')
    scope.refuse_unknown(SCOPE_KEYS)
    return Scope({key: scope.text(key) for key in scope.values})


def _inner(table: Table, key: str, expected: str) -> Table:
    value = table.get(key, expected)
    if not isinstance(value, dict):
        raise table.error(key, expected)
    return Table(f"{table.place}: {key}", value)


def _day(table: Table, key: str) -> date:
    found = table.get(key, expected := "a date such as 2026-03-01, from 2000 to 2199")
    if isinstance(found, datetime):
        raise table.error(key, expected, hint=f"write the day alone: {found.date()}")
    if not isinstance(found, date) or found.year not in _YEARS:
        raise table.error(key, expected, hint="write it without quotes" if isinstance(found, str) else "")
    return found


def _currency(table: Table) -> str:
    currency = table.text("currency")
    if currency not in ACTIVE:
        close = nearest(currency.strip().upper(), sorted(ACTIVE))
        raise table.error("currency", 'an active ISO 4217 code such as "USD"', hint=close)
    return currency


def numbered(place: str, tables: Sequence[Mapping[str, object]], name: str) -> list[Table]:
    """The tables of one name with their places: ``costs.toml: line 2``."""
    found = [Table(f"{place}: {name} {number}", values) for number, values in enumerate(tables, start=1)]
    for table in found:
        table.refuse_unknown(TABLE_KEYS[name])
    return found
