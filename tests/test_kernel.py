"""The kernel against the judge, to the unit, on generated cases.

A case costs the kernel some 80 ms, whatever its size: the fixed price of calls that are made for millions of rows.
"""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.cases import Case, case_strategy, random_case
from tests.frames import run_kernel
from tests.reference import attribute

SEEDS_PER_TEST = 25


def assert_same(case: Case) -> None:
    expected, found = attribute(**vars(case)), run_kernel(case)
    assert found.credits == expected.credits
    assert found.unattributed == expected.unattributed
    assert found.attributed == expected.attributed
    assert sorted(found.conflicting) == sorted(expected.conflicting)
    assert found.duplicates == expected.duplicates


def check_block(block: int) -> None:
    first = block * SEEDS_PER_TEST
    for seed in range(first, first + SEEDS_PER_TEST):
        assert_same(random_case(seed, size=1 + seed % 60))


@pytest.mark.parametrize("block", range(8))
def test_the_kernel_agrees_with_the_judge_to_the_unit(block: int) -> None:
    check_block(block)


@pytest.mark.soak
@pytest.mark.parametrize("block", range(8, 170))
def test_the_kernel_agrees_with_the_judge_on_thousands_of_cases(block: int) -> None:
    check_block(block)


@given(case_strategy())
def test_the_kernel_agrees_with_the_judge_on_cases_that_shrink(case: Case) -> None:
    assert_same(case)
