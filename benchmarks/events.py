"""Synthetic event logs for the benchmarks: the same columns for the same numbers, made column by column.

Seven days of inferences in time order; one conversion for every five, a tenth of which name two to six
inferences; ids of 23 characters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01
DAYS = 7
ROWS_PER_FILE = 1_000_000

RULES = """
use_case = "{use_case}"
[[rule]]
effective_from = 2025-12-01T00:00:00Z
kind = "conversion"
type = "purchase"
lookback_window = "2d"
credit = "linear"
margin = "0.3"
[[rule]]
effective_from = 2025-12-01T00:00:00Z
kind = "conversion"
type = "signup"
lookback_window = "2d"
credit = "time_decay"
half_life = "6h"
value_per_event = "4.20"
"""
USE_CASES = ("reco", "search", "support")
PIPELINE = """
base_currency = "USD"
rules = "rules"
[input]
source = "files"
path = "log"
[[input.topic]]
name = "inferences"
kind = "inference"
[[input.topic]]
name = "conversions"
kind = "conversion"
[output]
path = "out"
[state]
path = "state"
"""


def write_pipeline(folder: Path) -> Path:
    """Pipeline and rule files; returns the pipeline file."""
    (folder / "rules").mkdir(parents=True, exist_ok=True)
    for use_case in USE_CASES:
        (folder / "rules" / f"{use_case}.toml").write_text(RULES.format(use_case=use_case))
    (folder / "pipeline.toml").write_text(PIPELINE)
    return folder / "pipeline.toml"


def ids(prefix: str, numbers: np.ndarray[tuple[int], np.dtype[np.int64]], *, wide: bool = True) -> pl.Series:
    """Ids such as ``inf-0000000123-2654435769``, or ``i0000000123`` for narrow lines: unique."""
    if not wide:
        short = pl.format("{}{}", pl.lit(prefix[0]), pl.col("n").cast(pl.String).str.zfill(10))
        return pl.DataFrame({"n": numbers}).select(short.alias("id")).to_series()
    mixed = (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    frame = pl.DataFrame({"n": numbers, "m": mixed})
    text = pl.format("{}-{}-{}", pl.lit(prefix), pl.col("n").cast(pl.String).str.zfill(10), pl.col("m").cast(pl.String))
    return frame.select(text.alias("id")).to_series()


def word(rng: np.random.Generator, words: tuple[str, ...], count: int) -> pl.Series:
    table = pl.Series(list(words), dtype=pl.Categorical())
    return table.gather(pl.Series(rng.integers(0, len(words), count), dtype=pl.UInt32))


def inferences(count: int, seed: int = 1, *, wide: bool = True) -> pl.DataFrame:
    """Canonical inferences with event_time as Datetime; wide: all the fields that a gateway knows."""
    rng = np.random.default_rng(seed)
    time = np.sort(rng.integers(0, DAYS * DAY_US, count)) + START_US
    frame = pl.DataFrame(
        {
            "inference_id": ids("inf", np.arange(count), wide=wide),
            "event_time": pl.Series(time).cast(pl.Datetime("us", "UTC")),
            "use_case": word(rng, USE_CASES, count),
            "model": word(rng, ("model-small", "model-large", "model-xl") if wide else ("s", "m", "l"), count),
        }
    )
    if not wide:
        return frame
    return frame.with_columns(
        word(rng, ("2026-01", "2026-02"), count).alias("model_version"),
        word(rng, ("eu-west-1", "us-east-1"), count).alias("endpoint"),
        word(rng, ("acme", "example"), count).alias("provider"),
        pl.Series("input_tokens", rng.integers(10, 8_000, count)),
        pl.Series("output_tokens", rng.integers(1, 900, count)),
        pl.Series("latency_ms", rng.integers(50, 9_000, count)),
        ids("ses", np.arange(count) // 4).alias("session_id"),
        ids("trc", np.arange(count) // 2).alias("trace_id"),
    )


def conversions(count: int, inference_count: int, seed: int = 2, *, wide: bool = True) -> pl.DataFrame:
    """Canonical conversions; a tenth name two to six inferences of about the same time."""
    rng = np.random.default_rng(seed)
    anchor = np.sort(rng.integers(0, inference_count, count))
    named = np.where(rng.random(count) < 0.1, rng.integers(2, 7, count), 1)
    outcome = np.repeat(np.arange(count), named)
    near = np.clip(np.repeat(anchor, named) - rng.integers(0, 2_000, len(outcome)), 0, inference_count - 1)
    listed = (
        pl.DataFrame({"outcome": outcome, "id": ids("inf", near, wide=wide)})
        .group_by("outcome", maintain_order=True)
        .agg(pl.col("id"))["id"]
    )
    step = DAYS * DAY_US // inference_count
    time = START_US + anchor * step + rng.integers(0, 3_600_000_000, count)
    frame = pl.DataFrame(
        {
            "event_id": ids("out", np.arange(count), wide=wide),
            "event_time": pl.Series(time).cast(pl.Datetime("us", "UTC")),
            "type": word(rng, ("purchase", "signup"), count) if wide else word(rng, ("signup",), count),
            "inference_ids": listed,
        }
    )
    if not wide:
        return frame
    return frame.with_columns(
        pl.Series("amount", np.round(rng.lognormal(3.0, 1.0, count), 2)).cast(pl.String),
        pl.Series("currency", ["USD"], dtype=pl.Categorical()).new_from_index(0, count),
    )


def write_parquet(frame: pl.DataFrame, folder: Path) -> None:
    """Parquet event files of a topic: texts, a UTC timestamp, amounts as decimals."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = frame.with_columns(pl.col(pl.Categorical()).cast(pl.String))
    if "amount" in frame.columns:
        frame = frame.with_columns(pl.col("amount").cast(pl.Decimal(38, 9)))
    for number, part in enumerate(frame.iter_slices(ROWS_PER_FILE)):
        part.write_parquet(folder / f"{number:04d}.parquet")


def write_json_lines(frame: pl.DataFrame, folder: Path, *, pad_to: int | None = None) -> float:
    """JSON Lines event files of a topic; returns bytes per line. pad_to: an unknown field fills lines up."""
    folder.mkdir(parents=True, exist_ok=True)
    time = pl.col("event_time").dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
    frame = frame.with_columns(time.alias("event_time"))
    if pad_to is not None:
        sample = frame.sample(min(frame.height, 1_000), seed=0).write_ndjson()
        missing = pad_to - round(len(sample.encode()) / min(frame.height, 1_000)) - len(',"note":""')
        frame = frame.with_columns(pl.lit("x" * max(missing, 0)).alias("note"))
    size = 0
    for number, part in enumerate(frame.iter_slices(ROWS_PER_FILE)):
        file = folder / f"{number:04d}.jsonl"
        part.write_ndjson(file)
        size += file.stat().st_size
    return size / max(frame.height, 1)
