"""The kernel against the reference model, on thousands of generated cases."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.cases import Case, case_strategy, random_case
from tests.frames import run_kernel
from tests.reference import attribute


def assert_same(case: Case) -> None:
    expected = attribute(**vars(case))
    credits, unattributed, attributed, conflicting, duplicates = run_kernel(case)
    assert credits == expected.credits
    assert unattributed == expected.unattributed
    assert attributed == expected.attributed
    assert conflicting == len(expected.conflicting)
    assert duplicates == expected.duplicates


@pytest.mark.parametrize("block", range(20))
def test_the_kernel_agrees_with_the_reference_to_the_unit(block: int) -> None:
    for seed in range(block * 40, block * 40 + 40):
        assert_same(random_case(seed, size=1 + seed % 60))


@given(case_strategy())
def test_the_kernel_agrees_with_the_reference_on_cases_that_shrink(case: Case) -> None:
    assert_same(case)
