"""The sections that tell what happened to one outcome: event, reversals, rate, candidates, rules, result, rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from attribution.explain.candidates import candidate_lines, shown_rule, summary_lines
from attribution.explain.kernel import Setting, Work
from attribution.explain.ledger import Published, as_published, comparison_lines, plain, row_lines
from attribution.explain.words import SENTENCES, Section, Step, number, rule_lines, shown, sums
from attribution.money import units
from attribution.paths import OPEN_MAX
from attribution.rules import Rule
from attribution.windows import format_duration, time_text
from schemas.events import SOURCE_COLUMNS
from schemas.reasons import Unattributed

#: Sums of more rows than this are shown as their result alone.
_TERMS_MAX = 20


def event(work: Work) -> Section:
    """The outcome as it was read, and from where."""
    row = work.row
    fields = ("amount", "currency", "quantity", "seconds", "baseline_seconds", "actual_seconds", "role")
    figures = ", ".join(f"{name} {plain(row[name])}" for name in fields if row[name] is not None)
    named = "names no inference and no trace"
    if work.names_trace:
        named = f"names trace {shown(row['trace_id'])}"
    elif row["inference_ids"] is not None:
        named = f"names {', '.join(shown(name) for name in row['inference_ids'])}"
    head = f"{row['kind']} of type {shown(row['type'])} at {time_text(work.time_us)}"
    return Section(f"Outcome {shown(row['event_id'])}", (head, figures, named, source_text(row)))


def reversals(work: Work) -> Section:
    """Every reversal that names the outcome: what it takes, or why it takes nothing."""
    window_us = work.policy.reversal_window_us
    unmatched = set(work.matched.unmatched["event_id"])
    until = f"{time_text(work.time_us + window_us)}, both ends included (reversal_window {format_duration(window_us)})"
    lines = [f"one counts from the outcome's time to {until}"]
    for row in work.known.reversals.sort("event_time", "event_id").to_dicts():
        verdict = "counts"
        if row["event_id"] in unmatched:
            verdict = f"does not count: {_why_unmatched(work, row)}"
        lines += [f"{_reversal_text(row)}: {verdict}", f"  {source_text(row)}"]
    return Section("Reversals", tuple(lines if len(lines) > 1 else ["none"]))


def unknown_outcome(outcome_id: str, reversals: pl.DataFrame) -> Section:
    """Reversals of an outcome that is not there."""
    lines = ["there is no such outcome, so these reversals take nothing back:"]
    for row in reversals.sort("event_time", "event_id").to_dicts():
        lines += [_reversal_text(row), f"  {source_text(row)}"]
    return Section(f"Outcome {shown(outcome_id)}", tuple(lines))


def _why_unmatched(work: Work, reversal: dict[str, Any]) -> str:
    row = work.row
    if reversal["event_time"] < row["event_time"]:
        return "it is older than the outcome"
    if (reversal["event_time"] - row["event_time"]).total_seconds() * 10**6 > work.policy.reversal_window_us:
        return "it is later than the reversal window"
    if reversal["quantity"] is not None:
        return "a time-saved event has no quantity"
    if reversal["seconds"] is not None:
        return "a conversion has no seconds"
    if row["amount"] is None:
        return "the outcome has no amount"
    return f"it is in {reversal['currency']}, the outcome in {row['currency']}"


def _reversal_text(reversal: dict[str, Any]) -> str:
    names = ("amount", "quantity", "seconds")
    taken = [f"{name} {plain(reversal[name])}" for name in names if reversal[name] is not None]
    currency = "" if reversal["currency"] is None else f" {reversal['currency']}"
    reason = "" if reversal["reason"] is None else f" (reason {shown(reversal['reason'])})"
    what = taken[0] + currency if taken else "all that is left"
    return f"{shown(reversal['event_id'])}: at {plain(reversal['event_time'])}, takes {what}{reason}"


def exchange_rate(work: Work) -> Section:
    """The rate with the date of its row, or why there is none."""
    base, currency, fx = work.policy.base_currency, work.row["currency"], work.policy.fx
    if currency is None:
        return Section("Exchange rate", ("none needed: the outcome has no amount",))
    if currency == base:
        return Section("Exchange rate", (f"none needed: the amount is in the base currency {base}",))
    day, max_age = work.row["event_time"].date(), work.policy.fx_max_age_days
    limit = f"used is the newest rate dated before {day}, if not older than fx_max_age, {max_age}d"
    older = fx.filter((pl.col("currency") == currency) & (pl.col("date") < day)).sort("date").tail(1)
    if older.height == 0:
        return Section("Exchange rate", (f"none: fx.csv has no rate of {currency} dated before {day}", limit))
    date = older["date"].item()
    line = f"{number(units(older['rate']).item())} {base} per {currency}, of {date}"
    if work.rate.item() is None:
        line = f"none: the newest before {day} is of {date}, {(day - date).days} days older"
    return Section("Exchange rate", (line, limit))


def all_candidates(work: Work) -> Section:
    """Each named inference, and how far it got."""
    known = {candidate.inference_id for candidate in work.found}
    lines: list[str] = []
    if len(work.found) > OPEN_MAX:
        lines += [f"{len(work.found)} inferences, by how far they got:", *summary_lines(work.found)]
    else:
        for candidate in work.found:
            lines += candidate_lines(candidate, work.time_us, names_trace=work.names_trace)
    unknown = [name for name in work.row["inference_ids"] or [] if name not in known]
    lines += [f"{shown(name)}: unknown: the table has no such inference" for name in unknown]
    if work.names_trace and not known:
        lines.append(f"the table has no inference of trace {shown(work.row['trace_id'])}")
    return Section("Candidates", tuple(lines or ["none"]))


def rules(work: Work) -> list[Section]:
    """The text of every rule that was looked at: that of a candidate neither closed nor failed."""
    earlier = (Unattributed.NO_OPEN_INFERENCE, Unattributed.FAILED_INFERENCE)
    asked = [candidate.rule for candidate in work.found if candidate.stopped_by not in earlier]
    used = {rule.rule_id: rule for rule in asked if rule is not None}
    return [Section(f"Rule {shown(rule_id)}", rule_text(used[rule_id], work.setting)) for rule_id in sorted(used)]


def rule_text(rule: Rule, setting: Setting) -> tuple[str, ...]:
    """Where a rule stands, and its lines as they are written."""
    in_file = sum(1 for other in setting.compiled.in_force.rules if other.file == rule.file)
    lines = rule_lines(setting.rule_texts.get(rule.file, ""), rule.number, in_file)
    if not lines:
        return (f"{rule.file}, rule {rule.number}",)
    width = len(str(lines[-1][0]))
    place = f"{rule.file}, lines {lines[0][0]} to {lines[-1][0]}"
    return (place, *(f"{line:>{width}} | {text}" for line, text in lines))


def result(work: Work) -> Section:
    """Split or not and why, and that the parts sum to the whole."""
    if work.reason is None:
        lines: list[str | Step] = [f"split over {work.ledger.credits.height} of {len(work.found)} known candidates"]
        label = "credited and unattributed"
    else:
        sentence = SENTENCES[work.reason]
        lines = [f"unattributed, {work.reason.value}: {sentence.why}", *_overfull(work)]
        lines.append(f"it would be otherwise if {sentence.otherwise}")
        label = "unattributed"
    is_own = pl.col("reason") != Unattributed.REVERSAL_UNMATCHED.value
    frames = (work.ledger.credits, work.ledger.unattributed.filter(is_own))
    rows = pl.concat([frame.select("amount", "value") for frame in frames])
    for name in ("amount", "value"):
        terms = units(rows[name].drop_nulls()).to_list()
        if terms:
            expression = sums(terms) if len(terms) <= _TERMS_MAX else ""
            lines.append(Step(f"{name} {label}", number(sum(terms)), expression, work.policy.base_currency))
    return Section("Result", tuple(lines))


def _overfull(work: Work) -> list[str]:
    """Which use case has more touches than its governing rule allows."""
    if work.reason is not Unattributed.TOO_MANY_TOUCHES:
        return []
    standing = [candidate for candidate in work.found if candidate.stopped_by is None]
    if not standing:
        standing = [candidate for candidate in work.found if candidate.stopped_by is Unattributed.HOLDOUT]
    lines = []
    for use_case in sorted({candidate.use_case for candidate in standing}, key=str.encode):
        path = [candidate for candidate in standing if candidate.use_case == use_case]
        rule = path[-1].rule
        if rule is not None and rule.max_touches is not None and len(path) > rule.max_touches:
            lines.append(
                f"use case {shown(use_case)}: {len(path)} touches, max_touches {rule.max_touches} of {shown_rule(rule)}"
            )
    return lines


def published_rows(work: Work, published: Published) -> Section:
    """What was published, and whether it is what was recomputed."""
    rows = published.rows()
    if not rows and (waits := _waiting(work)):
        return Section("Published", (waits,))
    recomputed = [
        *as_published(work.ledger.credits.drop("inference"), "credits"),
        *as_published(work.ledger.unattributed, "unattributed"),
    ]
    lines = [line for row in rows for line in row_lines(row)]
    return Section("Published", (*lines, *comparison_lines(rows, recomputed)))


def _waiting(work: Work) -> str:
    """What is said of an outcome that the live engine still holds back; empty otherwise."""
    setting = work.setting
    until_us = work.time_us + setting.compiled.in_force.longest_early_us() + setting.allowed_lateness_us
    has_passed = setting.watermark_us is not None and setting.watermark_us > until_us
    if not setting.is_live or has_passed:
        return ""
    return f"nothing yet: it waits for what it names until the watermark passes {time_text(until_us)}"


def source_text(row: Mapping[str, Any]) -> str:
    """Where an event was read."""
    topic, partition, offset, file = (row[name] for name in SOURCE_COLUMNS)
    in_file = "" if file is None else f", file {shown(file)}"
    place = f"topic {shown(topic)}, partition {partition}{in_file}, offset {offset}"
    return f"read from {place}, in commit {row['commit_id']}"
