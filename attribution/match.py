"""Which inferences an outcome names: pairs of row numbers, by id or by trace.

Joins go over the standard 64-bit XXH64 of the id, which is half the cost of a join on text; the ids
themselves are compared after, so two ids with one hash never meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import polars_hash as plh

#: Pairs worked on at a time: bounds memory where many outcomes name large traces.
PAIRS_PER_SLICE = 4_000_000


@dataclass(frozen=True)
class Slice:
    """Some outcomes with their pairs; ``outcome`` of a pair is a row number within ``outcomes``."""

    outcomes: pl.DataFrame
    pairs: pl.DataFrame


def hashed(ids: pl.Series) -> pl.Series:
    """Standard XXH64 (seed 0) of each id; null for null."""
    return ids.to_frame("id").select(plh.col("id").nchash.xxhash64()).to_series()


def matched_slices(outcomes: pl.DataFrame, inferences: pl.DataFrame) -> Iterator[Slice]:
    """All outcomes, in slices, with every (outcome, inference) that name each other."""
    names_trace = outcomes["trace_id"].is_not_null()
    if not names_trace.any():
        yield Slice(outcomes, _pairs_by_id(outcomes, inferences["inference_id"]))
        return
    by_id = outcomes.filter(~names_trace)
    if by_id.height:
        yield Slice(by_id, _pairs_by_id(by_id, inferences["inference_id"]))
    yield from _slices_by_trace(outcomes.filter(names_trace), inferences["trace_id"])


def _pairs_by_id(outcomes: pl.DataFrame, inference_id: pl.Series) -> pl.DataFrame:
    """Pairs in order of outcome, for unique inference ids."""
    ids = outcomes["inference_ids"]
    lengths = ids.list.len().fill_null(0).to_numpy()
    named = pl.DataFrame(
        {
            "outcome": np.repeat(np.arange(outcomes.height, dtype=np.uint32), lengths),
            "id": ids.drop_nulls().list.explode(keep_nulls=False, empty_as_null=False),
        }
    )
    known = pl.DataFrame({"id": inference_id, "inference": np.arange(len(inference_id), dtype=np.uint32)})
    return join_by_hash(named, known).select("outcome", "inference")


def _slices_by_trace(outcomes: pl.DataFrame, trace_id: pl.Series) -> Iterator[Slice]:
    named = pl.DataFrame({"outcome": np.arange(outcomes.height, dtype=np.uint32), "id": outcomes["trace_id"]})
    known = (
        pl.DataFrame({"id": trace_id, "inference": np.arange(len(trace_id), dtype=np.uint32)})
        .filter(pl.col("id").is_not_null())
        .join(named.select("id").unique(), on="id", how="semi")
    )
    sizes = known.group_by("id").len("size")
    pair_counts = named.join(sizes, on="id", how="left", maintain_order="left")["size"].fill_null(0).to_numpy()
    for first, last in bounded_runs(pair_counts, PAIRS_PER_SLICE):
        chosen = named.slice(first, last - first).with_columns(pl.col("outcome") - first)
        pairs = join_by_hash(chosen, known).select("outcome", "inference")
        yield Slice(outcomes.slice(first, last - first), pairs)


def bounded_runs(sizes: np.ndarray[tuple[int], np.dtype[np.uint32]], limit: int) -> Iterator[tuple[int, int]]:
    """Runs [first, last) whose sizes sum to at most ``limit``, but for a run of one."""
    total = np.cumsum(sizes.astype(np.int64))
    first = 0
    while first < len(total):
        before = int(total[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(total, before + limit, side="right")))
        yield first, last
        first = last


def join_by_hash(named: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Inner join on the column ``id`` of both, in order of ``named``; the columns of both, ``id`` once."""
    left = named.with_columns(hashed(named["id"]).alias("hash"))
    right = known.select(hashed(known["id"]).alias("hash"), pl.all().exclude("id"), pl.col("id").alias("known_id"))
    joined = left.join(right, on="hash", how="inner", maintain_order="left")
    return joined.filter(pl.col("id") == pl.col("known_id")).drop("hash", "known_id")
