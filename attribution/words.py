"""Dictionary-coded texts as small integers, for table look-ups.

polars numbers the categories of a Categorical column globally and in order of appearance: those
numbers mean nothing by themselves. Here they become indexes into a list of names that we choose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from attribution.money import Int64s
from schemas.events import WORD


def as_words(column: pl.Series) -> pl.Series:
    """The column dictionary-coded; free where it already is."""
    return column if column.dtype == WORD else column.cast(WORD)


def codes(column: pl.Series, names: Sequence[str]) -> Int64s:
    """Each text's index in ``names``; ``len(names)`` for a text that is not there and for null."""
    words = as_words(column)
    present = words.unique().drop_nulls()
    index = {name: position for position, name in enumerate(names)}
    numbers = present.to_physical().to_numpy()
    null = int(numbers.max()) + 1 if len(numbers) else 0
    table = np.full(null + 1, len(names), dtype=np.int64)
    table[numbers] = [index.get(name, len(names)) for name in present.cast(pl.String)]
    found: Int64s = table[words.to_physical().fill_null(null).to_numpy()]
    return found


def names_in_byte_order(column: pl.Series) -> list[str]:
    """The distinct texts of a column, sorted as UTF-8 bytes."""
    return sorted(as_words(column).unique().drop_nulls().cast(pl.String), key=lambda name: name.encode())


def constant(name: str, length: int) -> pl.Series:
    """A word repeated."""
    return pl.Series([name], dtype=WORD).new_from_index(0, length)
