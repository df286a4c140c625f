"""The state that the live benchmark starts from: open inferences, kept outcomes and what is known of them.

It is written as the engine writes its own, as segments and a first commit, without the events behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from msgspec.structs import replace

from attribution.content import mixed_numbers
from attribution.match import hashed
from attribution.money import decimals, integers
from benchmarks.events import DAY_US
from benchmarks.live_load import (
    COMBINATIONS,
    NOW_US,
    OPEN_US,
    TYPES,
    Load,
    Log,
    Named,
    Numbers,
    amounts,
    combination,
    ids,
    lists,
    named_by,
    traces,
)
from schemas.events import DECIMAL
from streams.live.commit import Rolled, decode_commit
from streams.live.commit_log import CommitLog
from streams.live.families import (
    EXPIRY,
    FOREVER_US,
    INFERENCE_PROFILES,
    INFERENCES,
    OUTCOME_PROFILES,
    OUTCOMES,
    SUMS,
    TOUCHES,
    WAITS,
    WANTS,
    Family,
)
from streams.live.family_state import FamilyState
from streams.live.segments import SegmentFile, sync
from streams.runner import run
from streams.settings import Settings

#: Rows of a segment: a sixteenth of a family, in parts of at most this, as the engine's own merges leave them.
SEGMENT_ROWS = 1_000_000
SEGMENTS = 16
_UNIT = 10**9
_MARGIN = 3  # tenths


def inference_rows(load: Load, numbers: Numbers) -> pl.DataFrame:
    """Inferences as the state keeps them."""
    times_us = load.time_us(numbers)
    id_, trace = ids("inf", numbers), ids("trc", numbers // 2)
    return pl.DataFrame(
        [
            hashed(id_).alias("id_hash"),
            hashed(trace).alias("trace_hash"),
            pl.Series(EXPIRY, times_us + OPEN_US),
            id_.alias("inference_id"),
            trace.alias("trace_id"),
            pl.Series("event_time_us", times_us),
            pl.Series("digest", mixed_numbers(numbers)),
            pl.Series("profile", combination(numbers).astype(np.uint32)),
            pl.Series("number", numbers),
        ]
    )


def slices(first: int, count: int) -> Iterator[Numbers]:
    """Consecutive numbers in the portions that make a segment each; none lies in two sixteenths of the time."""
    edges = first + np.arange(SEGMENTS + 1) * count // SEGMENTS
    for start, end in pairwise(edges.tolist()):
        parts = max(1, -(-(end - start) // SEGMENT_ROWS))
        yield from (part for part in np.array_split(np.arange(start, end), parts) if len(part))


class _Writer:
    """Segments of several families in one folder, each forced to disk."""

    def __init__(self, folder: Path, writer: int) -> None:
        self.files: dict[str, list[SegmentFile]] = {}
        self._folder, self._writer = folder, writer

    def add(self, family: Family, rows: pl.DataFrame) -> None:
        files = self.files.setdefault(family.name, [])
        name = f"{2:012d}-{self._writer:06d}-{family.name}-{len(files):03d}.arrow"
        # Of a family of its own, so that only one segment is mapped at a time.
        file = FamilyState(self._folder, family).add(name, rows.select(list(family.columns)))
        if file is not None:
            sync(self._folder / name)
            files.append(file)


def write_state(load: Load, settings: Settings) -> Log:
    """Fill the state of a pipeline without events; returns the log that goes on from it.

    The engine itself makes the first commit; the second says what was put under it.
    """
    run(settings, until_end=True)
    commits = CommitLog(settings.state_path())
    newest = commits.newest()
    assert newest is not None, "the first start always commits"
    empty = decode_commit(newest[1], settings.state_path())
    writer = _Writer(settings.state_path() / "segments", commits.writer)
    for numbers in slices(load.inferences, load.inferences):
        writer.add(INFERENCES, inference_rows(load, numbers))
    first_number = 2 * load.inferences
    earned = [_write_outcomes(load, numbers, first_number, writer) for numbers in slices(0, load.outcomes)]
    _write_sums(load, np.concatenate([named for named, _ in earned]), np.concatenate([v for _, v in earned]), writer)
    _write_profiles(writer)
    full = replace(
        empty,
        number=empty.number + 1,
        watermark_us=NOW_US,
        newest_inference_us=NOW_US,
        next_number=first_number + load.outcomes,
        partitions=[replace(partition, newest_us=NOW_US, is_idle=False) for partition in empty.partitions],
        segments=writer.files,
        parts=[],
        published=[],
        rolled=Rolled(empty.number + 1, NOW_US),
    )
    commits.append(full.number, full.encoded())
    commits.close()
    return Log(load, settings.file.parent / "log", first_number, load.outcomes)


def _write_outcomes(load: Load, numbers: Numbers, first_number: int, to: _Writer) -> tuple[Numbers, Numbers]:
    """Kept outcomes and all that is known of them; returns (open inference, nano-units earned) pairs."""
    rng = np.random.default_rng([3, int(numbers[0])])
    times_us = NOW_US - OPEN_US + (((numbers + 0.5) / load.outcomes) * OPEN_US).astype(np.int64)
    expiry = pl.Series(EXPIRY, times_us + OPEN_US)
    named = named_by(load, times_us, rng)
    waits = named.missing | named.traced
    earned = amounts(len(numbers), rng) * (_UNIT // 100)
    unknown = ids("unk", numbers)
    outcome_id = ids("out", numbers)
    by_id = ~named.traced[named.outcome]
    outcome = np.concatenate([named.outcome[by_id], np.flatnonzero(named.missing)])
    texts = pl.concat([ids("inf", named.inference[by_id]), unknown.filter(pl.Series(named.missing))])
    order = np.argsort(outcome, kind="stable")
    of_trace = traces(named, len(numbers))
    due_us = times_us + DAY_US + DAY_US // 24
    nothing = pl.Series([None], dtype=DECIMAL).new_from_index(0, len(numbers))
    number = pl.Series("number", numbers + first_number)
    facts = pl.DataFrame(
        [
            hashed(outcome_id).alias("id_hash"),
            expiry,
            outcome_id.alias("event_id"),
            pl.Series("event_time_us", times_us),
            pl.Series("profile", np.where(named.traced, 0, numbers % len(TYPES)).astype(np.uint32)),
            _units(earned).alias("amount"),
            _units(np.full(len(numbers), _UNIT)).alias("quantity"),
            *(nothing.alias(name) for name in ("seconds", "baseline_seconds", "actual_seconds")),
            lists(len(numbers), outcome[order], texts[order]),
            of_trace,
            pl.Series("digest", mixed_numbers(numbers)),
            number,
            pl.select(pl.when(pl.Series(waits)).then(pl.Series(due_us))).to_series().alias("due_us"),
        ]
    )
    to.add(OUTCOMES, facts)
    to.add(TOUCHES, _touches(load, numbers + first_number, expiry, named))
    wanted = pl.select(pl.when(pl.Series(named.traced)).then(of_trace).otherwise(unknown)).to_series()
    wants = facts.select(hashed(wanted).alias("wanted_hash"), EXPIRY, outcome_hash="id_hash", outcome_number="number")
    to.add(WANTS, wants.filter(pl.Series(waits)))
    is_waiting = pl.Series(waits & (due_us >= NOW_US))
    to.add(WAITS, wants.with_columns(pl.Series(EXPIRY, due_us)).filter(is_waiting))
    is_open = (named.inference >= load.inferences) & ~is_waiting.to_numpy()[named.outcome]
    share = earned * _MARGIN // 10 // np.maximum(np.bincount(named.outcome, minlength=len(numbers)), 1)
    return named.inference[is_open], share[named.outcome[is_open]]


def _touches(load: Load, outcome_numbers: Numbers, expiry: pl.Series, named: Named) -> pl.DataFrame:
    times_us = load.time_us(named.inference)
    number = outcome_numbers[named.outcome]
    return pl.DataFrame(
        [
            pl.Series("outcome_key", mixed_numbers(number)),
            expiry.gather(named.outcome),
            pl.Series("outcome_number", number),
            pl.Series("inference_number", named.inference),
            ids("inf", named.inference).alias("inference_id"),
            pl.Series("event_time_us", times_us),
            pl.Series("inference_expiry_us", times_us + OPEN_US),
            pl.Series("profile", combination(named.inference).astype(np.uint32)),
        ]
    )


def _write_sums(load: Load, inference: Numbers, value: Numbers, to: _Writer) -> None:
    order = np.argsort(inference, kind="stable")
    inference, value = inference[order], value[order]
    for part in slices(load.inferences, load.inferences):
        rows = slice(*np.searchsorted(inference, [part[0], part[-1] + 1]).tolist())
        numbers, units = inference[rows], _units(value[rows])
        zero = _units(np.zeros(len(numbers), dtype=np.int64))
        columns = [
            pl.Series(EXPIRY, load.time_us(numbers) + OPEN_US),
            pl.Series("inference_number", numbers),
            pl.Series("outcome_count", np.ones(len(numbers), dtype=np.int64)),
            *(units.alias(name) for name in ("conversion_value", "attributed_value")),
            *(zero.alias(name) for name in ("time_saved_value", "time_saved_seconds", "reversed_value")),
        ]
        to.add(SUMS, pl.DataFrame(columns))


def _write_profiles(to: _Writer) -> None:
    of_all = {"kind": "conversion", "currency": "USD", "role": None}
    outcomes = pl.DataFrame({"type": list(TYPES)}).with_columns(
        pl.lit(text, pl.String).alias(name) for name, text in of_all.items()
    )
    for family, frame in ((INFERENCE_PROFILES, COMBINATIONS), (OUTCOME_PROFILES, outcomes)):
        numbered = frame.with_columns(
            pl.int_range(pl.len(), dtype=pl.Int64).alias("number"), pl.lit(FOREVER_US, dtype=pl.Int64).alias(EXPIRY)
        )
        to.add(family, numbered)


def _units(nano: Numbers) -> pl.Series:
    """Whole billionths as decimals of nine places."""
    return decimals(integers(nano))
