"""Whole random cases for the attribution function.

``random_case`` aims at the edges: times exactly on a window and a microsecond beside it, figures at their bounds,
half-lives that underflow, ids that sort differently as bytes than in other orders, reversals that do not match. A case
is plain data in the form of ``tests/reference.py``; ``attribute(**vars(case))`` runs the model on it. All that is
generated is valid input: nothing here is a dead letter but conflicting duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from hypothesis import strategies as st

from tests.case_rules import (
    DAY,
    EARLIEST,
    HOUR,
    MIDDLE,
    MS,
    TYPES,
    UNIT,
    Rule,
    S,
    random_rates,
    random_rules,
    random_settings,
)

Event = dict[str, Any]

TOPICS = {"inferences": "inference", "conversions": "conversion", "time_saved": "time_saved", "reversals": "reversal"}
EVENT_LISTS = tuple(TOPICS)
#: Of a pipeline with scores, which most have not.
SCORED_TOPICS = TOPICS | {"scores": "score"}
RULELESS = "no rules"
#: UTF-8 order differs from UTF-16 order (U+FF5E, 😀), from locale order (I, i) and knows no normal forms (é, é).
ID_FORMS = ("i{}",) * 12 + (
    "I{}",
    "é{}",
    "e\u0301{}",
    "\uff5e{}",
    "😀{}",
    "{}",
    " {} ",
    'a,"{}"\n',
    "\x00{}",
    "x" * 250 + "{}",
)
#: Ages in microseconds whose weight at a half-life of two days is another with 2.0 ** -x or with fused multiply-add.
HARD_AGES = (15_040_425_557, 83_558_813_084, 111_228_277_852, 157_255_330_509, 170_524_006_344)


@dataclass(frozen=True)
class Case:
    """One input of the attribution function, in the reference's plain form."""

    inferences: list[Event]
    conversions: list[Event]
    time_saved: list[Event]
    reversals: list[Event]
    rules: list[Rule]
    fx: list[tuple[int, str, int]]
    settings: dict[str, Any]
    scores: list[Event] = field(default_factory=list)


def random_case(seed: int, size: int = 10, *, conflicts: bool = True, duplicates: bool = True) -> Case:
    """A case of ``size`` outcomes (1 to about 60), the same for the same arguments.

    conflicts: also events with one id and different content, which are refused; duplicates: also equal copies.
    """
    rng = Random(seed)
    settings = random_settings(rng)
    rules = random_rules(rng, settings)
    inferences = random_inferences(rng, rng.randint(1, size + 4), rules)
    outcomes = [random_outcome(rng, number, inferences, rules, settings) for number in range(size)]
    reversals = [random_reversal(rng, number, outcomes, settings) for number in range(rng.randint(0, 2 * size))]
    conversions = [event for kind, event in outcomes if kind == "conversion"]
    time_saved = [event for kind, event in outcomes if kind == "time_saved"]
    lists = [inferences, conversions, time_saved, reversals]
    if duplicates:
        lists = [events + [copied(rng, event) for event in events if rng.random() < 0.08] for events in lists]
    if conflicts:
        _add_conflicts(rng, lists)
    for events in lists:
        rng.shuffle(events)
    inferences, conversions, time_saved, reversals = lists
    fx = random_rates(rng, settings)
    return with_positions(Case(inferences, conversions, time_saved, reversals, rules, fx, settings))


@st.composite
def case_strategy(draw: st.DrawFn, max_size: int = 12, *, conflicts: bool = True, duplicates: bool = True) -> Case:
    """Random cases; shrinks by leaving out events, rules and rates one by one."""
    seed = draw(st.integers(0, 2**32 - 1))
    case = random_case(seed, draw(st.integers(1, max_size)), conflicts=conflicts, duplicates=duplicates)

    def some(items: list[Any]) -> list[Any]:
        return [item for item in items if draw(st.integers(0, 15)) > 0]

    kept: dict[str, Any] = {name: some(getattr(case, name)) for name in (*EVENT_LISTS, "rules", "fx")}
    return with_positions(replace(case, **kept))


