"""Random settings, rules and exchange rates: what a case (``tests.cases``) is attributed by."""

from __future__ import annotations

from random import Random
from typing import Any

Rule = dict[str, Any]

UNIT, MS, S, HOUR, DAY = 10**9, 1_000, 1_000_000, 3_600_000_000, 86_400_000_000
#: The middle of every case, 2024-02-28T12:00:00Z: in the past of any run, and beside a leap day.
MIDDLE = 1_709_121_600 * S
EARLIEST = 946_684_800 * S
USE_CASES = ("reco", "Reco", "support", "search/é", "\uff5e wide", "😀", "Zoo")
TYPES = {"conversion": ("purchase", "Purchase", "ticket_deflected"), "time_saved": ("purchase", "draft")}
STARTS = [MIDDLE + offset for offset in (-3000 * DAY, -40 * DAY, -3 * DAY, -HOUR, 0, 2 * DAY)]


def random_settings(rng: Random) -> dict[str, Any]:
    """The pipeline's settings; durations in microseconds, ``fx_max_age`` in days."""
    return {
        "base_currency": rng.choice(["USD", "USD", "USD", "EUR", "JPY"]),
        "reversal_window": rng.choice([0, HOUR, 2 * DAY, 60 * DAY, 60 * DAY, 60 * DAY]),
        "fx_max_age": rng.choice([1, 7, 7, 30]),
        "allowed_lateness": rng.choice([0, HOUR, DAY]),
    }


def random_rules(rng: Random, settings: dict[str, Any]) -> list[Rule]:
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


def random_rates(rng: Random, settings: dict[str, Any]) -> list[tuple[int, str, int]]:
    """Rates with gaps; GBP is often stale, CHF has none."""
    middle = MIDDLE // DAY
    rates = {}
    for currency in sorted({"USD", "EUR", "GBP", "JPY"} - {settings["base_currency"]}):
        latest = middle - 12 if currency == "GBP" else middle + 70
        for day in range(middle - 45, latest):
            if rng.random() < 0.4:
                rate = rng.choice([1_100_000_000, 1_083_700_001, 6_700_000, 999_999_999, UNIT, 2 * UNIT])
                rates[day, currency] = rng.choice([1, 10**15 - 1]) if rng.random() < 0.04 else rate
    return [(day, currency, rate) for (day, currency), rate in sorted(rates.items())]
