"""Costs of inferences against a second, slow model: pools, drivers, idle, amortised, overhead, and each bill's fate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from attribution.cost_model import Amortised, CostModel, CostType, Driver, LineRule, Overhead, Scope
from attribution.division import COMPONENTS, Costed
from attribution.figures import Row
from attribution.ratio import Inputs, ratio_report
from attribution.view import View
from tests.cost_reference import DAY_US, Case, Result, work_out
from tests.published import inference
from tests.ratio_frames import NO_RATES, FrameSource, bill_of, view_of

FIRST = (date(2026, 2, 27) - date(1970, 1, 1)).days
#: Eight days around the end of a month and of an ISO week.
DAYS = range(FIRST, FIRST + 8)
USE_CASES, MODELS = ("S", "J", "K"), ("M", "N")


def day_of(number: int) -> date:
    return date(1970, 1, 1) + timedelta(days=number)


def moment(time_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)


# --- any case, worked out twice ---

_AMOUNTS = st.integers(-12, 12) | st.integers(-(10**14), 10**14)
_TIMES = st.builds(
    lambda day, us: day * DAY_US + us,
    st.integers(FIRST, FIRST + 7),
    st.sampled_from([0, 1, DAY_US // 3, DAY_US // 2, DAY_US - 1]),
)
_SCOPES = st.sampled_from([{}, {"model": "M"}, {"model": "N"}, {"use_case": "S"}, {"use_case": "J", "model": "M"}])
_DRIVERS = st.lists(st.sampled_from(list(Driver)), min_size=1, max_size=3, unique=True)
_INFERENCES = st.lists(
    st.fixed_dictionaries(
        {
            "time_us": _TIMES,
            "use_case": st.sampled_from(USE_CASES),
            "model": st.sampled_from(MODELS),
            "holdout": st.sampled_from([False, False, False, True]),
            "failed": st.sampled_from([False, False, False, True]),
            "estimate": st.none() | st.integers(0, 5000) | st.integers(0, 10**14),
            "tokens": st.none() | st.integers(0, 5),
            "compute_ms": st.none() | st.integers(0, 2**53 - 1).map(lambda x: x // 1000),
        }
    ),
    max_size=12,
)
_LINES = st.lists(
    st.fixed_dictionaries(
        {
            "bill": st.sampled_from(["bill 1", "bill 2"]),
            "cost": _AMOUNTS,
            "start_us": st.builds(lambda at, back: at - back * DAY_US, _TIMES, st.integers(0, 3)),
            "length": st.sampled_from([0, 1, DAY_US // 24, DAY_US, DAY_US + 1, 3 * DAY_US, 30 * DAY_US]),
            "rule": st.none() | st.integers(0, 2),
            "has_rate": st.sampled_from([True, True, True, False]),
        }
    ),
    max_size=6,
)
_RULES = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["serving", "indirect"]), "scope": _SCOPES, "drivers": _DRIVERS},
    ),
    min_size=3,
    max_size=3,
)
_AMORTISED = st.lists(
    st.fixed_dictionaries(
        {
            "scope": _SCOPES,
            "amount": st.integers(1, 10**14),
            "from": st.integers(FIRST - 4, FIRST + 6),
            "life": st.integers(1, 9),
            "retired_after": st.none() | st.integers(0, 9),
        }
    ),
    max_size=2,
)
_RANGES = st.tuples(st.integers(0, 3), st.integers(1, 8)).filter(lambda ends: ends[0] < ends[1])
_PERIODS = st.sampled_from([None, "day", "week", "month", "quarter"])
_PENDING = st.fixed_dictionaries({name: st.none() | st.integers(FIRST, FIRST + 8) for name in ("bill 1", "bill 2")})


@st.composite
def cases(draw: st.DrawFn) -> tuple[Case, View]:
    start, end = draw(_RANGES)
    view = view_of(
        from_day=day_of(FIRST + start), to_day=day_of(FIRST + end), period=draw(_PERIODS), by=("model", "use_case")
    )
    pending = draw(_PENDING)
    written: list[dict[str, Any]] = draw(_LINES)
    lines = [
        line | {"end_us": line["start_us"] + line["length"], "pending_from": pending[line["bill"]]} for line in written
    ]
    entries: list[dict[str, Any]] = draw(_AMORTISED)
    for entry in entries:
        entry["retired"] = None if entry["retired_after"] is None else entry["from"] + entry["retired_after"]
    case = Case(
        inferences=[row | {"id": f"i{number:02}"} for number, row in enumerate(draw(_INFERENCES))],
        lines=lines,
        rules=draw(_RULES),
        amortised=entries,
        overheads=draw(st.sampled_from([{}, {}, {"J": "S"}, {"J": "S", "K": "S"}])),
        days=range(FIRST + start, FIRST + end),
        period=lambda day: view.period_of(day_of(day)),
        min_share=draw(st.sampled_from([Fraction(99, 100), Fraction(1, 2)])),
    )
    return case, view


def model_of(case: Case) -> CostModel:
    return CostModel(
        min_priced_share=case.min_share,
        lines=tuple(
            LineRule(f"rule {number}", {}, CostType(rule["type"]), Scope(rule["scope"]), tuple(rule["drivers"]))
            for number, rule in enumerate(case.rules)
        ),
        amortised=tuple(
            Amortised(
                CostType.DEVELOPMENT,
                Scope(entry["scope"]),
                entry["amount"],
                "USD",
                day_of(entry["from"]),
                entry["life"],
                None if entry["retired"] is None else day_of(entry["retired"]),
            )
            for entry in case.amortised
        ),
        overheads=tuple(Overhead(use_case, of) for use_case, of in case.overheads.items()),
    )


def engine(case: Case, view: View, slice_rows: int) -> tuple[dict[str, Row], set[str], list[Row]]:
    """Costs per inference, which of them are billed, and the report's rows."""
    inferences = [
        inference(
            1,
            inference_id=row["id"],
            event_time=moment(row["time_us"]),
            use_case=row["use_case"],
            model=row["model"],
            arm="holdout" if row["holdout"] else None,
            status="failed" if row["failed"] else "served",
            cost=None if row["estimate"] is None else Decimal(f"{row['estimate']}e-12"),
            cost_currency=None if row["estimate"] is None else "USD",
            input_tokens=row["tokens"],
            output_tokens=None,
            compute_ms=row["compute_ms"],
        )
        for row in case.inferences
    ]
    by_bill: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in case.lines:
        by_bill[line["bill"]].append(line)
    bills = [
        bill_of(
            *(
                {
                    "cost": line["cost"],
                    "start": moment(line["start_us"]),
                    "end": moment(line["end_us"]),
                    "rule": line["rule"],
                    "currency": "USD" if line["has_rate"] else "EUR",
                }
                for line in lines
            ),
            name=name,
            complete_until=None if lines[0]["pending_from"] is None else day_of(lines[0]["pending_from"]),
        )
        for name, lines in by_bill.items()
    ]
    costs: dict[str, Row] = {}
    billed: set[str] = set()

    def observe(_day: date, costed: Costed) -> None:
        for row in costed.frame.iter_rows(named=True):
            costs[row["inference_id"]] = {name: row[name] for name in COMPONENTS}
            if row["is_billed"]:
                billed.add(row["inference_id"])

    source = FrameSource(slice_rows, inferences=inferences)
    inputs = Inputs(model_of(case), bills, source.counted(view), NO_RATES, source)
    return costs, billed, ratio_report(inputs, view, observe).rows


