"""Filters: never a key denied that is there, few admitted that are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.live.filters import Filter, bits_of

_HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=200)


def ascending(hashes: list[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.sort(np.array(hashes, dtype=np.uint64))


@given(_HASHES)
def test_a_key_that_is_there_is_never_denied(hashes: list[int]) -> None:
    keys = ascending(hashes)
    assert Filter.of(keys).may_hold(keys, bits_of(keys)).all()


@pytest.mark.parametrize("size", [1_000, 100_000])
def test_of_keys_that_are_not_there_fewer_than_one_in_fifty_is_admitted(size: int) -> None:
    keys = np.sort(np.random.default_rng(1).integers(0, 2**64, size, dtype=np.uint64))
    others = np.random.default_rng(2).integers(0, 2**64, 200_000, dtype=np.uint64)
    assert Filter.of(keys).may_hold(others, bits_of(others)).mean() < 0.02


def test_an_empty_filter_holds_nothing() -> None:
    keys = ascending([0, 1, 2**64 - 1])
    assert not Filter.of(ascending([])).may_hold(keys, bits_of(keys)).any()
