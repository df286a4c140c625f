"""The attribution function: outcomes' values split over the inferences that earned them.

The theory in one sentence: **the split of an outcome depends on that outcome, the inferences it names,
its reversals, the rules and one exchange rate, on nothing else.** So ``attribute_outcomes`` takes any
set of outcomes with all that belongs to them and gives their ledger rows; the live engine, replay and
explain all call it, with larger or smaller sets.

The way of the data: named pairs → open → eligible → paths (``paths``) → measures net of reversals
(``measure``) → worth under the rules (``value``) → split over use cases and touches (``split``) → rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from attribution.credit import weights
from attribution.in_force import RuleColumns, RulesInForce
from attribution.measure import AMOUNT_LIMIT, Measures, gross_measures, match_reversals, net_measures, rates
from attribution.money import Bools, Int64s, decimals, integer
from attribution.paths import REASONS, SPLIT, Eligibility, Paths, eligible_paths
from attribution.rules import Rules
from attribution.split import Cut, Earned, split
from attribution.words import codes, constant
from schemas.events import WORD
from schemas.outputs import CREDITS, UNATTRIBUTED
from schemas.reasons import Unattributed


@dataclass(frozen=True)
class Policy:
    """What every split depends on beside the events.

    fx: columns ``date``, ``currency``, ``rate`` (base currency per unit, Decimal(38, 9)).
    """

    rules: Rules
    fx: pl.DataFrame
    base_currency: str
    reversal_window_us: int
    fx_max_age_days: int

    def compiled(self) -> CompiledPolicy:
        return CompiledPolicy(self, RulesInForce(self.rules), RuleColumns(self.rules.rules))


@dataclass(frozen=True)
class CompiledPolicy:
    """A policy with its rules as look-up tables; make it once, use it for every batch."""

    policy: Policy
    in_force: RulesInForce
    columns: RuleColumns


@dataclass(frozen=True)
class Ledger:
    """Ledger rows as if nothing had been published before: the columns of ``schemas.outputs`` without
    ``sign`` and ``commit_id``. ``credits`` has a further column ``inference``: the inference's row number."""

    credits: pl.DataFrame
    unattributed: pl.DataFrame


def attribute_outcomes(
    outcomes: pl.DataFrame,
    inferences: pl.DataFrame,
    pairs: pl.DataFrame,
    reversals: pl.DataFrame,
    compiled: CompiledPolicy,
) -> Ledger:
    """Steps 2 to 10 of the attribution function.

    outcomes: ``OUTCOME_COLUMNS``, no id twice; inferences: at least id, time, use case, model columns,
    status and arm; pairs: ``outcome`` and ``inference`` row numbers that name each other, in order of
    outcome; reversals: all reversals of these outcomes, and those whose outcome is unknown.
    """
    policy, columns = compiled.policy, compiled.columns
    found = eligible_paths(outcomes, inferences, pairs, compiled.in_force, columns)
    reversed_ = match_reversals(outcomes, reversals, policy.reversal_window_us)
    rate = rates(outcomes, policy.fx, policy.base_currency, policy.fx_max_age_days)
    gross = gross_measures(outcomes, rate)
    net = net_measures(outcomes, gross, rate, reversed_.taken)

    is_conversion = codes(outcomes["kind"], ["conversion"]) == 0
    reason = _refused_for_money(found, gross, is_conversion & rate.is_null().to_numpy(), columns)
    is_split = reason == SPLIT
    is_would_be = found.is_would_be & (reason == REASONS.index(Unattributed.HOLDOUT))
    paths = found.paths.only((is_split | is_would_be)[found.paths.outcome])
    weight = weights(paths, columns)
    earned, cut = split(paths, weight, outcomes, net, is_conversion, columns)
    before = _before_reversals(paths, weight, outcomes, gross, is_conversion, columns, earned, reversed_.taken)

    published_rate = _published_rate(rate, outcomes["currency"], policy.base_currency)
    ledger = _Rows(outcomes, inferences, policy.base_currency, published_rate)
    has_credit = (weight > 0) & is_split[paths.outcome]
    would_be = (weight > 0) & is_would_be[paths.outcome]
    return Ledger(
        ledger.credits(paths, has_credit, earned, before, columns),
        pl.concat(
            [
                ledger.not_split(np.flatnonzero(~is_split & ~is_would_be), reason, found, net),
                ledger.would_be(paths, would_be, earned),
                ledger.capped(cut, is_split, is_conversion, found, net),
                _unmatched(reversed_.unmatched, policy.base_currency),
            ]
        ),
    )