@given(cases(), st.sampled_from([1, 2, 1000]))
def test_costs_and_bills_are_those_of_the_slow_model(drawn: tuple[Case, View], slice_rows: int) -> None:
    case, view = drawn
    expected = work_out(case)
    costs, billed, rows = engine(case, view, slice_rows)
    assert costs == expected.costs
    assert billed == expected.billed
    idle = {(row["period"], row["line"] or row["entry"]): row for row in rows if row["row"] == "idle"}
    assert {key: units(row, "indirect", "idle", "amortised") for key, row in idle.items()} == {
        key: {name: of.get(name, 0) for name in ("indirect", "idle", "amortised")}
        for key, of in expected.idle.items()
        if any(of.values())
    }
    check_bills(case, expected, rows)
    check_totals(rows, view)


def period_by(view: View) -> Callable[[int], object]:
    return lambda day: view.period_of(day_of(day))


@given(cases())
def test_nothing_of_a_bill_is_lost_whatever_the_period(drawn: tuple[Case, View]) -> None:
    case, view = drawn
    for period in (None, "day", "week", "month", "quarter"):
        asked = replace(view, period=period)
        of_period = replace(case, period=period_by(asked))
        _, _, rows = engine(of_period, asked, 1000)
        check_bills(of_period, work_out(of_period), rows)
        check_totals(rows, asked)


def units(row: Row, *components: str) -> dict[str, int]:
    return {name: int(Fraction(str(row[f"{name}_cost"])) * 10**12) for name in components}


def check_bills(case: Case, expected: Result, rows: list[Row]) -> None:
    """Each bill's fate, and that nothing of it is lost."""
    found: dict[str, dict[str, Fraction]] = {}
    for row in rows:
        if row["row"] == "bill":
            fates = {name: Fraction(str(row[name])) for name in expected.fates[str(row["bill"])]}
            assert sum(fates.values()) + Fraction(str(row["rounding"])) == row["effective"]
            of_bill = found.setdefault(str(row["bill"]), dict.fromkeys(fates, Fraction()))
            found[str(row["bill"])] = {name: of_bill[name] + fate for name, fate in fates.items()}
    wanted = {name: {k: Fraction(v, 10**12) for k, v in fates.items()} for name, fates in expected.fates.items()}
    assert found == wanted
    unallocated = sum((Fraction(str(row["cost"])) for row in rows if row["row"] == "unallocated"), Fraction())
    assert unallocated == sum((fates["unallocated"] for fates in wanted.values()), Fraction())


def check_totals(rows: list[Row], view: View) -> None:
    """Groups and idle rows sum to the total of their period."""
    for name in ("cost", "full_cost"):
        sums: dict[object, Fraction] = defaultdict(Fraction)
        for row in rows:
            if row["row"] in ("requests", "idle"):
                sums[row["period"]] += Fraction(str(row[name]))
        totals = {row["period"]: row[name] for row in rows if row["row"] == "total"}
        assert {period: total for period, total in totals.items() if period in sums or total} == sums
        assert view.period or list(totals) == [None]
