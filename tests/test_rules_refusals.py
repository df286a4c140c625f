"""What a rule file may not say: each mistake is one message with place, expected, got and a hint."""

from __future__ import annotations

import pytest

from attribution.rules import parse_rules
from schemas.errors import ConfigurationError
from tests.rule_texts import CONVERSION, DECAY, POSITION, TIME_SAVED, TRACE, toml, without

DURATION = 'a duration such as "7d" or "1h30m" (units ms s m h d w, each at most once; at most 36500d)'
INSTANT = "a date-time with an offset such as 2026-01-01T00:00:00Z, from 2000 to 2199"
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


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(text, "a.toml")
    assert caught.value.exit_code == 2
    return str(caught.value)


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
