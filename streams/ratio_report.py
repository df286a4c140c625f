"""Prints the rows of ``attribution.ratio``: for people (table) or for programs (json, csv).

Here, and only here, figures are rounded: half-even, to the places of ``attribution.figures.FIGURES`` in json and
csv, to what fits a screen in a table.
"""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from attribution.figures import FIGURES, REASONS, Cell, Row
from attribution.windows import EPOCH, time_text

_WIDTH = 120
_REPORT_COLUMNS = ("as_of", "from", "to", "base_currency", "reversal_window", "allowed_lateness", "min_priced_share")
_PROVENANCE_COLUMNS = ("engine", "code_version", "commit_id", "digests")
_PLACES = {name: places for name, places in FIGURES.items() if places is not None} | {"min_priced_share": 9}


def _json_text(rows: Sequence[Row], _by: Sequence[str]) -> str:
    """An array of rows, one a line; decimals are strings."""
    lines = [json.dumps({name: _plain(name, cell) for name, cell in row.items()}, ensure_ascii=False) for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _plain(name: str, cell: Cell) -> str | int | Mapping[str, str] | None:
    match cell:
        case Fraction():
            return _fixed(cell, _PLACES[name])
        case datetime():
            return _time_text(cell)
        case date():
            return cell.isoformat()
        case _:
            return cell


def _time_text(moment: datetime) -> str:
    """As the manifest writes its watermark: six digits after the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _fixed(number: Fraction, places: int) -> str:
    """Rounded half-even (which is what Python's round of a Fraction does), with all its places."""
    units = round(number * 10**places)
    whole, part = divmod(abs(units), 10**places)
    return f"{'-' if units < 0 else ''}{whole}.{part:0{places}d}"


def _csv_text(rows: Sequence[Row], by: Sequence[str]) -> str:
    """One header for all rows, the same whatever the figures; null is nothing, digests are JSON text."""
    figures = [column for name in FIGURES for column in ([name, f"{name}_reason"] if name in REASONS else [name])]
    head = ["row", "period", *by, *(name for name in ("use_case", "reason") if name not in by)]
    columns = [*head, *figures, *_REPORT_COLUMNS, *_PROVENANCE_COLUMNS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        plain = {name: _plain(name, cell) for name, cell in row.items()}
        assert set(plain) <= set(columns), set(plain) - set(columns)
        cells = [plain.get(name) for name in columns]
        writer.writerow([json.dumps(cell) if isinstance(cell, Mapping) else cell for cell in cells])
    return text.getvalue()


_COLUMNS = (
    *("requests", "cost", "value", "cost_per_inference", "value_per_inference"),
    *("cost_to_value_ratio", "roi_multiple", "band"),
)


def _table_text(rows: Sequence[Row], by: Sequence[str]) -> str:
    """What was counted, then groups and totals, holdout inferences, and what could not be attributed."""
    report, kinds = rows[0], {name: [row for row in rows if row["row"] == name] for name in _KINDS}
    notes: dict[str, str] = {}
    period = ["period"] if any(row["period"] is not None for row in rows) else []
    parts = [
        _header(report),
        _table([*kinds["requests"], *kinds["total"]], [*period, *by], _COLUMNS, notes),
        *(f"({letter}) {reason}\n" for reason, letter in notes.items()),
        *_unpriced(kinds["total"]),
    ]
    if kinds["holdout"]:
        parts += ["\nHoldout, in no total\n"]
        parts += [_table(kinds["holdout"], [*period, *by], ("inferences", "cost", "would_be_value"), {})]
    if kinds["unattributed"]:
        columns = ("outcomes", "amount", "value")
        parts += ["\nUnattributed, in no total\n"]
        parts += [_table(kinds["unattributed"], [*period, "use_case", "reason"], columns, {})]
    return "".join(parts)


_KINDS = ("requests", "total", "holdout", "unattributed")


def _header(report: Row) -> str:
    as_of = report["as_of"]
    assert isinstance(as_of, datetime)
    moment = time_text((as_of - EPOCH) // (EPOCH.resolution))
    return (
        f"As of {moment}: inferences from {report['from']} to before {report['to']}, in {report['base_currency']}; "
        f"reversal window {report['reversal_window']}\n"
    )


def _table(rows: Sequence[Row], keys: Sequence[str], figures: Sequence[str], notes: dict[str, str]) -> str:
    """Within 120 characters where the figures leave room: keys are folded, figures never. notes: reason → letter."""
    # Imported here: it takes longer to load than everything else that json and csv need.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in keys:
        is_period = name == "period"
        width = 10 if is_period else 6
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=is_period, min_width=width)
    columns = [[_cell(row, name, notes) for row in rows] for name in figures]
    for name, cells in zip(figures, columns, strict=True):
        width = max(map(len, (*name.split("_"), *cells)))
        heading = textwrap.fill(name.replace("_", " "), width)
        table.add_column(heading, justify="left" if name == "band" else "right", no_wrap=True, min_width=width)
    for row, *cells in zip(rows, *columns, strict=True):
        table.add_row(*_labels(row, keys), *cells)
    text = io.StringIO()
    needed = sum((column.min_width or 0) + 2 for column in table.columns)
    console = Console(
        file=text, width=max(_WIDTH, needed), markup=False, highlight=False, emoji=False, color_system=None
    )
    console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _labels(row: Row, keys: Sequence[str]) -> Iterable[str]:
    """A group's keys; in a total the first of them says so."""
    is_total = row["row"] == "total"
    first = next(name for name in keys if name != "period")
    for name in keys:
        cell = "total" if is_total and name == first else row.get(name)
        yield "" if is_total and cell is None else "-" if cell is None else str(cell)


def _cell(row: Row, name: str, notes: dict[str, str]) -> str:
    cell = row.get(name)
    if isinstance(cell, Fraction):
        return f"{'≥ ' if name == 'cost' and row['priced_share'] not in (None, 1) else ''}{_short(cell)}"
    if cell is None and f"{name}_reason" in row:
        reason = str(row[f"{name}_reason"])
        return f"({notes.setdefault(reason, chr(ord('a') + len(notes)))})"
    return "" if cell is None else str(cell)


def _short(number: Fraction) -> str:
    """Two places from a thousand on, else four, or as many as show four significant digits.

    >>> _short(Fraction("1234567.891")), _short(Fraction("6.793155452436")), _short(Fraction("0.0000012345678"))
    ('1,234,567.89', '6.7932', '0.000001235')
    """
    if abs(number) >= 1:
        return f"{Decimal(_fixed(number, 2 if abs(number) >= 1000 else 4)):,f}"
    places = next((places for places in range(4, 12) if abs(number) * 10**places >= 1000), 12)
    return _fixed(number, places) if number else "0"


def _unpriced(totals: Sequence[Row]) -> Iterable[str]:
    """How many requests the costs above leave out, and why."""
    counts: dict[str, int] = {}
    for row in totals:
        for name, cell in row.items():
            if name.startswith("unpriced_") and isinstance(cell, int):
                reason = name.removeprefix("unpriced_")
                counts[reason] = counts.get(reason, 0) + cell
    if sum(counts.values()):
        by_reason = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
        yield f"Cost is a lower bound (≥): unknown for {by_reason}\n"


FORMATS: dict[str, Callable[[Sequence[Row], Sequence[str]], str]] = {
    "table": _table_text,
    "json": _json_text,
    "csv": _csv_text,
}
