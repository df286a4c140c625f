"""Whole random cases for the attribution function, and the same cases as files for the command line.

``random_case`` aims at the edges: times exactly on a window and a microsecond beside it, figures at their bounds,
half-lives that underflow, ids that sort differently as bytes than in other orders, reversals that do not match. A case
is plain data in the form of ``tests/reference.py``; ``attribute(**vars(case))`` runs the model on it. All that is
generated is valid input: nothing here is a dead letter but conflicting duplicates.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st

Event = dict[str, Any]
Rule = dict[str, Any]

UNIT, MS, S, HOUR, DAY = 10**9, 1_000, 1_000_000, 3_600_000_000, 86_400_000_000
#: The middle of every case, 2024-02-28T12:00:00Z: in the past of any run, and beside a leap day.
MIDDLE = 1_709_121_600 * S
EARLIEST = 946_684_800 * S
TOPICS = {"inferences": "inference", "conversions": "conversion", "time_saved": "time_saved", "reversals": "reversal"}
EVENT_LISTS = tuple(TOPICS)
PLACES = dict.fromkeys(("amount", "quantity", "seconds", "baseline_seconds", "actual_seconds"), 9) | {"cost": 12}
OPTIONAL = {
    "inferences": ("model_version", "status", "arm", "cost", "session_id", "trace_id", "attributes"),
    "conversions": ("amount", "currency", "quantity", "inference_id", "inference_ids", "trace_id", "attributes"),
    "time_saved": ("seconds", "role", "inference_id", "inference_ids", "trace_id", "attributes"),
    "reversals": ("amount", "currency", "quantity", "seconds", "reason"),
}
USE_CASES = ("reco", "Reco", "support", "search/é", "\uff5e wide", "😀", "Zoo")
RULELESS = "no rules"
TYPES = {"conversion": ("purchase", "Purchase", "ticket_deflected"), "time_saved": ("purchase", "draft")}
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
STARTS = [MIDDLE + offset for offset in (-3000 * DAY, -40 * DAY, -3 * DAY, -HOUR, 0, 2 * DAY)]


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


def random_case(seed: int, size: int = 10, *, conflicts: bool = True, duplicates: bool = True) -> Case:
    """A case of ``size`` outcomes (1 to about 60), the same for the same arguments.

    conflicts: also events with one id and different content, which are refused; duplicates: also equal copies.
    """
    rng = Random(seed)
    settings = _settings(rng)
    rules = _rules(rng, settings)
    inferences = _inferences(rng, rng.randint(1, size + 4), rules)
    outcomes = [_outcome(rng, number, inferences, rules, settings) for number in range(size)]
    reversals = [_reversal(rng, number, outcomes, settings) for number in range(rng.randint(0, 2 * size))]
    conversions = [event for kind, event in outcomes if kind == "conversion"]
    time_saved = [event for kind, event in outcomes if kind == "time_saved"]
    lists = [inferences, conversions, time_saved, reversals]
    if duplicates:
        lists = [events + [_copy(rng, event) for event in events if rng.random() < 0.08] for events in lists]
    if conflicts:
        _add_conflicts(rng, lists)
    for events in lists:
        rng.shuffle(events)
    inferences, conversions, time_saved, reversals = lists
    fx = _fx(rng, settings)
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


# --- settings, rules, rates ---


def _settings(rng: Random) -> dict[str, Any]:
    return {
        "base_currency": rng.choice(["USD", "USD", "USD", "EUR", "JPY"]),
        "reversal_window": rng.choice([0, HOUR, 2 * DAY, 60 * DAY, 60 * DAY, 60 * DAY]),
        "fx_max_age": rng.choice([1, 7, 7, 30]),
        "allowed_lateness": rng.choice([0, HOUR, DAY]),
    }


def _rules(rng: Random, settings: dict[str, Any]) -> list[Rule]:
    """Rules of one to four use cases: several types and versions; now and then none at all."""
    rules = []
    for use_case in rng.sample(USE_CASES, rng.choice([0, 1, 1, 2, 2, 3, 4] if rng.random() < 0.2 else [1, 2, 2, 3, 4])):
        is_traced = rng.random() < 0.5
        for kind, types in TYPES.items():
            for type_ in rng.sample([*types, "*", "*"], rng.choice([0, 1, 2, 2, 3, 3])):
                starts = {rng.choice(STARTS[:2]), *rng.sample(STARTS[1:], rng.choice([0, 0, 1, 2]))}
                starts = starts if rng.random() < 0.8 else {rng.choice(STARTS)}
                versions = [_rule(rng, use_case, kind, type_, start, settings) for start in sorted(starts)]
                rules += [version | (_trace_keys(rng) if is_traced else {}) for version in versions]
    unique = {(rule["use_case"], rule["kind"], rule["type"], rule["effective_from"]): rule for rule in rules}
    return list(unique.values())


def _rule(rng: Random, use_case: str, kind: str, type_: str, start: int, settings: dict[str, Any]) -> Rule:
    rule: Rule = {"use_case": use_case, "kind": kind, "type": type_, "effective_from": start}
    rule["lookback_window"] = rng.choice([0, S + MS, HOUR, DAY, DAY + HOUR // 2, 7 * DAY, 7 * DAY, 30 * DAY])
    if rng.random() < 0.05:
        rule["lookback_window"] = 36_500 * DAY
    if rng.random() < 0.5:
        rule["early_tolerance"] = min(rng.choice([0, MS, S, HOUR, DAY]), settings["reversal_window"])
    rule["credit"] = rng.choice(["first", "last", "linear", "time_decay", "time_decay", "position", "position"])
    if rule["credit"] == "time_decay":
        rule["half_life"] = rng.choice([MS, S, 7 * MS, HOUR, 2 * DAY, 2 * DAY, 7 * DAY, 36_500 * DAY])
    if rule["credit"] == "position" and rng.random() < 0.7:
        tail = rng.choice([(0, 10**6), (10**6, 0), (1, 1), (333_333, 333_334), (10**12 - 1, 10**12 - 1)])
        rule["position_weights"] = (tail[0], rng.choice([0, 200_000, 1, 10**12 - 1]), tail[1])
    if rng.random() < 0.6:
        rule["share"] = rng.choice([1, 10**6, 2_500_000, 333_333, 10**12 - 1])
    return rule | (_conversion_keys(rng) if kind == "conversion" else _time_saved_keys(rng))


def _trace_keys(rng: Random) -> Rule:
    if rng.random() < 0.1:
        return {"join": "inference"}
    return {"join": "trace", "max_touches": rng.choice([1, 2, 3, 5, 50, 50, 50, 10_000])}


def _conversion_keys(rng: Random) -> Rule:
    keys: Rule = {}
    if rng.random() < 0.35:
        keys["value_per_event"] = rng.choice([0, 1, 4_200_000_000, 333_333_333, 10**15 - 1])
    elif rng.random() < 0.7:
        keys["margin"] = rng.choice([0, 1, 320_000_000, 333_333_333, UNIT])
    if rng.random() < 0.35:
        keys["effect"] = rng.choice(["gain", "loss", "loss"])
    if rng.random() < 0.3:
        keys["max_value"] = rng.choice([1, 5 * UNIT, 33_333_333_333, 500 * UNIT, 10**15 - 1])
    return keys


def _time_saved_keys(rng: Random) -> Rule:
    keys: Rule = {"hourly_rate": {"*": rng.choice([0, 1, 38 * UNIT, 10**15 - 1, 33_333_333_333])}}
    if rng.random() < 0.6:
        keys["hourly_rate"] |= {"agent": 31_500_000_000, "é lead": 77_777_777_777}
    if rng.random() < 0.6:
        keys["baseline_seconds"] = rng.choice([0, 510 * UNIT, 510_500_000_001, 10**18 - 1])
    if rng.random() < 0.5:
        keys["realisation"] = rng.choice([0, 1, 600_000_000, 333_333_333, UNIT])
    if rng.random() < 0.4:
        keys["max_seconds"] = rng.choice([1, 500_000_000, 60 * UNIT, 7200 * UNIT])
    return keys


def _fx(rng: Random, settings: dict[str, Any]) -> list[tuple[int, str, int]]:
    """Rates with gaps; GBP is often stale, CHF has none."""
    middle = MIDDLE // DAY
    rates = {}
    for currency in {"USD", "EUR", "GBP", "JPY"} - {settings["base_currency"]}:
        latest = middle - 12 if currency == "GBP" else middle + 70
        for day in range(middle - 45, latest):
            if rng.random() < 0.4:
                rate = rng.choice([1_100_000_000, 1_083_700_001, 6_700_000, 999_999_999, UNIT, 2 * UNIT])
                rates[day, currency] = rng.choice([1, 10**15 - 1]) if rng.random() < 0.04 else rate
    return [(day, currency, rate) for (day, currency), rate in sorted(rates.items())]


# --- events ---


def _inferences(rng: Random, count: int, rules: list[Rule]) -> list[Event]:
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


def _outcome(
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


def _reversal(rng: Random, number: int, outcomes: list[tuple[str, Event]], settings: dict[str, Any]) -> Event:
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


def _copy(rng: Random, event: Event) -> Event:
    """An equal copy, at times with a default or an empty field written out."""
    copy = dict(event)
    is_inference, is_conversion = "inference_id" in event, not {"seconds", "actual_seconds"} & event.keys()
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


# --- the same case as files ---


def to_json_events(case: Case, seed: int = 0) -> dict[str, list[Event]]:
    """Canonical JSON events by topic, in list order, in any of the spellings that mean the same event."""
    rng = Random(seed)
    return {name: [_json_event(rng, event, name) for event in getattr(case, name)] for name in EVENT_LISTS}


def to_rule_files(case: Case) -> dict[str, str]:
    """Rule files by name, one per use case that has rules."""
    use_cases = list(dict.fromkeys(rule["use_case"] for rule in case.rules))
    files = {}
    for number, use_case in enumerate(use_cases):
        parts = [f"use_case = {_text(use_case)}\n"]
        parts += [_rule_toml(rule) for rule in case.rules if rule["use_case"] == use_case]
        files[f"use_case_{number}.toml"] = "\n".join(parts)
    return files


def to_fx_csv(case: Case) -> str:
    """The exchange rates as a file."""
    epoch = date(1970, 1, 1)
    rows = [f"{epoch + timedelta(days=day)},{currency},{decimal_text(rate)}\n" for day, currency, rate in case.fx]
    return "date,currency,rate\n" + "".join(rows)


def to_pipeline_toml(
    case: Case, *, log: str = "log", out: str = "out", state: str = "state", rules: str = "rules", fx: str = "fx.csv"
) -> str:
    """A pipeline over event files; ``max_future_skew`` is as long as it can be."""
    settings = case.settings
    topics = "".join(f'[[input.topic]]\nname = "{name}"\nkind = "{kind}"\n' for name, kind in TOPICS.items())
    return (
        f'base_currency = "{settings["base_currency"]}"\nrules = {_text(rules)}\nfx = {_text(fx)}\n'
        f'fx_max_age = "{settings["fx_max_age"]}d"\n'
        f'[input]\nsource = "files"\npath = {_text(log)}\n{topics}'
        f'[time]\nallowed_lateness = "{duration_text(settings["allowed_lateness"])}"\n'
        f'reversal_window = "{duration_text(settings["reversal_window"])}"\nmax_future_skew = "36500d"\n'
        f"[output]\npath = {_text(out)}\n[state]\npath = {_text(state)}\n"
    )


def write_case(case: Case, folder: Path, seed: int = 0) -> Path:
    """Write log, rules, rates and pipeline file into the folder; gives the path of the pipeline file.

    Each topic is one file, ``log/<topic>/events.jsonl``, in list order.
    """
    for name, events in to_json_events(case, seed).items():
        (folder / "log" / name).mkdir(parents=True)
        lines = "".join(json.dumps(event, ensure_ascii=bool(n % 2)) + "\n" for n, event in enumerate(events))
        (folder / "log" / name / "events.jsonl").write_text(lines, encoding="utf-8")
    (folder / "rules").mkdir()
    for name, text in to_rule_files(case).items():
        (folder / "rules" / name).write_text(text, encoding="utf-8")
    (folder / "fx.csv").write_text(to_fx_csv(case), encoding="utf-8")
    (folder / "pipeline.toml").write_text(to_pipeline_toml(case), encoding="utf-8")
    return folder / "pipeline.toml"


def decimal_text(units: int, places: int = 9) -> str:
    """A whole number of 10⁻ᵖˡᵃᶜᵉˢ as the shortest decimal text."""
    whole, part = divmod(abs(units), 10**places)
    text = f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".")
    return f"-{text}" if units < 0 else text


def duration_text(us: int) -> str:
    """Microseconds (whole milliseconds) as a duration such as ``1h30m``."""
    parts = []
    for unit, size in {"d": DAY, "h": HOUR, "m": 60 * S, "s": S, "ms": MS}.items():
        count, us = divmod(us, size)
        parts.append(f"{count}{unit}" if count else "")
    assert us == 0
    return "".join(parts) or "0s"


def _json_event(rng: Random, event: Event, topic: str) -> Event:
    fields: Event = {}
    for key, value in event.items():
        if key in PLACES:
            fields[key] = _json_number(rng, value, PLACES[key])
        elif key == "event_time":
            fields[key] = _json_time(rng, value)
        elif key == "inference_ids" and len(value) == 1 and rng.random() < 0.6:
            fields["inference_id"] = value[0]
        elif key == "inference_ids":
            fields[key] = rng.sample(value, len(value)) + rng.choices(value, k=rng.choice([0, 0, 2]))
        elif key != "position":
            fields[key] = value
    if rng.random() < 0.2:
        fields = {"x_unknown": {"amount": [1, None]}} | fields
    if rng.random() < 0.2:
        fields = dict.fromkeys(OPTIONAL[topic]) | fields
    return dict(rng.sample(list(fields.items()), len(fields)))


def _json_number(rng: Random, units: int, places: int) -> str | int | float:
    """A decimal as exact, padded or over-precise text, or as a number where a double holds it (15 digits)."""
    text = decimal_text(units, places)
    if len(text.strip("-").replace(".", "").lstrip("0")) <= 15 and rng.random() < 0.5:
        return int(text) if "." not in text and rng.random() < 0.5 else float(text)
    sign, (whole, part) = "-" if units < 0 else "", divmod(abs(units), 10**places)
    padded = f"{sign}{whole}.{part:0{places}d}"
    return rng.choice([text, text, padded, padded + ("5" if units % 2 == 0 else "4999")])


def _json_time(rng: Random, us: int) -> str | int:
    """A time as epoch milliseconds or RFC 3339 text; digits past the microsecond are cut off by the reader."""
    if us % MS == 0 and rng.random() < 0.3:
        return us // MS
    offsets = {"Z": 0, "+00:00": 0, "+05:30": 330, "-08:00": -480} if us > EARLIEST + DAY else {"Z": 0}
    offset = rng.choice(list(offsets))
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us, minutes=offsets[offset])
    digits = f"{us % S:06d}"
    fraction = rng.choice([digits, digits + "999", digits.rstrip("0")])
    return f"{local:%Y-%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}{offset}"


def _rule_toml(rule: Rule) -> str:
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=rule["effective_from"])
    lines = ["[[rule]]", f"effective_from = {start:%Y-%m-%dT%H:%M:%SZ}"]
    for key, value in rule.items():
        match key:
            case "use_case" | "effective_from" | "hourly_rate":
                continue
            case "lookback_window" | "early_tolerance" | "half_life":
                text = _text(duration_text(value))
            case "share":
                text = _text(decimal_text(value, 6))
            case "position_weights":
                text = "[" + ", ".join(_text(decimal_text(weight, 6)) for weight in value) + "]"
            case "margin" | "value_per_event" | "max_value" | "realisation":
                text = _text(decimal_text(value))
            case "baseline_seconds" | "max_seconds":
                text = _text(decimal_text(value)) if value % UNIT else str(value // UNIT)
            case "max_touches":
                text = str(value)
            case _:
                text = _text(value)
        lines.append(f"{key} = {text}")
    if "hourly_rate" in rule:
        lines.append("[rule.hourly_rate]")
        lines += [f"{_text(role)} = {_text(decimal_text(rate))}" for role, rate in rule["hourly_rate"].items()]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """A TOML string."""
    return json.dumps(value, ensure_ascii=False)
