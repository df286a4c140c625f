"""The ready column maps of ``configs/costs``, each on a small file in the shape that its cloud exports."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest

from attribution.bills import BillSums
from schemas.errors import ConfigurationError
from streams.bills.read import read_bills
from streams.cost_file import CostFile, load_cost_file
from tests.ratio_frames import NO_RATES

CONFIGS = Path(__file__).parents[1] / "configs" / "costs"
AS_OF = datetime(2026, 3, 22, tzinfo=UTC)


def read(name: str, *bills: Path) -> list[BillSums]:
    """Bills read by a shipped cost file, which names one of its own."""
    found: CostFile = load_cost_file(CONFIGS / name)
    [bill] = found.bills
    files = [replace(bill, path=path) for path in bills]
    return read_bills(files, found.model.lines, NO_RATES, AS_OF, lambda _: None)


def by_rule(sums: BillSums) -> list[tuple[int | None, date, Fraction, bool]]:
    """Rule, day, cost, whether it is pending."""
    rows = sums.parts.sort("day", "rule", nulls_last=True).select("rule", "day", "cost", "is_pending").rows()
    return [(rule, day, Fraction(cost, 10**12), is_pending) for rule, day, cost, is_pending in rows]


def test_every_shipped_map_is_tried() -> None:
    assert {path.name for path in CONFIGS.iterdir()} == {
        *("aws_cur_2_0.toml", "azure_cost_management.toml", "gcp_billing_export.toml"),
    }


CUR = (
    "bill_bill_type,bill_billing_entity,bill_billing_period_end_date,bill_billing_period_start_date,"
    "bill_invoicing_entity,bill_payer_account_id,identity_line_item_id,line_item_currency_code,"
    "line_item_line_item_type,line_item_product_code,line_item_resource_id,line_item_unblended_cost,"
    "line_item_usage_end_date,line_item_usage_start_date,product,resource_tags\n"
)


def cur_line(cost: str, code: str, day: str, tags: str = "{}") -> str:
    period = "Anniversary,AWS,2026-04-01T00:00:00.000Z,2026-03-01T00:00:00.000Z"
    account = '"Amazon Web Services, Inc.",123456789012,abc,USD,Usage'
    times = f"{day}T01:00:00.000Z,{day}T00:00:00.000Z"
    return f'{period},{account},{code},arn:x,{cost},{times},{{}},"{tags}"\n'


def test_aws_cur_2(tmp_path: Path) -> None:
    lines = [
        cur_line("1.2500000000", "AmazonBedrock", "2026-03-02", '{""user_model"": ""M""}'),
        cur_line("3.0E-7", "AmazonCloudWatch", "2026-03-02"),
        cur_line("4.5", "AmazonS3", "2026-03-21"),
    ]
    (tmp_path / "cur.csv").write_text(CUR + "".join(lines))
    [sums] = read("aws_cur_2_0.toml", tmp_path / "cur.csv")
    assert by_rule(sums) == [
        (0, date(2026, 3, 2), Fraction("1.25"), False),
        (1, date(2026, 3, 2), Fraction("0.0000003"), False),
        (None, date(2026, 3, 21), Fraction("4.5"), True),
    ]
    assert {exact.billed_amount for exact in sums.exact.values()} == {Fraction("5.7500003")}
    (tmp_path / "again.csv").write_text(CUR + lines[0])
    with pytest.raises(ConfigurationError, match="billing account 123456789012"):
        read("aws_cur_2_0.toml", tmp_path / "cur.csv", tmp_path / "again.csv")


def gcp_row(service: str, cost: float, day: int, credits_: list[float], **labels: str) -> dict[str, object]:
    start = datetime(2026, 3, day, 10, tzinfo=UTC)
    return {
        "billing_account_id": "01A2-B3",
        "service": {"id": "6F81", "description": service},
        "sku": {"id": "x", "description": "tokens"},
        "usage_start_time": start,
        "usage_end_time": start.replace(hour=11),
        "labels": [{"key": key, "value": value} for key, value in labels.items()],
        "cost": cost,
        "currency": "USD",
        "credits": [{"name": "promotion", "amount": amount, "type": "PROMOTION"} for amount in credits_],
        "invoice": {"month": "202603"},
        "cost_type": "regular",
    }


def test_gcp_billing_export(tmp_path: Path) -> None:
    rows = [
        gcp_row("Vertex AI", 0.1, 2, [-0.025, -0.000001], model="m", team="a"),
        gcp_row("Cloud Logging", 1e-07, 2, []),
        gcp_row("Compute Engine", 2.5, 21, []),
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "gcp.parquet")
    [sums] = read("gcp_billing_export.toml", tmp_path / "gcp.parquet")
    assert by_rule(sums) == [
        (0, date(2026, 3, 2), Fraction("0.074999"), False),
        (1, date(2026, 3, 2), Fraction("0.0000001"), False),
        (None, date(2026, 3, 21), Fraction("2.5"), True),
    ]
    pl.DataFrame(rows[:1]).write_parquet(tmp_path / "again.parquet")
    with pytest.raises(ConfigurationError, match="billing account 01A2-B3 and billing period from 2026-03-01"):
        read("gcp_billing_export.toml", tmp_path / "gcp.parquet", tmp_path / "again.parquet")


AZURE = (
    "invoiceId,billingAccountId,billingPeriodEndDate,billingPeriodStartDate,chargeType,consumedService,"
    "costInBillingCurrency,date,meterCategory,meterName,billingCurrency,resourceId,tags\n"
)


def test_azure_cost_management(tmp_path: Path) -> None:
    openai, tags = "Usage,Microsoft.CognitiveServices", '"""model"": ""M"",""team"": ""a"""'
    lines = [
        f"I1,A:1,03/31/2026,03/01/2026,{openai},1.5,03/02/2026,Azure OpenAI,Input,USD,/x,{tags}\n",
        "I1,A:1,03/31/2026,03/01/2026,Usage,Microsoft.Insights,2E-05,03/02/2026,Log Analytics,GB,USD,/y,\n",
        f"I1,A:1,03/31/2026,03/01/2026,{openai},0.5,03/21/2026,Azure OpenAI,Input,USD,/z,\n",
    ]
    (tmp_path / "azure.csv").write_text("\ufeff" + AZURE + "".join(lines))
    [sums] = read("azure_cost_management.toml", tmp_path / "azure.csv")
    assert by_rule(sums) == [
        (0, date(2026, 3, 2), Fraction("1.5"), False),
        (1, date(2026, 3, 2), Fraction("0.00002"), False),
        (None, date(2026, 3, 21), Fraction("0.5"), True),
    ]
    assert sums.newest_day == date(2026, 3, 21)
