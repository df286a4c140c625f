"""A family of facts: found by key wherever a row lies, taken once as it expires, gone without traffic on its key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.match import hashed
from streams.live.families import INFERENCES, WAITS
from streams.live.family_state import ASKED, FamilyState

Fact = tuple[str, str | None, int]


def inferences(facts: list[Fact]) -> pl.DataFrame:
    frame = pl.DataFrame(
        facts, schema={"inference_id": pl.String, "trace_id": pl.String, "expiry_us": pl.Int64}, orient="row"
    )
    named = frame.with_columns(
        hashed(frame["inference_id"]).alias("id_hash"), hashed(frame["trace_id"]).alias("trace_hash")
    )
    absent = {name: dtype for name, dtype in INFERENCES.columns.items() if name not in named.columns}
    return named.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in absent.items())


def filled(folder: Path, batches: list[list[Fact]]) -> FamilyState:
    state = FamilyState(folder, INFERENCES)
    for number, facts in enumerate(batches):
        state.add(f"{number}.arrow", inferences(facts))
    return state


_FACTS = st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.sampled_from("st"), st.integers(0, 9)), max_size=6)


@settings(deadline=None, max_examples=60)
@given(st.lists(_FACTS, max_size=4), st.lists(st.sampled_from("abcde")), st.none() | st.integers(0, 11))
def test_every_visible_row_is_found_in_whatever_segment_and_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Fact]], asked: list[str], visible: int | None
) -> None:
    folder = tmp_path_factory.mktemp("state")
    before = filled(folder, batches)
    hashes = hashed(pl.Series(asked, dtype=pl.String)).to_numpy()
    for state in (before, FamilyState(folder, INFERENCES, before.files())):
        found = state.find("id_hash", hashes, ["inference_id", "expiry_us"], visible_from_us=visible)
        rows = [
            (number, *row[:1], row[2])
            for number, name in enumerate(asked)
            for facts in batches
            for row in facts
            if row[0] == name
        ]
        assert sorted(found.rows()) == sorted(row for row in rows if visible is None or row[2] >= visible)
        assert found.columns == [ASKED, "inference_id", "expiry_us"]


@settings(deadline=None, max_examples=60)
@given(st.lists(_FACTS, max_size=4), st.lists(st.integers(0, 11)))
def test_each_row_expires_once_however_the_watermark_moves(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Fact]], moments: list[int]
) -> None:
    state = filled(tmp_path_factory.mktemp("state"), batches)
    taken: list[tuple[int]] = []
    before = None
    for moment in [*sorted(moments), 12]:
        taken += state.expiring(before, moment, ["expiry_us"]).rows()
        state.forget(moment)
        before = moment
    assert sorted(taken) == sorted((fact[2],) for facts in batches for fact in facts)
    assert state.files() == []  # nothing is left, and no key was asked for


def test_rows_without_a_trace_are_not_found_by_one(tmp_path: Path) -> None:
    state = filled(tmp_path, [[("a", "t", 5), ("b", None, 5)]])
    hashes = hashed(pl.Series(["t"])).to_numpy()
    assert state.find("trace_hash", hashes, ["inference_id"], visible_from_us=None).rows() == [(0, "a")]


def test_what_lies_in_order_of_expiry_is_a_slice(tmp_path: Path) -> None:
    state = FamilyState(tmp_path, WAITS)
    rows = pl.DataFrame({"expiry_us": [3, 1, 2], "outcome_hash": [0, 0, 0], "outcome_number": [30, 10, 20]})
    state.add("w.arrow", rows.cast(dict(WAITS.columns)))  # type: ignore[arg-type]
    assert state.expiring(2, 3, ["outcome_number"]).rows() == [(20,)]
    assert state.expiring(None, 3, ["outcome_number"]).rows() == [(10,), (20,)]


def test_an_expiry_exactly_at_the_watermark_is_not_passed(tmp_path: Path) -> None:
    state = filled(tmp_path, [[("a", None, 5)]])
    hashes = hashed(pl.Series(["a"])).to_numpy()
    assert state.find("id_hash", hashes, ["inference_id"], visible_from_us=5).height == 1
    assert state.find("id_hash", hashes, ["inference_id"], visible_from_us=6).height == 0
    assert state.forget(5) == []
    assert [file.name for file in state.forget(6)] == ["0.arrow"]


def test_no_rows_no_file(tmp_path: Path) -> None:
    state = FamilyState(tmp_path, INFERENCES)
    assert state.add("x.arrow", inferences([])) is None
    assert list(tmp_path.iterdir()) == []
    assert state.find("id_hash", np.zeros(0, dtype=np.uint64), ["number"], visible_from_us=None).height == 0
