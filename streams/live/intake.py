"""From what was read to events in time: lateness is judged first, in each event's own partition, in reading order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import polars as pl

from attribution.event_time import largest_step_us, too_late
from attribution.words import constant
from schemas.events import SOURCE_COLUMNS, WORD, Kind, canonical_columns
from schemas.reasons import Refusal
from streams.counts import Counts
from streams.live.batches import Batch, Read
from streams.live.commit import Partition

_TOO_LATE = "event_time: further behind the newest of its partition than allowed_lateness"


@dataclass(frozen=True)
class Intake:
    """events: in time, by kind, in reading order; late: reason, detail and source columns of the others; partitions: as
    they stand after the batch, not yet counted; steps_us: by partition, how far one record moved its event time."""

    events: dict[Kind, pl.DataFrame]
    late: pl.DataFrame
    partitions: list[Partition]
    steps_us: dict[tuple[str, int], int]


def intake(batch: Batch, before: Iterable[Partition], allowed_lateness_us: int) -> Intake:
    """before: the partitions of the commit before."""
    known = {(partition.topic, partition.partition): partition for partition in before}
    newest = {key: partition.newest_us for key, partition in known.items()}
    oldest = {key: partition.oldest_us for key, partition in known.items()}
    steps_us: dict[tuple[str, int], int] = {}
    events: dict[Kind, list[pl.DataFrame]] = {
        kind: [pl.DataFrame(schema={**canonical_columns(kind), **SOURCE_COLUMNS})] for kind in Kind
    }
    late = [pl.DataFrame(schema={"reason": WORD, "detail": pl.String(), **SOURCE_COLUMNS})]
    for read in batch.reads:
        key = read.partition
        times = read.decoded.events["event_time"].to_physical().to_numpy()
        if len(times) == 0:
            continue
        steps_us[key] = max(largest_step_us(times, newest.get(key)), steps_us.get(key, 0))
        was = oldest.get(key)
        oldest[key] = int(times.min()) if was is None else min(int(times.min()), was)
        is_late, newest[key] = too_late(times, newest.get(key), allowed_lateness_us)
        in_time = read.decoded.events
        if is_late.any():
            late.append(_refused(read, pl.Series(is_late)))
            in_time = in_time.filter(pl.Series(~is_late))
        events[read.topic.kind].append(in_time)
    partitions = [
        Partition(
            *key,
            newest_us=newest.get(key),
            oldest_us=oldest.get(key),
            is_idle=position.is_idle,
            unfinished=position.unfinished,
            counts=Counts(),
            totals=known[key].totals if key in known else Counts(),
            next_offset=position.next_offset,
            topic_id=position.topic_id,
        )
        for key, position in batch.positions.items()
    ]
    return Intake({kind: pl.concat(frames) for kind, frames in events.items()}, pl.concat(late), partitions, steps_us)


def _refused(read: Read, is_late: pl.Series) -> pl.DataFrame:
    late = read.decoded.events.filter(is_late)
    return late.select(
        constant(Refusal.TOO_LATE, late.height).alias("reason"), pl.lit(_TOO_LATE).alias("detail"), *SOURCE_COLUMNS
    )


def counted(partition: Partition, counts: Counts) -> Partition:
    """The partition with what became of its records in this commit, and in all."""
    was = partition.totals
    totals = Counts(*(getattr(was, name) + getattr(counts, name) for name in Counts.__dataclass_fields__))
    return msgspec.structs.replace(partition, counts=counts, totals=totals)
