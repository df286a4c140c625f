"""The sections that tell what one inference earned: event, windows, every outcome that names it, sum, row."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from attribution.batch import attribute_batch, attributed_rows
from attribution.engine import Ledger
from attribution.explain.candidates import Candidate, candidate_lines, candidates, shown_rule, window_text
from attribution.explain.kernel import Known, Setting
from attribution.explain.ledger import (
    PublishedInference,
    Standing,
    as_published,
    comparison_lines,
    plain,
    row_lines,
    standing,
)
from attribution.explain.outcome import source_text
from attribution.explain.words import SENTENCES, Section, Step, number, shown, sums
from attribution.money import units
from attribution.rules import Rule
from attribution.settle import Settlement, is_settled
from attribution.windows import format_duration, time_text
from schemas.reasons import Unattributed

_TEXTS = ("model_version", "endpoint", "provider", "arm", "session_id", "trace_id", "batch_id", "service_tier")
_COUNTS = ("input_tokens", "output_tokens", "latency_ms", "compute_ms", "cost", "cost_currency")
_FIGURES = ("conversion_value", "time_saved_value", "time_saved_seconds", "attributed_value", "reversed_value")


def inference_sections(
    inference_id: str, known: Known, published: PublishedInference, setting: Setting
) -> list[Section]:
    """known: the inference, every outcome that names it, all that these name, and their reversals."""
    own = known.inferences.filter(pl.col("inference_id") == inference_id)
    ledger = attribute_batch(known.inferences, known.outcomes, known.reversals, setting.compiled)
    earned = ledger.credits.filter(pl.col("inference_id") == inference_id)
    recomputed = _attributed(own, earned, setting)
    return [
        _event(own.row(0, named=True)),
        _windows(own, setting),
        _outcomes(own, known, ledger, setting),
        _sum(earned, recomputed, setting),
        _published(published, earned, recomputed, setting),
    ]


def _event(row: dict[str, Any]) -> Section:
    details = [f"{name} {plain(row[name])}" for name in (*_TEXTS, *_COUNTS) if row[name] is not None]
    head = (
        f"at {plain(row['event_time'])}, use case {shown(row['use_case'])}, model {shown(row['model'])}, "
        f"status {row['status']}"
    )
    lines = [head, *([", ".join(details)] if details else []), source_text(row)]
    return Section(f"Inference {shown(row['inference_id'])}", tuple(lines))


def _windows(own: pl.DataFrame, setting: Setting) -> Section:
    """When its windows close, by rule and in all, and whether it has settled."""
    in_force = setting.compiled.in_force
    time = own["event_time"].to_physical().to_numpy()
    time_us, segment = int(time[0]), in_force.segments(own["use_case"], time)
    early_us, late_us = int(in_force.early_us[segment[0]]), int(in_force.late_us[segment[0]])
    lines = [
        f"open for outcomes {window_text(time_us, early_us, late_us)}, both ends included",
        *(
            f"{shown_rule(rule)}: {window_text(time_us, rule.early_tolerance_us, rule.lookback_window_us)}"
            for rule in _rules_in_force(str(own["use_case"].item()), time_us, setting)
        ),
    ]
    if len(lines) == 1:
        lines.append("no rule of its use case is in force at its time: it can earn nothing")
    closes = time_text(time_us + late_us + setting.allowed_lateness_us)
    lateness = format_duration(setting.allowed_lateness_us)
    lines.append(f"it settles when the watermark passes {closes} (allowed_lateness {lateness})")
    verdict = "settled" if _is_settled(own, setting) else "not settled"
    if setting.watermark_us is not None:
        verdict = f"the watermark is {time_text(setting.watermark_us)}: {verdict}"
    return Section("Windows", (*lines, verdict))


def _rules_in_force(use_case: str, time_us: int, setting: Setting) -> list[Rule]:
    """The newest version of each kind and type that began at or before the time."""
    begun = [r for r in setting.compiled.in_force.rules if r.use_case == use_case and r.effective_from_us <= time_us]
    newest = {(rule.kind, rule.type): rule for rule in sorted(begun, key=lambda rule: rule.effective_from_us)}
    return sorted(newest.values(), key=lambda rule: rule.rule_id)


def _is_settled(own: pl.DataFrame, setting: Setting) -> bool:
    watermark_us = setting.watermark_us or 0
    return bool(is_settled(own, setting.compiled.in_force, setting.allowed_lateness_us, watermark_us)[0])


def _outcomes(own: pl.DataFrame, known: Known, ledger: Ledger, setting: Setting) -> Section:
    """Every outcome that names it: its credit, or the reason it got none."""
    outcomes = known.outcomes.sort("event_time", "event_id")
    numbers = np.arange(outcomes.height, dtype=np.uint32)
    pairs = pl.DataFrame({"outcome": numbers, "inference": np.zeros(outcomes.height, dtype=np.uint32)})
    inference_id = str(own["inference_id"].item())
    credited = _by_outcome(ledger.credits.filter(pl.col("inference_id") == inference_id))
    would_be = _by_outcome(ledger.unattributed.filter(pl.col("inference_id") == inference_id))
    beside = [Unattributed.CAPPED.value, Unattributed.REVERSAL_UNMATCHED.value]
    refused = _by_outcome(ledger.unattributed.filter(~pl.col("reason").cast(pl.String).is_in(beside)))
    lines: list[str | Step] = []
    for row, candidate in zip(outcomes.to_dicts(), candidates(outcomes, own, pairs, setting.compiled), strict=True):
        outcome_id = row["event_id"]
        by = "by id" if row["trace_id"] is None else f"by trace {shown(row['trace_id'])}"
        what = f"{row['kind']} of type {shown(row['type'])}"
        lines.append(f"{shown(outcome_id)}: {what} at {plain(row['event_time'])}, {by}")
        if outcome_id in credited:
            lines += _credit_lines(credited[outcome_id], setting)
        elif outcome_id in would_be:
            lines.append(f"  holdout: it would have earned value {plain(would_be[outcome_id]['value'])}")
        else:
            lines += _no_credit_lines(row, candidate, refused.get(outcome_id))
    if outcomes.height:
        lines.append("attribution explain --outcome ID shows the arithmetic of each")
    return Section(f"Outcomes that name it: {outcomes.height}", tuple(lines or ["none"]))


def _by_outcome(rows: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["outcome_id"]: row for row in rows.to_dicts()}


def _credit_lines(row: dict[str, Any], setting: Setting) -> list[str | Step]:
    name, base = shown(row["outcome_id"]), setting.compiled.policy.base_currency
    units_of = {"value": base, "amount": base, "seconds": "s", "reversed_value": base}
    steps = [
        Step(f"  {figure} from {name}", plain(row[figure]), unit=unit)
        for figure, unit in units_of.items()
        if row[figure] is not None
    ]
    return [*steps, f"  under {shown(row['rule_id'])}"]


def _no_credit_lines(row: dict[str, Any], candidate: Candidate, refused: dict[str, Any] | None) -> list[str]:
    """Stopped itself; or eligible, and the outcome was refused; or eligible, and without weight."""
    if candidate.stopped_by is not None:
        time_us = _microseconds(row)
        stop = candidate_lines(candidate, time_us, names_trace=row["trace_id"] is not None)[-1]
        return [f"  no credit: {stop.strip()}"]
    if refused is not None:
        reason = Unattributed(refused["reason"])
        return [f"  no credit: the outcome is unattributed, {reason.value}: {SENTENCES[reason].why}"]
    return ["  no credit: its weight in the path is 0"]


def _microseconds(row: dict[str, Any]) -> int:
    return int(pl.Series([row["event_time"]]).dt.epoch("us").item())


def _attributed(own: pl.DataFrame, earned: pl.DataFrame, setting: Setting) -> pl.DataFrame:
    """The ``attributed`` row as the kernel gives it."""
    first = pl.lit(0, dtype=pl.UInt32).alias("inference")
    settlement = Settlement(earned.with_columns(first), 1)
    return attributed_rows(
        own, settlement.all(), setting.compiled, setting.allowed_lateness_us, setting.watermark_us or 0
    )


def _sum(earned: pl.DataFrame, recomputed: pl.DataFrame, setting: Setting) -> Section:
    """Its credits, added up."""
    base = setting.compiled.policy.base_currency
    is_conversion = pl.col("kind") == "conversion"
    conversions, time_saved = earned.filter(is_conversion), earned.filter(~is_conversion)
    terms = {
        "conversion_value": units(conversions["value"]).to_list(),
        "time_saved_value": units(time_saved["value"]).to_list(),
        "time_saved_seconds": units(time_saved["seconds"]).to_list(),
        "attributed_value": [units(recomputed[name]).item() for name in _FIGURES[:2]],
        "reversed_value": units(earned["reversed_value"]).to_list(),
    }
    steps = [
        Step(name, number(units(recomputed[name]).item()), sums(terms[name]), "s" if name.endswith("seconds") else base)
        for name in _FIGURES
    ]
    return Section("Sum", (Step("outcome_count", str(recomputed["outcome_count"].item())), *steps))


def _published(
    published: PublishedInference, earned: pl.DataFrame, recomputed: pl.DataFrame, setting: Setting
) -> Section:
    """The standing credits and the ``attributed`` row, against what was recomputed."""
    earning: list[Standing] = standing(published.credits, "credits")
    rows = standing(published.attributed, "attributed")
    lines = [line for row in rows for line in row_lines(row)]
    wanted = as_published(recomputed, "attributed")
    if setting.is_live and not wanted[0].words["settled"] and not rows:
        lines = ["no attributed row yet: the live engine publishes it when the inference settles"]
        wanted = []
    wanted = [*as_published(earned.drop("inference"), "credits"), *wanted]
    lines.append(f"{len(earning)} standing credit row{'' if len(earning) == 1 else 's'}")
    return Section("Published", (*lines, *comparison_lines([*earning, *rows], wanted)))
