"""A case (``tests.cases``) as files for the command line: event log, rules, rates and pipeline.

Equal content is written in all of its spellings: numbers as texts and as numbers, times with offsets and as epochs,
defaults left out and written out, fields in any order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

from tests.case_rules import DAY, EARLIEST, HOUR, MS, UNIT, Rule, S
from tests.cases import EVENT_LISTS, SCORED_TOPICS, TOPICS, Case, Event

#: Decimal fields and the places of their units.
PLACES = dict.fromkeys(("amount", "quantity", "seconds", "baseline_seconds", "actual_seconds", "score"), 9)
PLACES |= {"cost": 12}
#: Fields that a file may hold as null.
OPTIONAL = {
    "inferences": ("model_version", "status", "arm", "cost", "session_id", "trace_id", "attributes"),
    "conversions": ("amount", "currency", "quantity", "inference_id", "inference_ids", "trace_id", "attributes"),
    "time_saved": ("seconds", "role", "inference_id", "inference_ids", "trace_id", "attributes"),
    "reversals": ("amount", "currency", "quantity", "seconds", "reason"),
    "scores": ("inference_id", "inference_ids", "trace_id", "attributes"),
}


def to_json_events(case: Case, seed: int = 0) -> dict[str, list[Event]]:
    """Canonical JSON events by topic, in list order, in any of the spellings that mean the same event.

    Scores are a topic only where there are any.
    """
    rng = Random(seed)
    names = SCORED_TOPICS if case.scores else EVENT_LISTS
    return {name: [_json_event(rng, event, name) for event in getattr(case, name)] for name in names}


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
    case: Case,
    *,
    log: str = "log",
    out: str = "out",
    state: str = "state",
    rules: str = "rules",
    fx: str = "fx.csv",
    topics: Mapping[str, str] = TOPICS,
) -> str:
    """A pipeline over event files; ``max_future_skew`` is as long as it can be."""
    settings = case.settings
    sections = "".join(f'[[input.topic]]\nname = "{name}"\nkind = "{kind}"\n' for name, kind in topics.items())
    return (
        f'base_currency = "{settings["base_currency"]}"\nrules = {_text(rules)}\nfx = {_text(fx)}\n'
        f'fx_max_age = "{settings["fx_max_age"]}d"\n'
        f'[input]\nsource = "files"\npath = {_text(log)}\n{sections}'
        f'[time]\nallowed_lateness = "{duration_text(settings["allowed_lateness"])}"\n'
        f'reversal_window = "{duration_text(settings["reversal_window"])}"\nmax_future_skew = "36500d"\n'
        f"[output]\npath = {_text(out)}\n[state]\npath = {_text(state)}\n"
    )


def write_case(case: Case, folder: Path, seed: int = 0, topics: Mapping[str, str] = TOPICS) -> Path:
    """Write log, rules, rates and pipeline file into the folder; gives the path of the pipeline file.

    Each topic is one file, ``log/<topic>/events.jsonl``, in list order.
    """
    events_of = to_json_events(case, seed)
    for name in topics:
        events = events_of.get(name, [])
        (folder / "log" / name).mkdir(parents=True)
        lines = "".join(json.dumps(event, ensure_ascii=bool(n % 2)) + "\n" for n, event in enumerate(events))
        (folder / "log" / name / "events.jsonl").write_text(lines, encoding="utf-8")
    (folder / "rules").mkdir()
    for name, text in to_rule_files(case).items():
        (folder / "rules" / name).write_text(text, encoding="utf-8")
    (folder / "fx.csv").write_text(to_fx_csv(case), encoding="utf-8")
    (folder / "pipeline.toml").write_text(to_pipeline_toml(case, topics=topics), encoding="utf-8")
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
