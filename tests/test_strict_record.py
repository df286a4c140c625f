"""One record at a time: what is accepted, what is refused, and which reason wins."""

from __future__ import annotations

from decimal import Decimal

import pytest

from schemas.events import COUNT_MAX, Kind, canonical_columns
from schemas.reasons import Refusal
from streams.strict_record import Limits, Record, Refused, decode_record
from tests.records import LIMITS, NOW, record


def decoded(limits: Limits, kind: Kind, fields: dict[str, str | None]) -> Record | Refused:
    return decode_record(record(kind, **fields), kind, limits)


def accepted(kind: Kind, **fields: str | None) -> Record:
    result = decoded(LIMITS, kind, fields)
    assert not isinstance(result, Refused), result
    return result


def refused(kind: Kind, **fields: str | None) -> tuple[str, str]:
    result = decoded(LIMITS, kind, fields)
    assert isinstance(result, Refused), result
    return result.reason.value, result.detail


def reason(raw: bytes, kind: Kind = Kind.CONVERSION) -> str:
    result = decode_record(raw, kind, LIMITS)
    assert isinstance(result, Refused), result
    return result.reason.value


@pytest.mark.parametrize("kind", list(Kind))
def test_the_plainest_record_has_every_canonical_column(kind: Kind) -> None:
    assert list(accepted(kind)) == list(canonical_columns(kind))


#: A conversion with a fault for each reason that a field can have, in order; taking the first away shows the next.
FAULTS: list[tuple[str, dict[str, str | None]]] = [
    ("missing_field", {"type": None}),
    ("invalid_id", {"event_id": "7"}),
    ("invalid_time", {"event_time": '"yesterday"'}),
    ("invalid_number", {"amount": '"1e3"'}),
    ("out_of_range", {"quantity": "-1"}),
    ("unknown_currency", {"currency": '"usd"'}),
    ("invalid_value", {"attributes": '{"a": 1}'}),
    ("conflicting_fields", {"inference_id": '"i"', "trace_id": '"t"'}),
]


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_of_several_faults_the_first_in_order_is_the_reason(first: int) -> None:
    fields: dict[str, str | None] = {"amount": "1", "currency": '"USD"'}
    for _, fault in FAULTS[first:]:
        fields |= fault
    assert refused(Kind.CONVERSION, **fields)[0] == FAULTS[first][0]


def test_a_future_time_comes_after_an_invalid_one_and_before_an_invalid_number() -> None:
    late = '"2026-06-01T00:05:00.000001Z"'
    assert refused(Kind.CONVERSION, event_time=late, amount='"x"')[0] == "future_time"
    assert refused(Kind.CONVERSION, event_time=late, event_id='""')[0] == "invalid_id"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\xff" * 50_001, "too_large"),
        (b"\xff" * 50_000, "not_utf8"),
        (b'{"a": "\xed\xa0\x80"', "not_utf8"),
        (b'{"event_id": 7', "malformed_json"),
        (b"[", "malformed_json"),
        (b"[7]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"7", "not_an_object"),
        (b'"a"', "not_an_object"),
        (b'{"event_id": 7}', "missing_field"),
        (b"{}", "missing_field"),
        (b"{}{}", "malformed_json"),
        (b"{'a': 1}", "malformed_json"),
        (b'{"a": 1,}', "malformed_json"),
        (b'{"a": NaN}', "malformed_json"),
        (b'{"a": -Infinity}', "malformed_json"),
        (b'{"a": 01}', "malformed_json"),
        (b'{"a": "\x1f"}', "malformed_json"),
        (b"\xef\xbb\xbf{}", "malformed_json"),
        (b"\x0c", "malformed_json"),
    ],
)
def test_what_is_no_object_of_json_is_refused_before_any_field(raw: bytes, expected: str) -> None:
    assert reason(raw) == expected


