"""The contracts: what a JSON Schema accepts and refuses, and the columns of the published tables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from schemas.currencies import ACTIVE
from schemas.events import Kind
from schemas.json_schema import json_schema, render
from schemas.outputs import DATE_COLUMN, LEDGER_KEYS, TABLES, in_files

JSON_FOLDER = Path(__file__).parents[1] / "schemas" / "json"

Event = dict[str, object]

INFERENCE: Event = {"inference_id": "i1", "event_time": "2026-03-01T12:00:00Z", "use_case": "search", "model": "m"}
CONVERSION: Event = {"event_id": "o1", "event_time": "2026-03-01T12:00:00Z", "type": "purchase"}
TIME_SAVED: Event = {"event_id": "o2", "event_time": "2026-03-01T12:00:00Z", "type": "draft", "seconds": 60}
REVERSAL: Event = {"event_id": "r1", "event_time": "2026-03-01T12:00:00Z", "reverses": "o1"}
SCORE: Event = {"event_id": "s1", "event_time": "2026-03-01T12:00:00Z", "name": "tone", "score": 1, "trace_id": "t"}
MINIMAL = {
    Kind.INFERENCE: INFERENCE,
    Kind.CONVERSION: CONVERSION,
    Kind.TIME_SAVED: TIME_SAVED,
    Kind.REVERSAL: REVERSAL,
    Kind.SCORE: SCORE,
}
REQUIRED = {
    Kind.INFERENCE: {"inference_id", "event_time", "use_case", "model"},
    Kind.CONVERSION: {"event_id", "event_time", "type"},
    Kind.TIME_SAVED: {"event_id", "event_time", "type"},
    Kind.REVERSAL: {"event_id", "event_time", "reverses"},
    Kind.SCORE: {"event_id", "event_time", "name", "score"},
}
CHECKS = {kind: Draft202012Validator(json_schema(kind)) for kind in Kind}


def accepts(kind: Kind, **fields: object) -> bool:
    """Whether the smallest event of a kind, with these fields laid over it, is valid."""
    event = json.loads(json.dumps(MINIMAL[kind] | fields))
    return bool(CHECKS[kind].is_valid(event))


@pytest.mark.parametrize("kind", Kind)
def test_the_committed_file_is_what_the_code_makes(kind: Kind) -> None:
    committed = (JSON_FOLDER / f"{kind.value}.schema.json").read_text(encoding="utf-8")
    assert committed == render(kind), "run `make schemas`"


def test_there_is_no_other_file_beside_the_five() -> None:
    assert {path.name for path in JSON_FOLDER.iterdir()} == {f"{kind.value}.schema.json" for kind in Kind}


@pytest.mark.parametrize("kind", Kind)
def test_the_document_is_itself_valid(kind: Kind) -> None:
    Draft202012Validator.check_schema(json_schema(kind))


@pytest.mark.parametrize("kind", Kind)
def test_the_required_fields_are_enough_and_each_is_needed(kind: Kind) -> None:
    assert accepts(kind)
    for name in REQUIRED[kind]:
        assert not accepts(kind, **{name: None}), name
        assert not CHECKS[kind].is_valid({k: v for k, v in MINIMAL[kind].items() if k != name}), name


@pytest.mark.parametrize("kind", Kind)
def test_an_unknown_field_is_ignored(kind: Kind) -> None:
    assert accepts(kind, colour="blue")


@pytest.mark.parametrize("kind", Kind)
def test_null_means_absent_for_every_optional_field(kind: Kind) -> None:
    properties = json_schema(kind)["properties"]
    assert isinstance(properties, dict)
    optional = {name: None for name in properties if name not in MINIMAL[kind]}
    assert accepts(kind, **optional)


@pytest.mark.parametrize(
    "time",
    [
        "2000-01-01T00:00:00Z",
        "1999-12-31T23:30:00-01:00",
        "2199-12-31T23:59:59.999999999Z",
        "2026-03-01T12:00:00+05:30",
        "2026-03-01T23:59:59.1Z",
        "2024-02-29T00:00:00Z",
        946_684_800_000,
        7_258_118_399_999,
    ],
)
def test_a_time_is_rfc_3339_with_an_offset_or_epoch_milliseconds(time: object) -> None:
    assert accepts(Kind.CONVERSION, event_time=time)


@pytest.mark.parametrize(
    "time",
    [
        "2026-03-01T12:00:00",
        "2026-03-01 12:00:00Z",
        "2026-03-01t12:00:00Z",
        "2026-03-01T12:00:00z",
        "2026-03-01T12:00:00+0530",
        "2026-03-01T24:00:00Z",
        "2026-03-01T12:00:60Z",
        "2026-03-01T12:00Z",
        "2026-03-01T12:00:00.Z",
        "2026-04-31T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "1999-12-30T12:00:00Z",
        "2200-01-02T12:00:00Z",
        "2026-03-01",
        "946684800000",
        946_684_799_999,
        7_258_118_400_000,
        946_684_800_000.5,
        True,
    ],
)
def test_any_other_time_is_refused(time: object) -> None:
    assert not accepts(Kind.CONVERSION, event_time=time)


@pytest.mark.parametrize(
    "amount",
    [0, 19.99, 1e-9, "0", "-0", "-0.00", "19.99", "007", "0000000000000001", "999999999999.999999999", 999_999_999_999],
)
def test_an_amount_is_a_number_or_decimal_text_from_zero_to_below_a_trillion(amount: object) -> None:
    assert accepts(Kind.CONVERSION, amount=amount, currency="EUR")


@pytest.mark.parametrize(
    "amount",
    [-0.01, "-0.01", "1000000000000", 10**12, "", "1.", ".5", "+1", "1e3", "1,5", " 1", "0x1", "NaN", "-", True, [1]],
)
def test_any_other_amount_is_refused(amount: object) -> None:
    assert not accepts(Kind.CONVERSION, amount=amount, currency="EUR")


@pytest.mark.parametrize("seconds", [-999_999_999, "-999999999.9", "-1", 0, "0.5", 999_999_999])
def test_saved_seconds_may_be_negative(seconds: object) -> None:
    assert accepts(Kind.TIME_SAVED, seconds=seconds)


@pytest.mark.parametrize("seconds", [-(10**9), "-1000000000", 10**9, "1000000000", "--1"])
def test_saved_seconds_stay_below_a_billion_on_both_sides(seconds: object) -> None:
    assert not accepts(Kind.TIME_SAVED, seconds=seconds)


def test_seconds_with_and_without_ai_and_those_taken_back_are_not_negative() -> None:
    for seconds in (-1, "-1"):
        assert not accepts(Kind.TIME_SAVED, seconds=None, actual_seconds=seconds)
        assert not accepts(Kind.TIME_SAVED, seconds=None, actual_seconds=1, baseline_seconds=seconds)
        assert not accepts(Kind.REVERSAL, seconds=seconds)


def test_a_quantity_is_below_a_million() -> None:
    assert accepts(Kind.CONVERSION, quantity="999999.999999999")
    assert not accepts(Kind.CONVERSION, quantity=1_000_000)


@pytest.mark.parametrize("count", [0, 1, 2**53 - 1])
def test_a_count_is_a_json_integer(count: object) -> None:
    assert accepts(Kind.INFERENCE, input_tokens=count)


@pytest.mark.parametrize("count", [-1, 2**53, 1.5, "1", True])
def test_any_other_count_is_refused(count: object) -> None:
    assert not accepts(Kind.INFERENCE, input_tokens=count)


@pytest.mark.parametrize("text", ["", "x" * 257, 5, ["i1"]])
def test_an_id_is_text_of_1_to_256(text: object) -> None:
    assert accepts(Kind.INFERENCE, inference_id="x" * 256)
    assert not accepts(Kind.INFERENCE, inference_id=text)


def test_a_list_of_inference_ids_has_1_to_10000_items() -> None:
    assert accepts(Kind.CONVERSION, inference_ids=["i1", "i1"])
    assert accepts(Kind.CONVERSION, inference_ids=[f"i{n}" for n in range(10_000)])
    assert not accepts(Kind.CONVERSION, inference_ids=[f"i{n}" for n in range(10_001)])
    assert not accepts(Kind.CONVERSION, inference_ids=[])
    assert not accepts(Kind.CONVERSION, inference_ids=["i1", None])
    assert not accepts(Kind.CONVERSION, inference_ids=[""])


@pytest.mark.parametrize("kind", [Kind.CONVERSION, Kind.TIME_SAVED])
def test_an_outcome_names_inferences_in_at_most_one_way(kind: Kind) -> None:
    ways: Event = {"inference_id": "i1", "inference_ids": ["i1"], "trace_id": "t1"}
    for name, value in ways.items():
        others: dict[str, object] = dict.fromkeys(ways)
        assert accepts(kind, **others | {name: value})
        for other in ways.keys() - {name}:
            assert not accepts(kind, **{name: value, other: ways[other]})


def test_a_score_names_inferences_in_exactly_one_way() -> None:
    ways: Event = {"inference_id": "i1", "inference_ids": ["i1"], "trace_id": "t1"}
    none: dict[str, object] = dict.fromkeys(ways)
    assert not accepts(Kind.SCORE, **none)
    for name, value in ways.items():
        assert accepts(Kind.SCORE, **none | {name: value})
        for other in ways.keys() - {name}:
            assert not accepts(Kind.SCORE, **none | {name: value, other: ways[other]})


@pytest.mark.parametrize("score", [0, -0.5, "-999999999.999999999", 999_999_999, "4"])
def test_a_score_lies_within_a_billion_of_nought(score: object) -> None:
    assert accepts(Kind.SCORE, score=score)


@pytest.mark.parametrize("score", [10**9, "-1000000000", "good", True, ""])
def test_any_other_score_is_refused(score: object) -> None:
    assert not accepts(Kind.SCORE, score=score)


def test_the_name_of_a_score_is_not_empty() -> None:
    assert not accepts(Kind.SCORE, name="")


def test_words_of_a_closed_list_are_checked_and_others_are_not() -> None:
    assert accepts(Kind.INFERENCE, status="failed", service_tier="flex", arm="any name", provider="")
    assert not accepts(Kind.INFERENCE, status="Served")
    assert not accepts(Kind.INFERENCE, service_tier="")
    assert not accepts(Kind.INFERENCE, model="")
    assert not accepts(Kind.INFERENCE, cache_hit="true")


def test_attributes_are_an_object_of_texts() -> None:
    assert accepts(Kind.INFERENCE, attributes={})
    assert accepts(Kind.INFERENCE, attributes={"team": "a"})
    assert not accepts(Kind.INFERENCE, attributes={"team": 1})
    assert not accepts(Kind.INFERENCE, attributes="team")


def test_money_and_its_currency_come_together() -> None:
    assert not accepts(Kind.CONVERSION, amount=1)
    assert not accepts(Kind.CONVERSION, amount=1, currency=None)
    assert not accepts(Kind.CONVERSION, currency="EUR")
    assert accepts(Kind.INFERENCE, cost="0.000000000001", cost_currency="USD")
    assert not accepts(Kind.INFERENCE, cost=1)
    assert not accepts(Kind.INFERENCE, cost_currency="USD")


@pytest.mark.parametrize(
    ("fields", "is_valid"),
    [
        ({"seconds": 5}, True),
        ({"actual_seconds": 5}, True),
        ({"baseline_seconds": 9, "actual_seconds": 5}, True),
        ({}, False),
        ({"baseline_seconds": 9}, False),
        ({"seconds": 5, "actual_seconds": 5}, False),
        ({"seconds": 5, "baseline_seconds": 9}, False),
        ({"seconds": 5, "baseline_seconds": 9, "actual_seconds": 5}, False),
    ],
)
def test_saved_time_is_given_in_exactly_one_way(fields: Event, *, is_valid: bool) -> None:
    assert accepts(Kind.TIME_SAVED, **{"seconds": None} | fields) == is_valid


@pytest.mark.parametrize(
    ("fields", "is_valid"),
    [
        ({}, True),
        ({"amount": 5}, True),
        ({"amount": 5, "currency": "EUR"}, True),
        ({"quantity": 1}, True),
        ({"seconds": 60}, True),
        ({"reason": "returned"}, True),
        ({"currency": "EUR"}, False),
        ({"amount": 5, "quantity": 1}, False),
        ({"amount": 5, "seconds": 60}, False),
        ({"quantity": 1, "seconds": 60}, False),
    ],
)
def test_a_reversal_takes_back_one_field_or_all(fields: Event, *, is_valid: bool) -> None:
    assert accepts(Kind.REVERSAL, **fields) == is_valid


def test_currencies_are_those_in_force() -> None:
    assert all(re.fullmatch("[A-Z]{3}", code) for code in ACTIVE)
    assert {"EUR", "USD", "SLE", "VED", "XCG", "ZWG", "XAD", "BOV", "CHE", "XAU", "XTS"} <= ACTIVE
    assert not {"BGN", "HRK", "SLL", "ANG", "ZWL", "CUC", "DEM"} & ACTIVE
    assert len(ACTIVE) == 178
    assert not accepts(Kind.CONVERSION, amount=1, currency="eur")


SOURCE = "source_topic source_partition source_offset source_file"
COLUMNS = {
    "inferences": "inference_id event_time use_case model model_version endpoint provider status arm input_tokens"
    " cached_input_tokens cache_write_input_tokens output_tokens service_tier latency_ms compute_ms cache_hit batch_id"
    f" cost cost_currency session_id trace_id attributes {SOURCE} commit_id",
    "outcomes": "event_id kind event_time type amount currency quantity seconds baseline_seconds actual_seconds role"
    f" inference_ids trace_id reverses reason attributes {SOURCE} commit_id",
    "scores": f"event_id event_time name score inference_ids trace_id attributes {SOURCE} commit_id",
    "credits": "outcome_id inference_id kind type outcome_time inference_time use_case model model_version endpoint via"
    " amount value reversed_value seconds currency fx_rate rule_id sign commit_id",
    "unattributed": "outcome_id inference_id reversal_id kind type outcome_time use_case amount value seconds currency"
    " fx_rate reason sign commit_id",
    "attributed": "inference_id event_time use_case model model_version endpoint provider arm outcome_count"
    " conversion_value time_saved_value time_saved_seconds attributed_value reversed_value currency settled sign"
    " commit_id",
    "dead_letters": f"reason detail record_key record_value {SOURCE} commit_id",
    "commits": "commit_id committed_at watermark source_topic source_partition read accepted duplicates dead_letters"
    " ignored",
}
DECIMAL_COLUMNS = (
    "amount quantity value reversed_value seconds baseline_seconds actual_seconds fx_rate conversion_value"
    " time_saved_value time_saved_seconds attributed_value score"
).split()


def test_there_are_eight_published_tables() -> None:
    assert list(TABLES) == list(COLUMNS) == list(DATE_COLUMN)


@pytest.mark.parametrize("table", COLUMNS)
def test_a_table_has_the_published_columns_in_order(table: str) -> None:
    assert list(TABLES[table]) == COLUMNS[table].split()


@pytest.mark.parametrize("table", COLUMNS)
def test_in_files_text_is_text_money_is_decimal_and_time_is_utc_microseconds(table: str) -> None:
    for name, dtype in in_files(table).items():
        shown = str(dtype)
        assert "Categorical" not in shown, name
        if name in DECIMAL_COLUMNS:
            assert shown == "Decimal(precision=38, scale=9)", name
        if name == "cost":
            assert shown == "Decimal(precision=38, scale=12)", name
        if name.endswith(("_time", "_at")) or name == "watermark":
            assert shown == "Datetime(time_unit='us', time_zone='UTC')", name


def test_dates_and_keys_are_columns_of_their_tables() -> None:
    for table, column in DATE_COLUMN.items():
        assert column is None or column in TABLES[table]
    for table, key in LEDGER_KEYS.items():
        assert {*key, "sign"} <= set(TABLES[table])
