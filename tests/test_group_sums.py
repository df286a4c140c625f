"""Sums per group that come in parts: the same, however many parts there are, and exact past 128 bits."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution import group_sums
from attribution.group_sums import DistinctOutcomes, GroupNumbers, GroupSums, RequestValues, halves, whole

INT = pl.Int128()
PARTS = st.lists(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(-(10**37), 10**37)), max_size=4))


@pytest.mark.parametrize("rows_kept", [0, 3, 1000])
@given(PARTS)
def test_sums_of_many_parts_are_exact(rows_kept: int, parts: list[list[tuple[str | None, int]]]) -> None:
    expected: Counter[str | None] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_sums, "_ROWS_KEPT", rows_kept)
        sums = GroupSums(["key"])
        for part in parts:
            frame = pl.DataFrame(part, schema={"key": pl.String(), "cost": INT}, orient="row")
            sums.add(frame.group_by("key").agg(halves("cost", "cost")))
            for key, cost in part:
                expected[key] += cost
        found = {row["key"]: whole(row, "cost") for row in sums.rows()}
    assert found == {key: expected[key] for part in parts for key, _ in part}


def test_groups_keep_their_number_from_slice_to_slice_and_null_is_a_group_of_its_own() -> None:
    numbers = GroupNumbers(["key"])
    assert numbers.numbers(pl.DataFrame({"key": ["b", None, "b"]})).to_list() == [0, 1, 0]
    assert numbers.numbers(pl.DataFrame({"key": [None, "a", "b"]})).to_list() == [1, 2, 0]
    assert numbers.groups() == [("b",), (None,), ("a",)]


def test_an_outcome_of_several_slices_counts_once_in_a_group_and_once_in_a_larger_one() -> None:
    outcomes = DistinctOutcomes()
    outcomes.add(pl.Series([0, 0, 1], dtype=pl.UInt32), pl.Series(["o1", "o1", "o1"]))
    outcomes.add(pl.Series([0, 1, 2], dtype=pl.UInt32), pl.Series(["o1", "o2", "o2"]))
    assert outcomes.counts(pl.Series([0, 1, 2], dtype=pl.UInt32)) == {0: 1, 1: 2, 2: 1}
    assert outcomes.counts(pl.Series([0, 0, 1], dtype=pl.UInt32)) == {0: 2, 1: 1}


@pytest.mark.parametrize("large", [5, 2**63 - 1, 2**63, 10**30])
def test_the_best_of_several_slices_are_found_however_large_their_value(large: int) -> None:
    values = RequestValues()
    values.add(pl.Series([0, 0, 1], dtype=pl.UInt32), pl.Series([1, 0, -3], dtype=INT))
    values.add(pl.Series([0, 1], dtype=pl.UInt32), pl.Series([large, 4], dtype=INT))
    of_group = pl.Series([0, 1], dtype=pl.UInt32)
    assert values.concentration(of_group, [200, 100]) == {0: (2, large + 1), 1: (2, 4)}
    assert values.concentration(of_group, [3, 2]) == {0: (2, large), 1: (2, 4)}
    assert values.concentration(pl.Series([0, 0], dtype=pl.UInt32), [5]) == {0: (4, max(large, 4))}
