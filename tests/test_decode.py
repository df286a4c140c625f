"""The bulk decoder of JSON Lines against the strict one, record by record."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import FIELDS, Kind, canonical_columns
from streams import decode as decode_module
from streams import json_block
from streams.columns import times_us
from streams.decode import MAPPINGS, decode
from streams.strict_record import Refused, decode_record
from tests.records import (
    LIMITS,
    NASTY,
    PLAIN,
    TIME,
    TIMES,
    assert_agrees,
    assert_as_strict,
    block,
    decode_lines,
    record,
    refusals,
    values,
)

KINDS = pytest.mark.parametrize("kind", list(Kind))


@pytest.fixture
def _search_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks would never be searched: their few look-alikes go to the strict decoder."""
    monkeypatch.setattr(json_block, "_FEW_ROWS", 0)


@KINDS
def test_any_value_in_any_field_is_taken_or_refused_as_the_strict_decoder_does(kind: Kind) -> None:
    for token in NASTY:
        lines = [record(kind, **{field.name: token}) for field in FIELDS[kind]]
        assert_agrees([record(kind), *lines, record(kind)], kind)


@KINDS
@pytest.mark.usefixtures("_search_always")
def test_values_that_polars_takes_stay_with_good_neighbours_in_one_block(kind: Kind) -> None:
    for field in FIELDS[kind]:
        lines = [record(kind, **{field.name: token}) for token in NASTY]
        assert_agrees([record(kind), *lines, record(kind)], kind)
        taken = [line for line in lines if _polars_takes(line, kind)]
        assert_agrees([record(kind), *taken, record(kind)], kind)


def _polars_takes(line: bytes, kind: Kind) -> bool:
    try:
        pl.read_ndjson(line, schema=canonical_columns(kind) | {"event_time": pl.String()})
    except pl.exceptions.PolarsError:
        return False
    return True


BROKEN = [
    b"", b"{", b"}", b"[]", b"{}", b"null", b"1", b'"a"', b"{}{}", b"{} {}", b"[{}]", b"\xff", b'{"a": "\xff"}',
    b'{"a": "\xed\xa0\x80"}', b"\xef\xbb\xbf{}", b'{"a": 1}x', b"{'a': 1}", b'{"a": 1,}', b'{"a": NaN}',
    b'{"a": 1e400}', b'{"a": "\x01"}', b"\x0c", b"\x0b", b"\xc2\xa0", b"\x00", b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}",
    b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}", b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", b"[" * 5000,
    b'{"a": "' + b"[" * 100 + b'"}', b"x" * 60_000,
    b'{"a": "' + b"x" * 49_990 + b'"}', b'{"a": "' + b"x" * 49_991 + b'"}',
]  # fmt: skip


@KINDS
def test_a_broken_line_leaves_its_neighbours_alone(kind: Kind) -> None:
    good = record(kind)
    for line in BROKEN:
        lines = [line, good, line, good, line] if line else [good]
        assert_agrees(lines, kind)
    assert_agrees([good, *(line for line in BROKEN if line), good], kind)


@KINDS
def test_unknown_fields_are_ignored_whatever_they_hold(kind: Kind) -> None:
    for token in (
        "1e400",
        '"\\ud800"',
        "[" * 60 + "]" * 60,
        '{"event_id": 1, "inference_id": 2, "event_time": "5"}',
        "null",
    ):
        assert_agrees([record(kind), record(kind, other=token), record(kind)], kind)
    deep = [record(kind, other="[" * depth + "]" * depth) for depth in (62, 63, 64, 65)]
    wide = record(kind, other="[" + ",".join(["[]"] * 200) + "]")
    decoded = decode_lines([*deep, wide], kind)
    assert_as_strict(decoded, [*deep, wide], kind)
    assert decoded.dead_letters["source_offset"].to_list() == [2, 3]


@KINDS
@pytest.mark.usefixtures("_search_always")
def test_of_equal_keys_the_first_counts(kind: Kind) -> None:
    pairs = [("null", '"x"'), ("7", '"7"'), ('"7"', "7"), (TIME, "1"), ("1767225600000", '"7"'), ("{}", '{"a": 1}')]
    for field in FIELDS[kind]:
        rest = ",".join(f'"{name}": {text}' for name, text in PLAIN[kind].items() if name != field.name)
        for first, second in pairs:
            line = f'{{"{field.name}": {first}, "{field.name}": {second}, {rest}}}'.encode()
            assert_agrees([record(kind), line, record(kind)], kind)


@KINDS
@pytest.mark.usefixtures("_search_always")
def test_escapes_in_keys_hide_nothing(kind: Kind) -> None:
    """``"event_\\u0069d"`` is the same key to JSON, but not to a search through its bytes."""
    tokens = ("7", '"7"', "true", "1767225600000", '["7"]', "[7]", '{"a": "b"}', '"{\\"a\\": \\"b\\"}"')
    for field in FIELDS[kind]:
        rest = ",".join(f'"{name}": {text}' for name, text in PLAIN[kind].items() if name != field.name)
        lines = []
        for place, letter in enumerate(field.name):
            key = f"{field.name[:place]}\\u{ord(letter):04x}{field.name[place + 1 :]}"
            lines.append(f'{{"{key}": {tokens[place % len(tokens)]}, {rest}}}'.encode())
        for line in lines:
            assert_agrees([record(kind), line, record(kind)], kind)