def test_64_levels_of_nesting_are_accepted_and_65_are_not() -> None:
    for depth, brackets in ((63, "[]"), (31, "{}")):
        nest = "[" * depth + "]" * depth if brackets == "[]" else '{"a":[' * depth + "]}" * depth
        accepted(Kind.CONVERSION, other=nest)
    for nest in ("[" * 64 + "]" * 64, '{"a":[' * 32 + "]}" * 32, "[" * 100_000):
        result = decoded(Limits(1 << 20, 0, LIMITS.now_us), Kind.CONVERSION, {"other": nest})
        assert result == Refused(Refusal.MALFORMED_JSON, "more than 64 levels of nesting")


def test_brackets_in_texts_and_side_by_side_are_no_nesting() -> None:
    accepted(Kind.CONVERSION, other='"' + "[" * 100 + '\\"{"', another="[" + ",".join(["[]"] * 100) + "]")


@pytest.mark.parametrize(
    ("kind", "fields", "detail"),
    [
        (Kind.INFERENCE, {"model": None}, "model: required"),
        (Kind.INFERENCE, {"use_case": "null", "model": "null"}, "use_case: required"),
        (Kind.CONVERSION, {"event_id": None}, "event_id: required"),
        (Kind.TIME_SAVED, {"seconds": None}, "seconds or actual_seconds: required"),
        (Kind.TIME_SAVED, {"seconds": None, "baseline_seconds": "5"}, "actual_seconds: required"),
        (Kind.REVERSAL, {"reverses": None}, "reverses: required"),
        (Kind.SCORE, {"name": None}, "name: required"),
        (Kind.SCORE, {"score": "null"}, "score: required"),
        (Kind.SCORE, {"inference_id": "null"}, "inference_id, inference_ids or trace_id: required"),
    ],
)
def test_a_missing_or_null_field_is_named(kind: Kind, fields: dict[str, str | None], detail: str) -> None:
    assert refused(kind, **fields) == ("missing_field", detail)


@pytest.mark.parametrize("text", ['"a"', f'"{"x" * 256}"', f'"{"é" * 128}"', '"\\u0000"', '" "', '"\\ud83d\\ude00"'])
def test_an_id_is_1_to_256_bytes(text: str) -> None:
    accepted(Kind.CONVERSION, event_id=text)


@pytest.mark.parametrize("text", ['""', f'"{"x" * 257}"', f'"{"é" * 128}x"', "7", "true", '["a"]', '"\\ud800"'])
def test_any_other_id_is_invalid(text: str) -> None:
    for field in ("event_id", "inference_id", "trace_id"):
        assert refused(Kind.CONVERSION, **{field: text})[0] == "invalid_id"


def test_named_inferences_are_a_sorted_set_and_one_id_a_list_of_one() -> None:
    assert accepted(Kind.CONVERSION, inference_ids='["é", "b", "Z", "b"]')["inference_ids"] == ["Z", "b", "é"]
    assert accepted(Kind.TIME_SAVED, inference_id='"b"')["inference_ids"] == ["b"]
    assert accepted(Kind.SCORE, inference_id='"b"')["inference_ids"] == ["b"]
    assert accepted(Kind.SCORE, inference_id=None, trace_id='"t"')["inference_ids"] is None
    assert accepted(Kind.CONVERSION)["inference_ids"] is None


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ("[]", "out_of_range"),
        ('"a"', "invalid_id"),
        ('["a", null]', "invalid_id"),
        ('["a", 7]', "invalid_id"),
        ('{"a": "b"}', "invalid_id"),
    ],
)
def test_a_list_of_ids_holds_one_at_least_and_nothing_but_ids(ids: str, expected: str) -> None:
    assert refused(Kind.CONVERSION, inference_ids=ids)[0] == expected


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ('"2000-01-01T00:00:00Z"', 946_684_800_000_000),
        ('"1999-12-31T23:00:00-01:00"', 946_684_800_000_000),
        ("946684800000", 946_684_800_000_000),
        ('"2024-02-29T05:30:00.1234567899+05:30"', 1_709_164_800_123_456),
        ('"2026-03-01T00:00:00.5-00:00"', 1_772_323_200_500_000),
        ('"2026-06-01T00:05:00Z"', 1_780_272_300_000_000),
    ],
)
def test_times_are_rfc_3339_or_epoch_milliseconds(text: str, us: int) -> None:
    assert accepted(Kind.CONVERSION, event_time=text)["event_time"] == us


