"""Rows of a batch → the published tables' columns, written under the day they belong to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from attribution.batch import attributed_rows
from attribution.engine import CompiledPolicy
from attribution.money import Int64s
from attribution.settle import Settlement, is_settled
from schemas.events import SOURCE_COLUMNS, TIME, WORD, Kind, canonical_columns
from schemas.outputs import COMMITS, TABLES
from streams.counts import Counts
from streams.parquet_sink import DaySlice, WrittenFile, days_of, take, write_frame, write_table

_SIGN = pl.lit(1, dtype=pl.Int8).alias("sign")


@dataclass
class TableWriter:
    """Writes one commit's rows to ``folder`` and counts them.

    open_too: also ``attributed`` rows of inferences that have not settled (a replay).
    """

    folder: Path
    compiled: CompiledPolicy
    commit_id: int
    committed_at: datetime
    watermark_us: int | None
    allowed_lateness_us: int
    open_too: bool
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))

    def inferences(self, accepted: pl.DataFrame, part: int = 0) -> None:
        """accepted: canonical columns and source columns."""
        columns = [*canonical_columns(Kind.INFERENCE), *SOURCE_COLUMNS]

        def rows_of(day: DaySlice) -> pl.DataFrame:
            return take(accepted, day.rows).select(*columns, self._commit)

        # The widest table, written while outcomes are attributed: a day at a time, to save memory.
        days = days_of(accepted["event_time"])
        self._count("inferences", write_table("inferences", days, rows_of, *self._to(part), at_once=1))

    def outcomes(self, *accepted: pl.DataFrame, part: int = 0) -> None:
        """accepted: frames of conversions, time-saved events or reversals with their ``kind`` and source columns."""
        whole = pl.concat(
            [
                frame.select(
                    pl.col(name) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
                    for name, dtype in TABLES["outcomes"].items()
                    if name != "commit_id"
                )
                for frame in accepted
            ]
        )
        self._frame("outcomes", whole.with_columns(self._commit), part)

    def scores(self, accepted: pl.DataFrame, part: int = 0) -> None:
        """accepted: canonical columns and source columns."""
        self._frame("scores", accepted.select(*canonical_columns(Kind.SCORE), *SOURCE_COLUMNS, self._commit), part)

    def ledger(self, table: str, rows: pl.DataFrame, part: int = 0) -> None:
        """``credits`` or ``unattributed`` rows as the kernel gives them."""
        self._frame(table, rows.with_columns(_SIGN, self._commit).select(list(TABLES[table])), part)

    def attributed(self, inferences: pl.DataFrame, credited: pl.DataFrame, part: int = 0) -> None:
        """One row per inference; credited: credits with the ``inference``'s row number."""
        settlement = Settlement(credited, inferences.height)
        watermark = self.watermark_us or 0
        days = days_of(inferences["event_time"])
        chosen: Int64s | None = None
        if not self.open_too:
            settled = is_settled(inferences, self.compiled.in_force, self.allowed_lateness_us, watermark)
            chosen = np.flatnonzero(settled)
            days = days[chosen]

        def rows_of(day: DaySlice) -> pl.DataFrame:
            rows = day.rows if chosen is None else chosen[day.rows]
            frame = attributed_rows(
                take(inferences, rows), settlement.rows(rows), self.compiled, self.allowed_lateness_us, watermark
            )
            return frame.with_columns(_SIGN, self._commit)

        self._count("attributed", write_table("attributed", days, rows_of, *self._to(part)))

    def dead_letters(self, refused: pl.DataFrame) -> None:
        self._frame("dead_letters", refused.with_columns(self._commit), 0)

    def commits(self, counts: dict[tuple[str, int], Counts]) -> None:
        """One row per topic and partition read; none read: one row without a topic."""
        read = [
            {"source_topic": topic, "source_partition": partition, **vars(count)}
            for (topic, partition), count in counts.items()
            if count.read
        ] or [{"source_topic": None, "source_partition": None, **vars(Counts())}]
        schema = {name: pl.String() if COMMITS[name] == WORD else COMMITS[name] for name in read[0]}
        frame = pl.DataFrame(read, schema=schema).with_columns(
            pl.col("source_topic").cast(WORD),
            self._commit,
            pl.lit(self.committed_at).cast(TIME).alias("committed_at"),
            pl.lit(self.watermark_us, dtype=pl.Int64).cast(TIME).alias("watermark"),
        )
        self._frame("commits", frame.select(list(COMMITS)), 0)

    def complete(self) -> None:
        """A table without rows is still a file, so that every table can be read from the first commit on."""
        for table, schema in TABLES.items():
            if self.rows[table] == 0:
                self._frame(table, pl.DataFrame(schema=schema), 0, even_if_empty=True)

    @property
    def _commit(self) -> pl.Expr:
        return pl.lit(self.commit_id, dtype=pl.Int64).alias("commit_id")

    def _to(self, part: int) -> tuple[Path, str]:
        return self.folder, f"{self.commit_id:012d}-{part:04d}"

    def _frame(self, table: str, rows: pl.DataFrame, part: int, *, even_if_empty: bool = False) -> None:
        if rows.height or even_if_empty:
            self._count(table, write_frame(table, rows, *self._to(part), self.committed_at.date()))

    def _count(self, table: str, files: list[WrittenFile]) -> None:
        self.rows[table] += sum(file.rows for file in files)
