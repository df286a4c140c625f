"""The judge's own tests: figures worked by hand, edges of windows and bounds."""

from __future__ import annotations

import pytest

from tests.plain_events import (
    EUR,
    HOUR,
    MONDAY,
    Event,
    credited,
    inference,
    outcome,
    reasons,
    reversal,
    rule,
    run,
    sale,
    u,
)
from tests.reference import Result
from tests.reference_parts import DAY_US, times

# --- figures of the contract ---


def worked_example(*, with_refund: bool) -> Result:
    """The events of the worked example: i1 at 01:00 to i10 at 10:00 on 2026-03-02."""
    inferences = [inference(f"i{n}", MONDAY + n * HOUR) for n in range(1, 11)]
    inferences[8]["status"] = "failed"
    inferences[9]["arm"] = "holdout"
    conversions = [
        sale("o1", ["i1", "i2"], "100"),
        sale("o2", ["i3"], "50", currency="EUR"),
        sale("o3", ["i10"], "40"),
    ]
    refund = [reversal("r1", "o1", MONDAY + 20 * DAY_US, amount=u("20"))] if with_refund else []
    return run(inferences, conversions, [rule(margin=u("0.30"))], reversals=refund, fx=[EUR])


def test_worked_example_credits_12_12_and_16_50_and_a_would_be_holdout_of_12() -> None:
    result = worked_example(with_refund=True)
    assert credited(result) == {"i1": u("12.00"), "i2": u("12.00"), "i3": u("16.50")}
    assert credited(result, "fx_rate") == {"i1": None, "i2": None, "i3": u("1.10")}
    (holdout,) = result.unattributed
    assert (holdout["outcome_id"], holdout["inference_id"], holdout["reason"]) == ("o3", "i10", "holdout")
    assert (holdout["amount"], holdout["value"], holdout["use_case"]) == (u("40"), u("12.00"), "reco")
    assert sum(row["attributed_value"] for row in result.attributed) == u("40.50")
    assert sum(row["attributed_value"] for row in worked_example(with_refund=False).attributed) == u("46.50")
    assert len(result.attributed) == 10


def test_ledger_example_a_refund_then_a_third_touch() -> None:
    touches = [inference(f"i{n}", MONDAY + n) for n in (1, 2, 3)]
    conversions = [sale("o1", ["i1", "i2", "i3"], "100")]
    rules = [rule(margin=u("0.3"))]
    refund = [reversal("r1", "o1", amount=u("20"))]
    assert credited(run(touches[:2], conversions, rules)) == {"i1": u("15"), "i2": u("15")}
    refunded = run(touches[:2], conversions, rules, reversals=refund)
    assert credited(refunded) == {"i1": u("12"), "i2": u("12")}
    assert credited(refunded, "reversed_value") == {"i1": u("-3"), "i2": u("-3")}
    late = run(touches, conversions, rules, reversals=refund)
    assert credited(late) == {"i1": u("8"), "i2": u("8"), "i3": u("8")}
    assert credited(late, "reversed_value") == {"i1": u("-2"), "i2": u("-2"), "i3": u("-2")}


# --- steps 1 to 4 ---


def test_first_read_counts_equal_copies_are_counted_others_refused() -> None:
    first = sale("o", ["i"], "5") | {"position": ("conversions", 0, "a", 4)}
    copy = sale("o", ["i", "i"], "5", quantity=u("1"), attributes={}) | {"position": ("conversions", 0, "b", 0)}
    other = sale("o", ["i"], "6") | {"position": ("conversions", 0, "a", 10)}
    timed = outcome("o", ["i"], seconds=u("1")) | {"position": ("time_saved", 0, "a", 0)}
    result = run([inference("i"), inference("i", status="served")], [other, copy, first], time_saved=[timed])
    assert credited(result) == {"i": u("5")}
    assert result.duplicates == 2
    assert result.conflicting == [
        ("conversion", "o", ("conversions", 0, "a", 10)),
        ("time_saved", "o", ("time_saved", 0, "a", 0)),
    ]


@pytest.mark.parametrize(
    ("offset", "expected"),
    [(-HOUR - 1, 0), (-HOUR, 1), (0, 1), (7 * DAY_US - 1, 1), (7 * DAY_US, 1), (7 * DAY_US + 1, 0)],
)
def test_both_ends_of_the_window_are_inclusive(offset: int, expected: int) -> None:
    result = run([inference("i")], [sale("o", ["i"], "1", MONDAY + offset)], [rule(early_tolerance=HOUR)])
    assert len(result.credits) == expected
    assert [row["reason"] for row in result.unattributed] == ["no_open_inference"] * (1 - expected)