@pytest.mark.parametrize("text", ['"2199-12-31T23:59:59.9999999Z"', "7258118399999"])
def test_times_reach_to_the_end_of_2199(text: str) -> None:
    result = decoded(Limits(1000, 0, 1 << 62), Kind.CONVERSION, {"event_time": text})
    assert not isinstance(result, Refused), result


@pytest.mark.parametrize(
    "text",
    """
    "2026-03-01T00:00:00" "2026-03-01" "2026-03-01T00:00Z" "2026-03-01t00:00:00Z" "2026-03-01T00:00:00z"
    "2026-03-01T00:00:00+0530" "2026-03-01T00:00:00+05" "2026-03-01T00:00:00+24:00" "2026-03-01T00:00:00+05:60"
    "2026-03-01T24:00:00Z" "2026-03-01T00:60:00Z" "2026-03-01T00:00:60Z" "2026-02-29T00:00:00Z"
    "2100-02-29T00:00:00Z" "2026-13-01T00:00:00Z" "2026-00-01T00:00:00Z" "2026-04-31T00:00:00Z" "2026-03-01T00:00:00.Z"
    "2026-03-01T00:00:00,5Z"
    "1999-12-31T23:59:59.999999Z" "2200-01-01T00:00:00Z" "2000-01-01T00:00:00+00:01" "٢026-03-01T00:00:00Z" ""
    946684799999 7258118400000 1767225600000.0 1.7672256e12 "1767225600000" 1767225600 -1 true {} []
    """.split(),
)
def test_any_other_time_is_invalid(text: str) -> None:
    assert refused(Kind.CONVERSION, event_time=text)[0] == "invalid_time"


def test_a_time_may_be_ahead_of_the_record_by_the_skew_and_no_more() -> None:
    limits = Limits(1000, max_future_skew_us=2_000, now_us=int(NOW.timestamp()) * 1_000_000)
    last, over = (decoded(limits, Kind.CONVERSION, {"event_time": ms}) for ms in ("1780272000002", "1780272000003"))
    assert not isinstance(last, Refused)
    assert isinstance(over, Refused)
    assert over.reason is Refusal.FUTURE_TIME


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("19.99", "19.99"),
        ('"19.99"', "19.99"),
        ("0.1", "0.1"),
        ("1e2", "100"),
        ("5e-324", "0"),
        ("-0.0", "0"),
        ('"-0"', "0"),
        ('"007"', "7"),
        ("0.30000000000000004", "0.3"),
        ("100000.1234567895", "100000.12345679"),
        ('"1.0000000005"', "1"),
        ('"1.0000000015"', "1.000000002"),
        ('"-0.0000000005"', "0"),
        ('"999999999999.9999999994"', "999999999999.999999999"),
        (f'"1.{"0" * 500}1"', "1"),
    ],
)
def test_a_number_means_its_shortest_decimal_text_rounded_half_even(text: str, number: str) -> None:
    assert accepted(Kind.CONVERSION, amount=text, currency='"USD"')["amount"] == Decimal(number)


@pytest.mark.parametrize(
    "text", ['"1e3"', '"+1"', '".5"', '"1."', '""', '" 1"', '"NaN"', '"١"', "true", "[1]", '"\\ud800"']
)
def test_any_other_number_is_invalid(text: str) -> None:
    assert refused(Kind.CONVERSION, amount=text, currency='"USD"')[0] == "invalid_number"


