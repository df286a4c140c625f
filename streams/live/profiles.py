"""Rows of words as numbers: a state row holds one number in place of use case, model, status and the like.

There are few different combinations (profiles) and many rows, so a number of 4 bytes stands for seven texts.
Profiles are numbered in order of appearance and never forgotten; new ones are written with the commit that
first needs them.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from schemas.events import WORD

Numbers = np.ndarray[tuple[int], np.dtype[np.uint32]]

INFERENCE_PROFILE = ("use_case", "model", "model_version", "endpoint", "provider", "status", "arm")
OUTCOME_PROFILE = ("kind", "type", "currency", "role")
_NUMBER = "__number"


class Profiles:
    """The combinations of some word columns seen so far, by number."""

    def __init__(self, columns: tuple[str, ...], known: pl.DataFrame | None = None) -> None:
        """known: profiles of earlier commits, in order of number, as plain texts."""
        self._columns = list(columns)
        schema = dict.fromkeys(columns, pl.String())
        texts = pl.DataFrame(schema=schema) if known is None else known.select(self._columns)
        self._words = texts.cast(WORD)
        self._written = self._words.height

    def __len__(self) -> int:
        return self._words.height

    def numbers(self, rows: pl.DataFrame) -> Numbers:
        """The number of each row's profile; profiles that are new get one."""
        asked = rows.select(self._columns)
        found = self._look_up(asked)
        missing = asked.filter(found.is_null()).unique(maintain_order=True)
        if missing.height:
            self._words = pl.concat([self._words, missing]).rechunk()
            found = self._look_up(asked)
        return found.to_numpy()

    def _look_up(self, asked: pl.DataFrame) -> pl.Series:
        known = self._words.with_row_index(_NUMBER)
        return asked.join(known, on=self._columns, how="left", nulls_equal=True, maintain_order="left")[_NUMBER]

    def words(self, numbers: pl.Series) -> pl.DataFrame:
        """The profile of each number, as words."""
        return self._words[numbers]

    def numbers_where(self, column: str, texts: pl.Series) -> Numbers:
        """The profiles whose word in one column is among these."""
        chosen = self._words[column].cast(pl.String).is_in(texts.cast(pl.String).implode())
        return np.flatnonzero(chosen.fill_null(value=False).to_numpy()).astype(np.uint32)

    def take_new(self) -> pl.DataFrame:
        """The profiles added since the last call, as plain texts with their ``number``."""
        first = self._written
        added = self._words.slice(first).cast(pl.String)
        added = added.with_columns(pl.int_range(first, first + added.height, dtype=pl.Int64).alias("number"))
        self._written = self._words.height
        return added
