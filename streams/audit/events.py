"""Events on both sides: those refused later than by their own content, those missing, and the counts of all."""

from __future__ import annotations

import polars as pl

from attribution.retention import Retention
from schemas.events import Kind
from schemas.reasons import Refusal
from streams.audit.explained import Tables
from streams.decode import Block, Limits, decode
from streams.settings import Settings

_REFUSED_LATER = (Refusal.TOO_LATE, Refusal.CONFLICTING_DUPLICATE, Refusal.FUTURE_TIME)


def refused_events(settings: Settings, dead_letters: pl.DataFrame) -> pl.DataFrame:
    """Events that are valid and were refused all the same: kind (inference, outcome, reversal, score), id, reverses,
    why."""
    topics = {topic.name: topic for topic in settings.input.topics}
    limits = Limits(2**40, 2**60, 2**60)
    schema = {"kind": pl.String, "id": pl.String, "reverses": pl.String, "reason": pl.String}
    frames = [pl.DataFrame(schema=schema)]
    chosen = dead_letters.filter(pl.col("reason").is_in([reason.value for reason in _REFUSED_LATER]))
    for (name,), letters in chosen.group_by("source_topic"):
        topic = topics[str(name)]
        data = b"\n".join(letters["record_value"]) + b"\n"
        events = decode(Block(topic.name, 0, "", 0, data), topic.kind, limits, topic.mapping).events
        reasons = letters["reason"].gather(events["source_offset"])
        kind = "outcome" if topic.kind in (Kind.CONVERSION, Kind.TIME_SAVED) else topic.kind.value
        id_column = "inference_id" if topic.kind is Kind.INFERENCE else "event_id"
        reverses = pl.col("reverses") if "reverses" in events.columns else pl.lit(None, dtype=pl.String)
        frames.append(
            events.select(
                pl.lit(kind).alias("kind"), pl.col(id_column).alias("id"), reverses.alias("reverses")
            ).with_columns(reasons.cast(pl.String).alias("reason"))
        )
    return pl.concat(frames)


def missing_events(
    tables: Tables, refused: pl.DataFrame, retention: Retention, watermark_before: dict[int, int | None]
) -> pl.DataFrame:
    """Events that only one side accepted as they are, though nothing was refused under their id, and events that
    were accepted again while they were kept: kind, id, where."""
    keys = ["kind", "id", "digest"]
    published, replayed = tables.contents
    known = pl.concat([refused.select(keys[:2]), tables.used_again()])
    again = tables.used_again().join(tables.forgotten_in_between(retention, watermark_before), on=keys[:2], how="anti")
    sides = [again.with_columns(pl.lit("accepted twice").alias("where"))]
    for one, other, where in ((replayed, published, "replay only"), (published, replayed, "published only")):
        lost = one.join(other, on=keys, how="anti").join(known, on=keys[:2], how="anti")
        sides.append(lost.select("kind", "id", pl.lit(where).alias("where")))
    return pl.concat(sides).sort("kind", "id", "where")


def late_counts(refused: pl.DataFrame, tables: Tables) -> dict[str, int]:
    """How many records came too late, and how many of them are copies of accepted events."""
    late = refused.filter(reason=Refusal.TOO_LATE.value)
    published, _ = tables.contents
    return {"too_late": late.height, "copies": late.join(published, on=["kind", "id"], how="semi").height}


def record_counts(
    published: dict[str, pl.LazyFrame],
    tables: Tables,
    in_log: dict[tuple[str, int], int],
    replayed_letters: pl.LazyFrame,
) -> pl.DataFrame:
    """Per topic and partition what became of the records, the rows there are of them, and whether all of it sums.

    in_log: how many records the log has of what was read; refused: dead letters that the replay has, too.
    """
    keys = ["source_topic", "source_partition"]
    names = ["read", "accepted", "duplicates", "dead_letters", "ignored"]
    counts = published["commits"].filter(pl.col("source_topic").is_not_null()).group_by(keys).agg(pl.col(names).sum())
    events = pl.concat([table.select(keys) for table in (tables.inferences, tables.outcomes, tables.scores)])
    there = pl.DataFrame(
        [(*partition, count) for partition, count in in_log.items() if count],
        schema={"source_topic": pl.String, "source_partition": pl.Int32, "in_log": pl.Int64},
        orient="row",
    )
    later = [reason.value for reason in _REFUSED_LATER]
    ours, theirs = (
        letters.filter(~pl.col("reason").is_in(later)).group_by(keys).len(name)
        for letters, name in ((tables.dead_letters.lazy(), "refused"), (replayed_letters, "refused_in_replay"))
    )
    rows = ["accepted_rows", "dead_letter_rows", "in_log", "refused", "refused_in_replay"]
    return (
        there.join(counts.collect(), on=keys, how="full", coalesce=True)
        .join(events.group_by(keys).len("accepted_rows"), on=keys, how="left")
        .join(tables.dead_letters.group_by(keys).len("dead_letter_rows"), on=keys, how="left")
        .join(ours.collect(), on=keys, how="left")
        .join(theirs.collect(), on=keys, how="left")
        .with_columns(pl.col(*names, *rows).fill_null(0).cast(pl.Int64))
        .with_columns(
            (
                (pl.col("read") == pl.sum_horizontal(names[1:]))
                & (pl.col("read") == pl.col("in_log"))
                & (pl.col("accepted") == pl.col("accepted_rows"))
                & (pl.col("dead_letters") == pl.col("dead_letter_rows"))
                & (pl.col("refused") == pl.col("refused_in_replay"))
            ).alias("sums")
        )
        .sort(keys)
    )