def test_widest_window_of_the_use_case_keeps_an_inference_open() -> None:
    rules = [rule(lookback_window=HOUR), rule(type_="other", lookback_window=DAY_US, early_tolerance=HOUR)]
    for offset, reason in {
        HOUR + 1: "outside_window",
        DAY_US: "outside_window",
        DAY_US + 1: "no_open_inference",
        -HOUR: "outside_window",
        -HOUR - 1: "no_open_inference",
    }.items():
        assert reasons(run([inference("i")], [sale("o", ["i"], "1", MONDAY + offset)], rules)) == [reason]


def test_without_rules_of_its_own_an_inference_is_open_as_long_as_any_rule_says() -> None:
    touch = inference("i", use_case="ruleless")
    assert reasons(run([touch], [sale("o", ["i"], "1", MONDAY + 7 * DAY_US)])) == ["no_rule"]
    assert reasons(run([touch], [sale("o", ["i"], "1", MONDAY + 7 * DAY_US + 1)])) == ["no_open_inference"]
    assert reasons(run([touch], [sale("o", ["i"], "1", MONDAY)], [])) == ["no_rule"]
    assert reasons(run([touch], [sale("o", ["i"], "1", MONDAY + 1)], [])) == ["no_open_inference"]
    later = [rule(effective_from=MONDAY + 1)]
    assert reasons(run([touch], [sale("o", ["i"], "1", MONDAY + 1)], later)) == ["no_open_inference"]


def test_each_filter_gives_its_reason() -> None:
    at = [rule(), rule(use_case="traced", join="trace", max_touches=2)]
    touch = inference("i", trace_id="t")
    assert reasons(run([touch], [sale("o", None, "1")], at)) == ["no_inference_id"]
    assert reasons(run([touch], [sale("o", ["unknown"], "1")], at)) == ["no_open_inference"]
    assert reasons(run([touch], [sale("o", "t", "1")], at)) == ["no_rule"]
    assert reasons(run([touch | {"status": "failed"}], [sale("o", ["i"], "1")], at)) == ["failed_inference"]
    assert reasons(run([touch], [outcome("o", ["i"])], at)) == ["no_valuation"]
    actual = outcome("o", ["i"], actual_seconds=u("5"))
    assert reasons(run([touch], time_saved=[actual])) == ["no_valuation"]
    assert reasons(run([touch | {"arm": "holdout"}], [sale("o", ["i"], "1")], at)) == ["holdout"]
    traced = [inference(f"i{n}", use_case="traced", trace_id="t") for n in range(3)]
    assert len(run(traced[:2], [sale("o", "t", "1")], at).credits) == 2
    assert reasons(run(traced, [sale("o", "t", "1")], at)) == ["too_many_touches"]
    assert reasons(run(traced, [sale("o", ["i0", "i1", "i2"], "1")], at)) == ["too_many_touches"]


def test_more_than_ten_thousand_open_inferences_are_too_many() -> None:
    rules = [rule(join="trace", max_touches=10_000, credit="last")]
    touches = [inference(f"i{n:05}", status="failed", trace_id="t") for n in range(10_001)]
    assert reasons(run(touches, [sale("o", "t", "1")], rules)) == ["too_many_touches"]
    assert reasons(run(touches[1:], [sale("o", "t", "1")], rules)) == ["failed_inference"]


def test_exact_type_wins_and_the_newest_version_at_the_inference_counts() -> None:
    rules = [
        rule(margin=u("0.1")),
        rule(type_="purchase", margin=u("0.2"), effective_from=MONDAY),
        rule(type_="purchase", margin=u("0.4"), effective_from=MONDAY + 10),
    ]
    for time, value, rule_id in [
        (MONDAY - 1, "0.1", "reco/conversion/*/2026-01-01T00:00:00Z"),
        (MONDAY, "0.2", "reco/conversion/purchase/2026-03-02T00:00:00Z"),
        (MONDAY + 9, "0.2", "reco/conversion/purchase/2026-03-02T00:00:00Z"),
        (MONDAY + 10, "0.4", "reco/conversion/purchase/2026-03-02T00:00:00.000010Z"),
    ]:
        (row,) = run([inference("i", time)], [sale("o", ["i"], "1")], rules).credits
        assert (row["value"], row["rule_id"], row["via"]) == (u(value), rule_id, "inference")


