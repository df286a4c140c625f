"""Why what was published may differ from a replay: the exceptions of the contract, looked for in the records.

Each difference belongs to an outcome (its rows of ``credits`` and ``unattributed``). It is explained where a record
that the outcome depends on was refused as too late, as a conflict or as lying in the future, where an id of it was
used again, or where one of two records that need each other came when the other was forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from attribution.content import content_digest
from attribution.money import Int64s
from attribution.retention import Retention
from schemas.events import SOURCE_COLUMNS, WORD, Kind
from schemas.reasons import Refusal


@dataclass(frozen=True)
class Tables:
    """inferences, outcomes and scores, of what was published and of the replay; dead_letters of what was published."""

    inferences: pl.DataFrame
    outcomes: pl.DataFrame
    scores: pl.DataFrame
    replayed_inferences: pl.DataFrame
    replayed_outcomes: pl.DataFrame
    replayed_scores: pl.DataFrame
    dead_letters: pl.DataFrame

    @cached_property
    def contents(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """(published, replayed) events as kind (inference, outcome, reversal, score), id and a digest of their
        content."""
        return (
            _contents(self.inferences, self.outcomes, self.scores),
            _contents(self.replayed_inferences, self.replayed_outcomes, self.replayed_scores),
        )

    def used_again(self) -> pl.DataFrame:
        """kind and id of events accepted more than once: the id came again after its retention."""
        published, _ = self.contents
        ids = published.select("kind", "id")
        return ids.filter(ids.is_duplicated()).unique()

    def forgotten_in_between(self, retention: Retention, watermark_before: dict[int, int | None]) -> pl.DataFrame:
        """kind and id of events accepted again after the earlier one had been forgotten, each time."""
        known = _known_events(self, retention, watermark_before).sort("kind", "id", "commit_id")
        same = (pl.col("kind") == pl.col("kind").shift()) & (pl.col("id") == pl.col("id").shift())
        is_kept = same & ~(pl.col("expiry_us").shift() < pl.col("watermark_us")).fill_null(value=False)
        kept = known.filter(is_kept.fill_null(value=False)).select("kind", "id").unique()
        return self.used_again().join(kept, on=["kind", "id"], how="anti")

    def changed(self) -> pl.DataFrame:
        """kind and id of events that the replay accepts and that were not published as it has them."""
        published, replayed = self.contents
        keys = ["kind", "id", "digest"]
        return replayed.join(published, on=keys, how="anti").select("kind", "id").unique()


def explanations(
    outcome_ids: pl.Series,
    tables: Tables,
    refused: pl.DataFrame,
    retention: Retention,
    watermark_before: dict[int, int | None],
    rates_differ: pl.Series,
    watermark_us: int | None,
) -> pl.DataFrame:
    """(outcome_id, why) for those outcomes whose difference is explained; the first reason found.

    refused: kind, id, reverses and reason of refused events; rates_differ: ids whose rows differ in the rate.
    """
    asked = outcome_ids.alias("outcome_id").to_frame().unique()
    found = [
        _named_in(asked, refused, tables),
        _used_again(asked, tables, tables.forgotten_in_between(retention, watermark_before)),
        _forgotten(asked, tables, retention, watermark_before),
        _rate_after_retention(asked, tables, retention, rates_differ, watermark_us),
    ]
    return pl.concat(found).unique("outcome_id", keep="first", maintain_order=True)


def _needs(asked: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    """(outcome_id, needs_kind, needs_id): the records that each outcome depends on, by the replay."""
    outcomes = tables.replayed_outcomes.join(asked, left_on="event_id", right_on="outcome_id", how="semi")
    named = outcomes.filter(pl.col("kind") != Kind.REVERSAL.value)
    own = named.select(
        pl.col("event_id").alias("outcome_id"), pl.lit("outcome").alias("kind"), pl.col("event_id").alias("id")
    )
    by_id = (
        named.filter(pl.col("inference_ids").is_not_null())
        .select(
            pl.col("event_id").alias("outcome_id"),
            pl.lit("inference").alias("kind"),
            pl.col("inference_ids").alias("id"),
        )
        .explode("id", empty_as_null=False, keep_nulls=False)
    )
    by_trace = (
        named.filter(pl.col("trace_id").is_not_null())
        .select(pl.col("event_id").alias("outcome_id"), "trace_id")
        .join(tables.replayed_inferences.select("trace_id", pl.col("inference_id").alias("id")), on="trace_id")
        .select("outcome_id", pl.lit("inference").alias("kind"), "id")
    )
    reversals = (
        tables.replayed_outcomes.filter(kind=Kind.REVERSAL.value)
        .join(asked, left_on="reverses", right_on="outcome_id", how="semi")
        .select(
            pl.col("reverses").alias("outcome_id"), pl.lit("reversal").alias("kind"), pl.col("event_id").alias("id")
        )
    )
    # An unmatched reversal's row carries the id of an outcome that is unknown, or that came too late.
    lone = asked.select("outcome_id", pl.lit("outcome").alias("kind"), pl.col("outcome_id").alias("id"))
    return pl.concat([own, by_id, by_trace, reversals, lone]).unique()


def _named_in(asked: pl.DataFrame, refused: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    needs = _needs(asked, tables)
    needs = needs.join(tables.changed(), on=["kind", "id"], how="semi")
    hit = needs.join(refused.select("kind", "id", "reason"), on=["kind", "id"], how="inner")
    order = {Refusal.TOO_LATE.value: 0, Refusal.CONFLICTING_DUPLICATE.value: 1, Refusal.FUTURE_TIME.value: 2}
    ranked = hit.with_columns(pl.col("reason").replace_strict(order, default=9, return_dtype=pl.Int8).alias("rank"))
    return ranked.sort("outcome_id", "rank").select("outcome_id", pl.col("reason").cast(pl.String).alias("why"))


def _contents(inferences: pl.DataFrame, outcomes: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    frames = []
    for frame, id_column, kind in (
        (inferences, "inference_id", pl.lit("inference")),
        (outcomes, "event_id", _role()),
        (scores, "event_id", pl.lit("score")),
    ):
        columns = [name for name in frame.columns if name not in (*SOURCE_COLUMNS, "commit_id")]
        digest = pl.Series("digest", content_digest(frame, columns))
        frames.append(frame.select(kind.alias("kind"), pl.col(id_column).alias("id")).with_columns(digest))
    return pl.concat(frames)


def _used_again(asked: pl.DataFrame, tables: Tables, again: pl.DataFrame) -> pl.DataFrame:
    hit = _needs(asked, tables).join(again, on=["kind", "id"], how="semi")
    return hit.select("outcome_id", pl.lit("id_used_again").alias("why"))


def _role() -> pl.Expr:
    is_reversal = pl.col("kind").cast(pl.String) == Kind.REVERSAL.value
    return pl.when(is_reversal).then(pl.lit("reversal")).otherwise(pl.lit("outcome"))


def _forgotten(
    asked: pl.DataFrame, tables: Tables, retention: Retention, watermark_before: dict[int, int | None]
) -> pl.DataFrame:
    """One of the two came in a commit before which the watermark had passed the other."""
    known = _known_events(tables, retention, watermark_before)
    pairs = (
        _needs(asked, tables)
        .filter(pl.col("kind") != "outcome")
        .join(known, on=["kind", "id"], how="inner")
        .join(known.filter(kind="outcome").drop("kind"), left_on="outcome_id", right_on="id", suffix="_outcome")
    )
    is_missed = (pl.col("watermark_us") > pl.col("expiry_us_outcome")) | (
        pl.col("watermark_us_outcome") > pl.col("expiry_us")
    )
    hit = pairs.filter(is_missed.fill_null(value=False))
    time, at = (hit[name].to_numpy() for name in ("time_us", "time_us_outcome"))
    is_open = retention.is_open(hit["use_case"], time, at)
    is_in_window = (at <= time) & (time <= at + retention.reversal_window_us)
    matters = np.where((hit["kind"] == "reversal").to_numpy(), is_in_window, is_open)
    return hit.filter(pl.Series(matters)).select("outcome_id", pl.lit("forgotten").alias("why"))


def _known_events(tables: Tables, retention: Retention, watermark_before: dict[int, int | None]) -> pl.DataFrame:
    """Accepted events: kind, id, commit, time, use case, own expiry, and the watermark before their commit."""
    before = pl.DataFrame(
        {"commit_id": list(watermark_before), "watermark_us": list(watermark_before.values())},
        schema={"commit_id": pl.Int64, "watermark_us": pl.Int64},
    )
    use_case = tables.inferences["use_case"].cast(WORD)
    inferences = _known(tables.inferences, "inference_id", pl.lit("inference")).with_columns(
        use_case,
        pl.Series("expiry_us", retention.inference_expiry_us(use_case, _times(tables.inferences))),
    )
    times = _times(tables.outcomes)
    own = pl.Series(retention.reversal_expiry_us(times))
    of_outcome = pl.Series(retention.outcome_expiry_us(times))
    is_reversal = tables.outcomes["kind"] == Kind.REVERSAL.value
    expiry = pl.select(pl.when(is_reversal).then(own).otherwise(of_outcome)).to_series()
    outcomes = _known(tables.outcomes, "event_id", _role()).with_columns(
        pl.lit(None, dtype=WORD).alias("use_case"), expiry.alias("expiry_us")
    )
    scores = _known(tables.scores, "event_id", pl.lit("score")).with_columns(
        pl.lit(None, dtype=WORD).alias("use_case"),
        pl.Series("expiry_us", retention.outcome_expiry_us(_times(tables.scores))),
    )
    return pl.concat([inferences, outcomes, scores]).join(before, on="commit_id", how="left")


def _known(events: pl.DataFrame, id_column: str, kind: pl.Expr) -> pl.DataFrame:
    """kind, id, commit and time of accepted events."""
    time = pl.col("event_time").to_physical().alias("time_us")
    return events.select(kind.alias("kind"), pl.col(id_column).alias("id"), "commit_id", time)


def _times(events: pl.DataFrame) -> Int64s:
    return events["event_time"].to_physical().to_numpy()


def _rate_after_retention(
    asked: pl.DataFrame, tables: Tables, retention: Retention, rates_differ: pl.Series, watermark_us: int | None
) -> pl.DataFrame:
    if watermark_us is None:
        return pl.DataFrame(schema={"outcome_id": pl.String, "why": pl.String})
    expiry = pl.Series(retention.outcome_expiry_us(tables.outcomes["event_time"].to_physical().to_numpy()))
    past = tables.outcomes.filter(expiry < watermark_us)
    hit = past.join(asked, left_on="event_id", right_on="outcome_id", how="semi")
    hit = hit.filter(hit["event_id"].is_in(rates_differ.implode()))
    return hit.select(pl.col("event_id").alias("outcome_id"), pl.lit("rate_after_retention").alias("why"))
