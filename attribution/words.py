"""Dictionary-coded texts as small integers, for table look-ups.

polars numbers the categories of a Categorical column globally and in order of appearance: those
numbers mean nothing by themselves. Here they become indexes into a list of names that we choose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import polars as pl

from attribution.money import Int64s
from schemas.events import WORD

Number = TypeVar("Number", np.int64, np.uint64)
Array = np.ndarray[tuple[int], np.dtype[Number]]


def as_words(column: pl.Series) -> pl.Series:
    """The column dictionary-coded; free where it already is."""
    return column if column.dtype == WORD else column.cast(WORD)


def codes(column: pl.Series, names: Sequence[str]) -> Int64s:
    """Each text's index in ``names``; ``len(names)`` for a text that is not there and for null."""
    index = {name: position for position, name in enumerate(names)}

    def indexes(present: pl.Series) -> Int64s:
        return np.array([index.get(name, len(names)) for name in present], dtype=np.int64)

    return by_word(column, indexes, np.int64(len(names)))


def by_word(column: pl.Series, values: Callable[[pl.Series], Array[Number]], absent: Number) -> Array[Number]:
    """A number per row, worked out once per distinct word; ``absent`` for null.

    values: takes the distinct texts and gives a number for each.
    """
    words = as_words(column)
    present = words.unique().drop_nulls()
    numbers = present.to_physical().to_numpy()
    null = int(numbers.max()) + 1 if len(numbers) else 0
    table = np.full(null + 1, absent, dtype=absent.dtype)
    table[numbers] = values(present.cast(pl.String))
    found: Array[Number] = table[words.to_physical().fill_null(null).to_numpy()]
    return found


def names_in_byte_order(column: pl.Series) -> list[str]:
    """The distinct texts of a column, sorted as UTF-8 bytes."""
    return sorted(as_words(column).unique().drop_nulls().cast(pl.String), key=lambda name: name.encode())


def constant(name: str, length: int) -> pl.Series:
    """A word repeated."""
    return pl.Series([name], dtype=WORD).new_from_index(0, length)