def with_positions(case: Case) -> Case:
    """The case as if each list were one file, read in order: ``position`` is (topic, 0, file, number)."""
    numbered: dict[str, Any] = {
        name: [event | {"position": (name, 0, "events.jsonl", n)} for n, event in enumerate(getattr(case, name))]
        for name in EVENT_LISTS
    }
    return replace(case, **numbered)


def shuffled(case: Case, seed: int) -> Case:
    """The same events in another order of arrival; ``position`` stays with its event."""
    rng = Random(seed)
    mixed: dict[str, Any] = {name: sorted(getattr(case, name), key=lambda _: rng.random()) for name in EVENT_LISTS}
    return replace(case, **mixed)


def in_time_order(case: Case) -> Case:
    """The same events, each topic sorted by event time, so that nothing comes late within its topic."""
    ordered: dict[str, Any] = {
        name: sorted(getattr(case, name), key=lambda event: int(event["event_time"])) for name in EVENT_LISTS
    }
    return with_positions(replace(case, **ordered))


# --- events ---


def random_inferences(rng: Random, count: int, rules: list[Rule]) -> list[Event]:
    """Inferences in clusters in time and in traces, so that outcomes find several; ties in time are common."""
    starts = [rule["effective_from"] + rng.choice([-1, 0, 1]) for rule in rules]
    centres = [
        MIDDLE,
        MIDDLE + DAY // 2,
        MIDDLE + rng.randint(-5 * DAY, 5 * DAY),
        *rng.sample(starts, len(starts) and 1),
    ]
    use_cases = [*{rule["use_case"]: None for rule in rules}] * 8 + [RULELESS]
    holdout = rng.choice([0.0, 0.15, 0.5])
    id_forms = rng.choice([ID_FORMS, ID_FORMS, ("i{}", "I{}"), ("\uff5e{}", "😀{}", "é{}", "e\u0301{}")])
    traces = [f"{rng.choice(['t', 'é', '😀'])}{n}" for n in range(count // 4 + 1)]
    events = []
    for number in range(count):
        near = rng.choice([1, -1, MS, 40 * MS, 41 * MS, rng.randrange(S), rng.randrange(HOUR)])
        offset = rng.choice([0, 0, 0, near, near, near, rng.randrange(2 * DAY), -rng.choice(HARD_AGES)])
        event: Event = {
            "inference_id": rng.choice(id_forms).format(number),
            "event_time": EARLIEST if rng.random() < 0.01 else rng.choice(centres) + offset,
            "use_case": rng.choice(use_cases),
            "model": rng.choice(["m1", "M1", "große"]),
            "status": rng.choice([None] * 9 + ["served", "failed"]),
            "arm": "holdout" if rng.random() < holdout else rng.choice([None, None, "treatment", "Holdout"]),
            "trace_id": rng.choice(traces) if rng.random() < 0.8 else None,
        }
        events.append(_without_nulls(event | _inference_extras(rng)))
    return events


def _inference_extras(rng: Random) -> Event:
    """Fields that the split does not read; absent from every other inference."""
    if rng.random() < 0.5:
        return {}
    tokens = rng.choice([None, 0, 1200, 2**53 - 1])
    cost = rng.choice([None, 0, 1, 1_250_000_000, 10**24 - 1])
    return {
        "model_version": rng.choice([None, "2024-02", ""]),
        "endpoint": rng.choice([None, "eu", "us,1"]),
        "provider": rng.choice([None, "p"]),
        "input_tokens": tokens,
        "cached_input_tokens": tokens and tokens // 2,
        "output_tokens": rng.choice([None, 7]),
        "service_tier": rng.choice([None, "standard", "batch"]),
        "latency_ms": rng.choice([None, 840]),
        "cache_hit": rng.choice([None, True, False]),
        "session_id": rng.choice([None, "s1"]),
        "cost": cost,
        "cost_currency": None if cost is None else "EUR",
        "attributes": rng.choice([None, {}, {"team": "a", "é": "“quoted”"}]),
    }


def random_outcome(
    rng: Random, number: int, inferences: list[Event], rules: list[Rule], settings: dict[str, Any]
) -> tuple[str, Event]:
    """(kind, event): an outcome made to meet one chosen inference under one of its rules, or to just miss it."""
    kind = rng.choice(["conversion", "conversion", "time_saved"])
    anchor = rng.choice(inferences)
    of_use_case = [rule for rule in rules if rule["use_case"] == anchor["use_case"]]
    in_force = [rule for rule in of_use_case if rule["effective_from"] <= anchor["event_time"]]
    rule = rng.choice([rule for rule in in_force if rule["kind"] == kind] or in_force or of_use_case or [{}])
    type_ = rule.get("type", "*")
    if type_ == "*" or rng.random() < 0.15:
        type_ = rng.choice([*TYPES[kind], "other"])
    event: Event = {"event_id": rng.choice(ID_FORMS).format(number), "type": type_}
    event["event_time"] = _outcome_time(rng, anchor["event_time"], rule)
    named = _naming(rng, anchor, inferences, is_traced=rule.get("join") == "trace")
    event |= named | (_money(rng, settings) if kind == "conversion" else _seconds(rng))
    if rng.random() < 0.2:
        event["attributes"] = rng.choice([{}, {"order": "17"}])
    return kind, event


def _outcome_time(rng: Random, time: int, rule: Rule) -> int:
    lookback: int = rule.get("lookback_window", DAY)
    early: int = rule.get("early_tolerance", 0)
    edge = rng.choice([lookback, lookback, -early, 0]) + rng.choice([-1, 0, 0, 1])
    inside = rng.randint(-early, min(lookback, 30 * DAY))
    return max(
        EARLIEST, time + rng.choice([edge, edge, inside, inside, inside, inside, rng.randint(-2 * DAY, 40 * DAY)])
    )


def _naming(rng: Random, anchor: Event, inferences: list[Event], *, is_traced: bool) -> Event:
    """How an outcome names inferences: by trace, by ids (some unknown), or not at all."""
    draw = rng.random()
    if draw < 0.04:
        return {}
    if draw < (0.6 if is_traced else 0.12) and "trace_id" in anchor:
        return {"trace_id": anchor["trace_id"] if draw > 0.05 else "unknown trace"}
    near = [i for i in inferences if abs(i["event_time"] - anchor["event_time"]) <= DAY]
    count = rng.choice([0, 1, 2, 3, 5, 8, 12])
    ids = {
        anchor["inference_id"],
        *(i["inference_id"] for i in rng.choices(rng.choice([near, near, inferences]), k=count)),
    }
    if rng.random() < 0.1:
        ids.add("unknown")
    if rng.random() < 0.03:
        ids = {"unknown"}
    return {"inference_ids": sorted(ids, key=str.encode)}


def _money(rng: Random, settings: dict[str, Any]) -> Event:
    """Amount, currency and quantity of a conversion."""
    event: Event = {}
    if rng.random() < 0.8:
        cents = rng.randrange(1, 50_000) * 10**7
        event["amount"] = rng.choice([cents, cents, cents, rng.randrange(10**13), 0, 1, 3, 10**21 - 1, 5 * 10**20])
        event["currency"] = rng.choice([settings["base_currency"]] * 4 + ["USD", "EUR", "EUR", "JPY", "GBP", "CHF"])
    if rng.random() < 0.5:
        event["quantity"] = rng.choice([UNIT, 3 * UNIT, 0, 1, 500_000_000, 10**15 - 1])
    return event


def _seconds(rng: Random) -> Event:
    """Seconds, or baseline and actual, or actual alone, and the role of a time-saved event."""
    some = rng.choice([0, 1, 240 * UNIT, rng.randrange(10**13), rng.randrange(10**13), 10**18 - 1])
    baseline = rng.choice([0, 600 * UNIT, rng.randrange(10**13)])
    event: Event = rng.choice(
        [
            {"seconds": some},
            {"seconds": -some},
            {"baseline_seconds": baseline, "actual_seconds": some},
            {"actual_seconds": some},
        ]
    )
    role = rng.choice([None, "agent", "é lead", "unheard of"])
    return dict(event) if role is None else event | {"role": role}


def random_reversal(rng: Random, number: int, outcomes: list[tuple[str, Event]], settings: dict[str, Any]) -> Event:
    """A reversal of one of the outcomes; some do not match: wrong field, currency, time or outcome."""
    kind, outcome = rng.choice(outcomes)
    window = settings["reversal_window"]
    event: Event = {
        "event_id": rng.choice(ID_FORMS).format(number),
        "event_time": outcome["event_time"]
        + rng.choice([0, window // 2, window // 3, window // 9, window, window + 1, -1]),
        "reverses": "unknown" if rng.random() < 0.05 else outcome["event_id"],
    }
    event["event_time"] = max(EARLIEST, event["event_time"])
    seconds = abs(outcome.get("seconds", 0) or outcome.get("actual_seconds", 90 * UNIT))
    fitting = ["amount", "amount", "quantity", None] if kind == "conversion" else ["seconds", "seconds", None]
    match rng.choice(fitting * 6 + ["amount", "quantity", "seconds"]):
        case "amount":
            event["amount"] = _part(rng, outcome.get("amount", UNIT), 10**21)
            currency = rng.choice([None, None, outcome.get("currency"), outcome.get("currency"), "EUR"])
            event |= {} if currency is None else {"currency": currency}
        case "quantity":
            event["quantity"] = _part(rng, outcome.get("quantity", UNIT), 10**15)
        case "seconds":
            event["seconds"] = _part(rng, seconds, 10**18)
    if rng.random() < 0.2:
        event["reason"] = rng.choice(["", "returned “as is”"])
    return event


def _part(rng: Random, whole: int, bound: int) -> int:
    """Some of a figure: a fraction, all of it, a unit more or less, nothing."""
    part = rng.choice([whole // 5, whole // 3, whole // 2, whole, whole - 1, whole + 1, 1, 0])
    return min(max(0, part), bound - 1)


def random_score(rng: Random, number: int, inferences: list[Event]) -> Event:
    """A figure for one inference, for several or for a trace, known or not; ids are those of outcomes, too."""
    anchor = rng.choice(inferences)
    named = _naming(rng, anchor, inferences, is_traced=rng.random() < 0.3) or {"inference_ids": ["unknown"]}
    event: Event = {
        "event_id": rng.choice(ID_FORMS).format(number),
        "event_time": max(EARLIEST, anchor["event_time"] + rng.choice([-HOUR, 0, 1, rng.randrange(2 * DAY)])),
        "name": rng.choice(["helpfulness", "groundedness", "größe"]),
        "score": rng.choice([0, 1, -1, UNIT, rng.randrange(-5 * UNIT, 5 * UNIT), 10**18 - 1, 1 - 10**18]),
    }
    if rng.random() < 0.2:
        event["attributes"] = rng.choice([{}, {"judge": "“m”", "é": "1"}])
    return event | named


def copied(rng: Random, event: Event) -> Event:
    """An equal copy, at times with a default or an empty field written out."""
    copy = dict(event)
    is_inference, is_conversion = "inference_id" in event, not {"seconds", "actual_seconds", "score"} & event.keys()
    if rng.random() < 0.5 and is_inference:
        copy.setdefault("status", "served")
    if rng.random() < 0.5 and is_conversion and not is_inference and "reverses" not in event:
        copy.setdefault("quantity", UNIT)
    return copy if "reverses" in event else {"attributes": {}} | copy


def _add_conflicts(rng: Random, lists: list[list[Event]]) -> None:
    """Add events that use an id again for something else."""
    inferences, conversions, time_saved, reversals = lists
    for events in lists:
        for event in [event for event in events if rng.random() < 0.04]:
            events.append(event | {"event_time": event["event_time"] + rng.choice([1, HOUR])})
    inferences += [event | {"arm": "other"} for event in inferences[:1] if rng.random() < 0.3]
    reversals += [event | {"reason": "again"} for event in reversals[:1] if rng.random() < 0.3]
    if conversions and time_saved and rng.random() < 0.3:
        time_saved.append(rng.choice(time_saved) | {"event_id": rng.choice(conversions)["event_id"]})


def _without_nulls(event: Event) -> Event:
    return {key: value for key, value in event.items() if value is not None}