@pytest.mark.parametrize(
    ("kind", "field", "inside", "outside"),
    [
        (Kind.CONVERSION, "amount", "999999999999.9999", "1000000000000"),
        (Kind.CONVERSION, "amount", "0", '"-0.000000001"'),
        (Kind.CONVERSION, "amount", '"0"', '"999999999999.9999999996"'),
        (Kind.CONVERSION, "amount", "0", "1e400"),
        (Kind.CONVERSION, "amount", "0", "9" * 400),
        (Kind.CONVERSION, "quantity", '"999999.999999999"', "1000000"),
        (Kind.TIME_SAVED, "seconds", '"-999999999.999999999"', '"-1000000000"'),
        (Kind.TIME_SAVED, "seconds", '"999999999.999999999"', "1e9"),
        (Kind.REVERSAL, "seconds", "0", "-1"),
        (Kind.SCORE, "score", '"-999999999.999999999"', '"-999999999.9999999996"'),
        (Kind.SCORE, "score", '"999999999.999999999"', "1000000000"),
        (Kind.INFERENCE, "cost", '"999999999999.999999999999"', '"999999999999.9999999999996"'),
        (Kind.INFERENCE, "input_tokens", str(COUNT_MAX), str(COUNT_MAX + 1)),
        (Kind.INFERENCE, "latency_ms", "-0", "-1"),
        (Kind.INFERENCE, "latency_ms", "0", "9" * 400),
    ],
)
def test_bounds_hold_for_the_rounded_number(kind: Kind, field: str, inside: str, outside: str) -> None:
    currency = {"amount": "currency", "cost": "cost_currency"}.get(field)
    rest = {currency: '"USD"'} if currency else {}
    accepted(kind, **rest, **{field: inside})
    assert refused(kind, **rest, **{field: outside})[0] == "out_of_range"


def test_a_negative_baseline_or_actual_is_out_of_range() -> None:
    for field in ("baseline_seconds", "actual_seconds"):
        fields = {"seconds": None, "baseline_seconds": "1", "actual_seconds": "1", field: "-1"}
        assert refused(Kind.TIME_SAVED, **fields)[0] == "out_of_range"


@pytest.mark.parametrize("text", ["1.0", "1e3", '"5"', "true", "1.5"])
def test_a_count_is_an_integer_without_fraction_or_exponent(text: str) -> None:
    assert refused(Kind.INFERENCE, output_tokens=text)[0] == "invalid_number"


@pytest.mark.parametrize("text", ['"usd"', '"XYZ"', '"BGN"', '""', "840", '"USD "', '"\\ud800"'])
def test_a_currency_is_an_active_code(text: str) -> None:
    assert refused(Kind.CONVERSION, amount="1", currency=text)[0] == "unknown_currency"


@pytest.mark.parametrize(
    "fields",
    [
        {"model": '""'},
        {"use_case": "7"},
        {"provider": "7"},
        {"provider": '"\\udc00"'},
        {"status": '"SERVED"'},
        {"service_tier": '""'},
        {"cache_hit": "1"},
        {"cache_hit": '"true"'},
        {"attributes": '"{}"'},
        {"attributes": '{"a": null}'},
        {"attributes": '{"a": 1}'},
        {"attributes": '["a"]'},
        {"attributes": '{"\\ud800": "a"}'},
    ],
)
def test_a_wrong_type_or_word_anywhere_else_is_an_invalid_value(fields: dict[str, str | None]) -> None:
    assert refused(Kind.INFERENCE, **fields)[0] == "invalid_value"


