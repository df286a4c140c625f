"""Rules: what a rule file may say, how rules of several files come together, and what the digests stand for."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from attribution.rules import Rule, combine, parse_rules
from attribution.windows import time_text
from schemas.errors import ConfigurationError
from tests.rule_texts import CONVERSION, DECAY, POSITION, TIME_SAVED, TRACE, parsed, toml, without

DAY_US = 86_400_000_000
JANUARY_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_a_conversion_rule_has_every_default_filled_in() -> None:
    assert parsed(CONVERSION) == Rule(
        use_case="search",
        kind="conversion",
        type="purchase",
        effective_from_us=JANUARY_US,
        join="inference",
        lookback_window_us=7 * DAY_US,
        early_tolerance_us=0,
        credit="last",
        half_life_us=None,
        position_weights=(400_000, 200_000, 400_000),
        share=1_000_000,
        max_touches=None,
        margin=10**9,
        value_per_event=None,
        effect="gain",
        max_value=None,
        baseline_seconds=None,
        realisation=10**9,
        max_seconds=None,
        hourly_rates=(),
    )


def test_every_key_of_a_conversion_rule_is_read() -> None:
    rule = parsed(
        TRACE
        | {"credit": '"time_decay"', "half_life": '"1h30m"', "early_tolerance": '"5m"', "share": '"2.5"'}
        | {"margin": '"0.32"', "max_value": '"500"', "effect": '"loss"'}
    )
    assert (rule.join, rule.max_touches, rule.half_life_us) == ("trace", 50, 5_400_000_000)
    assert (rule.early_tolerance_us, rule.share, rule.margin) == (300_000_000, 2_500_000, 320_000_000)
    assert (rule.max_value, rule.effect) == (500 * 10**9, "loss")
    assert parsed(CONVERSION | {"value_per_event": '"4.20"'}).value_per_event == 4_200_000_000
    assert parsed(POSITION | {"position_weights": '["0.5", "0", "0.000001"]'}).position_weights == (500_000, 0, 1)


def test_every_key_of_a_time_saved_rule_is_read() -> None:
    rule = parsed(
        TIME_SAVED
        | {"baseline_seconds": "510", "realisation": '"0.6"', "max_seconds": '"7200.5"'}
        | {"hourly_rate": '{ support_agent = "31.50", "*" = "38.00" }'}
    )
    assert (rule.baseline_seconds, rule.realisation) == (510 * 10**9, 600_000_000)
    assert rule.max_seconds == 7_200_500_000_000
    assert rule.hourly_rates == (("*", 38 * 10**9), ("support_agent", 31_500_000_000))


def test_the_hourly_rate_may_stand_in_a_table_of_its_own() -> None:
    text = toml(without(TIME_SAVED, "hourly_rate")) + '[rule.hourly_rate]\n"*" = "38"\n'
    assert parse_rules(text, "a.toml") == [parsed(TIME_SAVED)]


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00Z"),
        ("2026-01-01 00:00:00.5Z", "2026-01-01T00:00:00.500000Z"),
        ("2026-01-01T00:00:00.0000010Z", "2026-01-01T00:00:00.000001Z"),
        ("2000-01-01T00:00:00Z", "2000-01-01T00:00:00Z"),
        ("2199-12-31T23:59:59.999999Z", "2199-12-31T23:59:59.999999Z"),
    ],
)
def test_the_rule_id_ends_with_its_start_in_utc(written: str, instant: str) -> None:
    assert parsed(CONVERSION | {"effective_from": written}).rule_id == f"search/conversion/purchase/{instant}"


@pytest.mark.parametrize(
    ("base", "key", "value"),
    [
        (CONVERSION, "lookback_window", '"0s"'),
        (CONVERSION, "lookback_window", '"36500d"'),
        (CONVERSION, "early_tolerance", '"0ms"'),
        (CONVERSION, "margin", '"0"'),
        (CONVERSION, "margin", '"1.000000000"'),
        (CONVERSION, "share", '"0.000001"'),
        (CONVERSION, "share", '"999999.999999"'),
        (CONVERSION, "value_per_event", '"0"'),
        (CONVERSION, "value_per_event", '"999999.999999999"'),
        (CONVERSION, "max_value", '"0.000000001"'),
        (TRACE, "max_touches", "1"),
        (TRACE, "max_touches", "10000"),
        (DECAY, "half_life", '"1ms"'),
        (POSITION, "position_weights", '["0", "0", "0.000001"]'),
        (TIME_SAVED, "baseline_seconds", "0"),
        (TIME_SAVED, "baseline_seconds", '"999999999.999999999"'),
        (TIME_SAVED, "max_seconds", '"0.000000001"'),
        (TIME_SAVED, "max_seconds", "999999999"),
        (TIME_SAVED, "hourly_rate", '{ "*" = "0" }'),
    ],
)
def test_a_value_exactly_on_its_bound_is_accepted(base: dict[str, str], key: str, value: str) -> None:
    assert parsed(base | {key: value}).use_case == "search"


# --- several files ----------------------------------------------------------------------------------------------------


def test_two_files_for_one_use_case_are_refused_and_both_are_named() -> None:
    later = toml(CONVERSION | {"effective_from": "2026-02-01T00:00:00Z"})
    with pytest.raises(ConfigurationError) as caught:
        combine([parse_rules(toml(CONVERSION), "a.toml"), parse_rules(later, "b.toml")])
    hint = "Hint: a.toml has it too: one use case is one file"
    assert str(caught.value) == f'b.toml: use_case: expected a use case of its own, got "search". {hint}'


def test_two_rules_that_would_share_an_id_are_refused() -> None:
    first = parse_rules(toml(CONVERSION | {"type": '"b/conversion/c"'}, use_case="a"), "a.toml")
    second = parse_rules(toml(CONVERSION | {"type": '"c"'}, use_case="a/conversion/b"), "b.toml")
    with pytest.raises(ConfigurationError, match=r"b\.toml: rule 1: .* a\.toml: rule 1 starts then too"):
        combine([first, second])


def test_rules_are_sorted_by_use_case_kind_type_and_start_as_bytes() -> None:
    later = CONVERSION | {"effective_from": "2026-02-01T00:00:00Z"}
    lists = [
        parse_rules(toml(later, TIME_SAVED, CONVERSION, CONVERSION | {"type": '"*"'}, use_case="\ue000"), "a.toml"),
        parse_rules(toml(CONVERSION, use_case="Z"), "b.toml"),
        parse_rules(toml(CONVERSION, use_case="\U00010000"), "c.toml"),
    ]
    assert [(r.use_case, r.kind, r.type, time_text(r.effective_from_us)[5:7]) for r in combine(lists).rules] == [
        ("Z", "conversion", "purchase", "01"),
        ("\ue000", "conversion", "*", "01"),
        ("\ue000", "conversion", "purchase", "01"),
        ("\ue000", "conversion", "purchase", "02"),
        ("\ue000", "time_saved", "*", "01"),
        ("\U00010000", "conversion", "purchase", "01"),
    ]


# --- digests ----------------------------------------------------------------------------------------------------------


def test_the_digest_does_not_depend_on_how_a_rule_is_written() -> None:
    rule = TIME_SAVED | {"baseline_seconds": "510", "lookback_window": '"1d"', "hourly_rate": '{ "*" = "38", b = "1" }'}
    spelt = rule | {
        "baseline_seconds": '"510.000"',
        "lookback_window": '"24h"',
        "effective_from": "2026-01-01T01:00:00+01:00",
        "hourly_rate": '{ b = "01.0", "*" = "38.00" }',
        "share": '"1.0"',
        "join": '"inference"',
        "early_tolerance": '"0d"',
    }
    other_order = "# a comment\n" + toml(dict(reversed(spelt.items())))
    assert parse_rules(other_order, "z.toml")[0].digest() == parsed(rule).digest()


def test_the_digest_of_all_rules_does_not_depend_on_the_order_of_files_and_rules() -> None:
    a, b = toml(CONVERSION, TIME_SAVED, use_case="a"), toml(CONVERSION, use_case="b")
    turned = toml(TIME_SAVED, CONVERSION, use_case="a")
    one = combine([parse_rules(a, "1.toml"), parse_rules(b, "2.toml")])
    other = combine([parse_rules(b, "x.toml"), parse_rules(turned, "y.toml")])
    assert one == other
    assert one.digest() == other.digest()
    assert one.digest() != combine([parse_rules(a, "1.toml")]).digest()


OTHER_VALUES: dict[str, Any] = {
    "kind": "time_saved",
    "credit": "first",
    "join": "trace",
    "effect": "loss",
    "position_weights": (1, 2, 3),
    "hourly_rates": (("*", 1),),
}


@pytest.mark.parametrize("name", [field.name for field in fields(Rule) if field.compare])
def test_the_digest_changes_with_every_value(name: str) -> None:
    rule = parsed(CONVERSION)
    other = OTHER_VALUES.get(name, "other" if isinstance(getattr(rule, name), str) else 12_345)
    assert replace(rule, **{name: other}).digest() != rule.digest()


def test_the_digest_is_stable_over_releases() -> None:
    assert parsed(CONVERSION).digest() == "b59111cc2ed332c884d08e99d88fb83ce7b976aebea0b00bc6d13ecccf1c797f"
