"""The ratio report, as a user reads it: published tables in, rows out."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from attribution.figures import REASONS
from schemas.errors import AttributionError, ConfigurationError, UnavailableError
from streams.ratio_command import RatioOptions, run_ratio
from tests.published import (
    Rows,
    at,
    attributed,
    credit,
    frame,
    inference,
    only,
    publish,
    unattributed,
    worked_example,
)


def report(out: Path, **options: Any) -> Rows:
    chosen = {"costs": out / "costs.toml"} | options
    rows: Rows = json.loads(run_ratio(out, RatioOptions(format="json", **chosen)))
    return rows


EXAMPLE_DAY = {"from_": "2026-03-02", "to": "2026-03-03"}


def test_the_worked_example(tmp_path: Path) -> None:
    rows = report(worked_example(tmp_path), **EXAMPLE_DAY)
    assert [row["row"] for row in rows] == ["report", "requests", "total", "holdout"]
    group = only(rows, "requests")
    assert [group[key] for key in ("use_case", "model", "model_version", "period")] == ["reco", "M", None, None]
    expected = {
        "requests": 9,
        "outcomes": 2,
        "cost": "3.910000000000",
        "priced_share": "1.000000000000",
        "value": "40.500000000",
        "settled_value": "0.000000000",
        "reversible_value": "40.500000000",
        "cost_per_inference": "0.434444444444",
        "value_per_inference": "4.500000000000",
        "cost_to_value_ratio": "0.096543209877",
        "margin": "36.590000000000",
        "margin_contribution": "4.065555555556",
        "roi_multiple": "10.358056265985",
        "band": "excellent",
        "cost_per_outcome": "1.955000000000",
        "share_with_value": "0.333333333333",
        "top_share": "0.407407407407",
        "trace_share": "0.000000000000",
        "break_even_multiple": None,
        "break_even_multiple_reason": "no_time_saved",
    }
    assert {name: group.get(name) for name in expected} == expected
    total = only(rows, "total")
    assert {name: total.get(name) for name in expected} == expected
    assert (total["attributed_share"], total["attributed_share_reason"]) == (None, "no_amount")


def test_holdout_inferences_are_a_row_of_their_own_and_their_outcome_in_no_other(tmp_path: Path) -> None:
    rows = report(worked_example(tmp_path))
    holdout = only(rows, "holdout")
    assert (holdout["inferences"], holdout["cost"], holdout["would_be_value"]) == (1, "0.400000000000", "12.000000000")
    # o3 stands neither among the outcomes nor among the unattributed, nor in the attributed share.
    assert only(rows, "total")["outcomes"] == 2
    assert only(rows, "total")["attributed_share"] == "1.000000000000"
    assert not [row for row in rows if row["row"] == "unattributed"]


def test_the_report_says_what_it_rests_on(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    head = report(out)[0]
    assert (head["as_of"], head["from"], head["to"]) == ("2026-03-22T00:00:00.000000Z", "2026-03-02", "2026-03-23")
    assert (head["base_currency"], head["commit_id"], head["min_priced_share"]) == ("USD", 2, "0.990000000")
    tables = {"inferences", "credits", "unattributed", "attributed"}
    assert set(head["digests"]) == tables | {str(out / "prices.json")}


def test_as_of_an_earlier_commit_gives_the_figures_of_that_commit(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    for as_of in ("2026-03-10", "2026-03-21T23:59:59.999999Z"):
        earlier = report(out, as_of=as_of)
        assert only(earlier, "total")["value"] == "46.500000000"
        assert earlier[0]["as_of"] == "2026-03-10T00:00:00.000000Z"
        assert earlier[0]["to"] == "2026-03-11"
    for as_of in ("2026-03-22", "2027-01-01T00:00:00+01:00"):
        assert only(report(out, as_of=as_of), "total")["value"] == "40.500000000"


def test_an_earlier_report_stays_the_same_when_more_is_published(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    before = run_ratio(out, RatioOptions(as_of="2026-03-10", format="json"))
    frame("credits", [credit("o9", 4, "99", "99", commit_id=3)]).write_parquet(
        out / "credits/date=2026-03-03/3.parquet"
    )
    assert run_ratio(out, RatioOptions(as_of="2026-03-10", format="json")) == before
    # Rows of a commit that the manifest does not know yet are not read either.
    assert only(report(out), "total")["value"] == "40.500000000"


def test_a_time_before_the_first_commit_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="replay --to"):
        report(worked_example(tmp_path), as_of="2026-03-09T23:59:59Z")


def test_without_a_cost_file_only_own_costs_count_and_unit_costs_are_incomplete(tmp_path: Path) -> None:
    total = only(report(worked_example(tmp_path), costs=None), "total")
    assert (total["cost"], total["priced_share"], total["unpriced_no_price"]) == ("1.000000000000", "0.111111111111", 8)
    unknown = [name for name in REASONS if total.get(f"{name}_reason") == "incomplete_cost"]
    assert unknown == [
        *("cost_per_inference", "cost_to_value_ratio", "margin", "margin_contribution", "roi_multiple", "band"),
        *("full_roi_multiple", "full_band", "cost_per_outcome", "break_even_multiple"),
    ]
    assert all(total[name] is None for name in unknown)
    assert total["value_per_inference"] == "4.500000000000"


def test_foreign_costs_are_converted_at_the_rates_beside_the_tables(tmp_path: Path) -> None:
    own = {"cost": Decimal(2), "cost_currency": "EUR"}
    out = publish(tmp_path, inferences=[inference(1, **own), inference(2, cost=Decimal(1), cost_currency="GBP")])
    (out / "fx.csv").write_text("date,currency,rate\n2026-03-01,EUR,1.1\n2026-03-02,GBP,1.3\n")
    rows = report(out)
    total = only(rows, "total")
    assert (total["cost"], total["unpriced_no_fx_rate"]) == ("2.200000000000", 1)
    assert str(out / "fx.csv") in rows[0]["digests"]
    (out / "other.csv").write_text("date,currency,rate\n2026-03-01,EUR,2\n2026-03-01,GBP,3\n")
    (out / "costs.toml").write_text('fx = "other.csv"\n')
    assert only(report(out), "total")["cost"] == "7.000000000000"


def test_what_is_unattributed_has_a_row_per_use_case_and_reason(tmp_path: Path) -> None:
    out = publish(
        tmp_path,
        inferences=[inference(1)],
        credits=[credit("o0", 1, "3", "30")],
        unattributed=[
            unattributed("o1", "no_inference_id", "10", use_case=None),
            unattributed("o2", "no_inference_id", "5.5", use_case=None),
            unattributed("o3", "no_fx_rate", None),
            unattributed("o0", "capped", "0", value=Decimal("1.25")),
            unattributed("o4", "outside_window", "7"),
            unattributed("o4", "outside_window", "-7", sign=-1, commit_id=2),
            unattributed("o5", "reversal_unmatched", None, reversal_id="r1", use_case=None),
            unattributed("o6", "no_rule", "99", outcome_time=at(0, 1)),
        ],
    )
    rows = report(out)
    shown = [
        (row["use_case"], row["reason"], row["outcomes"], row["amount"], row.get("amount_reason"), row.get("value"))
        for row in rows
        if row["row"] == "unattributed"
    ]
    assert shown == [
        (None, "no_inference_id", 2, "15.500000000", None, None),
        (None, "reversal_unmatched", 1, None, "no_amount", None),
        ("reco", "capped", 1, "0.000000000", None, "1.250000000"),
        ("reco", "no_fx_rate", 1, None, "no_amount", None),
    ]
    assert only(rows, "total")["attributed_share"] == "0.659340659341"  # 30 of 45.5


def test_an_outcome_counts_in_every_group_that_it_credits_but_once_in_the_total(tmp_path: Path) -> None:
    inferences = [inference(1, model="A"), inference(2, model="B"), inference(3, model="C")]
    credits_ = [credit("o1", 1, "1", "1"), credit("o1", 2, "2", "2"), credit("o2", 3, "5", "5")]
    withdrawn = credit("o2", 3, "-5", "-5", sign=-1, commit_id=2)
    rows = report(publish(tmp_path, inferences=inferences, credits=[*credits_, withdrawn]), by="model")
    groups = [(row["model"], row["outcomes"], row["value"]) for row in rows if row["row"] == "requests"]
    assert groups == [("A", 1, "1.000000000"), ("B", 1, "2.000000000"), ("C", 0, "0.000000000")]
    assert only(rows, "total")["outcomes"] == 1


def test_settled_reversible_and_traced_value_are_parts_of_value(tmp_path: Path) -> None:
    as_of, window = at(0, 22), timedelta(days=60)
    credits_ = [
        credit("o1", 1, "1", "1", outcome_time=as_of - window),
        credit("o2", 1, "2", "2", outcome_time=as_of - window - timedelta(microseconds=1)),
        credit("o3", 2, "4", "4", via="trace"),
    ]
    settled = [attributed(1, "5"), attributed(1, "-2", sign=0, commit_id=2), attributed(2, "4", settled=False)]
    out = publish(tmp_path, inferences=[inference(1), inference(2)], credits=credits_, attributed=settled)
    total = only(report(out), "total")
    assert (total["settled_value"], total["reversible_value"]) == ("3.000000000", "5.000000000")
    assert total["trace_share"] == "0.571428571429"


def test_break_even_is_the_multiple_of_hourly_rates_at_which_value_is_cost(tmp_path: Path) -> None:
    credits_ = [credit("o1", 1, "0.10", "1"), credit("o2", 1, "0.60", None, kind="time_saved")]
    total = only(report(publish(tmp_path, inferences=[inference(1)], credits=credits_)), "total")
    assert total["break_even_multiple"] == "0.500000000000"  # (0.40 − 0.10) / 0.60


def test_periods_are_the_inferences_and_totals_stand_per_period(tmp_path: Path) -> None:
    times = [at(0, 1), at(23, 1), at(0, 2), at(0, 1, 4)]
    inferences = [inference(number, event_time=time) for number, time in enumerate(times, start=1)]
    out = publish(tmp_path, inferences=inferences, credits=[credit("o1", 1, "1", "1", inference_time=times[0])])

    def counts(period: str) -> list[tuple[str, int, str]]:
        rows = report(out, period=period, to="2026-05-01")
        return [(row["period"], row["requests"], row["value"]) for row in rows if row["row"] == "requests"]

    one, none = "1.000000000", "0.000000000"
    assert counts("day") == [("2026-03-01", 2, one), ("2026-03-02", 1, none), ("2026-04-01", 1, none)]
    assert counts("week") == [("2026-02-23", 2, one), ("2026-03-02", 1, none), ("2026-03-30", 1, none)]
    assert counts("month") == [("2026-03-01", 3, one), ("2026-04-01", 1, none)]
    assert counts("quarter") == [("2026-01-01", 3, one), ("2026-04-01", 1, none)]
    # The outcome's own day has a total too, for its attributed share; no value is counted there.
    rows = report(out, period="day")
    totals = {row["period"]: row for row in rows if row["row"] == "total"}
    assert list(totals) == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert totals["2026-03-03"]["attributed_share"] == "1.000000000000"
    assert totals["2026-03-03"]["value_per_inference_reason"] == "no_requests"


def test_the_range_holds_its_first_moment_and_not_its_last(tmp_path: Path) -> None:
    times = [at(0, 2) - timedelta(microseconds=1), at(0, 2), at(0, 3) - timedelta(microseconds=1), at(0, 3)]
    out = publish(tmp_path, inferences=[inference(n, event_time=time) for n, time in enumerate(times)])
    assert only(report(out, **EXAMPLE_DAY), "total")["requests"] == 2


def test_groups_can_be_by_any_key_and_by_attributes(tmp_path: Path) -> None:
    inferences = [
        inference(1, attributes='{"team.x":"red","value":"1"}', arm="treatment"),
        inference(2, attributes='{"value":"2"}', provider="acme"),
        inference(3),
    ]
    rows = report(publish(tmp_path, inferences=inferences), by="attributes.team.x,arm,provider")
    groups = [row for row in rows if row["row"] == "requests"]
    keys = ("attributes.team.x", "arm", "provider", "requests")
    assert [tuple(row[key] for key in keys) for row in groups] == [
        (None, None, None, 1),
        (None, None, "acme", 1),
        ("red", "treatment", None, 1),
    ]
    assert "use_case" not in groups[0]


def test_a_log_without_inferences_has_a_total_that_says_so(tmp_path: Path) -> None:
    rows = report(publish(tmp_path))
    assert [row["row"] for row in rows] == ["report", "total"]
    total = rows[1]
    assert (total["requests"], total["cost"], total["value"]) == (0, "0.000000000000", "0.000000000")
    reasons = {name: total[f"{name}_reason"] for name in REASONS if name in total}
    others = {
        "cost_per_outcome": "no_outcomes",
        "break_even_multiple": "no_time_saved",
        "attributed_share": "no_amount",
        "estimated": "no_estimate",
        "variance": "no_estimate",
    }
    assert reasons == dict.fromkeys(reasons, "no_requests") | others


def test_csv_has_the_figures_of_json_under_one_header(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    text = run_ratio(out, RatioOptions(costs=out / "costs.toml", format="csv"))
    rows = list(csv.DictReader(io.StringIO(text)))
    for written, row in zip(rows, report(out), strict=True):
        plain = {
            name: json.dumps(cell) if isinstance(cell, dict) else "" if cell is None else str(cell)
            for name, cell in row.items()
        }
        assert {name: cell for name, cell in written.items() if cell} == {
            name: cell for name, cell in plain.items() if cell
        }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"format": "html"}, "--format: expected one of table, json, csv"),
        ({"period": "year"}, "--period: expected one of day, week, month, quarter"),
        ({"by": "use_cases"}, 'did you mean "use_case"?'),
        ({"by": "attributes."}, "--by: expected"),
        ({"by": "model,model"}, "--by: expected each key once"),
        ({"from_": "2026-3-1"}, "--from: expected a date such as 2026-03-01"),
        ({"to": "2026-02-30"}, "--to: expected a date"),
        ({"from_": "2026-03-02", "to": "2026-03-02"}, "--to: expected a day after 2026-03-02"),
        ({"from_": "2026-03-23"}, "--from: expected at latest 2026-03-22"),
        ({"as_of": "2026-03-10T00:00:00"}, "--as-of: expected a date or a time with an offset"),
        ({"costs": Path("missing.toml")}, "missing.toml"),
    ],
)
def test_a_wrong_option_is_refused_by_name(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        run_ratio(worked_example(tmp_path), RatioOptions(**options))
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (None, "no published tables"),
        ("{", "no manifest of published tables"),
        ('{"engine": "live"}', "no manifest of published tables"),
        (b"null-watermark", "no event has been read yet"),
    ],
)
def test_a_folder_without_tables_is_unavailable(tmp_path: Path, manifest: str | bytes | None, expected: str) -> None:
    path = publish(tmp_path) / "manifest.json"
    if manifest is None:
        path.unlink()
    elif isinstance(manifest, bytes):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"watermark": None}))
    else:
        path.write_text(manifest)
    with pytest.raises(UnavailableError, match=expected):
        run_ratio(tmp_path, RatioOptions())


def test_a_missing_table_or_a_broken_file_is_unavailable(tmp_path: Path) -> None:
    broken = worked_example(tmp_path) / "credits" / "date=2026-03-03" / "1.parquet"
    broken.write_bytes(b"PAR1")
    with pytest.raises(AttributionError) as refused:
        run_ratio(tmp_path, RatioOptions())
    assert refused.value.exit_code == 3
    for file in (tmp_path / "credits").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(UnavailableError, match="no published files"):
        run_ratio(tmp_path, RatioOptions())
