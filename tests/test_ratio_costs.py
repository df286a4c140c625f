"""The ratio with bills, as a user reads it: the worked example, bills over the range, idle time, overhead."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from schemas.costs import COSTS
from schemas.errors import ConfigurationError, UnavailableError
from tests.bill_files import line
from tests.cost_reports import BILL, DAY, DEVELOPMENT, LINES, PRICES, THE_BILL, report
from tests.published import at, credit, inference, only, publish, worked_example

# --- the worked example ---


def test_the_worked_example_with_its_bill(tmp_path: Path) -> None:
    rows = report(worked_example(tmp_path), PRICES, BILL, LINES, DEVELOPMENT, bill=THE_BILL, **DAY)
    assert [row["row"] for row in rows] == ["report", "requests", "total", "holdout", "bill"]
    expected = {
        "requests": 9,
        "outcomes": 2,
        "basis": "billed",
        "serving_cost": "5.443155452436",
        "indirect_cost": "1.350000000000",
        "idle_cost": "0.000000000000",
        "cost": "6.793155452436",
        "priced_share": "1.000000000000",
        "amortised_cost": "10.000000000000",
        "full_cost": "16.793155452436",
        "estimated": "3.910000000000",
        "variance": "1.533155452436",
        "value": "40.500000000",
        "cost_per_inference": "0.754795050271",
        "value_per_inference": "4.500000000000",
        "cost_to_value_ratio": "0.167732233393",
        "margin": "33.706844547564",
        "margin_contribution": "3.745204949729",
        "roi_multiple": "5.961883293202",
        "band": "good",
        "full_roi_multiple": "2.411696843676",
        "full_band": "marginal",
    }
    for kind in ("requests", "total"):
        row = only(rows, kind)
        assert {name: row[name] for name in expected} == expected
    holdout = only(rows, "holdout")
    assert (holdout["inferences"], holdout["cost"], holdout["would_be_value"]) == (1, "0.706844547564", "12.000000000")
    assert Decimal(holdout["cost"]) + Decimal(only(rows, "total")["cost"]) == Decimal("7.50")
    bill = only(rows, "bill")
    assert (bill["currency"], bill["shown_in"]) == ("USD", "USD")
    assert {bill[name] for name in ("effective", "billed", "allocated")} == {"7.500000000000"}
    assert {bill[name] for name in ("idle", "unallocated", "pending", "outside", "rounding")} == {"0.000000000000"}


def test_over_the_whole_range_development_costs_every_day(tmp_path: Path) -> None:
    total = only(report(worked_example(tmp_path), PRICES, BILL, LINES, DEVELOPMENT, bill=THE_BILL), "total")
    assert (total["amortised_cost"], total["full_band"], total["band"]) == ("210.000000000000", "unsustainable", "good")


def test_as_of_an_earlier_commit_values_are_those_known_then_and_bills_those_given_now(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    earlier = report(out, PRICES, BILL, LINES, bill=THE_BILL, as_of="2026-03-10", **DAY)
    assert (only(earlier, "total")["value"], only(earlier, "total")["cost"]) == ("46.500000000", "6.793155452436")
    assert only(report(out, PRICES, BILL, LINES, **DAY), "total")["value"] == "40.500000000"


def test_the_table_costs_has_every_part_and_sums_to_the_bill(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    report(out, PRICES, BILL, LINES, DEVELOPMENT, bill=THE_BILL, write_costs=out / "written", **DAY)
    [file] = (out / "written").rglob("*.parquet")
    assert file.relative_to(out / "written").parent == Path("costs/date=2026-03-02")
    costs = pl.read_parquet(file, hive_partitioning=False)
    assert costs.schema == COSTS
    assert costs["cost"].sum() == Decimal("7.50")
    assert costs.height == 20
    i7 = costs.filter(pl.col("inference_id") == "i7").drop("inference_id", "day", "use_case", "model", "model_version")
    assert i7.rows() == [
        ("serving", "billed", Decimal("0.431554524362"), None, "M", None),
        ("indirect", "billed", Decimal("0.15"), None, "logging", None),
    ]


def test_the_table_costs_tells_estimates_from_unknown_costs(tmp_path: Path) -> None:
    own = {"cost": Decimal(2), "cost_currency": "USD"}
    rows = [inference(1), inference(2, model="N"), inference(3, **own), inference(4, cache_hit=True)]
    out = publish(tmp_path, inferences=rows)
    report(out, PRICES, BILL, LINES, bill=(line("-1", model="M"),), write_costs=out / "written")
    costs = pl.read_parquet(out / "written" / "costs" / "**" / "*.parquet", hive_partitioning=False)
    columns = ("inference_id", "cost_type", "basis", "cost", "cost_reason", "line", "price_list")
    prices = str(out / "prices.json")
    # A day with negative lines only keeps its estimates, and takes them as indirect.
    assert costs.select(columns).filter(pl.col("basis") == "estimated").rows() == [
        ("i1", "serving", "estimated", Decimal("0.4"), None, None, prices),
        ("i2", "serving", "estimated", None, "no_price", None, None),
        ("i3", "serving", "estimated", Decimal(2), None, None, None),
        ("i4", "serving", "estimated", Decimal(0), None, None, None),
    ]
    billed = costs.filter(pl.col("basis") == "billed")
    assert set(billed["cost_type"]) == {"indirect"}
    assert (billed["cost"].sum(), set(billed["line"])) == (Decimal(-1), {"M"})


def test_the_table_costs_goes_to_a_folder_of_its_own_and_appears_whole(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    with pytest.raises(ConfigurationError, match="expected a new or empty folder"):
        report(out, PRICES, write_costs=out)
    with pytest.raises(UnavailableError):
        report(out, BILL, write_costs=out / "none")
    assert not (out / "none").exists()
    report(publish(tmp_path / "empty"), PRICES, write_costs=out / "no_rows")
    assert pl.read_parquet(out / "no_rows" / "costs" / "**" / "*.parquet", hive_partitioning=False).shape == (0, 11)


# --- bills and the range ---


def test_the_range_begins_with_the_first_bill_line_that_a_rule_matches(tmp_path: Path) -> None:
    out = publish(tmp_path, inferences=[inference(1, event_time=at(1, 5))])
    bill = (line("1", "2026-03-01"), line("2", "2026-03-03", model="M"), line("4", "2026-03-05", model="M"))
    rows = report(out, PRICES, BILL, LINES, bill=bill)
    assert rows[0]["from"] == "2026-03-03"
    found = only(rows, "bill")
    assert (found["outside"], found["allocated"]) == ("1.000000000000", "6.000000000000")
    total = only(rows, "total")
    assert (total["serving_cost"], total["idle_cost"], total["cost"]) == (
        *("4.000000000000", "2.000000000000", "6.000000000000"),
    )


def test_a_bill_that_lags_is_pending_and_its_days_keep_estimates(tmp_path: Path) -> None:
    inferences = [inference(1, inference_id=f"i{day}", event_time=at(1, day)) for day in (2, 20, 21, 22)]
    bill = tuple(line("1", f"2026-03-{day}", model="M") for day in ("02", "20", "21", "22"))
    rows = report(publish(tmp_path, inferences=inferences), PRICES, BILL, LINES, bill=bill)
    total = only(rows, "total")
    # The days from the one before as-of's on: two estimates of 0.4 beside two billed days.
    assert (total["basis"], total["cost"], total["estimated"]) == ("mixed", "2.800000000000", "0.800000000000")
    assert (only(rows, "bill")["allocated"], only(rows, "bill")["pending"]) == ("2.000000000000", "2.000000000000")
    complete = report(tmp_path, PRICES, f"{BILL}complete_until = 2026-03-22\n", LINES)
    assert (only(complete, "total")["cost"], only(complete, "bill")["pending"]) == ("3.400000000000", "1.000000000000")


def test_a_day_with_a_line_above_nothing_is_billed_even_where_credits_outweigh_it(tmp_path: Path) -> None:
    bill = (line("5", model="M"), line("-7", model="M"))
    total = only(
        report(publish(tmp_path, inferences=[inference(1)]), PRICES, BILL, LINES, bill=bill, warnings=[]), "total"
    )
    assert (total["basis"], total["serving_cost"], total["indirect_cost"]) == (
        *("billed", "-2.000000000000", "0.000000000000"),
    )


def test_credits_of_another_serving_line_count_as_serving_where_the_inference_is_billed(tmp_path: Path) -> None:
    every = '[[line]]\nname = "credits"\nmatch = { "tags.kind" = "credit" }\ncost_type = "serving"\n'
    inferences = [inference(1), inference(2, model="N", cost=Decimal(1), cost_currency="USD")]
    bill = (line("5", model="M"), line("-1.4", kind="credit"))
    rows = report(publish(tmp_path, inferences=inferences), PRICES, BILL, LINES, every, bill=bill)
    costs = {row["model"]: (row["serving_cost"], row["indirect_cost"]) for row in rows if row["row"] == "requests"}
    # By estimates of 0.4 and 1: M's bill is its cost, N keeps its estimate and takes the credit beside it.
    assert costs == {"M": ("4.600000000000", "0.000000000000"), "N": ("1.000000000000", "-1.000000000000")}


def test_idle_days_are_shared_by_the_requests_of_their_period(tmp_path: Path) -> None:
    inferences = [inference(1, inference_id="a"), inference(2, inference_id="b"), inference(3, arm="holdout")]
    bill = (
        line("1", "2026-03-10", model="M"),
        line("3", "2026-04-10", month="", model="M"),
        line("5", "2026-02-10", model="M"),
    )
    rows = report(
        publish(tmp_path, inferences=inferences), PRICES, BILL, LINES, bill=bill, period="month", to="2026-05-01"
    )
    [march] = [row for row in rows if row["row"] == "requests"]
    assert (march["period"], march["idle_cost"], march["basis"]) == ("2026-03-01", "1.000000000000", "estimated")
    idle = [
        (row["period"], row["line"], row["scope"], row["requests"], row["cost"]) for row in rows if row["row"] == "idle"
    ]
    scope = {"model": "M"}
    assert idle == [
        ("2026-02-01", "M", scope, 0, "5.000000000000"),
        ("2026-04-01", "M", scope, 0, "3.000000000000"),
    ]
    totals = {row["period"]: row["cost"] for row in rows if row["row"] == "total"}
    assert totals == {"2026-02-01": "5.000000000000", "2026-03-01": "1.800000000000", "2026-04-01": "3.000000000000"}
    assert only(rows, "bill")["idle"] == "8.000000000000"


def test_what_was_retired_early_is_a_row_in_no_ratio(tmp_path: Path) -> None:
    rows = report(worked_example(tmp_path), PRICES, DEVELOPMENT, "retired = 2026-03-05\n")
    assert only(rows, "total")["amortised_cost"] == "30.000000000000"
    left = only(rows, "unamortised")
    assert (left["entry"], left["cost_type"], left["scope"]) == ("amortise 1", "development", {"model": "M"})
    assert left["cost"] == "870.000000000000"


def test_amortised_money_of_a_scope_without_requests_is_idle_and_in_full_cost_only(tmp_path: Path) -> None:
    rows = report(publish(tmp_path, inferences=[inference(1)]), PRICES, DEVELOPMENT.replace('"M"', '"N"'), **DAY)
    [idle, total] = [only(rows, kind) for kind in ("idle", "total")]
    assert (idle["entry"], idle["cost"], idle["full_cost"]) == ("amortise 1", "0.000000000000", "10.000000000000")
    assert (total["cost"], total["full_cost"], total["requests"]) == ("0.400000000000", "10.400000000000", 1)


def test_money_to_be_written_off_without_a_rate_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="amortise 1: currency: expected a rate for 2026-03-02"):
        report(worked_example(tmp_path), DEVELOPMENT.replace("USD", "EUR"))
    (tmp_path / "fx.csv").write_text("date,currency,rate\n2026-03-01,EUR,1.1\n")
    rows = report(tmp_path, DEVELOPMENT.replace("USD", "EUR"), **DAY)
    assert only(rows, "total")["amortised_cost"] == "11.000000000000"


def test_a_bill_far_below_the_estimates_that_it_replaces_is_a_warning(tmp_path: Path) -> None:
    warnings: list[str] = []
    bill = (line("0.430999999999", model="M"),)
    report(worked_example(tmp_path), PRICES, BILL, LINES, bill=bill, warnings=warnings)
    [warning] = warnings
    assert warning.startswith('line "M": its bill is below a tenth of the estimates that it replaces on 1 day; on ')
    assert warning.endswith("on 2026-03-02 it is 0.430999999999, they are 4.31")
    report(worked_example(tmp_path), PRICES, BILL, LINES, bill=(line("0.431", model="M"),))


# --- overhead ---


OVERHEAD = '[[overhead]]\nuse_case = "judge"\nof = "reco"\n'


def test_a_judges_cost_is_that_of_whom_it_judges_and_its_value_in_no_total(tmp_path: Path) -> None:
    own = {"cost": Decimal("0.30"), "cost_currency": "USD"}
    inferences = [inference(1), inference(2, model="N", **own), inference(3, use_case="judge", model="J", **own)]
    credits_ = [credit("o1", 3, "5", "5"), credit("o2", 1, "1", "1")]
    rows = report(publish(tmp_path, inferences=inferences, credits=credits_), PRICES, OVERHEAD)
    groups = {
        row["model"]: (row["requests"], row["serving_cost"], row["indirect_cost"])
        for row in rows
        if row["row"] == "requests"
    }
    assert groups == {
        "M": (1, "0.400000000000", "0.150000000000"),
        "N": (1, "0.300000000000", "0.150000000000"),
    }
    total = only(rows, "total")
    assert (total["requests"], total["cost"], total["value"], total["outcomes"]) == (
        2,
        "1.000000000000",
        "1.000000000",
        1,
    )
    overhead = only(rows, "overhead")
    assert (overhead["use_case"], overhead["of"], overhead["inferences"]) == ("judge", "reco", 1)
    assert (overhead["cost"], overhead["value"]) == ("0.300000000000", "5.000000000")


def test_an_unpriced_judge_of_a_day_without_requests_counts_in_every_group_of_the_period(tmp_path: Path) -> None:
    judge = inference(3, use_case="judge", model="X", event_time=at(1, 9))
    inferences = [inference(1), inference(2, model="N", event_time=at(2, 5)), judge]
    rows = report(publish(tmp_path, inferences=inferences), PRICES, OVERHEAD)
    shares = {row["model"]: row["priced_share"] for row in rows if row["row"] == "requests"}
    assert shares == {"M": "0.500000000000", "N": "0.000000000000"}


def test_a_judge_of_a_day_without_requests_is_shared_by_those_of_the_period_or_idle(tmp_path: Path) -> None:
    own = {"use_case": "judge", "cost": Decimal("0.30"), "cost_currency": "USD"}
    judged = [inference(n, event_time=at(1, day, month), **own) for n, day, month in ((2, 3, 3), (3, 3, 4))]
    rows = report(
        publish(tmp_path, inferences=[inference(1), *judged]), PRICES, OVERHEAD, period="month", to="2026-05-01"
    )
    [march] = [row for row in rows if row["row"] == "requests"]
    assert (march["indirect_cost"], march["cost"]) == ("0.300000000000", "0.700000000000")
    idle = only(rows, "idle")
    assert (idle["period"], idle["entry"], idle["scope"]) == ("2026-04-01", "overhead judge", {"use_case": "reco"})
    assert (idle["cost"], idle["requests"]) == ("0.300000000000", 0)
    totals = {row["period"]: (row["requests"], row["cost"]) for row in rows if row["row"] == "total"}
    assert totals == {"2026-03-01": (1, "0.700000000000"), "2026-04-01": (0, "0.300000000000")}


def test_an_unpriced_judge_makes_the_cost_of_those_whom_it_serves_incomplete(tmp_path: Path) -> None:
    unpriced = [inference(n, use_case="judge", model="X") for n in (3, 4)]
    inferences = [inference(1), inference(2, model="N", event_time=at(2, 5)), *unpriced]
    rows = report(publish(tmp_path, inferences=inferences), PRICES, OVERHEAD)
    shares = {row["model"]: (row["priced_share"], row["unpriced_no_price"]) for row in rows if row["row"] == "requests"}
    # The judge serves requests of its own day: N has none on it, and is unpriced itself.
    assert shares == {"M": ("0.333333333333", 2), "N": ("0.000000000000", 1)}
    total = only(rows, "total")
    assert (total["priced_share"], total["unpriced_no_price"]) == ("0.250000000000", 3)
    assert total["cost_per_inference_reason"] == "incomplete_cost"
