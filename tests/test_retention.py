"""How long events are kept and outcomes wait: edges exactly on, inside and outside."""

from __future__ import annotations

import numpy as np
import polars as pl

from attribution.in_force import RulesInForce
from attribution.retention import Retention, kept_touches
from attribution.rules import combine, parse_rules
from schemas.events import WORD

DAY = 86_400_000_000
START = 1_767_225_600_000_000  # 2026-01-01
RULES = combine(
    [
        parse_rules(
            f"""use_case = "{use_case}"
[[rule]]
effective_from = 2026-01-01T00:00:00Z
kind = "conversion"
type = "*"
lookback_window = "{lookback}"
early_tolerance = "{early}"
credit = "last"
""",
            f"{use_case}.toml",
        )
        for use_case, lookback, early in (("short", "1d", "2d"), ("long", "7d", "0s"))
    ]
)
RETENTION = Retention(RulesInForce(RULES), reversal_window_us=3 * DAY, allowed_lateness_us=DAY)


def times(*days: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([START + day * DAY for day in days], dtype=np.int64)


def words(*names: str) -> pl.Series:
    return pl.Series(names, dtype=WORD)


def test_an_inference_is_kept_for_its_own_use_cases_widest_window_and_an_unknown_one_for_the_pipelines() -> None:
    found = RETENTION.inference_expiry_us(words("short", "long", "none"), times(0, 0, 0))
    assert found.tolist() == times(2, 8, 8).tolist()


def test_before_every_rule_a_window_is_nothing() -> None:
    assert RETENTION.inference_expiry_us(words("short"), times(-1)).tolist() == times(0).tolist()


def test_an_outcome_is_kept_for_its_reversals_and_a_reversal_as_long_as_its_outcome() -> None:
    assert RETENTION.outcome_expiry_us(times(0)).tolist() == times(4).tolist()
    assert RETENTION.reversal_expiry_us(times(2)).tolist() == times(3).tolist()
    assert RETENTION.reversal_expiry_us(times(2, 9), times(4, 4)).tolist() == times(4, 10).tolist()


def test_an_outcome_waits_for_the_longest_early_tolerance() -> None:
    assert RETENTION.due_us(times(0)).tolist() == times(3).tolist()


def test_open_at_both_ends_of_the_window_and_not_a_microsecond_beyond() -> None:
    outcomes = np.concatenate([times(-2), times(-2) - 1, times(1), times(1) + 1])
    found = RETENTION.is_open(words(*["short"] * 4), times(0, 0, 0, 0), outcomes)
    assert found.tolist() == [True, False, True, False]


def test_every_touch_is_kept_up_to_one_more_than_are_split() -> None:
    outcome = np.repeat(np.array([3, 7], dtype=np.int64), [10_000, 10_003])
    keep = kept_touches(outcome, np.zeros_like(outcome))
    assert keep[:20_001].all()
    assert not keep[20_001:].any()


def test_of_too_many_touches_one_of_another_use_case_is_kept() -> None:
    outcome = np.zeros(10_005, dtype=np.int64)
    use_case = np.zeros(10_005, dtype=np.int64)
    use_case[10_003] = 1
    keep = kept_touches(outcome, use_case)
    assert keep.sum() == 10_001
    assert keep[10_003]
    use_case[5] = 1  # one is among them already
    assert np.array_equal(kept_touches(outcome, use_case), np.arange(10_005) <= 10_000)


def test_no_touches_keep_none() -> None:
    assert kept_touches(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)).tolist() == []
