"""The sums over inferences that the figures of a group are made of: counts, and costs by component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from attribution.costs import CostReason
from attribution.division import COMPONENTS
from attribution.figures import Sums
from attribution.group_sums import halves, whole


def inference_sums(inferences: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Per group what ``sums_of`` takes; inferences: columns of ``attribution.division.Costed.frame`` and the keys."""
    has_both = pl.col("is_billed") & pl.col("estimate").is_not_null()
    return inferences.group_by(keys).agg(
        pl.len().cast(pl.Int64).alias("requests"),
        *((pl.col("cost_reason") == code.value).sum().cast(pl.Int64).alias(f"unpriced_{code}") for code in CostReason),
        pl.col("is_billed").sum().cast(pl.Int64).alias("billed"),
        has_both.sum().cast(pl.Int64).alias("billed_estimated"),
        *halves("estimate", "estimated", has_both),
        *halves("serving", "billed_serving", has_both),
        *(half for name in COMPONENTS for half in halves(name, name)),
    )


def sums_of(row: Mapping[str, Any]) -> Sums:
    """The sums of one group, of ``inference_sums``."""
    return Sums(
        requests=row["requests"],
        unpriced={code: row[f"unpriced_{code}"] for code in CostReason},
        billed=row["billed"],
        billed_estimated=row["billed_estimated"],
        estimated=whole(row, "estimated"),
        billed_serving=whole(row, "billed_serving"),
        **{name: whole(row, name) for name in COMPONENTS},
    )