def test_last_touch_in_byte_order_governs_equal_times() -> None:
    ids = ["B", "a", "\uff5e", "😀"]
    rules = [rule(credit="last", type_="purchase")]
    result = run([inference(i) for i in reversed(ids)], [sale("o", ids, "1")], rules)
    assert credited(result) == {"😀": u("1")}
    result = run([inference("a", MONDAY - 1), inference("b")], [sale("o", ["a", "b"], "1")], [
        rule(credit="first"), rule(credit="last", effective_from=MONDAY),
    ])  # fmt: skip
    assert credited(result) == {"b": u("1")}


# --- steps 5 to 8 ---


@pytest.mark.parametrize(
    ("keys", "count", "expected"),
    [
        ({"credit": "first"}, 3, {"i0": "10"}),
        ({"credit": "last"}, 3, {"i2": "10"}),
        ({"credit": "linear"}, 3, {"i0": "3.333333333", "i1": "3.333333334", "i2": "3.333333333"}),
        ({"credit": "position"}, 1, {"i0": "10"}),
        ({"credit": "position"}, 2, {"i0": "5", "i1": "5"}),
        ({"credit": "position"}, 3, {"i0": "4", "i1": "2", "i2": "4"}),
        ({"credit": "position"}, 4, {"i0": "4", "i1": "1", "i2": "1", "i3": "4"}),
        ({"credit": "position", "position_weights": (10**6, 0, 0)}, 2, {"i0": "10"}),
        ({"credit": "position", "position_weights": (0, 0, 10**6)}, 3, {"i2": "10"}),
        ({"credit": "position", "position_weights": (0, 0, 10**6)}, 1, {"i0": "10"}),
        ({"credit": "position", "position_weights": (1, 2, 1)}, 3, {"i0": "2.5", "i1": "5", "i2": "2.5"}),
        ({"credit": "time_decay", "half_life": HOUR}, 2, {"i0": "3.333333333", "i1": "6.666666667"}),
        ({"credit": "time_decay", "half_life": HOUR // 40}, 2, {"i0": "0.000000000", "i1": "10"}),
        ({"credit": "time_decay", "half_life": HOUR // 41}, 2, {"i1": "10"}),
    ],
)  # fmt: skip
def test_credit_models_on_small_numbers(keys: Event, count: int, expected: dict[str, str]) -> None:
    touches = [inference(f"i{n}", MONDAY + n * HOUR) for n in range(count)]
    result = run(touches, [sale("o", [f"i{n}" for n in range(count)], "10")], [rule(**keys)])
    assert credited(result) == {name: u(value) for name, value in expected.items()}


def test_ages_of_early_outcomes_count_as_zero() -> None:
    touches = [inference("a", MONDAY), inference("b", MONDAY + HOUR)]
    decay = rule(credit="time_decay", half_life=HOUR, early_tolerance=2 * HOUR)
    assert credited(run(touches, [sale("o", ["a", "b"], "3", MONDAY)], [decay])) == {"a": u("1.5"), "b": u("1.5")}


def test_shares_weigh_use_cases_and_parts_sum_to_the_rounded_whole() -> None:
    rules = [rule("a", share=10**6), rule("b", share=2 * 10**6, margin=u("0.5")), rule("c", kind="time_saved")]
    result = run([inference("x", use_case="b"), inference("y", use_case="a")], [sale("o", ["x", "y"], "10")], rules)
    # a: 1/3 of 10; b: 2/3 of 5; together round(20/3)
    assert credited(result) == {"y": u("3.333333333"), "x": u("3.333333334")}
    assert credited(result, "amount") == {"y": u("3.333333333"), "x": u("6.666666667")}


@pytest.mark.parametrize("effect", ["gain", "loss"])
def test_caps_cut_before_the_split_and_the_cut_is_one_row(effect: str) -> None:
    sign = 1 if effect == "gain" else -1
    touches = [inference("a"), inference("b"), inference("c", use_case="closed")]
    capped = rule(max_value=u("5"), effect=effect)
    result = run(touches, [sale("o", ["a", "b", "c"], "12")], [capped])
    assert credited(result) == {"a": sign * u("2.5"), "b": sign * u("2.5")}
    assert credited(result, "amount") == {"a": u("6"), "b": u("6")}
    (cut,) = result.unattributed
    assert (cut["reason"], cut["value"], cut["amount"], cut["seconds"]) == ("capped", sign * u("7"), 0, None)
    assert cut["use_case"] is None
    assert run(touches, [sale("o", ["a", "b"], "5")], [capped]).unattributed == []
    (cut,) = run(touches, [sale("o", ["a"], "5.000000001")], [capped]).unattributed
    assert (cut["value"], cut["use_case"]) == (sign, "reco")


def test_a_refund_above_the_cap_changes_only_the_cut() -> None:
    refund = [reversal("r", "o", amount=u("200"))]
    result = run([inference("i")], [sale("o", ["i"], "1000")], [rule(max_value=u("500"))], reversals=refund)
    assert (credited(result), credited(result, "reversed_value")) == ({"i": u("500")}, {"i": 0})
    assert [row["value"] for row in result.unattributed] == [u("300")]


def test_value_per_event_takes_the_quantity_and_needs_neither_amount_nor_rate() -> None:
    rules = [rule(value_per_event=u("4.20"))]
    refunds = [reversal("r", "o", quantity=u("0.5")), reversal("s", "o", amount=u("1"))]
    plain = run([inference("i")], [outcome("o", ["i"], quantity=u("3"))], rules, reversals=refunds[:1])
    assert (credited(plain), credited(plain, "amount")) == ({"i": u("10.5")}, {"i": None})
    assert credited(plain, "reversed_value") == {"i": u("-2.1")}
    result = run([inference("i")], [sale("o", ["i"], "9", currency="CHF")], rules, reversals=refunds)
    assert (credited(result), credited(result, "amount")) == ({"i": u("2.1")}, {"i": None})


def test_reversals_take_no_more_than_there_is_and_one_without_a_field_takes_all() -> None:
    for refunds in (
        [reversal("r", "o", amount=u("6")), reversal("s", "o", amount=u("5"))],
        [reversal("r", "o")],
    ):
        result = run([inference("i")], [sale("o", ["i"], "10")], reversals=refunds)
        assert (credited(result), credited(result, "reversed_value")) == ({"i": 0}, {"i": u("-10")})
        assert credited(result, "amount") == {"i": 0}
        assert result.attributed[0]["outcome_count"] == 1


def test_reversal_window_is_inclusive_and_the_unmatched_are_rows() -> None:
    sold, named = sale("o", ["i"], "10"), outcome("n", ["i"])
    at = sold["event_time"]
    timed = outcome("t", ["i"], seconds=u("60"))
    cases = {
        "in time": (reversal("r", "o", at + 60 * DAY_US), True),
        "at once": (reversal("r", "o", at, amount=1, currency="USD"), True),
        "late": (reversal("r", "o", at + 60 * DAY_US + 1), False),
        "before": (reversal("r", "o", at - 1), False),
        "other currency": (reversal("r", "o", amount=1, currency="EUR"), False),
        "no amount": (reversal("r", "n", amount=1), False),
        "quantity without amount": (reversal("r", "n", quantity=1), True),
        "seconds of a sale": (reversal("r", "o", seconds=1), False),
        "amount of time": (reversal("r", "t", amount=1), False),
        "quantity of time": (reversal("r", "t", quantity=1), False),
        "seconds of time": (reversal("r", "t", seconds=1), True),
        "unknown": (reversal("r", "x"), False),
    }
    for name, (event, is_matched) in cases.items():
        result = run([inference("i")], [sold, named], time_saved=[timed], reversals=[event])
        rows = [row for row in result.unattributed if row["reason"] == "reversal_unmatched"]
        assert len(rows) == (0 if is_matched else 1), name
        for row in rows:
            assert (row["outcome_id"], row["reversal_id"], row["outcome_time"]) == (
                event["reverses"], "r", event["event_time"],
            )  # fmt: skip
            assert [row[k] for k in ("kind", "type", "use_case", "amount", "value", "seconds", "fx_rate")] == [None] * 7


def test_rate_is_the_newest_of_an_earlier_day_and_not_too_old() -> None:
    day = MONDAY // DAY_US
    event = sale("o", ["i"], "10", MONDAY + 8 * DAY_US, currency="EUR")
    touch = inference("i", MONDAY + 7 * DAY_US)
    for fx, rate in [
        ([(day + 8, "EUR", u("3")), (day + 7, "EUR", u("2")), (day + 6, "EUR", u("1.5"))], "2"),
        ([(day + 1, "EUR", u("2"))], "2"),
        ([(day, "EUR", u("2")), (day + 7, "GBP", u("2"))], None),
    ]:
        result = run([touch], [event], fx=fx)
        if rate is None:
            (row,) = result.unattributed
            assert (row["reason"], row["amount"], row["fx_rate"]) == ("no_fx_rate", None, None)
        else:
            assert credited(result) == {"i": times(u("10"), u(rate))}


def test_gross_amount_from_a_million_million_is_out_of_range_whatever_the_rule() -> None:
    fx = [(MONDAY // DAY_US, "EUR", u("2"))]
    for rules in ([rule()], [rule(value_per_event=1)]):
        event = sale("o", ["i"], "500000000000", currency="EUR")
        all_back = [reversal("r", "o", amount=u("499999999999"))]
        (row,) = run([inference("i")], [event], rules, reversals=all_back, fx=fx).unattributed
        assert (row["reason"], row["amount"], row["fx_rate"]) == ("out_of_range", u("2"), u("2"))
        assert (row["use_case"], row["value"]) == ("reco", None)
        smaller = sale("o", ["i"], "499999999999.999999999", currency="EUR")
        assert len(run([inference("i")], [smaller], rules, fx=fx).credits) == 1


def test_time_saved_is_worth_its_role_and_realisation() -> None:
    hourly = {"*": u("38.00"), "agent": u("31.50")}
    keys: Event = {"hourly_rate": hourly, "baseline_seconds": u("510"), "realisation": u("0.6")}
    rules = [rule(kind="time_saved", **keys)]
    figures: list[tuple[Event, str, str]] = [
        ({"seconds": u("600")}, "600", "3.8"),
        ({"seconds": u("-600"), "role": "agent"}, "-600", "-3.15"),
        ({"baseline_seconds": u("700"), "actual_seconds": u("100"), "role": "nobody"}, "600", "3.8"),
        ({"actual_seconds": u("150")}, "360", "2.28"),
        ({"actual_seconds": u("600"), "role": "agent"}, "-90", "-0.4725"),
        ({"seconds": 1}, "0.000000001", "0"),
    ]
    for fields, seconds, value in figures:
        (row,) = run([inference("i")], time_saved=[outcome("t", ["i"], **fields)], rules=rules).credits
        assert (row["seconds"], row["value"], row["amount"]) == (u(seconds), u(value), None)


def test_seconds_are_reversed_then_capped_then_split() -> None:
    rules = [rule(kind="time_saved", max_seconds=u("100"))]  # 36 an hour: 0.01 a second
    touches = [inference("a"), inference("b", MONDAY + 1)]
    event = outcome("t", ["a", "b"], seconds=u("-160"))
    result = run(touches, time_saved=[event], rules=rules, reversals=[reversal("r", "t", seconds=u("30"))])
    assert credited(result, "seconds") == {"a": u("-50"), "b": u("-50")}
    assert credited(result) == {"a": u("-0.5"), "b": u("-0.5")}
    (cut,) = result.unattributed
    assert (cut["reason"], cut["seconds"], cut["value"], cut["amount"]) == ("capped", u("-30"), u("-0.3"), None)
    (lost,) = run([], time_saved=[event], reversals=[reversal("r", "t", seconds=u("30"))]).unattributed
    assert (lost["reason"], lost["seconds"], lost["value"]) == ("no_open_inference", u("-130"), None)


# --- steps 9 and 10, and what an inference earned ---


def test_holdout_alone_gives_would_be_rows_mixed_gives_nothing_to_it() -> None:
    held = inference("h", arm="holdout")
    rules = [rule(max_value=u("6"))]
    mixed = run([held, inference("i")], [sale("o", ["h", "i"], "10")], rules)
    assert (credited(mixed), [row["reason"] for row in mixed.unattributed]) == ({"i": u("6")}, ["capped"])
    alone = run([held, inference("g", arm="holdout")], [sale("o", ["g", "h"], "10")], rules)
    assert [(row["inference_id"], row["value"], row["amount"]) for row in alone.unattributed] == [
        ("g", u("3"), u("5")),
        ("h", u("3"), u("5")),
    ]
    assert reasons(alone) == ["holdout", "holdout"]
    (row,) = run([held], [sale("o", ["h"], "10", currency="CHF")], rules).unattributed
    assert (row["reason"], row["inference_id"], row["use_case"]) == ("no_fx_rate", None, "reco")


def test_an_inference_settles_when_the_watermark_is_past_its_widest_window_and_the_lateness() -> None:
    last = MONDAY + 8 * DAY_US
    for time, is_settled in [(last, False), (last + 1, True)]:
        result = run([inference("i")], [sale("o", None, "1", time)], allowed_lateness=DAY_US)
        assert [row["settled"] for row in result.attributed] == [is_settled]


def test_attributed_sums_what_an_inference_earned() -> None:
    refund = [reversal("r", "o", amount=u("1"))]
    timed = [outcome("t", ["i"], seconds=u("100"))]
    result = run([inference("i"), inference("idle")], [sale("o", ["i"], "5")], time_saved=timed, reversals=refund)
    columns = ("outcome_count", "conversion_value", "time_saved_value", "time_saved_seconds", "attributed_value")
    rows = {row["inference_id"]: [row[c] for c in (*columns, "reversed_value")] for row in result.attributed}
    assert rows == {"i": [2, u("4"), u("1"), u("100"), u("5"), u("-1")], "idle": [0] * 6}
