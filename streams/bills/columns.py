"""What a bill's columns are called, and how a name is found among those that are there.

FOCUS renamed columns between its versions, and tools that carry an export on change the case of names: a name that is
not there is looked for under its other names, then without regard to case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: The keys of ``columns`` in a cost file.
COLUMN_KEYS = (
    *("cost", "start", "end", "billed_cost", "currency"),
    *("tags", "issuer", "account", "billing_period", "credits"),
)


@dataclass(frozen=True)
class ColumnMap:
    """cost: what a line costs, commitments included; billed_cost: what the invoice says; start, end: its charge period.

    billing_period: a month, or a time in it; period_start, period_end: of the billing period, where a bill has both;
    credits: amounts, mostly negative, that come on top of the cost. aliases: whether names are those of FOCUS.
    """

    cost: str
    start: str
    end: str
    billed_cost: str | None = None
    currency: str | None = None
    tags: str | None = None
    issuer: str | None = None
    account: str | None = None
    billing_period: str | None = None
    credits: str | None = None
    period_start: str | None = None
    period_end: str | None = None
    is_focus: bool = False


FOCUS = ColumnMap(
    cost="EffectiveCost",
    billed_cost="BilledCost",
    currency="BillingCurrency",
    start="ChargePeriodStart",
    end="ChargePeriodEnd",
    tags="Tags",
    issuer="InvoiceIssuerName",
    account="BillingAccountId",
    period_start="BillingPeriodStart",
    period_end="BillingPeriodEnd",
    is_focus=True,
)
#: FOCUS 1.3 renamed ProviderName, 1.4 took the old name away; the others are older than 1.0.
_ALIASES: dict[str, tuple[str, ...]] = {
    "ServiceProviderName": ("ProviderName", "Provider"),
    "ProviderName": ("ServiceProviderName", "Provider"),
    "PublisherName": ("Publisher",),
    "InvoiceIssuerName": ("InvoiceIssuer",),
    "EffectiveCost": ("AmortizedCost",),
    "RegionId": ("Region",),
}


def find_column(name: str, there: Sequence[str], *, is_focus: bool) -> str | None:
    """The column that a name means, of those that are there; None where there is none.

    >>> find_column("ServiceProviderName", ["Tags", "ProviderName"], is_focus=True)
    'ProviderName'
    """
    names = (name, *(_ALIASES.get(name, ()) if is_focus else ()))
    for candidate in names:
        if candidate in there:
            return candidate
    for candidate in names:
        close = [column for column in there if column.lower() == candidate.lower()]
        if len(close) == 1:
            return close[0]
    return None