FIRST, LAST = (datetime.fromisoformat(f"{year}-01-01") for year in (2000, 2200))
tokens = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=8).map(json.dumps),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.integers(946_684_799_990, 7_258_118_400_010).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**13), max_value=10**13).map(
        lambda number: f'"{number:f}"'
    ),
    st.datetimes(FIRST - timedelta(days=2), LAST + timedelta(days=2)).map(lambda time: f'"{time.isoformat()}+01:00"'),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3)).map(json.dumps),
    st.lists(st.text(max_size=3) | st.integers(0, 9), max_size=4).map(json.dumps),
)
BLANK = st.sampled_from(["", " ", "  ", "\t"])


@st.composite
def nasty_lines(draw: st.DrawFn, kind: Kind) -> bytes:
    chosen = draw(st.dictionaries(st.sampled_from([field.name for field in FIELDS[kind]]), tokens, max_size=5))
    members = list((PLAIN[kind] | chosen).items())
    members = draw(st.permutations(members))
    space = draw(BLANK)
    line = ("{" + f"{space},".join(f'"{name}"{space}:{space}{text}' for name, text in members) + "}").encode()
    if draw(st.integers(0, 9)) == 0:  # cut, doubled or changed somewhere
        place = draw(st.integers(0, len(line) - 1))
        line = (
            line[:place]
            + draw(st.sampled_from([b"", b"\xff", b'"', b"\\", b"{", b"}", b",", b":", b"1", b"\x00"]))
            + line[place + 1 :]
        )
    return line


@KINDS
@given(data=st.data())
def test_random_records_are_decoded_as_the_strict_decoder_does(kind: Kind, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_block, "_FEW_ROWS", data.draw(st.sampled_from([0, 2])))
        lines = data.draw(st.lists(nasty_lines(kind), min_size=1, max_size=8))
        assert_agrees([record(kind), *lines, record(kind)], kind)


#: What producers commonly send and a careless proof would send to the slow path: (kind, fields).
COMMON: list[tuple[Kind, dict[str, str | None]]] = [
    (Kind.INFERENCE, {"inference_id": '"00417"', "session_id": '"17"', "trace_id": '"1234567890123456"'}),
    (Kind.INFERENCE, {"input_tokens": "17", "cached_input_tokens": "17", "cost": "1e-7", "cost_currency": '"USD"'}),
    (Kind.INFERENCE, {"event_time": "1767225600000", "session_id": "null", "cache_hit": "true"}),
    (Kind.INFERENCE, {"event_time": '"2026-03-01T12:00:00.123456789+05:30"', "status": '"failed"'}),
    (Kind.INFERENCE, {"attributes": '{"b": "\\"x\\"\\n\\t", "a": "\\ud83d\\ude00 \\u003c"}', "model": '"\\u00e9"'}),
    (Kind.CONVERSION, {"amount": "19.99", "currency": '"EUR"', "inference_id": '"7"'}),
    (Kind.CONVERSION, {"amount": '"19.99"', "currency": '"EUR"', "inference_ids": '["7", "6", "7"]'}),
    (Kind.CONVERSION, {"amount": "0.30000000000000004", "currency": '"EUR"', "trace_id": '"true"', "quantity": "2"}),
    (Kind.TIME_SAVED, {"seconds": None, "actual_seconds": "1.5", "baseline_seconds": '"60"', "role": '"agent"'}),
    (Kind.REVERSAL, {"amount": "5", "reason": '"42"', "reverses": '"17"'}),
    (Kind.SCORE, {"event_id": '"17"', "score": "-0.25", "attributes": '{"judge": "m"}'}),
    (Kind.SCORE, {"inference_id": None, "inference_ids": '["7", "6", "7"]', "score": '"4"'}),
    (Kind.SCORE, {"inference_id": None, "trace_id": '"17"'}),
]


