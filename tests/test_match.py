"""Which inferences an outcome names, and which events are copies: equal hashes of different ids are told apart."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution import deduplicate as deduplication
from attribution import match
from attribution.deduplicate import deduplicate
from attribution.match import bounded_runs, hashed, matched_slices


def outcomes(*named: list[str] | None, traces: list[str | None] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {"inference_ids": list(named), "trace_id": traces or [None] * len(named)},
        schema={"inference_ids": pl.List(pl.String), "trace_id": pl.String},
    )


def inferences(ids: list[str], traces: list[str | None] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {"inference_id": ids, "trace_id": traces or [None] * len(ids)},
        schema={"inference_id": pl.String, "trace_id": pl.String},
    )


@pytest.fixture
def every_hash_collides(monkeypatch: pytest.MonkeyPatch) -> None:
    def constant(ids: pl.Series) -> pl.Series:
        return pl.Series([7], dtype=pl.UInt64).new_from_index(0, len(ids))

    monkeypatch.setattr(match, "hashed", constant)
    monkeypatch.setattr(deduplication, "hashed", constant)


def test_the_hash_is_the_published_xxh64() -> None:
    # Reference vectors of xxHash (seed 0): https://github.com/Cyan4973/xxHash
    assert hashed(pl.Series(["", "a", "abc"])).to_list() == [0xEF46DB3751D8E999, 0xD24EC4F1A98C6E5B, 0x44BC2CF5AD770999]


@pytest.mark.usefixtures("every_hash_collides")
def test_ids_with_one_hash_are_told_apart_when_outcomes_name_them() -> None:
    (part,) = matched_slices(outcomes(["b"], ["a", "c"], None, ["z"]), inferences(["a", "b", "c"]))
    assert part.pairs.rows() == [(0, 1), (1, 0), (1, 2)]


@pytest.mark.usefixtures("every_hash_collides")
def test_ids_with_one_hash_are_not_copies_of_each_other() -> None:
    events = pl.DataFrame({"event_id": ["a", "b", "a", "b"], "amount": [1, 1, 1, 2]})
    found = deduplicate(events, "event_id", ["amount"])
    assert found.events.rows() == [("a", 1), ("b", 1)]
    assert found.duplicates.rows() == [("a", 1)]
    assert found.conflicting.rows() == [("b", 2)]


def test_the_first_read_counts_by_commit_then_position() -> None:
    events = pl.DataFrame(
        {
            "event_id": ["x", "x", "x"],
            "amount": [1, 2, 3],
            "commit_id": [2, 1, 1],
            "source_topic": ["a", "b", "a"],
            "source_partition": [0, 0, 0],
            "source_file": ["f", "f", "f"],
            "source_offset": [0, 0, 9],
        }
    )
    found = deduplicate(events, "event_id", ["amount"])
    assert found.events["amount"].to_list() == [3]
    assert sorted(found.conflicting["amount"]) == [1, 2]


def test_a_trace_names_every_inference_that_carries_it() -> None:
    named = outcomes(None, ["a"], None, traces=["t", None, "u"])
    known = inferences(["a", "b", "c"], ["t", None, "t"])
    by_id, by_trace = matched_slices(named, known)
    assert by_id.pairs.rows() == [(0, 0)]
    assert by_trace.outcomes["trace_id"].to_list() == ["t", "u"]
    assert by_trace.pairs.rows() == [(0, 0), (0, 2)]


def test_large_traces_are_taken_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "PAIRS_PER_SLICE", 5)
    named = outcomes(*[None] * 4, traces=["t", "t", "u", "t"])
    known = inferences(["a", "b", "c"], ["t", "t", "t"])
    parts = list(matched_slices(named, known))
    assert [part.outcomes.height for part in parts] == [1, 2, 1]
    assert [part.pairs.height for part in parts] == [3, 3, 3]


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 12))
def test_runs_cover_everything_once_and_stay_within_the_limit(sizes: list[int], limit: int) -> None:
    runs = list(bounded_runs(np.array(sizes, dtype=np.uint32), limit))
    assert [n for first, last in runs for n in range(first, last)] == list(range(len(sizes)))
    for first, last in runs:
        assert sum(sizes[first:last]) <= limit or last - first == 1
