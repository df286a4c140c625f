"""Rows on disk, by the hash of an id: how a log larger than memory is worked on part by part.

Everything that belongs together (an inference's copies, an outcome and what names it) has one id, so one
part holds it all. Parts are read back one at a time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

from attribution.match import hashed
from schemas.errors import UnavailableError

_ROWS_PER_FLUSH = 1_000_000
_PART = "__part"


class Shuffle:
    """Rows added in any order, taken back by part; the part of a row is the hash of its ``key`` modulo ``parts``."""

    def __init__(self, folder: Path, key: str, parts: int) -> None:
        self._folder = folder
        self._parts = parts
        self._key = key
        self._waiting: list[pl.DataFrame] = []
        self._rows = 0
        self._flushes = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Rows without a key are left out."""
        if rows.height == 0:
            return
        part = (hashed(rows[self._key]) % self._parts).alias(_PART)
        self._waiting.append(rows.with_columns(part).filter(pl.col(_PART).is_not_null()))
        self._rows += rows.height
        if self._rows >= _ROWS_PER_FLUSH:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        parts = pl.concat(self._waiting).partition_by(_PART, as_dict=True, include_key=False)
        self._waiting, self._rows = [], 0
        try:
            for (part,), rows in parts.items():
                folder = self._folder / str(part)
                folder.mkdir(parents=True, exist_ok=True)
                rows.write_ipc(folder / f"{self._flushes:06d}.arrow", compression="lz4")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UnavailableError(f"{self._folder}: cannot be written: {error}") from error
        self._flushes += 1

    def take(self, part: int, schema: dict[str, pl.DataType]) -> pl.DataFrame:
        """The rows of one part, in the order in which they were added; they are then gone from disk."""
        self._flush()
        folder = self._folder / str(part)
        empty = pl.DataFrame(schema=schema)
        if not folder.is_dir():
            return empty
        rows = pl.concat([empty, *(pl.read_ipc(file) for file in sorted(folder.iterdir()))])
        shutil.rmtree(folder)
        return rows
