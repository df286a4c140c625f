"""The ratio report for people: a table of groups and totals, holdout inferences, and what could not be attributed.

The first key stands once, above its groups. The table is as wide as it needs to be; a narrower terminal gets it in two
or three parts, and only one narrower than those gets keys that are folded. Figures never are.
"""

from __future__ import annotations

import io
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from attribution.check import Condition
from attribution.costs import COST_PLACES
from attribution.figures import BILL_FIGURES, Cell, Row
from attribution.windows import EPOCH, time_text

#: The main table in one part, and in more where the terminal is narrower; the last is the narrowest.
_TOTALS = ("requests", "outcomes", "cost", "value")
_RETURNS = ("margin", "roi_multiple", "band")
_PER_INFERENCE = ("cost_per_inference", "value_per_inference", "margin_contribution", "cost_to_value_ratio")
_WHOLE = (
    *("requests", "outcomes", "cost", "value", "cost_per_inference", "value_per_inference"),
    *("cost_to_value_ratio", "margin", "margin_contribution", "roi_multiple", "band"),
)
_PARTINGS = ((_WHOLE,), ((*_TOTALS, *_RETURNS), _PER_INFERENCE), (_TOTALS, _RETURNS, _PER_INFERENCE))
_HEADS = {
    "cost_to_value_ratio": "cost-to-\nvalue\nratio",
    "roi_multiple": "ROI\nmultiple",
    "would_be_value": "would-be\nvalue",
}
#: Wider than any table: rich then uses what the cells need.
_UNBOUNDED = 10_000
#: What is left of a key in the narrowest terminal.
_KEY_WIDTH_MIN = 8
_MODEL_AND_VERSION = "model, version"
#: Further parts: their kind of row, title, keys and figures.
_PARTS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("holdout", "Holdout, in no total", (), ("inferences", "cost", "would_be_value")),
    ("idle", "Idle: money of scopes without requests, in the total", ("what", "scope"), ("cost", "amortised_cost")),
    (
        "overhead",
        "Overhead: its cost is that of the use case it serves, its value is in no total",
        ("use_case", "of"),
        ("inferences", "cost", "amortised_cost", "value"),
    ),
    ("unattributed", "Unattributed, in no total", ("use_case", "reason"), ("outcomes", "amount", "value")),
    ("unallocated", "Unallocated: bill lines that are no inference's cost", ("reason", "bill", "shown_in"), ("cost",)),
    ("unamortised", "Unamortised: what is left of what was retired", ("what", "scope"), ("cost",)),
    ("bill", "Bills, in full", ("bill", "currency", "shown_in"), BILL_FIGURES),
)


def table_text(rows: Sequence[Row], by: Sequence[str], width: int | None) -> str:
    """The report as text; width: of the terminal, None where nothing limits it.

    Only a terminal narrower than the figures themselves gets longer lines.
    """
    report = rows[0]
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[str(row["row"])].append(row | _shown_words(row))
    period = ["period"] if any(row["period"] is not None for row in rows) else []
    parts = [
        _header(report),
        *_check_lines(report, kinds["check"]),
        _main_table([*kinds["requests"], *kinds["total"]], [*period, *by], width),
        *_unpriced(kinds["total"]),
    ]
    for kind, title, words, figures in _PARTS:
        if kinds[kind]:
            of_period = [] if kind in ("unamortised", "bill") else period
            parts += [f"\n{title}\n", _fitting(kinds[kind], [*of_period, *(words or by)], figures, width)]
    return "".join(parts)


def _shown_words(row: Row) -> Row:
    """What money is for, in one column: a line rule or another table of the cost file, and its scope."""
    scope = row.get("scope")
    words = ", ".join(f"{key} {value}" for key, value in scope.items()) if isinstance(scope, Mapping) else ""
    return {"what": row.get("line") or row.get("entry"), "scope": words or "all inferences"}