def _refused_for_money(found: Eligibility, gross: Measures, has_no_rate: Bools, columns: RuleColumns) -> Int64s:
    """Step 5's two reasons, after those of steps 3 and 4."""
    reason = found.reason.copy()
    paths = found.paths
    needs_amount = np.zeros(len(reason), dtype=np.bool_)
    needs_amount[paths.outcome[~columns.has_value_per_event[paths.governing]]] = True
    with_path = np.zeros(len(reason), dtype=np.bool_)
    with_path[paths.outcome] = True
    reason[with_path & needs_amount & has_no_rate] = REASONS.index(Unattributed.NO_FX_RATE)
    too_much = (gross.amount.abs() >= integer(AMOUNT_LIMIT)).fill_null(False).to_numpy()
    is_open = (reason == SPLIT) | (reason == REASONS.index(Unattributed.HOLDOUT))
    reason[with_path & too_much & is_open] = REASONS.index(Unattributed.OUT_OF_RANGE)
    return reason


def _before_reversals(
    paths: Paths,
    weight: Int64s,
    outcomes: pl.DataFrame,
    gross: Measures,
    is_conversion: Bools,
    columns: RuleColumns,
    earned: Earned,
    taken: pl.DataFrame,
) -> pl.Series:
    """Per touch the value it has when steps 5 to 8 run without the reversals."""
    reversed_outcome = np.zeros(outcomes.height, dtype=np.bool_)
    reversed_outcome[taken["outcome"].to_numpy()] = True
    touched = reversed_outcome[paths.outcome]
    if not touched.any():
        return earned.value
    again, _ = split(paths.only(touched), weight[touched], outcomes, gross, is_conversion, columns)
    return earned.value.clone().scatter(pl.Series(np.flatnonzero(touched), dtype=pl.UInt32), again.value)


def _published_rate(rate: pl.Series, currency: pl.Series, base_currency: str) -> pl.Series:
    """The rate as Decimal; null in base currency, where it is 1 by definition."""
    frame = pl.DataFrame({"rate": decimals(rate), "currency": currency})
    return frame.select(pl.when(pl.col("currency") != base_currency).then("rate")).to_series()


