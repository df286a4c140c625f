"""A second, slow, obvious model of how money meets inferences: plain Python, one inference and one day at a time.

It shares no code with the engine and judges it. Money is whole units of 10⁻¹²; a day is a number of days since 1970.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

DAY_US = 86_400_000_000
Inference = dict[str, Any]
Line = dict[str, Any]


@dataclass
class Case:
    """inferences: id, time_us, use_case, model, holdout, failed, estimate (units or None), tokens, compute_ms.

    lines: bill, cost, start_us, end_us, rule (position or None), has_rate, pending_from (day or None); rules: type
    (serving or indirect), scope, drivers; amortised: scope, amount, from, life, retired; overheads: use case → the one
    that it serves; period: the period of a day.
    """

    inferences: list[Inference]
    lines: list[Line]
    rules: list[dict[str, Any]]
    amortised: list[dict[str, Any]]
    overheads: dict[str, str]
    days: range
    period: Callable[[int], object]
    min_share: Fraction = Fraction(99, 100)


@dataclass
class Result:
    """costs: per inference its components, its own before overhead is moved; idle: per (period, source) components."""

    costs: dict[str, dict[str, int]] = field(default_factory=dict)
    billed: set[str] = field(default_factory=set)
    idle: dict[tuple[object, str], dict[str, int]] = field(default_factory=dict)
    fates: dict[str, dict[str, int]] = field(default_factory=dict)


def split(total: int, weights: list[int]) -> list[int]:
    """Cumulative rounding, half-even."""
    whole, upto = sum(weights), 0
    parts = []
    for weight in weights:
        before = round(Fraction(total * upto, whole))
        upto += weight
        parts.append(round(Fraction(total * upto, whole)) - before)
    return parts


def by_day(line: Line) -> dict[int, int]:
    """A line's cost by day, in proportion to time."""
    start, end = line["start_us"], line["end_us"]
    if start == end:
        return {start // DAY_US: line["cost"]}
    days = list(range(start // DAY_US, (end - 1) // DAY_US + 1))
    lengths = [min(end, (day + 1) * DAY_US) - max(start, day * DAY_US) for day in days]
    return dict(zip(days, split(line["cost"], lengths), strict=True))


def covers(scope: dict[str, str], inference: Inference) -> bool:
    return all(inference[key] == value for key, value in scope.items())


def weights(case: Case, drivers: Iterable[str], inferences: list[Inference]) -> list[int]:
    """The weights by the first driver that works."""
    served = [i for i in inferences if not i["holdout"] and not i["failed"]]
    for driver in drivers:
        raw = {i["id"]: weight(i, driver) for i in inferences}
        known = [raw[i["id"]] for i in served if raw[i["id"]] is not None]
        is_enough = len(known) >= case.min_share * len(served)
        if not is_enough and not (len(served) >= 20 and len(known) >= len(served) - 1):
            continue
        mean = round(Fraction(sum(known), len(known))) if known else 0
        found = [
            raw[i["id"]] if raw[i["id"]] is not None else mean if not i["holdout"] and not i["failed"] else 0
            for i in inferences
        ]
        if sum(found) > 0:
            return found
    return [1] * len(inferences)


def weight(inference: Inference, driver: str) -> Any:
    match driver:
        case "estimate":
            return None if inference["estimate"] is None else round(Fraction(inference["estimate"], 1000))
        case "requests":
            return 1
        case _:
            return inference[driver]


def work_out(case: Case) -> Result:
    result = Result()
    ordered = sorted(case.inferences, key=lambda i: (i["time_us"], i["id"]))
    ordered = [i for i in ordered if i["time_us"] // DAY_US in case.days]
    of_day: dict[int, list[Inference]] = defaultdict(list)
    for inference in ordered:
        of_day[inference["time_us"] // DAY_US].append(inference)
        result.costs[inference["id"]] = dict.fromkeys(("serving", "indirect", "idle", "amortised"), 0)
    requests = [i for i in ordered if not i["holdout"]]

    def evenly(total: int, takers: list[Inference], component: str) -> None:
        for inference, part in zip(takers, split(total, [1] * len(takers)), strict=True):
            result.costs[inference["id"]][component] += part

    def by_period(total: int, period: object, scope: dict[str, str], component: str, source: str) -> bool:
        """Evenly over the scope's requests of a period; whether there are any."""
        takers = [i for i in requests if covers(scope, i) and case.period(i["time_us"] // DAY_US) == period]
        if takers:
            evenly(total, takers, component)
        elif total:
            entry = result.idle.setdefault((period, source), defaultdict(int))
            entry[component] += total
        return bool(takers)

    # Bill lines by fate, then pools.
    pools: dict[tuple[int, int], int] = defaultdict(int)
    positive: set[tuple[int, int]] = set()
    for line in case.lines:
        fates = result.fates.setdefault(
            line["bill"], dict.fromkeys(("allocated", "idle", "unallocated", "pending", "outside"), 0)
        )
        for day, part in by_day(line).items():
            if day not in case.days:
                fates["outside"] += part
            elif line["rule"] is None or not line["has_rate"]:
                fates["unallocated"] += part
            elif line["pending_from"] is not None and day >= line["pending_from"]:
                fates["pending"] += part
            else:
                rule = case.rules[line["rule"]]
                pools[line["rule"], day] += part
                if part > 0:
                    positive.add((line["rule"], day))
                takers = [i for i in of_day[day] if covers(rule["scope"], i)]
                in_period = [i for i in requests if covers(rule["scope"], i)]
                has_takers = takers or any(case.period(i["time_us"] // DAY_US) == case.period(day) for i in in_period)
                fates["allocated" if has_takers else "idle"] += part
    serving: dict[str, int] = defaultdict(int)
    for (number, day), pool in sorted(pools.items()):
        rule = case.rules[number]
        takers = [i for i in of_day[day] if covers(rule["scope"], i)]
        if not takers:
            continue
        for inference, part in zip(takers, split(pool, weights(case, rule["drivers"], takers)), strict=True):
            if rule["type"] == "indirect":
                result.costs[inference["id"]]["indirect"] += part
            else:
                serving[inference["id"]] += part
                if (number, day) in positive:
                    result.billed.add(inference["id"])
    for inference in ordered:
        costs, name = result.costs[inference["id"]], inference["id"]
        if name in result.billed:
            costs["serving"] = serving[name]
        else:
            costs["serving"] = inference["estimate"] or 0
            costs["indirect"] += serving[name]
    idle: dict[tuple[int, object], int] = defaultdict(int)
    for (number, day), pool in pools.items():
        if not [i for i in of_day[day] if covers(case.rules[number]["scope"], i)]:
            idle[number, case.period(day)] += pool
    for (number, period), total in sorted(idle.items(), key=str):
        by_period(total, period, case.rules[number]["scope"], "idle", f"rule {number}")
    for number, entry in enumerate(case.amortised):
        daily = split(entry["amount"], [1] * entry["life"])
        of_period: dict[object, int] = defaultdict(int)
        for offset, part in enumerate(daily):
            day = entry["from"] + offset
            if day in case.days and (entry["retired"] is None or day < entry["retired"]):
                of_period[case.period(day)] += part
        for period, total in of_period.items():
            by_period(total, period, entry["scope"], "amortised", f"amortise {number + 1}")
    _move_overhead(case, result, of_day, evenly, by_period)
    return result


def _move_overhead(
    case: Case,
    result: Result,
    of_day: dict[int, list[Inference]],
    evenly: Callable[..., None],
    by_period: Callable[..., bool],
) -> None:
    moves: list[tuple[str, int, dict[str, int]]] = []
    for use_case in case.overheads:
        for day in sorted(of_day):
            own = [result.costs[i["id"]] for i in of_day[day] if i["use_case"] == use_case]
            if own:
                indirect = sum(c["serving"] + c["indirect"] + c["idle"] for c in own)
                moves.append((use_case, day, {"indirect": indirect, "amortised": sum(c["amortised"] for c in own)}))
    left: dict[tuple[str, object], dict[str, int]] = defaultdict(lambda: {"indirect": 0, "amortised": 0})
    for use_case, day, costs in moves:
        served = [i for i in of_day[day] if i["use_case"] == case.overheads[use_case] and not i["holdout"]]
        for component, cost in costs.items():
            if served:
                evenly(cost, served, component)
            else:
                left[use_case, case.period(day)][component] += cost
    for (use_case, period), costs in left.items():
        for component, cost in costs.items():
            by_period(cost, period, {"use_case": case.overheads[use_case]}, component, f"overhead {use_case}")
