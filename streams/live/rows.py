"""A commit's rows of every published table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime

import polars as pl

from schemas.events import TIME, WORD
from schemas.outputs import COMMITS, TABLES
from streams.counts import Counts
from streams.decode import Limits, raw_records
from streams.live.batches import Read
from streams.live.step import Stepped


def table_rows(
    stepped: Stepped, refused: pl.DataFrame, commits: pl.DataFrame, commit_id: int
) -> dict[str, pl.DataFrame]:
    """The rows of each table, with all of its columns; none of ``scores`` where there are none.

    refused: ``dead_letters`` without ``commit_id``.
    """
    arrivals = stepped.arrivals
    kind = pl.lit("reversal").cast(WORD).alias("kind")
    outcomes = [_with_all(frame, "outcomes") for frame in (arrivals.outcomes, arrivals.reversals.with_columns(kind))]
    rows = {
        "inferences": _with_all(arrivals.inferences, "inferences"),
        "outcomes": pl.concat(outcomes),
        "credits": stepped.credits,
        "unattributed": stepped.unattributed,
        "attributed": stepped.attributed,
        "dead_letters": refused,
    }
    if arrivals.scores.height:
        rows["scores"] = arrivals.scores
    commit = pl.lit(commit_id, dtype=pl.Int64).alias("commit_id")
    return {table: frame.with_columns(commit).select(list(TABLES[table])) for table, frame in rows.items()} | {
        "commits": commits
    }


def _with_all(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """With the columns of a table that the frame lacks, as nulls."""
    return frame.select(
        pl.col(name) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in TABLES[table].items()
        if name != "commit_id"
    )


def with_raw(refused: pl.DataFrame, reads: Iterable[Read], limits: Limits) -> pl.DataFrame:
    """Refused events as ``dead_letters`` rows without ``commit_id``: each with the bytes it came as."""
    letters = []
    topic, file = (refused[name].cast(pl.String) for name in ("source_topic", "source_file"))
    for read in reads:
        block = read.block
        is_here = (topic == block.topic) & (refused["source_partition"] == block.partition) & (file == block.file)
        here = refused.filter(is_here).sort("source_offset")
        numbers = block.numbers_of(here["source_offset"].to_numpy())
        here, numbers = here.filter(pl.Series(numbers >= 0)), numbers[numbers >= 0]
        if here.height:
            raws = [raw for _, raw in raw_records(block, read.topic.kind, limits, numbers)]
            letters.append(
                here.with_columns(
                    block.keys_of(numbers).alias("record_key"), pl.Series("record_value", raws, dtype=pl.Binary)
                )
            )
    schema = {name: dtype for name, dtype in TABLES["dead_letters"].items() if name != "commit_id"}
    found = pl.concat([pl.DataFrame(schema=schema), *(rows.select(list(schema)) for rows in letters)])
    assert found.height == refused.height, "every refused event was read in this batch"
    return found


def count_up(reads: Iterable[Read], stepped: Stepped, late: pl.DataFrame) -> dict[tuple[str, int], Counts]:
    """What became of the records, by topic and partition; they sum. late: source columns of events too late."""
    counts: dict[tuple[str, int], Counts] = {}
    for read in reads:
        count = counts.setdefault(read.partition, Counts())
        count.read += read.decoded.read
        count.accepted += read.decoded.events.height
        count.dead_letters += read.decoded.dead_letters.height
        count.ignored += read.decoded.ignored
    for rows, is_refused in ((late, True), (stepped.arrivals.refused, True), (stepped.arrivals.duplicates, False)):
        for topic, partition, number in rows.group_by("source_topic", "source_partition").len().iter_rows():
            count = counts[topic, partition]
            count.accepted -= number
            if is_refused:
                count.dead_letters += number
            else:
                count.duplicates += number
    return counts


def commit_rows(
    counts: Mapping[tuple[str, int], Counts], commit_id: int, committed_at: datetime, watermark_us: int | None
) -> pl.DataFrame:
    """``commits``: one row per topic and partition read; none read: one row without a topic."""
    read: list[dict[str, object]] = [
        {"source_topic": topic, "source_partition": partition, **asdict(count)}
        for (topic, partition), count in sorted(counts.items())
        if count.read
    ] or [{"source_topic": None, "source_partition": None, **asdict(Counts())}]
    schema = {name: COMMITS[name] for name in read[0]}
    return pl.DataFrame(read, schema=schema).select(
        pl.lit(commit_id, dtype=pl.Int64).alias("commit_id"),
        pl.lit(committed_at).cast(TIME).alias("committed_at"),
        pl.lit(watermark_us, dtype=pl.Int64).cast(TIME).alias("watermark"),
        *read[0],
    )
