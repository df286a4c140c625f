"""What the steps of the judge (``tests/reference.py``) are made of: arithmetic, rules and rates in force, rows.

Plain Python integers and fractions; the form of events, rules and rows is described there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from math import factorial, floor
from typing import Any

Event = dict[str, Any]
Rule = dict[str, Any]
Row = dict[str, Any]
Path = list[Event]

UNIT = 10**9
DAY_US = 86_400_000_000
EVENT_DEFAULTS: dict[str, Event] = {"inference": {"status": "served"}, "conversion": {"quantity": UNIT}}


@dataclass(frozen=True)
class World:
    """All that is known: accepted events by id, rules with defaults filled in, rates and settings."""

    inferences: dict[str, Event]
    outcomes: dict[str, Event]
    reversals: dict[str, Event]
    rules: list[Rule]
    fx: list[tuple[int, str, int]]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Part:
    """What one touch gets under its governing rule; seconds of time saved only."""

    touch: Event
    rule: Rule
    amount: int | None
    value: int
    seconds: int | None


# --- arithmetic ---


def times(a: int, b: int) -> int:
    """a ⊗ b: the product of two numbers of units, rounded half-even to the unit."""
    return round(Fraction(a * b, UNIT))


def cumulative(terms: list[int], denominator: int) -> list[int]:
    """round(Σ_{i≤k} terms / denominator) - round(Σ_{i<k} terms / denominator) for each k."""
    upto = [round(Fraction(sum(terms[:k]), denominator)) for k in range(len(terms) + 1)]
    return [upto[k + 1] - upto[k] for k in range(len(terms))]


def decay_weight(d: int, half_life: int) -> int:
    """Step 8's weight of a touch ``d`` microseconds older than the youngest: 2^(40 - d / half_life), rounded."""
    q, r = divmod(d, half_life)
    if q > 41:
        return 0
    return floor(Fraction(2) ** (40 - q) * Fraction(decay_polynomial(float(r) / float(half_life))) + Fraction(1, 2))


def decay_polynomial(x: float) -> float:
    """p(x) = 2^-x for 0 ≤ x < 1 by Horner's rule in doubles."""
    p = DECAY[15]
    for k in range(14, -1, -1):
        p = p * x + DECAY[k]
    return p


_EXACT = Context(prec=100)
#: c_k, the double nearest to (-ln 2)^k / k!
DECAY = [float(_EXACT.divide(_EXACT.power(-_EXACT.ln(Decimal(2)), k), factorial(k))) for k in range(16)]


# --- what holds for an inference or an outcome ---


def widest_window(inference: Event, world: World) -> tuple[int, int]:
    """Step 2's E and L of an inference: of its use case's rules in force, else of all in force, else 0."""
    in_force = rules_in_force(inference["event_time"], world)
    considered = [rule for rule in in_force if rule["use_case"] == inference["use_case"]] or in_force
    early = max((rule["early_tolerance"] for rule in considered), default=0)
    return early, max((rule["lookback_window"] for rule in considered), default=0)


def rules_in_force(time: int, world: World) -> list[Rule]:
    """Of each (use case, kind, type) the version that started last at or before the time."""
    newest: dict[tuple[str, str, str], Rule] = {}
    for rule in sorted(world.rules, key=lambda rule: int(rule["effective_from"])):
        if rule["effective_from"] <= time:
            newest[rule["use_case"], rule["kind"], rule["type"]] = rule
    return list(newest.values())


def rule_of(touch: Event, outcome: Event, world: World) -> Rule | None:
    """The rule in force at the touch's time for the outcome: its exact type wins over ``*``."""
    in_force = rules_in_force(touch["event_time"], world)
    wanted = [rule for rule in in_force if (rule["use_case"], rule["kind"]) == (touch["use_case"], outcome["kind"])]
    exact = [rule for rule in wanted if rule["type"] == outcome["type"]]
    return next(iter(exact or [rule for rule in wanted if rule["type"] == "*"]), None)


def governing_rule(path: Path, outcome: Event, world: World) -> Rule:
    """The rule of the path's last touch (step 4)."""
    rule = rule_of(path[-1], outcome, world)
    assert rule is not None
    return rule


def can_value(rule: Rule, outcome: Event) -> bool:
    """Whether the rule can put a value on the outcome (step 3, ``no_valuation``)."""
    if outcome["kind"] == "conversion":
        return "amount" in outcome or "value_per_event" in rule
    return own_seconds(outcome) is not None or "baseline_seconds" in rule


def own_seconds(outcome: Event) -> int | None:
    """The gross seconds that a time-saved event itself tells; None for ``actual_seconds`` alone and for conversions."""
    if "baseline_seconds" in outcome:
        return int(outcome["baseline_seconds"] - outcome["actual_seconds"])
    return outcome.get("seconds")


def rate_of(outcome: Event, world: World) -> int | None:
    """Base currency per unit of the outcome's currency: the newest rate of an earlier day, if not too old."""
    currency = outcome.get("currency")
    if currency == world.settings["base_currency"]:
        return UNIT
    day = outcome["event_time"] // DAY_US
    rates = {d: rate for d, c, rate in world.fx if c == currency and 1 <= day - d <= world.settings["fx_max_age"]}
    return rates[max(rates)] if rates else None


