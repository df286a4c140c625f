"""Step 1: one event per id. Equal copies are duplicates; different content is the producer's error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from attribution.match import hashed

#: In which commit a record was read first, of a log that knows it.
COMMIT = "commit_id"
#: The order in which records were read: an earlier commit first, then by position.
READ_ORDER = (COMMIT, "source_topic", "source_partition", "source_file", "source_offset")


@dataclass(frozen=True)
class Deduplicated:
    """events: the first read of each id, in the order given; duplicates, conflicting: the other rows, whole."""

    events: pl.DataFrame
    duplicates: pl.DataFrame
    conflicting: pl.DataFrame


def deduplicate(events: pl.DataFrame, id_column: str, content: list[str]) -> Deduplicated:
    """Keep the first read of each id; a later one is a duplicate where all ``content`` is equal, else conflicting.

    events: canonical columns, and those of READ_ORDER that the source has (texts compared as bytes).
    """
    hashes = hashed(events[id_column])
    if hashes.n_unique() == events.height:
        return Deduplicated(events, events.clear(), events.clear())
    suspects = np.flatnonzero(hashes.is_duplicated().to_numpy()).astype(np.uint32)
    order = [
        pl.col(name).cast(pl.String) if name in ("source_topic", "source_file") else pl.col(name)
        for name in READ_ORDER
        if name in events.columns
    ]
    candidates = events[suspects].with_columns(pl.Series("__row", suspects))
    ranked = candidates.sort(id_column, *order, "__row")
    is_first = (ranked[id_column] != ranked[id_column].shift(1)).fill_null(True)
    first = ranked.filter(is_first)
    first_of = ranked.select((is_first.cum_sum() - 1).alias("n"))["n"]
    is_equal = pl.Series([True]).new_from_index(0, ranked.height)
    for name in content:
        is_equal &= ranked[name].eq_missing(first[name].gather(first_of))
    later = ranked.with_columns(is_equal.alias("__equal")).filter(~is_first)
    dropped = np.ones(events.height, dtype=np.bool_)
    dropped[later["__row"].to_numpy()] = False
    rest = later.sort("__row")
    return Deduplicated(
        events.filter(pl.Series(dropped)),
        rest.filter("__equal").select(events.columns),
        rest.filter(~pl.col("__equal")).select(events.columns),
    )
