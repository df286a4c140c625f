"""Watermark and lateness follow from event times alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attribution.event_time import Progress, too_late, watermark


def test_the_slowest_partition_that_is_not_idle_holds_the_watermark() -> None:
    partitions = [Progress(9, is_idle=False), Progress(5, is_idle=False), Progress(2, is_idle=True)]
    assert watermark(partitions, None) == 5


def test_all_idle_the_largest_event_time_read_anywhere() -> None:
    assert watermark([Progress(9), Progress(5), Progress()], 3) == 9


def test_a_partition_that_wakes_with_old_events_does_not_move_it_back() -> None:
    assert watermark([Progress(9, is_idle=False), Progress(4, is_idle=False)], 7) == 7


def test_a_partition_with_records_but_no_event_time_holds_it() -> None:
    assert watermark([Progress(9, is_idle=False), Progress(None, is_idle=False)], None) is None
    assert watermark([Progress(9, is_idle=False), Progress(None, is_idle=False)], 3) == 3


def test_nothing_read_nothing_known() -> None:
    assert watermark([Progress(), Progress()], None) is None
    assert watermark([], None) is None


def test_exactly_the_allowed_lateness_is_in_time_and_a_microsecond_more_is_not() -> None:
    late, newest = too_late(np.array([100, 90, 89, 101, 91, 90]), None, 10)
    assert late.tolist() == [False, False, True, False, False, True]
    assert newest == 101


def test_what_an_earlier_batch_read_counts() -> None:
    late, newest = too_late(np.array([89, 90]), 100, 10)
    assert late.tolist() == [True, False]
    assert newest == 100


def test_no_records_change_nothing() -> None:
    late, newest = too_late(np.array([], dtype=np.int64), 7, 10)
    assert late.tolist() == []
    assert newest == 7


@given(st.lists(st.integers(0, 100)), st.integers(0, 20), st.integers(0, 30))
def test_how_records_are_cut_into_batches_does_not_matter(times: list[int], lateness: int, cut: int) -> None:
    whole, newest = too_late(np.array(times, dtype=np.int64), None, lateness)
    first, between = too_late(np.array(times[:cut], dtype=np.int64), None, lateness)
    rest, last = too_late(np.array(times[cut:], dtype=np.int64), between, lateness)
    assert [*first, *rest] == whole.tolist()
    assert last == newest
