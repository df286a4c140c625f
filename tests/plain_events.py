"""Small events and rules in the judge's plain form (``tests/reference.py``), and the judge run on them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.reference import Result, attribute
from tests.reference_parts import DAY_US

Event = dict[str, Any]
HOUR = DAY_US // 24
#: 2026-03-02T00:00:00Z
MONDAY = 1_772_409_600_000_000
START = MONDAY - 60 * DAY_US
EUR = (MONDAY // DAY_US, "EUR", 1_100_000_000)


def u(text: str) -> int:
    """Decimal text as units."""
    return int(Decimal(text).scaleb(9))


def inference(name: str, time: int = MONDAY, use_case: str = "reco", **fields: Any) -> Event:
    """An inference of model M."""
    return {"inference_id": name, "event_time": time, "use_case": use_case, "model": "M"} | fields


def outcome(name: str, named: list[str] | str | None, time: int = MONDAY + DAY_US, **fields: Any) -> Event:
    """An event that names inferences (a list), a trace (a text) or nothing."""
    naming = {} if named is None else {"trace_id": named} if isinstance(named, str) else {"inference_ids": named}
    return {"event_id": name, "event_time": time, "type": "purchase"} | naming | fields


def sale(name: str, named: list[str] | str | None, amount: str, time: int = MONDAY + DAY_US, **fields: Any) -> Event:
    """A conversion with an amount, in US dollars unless told otherwise."""
    return outcome(name, named, time, **{"amount": u(amount), "currency": "USD"} | fields)


def reversal(name: str, reverses: str, time: int = MONDAY + 2 * DAY_US, **fields: Any) -> Event:
    """A reversal of the outcome so named; without fields it takes all."""
    return {"event_id": name, "reverses": reverses, "event_time": time} | fields


def rule(use_case: str = "reco", kind: str = "conversion", type_: str = "*", **keys: Any) -> Event:
    """A linear rule with a window of seven days; saved time at 36 an hour."""
    base = {"use_case": use_case, "kind": kind, "type": type_, "effective_from": START, "credit": "linear"}
    hourly = {"hourly_rate": {"*": u("36")}} if kind == "time_saved" else {}
    return base | {"lookback_window": 7 * DAY_US} | hourly | keys


def run(
    inferences: list[Event],
    conversions: list[Event] | None = None,
    rules: list[Event] | None = None,
    *,
    time_saved: list[Event] | None = None,
    reversals: list[Event] | None = None,
    fx: list[tuple[int, str, int]] | None = None,
    **changed: Any,
) -> Result:
    """The judge on these events; ``changed`` are settings. Without rules: one for each kind."""
    known = {"base_currency": "USD", "reversal_window": 60 * DAY_US, "fx_max_age": 7, "allowed_lateness": 0}
    rules = [rule(), rule(kind="time_saved")] if rules is None else rules
    return attribute(inferences, conversions or [], time_saved or [], reversals or [], rules, fx or [], known | changed)


def credited(result: Result, column: str = "value") -> dict[str, int | None]:
    """A figure by inference, of results with one outcome."""
    return {row["inference_id"]: row[column] for row in result.credits}


def reasons(result: Result) -> list[str]:
    """Why nothing was credited."""
    assert not result.credits
    return [row["reason"] for row in result.unattributed]