@pytest.mark.parametrize(("kind", "fields"), COMMON)
def test_common_data_never_needs_the_strict_decoder(
    kind: Kind, fields: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [record(kind, **fields)] * 300
    expected = decode_record(lines[0], kind, LIMITS)
    monkeypatch.setattr(decode_module, "decode_record", lambda *_: pytest.fail("decoded one by one"))
    decoded = decode_lines(lines, kind)
    assert not isinstance(expected, Refused)
    assert values(decoded) == dict.fromkeys(range(300), expected)


@KINDS
def test_a_wrong_line_among_many_costs_no_other_line_the_bulk_path(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []

    def spy(raw: bytes, *rest: object) -> object:
        calls.append(raw)
        return decode_record(raw, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(decode_module, "decode_record", spy)
    wrong = [b"{", b'{"a": "\xff"}', record(kind, event_time="true")]
    lines = [*[record(kind)] * 1000, *wrong, *[record(kind)] * 1000]
    decoded = decode_lines(lines, kind)
    assert calls == wrong
    assert decoded.events["source_offset"].to_list() == [*range(1000), *range(1003, 2003)]


def test_blank_lines_are_no_records_and_are_not_counted() -> None:
    good, bad = record(Kind.CONVERSION), b"{}"
    data = b"\n  \n" + good + b"\r\n\t\r\n\n" + bad + b"\r\n \n  " + good + b" \n" + good
    decoded = decode(block(data, first_offset=10), Kind.CONVERSION, LIMITS)
    assert decoded.read == 4
    assert decoded.events["source_offset"].to_list() == [10, 12, 13]
    assert refusals(decoded) == {11: ("missing_field", "event_id: required", bad)}


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\t\n"])
def test_a_block_without_records_gives_empty_frames(data: bytes) -> None:
    assert_as_strict(decode(block(data), Kind.INFERENCE, LIMITS), [], Kind.INFERENCE)


def test_a_record_is_too_large_from_one_byte_over_the_limit_without_its_line_end() -> None:
    padding = LIMITS.max_record_bytes - len(record(Kind.CONVERSION, other='""'))
    fits, over = (record(Kind.CONVERSION, other=f'"{"x" * (padding + more)}"') for more in (0, 1))
    for end in (b"\n", b"\r\n"):
        data = end.join([fits, over, fits, record(Kind.CONVERSION), over])
        decoded = decode(block(data), Kind.CONVERSION, LIMITS)
        assert_as_strict(decoded, [fits, over, fits, record(Kind.CONVERSION), over], Kind.CONVERSION)
        assert decoded.dead_letters["reason"].to_list() == ["too_large"] * 2


def test_events_and_dead_letters_say_where_they_were_read() -> None:
    decoded = decode(block(record(Kind.REVERSAL) + b"\n{", first_offset=7), Kind.REVERSAL, LIMITS)
    source = ("source_topic", "source_partition", "source_offset", "source_file")
    assert decoded.events.select(source).rows() == [("topic", 0, 7, "a.jsonl")]
    assert decoded.dead_letters.select(source).rows() == [("topic", 0, 8, "a.jsonl")]
    assert decoded.dead_letters["record_key"].to_list() == [None]


def test_the_only_mapping_so_far_is_the_canonical_one() -> None:
    assert list(MAPPINGS) == ["canonical"]


@pytest.mark.parametrize("kind", [Kind.CONVERSION, Kind.TIME_SAVED, Kind.SCORE])
def test_ten_thousand_different_ids_are_the_most(kind: Kind) -> None:
    ids = [f"i{n}" for n in range(10_001)]
    most, over, repeated = ids[:-1], ids, [*ids[:-1], *ids[:5]]
    limits = type(LIMITS)(1 << 20, LIMITS.max_future_skew_us, LIMITS.now_us)
    lines = [record(kind, inference_id=None, inference_ids=json.dumps(each)) for each in (most, over, repeated)]
    decoded = decode_lines(lines, kind, limits)
    assert_as_strict(decoded, lines, kind, limits)
    assert decoded.events["inference_ids"].to_list() == [sorted(most)] * 2
    assert decoded.dead_letters["reason"].to_list() == ["out_of_range"]


@given(st.lists(st.sampled_from(TIMES) | st.datetimes().map(lambda time: f"{time.isoformat()}Z")))
def test_times_read_in_bulk_are_those_of_the_strict_decoder(texts: list[str]) -> None:
    times, _ = times_us(pl.Series(texts, dtype=pl.String))
    limits = type(LIMITS)(1 << 20, 1 << 62, 0)
    for text, us in zip(texts, times, strict=True):
        strict = decode_record(record(Kind.CONVERSION, event_time=f'"{text}"'), Kind.CONVERSION, limits)
        assert us is None or (not isinstance(strict, Refused) and strict["event_time"] == us)


def test_a_score_names_inferences_in_exactly_one_way_in_bulk_too() -> None:
    ways = {"inference_id": '"i1"', "inference_ids": '["i1"]', "trace_id": '"t1"'}
    chosen = [[way for bit, way in enumerate(ways) if mask >> bit & 1] for mask in range(8)]
    none = dict.fromkeys(ways)
    lines = [record(Kind.SCORE, **none | {way: ways[way] for way in names}) for names in chosen]
    decoded = decode_lines(lines, Kind.SCORE)
    assert_as_strict(decoded, lines, Kind.SCORE)
    assert decoded.events["source_offset"].to_list() == [n for n, names in enumerate(chosen) if len(names) == 1]
    found = refusals(decoded)
    assert {reason for n, (reason, _, _) in found.items() if chosen[n]} == {"conflicting_fields"}
    assert found[0][:2] == ("missing_field", "inference_id, inference_ids or trace_id: required")


def test_decimals_are_rounded_half_even_to_the_last_place() -> None:
    amounts = {'"1.0000000005"': "1", '"1.0000000015"': "1.000000002", '"1.00000000050000000001"': "1.000000001"}
    lines = [record(Kind.CONVERSION, amount=text, currency='"USD"') for text in amounts]
    decoded = decode_lines(lines, Kind.CONVERSION)
    assert decoded.events["amount"].to_list() == [Decimal(number) for number in amounts.values()]
