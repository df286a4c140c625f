"""Ledgers as published, waiting rows included, and how they differ from a replay."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from attribution.retention import Retention
from attribution.settle import FIGURES, earned_per_inference
from schemas.events import WORD
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


def attributed_differences(
    published: dict[str, pl.LazyFrame], inferences: pl.DataFrame, retention: Retention, watermark_us: int | None
) -> pl.DataFrame:
    """Ids whose ``attributed`` rows are not the sum of what is published of their credits once they have settled."""
    expiry = pl.Series(
        retention.inference_expiry_us(
            inferences["use_case"].cast(WORD), inferences["event_time"].to_physical().to_numpy()
        )
    )
    is_settled = (
        pl.repeat(value=False, n=inferences.height, eager=True) if watermark_us is None else expiry < watermark_us
    )
    settled = inferences.filter(is_settled).group_by("inference_id").agg(pl.len().cast(pl.Int64).alias("sign"))
    earned = earned_per_inference(published["credits"].collect(), "inference_id")
    expected = settled.join(earned, on="inference_id", how="left").with_columns(pl.col(FIGURES).fill_null(0))
    rows = (
        published["attributed"]
        .group_by("inference_id")
        .agg(pl.col(*FIGURES).sum(), pl.col("sign").cast(pl.Int64).sum())
    )
    both = pl.concat(
        [
            rows.collect().select("inference_id", "sign", *FIGURES),
            expected.select("inference_id", -pl.col("sign"), *(-pl.col(name) for name in FIGURES)).cast(
                dict(rows.collect_schema())  # type: ignore[arg-type]
            ),
        ]
    )
    words = ["inference_id", "event_time", "use_case", "model", "model_version", "endpoint", "provider", "arm"]
    strange = (
        published["attributed"]
        .select(words)
        .unique()
        .collect()
        .join(inferences.select(words), on=words, how="anti", nulls_equal=True)
        .select("inference_id")
        .unique()
    )
    # Of an id used again one inference may have settled and the other not: their credits cannot be told apart by id.
    half = inferences.filter(inferences["inference_id"].is_duplicated() & ~is_settled).select("inference_id")
    both = both.join(half, on="inference_id", how="anti")
    net = both.group_by("inference_id").agg(pl.col("sign", *FIGURES).sum())
    differs = pl.any_horizontal(pl.col(name) != 0 for name in ("sign", *FIGURES))
    return net.filter(differs | pl.col("inference_id").is_in(strange["inference_id"].implode())).sort("inference_id")
