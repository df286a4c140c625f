"""``--write-costs``: the table ``costs``, what each inference of the range costs, part by part.

An inference whose cost is an estimate has one row for it; one that a bill covers has one per line rule that does.
Idle and amortised costs depend on the report's periods and are left out; overhead stays with its own inferences.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import polars as pl

from attribution.cost_model import CostType
from attribution.costs import COST_PLACES
from attribution.division import Costed, PoolShare
from attribution.money import decimals
from schemas.costs import COSTS
from schemas.errors import UnavailableError
from streams.parquet_sink import unwritten
from streams.staging import refuse_occupied

_NAME = "costs"


class CostsWriter:
    """Writes slices as they come, below a folder that is not yet the one that readers look at."""

    def __init__(self, stage: Path) -> None:
        self._stage = stage
        self._files = 0

    def write(self, day: date, costed: Costed) -> None:
        """One file: a slice's rows, in order of (event_time, inference_id), an inference's parts together."""
        rows = _rows(costed).with_columns(pl.lit(day).alias("day"))
        if rows.height:
            self._write(rows.select(list(COSTS)), day)

    def complete(self) -> None:
        """A table without rows is still a file."""
        if self._files == 0:
            self._write(pl.DataFrame(schema=COSTS), date(1970, 1, 1))

    def _write(self, rows: pl.DataFrame, day: date) -> None:
        path = self._stage / f"date={day}" / f"{self._files:06d}.parquet"
        self._files += 1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            rows.write_parquet(path, compression="zstd", compression_level=1, statistics=True)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise unwritten(path, error) from error


@contextmanager
def costs_writer(folder: Path) -> Iterator[CostsWriter]:
    """A writer into a new or empty folder, where the table appears when the block ends well, and only then.

    Raises ConfigurationError where the folder holds files, UnavailableError where it cannot be written.
    """
    existed = folder.is_dir()
    stage = folder / f"_staging-{os.getpid()}"
    try:
        refuse_occupied(folder)
        stage.mkdir(parents=True)
    except OSError as error:
        raise UnavailableError(f"{folder}: cannot be written: {error.strerror or error}") from error
    try:
        writer = CostsWriter(stage / _NAME)
        yield writer
        writer.complete()
        (stage / _NAME).rename(folder / _NAME)
        stage.rmdir()
    except BaseException:
        shutil.rmtree(stage if existed else folder, ignore_errors=True)
        raise


def _rows(costed: Costed) -> pl.DataFrame:
    """The rows of COSTS but ``day``."""
    frame = costed.frame.with_row_index("_row")
    words = ["_row", "inference_id", "use_case", "model", "model_version"]
    estimated = frame.filter(~pl.col("is_billed")).select(
        *words,
        pl.lit(CostType.SERVING.value).alias("cost_type"),
        pl.lit("estimated").alias("basis"),
        pl.col("estimate").alias("cost"),
        "cost_reason",
        pl.lit(None, dtype=pl.String).alias("line"),
        "price_list",
    )
    parts = [_share_rows(frame, words, share) for share in costed.shares]
    rows = pl.concat([estimated, *parts]).sort("_row", maintain_order=True)
    return rows.with_columns(decimals(rows["cost"], COST_PLACES).alias("cost"))


def _share_rows(frame: pl.DataFrame, words: list[str], share: PoolShare) -> pl.DataFrame:
    """What one line rule gave; a serving line that is only negative came beside the estimate."""
    rule = share.day_pool.rule
    is_serving = pl.col("is_billed") & (rule.cost_type is CostType.SERVING)
    cost_type = pl.when(is_serving).then(pl.lit(CostType.SERVING.value)).otherwise(pl.lit(CostType.INDIRECT.value))
    return (
        frame[share.rows]
        .with_columns(share.costs.alias("cost"))
        .select(
            *words,
            cost_type.alias("cost_type"),
            pl.lit("billed").alias("basis"),
            "cost",
            pl.lit(None, dtype=pl.String).alias("cost_reason"),
            pl.lit(rule.name).alias("line"),
            pl.lit(None, dtype=pl.String).alias("price_list"),
        )
    )
