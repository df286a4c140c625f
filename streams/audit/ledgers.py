"""Ledgers as published, waiting rows included, and how they differ from a replay."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from attribution.settle import FIGURES
from schemas.outputs import LEDGER_KEYS, TABLES, in_files
from streams.audit.recorded import Recorded

_SUMMED = {
    "credits": ("amount", "value", "reversed_value", "seconds"),
    "unattributed": ("amount", "value", "seconds"),
    "attributed": FIGURES,
}


def rows_of(table: str, recorded: Recorded, without: set[Path]) -> pl.LazyFrame:
    """All rows of a table up to the recorded commit, published or waiting for a roll. without: files to leave out."""
    files = [file for file in recorded.files[table] if file not in without]
    if not files:
        return pl.LazyFrame(schema=in_files(table))
    rows = pl.scan_parquet(files, glob=False, hive_partitioning=False)
    return rows.filter(pl.col("commit_id") <= recorded.newest.number)


def netted(rows: pl.LazyFrame, table: str, weight: int = 1) -> pl.LazyFrame:
    """Signed rows summed by all their words, each figure and the sign times ``weight``."""
    figures = _SUMMED[table]
    words = [name for name in TABLES[table] if name not in (*figures, "sign", "commit_id")]
    has = [pl.col(name).is_not_null().any().alias(f"has_{name}") for name in figures]
    sums = [(pl.col(name).cast(TABLES[table][name]).sum() * weight).alias(name) for name in figures]
    return rows.group_by(words).agg(*sums, *has, (pl.col("sign").cast(pl.Int64).sum() * weight).alias("sign"))


def differences(published: pl.LazyFrame, replayed: pl.LazyFrame, table: str) -> pl.DataFrame:
    """Net rows of one that the other has not: words, figures and sign, published less replayed.

    A row with sign 1 stands in what was published only, −1 in the replay only, 0 in both with other figures.
    """
    figures = _SUMMED[table]
    words = [name for name in TABLES[table] if name not in (*figures, "sign", "commit_id")]
    both = pl.concat([netted(published, table), netted(replayed, table, -1)])
    summed = both.group_by(words).agg(pl.col(*figures, "sign").sum())
    differs = pl.any_horizontal(pl.col(name) != 0 for name in (*figures, "sign"))
    return summed.filter(differs).sort(LEDGER_KEYS[table]).collect()
