"""What changes in the ledgers when more is known: attribute(known now) − attribute(known before), as signed rows.

A ledger is never edited. A row of differences has ``sign`` +1 where a key first stands, 0 where only its figures
change, −1 where it is withdrawn; where a word of a standing row changes, the old row is withdrawn whole and a
new one written. So plain sums are right, also grouped by any column.
"""

from __future__ import annotations

import polars as pl

from schemas.outputs import LEDGER_KEYS, SIGN, TABLES

#: What is summed; every other column is a word of the row.
_FIGURES = {"credits": ("amount", "value", "reversed_value", "seconds"), "unattributed": ("amount", "value", "seconds")}
_ROW = "__row"


def difference(table: str, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """The signed rows that lead from one state of a ledger to another, with the column ``sign``.

    table: ``credits`` or ``unattributed``; before, after: rows of the attribution function for the same outcomes,
    no key twice; further columns (such as ``inference``) stay, and are those of ``after`` where a row still stands.
    """
    if before.height == 0:
        return _signed(after, 1)
    figures, keys = _FIGURES[table], LEDGER_KEYS[table]
    words = [name for name in TABLES[table] if name not in (*figures, *keys, "sign", "commit_id")]
    both = (
        before.select(keys)
        .with_row_index(_ROW)
        .join(after.select(keys).with_row_index(f"{_ROW}_after"), on=keys, how="inner", nulls_equal=True)
    )
    old, new = before[both[_ROW]], after[both[f"{_ROW}_after"]]
    is_same = pl.repeat(value=True, n=both.height, eager=True)
    for name in words:
        is_same &= old[name].eq_missing(new[name])
    for name in figures:  # a figure that begins or ceases to exist has no difference
        is_same &= old[name].is_null() == new[name].is_null()
    stands = both.filter(is_same)
    return pl.concat(
        [
            _changed(before[stands[_ROW]], after[stands[f"{_ROW}_after"]], figures),
            _negated(_without(before, stands[_ROW]), figures),
            _signed(_without(after, stands[f"{_ROW}_after"]), 1),
        ]
    )


def _changed(old: pl.DataFrame, new: pl.DataFrame, figures: tuple[str, ...]) -> pl.DataFrame:
    changes = new.with_columns((new[name] - old[name]).cast(new[name].dtype) for name in figures)
    differs = pl.any_horizontal(pl.col(name).fill_null(0) != 0 for name in figures)
    return _signed(changes.filter(differs), 0)


def _negated(rows: pl.DataFrame, figures: tuple[str, ...]) -> pl.DataFrame:
    return _signed(rows.with_columns((-pl.col(name)).cast(rows[name].dtype) for name in figures), -1)


def _signed(rows: pl.DataFrame, sign: int) -> pl.DataFrame:
    return rows.with_columns(pl.lit(sign, dtype=SIGN).alias("sign"))


def _without(rows: pl.DataFrame, numbers: pl.Series) -> pl.DataFrame:
    """The rows whose numbers are not among these."""
    return rows.with_row_index(_ROW).join(numbers.alias(_ROW).to_frame(), on=_ROW, how="anti").drop(_ROW)
