"""The judge: a slow, obvious model of the attribution function in plain Python integers and fractions.

It follows the text of the contract (design, section 5), one function per numbered step, and shares no code with
the engine. Events, rules and rows are plain dicts:

- times are integer microseconds since 1970 UTC; money, seconds, quantities and rates integer units of 10⁻⁹ (an
  inference's ``cost`` 10⁻¹²); what is absent is missing or ``None``;
- an outcome names inferences by ``inference_ids`` (a list), by ``trace_id`` or not at all;
- ``position`` of an event is (topic, partition, file, offset); events without one count as read after those with
  one, in the order given;
- a rule has the keys of its TOML form with integer values (``share``, ``position_weights`` in millionths, durations
  in microseconds); a missing key means its default;
- ``fx`` holds (days since 1970, currency, rate); ``settings`` holds ``base_currency``, ``reversal_window`` and
  ``allowed_lateness`` in microseconds and ``fx_max_age`` in days.

Rows have the columns of the published tables as a replay writes them (``sign`` 1, ``commit_id`` 0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.reference_parts import (
    UNIT,
    Event,
    Part,
    Path,
    Row,
    Rule,
    World,
    attributed_row,
    can_value,
    content_of,
    credit_row,
    cumulative,
    decay_weight,
    governing_rule,
    holdout_row,
    matched_reversals,
    own_seconds,
    rate_of,
    reaches,
    read_order,
    rule_of,
    score_row,
    shared_use_case,
    sorted_rows,
    times,
    unattributed_row,
    widest_window,
)

OPEN_MAX = 10_000
OUT_OF_RANGE = 10**12 * UNIT
RULE_DEFAULTS: Rule = {"join": "inference", "early_tolerance": 0, "share": 10**6, "margin": UNIT, "effect": "gain"}
RULE_DEFAULTS |= {"realisation": UNIT, "position_weights": (400_000, 200_000, 400_000)}


@dataclass(frozen=True)
class Result:
    """What a replay publishes, each table sorted by its key, and what deduplication refused.

    ``conflicting`` holds (kind, id, position) of each refused event; ``duplicates`` counts equal copies. ``scores`` are
    as they came.
    """

    credits: list[Row]
    unattributed: list[Row]
    attributed: list[Row]
    conflicting: list[tuple[str, str, Any]]
    duplicates: int
    scores: list[Row] = field(default_factory=list)


def attribute(
    inferences: Iterable[Event],
    conversions: Iterable[Event],
    time_saved: Iterable[Event],
    reversals: Iterable[Event],
    rules: Iterable[Rule],
    fx: Iterable[tuple[int, str, int]],
    settings: dict[str, Any],
    scores: Iterable[Event] = (),
) -> Result:
    """Attribute every outcome; the watermark is the largest event time of all events given. Scores earn nothing."""
    kinds = {"inference": inferences, "conversion": conversions, "time_saved": time_saved, "reversal": reversals}
    kinds |= {"score": scores}
    read = [(kind, event) for kind, events in kinds.items() for event in events]
    watermark = max((event["event_time"] for _, event in read), default=0)
    accepted, conflicting, duplicates = step_1_deduplicate(read)
    filled = [RULE_DEFAULTS | {k: v for k, v in rule.items() if v is not None} for rule in rules]
    world = World(accepted["inference"], accepted["outcome"], accepted["reversal"], filled, list(fx), settings)
    credited: list[Row] = []
    unattributed = step_10_unmatched_reversals(world)
    for outcome in world.outcomes.values():
        earned, lost = attribute_one(outcome, world)
        credited += earned
        unattributed += lost
    return Result(
        sorted_rows(credited, "outcome_id", "inference_id"),
        sorted_rows(unattributed, "outcome_id", "inference_id", "reversal_id", "reason"),
        sorted_rows([attributed_row(i, credited, watermark, world) for i in world.inferences.values()], "inference_id"),
        conflicting,
        duplicates,
        sorted_rows([score_row(score) for score in accepted["score"].values()], "event_id"),
    )


def attribute_one(outcome: Event, world: World) -> tuple[list[Row], list[Row]]:
    """Credits and unattributed rows of one outcome: steps 2 to 9."""
    opened = step_2_open_inferences(outcome, world)
    touches, reason = step_3_eligible_touches(outcome, opened, world)
    paths: list[Path] = []
    if reason in (None, "holdout"):
        paths, refusal = step_4_paths(outcome, touches, world)
        reason = refusal or step_5_refusal(outcome, paths, world) or reason
    if reason not in (None, "holdout"):
        return [], [step_9_unattributed(outcome, opened, reason, world)]
    net, cut, cut_seconds = split(outcome, paths, matched_reversals(outcome, world), world)
    if reason == "holdout":
        return [], [holdout_row(outcome, part, world) for part in net]
    gross, _, _ = split(outcome, paths, [], world)
    credited = [credit_row(outcome, part, whole, world) for part, whole in zip(net, gross, strict=True)]
    if not cut and not cut_seconds:
        return credited, []
    figures = {"amount": None if net[0].amount is None else 0, "value": cut, "seconds": cut_seconds}
    use_case = {"use_case": shared_use_case(opened)}
    return credited, [unattributed_row(outcome, "capped", world) | use_case | figures]


# --- the numbered steps ---


def step_1_deduplicate(
    read: list[tuple[str, Event]],
) -> tuple[dict[str, dict[str, Event]], list[tuple[str, str, Any]], int]:
    """Step 1, deduplicate: of one id the first read counts; equal copies are counted, different ones refused.

    Conversions and time-saved events share their ids. Gives the accepted events by id space (``inference``,
    ``outcome``, ``reversal``, ``score``), the refused ones and the number of equal copies.
    """
    accepted: dict[str, dict[str, Event]] = {"inference": {}, "outcome": {}, "reversal": {}, "score": {}}
    conflicting = []
    duplicates = 0
    for kind, event in sorted(read, key=lambda item: read_order(item[1])):
        space = "outcome" if kind in ("conversion", "time_saved") else kind
        event_id = event["inference_id" if kind == "inference" else "event_id"]
        content = content_of(kind, event)
        if event_id not in accepted[space]:
            accepted[space][event_id] = content
        elif accepted[space][event_id] == content:
            duplicates += 1
        else:
            conflicting.append((kind, event_id, event.get("position")))
    return accepted, conflicting, duplicates


def step_2_open_inferences(outcome: Event, world: World) -> list[Event]:
    """Step 2, open inferences: the named ones whose widest window reaches the outcome, both ends inclusive."""
    if "trace_id" in outcome:
        named = [i for i in world.inferences.values() if i.get("trace_id") == outcome["trace_id"]]
    else:
        named = [world.inferences[i] for i in outcome.get("inference_ids", []) if i in world.inferences]
    return [i for i in named if reaches(i, *widest_window(i, world), outcome)]


def step_3_eligible_touches(outcome: Event, opened: list[Event], world: World) -> tuple[list[Event], str | None]:
    """Step 3, eligible touches: the filters in order; the first that leaves nothing is the reason.

    With the reason ``holdout`` the touches are those that the last filter took away.
    """
    if "trace_id" not in outcome and "inference_ids" not in outcome:
        return [], "no_inference_id"
    if not opened:
        return [], "no_open_inference"
    if len(opened) > OPEN_MAX:
        return [], "too_many_touches"
    rules = {touch["inference_id"]: rule_of(touch, outcome, world) for touch in opened}

    def has_rule(_: Event, rule: Rule | None) -> bool:
        return rule is not None and ("trace_id" not in outcome or rule["join"] == "trace")

    def is_in_window(touch: Event, rule: Rule) -> bool:
        return reaches(touch, rule["early_tolerance"], rule["lookback_window"], outcome)

    filters: list[tuple[str, Callable[[Event, Any], bool]]] = [
        ("failed_inference", lambda touch, _: touch["status"] != "failed"),
        ("no_rule", has_rule),
        ("no_valuation", lambda _, rule: can_value(rule, outcome)),
        ("outside_window", is_in_window),
        ("holdout", lambda touch, _: touch.get("arm") != "holdout"),
    ]
    touches = opened
    for reason, keeps in filters:
        kept = [touch for touch in touches if keeps(touch, rules[touch["inference_id"]])]
        if not kept:
            return touches, reason
        touches = kept
    return touches, None


def step_4_paths(outcome: Event, touches: list[Event], world: World) -> tuple[list[Path], str | None]:
    """Step 4, path order: (time, id as bytes) in each use case, use cases in byte order of their names.

    A path longer than the ``max_touches`` of the rule that governs it refuses the outcome.
    """
    ordered = sorted(touches, key=lambda touch: (touch["event_time"], touch["inference_id"].encode()))
    use_cases = sorted({touch["use_case"] for touch in touches}, key=str.encode)
    paths = [[touch for touch in ordered if touch["use_case"] == use_case] for use_case in use_cases]
    limits = [governing_rule(path, outcome, world).get("max_touches", len(path)) for path in paths]
    is_too_long = any(len(path) > limit for path, limit in zip(paths, limits, strict=True))
    return paths, "too_many_touches" if is_too_long else None


def step_5_net(gross: int, field: str, reversals: list[Event]) -> int:
    """Step 5, measure: a field of the outcome after the reversals that count."""
    taken: int = sum(reversal.get(field, 0) for reversal in reversals)
    if any(not {"amount", "quantity", "seconds"} & reversal.keys() for reversal in reversals):
        taken = abs(gross)
    net = max(0, abs(gross) - taken)
    return net if gross >= 0 else -net


def step_5_amount(outcome: Event, reversals: list[Event], world: World) -> int | None:
    """Step 5, measure: B, the net amount in base currency; None without amount or rate."""
    rate = rate_of(outcome, world)
    if "amount" not in outcome or rate is None:
        return None
    return times(step_5_net(outcome["amount"], "amount", reversals), rate)


def step_5_refusal(outcome: Event, paths: list[Path], world: World) -> str | None:
    """Step 5, its two refusals: no rate where a governing rule needs the amount; a gross amount past all bounds."""
    if "amount" not in outcome:
        return None
    rate = rate_of(outcome, world)
    if rate is None:
        needs_amount = any("value_per_event" not in governing_rule(path, outcome, world) for path in paths)
        return "no_fx_rate" if needs_amount else None
    return "out_of_range" if abs(times(outcome["amount"], rate)) >= OUT_OF_RANGE else None


def step_6_value(
    outcome: Event, rule: Rule, reversals: list[Event], world: World, *, is_capped: bool
) -> tuple[int, int]:
    """Step 6, value of the outcome for one use case and (time saved) its seconds: ``v`` if capped, else ``full``."""
    if outcome["kind"] == "conversion":
        if "value_per_event" in rule:
            value = times(step_5_net(outcome["quantity"], "quantity", reversals), rule["value_per_event"])
        else:
            value = times(step_5_amount(outcome, reversals, world) or 0, rule["margin"])
        if is_capped and "max_value" in rule:
            value = max(-rule["max_value"], min(rule["max_value"], value))
        return (-value if rule["effect"] == "loss" else value), 0
    gross = own_seconds(outcome)
    if gross is None:
        gross = rule["baseline_seconds"] - outcome["actual_seconds"]
    seconds = step_5_net(gross, "seconds", reversals)
    if is_capped and "max_seconds" in rule:
        seconds = max(-rule["max_seconds"], min(rule["max_seconds"], seconds))
    hourly_rate = rule["hourly_rate"].get(outcome.get("role"), rule["hourly_rate"]["*"])
    return times(round(Fraction(seconds * hourly_rate, 3600 * UNIT)), rule["realisation"]), seconds


def step_7_over_use_cases(rules: list[Rule], figures: list[int]) -> list[int]:
    """Step 7, over use cases: the part of each, weighted by share; parts sum to the rounded whole."""
    terms = [rule["share"] * figure for rule, figure in zip(rules, figures, strict=True)]
    return cumulative(terms, sum(rule["share"] for rule in rules))


def step_8_weights(outcome: Event, path: Path, rule: Rule) -> list[int]:
    """Step 8, over the touches of a use case: their integer weights, in path order."""
    n = len(path)
    first, middle, last = rule["position_weights"]
    match rule["credit"]:
        case "first":
            return [1] + [0] * (n - 1)
        case "last":
            return [0] * (n - 1) + [1]
        case "linear":
            return [1] * n
        case "position":
            more = [first * (n - 2)] + [middle] * (n - 2) + [last * (n - 2)]
            return [1] if n == 1 else [first, last] if n == 2 else more
        case "time_decay":
            ages = [max(0, outcome["event_time"] - touch["event_time"]) for touch in path]
            return [decay_weight(age - min(ages), rule["half_life"]) for age in ages]
    raise ValueError(rule["credit"])


def step_9_unattributed(outcome: Event, opened: list[Event], reason: str | None, world: World) -> Row:
    """Step 9, unattributed: the one row of an outcome refused in steps 3 to 5."""
    reversals = matched_reversals(outcome, world)
    own = own_seconds(outcome)
    seconds = None if own is None else step_5_net(own, "seconds", reversals)
    figures = {"amount": step_5_amount(outcome, reversals, world), "seconds": seconds}
    return unattributed_row(outcome, reason, world) | {"use_case": shared_use_case(opened)} | figures


def step_10_unmatched_reversals(world: World) -> list[Row]:
    """Step 10, unmatched reversals: a row each, at its own time, without kind, type or figures."""
    rows = []
    for reversal in world.reversals.values():
        outcome = world.outcomes.get(reversal["reverses"])
        if outcome is None or reversal not in matched_reversals(outcome, world):
            stand_in = {"event_id": reversal["reverses"], "event_time": reversal["event_time"]}
            row = unattributed_row(stand_in, "reversal_unmatched", world)
            rows.append(row | {"reversal_id": reversal["event_id"]})
    return rows


def split(
    outcome: Event, paths: list[Path], reversals: list[Event], world: World
) -> tuple[list[Part], int, int | None]:
    """Steps 5 to 8 with the given reversals: what each touch of weight above 0 gets, value and seconds cut by caps."""
    rules = [governing_rule(path, outcome, world) for path in paths]
    full = [step_6_value(outcome, rule, reversals, world, is_capped=False) for rule in rules]
    capped = [step_6_value(outcome, rule, reversals, world, is_capped=True) for rule in rules]
    amount = step_5_amount(outcome, reversals, world)
    has_seconds = outcome["kind"] == "time_saved"
    amounts = step_7_over_use_cases(rules, [amount or 0] * len(rules))
    values = step_7_over_use_cases(rules, [value for value, _ in capped])
    seconds = step_7_over_use_cases(rules, [seconds for _, seconds in capped])
    parts = []
    for path, rule, *wholes in zip(paths, rules, amounts, values, seconds, strict=True):
        weights = step_8_weights(outcome, path, rule)
        a, v, s = [cumulative([whole * weight for weight in weights], sum(weights)) for whole in wholes]
        for k, touch in enumerate(path):
            if weights[k] > 0:
                part = Part(touch, rule, None if amount is None else a[k], v[k], s[k] if has_seconds else None)
                parts.append(part)
    cut = sum(step_7_over_use_cases(rules, [value for value, _ in full])) - sum(values)
    cut_seconds = sum(step_7_over_use_cases(rules, [seconds for _, seconds in full])) - sum(seconds)
    return parts, cut, cut_seconds if has_seconds else None