def matched_reversals(outcome: Event, world: World) -> list[Event]:
    """The reversals that count against an outcome: in time, and naming a field that it has (step 5)."""

    def counts(reversal: Event) -> bool:
        if not 0 <= reversal["event_time"] - outcome["event_time"] <= world.settings["reversal_window"]:
            return False
        if "amount" in reversal:
            return "amount" in outcome and reversal.get("currency") in (None, outcome["currency"])
        if "quantity" in reversal:
            return bool(outcome["kind"] == "conversion")
        return "seconds" not in reversal or outcome["kind"] == "time_saved"

    return [r for r in world.reversals.values() if r["reverses"] == outcome["event_id"] and counts(r)]


def shared_use_case(opened: list[Event]) -> str | None:
    """The use case of all open named inferences, where they share one."""
    use_cases = {inference["use_case"] for inference in opened}
    return str(use_cases.pop()) if len(use_cases) == 1 else None


def reaches(inference: Event, early: int, lookback: int, outcome: Event) -> bool:
    """Whether the outcome lies in the inference's window, both ends inclusive."""
    return bool(inference["event_time"] - early <= outcome["event_time"] <= inference["event_time"] + lookback)


def content_of(kind: str, event: Event) -> Event:
    """Every canonical field that is present, defaults filled in, and ``kind``; named ids as a set, sorted."""
    given = {key: value for key, value in event.items() if key != "position" and value is not None and value != {}}
    if "inference_ids" in given:
        given["inference_ids"] = sorted(set(given["inference_ids"]), key=str.encode)
    return EVENT_DEFAULTS.get(kind, {}) | given | {"kind": kind}


def read_order(event: Event) -> tuple[bool, bytes, int, bytes, int]:
    """Sorts by position, texts as bytes; events without one come last."""
    topic, partition, file, offset = event.get("position") or ("", 0, "", 0)
    return event.get("position") is None, topic.encode(), partition, (file or "").encode(), offset


# --- rows ---


def _outcome_columns(outcome: Event, world: World) -> Row:
    """The columns that ``credits`` and ``unattributed`` have alike."""
    base = world.settings["base_currency"]
    has_foreign_amount = "amount" in outcome and outcome["currency"] != base
    figures = {"currency": base, "fx_rate": rate_of(outcome, world) if has_foreign_amount else None}
    named = {"outcome_id": outcome["event_id"], "kind": outcome.get("kind"), "type": outcome.get("type")}
    return named | {"outcome_time": outcome["event_time"]} | figures | {"sign": 1, "commit_id": 0}


def unattributed_row(outcome: Event, reason: str | None, world: World) -> Row:
    """A row of ``unattributed`` without figures."""
    empty = dict.fromkeys(("inference_id", "reversal_id", "use_case", "amount", "value", "seconds"))
    return _outcome_columns(outcome, world) | empty | {"reason": reason}


def holdout_row(outcome: Event, part: Part, world: World) -> Row:
    """What a holdout touch would have earned."""
    touch = {key: part.touch[key] for key in ("inference_id", "use_case")}
    figures = {"amount": part.amount, "value": part.value, "seconds": part.seconds}
    return unattributed_row(outcome, "holdout", world) | touch | figures


def credit_row(outcome: Event, net: Part, gross: Part, world: World) -> Row:
    """A row of ``credits``; ``gross`` is the same part without the reversals."""
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=net.rule["effective_from"])
    rule_key = "/".join(net.rule[key] for key in ("use_case", "kind", "type"))
    touch_columns = ("inference_id", "use_case", "model", "model_version", "endpoint")
    return _outcome_columns(outcome, world) | {
        **{key: net.touch.get(key) for key in touch_columns},
        "inference_time": net.touch["event_time"],
        "via": "trace" if "trace_id" in outcome else "inference",
        "amount": net.amount,
        "value": net.value,
        "reversed_value": net.value - gross.value,
        "seconds": net.seconds,
        "rule_id": f"{rule_key}/{start.isoformat().replace('+00:00', 'Z')}",
    }


def attributed_row(inference: Event, credited: list[Row], watermark: int, world: World) -> Row:
    """What one inference earned; settled once the watermark has passed its widest window and the lateness."""
    own = [row for row in credited if row["inference_id"] == inference["inference_id"]]
    timed = [row for row in own if row["kind"] == "time_saved"]
    _, lookback = widest_window(inference, world)
    columns = ("inference_id", "event_time", "use_case", "model", "model_version", "endpoint", "provider", "arm")
    return {key: inference.get(key) for key in columns} | {
        "outcome_count": len(own),
        "conversion_value": sum(row["value"] for row in own if row["kind"] == "conversion"),
        "time_saved_value": sum(row["value"] for row in timed),
        "time_saved_seconds": sum(row["seconds"] for row in timed),
        "attributed_value": sum(row["value"] for row in own),
        "reversed_value": sum(row["reversed_value"] for row in own),
        "currency": world.settings["base_currency"],
        "settled": watermark > inference["event_time"] + lookback + world.settings["allowed_lateness"],
        "sign": 1,
        "commit_id": 0,
    }


def score_row(score: Event) -> Row:
    """An accepted score as a row of ``scores``, without where it was read."""
    columns = ("event_id", "event_time", "name", "score", "inference_ids", "trace_id")
    attributes = score.get("attributes")
    text = attributes and json.dumps(attributes, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return {name: score.get(name) for name in columns} | {"attributes": text}


def sorted_rows(rows: list[Row], *key: str) -> list[Row]:
    """Rows by key, parts compared as bytes, null first."""
    return sorted(rows, key=lambda row: [b"" if row[k] is None else b"\x01" + row[k].encode() for k in key])
