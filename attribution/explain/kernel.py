"""The kernel run on one outcome, with every intermediate result kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from attribution.credit import weights
from attribution.engine import CompiledPolicy, Ledger, Policy, attribute_outcomes
from attribution.explain.arithmetic import Facts, Figures, Group, Reduction, groups, worked_out
from attribution.explain.candidates import Candidate, candidates
from attribution.match import matched_slices
from attribution.measure import MatchedReversals, Measures, gross_measures, match_reversals, net_measures, rates
from attribution.money import UNIT, Bools, Int64s, integer, units
from attribution.paths import Paths, eligible_paths
from schemas.events import Kind
from schemas.reasons import Unattributed

_OWN_FIGURES = ("amount", "quantity", "seconds", "baseline_seconds", "actual_seconds")
#: Reasons of rows that stand beside an outcome's split.
_BESIDE = (Unattributed.CAPPED, Unattributed.REVERSAL_UNMATCHED)


@dataclass(frozen=True)
class Setting:
    """What the published tables were made with.

    is_live: made by the live engine, which publishes later what still waits; rule_texts: the rule files by
    the name that ``Rule.file`` has.
    """

    compiled: CompiledPolicy
    allowed_lateness_us: int
    watermark_us: int | None
    is_live: bool
    rule_texts: Mapping[str, str]


@dataclass(frozen=True)
class Known:
    """All events that the outcomes' split depends on: canonical columns, source columns and ``commit_id``."""

    outcomes: pl.DataFrame
    inferences: pl.DataFrame
    reversals: pl.DataFrame


@dataclass(frozen=True)
class Work:
    """One outcome's results, step by step.

    row: the event; rate: in units, null where there is none; counted: the reversals that count; reason: why it
    is not split, None if it is; groups: its paths, where it is split or would be but for the holdout.
    """

    known: Known
    setting: Setting
    row: dict[str, Any]
    time_us: int
    found: list[Candidate]
    matched: MatchedReversals
    counted: pl.DataFrame
    rate: pl.Series
    gross: Measures
    net: Measures
    paths: Paths
    weight: Int64s
    groups: list[Group]
    facts: Facts
    ledger: Ledger
    reason: Unattributed | None

    @property
    def policy(self) -> Policy:
        return self.setting.compiled.policy

    @property
    def is_conversion(self) -> bool:
        return self.facts.kind is Kind.CONVERSION

    @property
    def names_trace(self) -> bool:
        return self.row["trace_id"] is not None

    @property
    def needs_quantity(self) -> bool:
        return any(group.rule.value_per_event is not None for group in self.groups)

    def figures(self, measures: Measures) -> Figures:
        """Steps 6 to 8 for the measure net of reversals or the gross one."""
        is_conversion: Bools = np.array([self.is_conversion])
        columns = self.setting.compiled.columns
        return worked_out(self.paths, self.weight, self.known.outcomes, measures, is_conversion, columns)

    def own_amount(self, *, is_net: bool) -> int | None:
        """The amount in the outcome's own currency: the kernel's measure at a rate of 1."""
        one = integer(UNIT)
        measures = gross_measures(self.known.outcomes, one)
        if is_net:
            measures = net_measures(self.known.outcomes, measures, one, self.matched.taken)
        amount: int | None = measures.amount.item()
        return amount


def work_out(known: Known, setting: Setting) -> Work:
    """Steps 2 to 9 for the one outcome in ``known``, by the kernel's own functions."""
    compiled = setting.compiled
    policy, outcome = compiled.policy, known.outcomes
    [match] = matched_slices(outcome, known.inferences)
    matched = match_reversals(outcome, known.reversals, policy.reversal_window_us)
    counted = known.reversals.join(matched.unmatched.select("event_id"), on="event_id", how="anti")
    rate = rates(outcome, policy.fx, policy.base_currency, policy.fx_max_age_days)
    gross = gross_measures(outcome, rate)
    ledger = attribute_outcomes(outcome, known.inferences, match.pairs, known.reversals, compiled)
    reason = reason_of(ledger)
    paths = eligible_paths(outcome, known.inferences, match.pairs, compiled.in_force, compiled.columns).paths
    # A path that money refused after all (no rate, out of range) is none.
    paths = paths.only(np.full(len(paths.outcome), reason in (None, Unattributed.HOLDOUT)))
    weight = weights(paths, compiled.columns)
    found = candidates(outcome, known.inferences, match.pairs, compiled)
    return Work(
        known=known,
        setting=setting,
        row=outcome.row(0, named=True),
        time_us=outcome["event_time"].to_physical().item(),
        found=sorted(found, key=lambda candidate: (candidate.time_us, candidate.inference_id.encode())),
        matched=matched,
        counted=counted,
        rate=rate,
        gross=gross,
        net=net_measures(outcome, gross, rate, matched.taken),
        paths=paths,
        weight=weight,
        groups=groups(paths, weight, known.inferences, compiled.in_force.rules),
        facts=_facts(outcome, counted.sort("event_time", "event_id"), rate, policy),
        ledger=ledger,
        reason=reason,
    )


def reason_of(ledger: Ledger) -> Unattributed | None:
    """Why the one outcome of a ledger is not split; None if it is."""
    reasons = [Unattributed(reason) for reason in ledger.unattributed["reason"].unique().cast(pl.String)]
    return next((reason for reason in reasons if reason not in _BESIDE), None)


def _facts(outcome: pl.DataFrame, counted: pl.DataFrame, rate: pl.Series, policy: Policy) -> Facts:
    fields = [units(counted[name]).to_list() for name in ("amount", "quantity", "seconds")]
    is_whole = any(all(part is None for part in parts) for parts in zip(*fields, strict=True))
    amount, quantity, seconds = (
        Reduction(tuple(part for part in parts if part is not None), is_whole) for parts in fields
    )
    return Facts(
        kind=Kind(outcome["kind"].item()),
        base_currency=policy.base_currency,
        currency=outcome["currency"].item(),
        role=outcome["role"].item(),
        rate=rate.item(),
        taken_amount=amount,
        taken_quantity=quantity,
        taken_seconds=seconds,
        **{name: units(outcome[name]).item() for name in _OWN_FIGURES},
    )
