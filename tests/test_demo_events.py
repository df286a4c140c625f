"""The demo's events: the same every time, real where it says so, and with something of everything to show."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

import attribution
from attribution.rules import combine, parse_rules
from schemas.events import Kind, canonical_columns
from schemas.reasons import Refusal, Unattributed
from streams.demo_events import ORIGIN_NOTE, write_events
from streams.strict_record import Limits, Record, Refused, decode_record

CONFIGS = Path(__file__).parents[1] / "configs"
KINDS = {
    "inferences": Kind.INFERENCE,
    "conversions": Kind.CONVERSION,
    "time_saved": Kind.TIME_SAVED,
    "reversals": Kind.REVERSAL,
}
DAY_US = 86_400_000_000
LIMITS = Limits(1_048_576, 0, int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 1_000_000)
Decoded = dict[str, list[Record | Refused]]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("demo")
    write_events(directory)
    return directory / "demo" / "events"


@pytest.fixture(scope="module")
def decoded(events: Path) -> Decoded:
    return {
        topic: [decode_record(line, kind, LIMITS) for line in lines(events / topic)] for topic, kind in KINDS.items()
    }


@pytest.fixture(scope="module")
def accepted(decoded: Decoded) -> dict[str, list[Record]]:
    return {topic: [r for r in records if not isinstance(r, Refused)] for topic, records in decoded.items()}


@pytest.fixture(scope="module")
def answer(accepted: dict[str, list[Record]]) -> attribution.Attribution:
    return attribution.attribute(*frames(accepted), rules=rule_texts(), fx=rates())


def lines(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


def frames(accepted: dict[str, list[Record]]) -> list[pl.DataFrame]:
    made = []
    for topic, kind in KINDS.items():
        columns = canonical_columns(kind)
        texts = {name: pl.String() if dtype == pl.Categorical() else dtype for name, dtype in columns.items()}
        integers = texts | {"event_time": pl.Int64()}
        frame = pl.DataFrame(accepted[topic], schema=integers, infer_schema_length=None)
        made.append(frame.with_columns(pl.from_epoch("event_time", time_unit="us").dt.replace_time_zone("UTC")))
    return made


def rule_texts() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted((CONFIGS / "rules").glob("*.toml"))]


def rates() -> pl.DataFrame:
    text = pl.read_csv(CONFIGS / "demo" / "fx.csv", schema_overrides={"rate": pl.String})
    return text.with_columns(pl.col("date").str.to_date())


def time_us(record: Record) -> int:
    time = record["event_time"]
    assert isinstance(time, int)
    return time


def distinct(records: list[Record], key: str) -> dict[str, Record]:
    return {str(record[key]): record for record in records}


# --- the same every time ---


def test_the_default_seed_gives_these_bytes_on_every_machine(events: Path) -> None:
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(events.rglob("*.jsonl")))).hexdigest()
    assert digest == "d64d3edb4853b281ff2b41385a894be51908184fd45e0465e8674fb438e83975"


def test_a_second_call_replaces_the_files_of_the_first(tmp_path: Path) -> None:
    events = tmp_path / "demo" / "events"
    write_events(tmp_path, seed=1)
    first = {path: path.read_bytes() for path in sorted(events.rglob("*")) if path.is_file()}
    (events / "reversals" / "9999.jsonl").write_bytes(b"{}\n")
    write_events(tmp_path, seed=1)
    assert {path: path.read_bytes() for path in sorted(events.rglob("*")) if path.is_file()} == first


def test_another_seed_gives_other_outcomes_and_the_same_real_traffic(events: Path, tmp_path: Path) -> None:
    write_events(tmp_path, seed=2)
    other = tmp_path / "demo" / "events"
    assert lines(other / "time_saved") != lines(events / "time_saved")
    tokens = [
        {
            (e["inference_id"], e["input_tokens"], e["output_tokens"])
            for e in valid_json(folder / "inferences")
            if "input_tokens" in e
        }
        for folder in (events, other)
    ]
    assert tokens[0] == tokens[1]


def valid_json(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines(folder) if b"bad-" not in line and b'"inference_id":""' not in line]


def test_counts_are_the_lines_written(tmp_path: Path) -> None:
    counts = write_events(tmp_path, seed=3)
    assert counts == {topic: len(lines(tmp_path / "demo" / "events" / topic)) for topic in KINDS}
    assert 10_000 < counts["inferences"] < 12_000
    assert 4_500 < counts["conversions"] + counts["time_saved"] < 5_500


# --- real where it says so ---


def test_arrivals_and_tokens_of_the_azure_trace_are_all_there(accepted: dict[str, list[Record]]) -> None:
    code = [r for r in distinct(accepted["inferences"], "inference_id").values() if r["use_case"] == "code_assistant"]
    assert len(code) == 8_819
    assert pl.DataFrame(code, infer_schema_length=None)[["input_tokens", "output_tokens"]].sum().row(0) == (
        18_059_974,
        245_896,
    )
    times = sorted(map(time_us, code))
    # 18:17:03.9799600 to 19:14:19.9280160, times 170.
    assert times[-1] - times[0] == 34_359_480_560 * 17


def test_feedback_of_tensorzero_keeps_its_orphans_its_early_dates_and_its_episodes(
    accepted: dict[str, list[Record]],
) -> None:
    inferences = distinct(accepted["inferences"], "inference_id")
    traces = {record["trace_id"] for record in inferences.values()}
    feedback = [
        r for key, r in distinct(accepted["conversions"], "event_id").items() if key.startswith(("flag-", "number-"))
    ]
    named = [(r, inferences.get(ids[0])) for r in feedback if isinstance(ids := r["inference_ids"], list)]
    by_trace = [r for r in feedback if r["trace_id"] is not None]
    direct = [(r, inference) for r, inference in named if inference is not None]
    assert len(feedback) == len(named) + len(by_trace) == 2_575
    assert len(direct) == 1_600
    assert sum(r["trace_id"] in traces for r in by_trace) == 233
    assert sum(time_us(r) < time_us(inference) for r, inference in direct) == 430


def test_the_note_says_what_is_generated() -> None:
    assert "no public data links inferences to money" in ORIGIN_NOTE


# --- something of everything ---


def test_bad_records_are_refused_each_for_its_reason(decoded: Decoded) -> None:
    refused = Counter(r.reason for records in decoded.values() for r in records if isinstance(r, Refused))
    assert refused == {
        Refusal.NOT_UTF8: 1,
        Refusal.MALFORMED_JSON: 1,
        Refusal.NOT_AN_OBJECT: 1,
        Refusal.MISSING_FIELD: 2,
        Refusal.INVALID_ID: 1,
        Refusal.INVALID_TIME: 2,
        Refusal.INVALID_NUMBER: 2,
        Refusal.OUT_OF_RANGE: 1,
        Refusal.UNKNOWN_CURRENCY: 1,
        Refusal.INVALID_VALUE: 1,
        Refusal.CONFLICTING_FIELDS: 3,
    }


def test_duplicates_are_equal_however_they_are_spelled(events: Path, accepted: dict[str, list[Record]]) -> None:
    for topic, records in accepted.items():
        key = "inference_id" if topic == "inferences" else "event_id"
        contents: dict[str, set[str]] = {}
        for record in records:
            contents.setdefault(str(record[key]), set()).add(repr(record))
        assert {len(spellings) for spellings in contents.values()} == {1}
        assert len(contents) < len(records) if topic != "reversals" else len(contents) <= len(records)
    assert len(set(lines(events / "conversions"))) == len(lines(events / "conversions"))


def test_no_event_id_is_both_a_conversion_and_saved_time(accepted: dict[str, list[Record]]) -> None:
    assert (
        not distinct(accepted["conversions"], "event_id").keys() & distinct(accepted["time_saved"], "event_id").keys()
    )


def test_records_are_out_of_order_but_none_is_too_late(accepted: dict[str, list[Record]]) -> None:
    behind = {}
    for topic, records in accepted.items():
        times = pl.Series([time_us(record) for record in records])
        behind[topic] = times.cum_max() - times
    assert max(series.max() for series in behind.values()) < DAY_US  # type: ignore[type-var, operator]
    assert all((series > 0).any() for series in behind.values())


def test_every_inference_is_settled_at_the_end(
    accepted: dict[str, list[Record]], answer: attribution.Attribution
) -> None:
    assert answer.attributed["settled"].all()
    assert answer.attributed.height == len(distinct(accepted["inferences"], "inference_id"))


def test_no_duplicate_conflicts(answer: attribution.Attribution) -> None:
    assert {kind: frame.height for kind, frame in answer.conflicting.items()} == dict.fromkeys(answer.conflicting, 0)


def test_every_reason_to_earn_nothing_is_shown(answer: attribution.Attribution) -> None:
    # A single value out of 10¹² would look like a mistake of the demo's.
    assert set(answer.unattributed["reason"].cast(pl.String)) == set(Unattributed) - {Unattributed.OUT_OF_RANGE}


def test_value_comes_by_inference_and_by_trace_as_gains_losses_and_refunds(answer: attribution.Attribution) -> None:
    credits_ = answer.credits
    assert set(credits_["via"].cast(pl.String)) == {"inference", "trace"}
    assert set(credits_["use_case"].cast(pl.String)) == {"code_assistant", "write_haiku", "answer_question"}
    by_kind = credits_.group_by(pl.col("kind").cast(pl.String)).agg(
        (pl.col("value") < 0).any().alias("loss"), (pl.col("reversed_value") < 0).any().alias("refund")
    )
    assert sorted(by_kind.rows()) == [("conversion", True, True), ("time_saved", True, True)]
    assert (answer.unattributed.filter(pl.col("reason").cast(pl.String) == "holdout")["value"].sum()) > 0
    assert {"EUR", "GBP"} <= currencies_with_a_rate(answer)


def currencies_with_a_rate(answer: attribution.Attribution) -> set[str]:
    rated = answer.credits.filter(pl.col("fx_rate").is_not_null())["fx_rate"].unique().to_list()
    of_rate = {Decimal(rate): currency for _, currency, rate in rates().rows()}
    return {of_rate[rate] for rate in rated}


# --- the configuration ---


def test_the_rule_files_show_every_credit_model_and_two_versions_of_one_rule() -> None:
    files = [tomllib.loads(text) for text in rule_texts()]
    rules = [rule for file in files for rule in file["rule"]]
    assert {rule["credit"] for rule in rules} == {"first", "last", "linear", "time_decay", "position"}
    assert {rule["effect"] for rule in rules if "effect" in rule} == {"loss"}
    dated = Counter((file["use_case"], rule["kind"], rule["type"]) for file in files for rule in file["rule"])
    assert max(dated.values()) == 2
    combine([parse_rules(text, "rules.toml") for text in rule_texts()])


def test_the_newer_version_of_a_rule_governs_from_its_start(answer: attribution.Attribution) -> None:
    by_rule = answer.credits.group_by(pl.col("rule_id").cast(pl.String)).agg(
        pl.col("inference_time").min().alias("first"), pl.col("inference_time").max().alias("last")
    )
    spans = {rule: (first, last) for rule, first, last in by_rule.rows()}
    start = datetime(2026, 3, 26, tzinfo=UTC)
    assert spans["code_assistant/time_saved/*/2026-01-01T00:00:00Z"][1] < start
    assert spans["code_assistant/time_saved/*/2026-03-26T00:00:00Z"][0] >= start


def test_every_model_but_the_one_run_in_house_has_a_price(accepted: dict[str, list[Record]]) -> None:
    costs = tomllib.loads((CONFIGS / "demo" / "costs.toml").read_text(encoding="utf-8"))
    lists = [
        json.loads((CONFIGS / "demo" / entry["path"]).read_text(encoding="utf-8")) for entry in costs["price_list"]
    ]
    priced = set().union(*lists)
    used = {(str(r["model"]), str(r["model_version"])) for r in accepted["inferences"]}
    assert {model for model, version in used if version not in priced} == {"inhouse-coder-7b"}
    assert priced == {version for _, version in used if version in priced}


def test_the_pipeline_file_points_at_the_demo() -> None:
    pipeline = tomllib.loads((CONFIGS / "demo.toml").read_text(encoding="utf-8"))
    assert [topic["name"] for topic in pipeline["input"]["topic"]] == list(KINDS)
    assert (CONFIGS / pipeline["fx"]).is_file()
    assert (CONFIGS / pipeline["rules"]).is_dir()
    assert (CONFIGS / pipeline["input"]["path"]).resolve() == CONFIGS.parent / "demo" / "events"
