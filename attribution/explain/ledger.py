"""What stands in published ledgers, and whether it is what the kernel gives.

A ledger is signed differences: the rows of one key and the same words (all columns but the figures) are
added up, and what is left stands. Recomputed rows are put in the same form, so the two can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl

from attribution.explain.words import Step, shown
from attribution.windows import EPOCH, time_text
from schemas.outputs import LEDGER_KEYS, TABLES, in_files

_FIGURES = (
    *("outcome_count", "amount", "value", "reversed_value", "seconds"),
    *("conversion_value", "time_saved_value", "time_saved_seconds", "attributed_value"),
)
_LEDGER = ("sign", "commit_id")
_SHOWN_WORDS = ("use_case", "fx_rate", "rule_id")


@dataclass(frozen=True)
class Standing:
    """A row that stands: its words, its figures, and the ledger rows and commits it comes from."""

    table: str
    words: dict[str, object]
    figures: dict[str, object]
    sign: int
    rows: int
    commits: tuple[int, ...]

    @property
    def content(self) -> tuple[object, ...]:
        """What must be equal in a published and a recomputed row."""
        return (*self.words.values(), *self.figures.values(), self.sign)


@dataclass(frozen=True)
class Published:
    """Ledger rows of one outcome, with columns as in files."""

    credits: pl.DataFrame
    unattributed: pl.DataFrame

    def rows(self) -> list[Standing]:
        """The rows of both tables that stand."""
        return [*standing(self.credits, "credits"), *standing(self.unattributed, "unattributed")]


@dataclass(frozen=True)
class PublishedInference:
    """Ledger rows of one inference, with columns as in files."""

    credits: pl.DataFrame
    attributed: pl.DataFrame


def standing(ledger: pl.DataFrame, table: str) -> list[Standing]:
    """The rows that stand, by key, null first. ledger: columns as in files, with ``sign`` and ``commit_id``.

    A row withdrawn leaves nothing; if it leaves a figure, that is shown, for a reader's sum would show it too.
    """
    figures = [name for name in TABLES[table] if name in _FIGURES]
    words = [name for name in TABLES[table] if name not in (*_FIGURES, *_LEDGER)]
    is_left = pl.any_horizontal(pl.col("sign") != 0, *(pl.col(name).fill_null(0) != 0 for name in figures))
    net = (
        ledger.group_by(words)
        .agg(
            *(pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name) for name in figures),
            pl.col("sign").cast(pl.Int64).sum(),
            pl.len().alias("rows"),
            pl.col("commit_id").unique().sort(),
        )
        .filter(is_left)
        .sort(*LEDGER_KEYS[table], "sign", nulls_last=False)
    )
    return [
        Standing(
            table,
            {name: row[name] for name in words},
            {name: row[name] for name in figures},
            row["sign"],
            row["rows"],
            tuple(row["commit_id"]),
        )
        for row in net.to_dicts()
    ]


def as_published(rows: pl.DataFrame, table: str) -> list[Standing]:
    """Rows of the kernel as if they had been published at once."""
    signed = rows.with_columns(pl.lit(1).alias("sign"), pl.lit(0).alias("commit_id"))
    schema = in_files(table)
    return standing(signed.select(list(schema)).cast(schema), table)  # type: ignore[arg-type]


def row_lines(row: Standing) -> list[str | Step]:
    """A published row: its key, each figure as ``published name(key) = number``, and where it comes from."""
    key_columns = LEDGER_KEYS[row.table]
    key = [str(row.words[name]) for name in key_columns[1:] if row.words[name] is not None]
    name = ", ".join(shown(part) for part in key)
    lines: list[str | Step] = [f"{row.table} {name}".rstrip()]
    for figure, value in row.figures.items():
        if value is not None:
            label = f"published {figure}({name})" if name else f"published {figure}"
            lines.append(Step(f"  {label}", plain(value)))
    words = [f"{word} {plain(row.words[word])}" for word in _SHOWN_WORDS if row.words.get(word) is not None]
    commits = ", ".join(str(commit) for commit in row.commits)
    source = f"{row.rows} ledger row{'' if row.rows == 1 else 's'} of commit {commits}"
    return [*lines, "  " + "; ".join([*words, source])]


def comparison_lines(published: Sequence[Standing], recomputed: Sequence[Standing]) -> list[str | Step]:
    """Whether the two are equal, and row by row where they are not."""
    wanted, found = ({row.content: row for row in rows} for rows in (recomputed, published))
    only_wanted = [row for content, row in wanted.items() if content not in found]
    only_found = [row for content, row in found.items() if content not in wanted]
    if not only_wanted and not only_found and len(published) == len(recomputed):
        return ["The published rows are equal to the recomputed ones."]
    lines: list[str | Step] = ["The published rows differ from the recomputed ones:"]
    lines += [f"  only published: {_one_line(row)}" for row in only_found]
    lines += [f"  only recomputed: {_one_line(row)}" for row in only_wanted]
    return [*lines, "attribution audit says whether a late event, a rate or an id used again explains it."]


def _one_line(row: Standing) -> str:
    parts = [f"{name} {plain(value)}" for name, value in (row.words | row.figures).items() if value is not None]
    return f"{row.table}: {', '.join(parts)}; sign {row.sign}"


def plain(value: object) -> str:
    """A cell of a published table."""
    if isinstance(value, Decimal):
        text = format(value, "f")
        return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
    if isinstance(value, datetime):
        return time_text((value - EPOCH) // timedelta(microseconds=1))
    return shown(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
