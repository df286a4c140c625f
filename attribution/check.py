"""What fails a check of costs against value, and for what somebody is already at work.

Four conditions: a group's band is ``unsustainable``; a group has requests whose cost is not known; a scope has cost and
no requests; a bill is too old. The first is judged on days whose requests are all settled, so that value still to come
is not held against anybody; a remediation in force excuses the first three.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from attribution.bills import BillSums
from attribution.cost_model import Remediation
from attribution.figures import Cell, Row
from attribution.view import DEFAULT_BY, ONE_DAY
from attribution.windows import DAY_US, format_duration

CHECK_DAYS = 28


class Condition(StrEnum):
    """What a check looks for, in the order in which it is printed."""

    UNSUSTAINABLE_BAND = "unsustainable_band"
    UNKNOWN_COST = "unknown_cost"
    COST_WITHOUT_REQUESTS = "cost_without_requests"
    STALE_BILL = "stale_bill"


@dataclass(frozen=True)
class Judged:
    """Rows of a report over [from_day, to_day); use_cases: those whose bands are judged by it, None for all."""

    from_day: date
    to_day: date
    rows: Sequence[Row]
    use_cases: frozenset[str] | None = None


def settled_window(requests: Mapping[date, int], settled: Mapping[date, int]) -> tuple[date, date] | None:
    """The newest days, at most CHECK_DAYS, on which all requests of a use case are settled; None without such a day.

    requests, settled: how many, by day. The days are those up to the newest one that has requests, all settled, and
    reach back to the last one on which something is not; days without requests are among them, for they cost too.
    """
    is_settled = {day: settled.get(day, 0) >= count for day, count in requests.items() if count}
    last = max((day for day, whole in is_settled.items() if whole), default=None)
    if last is None:
        return None
    open_before = [day for day, whole in is_settled.items() if not whole and day < last]
    first = max([min(is_settled), last - timedelta(days=CHECK_DAYS - 1), *(day + ONE_DAY for day in open_before)])
    return first, last + ONE_DAY


def check_rows(
    bands: Iterable[Judged],
    costs: Judged,
    bills: Iterable[tuple[BillSums, int]],
    remediations: Sequence[Remediation],
    as_of_day: date,
) -> list[Row]:
    """One row per finding: what it is, whether it failed or is excused, and by whom.

    bands: reports by use case, model and version whose bands are judged; costs: the report whose costs are; bills: with
    the age that each may have, in µs.
    """
    in_force = [entry for entry in remediations if entry.in_force(as_of_day)]
    rows = [
        _finding(Condition.UNSUSTAINABLE_BAND, _of(row), judged, in_force, roi_multiple=row["roi_multiple"])
        for judged in bands
        for row in judged.rows
        if row["row"] == "requests"
        and row["band"] == "unsustainable"
        and (judged.use_cases is None or row["use_case"] in judged.use_cases)
    ]
    for row in costs.rows:
        if row["row"] == "requests" and row["requests"] and row["cost_per_inference"] is None:
            reason = row["cost_per_inference_reason"]
            rows.append(_finding(Condition.UNKNOWN_COST, _of(row), costs, in_force, reason=reason))
        if row["row"] == "idle" and row["full_cost"] != 0:
            rows.append(_idle_finding(row, costs, in_force))
    return [*rows, *(row for bill, max_age_us in bills for row in _stale(bill, max_age_us, as_of_day))]


def has_failed(rows: Iterable[Row]) -> bool:
    """Whether something is found that is not excused."""
    return any(row["row"] == "check" and row["result"] == "failed" for row in rows)


def _of(row: Row) -> dict[str, Cell]:
    return {key: row[key] for key in DEFAULT_BY}


def _finding(
    condition: Condition, keys: Mapping[str, Cell], judged: Judged, in_force: Iterable[Remediation], **more: Cell
) -> Row:
    return {
        "row": "check",
        "period": None,
        "check": condition.value,
        **_excused(keys, in_force),
        **keys,
        "from": judged.from_day,
        "to": judged.to_day,
        **more,
    }


def _idle_finding(row: Row, costs: Judged, in_force: Iterable[Remediation]) -> Row:
    scope = row["scope"]
    assert isinstance(scope, Mapping)
    more = {key: row[key] for key in ("line", "entry", "scope", "cost", "full_cost")}
    return _finding(Condition.COST_WITHOUT_REQUESTS, {}, costs, (), **more) | _excused(scope, in_force)


def _excused(keys: Mapping[str, Cell], in_force: Iterable[Remediation]) -> Row:
    """A remediation is for what has all of its keys; one that is left out matches any."""
    for entry in in_force:
        if all(keys.get(key) == value for key, value in entry.keys.items()):
            return {"result": "excused", "owner": entry.owner, "remediation": entry.reason, "until": entry.until_day}
    return {"result": "failed"}


def _stale(bill: BillSums, max_age_us: int, as_of_day: date) -> Iterable[Row]:
    newest = bill.newest_day
    if newest is not None and (as_of_day - newest).days * DAY_US <= max_age_us:
        return
    yield {
        "row": "check",
        "period": None,
        "check": Condition.STALE_BILL.value,
        "result": "failed",
        "bill": bill.name,
        "newest_day": newest,
        "max_age": format_duration(max_age_us),
    }