def _header(report: Row) -> str:
    as_of = report["as_of"]
    assert isinstance(as_of, datetime)
    moment = time_text((as_of - EPOCH) // (EPOCH.resolution))
    return (
        f"As of {moment}: inferences from {report['from']} to before {report['to']}, in {report['base_currency']}; "
        f"reversal window {report['reversal_window']}\n"
    )


def _check_lines(report: Row, found: Iterable[Row]) -> Iterable[str]:
    """What a check found, a line each; nothing where none was asked for."""
    if "result" in report:
        yield f"Check {report['result']}\n"
    for row in found:
        names = [str(row[key]) for key in ("use_case", "model", "model_version", "bill") if row.get(key) is not None]
        if row["check"] == Condition.COST_WITHOUT_REQUESTS:
            names = [str(row["what"]), f"for {row['scope']}"]
        details = [
            f"{name.replace('_', ' ')} {_cell(row, name, {})}"
            for name in ("reason", "roi_multiple", "full_cost", "newest_day", "max_age")
            if row.get(name) is not None
        ]
        if "from" in row:
            details.append(f"from {row['from']} to before {row['to']}")
        if row["result"] == "excused":
            details.append(f"{row['owner']} until {row['until']}: {row['remediation']}")
        yield f"  {row['result']}: {row['check']}: {', '.join(names)} ({'; '.join(details)})\n"


def _main_table(rows: Sequence[Row], keys: Sequence[str], width: int | None) -> str:
    """All figures, in as few parts as the terminal has room for."""
    for parts in _PARTINGS:
        text = _tables(rows, keys, parts, None)
        if width is None or max(map(len, text.splitlines())) <= width:
            return text
    return _tables(rows, keys, _PARTINGS[-1], width)


def _fitting(rows: Sequence[Row], keys: Sequence[str], figures: Sequence[str], width: int | None) -> str:
    """One table, or two with half of its many figures each where the terminal is narrower."""
    text = _tables(rows, keys, [figures], None)
    if width is None or max(map(len, text.splitlines())) <= width:
        return text
    half = len(figures) // 2
    return _tables(rows, keys, [figures] if half < 4 else [figures[:half], figures[half:]], width)


def _tables(rows: Sequence[Row], keys: Sequence[str], parts: Iterable[Sequence[str]], width: int | None) -> str:
    """One table per tuple of figures, then what the letters in them mean."""
    notes: dict[str, str] = {}
    tables = [_table(rows, keys, figures, width, notes) for figures in parts]
    return "\n".join(tables) + "".join(f"({letter}) {reason}\n" for reason, letter in notes.items())


def _table(
    rows: Sequence[Row], keys: Sequence[str], figures: Sequence[str], width: int | None, notes: dict[str, str]
) -> str:
    """notes: reason why a figure is unknown → the letter that stands for it; new ones are added."""
    # Imported here: it takes longer to load than everything else that json and csv need.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    above, beside = _places_of(keys)
    cells = [[_cell(row, name, notes) for row in rows] for name in figures]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for position, name in enumerate(beside):
        head = f"{_words(above)}\n  {_words([name])}" if above and position == 0 else _words([name])
        table.add_column(head, overflow="fold", min_width=_KEY_WIDTH_MIN)
    for name, column in zip(figures, cells, strict=True):
        head = _HEADS.get(name) or "\n".join(textwrap.wrap(name.replace("_", " "), max(map(len, name.split("_")))))
        needed = max(map(len, (*head.splitlines(), *column)))
        table.add_column(head, justify="left" if name == "band" else "right", no_wrap=True, min_width=needed)
    previous: Row | None = None
    for row, *figures_of_row in zip(rows, *cells, strict=True):
        is_total = row["row"] == "total"
        if is_total and (previous is None or previous["row"] != "total"):
            table.add_section()
        if above and not is_total and (previous is None or _heading(previous, above) != _heading(row, above)):
            table.add_row(_heading(row, above))
        labels = _total_labels(row, beside) if is_total else [_key(row, name) for name in beside]
        indent = "  " if above and not is_total else ""
        table.add_row(indent + labels[0], *labels[1:], *figures_of_row)
        previous = row
    output = io.StringIO()
    needed = sum((column.min_width or 0) + 2 for column in table.columns)
    limit = _UNBOUNDED if width is None else max(width, needed)
    Console(file=output, width=limit, markup=False, highlight=False, emoji=False, color_system=None).print(table)
    return "".join(f"{line.rstrip()}\n" for line in output.getvalue().splitlines())


def _places_of(keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """Keys that stand above their groups, and keys beside the figures, model and version in one column."""
    count = min(len(keys) - 1, 2 if keys[0] == "period" else 1)
    above, beside = list(keys[:count]), list(keys[count:])
    if "model" in beside and "model_version" in beside:
        beside.remove("model_version")
        beside[beside.index("model")] = _MODEL_AND_VERSION
    return above, beside


def _words(keys: Sequence[str]) -> str:
    return ", ".join(key.replace("_", " ") for key in keys)


def _heading(row: Row, above: Sequence[str]) -> str:
    return ", ".join(_key(row, name) for name in above)


def _key(row: Row, name: str) -> str:
    if name == _MODEL_AND_VERSION:
        return _model_and_version(str(row["model"]), row["model_version"])
    cell = row.get(name)
    return "(none)" if cell is None else str(cell)


def _model_and_version(model: str, version: Cell) -> str:
    """A version that begins with its model's name says both.

    >>> _model_and_version("gpt-5", "gpt-5-2025-08-07"), _model_and_version("coder", "2026-02")
    ('gpt-5-2025-08-07', 'coder, 2026-02')
    """
    if version is None or version == model:
        return model
    says_both = str(version).startswith((f"{model}-", f"{model}@", f"{model}:"))
    return str(version) if says_both else f"{model}, {version}"


def _total_labels(row: Row, beside: Sequence[str]) -> list[str]:
    label = "total" if row["period"] is None else f"total, {row['period']}"
    return [label, *("" for _ in beside[1:])]


def _cell(row: Row, name: str, notes: dict[str, str]) -> str:
    cell = row.get(name)
    if isinstance(cell, Fraction) and name in BILL_FIGURES:
        return full_text(cell)
    if isinstance(cell, Fraction):
        return f"{'≥ ' if name == 'cost' and row.get('priced_share', 1) not in (None, 1) else ''}{_short(cell)}"
    if isinstance(cell, int):
        return f"{cell:,}"
    if cell is None and f"{name}_reason" in row:
        reason = str(row[f"{name}_reason"])
        return f"({notes.setdefault(reason, chr(ord('a') + len(notes)))})"
    return "" if cell is None else str(cell)


def full_text(number: Fraction) -> str:
    """Every digit that there is, and at least the places of a cost.

    >>> full_text(Fraction("7.5")), full_text(Fraction("-0.00000000000025"))
    ('7.500000000000', '-0.00000000000025')
    """
    places = COST_PLACES
    while (units := abs(number) * 10**places).denominator != 1:
        places += 1
    whole, part = divmod(int(units), 10**places)
    return f"{'-' if number < 0 else ''}{whole}.{part:0{places}d}"


def _short(number: Fraction) -> str:
    """Two places from ten on, else four, or as many as show four significant digits; half-even.

    >>> _short(Fraction("1234567.891")), _short(Fraction("6.793155452436")), _short(Fraction("0.0000012345678"))
    ('1,234,567.89', '6.7932', '0.000001235')
    """
    if number == 0:
        return "0"
    size = abs(number)
    places = 2 if size >= 10 else next((places for places in range(4, 12) if size * 10**places >= 1000), 12)
    return f"{Decimal(round(number * 10**places)).scaleb(-places):,f}"


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
