"""An answer for each bad input: no infinity, no NaN, no 0 for unknown, no guess."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from schemas.errors import ConfigurationError, UnavailableError
from streams.ratio_command import RatioOptions, run_ratio
from tests.bill_files import DATA, line, write_bill
from tests.cost_reports import BILL, DAY, DEVELOPMENT, LINES, PRICES, THE_BILL, report
from tests.published import at, credit, inference, only, publish, worked_example


def test_a_bill_in_two_currencies_is_two_rows_and_money_without_a_rate_stays_in_its_own(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    (out / "fx.csv").write_text("date,currency,rate\n2026-03-01,EUR,1.1\n")
    bill = (*THE_BILL, line("2", currency="EUR", model="M"), line("3", currency="GBP", model="M"))
    rows = report(out, PRICES, BILL, LINES, bill=bill, **DAY)
    bills = {row["currency"]: row for row in rows if row["row"] == "bill"}
    assert {currency: (row["shown_in"], row["effective"]) for currency, row in bills.items()} == {
        "EUR": ("USD", "2.200000000000"),
        "GBP": ("GBP", "3.000000000000"),
        "USD": ("USD", "7.500000000000"),
    }
    assert bills["EUR"]["allocated"] == "2.200000000000"
    assert bills["GBP"]["unallocated"] == "3.000000000000"
    left = only(rows, "unallocated")
    assert (left["reason"], left["currency"], left["shown_in"], left["cost"]) == (
        "no_fx_rate",
        "GBP",
        "GBP",
        "3.000000000000",
    )


def test_a_month_delivered_twice_is_an_error_that_names_both(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    write_bill(out / "again.csv", line("1"))
    again = '[[bill]]\npath = "again.csv"\n'
    with pytest.raises(ConfigurationError) as refused:
        report(out, BILL, again, bill=THE_BILL)
    message = str(refused.value)
    assert "bill 2: path: expected lines that" in message
    assert str(out / "bill.csv") in message
    assert str(out / "again.csv") in message
    assert "issuer AWS, billing account 1 and billing period from 2026-03-01T00:00:00Z" in message
    # Another issuer, another month, or no word on either: nothing says that it is the same.
    for other in (line("1", issuer="Microsoft"), line("1", month="2026-02-01/2026-03-01"), line("1", month="")):
        write_bill(out / "again.csv", other)
        assert len([row for row in report(out, BILL, again) if row["row"] == "bill"]) == 2


def test_a_line_without_currency_is_exit_3_by_file_and_row(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"bill\.csv: row 2 \(line 3\): BillingCurrency: expected") as refused:
        report(worked_example(tmp_path), BILL, LINES, bill=(line(), line(currency="")))
    assert refused.value.exit_code == 3


def test_a_line_whose_tags_match_two_rules_is_the_firsts(tmp_path: Path) -> None:
    bill = (line("6.00", model="M", kind="logging"),)
    total = only(report(worked_example(tmp_path), PRICES, BILL, LINES, bill=bill, **DAY), "total")
    assert (total["serving_cost"], total["indirect_cost"]) == ("5.443155452436", "0.000000000000")


def test_a_price_list_without_the_model_leaves_estimates_unknown_and_a_bill_makes_them_known(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    (out / "prices.json").write_text('{"N": {"input_cost_per_token": 1}}')
    without = only(report(out, PRICES, **DAY), "total")
    assert (without["priced_share"], without["unpriced_no_price"]) == ("0.111111111111", 8)
    assert (without["cost"], without["margin"], without["margin_reason"]) == ("1.000000000000", None, "incomplete_cost")
    billed = only(report(out, PRICES, BILL, LINES, bill=THE_BILL, **DAY), "total")
    # No estimate to go by: the bill is divided by requests.
    assert (billed["cost"], billed["priced_share"]) == ("6.750000000000", "1.000000000000")
    assert (billed["estimated"], billed["estimated_reason"], billed["variance_reason"]) == (
        None,
        "no_estimate",
        "no_estimate",
    )


def test_a_driver_that_one_request_lacks_is_not_taken_but_in_a_crowd(tmp_path: Path) -> None:
    by_tokens = LINES.replace('"estimate"', '"tokens"')
    lacking = [inference(1, input_tokens=None, output_tokens=None), inference(2), inference(3)]
    rows = report(
        publish(tmp_path, inferences=lacking), BILL, by_tokens, bill=(line("3", model="M"),), write_costs=tmp_path / "w"
    )
    costs = pl.read_parquet(tmp_path / "w" / "costs" / "**" / "*.parquet", hive_partitioning=False)
    assert costs["cost"].to_list() == [Decimal(1)] * 3
    assert only(rows, "total")["cost"] == "3.000000000000"


def test_a_period_without_inferences_has_nulls_with_reasons_and_its_money_is_idle(tmp_path: Path) -> None:
    rows = report(publish(tmp_path), PRICES, BILL, LINES, bill=THE_BILL)
    assert rows[0]["from"] == "2026-03-02"
    assert [row["row"] for row in rows] == ["report", "total", "idle", "idle", "bill"]
    total = only(rows, "total")
    assert (total["requests"], total["cost"]) == (0, "7.500000000000")
    for name in ("basis", "priced_share", "cost_per_inference", "margin", "roi_multiple", "band", "full_band"):
        assert (total[name], total[f"{name}_reason"]) == (None, "no_requests")
    assert only(rows, "bill")["idle"] == "7.500000000000"


@pytest.mark.parametrize(
    ("value", "reasons", "band"),
    [("0", {"cost_to_value_ratio": "no_value", "top_share": "no_value"}, "unsustainable"),
     ("-2", {"cost_to_value_ratio": "negative_value"}, "unsustainable")],
)  # fmt: skip
def test_value_of_zero_or_below_has_no_ratio_and_is_unsustainable(
    tmp_path: Path, value: str, reasons: dict[str, str], band: str
) -> None:
    out = publish(tmp_path, inferences=[inference(1)], credits=[credit("o1", 1, value, None)])
    total = only(report(out, PRICES, BILL, LINES, bill=THE_BILL, **DAY), "total")
    assert {name: (total[name], total[f"{name}_reason"]) for name in reasons} == {
        name: (None, reason) for name, reason in reasons.items()
    }
    assert (total["band"], total["full_band"]) == (band, band)


def test_a_cost_below_zero_has_no_ratio(tmp_path: Path) -> None:
    bill = (line("-1.50", kind="logging"),)
    total = only(report(publish(tmp_path, inferences=[inference(1)]), PRICES, BILL, LINES, bill=bill), "total")
    assert (total["serving_cost"], total["cost"]) == ("0.400000000000", "-1.100000000000")
    for name in ("cost_to_value_ratio", "roi_multiple", "band", "full_roi_multiple"):
        assert total[f"{name}_reason"] == "negative_cost"


def test_one_inference_bears_the_whole_bill(tmp_path: Path) -> None:
    total = only(report(publish(tmp_path, inferences=[inference(1)]), PRICES, BILL, LINES, bill=THE_BILL), "total")
    assert (total["requests"], total["cost"], total["cost_per_inference"]) == (1, "7.500000000000", "7.500000000000")


def test_a_correction_in_a_later_bill_changes_the_day_that_it_is_for(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    write_bill(out / "april.csv", line("-2.00", month="2026-04-01/2026-05-01", model="M"))
    april = '[[bill]]\npath = "april.csv"\n'
    rows = report(out, PRICES, BILL, april, LINES, bill=THE_BILL, **DAY)
    # 4.00 by the same estimates: 4 × 3.91 / 4.31, and logging as before.
    assert only(rows, "total")["serving_cost"] == "3.628770301624"
    march, corrected = [row for row in rows if row["row"] == "bill"]
    assert (march["allocated"], corrected["allocated"]) == ("7.500000000000", "-2.000000000000")


def test_a_bill_that_ends_in_the_middle_of_a_month_leaves_estimates_for_the_rest(tmp_path: Path) -> None:
    days = (1, 10, 15, 16, 20)
    inferences = [inference(1, inference_id=f"i{day}", event_time=at(1, day)) for day in days]
    half = line("15", "2026-03-01T00:00:00Z", "2026-03-16T00:00:00Z", model="M")
    rows = report(publish(tmp_path, inferences=inferences), PRICES, BILL, LINES, bill=(half,))
    total = only(rows, "total")
    # Three billed days, twelve idle ones, and estimates of 0.4 for the two days after.
    assert (total["basis"], total["serving_cost"], total["idle_cost"]) == ("mixed", "3.800000000000", "12.000000000000")


def test_the_focus_sample_is_read_in_full_and_all_of_it_is_unallocated(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    name = "focus_1_0_sample_even.csv.gz"
    (out / name).write_bytes((DATA / "focus" / name).read_bytes())
    rows = report(out, PRICES, f'[[bill]]\npath = "{name}"\n', LINES, from_="2024-09-01")
    found = only(rows, "bill")
    assert Decimal(found["effective"]) == Decimal(found["unallocated"]) == Decimal("13.16298079268")
    assert Decimal(found["billed"]) == Decimal("14.66598547521")
    assert Decimal(found["rounding"]) == 0
    left = only(rows, "unallocated")
    assert (left["reason"], left["shown_in"], left["cost"]) == ("no_rule", "USD", "13.162980792680")
    # Out of range it is outside, and the report says so.
    assert Decimal(only(report(out, PRICES, f'[[bill]]\npath = "{name}"\n'), "bill")["outside"]) == Decimal(
        "13.16298079268"
    )


def test_a_column_that_no_bill_has_is_a_warning(tmp_path: Path) -> None:
    warnings: list[str] = []
    rule = '[[line]]\nname = "x"\nmatch = { ServiceNam = "S3" }\ncost_type = "indirect"\n'
    report(worked_example(tmp_path), BILL, rule, bill=THE_BILL, warnings=warnings)
    assert warnings == ['line "x": no bill has the column ServiceNam, so it matches nothing']


def test_the_report_names_its_bills_with_their_digests(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    first = report(out, PRICES, BILL, LINES, bill=THE_BILL)[0]["digests"][str(out / "bill.csv")]
    assert report(out, PRICES, BILL, LINES, bill=THE_BILL[:1])[0]["digests"][str(out / "bill.csv")] != first
    write_bill(out / "parts" / "1.csv", *THE_BILL)
    folder = report(out, PRICES, '[[bill]]\npath = "parts"\n', LINES)[0]["digests"][str(out / "parts")]
    assert len(folder) == 64


def test_the_tables_and_csv_show_what_became_of_each_bill(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    report(out, PRICES, BILL, LINES, DEVELOPMENT, bill=(*THE_BILL, line("2.5")))
    text = run_ratio(out, RatioOptions(costs=out / "costs.toml"))
    assert "Bills, in full" in text
    assert "10.000000000000" in text
    assert "Unallocated: bill lines that are no inference's cost" in text
    narrow = run_ratio(out, RatioOptions(costs=out / "costs.toml", width=80))
    figures = {word for word in text.split() if word.replace(".", "").isdigit()}
    assert figures <= set(narrow.split())
    header = run_ratio(out, RatioOptions(costs=out / "costs.toml", format="csv")).splitlines()[0].split(",")
    assert {"effective", "shown_in", "line", "scope", "amortised_cost"} <= set(header)


def test_the_litellm_sample_costs_what_litellm_says(tmp_path: Path) -> None:
    payload = json.loads((DATA / "litellm" / "standard_logging_payload.json").read_text())
    call = {"input_tokens": payload["prompt_tokens"], "output_tokens": payload["completion_tokens"]}
    row = inference(1, model=payload["model"], provider=payload["custom_llm_provider"], **call)
    out = publish(tmp_path, inferences=[row])
    of_model = payload["model_map_information"]
    (out / "prices.json").write_text(json.dumps({of_model["model_map_key"]: of_model["model_map_value"]}))
    assert only(report(out, PRICES), "total")["cost"] == "0.000225000000"
    # A list that came later has another price: what was before it stays what it was.
    (out / "later.json").write_text('{"gpt-4o": {"input_cost_per_token": 1, "output_cost_per_token": 1}}')
    later = '[[price_list]]\npath = "later.json"\neffective_from = 2026-03-02T01:00:00.000001Z\n'
    assert only(report(out, PRICES, later), "total")["cost"] == "0.000225000000"
    assert only(report(out, PRICES, later.replace(".000001Z", "Z")), "total")["cost"] == "30.000000000000"
