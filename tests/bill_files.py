"""Bills made by hand: FOCUS lines with few columns, and cost files that name them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from attribution.bills import BillSums
from attribution.costs import Conversion
from streams.bills.read import read_bills
from streams.cost_file import load_cost_file
from tests.ratio_frames import NO_RATES

DATA = Path(__file__).parent / "data"
HEADER = (
    "EffectiveCost,BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,"
    "InvoiceIssuerName,BillingAccountId,BillingPeriodStart,BillingPeriodEnd,Tags"
)
AS_OF = datetime(2026, 3, 22, tzinfo=UTC)


def line(
    cost: str = "6.00",
    day: str = "2026-03-02",
    until: str = "",
    *,
    currency: str = "USD",
    month: str = "2026-03-01/2026-04-01",
    issuer: str = "AWS",
    **tags: str,
) -> str:
    """A line of one day, unless it says until when; month: its billing period, nothing for none."""
    start = day if "T" in day else f"{day}T00:00:00Z"
    end = until or f"{day[:8]}{int(day[8:10]) + 1:02}T00:00:00Z"
    first, _, last = month.partition("/")
    text = json.dumps(tags).replace('"', '""')
    return f'{cost},{cost},{currency},{start},{end},{issuer},1,{first},{last},"{text}"'


def write_bill(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def read(path: Path, text: str = "", conversion: Conversion = NO_RATES, as_of: datetime = AS_OF) -> BillSums:
    """The one bill at a path; text: of the cost file's further tables, or of the bill's further keys before them."""
    file = path.parent / "costs.toml"
    file.write_text(f'[[bill]]\npath = "{path.name}"\n{text}')
    found = load_cost_file(file)
    [sums] = read_bills(found.bills, found.model.lines, conversion, as_of, lambda _: None)
    return sums


def totals(sums: BillSums) -> dict[str, tuple[Fraction, Fraction | None]]:
    """Effective and billed cost per currency."""
    return {currency: (exact.effective, exact.billed_amount) for (currency, _), exact in sums.exact.items()}
