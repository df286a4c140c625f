"""What inferences earned: sums while they are open, one row when they settle, rows of differences after."""

from __future__ import annotations

import polars as pl

from attribution.settle import FIGURES, earned_per_inference
from attribution.words import constant
from schemas.events import TIME
from schemas.outputs import ATTRIBUTED, SIGN
from streams.live.families import EXPIRY, INFERENCES, SUMS
from streams.live.state import State

_NAMED = ["inference_id", "event_time_us", "profile"]


def earned(changes: pl.DataFrame) -> pl.DataFrame:
    """What signed rows of credits add per inference: its number, expiry, id, time, profile and FIGURES."""
    named = changes.select(
        "inference_number",
        pl.col("inference_expiry_us").alias(EXPIRY),
        "inference_id",
        pl.col("inference_time").to_physical().alias("event_time_us"),
        "profile",
    ).unique("inference_number")
    return named.join(earned_per_inference(changes, "inference_number"), on="inference_number", how="inner")


def settled_rows(
    arrived: pl.DataFrame, sums: pl.DataFrame, to_us: int | None, base_currency: str, state: State
) -> pl.DataFrame:
    """The ``attributed`` rows, without ``commit_id``, of inferences that a watermark of ``to_us`` passes.

    arrived: new inferences, sums: new facts of sums; both beside those of earlier commits.
    """
    if to_us is None:
        return _rows(arrived.clear().hstack(_no_figures(0)), 1, base_currency, state)
    columns = ["number", *_NAMED]
    settling = pl.concat(
        [state.expiring(INFERENCES, to_us, columns), arrived.filter(arrived[EXPIRY] < to_us).select(columns)]
    )
    of_sums = ["inference_number", *FIGURES]
    summed = pl.concat([state.expiring(SUMS, to_us, of_sums), sums.filter(sums[EXPIRY] < to_us).select(of_sums)])
    totals = summed.group_by("inference_number").agg(pl.col(FIGURES).sum())
    rows = settling.join(totals, left_on="number", right_on="inference_number", how="left")
    return _rows(rows.with_columns(pl.col(FIGURES).fill_null(0)), 1, base_currency, state)


def changed_rows(earned_more: pl.DataFrame, base_currency: str, state: State) -> pl.DataFrame:
    """The ``attributed`` rows of differences for inferences that have settled before; none where nothing changed."""
    changes = pl.any_horizontal(pl.col(name) != 0 for name in FIGURES)
    return _rows(earned_more.filter(changes), 0, base_currency, state)


def _rows(inferences: pl.DataFrame, sign: int, base_currency: str, state: State) -> pl.DataFrame:
    words = state.inference_profiles.words(inferences["profile"])
    frame = inferences.select("inference_id", pl.col("event_time_us").cast(TIME).alias("event_time"), *FIGURES)
    frame = frame.hstack(words.drop("status")).with_columns(
        constant(base_currency, frame.height).alias("currency"),
        pl.lit(value=True).alias("settled"),
        pl.lit(sign, dtype=SIGN).alias("sign"),
    )
    return frame.select([name for name in ATTRIBUTED if name != "commit_id"])


def _no_figures(height: int) -> list[pl.Series]:
    return [pl.Series(name, [0] * height, dtype=ATTRIBUTED[name]) for name in FIGURES]
