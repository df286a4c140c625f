"""Which inferences outcomes name: of new outcomes those already here, of kept outcomes those that arrive now.

A *touch* in state is a copy of an inference, taken when outcome and inference first meet, so that the outcome can be
worked out again after the inference is gone. Of a trace only open inferences are copied, for it may be long; of ids
that an outcome names all that are seen, for it waits until it has seen them. What an outcome names and nobody has
seen, and every trace it names, is a *want*: each new inference is held against those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from attribution.content import mixed_numbers
from attribution.match import hashed
from attribution.paths import OPEN_MAX
from attribution.retention import Retention, kept_touches
from streams.live.families import EXPIRY, INFERENCES, TOUCHES, WANTS
from streams.live.family_state import ASKED
from streams.live.state import State

#: What a touch copies of an inference.
_COPIED = ["inference_id", "event_time_us", EXPIRY, "profile", "number"]
_OUTCOME = ["outcome_number", "outcome_time_us", "outcome_expiry_us"]


@dataclass(frozen=True)
class Named:
    """touches, wants: facts; missing: numbers of outcomes that name an id nobody has seen, or a trace."""

    touches: pl.DataFrame
    wants: pl.DataFrame
    missing: pl.Series


@dataclass(frozen=True)
class Gained:
    """touches: facts of kept outcomes; outcome_hash, outcome_number: the outcomes that a new inference was for."""

    touches: pl.DataFrame
    outcomes: pl.DataFrame


def copied(inferences: pl.DataFrame) -> pl.DataFrame:
    """New inferences with the columns that a touch copies."""
    return inferences.with_columns(pl.col("event_time").to_physical().alias("event_time_us")).select(
        *_COPIED, "trace_id", "id_hash", "trace_hash"
    )


def named_by(outcomes: pl.DataFrame, new: pl.DataFrame, state: State, retention: Retention) -> Named:
    """What new outcomes name. outcomes: of ``Arrivals``; new: of ``copied``."""
    by_id = _named_ids(outcomes)
    found_by_id = _found(by_id, "id_hash", "inference_id", new, state)
    is_missing = np.ones(by_id.height, dtype=np.bool_)
    is_missing[found_by_id[ASKED].to_numpy()] = False
    missing_ids = by_id.filter(pl.Series(is_missing))

    traced = outcomes.filter(pl.col("trace_id").is_not_null())
    by_trace = _of_outcomes(traced).with_columns(
        traced["trace_id"].alias("text"), hashed(traced["trace_id"]).alias("hash")
    )
    found_by_trace = _found(by_trace, "trace_hash", "trace_id", new, state)

    of_traces = _open(_pairs(by_trace, found_by_trace), state, retention)
    wanted = pl.concat([missing_ids, by_trace.select(missing_ids.columns)])
    wants = wanted.select(
        pl.col("hash").alias("wanted_hash"),
        pl.col("outcome_expiry_us").alias(EXPIRY),
        "outcome_hash",
        "outcome_number",
    )
    pairs = pl.concat([_pairs(by_id, found_by_id), _within_bounds(of_traces, None, state)])
    return Named(_as_touches(pairs), wants, wanted["outcome_number"].unique())


def gained_by(new: pl.DataFrame, state: State, retention: Retention) -> Gained:
    """What new inferences are for kept outcomes that named them, or their trace, before they came."""
    traced = np.flatnonzero(new["trace_hash"].is_not_null().to_numpy())
    rows = np.concatenate([np.arange(new.height), traced])
    hashes = pl.concat([new["id_hash"], new["trace_hash"].gather(traced)])
    columns = ["outcome_hash", "outcome_number"]
    wants = state.find(WANTS, "wanted_hash", hashes, columns)
    if wants.height == 0:
        return Gained(_as_touches(_no_pairs()), wants.select(columns))
    by_trace = wants[ASKED].to_numpy() >= new.height
    wants = wants.with_columns(pl.Series("row", rows[wants[ASKED].to_numpy()]), pl.Series("by_trace", by_trace))
    kept = state.outcome_rows(wants["outcome_hash"], wants["outcome_number"]).select(
        pl.col("number").alias("outcome_number"),
        pl.col("event_time_us").alias("outcome_time_us"),
        pl.col(EXPIRY).alias("outcome_expiry_us"),
        pl.col("inference_ids"),
        pl.col("trace_id").alias("wanted_trace"),
    )
    met = wants.join(kept, on="outcome_number", how="inner", maintain_order="left")
    met = met.hstack(new.select(*_COPIED, "trace_id")[met["row"]])
    has_id = pl.col("inference_ids").list.contains(pl.col("inference_id"))
    is_named = pl.when("by_trace").then(pl.col("wanted_trace") == pl.col("trace_id")).otherwise(has_id)
    met = met.filter(is_named.fill_null(value=False))
    of_traces = _open(met.filter("by_trace").select(*_OUTCOME, *_COPIED), state, retention)
    of_traces = of_traces.sort("outcome_number", maintain_order=True)
    standing = touches_of(of_traces["outcome_number"].unique(), state) if of_traces.height else None
    by_id = met.filter(~pl.col("by_trace")).select(of_traces.columns)
    touches = _as_touches(pl.concat([by_id, _within_bounds(of_traces, standing, state)]))
    return Gained(touches, met.select(columns).unique())


def touches_of(numbers: pl.Series, state: State) -> pl.DataFrame:
    """The touches that earlier commits hold of some outcomes, in the order in which they were taken."""
    keys = pl.Series(mixed_numbers(numbers.to_numpy()))
    columns = [name for name in TOUCHES.columns if name != "outcome_key"]
    return state.find(TOUCHES, "outcome_key", keys, columns).drop(ASKED).sort("outcome_number", "inference_number")


def _named_ids(outcomes: pl.DataFrame) -> pl.DataFrame:
    """A row per outcome and id it names: the outcome, ``text`` and its ``hash``."""
    ids = outcomes["inference_ids"]
    lengths = ids.list.len().fill_null(0).to_numpy()
    rows = np.repeat(np.arange(outcomes.height, dtype=np.uint32), lengths)
    texts = ids.drop_nulls().list.explode(keep_nulls=False, empty_as_null=False)
    return _of_outcomes(outcomes)[rows].with_columns(texts.alias("text"), hashed(texts).alias("hash"))


def _of_outcomes(outcomes: pl.DataFrame) -> pl.DataFrame:
    return outcomes.select(
        pl.col("number").alias("outcome_number"),
        pl.col("event_time").to_physical().alias("outcome_time_us"),
        pl.col(EXPIRY).alias("outcome_expiry_us"),
        pl.col("id_hash").alias("outcome_hash"),
    )


def _found(asked: pl.DataFrame, key: str, column: str, new: pl.DataFrame, state: State) -> pl.DataFrame:
    """Inferences of earlier commits and of this batch that have the text asked for, with ``asked``."""
    earlier = state.find(INFERENCES, key, asked["hash"], list(dict.fromkeys([*_COPIED, column])))
    question = asked.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias(ASKED), "hash")
    answers = new.filter(pl.col(key).is_not_null()).select(
        pl.col(key).alias("hash"), *dict.fromkeys([*_COPIED, column])
    )
    now = question.join(answers, on="hash", how="inner").drop("hash")
    rows = pl.concat([earlier, now.select(earlier.columns)])
    return rows.filter(rows[column] == asked["text"].gather(rows[ASKED])).select(ASKED, *_COPIED)


def _pairs(asked: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """A row per outcome and inference that met, in order of outcome."""
    ordered = found.sort(ASKED, "number")
    return asked.select(_OUTCOME)[ordered[ASKED]].hstack(ordered.select(_COPIED))


def _open(pairs: pl.DataFrame, state: State, retention: Retention) -> pl.DataFrame:
    use_case = state.inference_profiles.words(pairs["profile"])["use_case"]
    times = [pairs[name].to_numpy() for name in ("event_time_us", "outcome_time_us")]
    return pairs.filter(pl.Series(retention.is_open(use_case, *times)))


def _within_bounds(pairs: pl.DataFrame, standing: pl.DataFrame | None, state: State) -> pl.DataFrame:
    """Without touches that an outcome of too many needs no copy of. standing: those it has already."""
    if pairs.height <= OPEN_MAX and (standing is None or standing.height + pairs.height <= OPEN_MAX):
        return pairs
    columns = ["outcome_number", "profile"]
    both = pairs.select(columns, is_new=True)
    if standing is not None:
        both = pl.concat([standing.select(columns, is_new=False), both])
    both = both.with_row_index("row").sort("outcome_number", maintain_order=True)
    use_case = state.inference_profiles.words(both["profile"])["use_case"].to_physical().to_numpy().astype(np.int64)
    kept = both.filter(pl.Series(kept_touches(both["outcome_number"].to_numpy(), use_case)) & both["is_new"])
    before = 0 if standing is None else standing.height
    return pairs[(kept["row"] - before).sort()]


def _as_touches(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.select(
        pl.Series("outcome_key", mixed_numbers(pairs["outcome_number"].to_numpy())),
        pl.col("outcome_expiry_us").alias(EXPIRY),
        "outcome_number",
        pl.col("number").alias("inference_number"),
        "inference_id",
        "event_time_us",
        pl.col(EXPIRY).alias("inference_expiry_us"),
        "profile",
    )


def _no_pairs() -> pl.DataFrame:
    schema = dict.fromkeys(_OUTCOME, pl.Int64()) | {name: INFERENCES.columns[name] for name in _COPIED}
    return pl.DataFrame(schema=schema)
