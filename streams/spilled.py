"""A log larger than memory, attributed part by part with the same kernel.

The split of an outcome depends on itself, the inferences it names, its reversals, the rules and one rate:
so the log is dealt out by inference id to drop copies and to find what outcomes name, by outcome id to
split, and by inference id again to settle. Each part is worked on in memory and then forgotten.

events → by inference id: inferences ┐
       → by outcome id: outcomes ────┴→ named ids, by inference id → touches, by outcome id → credits,
                                        by inference id → attributed
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from attribution.deduplicate import COMMIT, Deduplicated, deduplicate
from attribution.engine import CompiledPolicy, Ledger, attribute_outcomes
from attribution.frames import as_outcomes
from attribution.match import bounded_runs, join_by_hash
from attribution.words import constant
from schemas.events import DECIMAL, OUTCOME_COLUMNS, SOURCE_COLUMNS, TIME, WORD, Kind, canonical_columns
from streams.spill import Shuffle
from streams.tables import TableWriter

_TEXT = pl.String()
#: What the kernel and ``attributed`` need to know of an inference.
_INFERENCE: dict[str, pl.DataType] = {
    "inference_id": _TEXT,
    "event_time": TIME,
    **dict.fromkeys(("use_case", "model", "model_version", "endpoint", "provider", "status", "arm"), WORD),
    "trace_id": _TEXT,
}
_NAMED: dict[str, pl.DataType] = {"outcome_id": _TEXT, "outcome_time": TIME, "id": _TEXT}
_TOUCH: dict[str, pl.DataType] = {"outcome_id": _TEXT, **_INFERENCE}
_CREDITED: dict[str, pl.DataType] = {
    "inference_id": _TEXT,
    "kind": WORD,
    **dict.fromkeys(("value", "seconds", "reversed_value"), DECIMAL),
}
_PAIRS_PER_SLICE = 4_000_000


class SpilledEvents:
    """Valid events of all kinds, copies included, dealt out on disk below ``folder`` in so many parts.

    has_commits: they have ``commit_id``, too.
    """

    def __init__(self, folder: Path, parts: int, *, has_commits: bool = False) -> None:
        self._more: dict[str, pl.DataType] = {COMMIT: pl.Int64()} if has_commits else {}
        self.parts = parts
        self._folder = folder
        self._by_id = {
            kind: self.shuffle(f"read_{kind}", "inference_id" if kind is Kind.INFERENCE else "event_id")
            for kind in Kind
        }

    def shuffle(self, name: str, key: str) -> Shuffle:
        """Room for further rows, dealt out by ``key`` in the same parts."""
        return Shuffle(self._folder / name, key, self.parts)

    def add(self, kind: Kind, events: pl.DataFrame) -> None:
        self._by_id[kind].add(events)

    def inferences(self, part: int) -> Deduplicated:
        return deduplicate(self._take(Kind.INFERENCE, part), "inference_id", list(canonical_columns(Kind.INFERENCE)))

    def outcomes(self, part: int) -> Deduplicated:
        frames = [self._take(kind, part) for kind in (Kind.CONVERSION, Kind.TIME_SAVED)]
        named = [
            frame.with_columns(constant(kind.value, frame.height).alias("kind"))
            for kind, frame in zip((Kind.CONVERSION, Kind.TIME_SAVED), frames, strict=True)
        ]
        return deduplicate(as_outcomes(named), "event_id", list(OUTCOME_COLUMNS))

    def reversals(self, part: int) -> Deduplicated:
        return deduplicate(self._take(Kind.REVERSAL, part), "event_id", list(canonical_columns(Kind.REVERSAL)))

    def scores(self, part: int) -> Deduplicated:
        return deduplicate(self._take(Kind.SCORE, part), "event_id", list(canonical_columns(Kind.SCORE)))

    def _take(self, kind: Kind, part: int) -> pl.DataFrame:
        return self._by_id[kind].take(part, {**canonical_columns(kind), **SOURCE_COLUMNS, **self._more})


def attribute_spilled(events: SpilledEvents, writer: TableWriter, refuse: Callable[[Deduplicated, str], None]) -> None:
    """Drop copies, attribute and settle, part by part, into ``writer``; refuse: takes what deduplication left out."""
    parts = range(events.parts)
    inferences = events.shuffle("inferences", "inference_id")
    by_trace = events.shuffle("by_trace", "trace_id")
    for part in parts:
        kept = events.inferences(part)
        refuse(kept, "inference_id")
        writer.inferences(kept.events, part)
        known = kept.events.select(list(_INFERENCE))
        inferences.add(known)
        by_trace.add(known)
    for part in parts:
        scores = events.scores(part)
        refuse(scores, "event_id")
        writer.scores(scores.events, part)

    outcomes = events.shuffle("outcomes", "event_id")
    reversals = events.shuffle("reversals", "reverses")
    named_ids = events.shuffle("named_ids", "id")
    named_traces = events.shuffle("named_traces", "id")
    for part in parts:
        kept, taken_back = events.outcomes(part), events.reversals(part)
        refuse(kept, "event_id")
        refuse(taken_back, "event_id")
        kind = constant(Kind.REVERSAL.value, taken_back.events.height).alias("kind")
        writer.outcomes(kept.events, taken_back.events.with_columns(kind), part=part)
        outcomes.add(kept.events.select(list(OUTCOME_COLUMNS)))
        reversals.add(taken_back.events.select(list(canonical_columns(Kind.REVERSAL))))
        outcome = [pl.col("event_id").alias("outcome_id"), pl.col("event_time").alias("outcome_time")]
        ids = kept.events.select(*outcome, pl.col("inference_ids").alias("id")).filter(pl.col("id").is_not_null())
        named_ids.add(ids.explode("id"))
        named_traces.add(kept.events.select(*outcome, pl.col("trace_id").alias("id")))

    touches = events.shuffle("touches", "outcome_id")
    again = events.shuffle("inferences_again", "inference_id")
    for part in parts:
        known = inferences.take(part, _INFERENCE)
        again.add(known)
        for found in _touches(named_ids.take(part, _NAMED), known, "inference_id", writer.compiled):
            touches.add(found)
        for found in _touches(
            named_traces.take(part, _NAMED), by_trace.take(part, _INFERENCE), "trace_id", writer.compiled
        ):
            touches.add(found)

    credited = events.shuffle("credited", "inference_id")
    for part in parts:
        of_outcomes = outcomes.take(part, OUTCOME_COLUMNS)
        of_reversals = reversals.take(part, canonical_columns(Kind.REVERSAL))
        ledger = _attributed_part(of_outcomes, touches.take(part, _TOUCH), of_reversals, writer.compiled)
        writer.ledger("credits", ledger.credits, part)
        writer.ledger("unattributed", ledger.unattributed, part)
        credited.add(ledger.credits.select(list(_CREDITED)))

    for part in parts:
        known = again.take(part, _INFERENCE)
        rows = known.select(pl.col("inference_id"), pl.int_range(pl.len(), dtype=pl.UInt32).alias("inference"))
        writer.attributed(known, credited.take(part, _CREDITED).join(rows, on="inference_id"), part)


def _touches(named: pl.DataFrame, known: pl.DataFrame, key: str, compiled: CompiledPolicy) -> Iterator[pl.DataFrame]:
    """Open inferences that outcomes name, as copies, in slices that bound memory where traces are large."""
    sizes = known.group_by(pl.col(key).alias("id")).len("size")
    counts = named.join(sizes, on="id", how="left", maintain_order="left")["size"].fill_null(0).to_numpy()
    right = known.with_columns(pl.col(key).alias("id"))
    for first, last in bounded_runs(counts, _PAIRS_PER_SLICE):
        pairs = join_by_hash(named.slice(first, last - first), right)
        time, at = (pairs[name].to_physical().to_numpy() for name in ("event_time", "outcome_time"))
        segment = compiled.in_force.segments(pairs["use_case"], time)
        is_open = (time - compiled.in_force.early_us[segment] <= at) & (at <= time + compiled.in_force.late_us[segment])
        yield pairs.filter(pl.Series(is_open)).select(list(_TOUCH))


def _attributed_part(
    outcomes: pl.DataFrame, touches: pl.DataFrame, reversals: pl.DataFrame, compiled: CompiledPolicy
) -> Ledger:
    """The ledger of some outcomes with all their touches, which hold copies of their inferences."""
    numbers = outcomes.select(
        pl.col("event_id").alias("outcome_id"), pl.int_range(pl.len(), dtype=pl.UInt32).alias("outcome")
    )
    numbered = touches.join(numbers, on="outcome_id").sort("outcome")
    pairs = numbered.select("outcome", pl.int_range(pl.len(), dtype=pl.UInt32).alias("inference"))
    return attribute_outcomes(outcomes, numbered, pairs, reversals, compiled)