@pytest.mark.parametrize(
    ("kind", "fields", "detail"),
    [
        (Kind.INFERENCE, {"cost": "1"}, "cost: given without cost_currency"),
        (Kind.INFERENCE, {"cost_currency": '"USD"'}, "cost_currency: given without cost"),
        (
            Kind.INFERENCE,
            {"input_tokens": "5", "cached_input_tokens": "3", "cache_write_input_tokens": "3"},
            "cached_input_tokens + cache_write_input_tokens: 6, above input_tokens: 5",
        ),
        (Kind.CONVERSION, {"amount": "1"}, "amount: given without currency"),
        (Kind.CONVERSION, {"currency": '"USD"'}, "currency: given without amount"),
        (
            Kind.CONVERSION,
            {"inference_id": '"i"', "inference_ids": '["i"]'},
            "inference_id and inference_ids: at most one of inference_id, inference_ids, trace_id",
        ),
        (
            Kind.TIME_SAVED,
            {"actual_seconds": "5"},
            "seconds and actual_seconds: at most one of seconds, actual_seconds",
        ),
        (
            Kind.TIME_SAVED,
            {"baseline_seconds": "5"},
            "seconds and baseline_seconds: at most one of seconds, baseline_seconds",
        ),
        (
            Kind.REVERSAL,
            {"amount": "1", "quantity": "1"},
            "amount and quantity: at most one of amount, quantity, seconds",
        ),
        (Kind.REVERSAL, {"currency": '"USD"', "seconds": "1"}, "currency: given without amount"),
        (
            Kind.SCORE,
            {"trace_id": '"t"'},
            "inference_id and trace_id: at most one of inference_id, inference_ids, trace_id",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(kind: Kind, fields: dict[str, str | None], detail: str) -> None:
    assert refused(kind, **fields) == ("conflicting_fields", detail)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": '""'}, "invalid_value"),
        ({"name": "7"}, "invalid_value"),
        ({"score": '"good"'}, "invalid_number"),
        ({"score": "true"}, "invalid_number"),
        ({"attributes": '{"a": 1}'}, "invalid_value"),
    ],
)
def test_a_score_has_a_name_and_a_figure(fields: dict[str, str | None], expected: str) -> None:
    assert refused(Kind.SCORE, **fields)[0] == expected


def test_parts_of_the_input_may_be_all_of_it_and_anything_where_it_is_not_given() -> None:
    parts = {"cached_input_tokens": "3", "cache_write_input_tokens": "2"}
    accepted(Kind.INFERENCE, input_tokens="5", **parts)
    accepted(Kind.INFERENCE, **parts)
    assert refused(Kind.INFERENCE, input_tokens="2", cached_input_tokens="3")[0] == "conflicting_fields"


def test_absent_and_null_are_the_same_and_defaults_are_filled_in() -> None:
    nulls = accepted(Kind.INFERENCE, status="null", attributes="null", cost="null", trace_id="null")
    assert nulls == accepted(Kind.INFERENCE) == accepted(Kind.INFERENCE, attributes="{}", status='"served"')
    assert nulls["status"] == "served"
    assert accepted(Kind.CONVERSION, quantity="null")["quantity"] == 1
    assert accepted(Kind.REVERSAL)["quantity"] is None


def test_attributes_are_compact_json_with_keys_in_byte_order_and_the_first_of_equal_keys() -> None:
    text = '{"z": "1", "é": "2", "Z": "\\u0000\\n\\"", "\\ud83d\\ude00": "4", "\\uffff": "5", "z": "6"}'
    canonical = '{"Z":"\\u0000\\n\\"","z":"1","é":"2","\uffff":"5","😀":"4"}'
    assert accepted(Kind.CONVERSION, attributes=text)["attributes"] == canonical


def test_a_message_stays_short_and_is_valid_text() -> None:
    long, lone = (refused(Kind.CONVERSION, event_id=text)[1] for text in (f'"{"é" * 300}"', '"\\ud800"'))
    assert len(long) < 200
    assert lone == 'event_id: expected a text of 1 to 256 bytes, got "\\ud800"'


def test_every_reason_a_single_record_can_have_is_shown_here_in_its_place() -> None:
    shown = ["too_large", "not_utf8", "malformed_json", "not_an_object", *(name for name, _ in FAULTS)]
    shown.insert(shown.index("invalid_number"), "future_time")
    assert shown == [reason.value for reason in Refusal][: len(shown)]
