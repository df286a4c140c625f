"""The load of the live benchmark: events that go on from a full state of any size (``live_state``).

Inference ``g`` happens at ``g`` equal steps of time, so what an outcome names, when it settles and what is open
follow from numbers alone. Inferences are open for eight days (seven of window, one of lateness) and outcomes are kept
as long. The state is full before the first event: each inference that arrives moves the watermark by one step, and
one that is open settles.

Events: 80 % inferences of 14 fields, 18 % conversions, 2 % reversals. Of conversions 10 % name three inferences, 3 % a
trace, 5 % an inference that never comes or comes later; the others one. What they name is uniform over the open ones.
One event in 200 is a copy. Ids are of random order, as UUIDs are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from attribution.content import mixed_numbers
from benchmarks.events import DAY_US, START_US, word
from streams.settings import Settings, load_settings

Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]

OPEN_DAYS = 8
OPEN_US = OPEN_DAYS * DAY_US
#: The watermark of the first commit: the end of 8 days of outcomes, and of 16 of inferences, half of which are open.
NOW_US = START_US + 2 * OPEN_US
#: What is named was seven days old at most; a little less, for times are rounded.
_NAMED_SHARE = 0.87

TOPICS = {"inferences": "inference", "conversions": "conversion", "reversals": "reversal"}
USE_CASES = ("recommendations", "product-search", "customer-support")
_WORDS = {
    "use_case": USE_CASES,
    "model": ("model-small", "model-large", "model-xl"),
    "model_version": ("2025-11", "2026-01"),
    "endpoint": ("chat", "responses"),
    "provider": ("acme", "example"),
    "arm": ("treatment", "canary"),
}
TYPES = ("purchase", "renewal")

RULES = """
use_case = "{use_case}"
[[rule]]
effective_from = 2025-01-01T00:00:00Z
kind = "conversion"
type = "purchase"
lookback_window = "7d"
early_tolerance = "1h"
join = "trace"
max_touches = 10
credit = "linear"
margin = "0.3"
[[rule]]
effective_from = 2025-01-01T00:00:00Z
kind = "conversion"
type = "renewal"
lookback_window = "7d"
early_tolerance = "1h"
credit = "linear"
margin = "0.3"
"""
PIPELINE = """
base_currency = "USD"
rules = "rules"
[input]
source = "files"
path = "log"
{topics}
[time]
allowed_lateness = "1d"
reversal_window = "7d"
[output]
path = "out"
[state]
path = "state"
"""


@dataclass(frozen=True)
class Load:
    """inferences: open ones; outcomes: kept ones, in the state that the load keeps full."""

    inferences: int
    outcomes: int

    def time_us(self, inference: Numbers) -> Numbers:
        """When inferences happen; numbers from 0, those from ``self.inferences`` on are open at NOW_US."""
        return START_US + np.rint(inference * (OPEN_US / self.inferences)).astype(np.int64)

    def inference_at(self, time_us: Numbers) -> Numbers:
        """The inference that happens at about this time."""
        return ((time_us - START_US) * (self.inferences / OPEN_US)).astype(np.int64)


def write_pipeline(folder: Path) -> Settings:
    """Pipeline and rule files, and the folders of the topics."""
    (folder / "rules").mkdir(parents=True)
    for use_case in USE_CASES:
        (folder / "rules" / f"{use_case}.toml").write_text(RULES.format(use_case=use_case))
    topics = [f'[[input.topic]]\nname = "{name}"\nkind = "{kind}"' for name, kind in TOPICS.items()]
    (folder / "pipeline.toml").write_text(PIPELINE.format(topics="\n".join(topics)))
    for name in TOPICS:
        (folder / "log" / name).mkdir(parents=True)
    return load_settings(folder / "pipeline.toml")


def ids(prefix: str, numbers: Numbers) -> pl.Series:
    """Ids of 24 characters whose order has nothing to do with that of the numbers: unique."""
    text = pl.Series("n", mixed_numbers(numbers)).cast(pl.String).str.zfill(20)
    return (pl.Series([f"{prefix}-"]) + text).alias("id")


# --- what happens ---


def combination(inference: Numbers) -> Numbers:
    return ((mixed_numbers(inference) >> np.uint64(20)) % np.uint64(COMBINATIONS.height)).astype(np.int64)


def _combinations() -> pl.DataFrame:
    """Every combination of the words of an inference."""
    frame = pl.DataFrame({"one": [0]})
    for name, words in _WORDS.items():
        frame = frame.join(pl.DataFrame({name: list(words)}), how="cross")
    return frame.drop("one").with_columns(pl.lit("served").alias("status"))


COMBINATIONS = _combinations()


def inferences(load: Load, numbers: Numbers) -> pl.DataFrame:
    """Inferences as a gateway writes them, of 14 fields; an inference has the same content each time."""
    tokens = (mixed_numbers(numbers) & np.uint64(0xFFF)).astype(np.int64)
    return pl.DataFrame(
        [
            ids("inf", numbers).alias("inference_id"),
            _time_text(load.time_us(numbers)),
            *COMBINATIONS.drop("status")[combination(numbers)],
            pl.Series("input_tokens", 1_000 + tokens),
            pl.Series("cached_input_tokens", tokens),
            pl.Series("output_tokens", 100 + tokens // 8),
            pl.Series("latency_ms", 250 + tokens),
            ids("ses", numbers // 4).alias("session_id"),
            ids("trc", numbers // 2).alias("trace_id"),
        ]
    )


@dataclass(frozen=True)
class Named:
    """A row per outcome (number within its batch) and inference; missing: outcomes that name one not there yet."""

    outcome: Numbers
    inference: Numbers
    missing: np.ndarray[tuple[int], np.dtype[np.bool_]]
    traced: np.ndarray[tuple[int], np.dtype[np.bool_]]


def named_by(load: Load, times_us: Numbers, rng: np.random.Generator) -> Named:
    """What outcomes at these times name: inferences that are known and, except for ``missing``, all there are."""
    count = len(times_us)
    kind = rng.random(count)
    traced, missing = kind < 0.03, (kind >= 0.03) & (kind < 0.08)
    of_each = np.where(kind >= 0.90, 3, 1)
    of_each[missing] = 0
    of_each[traced] = 2
    outcome = np.repeat(np.arange(count), of_each)
    newest = load.inference_at(times_us)[outcome]
    back = 4 + (rng.random(len(outcome)) * load.inferences * _NAMED_SHARE).astype(np.int64)
    inference = np.maximum(newest - back, 0)
    first = np.flatnonzero(traced[outcome])[::2]  # a trace is an even number and the next one
    inference[first] -= inference[first] % 2
    inference[first + 1] = inference[first] + 1
    return Named(outcome, inference, missing, traced)


def lists(count: int, outcome: Numbers, names: pl.Series) -> pl.Series:
    """The names of each outcome as a list, null where there are none. outcome: ascending."""
    listed = pl.DataFrame({"outcome": outcome, "names": names}).group_by("outcome", maintain_order=True).agg("names")
    every = pl.DataFrame({"outcome": np.arange(count)})
    return every.join(listed, on="outcome", how="left", maintain_order="left")["names"].alias("inference_ids")


def amounts(count: int, rng: np.random.Generator) -> Numbers:
    """In cents."""
    return np.asarray(rng.lognormal(8.0, 1.0, count).astype(np.int64) + 1)


def conversions(load: Load, numbers: Numbers, times_us: Numbers, ahead: int, rng: np.random.Generator) -> pl.DataFrame:
    """Conversions as a shop writes them. ahead: how many inferences later one may come that is named already."""
    named = named_by(load, times_us, rng)
    missing = np.flatnonzero(named.missing)
    never = rng.random(len(missing)) < 0.5
    later = load.inference_at(times_us)[missing] + rng.integers(1, ahead + 1, len(missing))
    unknown = pl.select(
        pl.when(pl.Series(never)).then(ids("unk", numbers[missing])).otherwise(ids("inf", later))
    ).to_series()
    is_named = ~named.traced[named.outcome]
    outcome = np.concatenate([named.outcome[is_named], missing])
    texts = pl.concat([ids("inf", named.inference[is_named]), unknown.alias("id")])
    order = np.argsort(outcome, kind="stable")
    frame = pl.DataFrame(
        [
            ids("out", numbers).alias("event_id"),
            _time_text(times_us),
            word(rng, TYPES, len(numbers)).cast(pl.String).alias("type"),
            pl.Series("amount", amounts(len(numbers), rng) / 100),
            pl.Series("currency", ["USD"]).new_from_index(0, len(numbers)),
            lists(len(numbers), outcome[order], texts[order]),
            traces(named, len(numbers)),
        ]
    )
    trace_type = pl.when(pl.col("trace_id").is_not_null()).then(pl.lit(TYPES[0])).otherwise(pl.col("type"))
    return frame.with_columns(trace_type.alias("type"))


def traces(named: Named, count: int) -> pl.Series:
    first = np.flatnonzero(named.traced[named.outcome])[::2]
    numbers = np.zeros(count, dtype=np.int64)
    numbers[named.outcome[first]] = named.inference[first] // 2
    texts = ids("trc", numbers)
    return pl.select(pl.when(pl.Series(named.traced)).then(texts)).to_series().alias("trace_id")


def _time_text(times_us: Numbers) -> pl.Series:
    times = pl.Series("event_time", times_us).cast(pl.Datetime("us", "UTC"))
    return times.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")


# --- the log ---


@dataclass
class Log:
    """Writes event files that go on where the last ones ended: one file per topic and batch.

    inference, outcome, reversal: the next number of each.
    """

    load: Load
    folder: Path
    inference: int
    outcome: int
    reversal: int = 0
    batches: int = 0

    def write(self, events: int) -> int:
        """One batch of so many events; returns its bytes."""
        rng = np.random.default_rng([7, self.batches])
        outcomes, reversals = round(events * 0.18), round(events * 0.02)
        copies = events // 200
        count = events - outcomes - reversals - copies
        numbers = self.inference + np.arange(count)
        from_us, to_us = (int(self.load.time_us(np.array([g]))[0]) for g in (self.inference, self.inference + count))
        near = max(events // 10, 1)
        # A copy comes at most so many lines after its first, so that it is not too late.
        originals = rng.integers(max(self.inference - near, 2 * self.load.inferences), self.inference + count, copies)
        lines = np.concatenate([numbers, originals])
        place = np.concatenate([numbers, originals + rng.integers(1, near + 1, copies)])
        frames = {
            "inferences": inferences(self.load, lines[np.argsort(place, kind="stable")]),
            "conversions": conversions(
                self.load, self.outcome + np.arange(outcomes), _spread(from_us, to_us, outcomes), count, rng
            ),
            "reversals": self._reversals(reversals, _spread(from_us, to_us, reversals), rng),
        }
        self.inference += count
        self.outcome += outcomes
        self.reversal += reversals
        self.batches += 1
        return sum(self._write(name, frame) for name, frame in frames.items() if frame.height)

    def _reversals(self, count: int, times_us: Numbers, rng: np.random.Generator) -> pl.DataFrame:
        back = 1 + (rng.random(count) * self.load.outcomes * _NAMED_SHARE).astype(np.int64)
        return pl.DataFrame(
            [
                ids("rev", self.reversal + np.arange(count)).alias("event_id"),
                _time_text(times_us),
                ids("out", self.outcome - back).alias("reverses"),
            ]
        )

    def _write(self, topic: str, frame: pl.DataFrame) -> int:
        file = self.folder / topic / f"{self.batches:06d}.jsonl"
        aside = file.with_name(f".{file.name}")
        frame.write_ndjson(aside)
        aside.rename(file)
        return file.stat().st_size


def _spread(from_us: int, to_us: int, count: int) -> Numbers:
    return from_us + ((np.arange(count) + 0.5) * ((to_us - from_us) / max(count, 1))).astype(np.int64)
