"""Reports on hand-made tables with a cost file and a bill; of each, that nothing is lost and nothing is a float."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from streams.ratio_command import RatioOptions, run_ratio
from tests.bill_files import line, write_bill
from tests.published import Rows

DAY: dict[str, Any] = {"from_": "2026-03-02", "to": "2026-03-03"}
PRICES = '[[price_list]]\npath = "prices.json"\neffective_from = 2026-01-01T00:00:00Z\n'
BILL = '[[bill]]\npath = "bill.csv"\n'
LINES = """
[[line]]
name = "M"
match = { "tags.model" = "M" }
cost_type = "serving"
scope = { model = "M" }
drivers = ["estimate"]
[[line]]
name = "logging"
match = { "tags.kind" = "logging" }
cost_type = "indirect"
drivers = ["requests"]
"""
DEVELOPMENT = """
[[amortise]]
cost_type = "development"
scope = { model = "M" }
amount = "900.00"
currency = "USD"
from = 2026-03-02
life_days = 90
"""
THE_BILL = (line("6.00", model="M"), line("1.50", kind="logging"))


def report(
    out: Path, *tables: str, bill: tuple[str, ...] = (), warnings: list[str] | None = None, **options: Any
) -> Rows:
    """The report's rows; tables: of the cost file; bill: the lines of bill.csv."""
    if bill:
        write_bill(out / "bill.csv", *bill)
    (out / "costs.toml").write_text("".join(tables))
    chosen: dict[str, Any] = {"costs": out / "costs.toml", "format": "json"} | options
    said: list[str] = []
    rows: Rows = json.loads(run_ratio(out, RatioOptions(**chosen), said.append))
    if warnings is None:
        assert said == []
    else:
        warnings += said
    check_conservation(rows)
    return rows


def check_conservation(rows: Rows) -> None:
    """Nothing of a bill is lost; no figure is a float, an infinity or a NaN."""
    fates = ("allocated", "idle", "unallocated", "pending", "outside", "rounding")
    for row in rows:
        assert not any(isinstance(cell, float) for cell in row.values())
        assert not {"NaN", "Infinity", "inf"} & {str(cell) for cell in row.values()}
        if row["row"] == "bill":
            assert sum(Fraction(row[name]) for name in fates) == Fraction(row["effective"])