@dataclass(frozen=True)
class _Rows:
    """Makes ledger rows; every method gives the columns of its table."""

    outcomes: pl.DataFrame
    inferences: pl.DataFrame
    base_currency: str
    rate: pl.Series

    def credits(
        self, paths: Paths, keep: Bools, earned: Earned, before: pl.Series, columns: RuleColumns
    ) -> pl.DataFrame:
        chosen = pl.Series(np.flatnonzero(keep), dtype=pl.UInt32)
        o = pl.Series(paths.outcome[keep], dtype=pl.UInt32)
        i = pl.Series(paths.inference[keep], dtype=pl.UInt32)
        value = earned.value.gather(chosen)
        of_trace = self.outcomes["trace_id"].gather(o).is_not_null()
        via = pl.select(pl.when(of_trace).then(pl.lit("trace")).otherwise(pl.lit("inference")).cast(WORD)).to_series()
        return pl.DataFrame(
            {
                **self._of_outcome(o),
                "inference_id": self.inferences["inference_id"].gather(i),
                "inference_time": self.inferences["event_time"].gather(i),
                **{n: self.inferences[n].gather(i) for n in ("use_case", "model", "model_version", "endpoint")},
                "via": via,
                "amount": decimals(earned.amount.gather(chosen)),
                "value": decimals(value),
                "reversed_value": decimals(value - before.gather(chosen)),
                "seconds": decimals(earned.seconds.gather(chosen)),
                "rule_id": columns.rule_id.gather(pl.Series(paths.governing[keep], dtype=pl.UInt32)),
                "inference": i,
            }
        ).select(*_ledger_columns(CREDITS), "inference")

    def not_split(self, rows: Int64s, reason: Int64s, found: Eligibility, net: Measures) -> pl.DataFrame:
        """Step 9: one row for every reason but holdout."""
        o = pl.Series(rows, dtype=pl.UInt32)
        names = pl.Series([name.value for name in REASONS], dtype=WORD)
        return self._unattributed(
            o,
            use_case=self._use_cases(found.shared_use_case[rows]),
            amount=decimals(net.amount.gather(o)),
            seconds=decimals(net.own_seconds.gather(o)),
            reason=names.gather(pl.Series(reason[rows], dtype=pl.UInt32)),
        )

    def would_be(self, paths: Paths, keep: Bools, earned: Earned) -> pl.DataFrame:
        """What each holdout touch would have earned."""
        chosen = pl.Series(np.flatnonzero(keep), dtype=pl.UInt32)
        i = pl.Series(paths.inference[keep], dtype=pl.UInt32)
        return self._unattributed(
            pl.Series(paths.outcome[keep], dtype=pl.UInt32),
            inference_id=self.inferences["inference_id"].gather(i),
            use_case=self.inferences["use_case"].gather(i),
            amount=decimals(earned.amount.gather(chosen)),
            value=decimals(earned.value.gather(chosen)),
            seconds=decimals(earned.seconds.gather(chosen)),
            reason=constant(Unattributed.HOLDOUT, len(i)),
        )

    def capped(
        self, cut: Cut, is_split: Bools, is_conversion: Bools, found: Eligibility, net: Measures
    ) -> pl.DataFrame:
        """What the caps cut; amount 0 where the credits have one."""
        has_cut = (cut.value != integer(0)) | (cut.seconds != integer(0))
        is_cut = has_cut.fill_null(False).to_numpy() & is_split[cut.outcome]
        chosen = pl.Series(np.flatnonzero(is_cut), dtype=pl.UInt32)
        rows = cut.outcome[is_cut]
        o = pl.Series(rows, dtype=pl.UInt32)
        seconds = pl.DataFrame({"cut": cut.seconds.gather(chosen), "none": is_conversion[rows]})
        amount = net.amount.gather(o)
        return self._unattributed(
            o,
            use_case=self._use_cases(found.shared_use_case[rows]),
            amount=decimals(amount - amount),
            value=decimals(cut.value.gather(chosen)),
            seconds=decimals(seconds.select(pl.when(~pl.col("none")).then("cut")).to_series()),
            reason=constant(Unattributed.CAPPED, len(rows)),
        )

    def _unattributed(self, outcome: pl.Series, **columns: pl.Series) -> pl.DataFrame:
        return _filled({**self._of_outcome(outcome), **columns}, _ledger_columns(UNATTRIBUTED))

    def _of_outcome(self, outcome: pl.Series) -> dict[str, pl.Series]:
        return {
            "outcome_id": self.outcomes["event_id"].gather(outcome),
            "kind": self.outcomes["kind"].gather(outcome),
            "type": self.outcomes["type"].gather(outcome),
            "outcome_time": self.outcomes["event_time"].gather(outcome),
            "currency": constant(self.base_currency, len(outcome)),
            "fx_rate": self.rate.gather(outcome),
        }

    def _use_cases(self, inference: Int64s) -> pl.Series:
        """The use case of an inference's row, null for −1."""
        known = pl.DataFrame({"row": inference}).select(pl.when(pl.col("row") >= 0).then("row")).to_series()
        return self.inferences["use_case"].gather(known.cast(pl.UInt32))


def _unmatched(reversals: pl.DataFrame, base_currency: str) -> pl.DataFrame:
    """Step 10: a reversal that counts for no outcome is a row of its own."""
    columns = {
        "outcome_id": reversals["reverses"],
        "reversal_id": reversals["event_id"],
        "outcome_time": reversals["event_time"],
        "currency": constant(base_currency, reversals.height),
        "reason": constant(Unattributed.REVERSAL_UNMATCHED, reversals.height),
    }
    return _filled(columns, _ledger_columns(UNATTRIBUTED))


def _ledger_columns(table: dict[str, pl.DataType]) -> dict[str, pl.DataType]:
    return {name: dtype for name, dtype in table.items() if name not in ("sign", "commit_id")}


def _filled(columns: dict[str, pl.Series], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """A frame of the schema; a column that is not given is null."""
    height = len(next(iter(columns.values())))
    absent = {name: pl.Series([None], dtype=t).new_from_index(0, height) for name, t in schema.items()}
    return pl.DataFrame({**absent, **columns}, schema_overrides=schema).select(list(schema))
