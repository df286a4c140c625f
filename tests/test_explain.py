"""What ``attribution explain`` prints: every line of arithmetic holds, and ends in the published figures."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from attribution.explain.words import rule_lines, shown
from tests.explained_folder import (
    REFUNDED,
    RULE,
    SUPPORT,
    change_manifest,
    inference,
    of_inference,
    of_outcome,
    publish,
    purchase,
    refund,
)
from tests.printed import evaluate, section, steps

# --- one outcome ---


def test_a_refunded_split_is_shown_from_event_to_credit(tmp_path: Path) -> None:
    text = of_outcome(publish(tmp_path, REFUNDED), "o1")
    assert section(text, "Outcome o1") == (
        "conversion of type purchase at 2026-03-02T10:00:00Z\n"
        "amount 100, currency USD, quantity 1\n"
        "names i1, i2, i3\n"
        "read from topic conversions, partition 0, file events.jsonl, offset 0, in commit 0"
    )
    assert section(text, "Reversals") == (
        "one counts from the outcome's time to 2026-05-01T10:00:00Z, both ends included (reversal_window 60d)\n"
        "r1: at 2026-03-05T10:00:00Z, takes amount 20: counts\n"
        "  read from topic reversals, partition 0, file events.jsonl, offset 0, in commit 0"
    )
    assert section(text, "Measure") == "amount = 100 − 20 = 80 USD"
    assert section(text, "Value") == (
        "use case reco: path i1, i2, i3\n"
        "  governed by reco/conversion/purchase/2026-01-01T00:00:00Z (rules/reco.toml, rule 1), "
        "in force for its last touch\n"
        "value for reco = round9(80 × 0.3) = 24 USD"
    )
    assert section(text, "Credits").split("\n")[:3] == [
        "value(i1) = round9(24 × 1/3) = 8 USD",
        "value(i2) = round9(24 × 2/3) − round9(24 × 1/3) = 8 USD",
        "value(i3) = round9(24 × 3/3) − round9(24 × 2/3) = 8 USD",
    ]
    assert section(text, "Reversed").split("\n")[0] == "reversed_value(i1) = 8 − 10 = -2 USD"
    assert section(text, "Result") == (
        "split over 3 of 3 known candidates\n"
        "amount credited and unattributed = 26.666666667 + 26.666666666 + 26.666666667 = 80 USD\n"
        "value credited and unattributed = 8 + 8 + 8 = 24 USD"
    )
    assert text.endswith("The published rows are equal to the recomputed ones.")
    steps(text)


def test_the_rule_is_quoted_line_by_line_from_the_copy_beside_the_tables(tmp_path: Path) -> None:
    out = publish(tmp_path, REFUNDED)
    shutil.rmtree(tmp_path / "rules")
    assert section(of_outcome(out, "o1"), "Rule reco/conversion/purchase/2026-01-01T00:00:00Z") == (
        "rules/reco.toml, lines 3 to 9\n"
        "3 | [[rule]]\n"
        "4 | effective_from = 2026-01-01T00:00:00Z\n"
        '5 | kind = "conversion"\n'
        '6 | type = "purchase"\n'
        '7 | lookback_window = "7d"\n'
        '8 | credit = "linear"\n'
        '9 | margin = "0.3"'
    )


def test_a_rule_block_ends_before_the_comment_of_the_next_one() -> None:
    text = 'use_case = "u"\n[[rule]]\na = 1\n\n# the next\n[["rule"]]\nb = 2\n'
    assert rule_lines(text, 1, 2) == [(2, "[[rule]]"), (3, "a = 1")]
    assert rule_lines(text, 2, 2) == [(6, '[["rule"]]'), (7, "b = 2")]


def test_a_rule_file_written_as_an_inline_list_is_named_without_lines() -> None:
    assert rule_lines('use_case = "u"\nrule = [{ a = 1 }]\n', 1, 1) == []


def test_time_decay_shows_lag_halvings_and_weight(tmp_path: Path) -> None:
    rule = RULE.replace('"linear"', '"time_decay"\nhalf_life = "1d"')
    events = {
        "inferences": [inference("i1", "2026-03-01T04:00:00Z"), inference("i2", "2026-03-02T10:00:00Z")],
        "conversions": [purchase("o1", "i1", "i2", amount="90", currency="USD")],
    }
    text = of_outcome(publish(tmp_path, events, rules={"reco": rule}), "o1")
    assert section(text, "Weights").split("\n")[:6] == [
        "use case reco: credit time_decay, half_life 86400000000 µs, p(x) is 2^-x in doubles",
        "lag(i1) = 108000000000 − 0 = 108000000000 µs",
        "halvings(i1) = floor(108000000000 / 86400000000) = 1",
        "p(21600000000 / 86400000000) is 0.8408964152537146",
        "W(i1) = floor(2^(40 − 1) × 0.8408964152537146 + 1/2) = 462287693163",
        "ΣW up to i1 = 0 + 462287693163 = 462287693163",
    ]
    assert steps(text)["W(i2)"] == 2**40


def test_a_weight_on_the_edge_of_rounding_is_shown_with_all_digits_of_its_double(tmp_path: Path) -> None:
    rule = RULE.replace('"linear"', '"time_decay"\nhalf_life = "1d"')
    events = {
        "inferences": [inference("i1", "2026-03-02T09:56:38.687Z"), inference("i2", "2026-03-02T10:00:00Z")],
        "conversions": [purchase("o1", "i1", "i2", amount="90", currency="USD")],
    }
    text = of_outcome(publish(tmp_path, events, rules={"reco": rule}), "o1")
    digits = "0.99838626252358153578825294971466064453125"
    assert f"W(i1) = floor(2^(40 − 0) × {digits} + 1/2) = 1097737304657" in text
    assert evaluate("floor(2^(40 − 0) × 0.9983862625235815 + 1/2)") == 1097737304656
    steps(text)


def test_a_wrong_line_of_arithmetic_would_be_found(tmp_path: Path) -> None:
    text = of_outcome(publish(tmp_path, REFUNDED), "o1")
    line = "value(i1) = round9(24 × 1/3) = 8 USD"
    assert line in text
    with pytest.raises(AssertionError):
        steps(text.replace(line, "value(i1) = round9(24 × 1/3) = 8.000000001 USD"))


def test_shares_and_caps_are_shown_over_use_cases(tmp_path: Path) -> None:
    rules = {"reco": RULE + 'share = "0.5"\n', "support": RULE + 'max_value = "5"\n'}
    events = {
        "inferences": [inference("i1"), inference("i2", use_case="support")],
        "conversions": [purchase("o1", "i1", "i2", amount="100", currency="USD")],
    }
    text = of_outcome(publish(tmp_path, events, rules=rules), "o1")
    assert "full value for support = round9(100 × 0.3) = 30 USD" in text
    assert "value for support = max(-5, min(5, 30)) = 5 USD" in text
    assert section(text, "Over use cases").split("\n")[:5] == [
        "Σ share = 0.5 + 1 = 1.5",
        "Σ share × value up to reco = 0.5 × 30 = 15",
        "Σ share × value up to support = 15 + 1 × 5 = 20",
        "value of reco = round9(15 / 1.5) = 10 USD",
        "value of support = round9(20 / 1.5) − round9(15 / 1.5) = 3.333333333 USD",
    ]
    assert section(text, "Over use cases").split("\n")[-1] == (
        "capped value = round9(45 / 1.5) − round9(20 / 1.5) = 16.666666667 USD"
    )
    assert steps(text)["published value(capped)"] == Fraction("16.666666667")


def test_saved_time_is_shown_from_the_rules_baseline_to_money(tmp_path: Path) -> None:
    events = {
        "inferences": [inference("i1", use_case="support")],
        "time_saved": [
            {
                "event_id": "s1",
                "event_time": "2026-03-01T12:00:00Z",
                "type": "draft",
                "actual_seconds": 30,
                "role": "agent",
                "inference_id": "i1",
            }
        ],
        "reversals": [refund("r1", "s1", seconds=80)],
    }
    text = of_outcome(publish(tmp_path, events, rules={"support": SUPPORT}), "s1")
    assert section(text, "Value").split("\n")[2:] == [
        "own seconds for support = 510 − 30 = 480 s",
        "net seconds for support = 480 − 80 = 400 s",
        "full value for support = round9(round9(400 × 31.5 / 3600) × 0.6) = 2.1 USD",
        "seconds for support = max(-300, min(300, 400)) = 300 s",
        "value for support = round9(round9(300 × 31.5 / 3600) × 0.6) = 1.575 USD",
    ]
    assert steps(text)["capped seconds"] == 100


def test_the_rate_is_named_with_its_day(tmp_path: Path) -> None:
    events = {
        "inferences": [inference("i1")],
        "conversions": [purchase("o1", "i1", amount="50", currency="EUR")],
    }
    text = of_outcome(publish(tmp_path, events, fx="2026-02-27,EUR,1.1\n2026-03-02,EUR,2\n"), "o1")
    assert section(text, "Exchange rate") == (
        "1.1 USD per EUR, of 2026-02-27\n"
        "used is the newest rate dated before 2026-03-02, if not older than fx_max_age, 7d"
    )
    assert section(text, "Measure") == "own amount = 50 EUR\namount = round9(50 × 1.1) = 55 USD"


@pytest.mark.parametrize(
    ("fx", "line"),
    [
        ("2026-02-22,EUR,1.1\n", "none: the newest before 2026-03-02 is of 2026-02-22, 8 days older"),
        ("2026-03-02,EUR,1.1\n", "none: fx.csv has no rate of EUR dated before 2026-03-02"),
    ],
)
def test_a_missing_rate_is_told_with_its_cause(tmp_path: Path, fx: str, line: str) -> None:
    events = {
        "inferences": [inference("i1")],
        "conversions": [purchase("o1", "i1", amount="50", currency="EUR")],
    }
    text = of_outcome(publish(tmp_path, events, fx=fx), "o1")
    assert section(text, "Exchange rate").split("\n")[0] == line
    assert section(text, "Result") == (
        "unattributed, no_fx_rate: its value depends on an amount for which there is no exchange rate\n"
        "it would be otherwise if fx.csv has a rate of its currency dated before its day and at most fx_max_age older"
    )


@pytest.mark.parametrize(
    ("time", "verdict"),
    [
        ("2026-03-08T10:00:00Z", "eligible"),
        ("2026-03-08T10:00:00.000001Z", "0.000001 s after it"),
        ("2026-03-01T10:00:00Z", "eligible"),
        ("2026-03-01T09:59:59.999999Z", "0.000001 s before it"),
    ],
)
def test_a_candidate_is_told_by_how_much_it_missed_the_window(tmp_path: Path, time: str, verdict: str) -> None:
    longer = RULE.replace('"purchase"', '"visit"').replace('"7d"', '"9d"\nearly_tolerance = "1h"')
    events = {
        "inferences": [inference("i1")],
        "conversions": [purchase("o1", "i1", time=time, amount="1", currency="USD")],
    }
    text = of_outcome(publish(tmp_path, events, rules={"reco": RULE + longer}), "o1")
    last = section(text, "Candidates").split("\n")[-1].strip()
    assert last.endswith(verdict)
    if verdict != "eligible":
        assert last == (
            "not eligible: outside_window: the rule's window is from 2026-03-01T10:00:00Z to 2026-03-08T10:00:00Z, "
            f"and the outcome is {verdict}"
        )
        assert "it would be otherwise if it happens between" in section(text, "Result")


@pytest.mark.parametrize(
    ("touch", "reason"),
    [
        ({"status": "failed"}, "failed_inference: its status is failed"),
        ({"use_case": "other"}, "no_rule: its use case has no rule for this kind and type in force at its time"),
        ({"arm": "holdout"}, "holdout: its arm is holdout"),
        ({"time": "2026-01-09T10:00:00Z"}, "no_open_inference: the widest window in force reaches from "),
    ],
)
def test_each_rejected_candidate_stands_beside_the_others_with_its_reason(
    tmp_path: Path, touch: dict[str, str], reason: str
) -> None:
    events = {
        "inferences": [inference("i1"), inference("i2", **touch)],
        "conversions": [purchase("o1", "i1", "i2", "i3", amount="1", currency="USD")],
    }
    text = section(of_outcome(publish(tmp_path, events), "o1"), "Candidates")
    assert f"  not eligible: {reason}" in text
    assert "i3: unknown: the table has no such inference" in text
    assert text.count("eligible\n") + text.endswith("eligible") == 1


def test_a_rule_that_does_not_join_by_trace_is_named(tmp_path: Path) -> None:
    events = {
        "inferences": [inference("i1", trace_id="t")],
        "conversions": [purchase("o1", trace_id="t", amount="1", currency="USD")],
    }
    text = of_outcome(publish(tmp_path, events), "o1")
    assert 'reco/conversion/purchase/2026-01-01T00:00:00Z has join = "inference", and the outcome names a trace' in text


def test_a_path_too_long_is_told_with_the_limit(tmp_path: Path) -> None:
    rule = RULE.replace('credit = "linear"', 'credit = "linear"\njoin = "trace"\nmax_touches = 1')
    events = {
        "inferences": [inference("i1", trace_id="t"), inference("i2", trace_id="t")],
        "conversions": [purchase("o1", trace_id="t", amount="1", currency="USD")],
    }
    out = publish(tmp_path, events, rules={"reco": rule})
    assert section(of_outcome(out, "o1"), "Result").split("\n")[1] == (
        "use case reco: 2 touches, max_touches 1 of reco/conversion/purchase/2026-01-01T00:00:00Z "
        "(rules/reco.toml, rule 1)"
    )
    assert "no credit: the outcome is unattributed, too_many_touches: " in of_inference(out, "i1")


@pytest.mark.parametrize(
    ("reversal", "cause"),
    [
        ({"time": "2026-03-02T09:59:59.999999Z"}, "it is older than the outcome"),
        ({"time": "2026-05-01T10:00:00.000001Z"}, "it is later than the reversal window"),
        ({"amount": "1", "currency": "EUR"}, "it is in EUR, the outcome in USD"),
        ({"seconds": 5}, "a conversion has no seconds"),
    ],
)
def test_a_reversal_that_does_not_count_is_told_why(tmp_path: Path, reversal: dict[str, Any], cause: str) -> None:
    events = REFUNDED | {"reversals": [refund("r1", "o1", **reversal)]}
    text = of_outcome(publish(tmp_path, events), "o1")
    assert f"does not count: {cause}" in section(text, "Reversals")
    assert "unattributed r1, reversal_unmatched" in section(text, "Published")
    assert section(text, "Measure") == "amount = 100 USD"


def test_a_holdout_is_shown_with_what_it_would_have_earned(tmp_path: Path) -> None:
    events = {
        "inferences": [inference("i1", arm="holdout"), inference("i2", arm="holdout")],
        "conversions": [purchase("o1", "i1", "i2", amount="1", currency="USD")],
    }
    out = publish(tmp_path, events)
    text = of_outcome(out, "o1")
    assert section(text, "What the holdout would have earned").split("\n")[0] == (
        "value(i1) = round9(0.3 × 1/2) = 0.15 USD"
    )
    assert steps(text)["published value(i1, holdout)"] == Fraction("0.15")
    assert "holdout: it would have earned value 0.15" in of_inference(out, "i1")


# --- one inference ---


def test_an_inference_is_shown_with_every_outcome_that_names_it_and_their_sum(tmp_path: Path) -> None:
    events = REFUNDED | {
        "inferences": [inference("i1", trace_id="t"), inference("i2"), inference("i3")],
        "conversions": [
            *REFUNDED["conversions"],
            purchase("o2", "i1", time="2026-03-03T00:00:00Z", amount="10", currency="USD"),
            purchase("o3", "i2", amount="10", currency="USD"),
            purchase("o4", trace_id="t", amount="10", currency="USD"),
        ],
    }
    text = of_inference(publish(tmp_path, events), "i1")
    named = section(text, "Outcomes that name it: 3")
    assert named.split("\n")[0] == "o1: conversion of type purchase at 2026-03-02T10:00:00Z, by id"
    assert "  value from o1 = 8 USD" in named
    assert "o4: conversion of type purchase at 2026-03-02T10:00:00Z, by trace t" in named
    assert "  no credit: not eligible: no_rule" in named
    assert "o3" not in text
    assert section(text, "Sum") == (
        "outcome_count = 2\n"
        "conversion_value = 8 + 3 = 11 USD\n"
        "time_saved_value = 0 USD\n"
        "time_saved_seconds = 0 s\n"
        "attributed_value = 11 + 0 = 11 USD\n"
        "reversed_value = -2 + 0 = -2 USD"
    )
    assert steps(text)["published attributed_value"] == 11
    assert text.endswith("The published rows are equal to the recomputed ones.")


@pytest.mark.parametrize(
    ("watermark", "verdict"),
    [("2026-03-09T10:00:00.000000Z", "not settled"), ("2026-03-09T10:00:00.000001Z", "settled")],
)
def test_an_inference_settles_when_the_watermark_has_passed_its_windows(
    tmp_path: Path, watermark: str, verdict: str
) -> None:
    out = publish(tmp_path, REFUNDED)
    change_manifest(out, watermark=watermark)
    windows = section(of_inference(out, "i1"), "Windows")
    assert "open for outcomes from 2026-03-01T10:00:00Z to 2026-03-08T10:00:00Z, both ends included" in windows
    assert "it settles when the watermark passes 2026-03-09T10:00:00Z (allowed_lateness 1d)" in windows
    assert windows.endswith(f": {verdict}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("order-17", "order-17"),
        ("a b", '"a b"'),
        ("a = 1", '"a = 1"'),
        ('"', '"\\""'),
        ("a\nb", '"a\\nb"'),
        ("\x1b[2J", '"\\u001b[2J"'),
        ("\u202e1", '"\\u202e1"'),
        ("😀", '"😀"'),
    ],
)
def test_an_id_cannot_be_misread_or_move_the_cursor(text: str, expected: str) -> None:
    assert shown(text) == expected
