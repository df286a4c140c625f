"""Prints the rows of ``attribution.ratio``: for people (table) or for programs (json, csv).

Here and in ``streams.ratio_table``, and nowhere else, figures are rounded: half-even, to the places of
``attribution.figures.FIGURES`` in json and csv, to what reads well in a table.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from fractions import Fraction

from attribution.figures import BILL_FIGURES, FIGURES, REASONS, Cell, Row
from streams.ratio_table import full_text, table_text

_REPORT_COLUMNS = ("as_of", "from", "to", "base_currency", "reversal_window", "allowed_lateness", "min_priced_share")
_PROVENANCE_COLUMNS = ("engine", "code_version", "commit_id", "digests")
#: What a row may be about beside the keys of groups.
_WORDS = (
    *("use_case", "model", "model_version", "of", "reason", "line", "entry", "cost_type", "scope"),
    *("bill", "currency", "shown_in"),
    *("check", "result", "owner", "remediation", "until", "newest_day", "max_age"),
)
_PLACES = {name: places for name, places in FIGURES.items() if places is not None} | {"min_priced_share": 9}


def _json_text(rows: Sequence[Row], _by: Sequence[str], _width: int | None) -> str:
    """An array of rows, one a line; decimals are strings."""
    lines = [json.dumps({name: _plain(name, cell) for name, cell in row.items()}, ensure_ascii=False) for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _plain(name: str, cell: Cell) -> str | int | Mapping[str, str] | None:
    match cell:
        case Fraction():
            return full_text(cell) if name in BILL_FIGURES else _fixed(cell, _PLACES[name])
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


def _csv_text(rows: Sequence[Row], by: Sequence[str], _width: int | None) -> str:
    """One header for all rows, the same whatever the figures; null is nothing, digests and scopes are JSON text."""
    figures = [column for name in FIGURES for column in ([name, f"{name}_reason"] if name in REASONS else [name])]
    head = ["row", "period", *by, *(name for name in _WORDS if name not in by)]
    columns = [*head, *figures, *BILL_FIGURES, *_REPORT_COLUMNS, *_PROVENANCE_COLUMNS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        plain = {name: _plain(name, cell) for name, cell in row.items()}
        assert set(plain) <= set(columns), set(plain) - set(columns)
        cells = [plain.get(name) for name in columns]
        writer.writerow([json.dumps(cell) if isinstance(cell, Mapping) else cell for cell in cells])
    return text.getvalue()


#: Format → (rows, the groups' keys, width of the terminal or None) → text.
FORMATS: dict[str, Callable[[Sequence[Row], Sequence[str], int | None], str]] = {
    "table": table_text,
    "json": _json_text,
    "csv": _csv_text,
}
