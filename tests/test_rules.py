"""Rules: what a rule file may say, what is refused and how, and what the digests stand for."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.decimals import decimal_text, units
from attribution.rules import Rule, combine, parse_rules
from attribution.windows import DURATION_MAX_US, format_duration, parse_duration, time_text
from schemas.errors import ConfigurationError
from streams import rules_command
from streams.rule_files import load_rules, rule_sources

DAY_US = 86_400_000_000
JANUARY_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
DURATION = 'a duration such as "7d" or "1h30m" (units ms s m h d w, each at most once; at most 36500d)'
INSTANT = "a date-time with an offset such as 2026-01-01T00:00:00Z, from 2000 to 2199"

CONVERSION = {
    "effective_from": "2026-01-01T00:00:00Z",
    "kind": '"conversion"',
    "type": '"purchase"',
    "lookback_window": '"7d"',
    "credit": '"last"',
}
TIME_SAVED = CONVERSION | {"kind": '"time_saved"', "type": '"*"', "hourly_rate": '{ "*" = "38.00" }'}
TRACE = CONVERSION | {"join": '"trace"', "max_touches": "50"}
DECAY = CONVERSION | {"credit": '"time_decay"', "half_life": '"2d"'}
POSITION = CONVERSION | {"credit": '"position"'}


def toml(*rules: dict[str, str], use_case: str = "search") -> str:
    tables = ["[[rule]]\n" + "".join(f"{key} = {value}\n" for key, value in rule.items()) for rule in rules]
    return "\n".join([f'use_case = "{use_case}"', *tables])


def parsed(rule: dict[str, str]) -> Rule:
    return parse_rules(toml(rule), "a.toml")[0]


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(text, "a.toml")
    assert caught.value.exit_code == 2
    return str(caught.value)


def without(rule: dict[str, str], key: str) -> dict[str, str]:
    return {name: value for name, value in rule.items() if name != key}


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


# --- what is refused --------------------------------------------------------------------------------------------------

MONEY = 'a decimal in quotes such as "0.5", 0 or more and below 1000000, with at most 9 places'
CAP = 'a decimal in quotes such as "0.5", above 0 and below 1000000, with at most 9 places'
FRACTION = 'a decimal in quotes such as "0.5", 0 or more and at most 1, with at most 9 places'
SHARE = 'a decimal in quotes such as "0.5", above 0 and below 1000000, with at most 6 places'
WEIGHT = 'a decimal in quotes such as "0.5", 0 or more and below 1000000, with at most 6 places'
SECONDS = 'an integer, or a decimal in quotes such as "0.5", 0 or more and below 1000000000, with at most 9 places'
SECONDS_CAP = 'an integer, or a decimal in quotes such as "0.5", above 0 and below 1000000000, with at most 9 places'
KINDS = 'one of "conversion", "time_saved"'
CREDITS = 'one of "first", "last", "linear", "time_decay", "position"'
WEIGHTS = 'three weights in quotes such as ["0.4", "0.2", "0.4"]: first, middle, last; first + last above 0'
RATES = 'a table of rates by role such as { "*" = "38.00" }'
ANY_ROLE = "the rate of every role without one of its own"
QUOTES = "Hint: write it in quotes: "
NO_INSTANT = "Hint: write it with time and offset: without them it is no instant"
NOWHERE = (
    "Hint: known are effective_from, kind, type, join, lookback_window, early_tolerance, credit, half_life, "
    "position_weights, share, max_touches, margin, value_per_event, effect, max_value, baseline_seconds, realisation, "
    "max_seconds, hourly_rate"
)

VALUES = [
    # A word or text
    (CONVERSION, "kind", '"conversions"', f'{KINDS}, got "conversions". Hint: did you mean "conversion"?'),
    (CONVERSION, "kind", "1", f"{KINDS}, got 1"),
    (CONVERSION, "credit", '"lst"', f'{CREDITS}, got "lst". Hint: did you mean "last"?'),
    (CONVERSION, "credit", '"shapley"', f'{CREDITS}, got "shapley"'),
    (CONVERSION, "join", '"session"', 'one of "inference", "trace", got "session"'),
    (CONVERSION, "effect", '"Gain"', 'one of "gain", "loss", got "Gain". Hint: did you mean "gain"?'),
    (CONVERSION, "type", '""', 'a text that is not empty, got ""'),
    (CONVERSION, "type", "7", "a text that is not empty, got 7"),
    (CONVERSION, "type", "[1, 2]", "a text that is not empty, got a list of 2"),
    # A duration
    (CONVERSION, "lookback_window", '"7 days"', f'{DURATION}, got "7 days"'),
    (CONVERSION, "lookback_window", '"1h1h"', f'{DURATION}, got "1h1h"'),
    (CONVERSION, "lookback_window", '"-1d"', f'{DURATION}, got "-1d"'),
    (CONVERSION, "lookback_window", '"1.5d"', f'{DURATION}, got "1.5d"'),
    (CONVERSION, "lookback_window", '""', f'{DURATION}, got ""'),
    (CONVERSION, "lookback_window", "7", f"{DURATION}, got 7"),
    (CONVERSION, "lookback_window", "true", f"{DURATION}, got true"),
    (CONVERSION, "lookback_window", '"36500d1ms"', f'{DURATION}, got "36500d1ms"'),
    (CONVERSION, "early_tolerance", '"5x"', f'{DURATION}, got "5x"'),
    (DECAY, "half_life", '"0s"', f'{DURATION}, above 0, got "0s"'),
    # A decimal
    (CONVERSION, "margin", "0.32", f'{FRACTION}, got 0.32. {QUOTES}"0.32"'),
    (CONVERSION, "margin", "1", f'{FRACTION}, got 1. {QUOTES}"1"'),
    (CONVERSION, "margin", "1e-7", f'{FRACTION}, got 1e-07. {QUOTES}"0.0000001"'),
    (CONVERSION, "margin", "nan", f"{FRACTION}, got nan"),
    (CONVERSION, "margin", "true", f"{FRACTION}, got true"),
    (CONVERSION, "margin", '"1.000000001"', f'{FRACTION}, got "1.000000001"'),
    (CONVERSION, "margin", '"-0.1"', f'{FRACTION}, got "-0.1"'),
    (CONVERSION, "margin", '".5"', f'{FRACTION}, got ".5"'),
    (CONVERSION, "margin", '"1."', f'{FRACTION}, got "1."'),
    (CONVERSION, "margin", '"1e-1"', f'{FRACTION}, got "1e-1"'),
    (CONVERSION, "margin", '" 1"', f'{FRACTION}, got " 1"'),
    (CONVERSION, "margin", '"\u0661"', f'{FRACTION}, got "\u0661"'),
    (CONVERSION, "margin", '"0.0000000001"', f'{FRACTION}, got "0.0000000001"'),
    (CONVERSION, "share", '"0"', f'{SHARE}, got "0"'),
    (CONVERSION, "share", '"0.0000001"', f'{SHARE}, got "0.0000001"'),
    (CONVERSION, "share", '"1000000"', f'{SHARE}, got "1000000"'),
    (CONVERSION, "share", "1", f'{SHARE}, got 1. {QUOTES}"1"'),
    (CONVERSION, "value_per_event", '"1000000"', f'{MONEY}, got "1000000"'),
    (CONVERSION, "value_per_event", "4.2", f'{MONEY}, got 4.2. {QUOTES}"4.2"'),
    (CONVERSION, "value_per_event", "0x" + "f" * 4000, f"{MONEY}, got 0x{'f' * 4000}"),
    (CONVERSION, "value_per_event", f'"{"9" * 5000}"', f'{MONEY}, got "{"9" * 5000}"'),
    (CONVERSION, "max_value", '"0"', f'{CAP}, got "0"'),
    (CONVERSION, "max_value", '"1000000"', f'{CAP}, got "1000000"'),
    (TIME_SAVED, "realisation", '"1.1"', f'{FRACTION}, got "1.1"'),
    (TIME_SAVED, "baseline_seconds", "510.0", f'{SECONDS}, got 510.0. {QUOTES}"510.0"'),
    (TIME_SAVED, "baseline_seconds", "-1", f"{SECONDS}, got -1"),
    (TIME_SAVED, "baseline_seconds", "1000000000", f"{SECONDS}, got 1000000000"),
    (TIME_SAVED, "baseline_seconds", "true", f"{SECONDS}, got true"),
    (TIME_SAVED, "max_seconds", "0", f"{SECONDS_CAP}, got 0"),
    (TIME_SAVED, "max_seconds", '"1000000000"', f'{SECONDS_CAP}, got "1000000000"'),
    # A start
    (CONVERSION, "effective_from", '"2026-01-01T00:00:00Z"', (f'{INSTANT}, got "2026-01-01T00:00:00Z". '
     "Hint: write it without quotes")),
    (CONVERSION, "effective_from", "2026-01-01T00:00:00", f"{INSTANT}, got 2026-01-01T00:00:00. {NO_INSTANT}"),
    (CONVERSION, "effective_from", "2026-01-01", f"{INSTANT}, got 2026-01-01. {NO_INSTANT}"),
    (CONVERSION, "effective_from", "00:00:00", f"{INSTANT}, got 00:00:00"),
    (CONVERSION, "effective_from", "1767225600", f"{INSTANT}, got 1767225600"),
    (CONVERSION, "effective_from", "1999-12-31T23:59:59.999999Z", f"{INSTANT}, got 1999-12-31T23:59:59.999999+00:00"),
    (CONVERSION, "effective_from", "2200-01-01T00:00:00Z", f"{INSTANT}, got 2200-01-01T00:00:00+00:00"),
    (CONVERSION, "effective_from", "0001-01-01T00:00:00+23:00", f"{INSTANT}, got 0001-01-01T00:00:00+23:00"),
    (CONVERSION, "effective_from", "2026-01-01T00:00:00.0000001Z",
     "at most six digits after the second, got 2026-01-01T00:00:00.0000001"),
    # A list, a table, an integer
    (POSITION, "position_weights", '["0.5", "0.5"]', f"{WEIGHTS}, got a list of 2"),
    (POSITION, "position_weights", '"0.4"', f'{WEIGHTS}, got "0.4"'),
    (POSITION, "position_weights", '["0", "1", "0"]',
     f"{WEIGHTS}, got a list of 3. Hint: with no weight at either end two touches share nothing"),
    (TRACE, "max_touches", "0", "an integer from 1 to 10000, got 0"),
    (TRACE, "max_touches", "10001", "an integer from 1 to 10000, got 10001"),
    (TRACE, "max_touches", '"50"', 'an integer from 1 to 10000, got "50"'),
    (TRACE, "max_touches", "true", "an integer from 1 to 10000, got true"),
    (TIME_SAVED, "hourly_rate", '"38"', f'{RATES}, got "38". Hint: "*" is {ANY_ROLE}'),
    # A key that does not apply
    (TIME_SAVED, "margin", '"0.5"',
     'kind = "conversion" beside it, got kind = "time_saved". Hint: margin does not apply here: remove it'),
    (TIME_SAVED, "value_per_event", '"1"',
     'kind = "conversion" beside it, got kind = "time_saved". Hint: value_per_event does not apply here: remove it'),
    (TIME_SAVED, "effect", '"gain"',
     'kind = "conversion" beside it, got kind = "time_saved". Hint: effect does not apply here: remove it'),
    (TIME_SAVED, "max_value", '"5"',
     'kind = "conversion" beside it, got kind = "time_saved". Hint: max_value does not apply here: remove it'),
    (CONVERSION, "baseline_seconds", "5",
     'kind = "time_saved" beside it, got kind = "conversion". Hint: baseline_seconds does not apply here: remove it'),
    (CONVERSION, "realisation", '"1"',
     'kind = "time_saved" beside it, got kind = "conversion". Hint: realisation does not apply here: remove it'),
    (CONVERSION, "max_seconds", "5",
     'kind = "time_saved" beside it, got kind = "conversion". Hint: max_seconds does not apply here: remove it'),
    (CONVERSION, "hourly_rate", '{ "*" = "1" }',
     'kind = "time_saved" beside it, got kind = "conversion". Hint: hourly_rate does not apply here: remove it'),
    (CONVERSION, "half_life", '"2d"',
     'credit = "time_decay" beside it, got credit = "last". Hint: half_life does not apply here: remove it'),
    (CONVERSION, "position_weights", '["1", "0", "1"]',
     'credit = "position" beside it, got credit = "last". Hint: position_weights does not apply here: remove it'),
    (CONVERSION, "max_touches", "5",
     'join = "trace" beside it, got join = "inference". Hint: max_touches does not apply here: remove it'),
    (CONVERSION | {"value_per_event": '"1"'}, "margin", '"1"',
     "no value_per_event beside it, got both. Hint: value_per_event replaces margin: remove one of the two"),
    # A key nobody knows
    (CONVERSION, "lookback", '"7d"', 'a known key, got "lookback". Hint: did you mean "lookback_window"?'),
    (CONVERSION, "hourly_rates", '"7"', 'a known key, got "hourly_rates". Hint: did you mean "hourly_rate"?'),
    (CONVERSION, "zzz", '"7d"', f'a known key, got "zzz". {NOWHERE}'),
]  # fmt: skip


@pytest.mark.parametrize(("base", "key", "value", "message"), VALUES, ids=[f"{v[1]}={v[2][:30]}" for v in VALUES])
def test_a_wrong_value_is_refused_with_place_expected_got_and_hint(
    base: dict[str, str], key: str, value: str, message: str
) -> None:
    assert (
        refusal(toml(CONVERSION | {"type": '"other"'}, base | {key: value}))
        == f"a.toml: rule 2: {key}: expected {message}"
    )


@pytest.mark.parametrize(
    ("base", "key", "expected"),
    [
        (CONVERSION, "effective_from", INSTANT),
        (CONVERSION, "kind", KINDS),
        (CONVERSION, "type", "a text that is not empty"),
        (CONVERSION, "lookback_window", DURATION),
        (CONVERSION, "credit", CREDITS),
        (DECAY, "half_life", f"{DURATION}, above 0"),
        (TRACE, "max_touches", "an integer from 1 to 10000"),
        (TIME_SAVED, "hourly_rate", RATES),
    ],
)
def test_a_missing_key_is_refused(base: dict[str, str], key: str, expected: str) -> None:
    message = f"a.toml: rule 1: {key}: expected {expected}, got nothing. Hint: {key} is required here"
    assert refusal(toml(without(base, key))) == message


@pytest.mark.parametrize(
    ("base", "key", "value", "place", "message"),
    [
        (TIME_SAVED, "hourly_rate", '{ agent = "1" }', '"*"', f"{ANY_ROLE}, got nothing. Hint: * is required here"),
        (TIME_SAVED, "hourly_rate", '{ "*" = 38 }', '"*"', f'{MONEY}, got 38. {QUOTES}"38"'),
        (TIME_SAVED, "hourly_rate", '{ "*" = "1", b = "x" }', "b", f'{MONEY}, got "x"'),
        (POSITION, "position_weights", '["1", 0.5, "1"]', "middle", f'{WEIGHT}, got 0.5. {QUOTES}"0.5"'),
        (POSITION, "position_weights", '["1", "1", "0.0000001"]', "last", f'{WEIGHT}, got "0.0000001"'),
    ],
)
def test_a_wrong_part_of_a_value_is_named(base: dict[str, str], key: str, value: str, place: str, message: str) -> None:
    where = f"a.toml: rule 1: {key}: {place.strip(chr(34))}"
    assert refusal(toml(base | {key: value})) == f"{where}: expected {message}"


ONE_RULE = toml(CONVERSION)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "use_case: expected a text that is not empty, got nothing. Hint: use_case is required here"),
        ('use_case = ""\n', 'use_case: expected a text that is not empty, got ""'),
        ('use_case = "a"\n', "rule: expected one or more [[rule]] tables, got nothing. Hint: rule is required here"),
        (ONE_RULE.replace("[[rule]]", "[rule]"),
         "rule: expected one or more [[rule]] tables, got a table. Hint: write [[rule]], with two brackets"),
        ('use_case = "a"\nrule = [1]',
         "rule: expected one or more [[rule]] tables, got a list of 1. Hint: write [[rule]], with two brackets"),
        ('use_case = "a"\nrule = []',
         "rule: expected one or more [[rule]] tables, got a list of 0. Hint: write [[rule]], with two brackets"),
        (ONE_RULE.replace("[[rule]]", "[[rules]]"),
         'rules: expected a known key, got "rules". Hint: did you mean "rule"?'),
        ("x = 1\n" + ONE_RULE, 'x: expected a known key, got "x". Hint: known are use_case, rule'),
        ('use_case = "a"\nmargin = 1 2\n',
         'line 2: expected TOML, got "margin = 1 2". Hint: Expected newline or end of document after a statement'),
        ('use_case = "a"\n\nuse_case = "b"\n\n',
         'line 3: expected TOML, got "use_case = "b"". Hint: Cannot overwrite a value'),
        ("\n[[rule]\n", ('line 2: expected TOML, got "[[rule]". Hint: '
         "Expected ']]' at the end of an array declaration")),
        ("a = " + "[" * 100_000, f'line 1: expected TOML, got "a = {"[" * 100_000}". Hint: nested too deeply'),
        (toml(CONVERSION, TIME_SAVED, CONVERSION | {"effective_from": "2026-01-01T01:00:00+01:00"}),
         ("rule 3: effective_from: expected a start of its own for conversion and type purchase, "
         "got 2026-01-01T00:00:00Z. Hint: a.toml: rule 1 starts then too: give the newer one its own date")),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_place(text: str, message: str) -> None:
    assert refusal(text) == f"a.toml: {message}"


def test_a_fine_time_in_a_comment_or_a_text_is_no_start() -> None:
    comment = "# until 2025 this was 2025-06-01T00:00:00.1234567Z\n"
    rule = CONVERSION | {"type": '"2025-06-01T00:00:00.1234567Z"', "effective_from": "2026-01-01T00:00:00.123456Z"}
    assert parse_rules(comment + toml(rule), "a.toml")[0].rule_id.endswith("/2026-01-01T00:00:00.123456Z")


# --- several files ----------------------------------------------------------------------------------------------------


def test_two_files_for_one_use_case_are_refused_and_both_are_named() -> None:
    later = toml(CONVERSION | {"effective_from": "2026-02-01T00:00:00Z"})
    with pytest.raises(ConfigurationError) as caught:
        combine([parse_rules(ONE_RULE, "a.toml"), parse_rules(later, "b.toml")])
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


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
    return folder


def test_a_folder_and_a_single_file_are_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "rules", b=toml(CONVERSION, use_case="b"), a=toml(TIME_SAVED, use_case="a"))
    (folder / "notes.md").write_text("not a rule")
    (folder / ".#a.toml").write_text("an editor's lock")
    assert [rule.use_case for rule in load_rules(folder).rules] == ["a", "b"]
    assert [rule.use_case for rule in load_rules(folder / "b.toml").rules] == ["b"]
    assert [name for name, _ in rule_sources(folder)] == ["a.toml", "b.toml"]
    assert rule_sources(folder / "b.toml") == [("b.toml", (folder / "b.toml").read_bytes())]


def test_missing_empty_and_unreadable_rules_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.toml").write_bytes(b'use_case = "caf\xe9"')
    (tmp_path / "folder" / "x.toml").mkdir(parents=True)
    expected = {
        "none": "none: expected a folder of rule files (*.toml) or one, got nothing there",
        "empty": "empty: expected at least one rule file (*.toml), got none",
        "latin.toml": "latin.toml: expected UTF-8 text, got other bytes at position 15",
        "folder": "folder/x.toml: expected a readable file, got Is a directory",
    }
    for name, message in expected.items():
        with pytest.raises(ConfigurationError) as caught:
            load_rules(tmp_path / name)
        assert str(caught.value) == f"{tmp_path}/{message}"


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


# --- the command ------------------------------------------------------------------------------------------------------

EVERYTHING = {
    "a": toml(
        DECAY | {"margin": '"0.32"', "max_value": '"500"', "type": '"say \\"hi\\"\\n\\u007f"'},
        TRACE | {"type": '"*"', "value_per_event": '"4.2"', "effect": '"loss"', "early_tolerance": '"1h30m"'},
        POSITION | {"effective_from": "2026-03-01T00:00:00.25Z", "share": '"2.5"'},
    ),
    "b": toml(
        TIME_SAVED | {"baseline_seconds": '"0.5"', "max_seconds": "7200", "hourly_rate": '{ "*" = "1", "a b" = "2" }'},
        use_case="support",
    ),
}


def test_show_prints_every_default_and_what_it_prints_parses_to_the_same_rules(tmp_path: Path) -> None:
    folder = write(tmp_path / "rules", **EVERYTHING)
    for name in EVERYTHING:
        (tmp_path / f"{name}.toml").write_text(rules_command.show([folder / f"{name}.toml"]))
    rules = load_rules(folder).rules
    again = combine([parse_rules((tmp_path / f"{name}.toml").read_text(), name) for name in EVERYTHING])
    assert again.rules == rules
    assert rules_command.show([folder]) == "\n".join((tmp_path / f"{name}.toml").read_text() for name in EVERYTHING)


def test_show_reads_as_a_rule_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(toml(CONVERSION))
    assert rules_command.show([tmp_path]) == (
        'use_case = "search"\n\n'
        f'# "{tmp_path}/a.toml: rule 1, search/conversion/purchase/2026-01-01T00:00:00Z"\n'
        "[[rule]]\n"
        "effective_from = 2026-01-01T00:00:00Z\n"
        'kind = "conversion"\n'
        'type = "purchase"\n'
        'join = "inference"\n'
        'lookback_window = "7d"\n'
        'early_tolerance = "0s"\n'
        'credit = "last"\n'
        'share = "1"\n'
        'margin = "1"\n'
        'effect = "gain"\n'
    )


def test_check_prints_files_counts_and_digests(tmp_path: Path) -> None:
    folder = write(tmp_path / "rules", a=toml(CONVERSION, TIME_SAVED), b=toml(CONVERSION, use_case="b"))
    rules = load_rules(folder)
    lines = [f"  {rule.rule_id}  {rule.digest()}\n" for rule in rules.rules]
    assert rules_command.check([folder]) == (
        f"{folder}/a.toml: search: 2 rules\n{lines[1]}{lines[2]}"
        f"{folder}/b.toml: b: 1 rule\n{lines[0]}"
        f"2 files, 3 rules, all fine, digest {rules.digest()}\n"
    )
    assert lines[0].startswith("  b/conversion/purchase/2026-01-01T00:00:00Z  ")


def test_check_names_every_wrong_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "rules", a="x = 1", b=toml(CONVERSION), c="y = 1")
    with pytest.raises(ConfigurationError) as caught:
        rules_command.check([folder])
    assert [line.partition(": expected")[0] for line in str(caught.value).splitlines()] == [
        f"{folder}/a.toml: x",
        f"{folder}/c.toml: y",
    ]


def test_diff_names_what_was_added_removed_and_changed_and_ends_with_1(tmp_path: Path) -> None:
    old = write(tmp_path / "old", a=toml(CONVERSION | {"margin": '"0.32"'}, DECAY | {"type": '"signup"'}))
    new = write(
        tmp_path / "new", a=toml(CONVERSION | {"value_per_event": '"4"', "lookback_window": '"1d"'}, TIME_SAVED)
    )
    text, exit_code = rules_command.diff(old, new)
    assert exit_code == 1
    assert text == (
        "changed  search/conversion/purchase/2026-01-01T00:00:00Z\n"
        '  lookback_window: "7d" -> "1d"\n'
        '  margin: "0.32" -> nothing\n'
        '  value_per_event: nothing -> "4"\n'
        "removed  search/conversion/signup/2026-01-01T00:00:00Z\n"
        "added    search/time_saved/*/2026-01-01T00:00:00Z\n"
    )


def test_diff_of_equal_rules_ends_with_0(tmp_path: Path) -> None:
    old = write(tmp_path / "old", a=toml(CONVERSION | {"lookback_window": '"24h"'}))
    new = write(tmp_path / "new", renamed=toml(CONVERSION | {"lookback_window": '"1d"', "margin": '"1.0"'}))
    assert rules_command.diff(old, new) == ("no differences\n", 0)


# --- decimals and durations -------------------------------------------------------------------------------------------


@given(number=st.integers(0, 10**30), places=st.integers(0, 12))
def test_decimal_text_and_units_are_inverse(number: int, places: int) -> None:
    assert units(decimal_text(number, places), places) == number


@given(milliseconds=st.integers(0, DURATION_MAX_US // 1000))
def test_the_canonical_text_of_a_duration_parses_to_it(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds * 1000)) == milliseconds * 1000


@given(st.permutations(["1w", "2d", "3h", "4m", "5s", "6ms"]))
def test_the_order_of_units_does_not_matter(parts: list[str]) -> None:
    assert format_duration(parse_duration("".join(parts))) == "9d3h4m5s6ms"


@pytest.mark.parametrize(
    "text", ["", "d", "7", "7D", "7d ", "7d\n", "7dd", "1m1m", "1.5h", "+1d", "\u0667d", "1" * 5000 + "d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1.", ".1", "1e3", "1_0", " 1", "1\n", "\u0661", "0.1234567890", "1" * 31]
)
def test_what_is_no_exact_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        units(text, 9)
