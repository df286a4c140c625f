"""What each inference earned in all: the figures of ``attributed``, and when an inference has settled."""

from __future__ import annotations

import numpy as np
import polars as pl

from attribution.in_force import RulesInForce
from attribution.money import INT, Bools, Int64s, decimals
from schemas.events import Kind

#: The figures of ``attributed``, in published order.
FIGURES = (
    "outcome_count",
    "conversion_value",
    "time_saved_value",
    "time_saved_seconds",
    "attributed_value",
    "reversed_value",
)


def earned_per_inference(credited: pl.DataFrame, key: str = "inference") -> pl.DataFrame:
    """What credits come to per inference: ``key`` and FIGURES.

    credited: standing rows, or signed ones with the column ``sign``; key: the column that tells inferences apart.
    """
    value, seconds, is_conversion = pl.col("value"), pl.col("seconds"), pl.col("kind") == Kind.CONVERSION.value
    zero = pl.lit(0, dtype=INT)
    count = pl.col("sign").sum() if "sign" in credited.columns else pl.len()
    sums = (
        credited.lazy()
        .select(
            key,
            *(["sign"] if "sign" in credited.columns else []),
            pl.when(is_conversion).then(value.to_physical()).otherwise(zero).alias("conversion_value"),
            pl.when(is_conversion).then(zero).otherwise(value.to_physical()).alias("time_saved_value"),
            seconds.to_physical().fill_null(0).alias("time_saved_seconds"),
            value.to_physical().alias("attributed_value"),
            pl.col("reversed_value").to_physical(),
        )
        .group_by(key)
        .agg(count.cast(pl.Int64).alias("outcome_count"), pl.col(FIGURES[1:]).sum())
        .collect()
    )
    return sums.select(key, "outcome_count", *(decimals(sums[name]) for name in FIGURES[1:]))


class Settlement:
    """Figures per inference row, gathered slice by slice: most inferences earned nothing and share one zero row."""

    def __init__(self, credited: pl.DataFrame, inference_count: int) -> None:
        sums = earned_per_inference(credited)
        figures = sums.select(FIGURES)
        nothing = pl.DataFrame({name: [0] for name in FIGURES}).cast(dict(figures.schema))  # type: ignore[arg-type]
        self._figures = pl.concat([figures, nothing])
        self._row = np.full(inference_count, sums.height, dtype=np.uint32)
        self._row[sums["inference"].to_numpy()] = np.arange(sums.height, dtype=np.uint32)

    def all(self) -> pl.DataFrame:
        """The figures of every inference, in order."""
        return self._figures[self._row]

    def rows(self, rows: slice | Int64s) -> pl.DataFrame:
        """The figures of some inferences, by row number."""
        return self._figures[self._row[rows]]


def is_settled(inferences: pl.DataFrame, in_force: RulesInForce, allowed_lateness_us: int, watermark_us: int) -> Bools:
    """Per inference: the watermark is greater than event_time + L + allowed lateness."""
    time = inferences["event_time"].to_physical().to_numpy()
    return in_force.open_until_us(inferences["use_case"], time) + allowed_lateness_us < watermark_us
