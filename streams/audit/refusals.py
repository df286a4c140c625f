"""Whether records were refused as too late by the rules of lateness: a property of the log, worked out anew."""

from __future__ import annotations

import numpy as np
import polars as pl

from attribution.event_time import too_late
from attribution.retention import Retention
from schemas.events import SOURCE_COLUMNS, Kind
from schemas.reasons import Refusal
from streams.event_log import EventLog

_PLACE = list(SOURCE_COLUMNS)


def judged(log: EventLog, retention: Retention) -> pl.DataFrame | None:
    """Every valid event of a log that was read in the order of the live engine: its place, ``is_late`` in its own
    partition, and its own ``expiry_us``.

    None where the log is too large to be held in memory.
    """
    if log.spilled is not None:
        return None
    frames = []
    for kind in Kind:
        events = log.events(kind)
        times = events["event_time"].to_physical().to_numpy()
        if kind is Kind.INFERENCE:
            expiry = retention.inference_expiry_us(events["use_case"], times)
        elif kind is Kind.REVERSAL:
            expiry = retention.reversal_expiry_us(times)
        else:
            expiry = retention.outcome_expiry_us(times)
        frames.append(events.select(*_PLACE).with_columns(time_us=pl.Series(times), expiry_us=pl.Series(expiry)))
    events = pl.concat(frames).cast({"source_topic": pl.String, "source_file": pl.String})
    partitions = events.partition_by("source_topic", "source_partition", maintain_order=True)
    late = [too_late(part["time_us"].to_numpy(), None, retention.allowed_lateness_us)[0] for part in partitions]
    is_late = pl.Series(np.concatenate([np.zeros(0, dtype=np.bool_), *late]))
    return pl.concat([events.clear(), *partitions]).with_columns(is_late=is_late)


def wrong_refusals(
    events: pl.DataFrame | None, dead_letters: pl.DataFrame, watermark_before: dict[int, int | None]
) -> pl.DataFrame:
    """Places that were refused as too late and are not, or are too late and were not refused: with ``problem``."""
    schema = {**dict.fromkeys(_PLACE, pl.String), "problem": pl.String}
    if events is None:
        return pl.DataFrame(schema=schema)
    before = pl.DataFrame(
        {"commit_id": list(watermark_before), "watermark_us": list(watermark_before.values())},
        schema={"commit_id": pl.Int64, "watermark_us": pl.Int64},
    )
    refused = dead_letters.filter(pl.col("reason") == Refusal.TOO_LATE.value).join(before, on="commit_id", how="left")
    known = events.join(refused.select(*_PLACE, "watermark_us", is_refused=True), on=_PLACE, how="left")
    is_refused = pl.col("is_refused").fill_null(value=False)
    is_over = (pl.col("expiry_us") < pl.col("watermark_us")).fill_null(value=False)
    refused_wrongly = known.filter(is_refused & ~pl.col("is_late") & ~is_over)
    # A backfill (commit 0) knows no lateness, as a replay does not.
    missed = known.filter(~is_refused & pl.col("is_late")) if 0 not in watermark_before else known.clear()
    wrong = [
        refused_wrongly.with_columns(problem=pl.lit("refused, and not too late")),
        missed.with_columns(problem=pl.lit("too late, and not refused")),
    ]
    return pl.concat(wrong).select(*_PLACE, "problem").cast(schema)  # type: ignore[arg-type]
