"""Parquet rows: every column type in every field is decoded as the row's JSON is by the strict decoder."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from schemas.events import FIELDS, Kind
from streams import decode as decode_module
from streams.decode import Decoded, Limits, decode
from streams.parquet_rows import rows_as_json
from tests.records import LIMITS, PLAIN, assert_as_strict, block, refusals, values

KINDS = pytest.mark.parametrize("kind", list(Kind))
PLAIN_TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)


def integers(values: list[int | None], dtype: pl.DataType) -> pl.Series:
    return pl.Series(values, dtype=pl.Int64).cast(dtype)


#: Four values of each type that a Parquet file can hold, odd ones among them.
COLUMNS: dict[str, pl.Series] = {
    "text": pl.Series(["1.5", "USD", None, ""]),
    "text_time": pl.Series(["2026-03-01T12:00:00Z", "1767225600000", None, "2026-03-01 12:00:00Z"]),
    "words": pl.Series(["served", "USD", None, "x"], dtype=pl.Categorical),
    "enum": pl.Series(["1", "1", None, "1"], dtype=pl.Enum(["1"])),
    "int8": pl.Series([1, -1, None, 5], dtype=pl.Int8),
    "uint64": pl.Series([1, 2**64 - 1, None, 2**53 - 1], dtype=pl.UInt64),
    "int64": pl.Series([1_767_225_600_000, 2**62, None, -(2**63)]),
    "int128": pl.Series([1, 2**100, None, 3], dtype=pl.Int128),
    "double": pl.Series([19.99, 1e-7, 1e22, 0.1 + 0.2]),
    "double_odd": pl.Series([-0.0, float("nan"), None, float("inf")]),
    "float": pl.Series([1.1, 2.0, None, 3.0], dtype=pl.Float32),
    "decimal": pl.Series([Decimal("1.50"), Decimal("-1.00"), None, Decimal("99999.99")]),
    "decimal_12": pl.Series(
        [Decimal("0.0000000005"), Decimal("0.0000000015"), None, Decimal(1)], dtype=pl.Decimal(38, 12)
    ),
    "boolean": pl.Series([True, False, None, True]),
    "date": pl.Series([date(2026, 3, 1), None, None, date(1, 1, 1)]),
    "time": pl.Series([time(1), None, None, time(2)]),
    "duration": pl.Series([timedelta(1), None, None, timedelta(-1)]),
    "binary": pl.Series([b"a", None, b"\xff", b""]),
    "null": pl.Series([None] * 4),
    "ns": integers([1_767_225_600_123_456_789, -1, None, 2**62], pl.Datetime("ns")),
    "us": integers([946_684_799_999_999, 946_684_800_000_000, None, 7_258_118_400_000_000], pl.Datetime("us", "UTC")),
    "ms": integers([1_767_225_600_123, 2**62, None, -(2**62)], pl.Datetime("ms")),
    "zone": integers([1_767_225_600_123_456, 0, None, 1], pl.Datetime("us", "Europe/Paris")),
    "texts": pl.Series([["a"], ["b", "a", "b"], None, []]),
    "texts_odd": pl.Series([["a"], ["b", None], None, [""]]),
    "words_list": pl.Series([["a"], ["b", "a"], None, []], dtype=pl.List(pl.Categorical)),
    "array": pl.Series([["a", "b"], ["b", "a"], None, ["c", "c"]], dtype=pl.Array(pl.String, 2)),
    "numbers": pl.Series([[1], [], None, [2, 3]]),
    "binaries": pl.Series([[b"a"], [], None, [b"b"]]),
    "nested": pl.Series([[["a"]], [], None, [["b"], []]]),
    "struct": pl.Series([{"k": "v", "b": None}, {"k": None, "b": None}, None, {"k": "", "b": 'é"\\\n'}]),
    "struct_odd": pl.Series([{"k": 1, "d": None}, {"k": None, "d": date(2026, 1, 1)}, None, {"k": None, "d": None}]),
    "map": pl.Series(
        [[("b", "1"), ("a", "2"), ("b", "3")], [], None, [("a", None)]],
        dtype=pl.List(pl.Struct({"key": pl.String, "value": pl.String})),
    ),
    "map_type": pl.Series([{"b": "1", "a": "2"}, {}, None, {"a": None}], dtype=pl.Map(pl.String, pl.String)),
    "map_of_numbers": pl.Series([[{"key": 1, "value": "1"}], [], None, [{"key": 2, "value": None}]]),
    "map_without_key": pl.Series([[{"key": None, "value": "1"}], [{"key": "a", "value": "1"}], None, []]),
    "json": pl.Series(['{"b":"1","a":"2"}', " {} ", None, '{"a":1}']),
    "json_odd": pl.Series(['"x"', "null", '{"a":"\\ud800"}', '{"a":"1","a":"2"}']),
    "no_json": pl.Series(["{", "[" * 3000, '{"a": NaN}', "[1"]),
}


def plain(kind: Kind, **columns: object) -> pl.DataFrame:
    """Four plain rows of a kind, with columns put in."""
    rows: dict[str, Any] = {name: [json.loads(text)] * 4 for name, text in PLAIN[kind].items()}
    return pl.DataFrame(rows | {"event_time": [PLAIN_TIME] * 4} | columns)


def assert_as_json(frame: pl.DataFrame, kind: Kind, limits: Limits = LIMITS) -> Decoded:
    decoded = decode(block(frame), kind, limits)
    assert_as_strict(decoded, rows_as_json(frame, kind), kind, limits)
    return decoded


@KINDS
@pytest.mark.parametrize("name", list(COLUMNS))
def test_a_row_means_what_its_json_means_whatever_the_types(kind: Kind, name: str) -> None:
    for field in FIELDS[kind]:
        frame = plain(kind, **{field.name: COLUMNS[name]}, unknown=COLUMNS[name])
        assert_as_json(frame, kind)
        for raw in rows_as_json(frame, kind):
            assert "unknown" in json.loads(raw)


@pytest.mark.parametrize(
    ("column", "us"),
    [
        (integers([1_767_225_600_123_456_789], pl.Datetime("ns")), 1_767_225_600_123_456),
        (integers([1_767_225_600_123_456], pl.Datetime("us")), 1_767_225_600_123_456),
        (integers([1_767_225_600_123_456], pl.Datetime("us", "Asia/Kolkata")), 1_767_225_600_123_456),
        (integers([1_767_225_600_123], pl.Datetime("ms")), 1_767_225_600_123_000),
        (pl.Series([1_767_225_600_123]), 1_767_225_600_123_000),
        (pl.Series([1_767_225_600_123], dtype=pl.UInt64), 1_767_225_600_123_000),
    ],
)
def test_times_are_timestamps_of_any_unit_or_integer_milliseconds(column: pl.Series, us: int) -> None:
    decoded = assert_as_json(plain(Kind.CONVERSION).head(1).with_columns(event_time=column), Kind.CONVERSION)
    assert values(decoded)[0]["event_time"] == us


@pytest.mark.parametrize(
    "column", [[19.99] * 4, ["19.99"] * 4, [Decimal("19.99")] * 4, pl.Series(["19.99"] * 4, dtype=pl.Categorical)]
)
def test_amounts_are_decimals_texts_or_doubles(column: object) -> None:
    decoded = assert_as_json(plain(Kind.CONVERSION, amount=column, currency=["EUR"] * 4), Kind.CONVERSION)
    assert decoded.events["amount"].to_list() == [Decimal("19.99")] * 4


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt8, pl.Int16, pl.Int32, pl.UInt32, pl.Int64, pl.UInt64, pl.Int128])
def test_counts_are_integers_of_any_width(dtype: type[pl.DataType]) -> None:
    column = pl.Series([0, 17, None, 100], dtype=dtype)
    decoded = assert_as_json(plain(Kind.INFERENCE, output_tokens=column), Kind.INFERENCE)
    assert decoded.events["output_tokens"].to_list() == [0, 17, None, 100]


@pytest.mark.parametrize("name", ["struct", "map", "map_type", "json"])
def test_attributes_are_a_struct_a_map_or_json_text(name: str) -> None:
    decoded = assert_as_json(plain(Kind.INFERENCE, attributes=COLUMNS[name]), Kind.INFERENCE)
    expected = {
        "struct": {0: '{"k":"v"}', 1: None, 2: None, 3: '{"b":"é\\"\\\\\\n","k":""}'},
        "map": {0: '{"a":"2","b":"1"}', 1: None, 2: None},
        "map_type": {0: '{"a":"2","b":"1"}', 1: None, 2: None},
        "json": {0: '{"a":"2","b":"1"}', 1: None, 2: None},
    }
    assert {offset: row["attributes"] for offset, row in values(decoded).items()} == expected[name]


def test_common_rows_never_need_the_strict_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "decode_record", lambda *_: pytest.fail("decoded one by one"))
    frame = plain(
        Kind.INFERENCE,
        inference_id=["1", "2", "true", "[]"],
        input_tokens=pl.Series([1, 2, None, 4], dtype=pl.Int32),
        cost=[1.5, None, 0.25, None],
        cost_currency=pl.Series(["USD", None, "EUR", None], dtype=pl.Categorical),
        attributes=COLUMNS["struct"],
        unknown=COLUMNS["binary"],
    )
    assert decode(block(frame), Kind.INFERENCE, LIMITS).events.height == 4


def test_a_refused_row_is_kept_whole_as_json() -> None:
    frame = plain(
        Kind.CONVERSION,
        event_time=COLUMNS["ns"],
        amount=COLUMNS["decimal"],
        attributes=COLUMNS["struct"],
        x=COLUMNS["binary"],
        y=COLUMNS["date"],
        z=COLUMNS["double_odd"],
    ).head(2)
    letters = refusals(assert_as_json(frame, Kind.CONVERSION))
    assert {offset: (reason, json.loads(raw)) for offset, (reason, _, raw) in letters.items()} == {
        0: (
            "conflicting_fields",
            {
                "event_id": "c1",
                "event_time": "2026-01-01T00:00:00.123456789Z",
                "type": "purchase",
                "amount": "1.50",
                "attributes": {"k": "v"},
                "x": "61",
                "y": "2026-03-01",
                "z": 0,
            },
        ),
        1: (
            "invalid_time",
            {
                "event_id": "c1",
                "event_time": "1969-12-31T23:59:59.999999999Z",
                "type": "purchase",
                "amount": "-1.00",
                "attributes": {},
                "x": None,
                "y": None,
                "z": "nan",
            },
        ),
    }


def test_a_row_is_too_large_when_its_json_is() -> None:
    frame = plain(
        Kind.CONVERSION, unknown=["x", "é" * 200, '"' * 300, None], texts=COLUMNS["texts"], s=COLUMNS["struct"]
    )
    sizes = [len(raw) for raw in rows_as_json(frame, Kind.CONVERSION)]
    for size in sizes:
        for limit in (size - 1, size, size + 1):
            limits = Limits(limit, LIMITS.max_future_skew_us, LIMITS.now_us)
            decoded = assert_as_json(frame, Kind.CONVERSION, limits)
            assert decoded.events.height == sum(each <= limit for each in sizes)


@KINDS
def test_a_frame_without_rows_or_known_columns_does_no_harm(kind: Kind) -> None:
    assert_as_json(plain(kind).clear(), kind)
    assert (
        assert_as_json(pl.DataFrame({"other": [1, 2]}), kind).dead_letters["reason"].to_list() == ["missing_field"] * 2
    )
