"""In proportion to what a pool is divided: when a driver works, and what one weighs that lacks it."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.cost_model import CostModel, CostType, Driver, LineRule, Scope
from attribution.division import Costed
from attribution.ratio import Inputs, ratio_report
from attribution.shares import even_shares, proportion, weighted_shares
from schemas.errors import ConfigurationError
from tests.published import Rows, at, inference
from tests.ratio_frames import NO_RATES, FrameSource, bill_of, view_of

INT = pl.Int128()
UNIT = 10**12


def divided(inferences: Rows, pool: int, *drivers: Driver, min_share: str = "0.99") -> list[int]:
    """What each inference of 2026-03-02 gets of a serving bill, in units; each has the id i00, i01, …"""
    rows = [row | {"inference_id": f"i{number:02}", "event_time": at(1)} for number, row in enumerate(inferences)]
    source, view = FrameSource(inferences=rows), view_of()
    rule = LineRule("x", {}, CostType.SERVING, Scope(), drivers)
    bill = bill_of({"cost": pool, "start": at(0), "end": at(0, 3), "rule": 0})
    model = CostModel(Fraction(min_share), lines=(rule,))
    found: list[int] = []

    def observe(_day: date, costed: Costed) -> None:
        found.extend(costed.frame["serving"])

    ratio_report(Inputs(model, [bill], source.counted(view), NO_RATES, source), view, observe)
    return found


def of(tokens: int | None, **more: Any) -> dict[str, Any]:
    return inference(1, input_tokens=tokens, output_tokens=None, cost=None, **more)


def test_a_driver_works_where_enough_of_the_served_requests_have_it() -> None:
    half = [of(3), of(None)]
    assert divided(half, 12, Driver.TOKENS, min_share="0.5") == [6, 6]  # the other counts the mean, 3
    assert divided([of(3), of(1), of(None)], 12, Driver.TOKENS, min_share="0.666666666") == [6, 2, 4]
    assert divided([of(3), of(1), of(None)], 12, Driver.TOKENS, min_share="0.666666667") == [4, 4, 4]


@pytest.mark.parametrize(("count", "is_by_tokens"), [(19, False), (20, True)])
def test_all_but_one_of_at_least_twenty_will_do(count: int, *, is_by_tokens: bool) -> None:
    rows = [of(4), of(None), *(of(2) for _ in range(count - 2))]
    parts = divided(rows, 1000 * count, Driver.TOKENS, min_share="1")
    assert (parts[0] > parts[2]) == is_by_tokens
    assert sum(parts) == 1000 * count


def test_two_that_lack_it_are_too_many_even_of_twenty() -> None:
    rows = [of(4), of(None), of(None), *(of(2) for _ in range(17))]
    assert divided(rows, 20, Driver.TOKENS, min_share="1") == [1] * 20


def test_the_first_driver_that_works_is_taken_and_requests_end_the_list() -> None:
    rows = [of(None, compute_ms=1), of(None, compute_ms=3)]
    assert divided(rows, 8, Driver.TOKENS, Driver.COMPUTE_MS) == [2, 6]
    assert divided(rows, 8, Driver.TOKENS, Driver.ESTIMATE) == [4, 4]
    assert divided(rows, 8, Driver.REQUESTS, Driver.COMPUTE_MS) == [4, 4]


def test_a_driver_whose_sum_is_nothing_does_not_work() -> None:
    assert divided([of(0), of(0)], 8, Driver.TOKENS) == [4, 4]
    assert divided([of(0), of(1)], 8, Driver.TOKENS) == [0, 8]


def test_failed_and_holdout_inferences_that_lack_it_count_nothing_and_do_not_hinder_it() -> None:
    rows = [of(3), of(None, status="failed"), of(None, arm="holdout"), of(1, status="failed"), of(2, arm="holdout")]
    assert divided(rows, 6, Driver.TOKENS) == [3, 0, 0, 1, 2]


def test_a_day_of_failed_inferences_alone_is_divided_by_what_they_have() -> None:
    assert divided([of(3, status="failed"), of(None, status="failed")], 6, Driver.TOKENS) == [6, 0]
    assert divided([of(None, status="failed"), of(None, arm="holdout")], 6, Driver.TOKENS) == [3, 3]


def test_output_tokens_count_only_beside_input_tokens() -> None:
    rows = [inference(1, input_tokens=1, output_tokens=2), inference(1, input_tokens=1, output_tokens=None)]
    assert divided(rows, 4, Driver.TOKENS) == [3, 1]
    rows = [inference(1, input_tokens=None, output_tokens=9), inference(1, input_tokens=1, output_tokens=0)]
    assert divided(rows, 4, Driver.TOKENS) == [2, 2]


def test_a_sum_of_weights_or_a_pool_out_of_bounds_is_refused_by_line_and_day() -> None:
    large = [of(2**53 - 1), of(10**16 - 2**53)]
    assert sum(divided([of(2**53 - 1), of(10**16 - 2**53)], 6, Driver.TOKENS)) == 6
    with pytest.raises(ConfigurationError, match='line "x": 2026-03-02: tokens: expected a sum'):
        divided([*large, of(1)], 6, Driver.TOKENS)
    assert sum(divided([of(1)], 10**9 * UNIT - 1, Driver.TOKENS)) == 10**9 * UNIT - 1
    for pool in (10**9 * UNIT, -(10**9) * UNIT):
        with pytest.raises(ConfigurationError, match='line "x": 2026-03-02: expected a day'):
            divided([of(1)], pool, Driver.TOKENS)


WEIGHTS = st.lists(st.integers(0, 3) | st.integers(0, 10**14), min_size=1, max_size=8)


@given(st.integers(-(10**21), 10**21) | st.integers(-9, 9), WEIGHTS, st.integers(0, 10**14), st.integers(0, 9))
def test_shares_are_steps_of_the_rounded_sum_and_add_up_to_it(
    total: int, weights: list[int], before: int, after: int
) -> None:
    whole = before + sum(weights) + after
    if whole == 0:
        return
    upto = [before]
    for weight in weights:
        upto.append(upto[-1] + weight)
    rounded = [round(Fraction(total * part, whole)) for part in upto]
    expected = [after_ - before_ for before_, after_ in pairwise(rounded)]
    assert weighted_shares(total, pl.Series(weights, dtype=INT), whole, before).to_list() == expected
    if before == after == 0:
        assert sum(expected) == total


@given(st.integers(-(10**36), 10**36), st.integers(1, 50))
def test_even_shares_differ_by_a_unit_at_most(total: int, count: int) -> None:
    shares = even_shares(total, count, count)
    assert (sum(shares), max(shares) - min(shares)) == (total, int(total % count != 0))


@given(st.integers(-(10**33), 10**33), st.integers(1, 6 * 10**15), st.integers(0, 6 * 10**15))
def test_a_proportion_is_exact_for_the_longest_charge_period(total: int, whole: int, part: int) -> None:
    part = min(part, whole)
    found = proportion(*(pl.Series([number], dtype=INT) for number in (total, part, whole)))
    assert found.item() == round(Fraction(total * part, whole))
