"""Which outcomes a batch concerns, and their ledgers before and after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from attribution.content import mixed_numbers
from attribution.measure import rates
from schemas.events import TIME
from streams.live.arrivals import Arrivals
from streams.live.families import EXPIRY, RESOLVED, REVERSALS, TOUCHES, WAITS, WANTS
from streams.live.ledgers import (
    KERNEL_OUTCOME,
    Ledgers,
    kept_outcomes,
    kept_reversals,
    ledgers,
    no_ledgers,
)
from streams.live.moment import Moment
from streams.live.reversing import Reversals, is_resolved, reversals_of
from streams.live.state import Facts, State
from streams.live.touching import Gained, Named, touches_of

#: Outcomes worked out at a time: bounds memory where a corrected rate concerns a whole day.
_OUTCOMES_PER_SLICE = 100_000


@dataclass(frozen=True)
class Concerned:
    """resolved: new outcomes (KERNEL_OUTCOME) that need not wait; waiting: the numbers of those that do; kept: rows of
    kept outcomes with ``was_resolved`` and ``is_resolved``; new_touches: facts of this batch; facts: to be added."""

    resolved: pl.DataFrame
    waiting: pl.Series
    kept: pl.DataFrame
    new_touches: pl.DataFrame
    reversals: Reversals
    facts: Facts


def concerned(arrivals: Arrivals, named: Named, gained: Gained, moment: Moment, state: State) -> Concerned:
    kept = _kept(arrivals, gained, moment, state)
    reversals = reversals_of(arrivals, kept, state, moment.watermark_us, resolve_all=moment.resolve_all)
    waits = arrivals.outcomes["number"].is_in(named.missing.implode()) & ~_is_due(arrivals.outcomes["due_us"], moment)
    new_touches = pl.concat([named.touches, gained.touches])
    newly = kept.filter(pl.col("is_resolved") & ~pl.col("was_resolved")).select(
        "number", pl.col("due_us").alias(EXPIRY)
    )
    unmatched = reversals.unmatched.select("number", EXPIRY)
    early = pl.concat([newly, unmatched]) if moment.resolve_all else newly
    facts = {
        TOUCHES.name: new_touches,
        WANTS.name: named.wants,
        REVERSALS.name: reversals.facts(arrivals),
        RESOLVED.name: early.select(
            pl.Series("outcome_key", mixed_numbers(early["number"].to_numpy())),
            EXPIRY,
            pl.col("number").alias("outcome_number"),
        ),
    }
    return Concerned(
        arrivals.outcomes.filter(~waits).select(list(KERNEL_OUTCOME)),
        arrivals.outcomes["number"].filter(waits),
        kept,
        new_touches,
        reversals,
        facts,
    )


def _is_due(due_us: pl.Series, moment: Moment) -> pl.Series:
    """Waited long enough; a null (nothing to wait for) gives true."""
    if moment.resolve_all:
        return pl.repeat(value=True, n=len(due_us), eager=True)
    passed = due_us < moment.watermark_us if moment.watermark_us is not None else due_us.is_null()
    return passed.fill_null(value=True)


def _kept(arrivals: Arrivals, gained: Gained, moment: Moment, state: State) -> pl.DataFrame:
    """Rows of kept outcomes that gained a touch, are reversed, changed their rate or need not wait any longer."""
    columns = ["outcome_hash", "outcome_number"]
    old = arrivals.reversals.filter("is_outcome_known").join(
        arrivals.outcomes.select("number"), left_on="outcome_number", right_on="number", how="anti"
    )
    touched = [gained.outcomes, old.select(pl.col("reverses_hash").alias("outcome_hash"), "outcome_number")]
    if moment.resolve_all or moment.watermark_us is not None:
        touched.append(state.expiring(WAITS, None if moment.resolve_all else moment.watermark_us, columns))
    if moment.before is not moment.after:
        touched.append(_rate_changed(moment, state))
    asked = pl.concat([frame.select(columns) for frame in touched]).unique()
    rows = state.outcome_rows(asked["outcome_hash"], asked["outcome_number"])
    was = rows["due_us"].is_null() | is_resolved(rows["number"], state)
    if state.watermark_us is not None:
        was |= rows["due_us"].fill_null(0) < state.watermark_us
    rows = rows.with_columns(was.alias("was_resolved"))
    now = was | _is_due(rows["due_us"], moment) | _is_complete(rows, gained, state)
    return rows.with_columns(now.alias("is_resolved"))


def _is_complete(rows: pl.DataFrame, gained: Gained, state: State) -> pl.Series:
    """Outcomes that wait and whose named inferences have now all been seen (a trace may always grow)."""
    is_candidate = ~pl.col("was_resolved") & pl.col("trace_id").is_null()
    candidates = rows.filter(is_candidate & pl.col("number").is_in(gained.touches["outcome_number"].implode()))
    named = candidates.select(pl.col("number").alias("outcome_number"), pl.col("inference_ids").alias("inference_id"))
    named = named.explode("inference_id", empty_as_null=False, keep_nulls=False)
    seen = [frame.select(named.columns) for frame in (touches_of(candidates["number"], state), gained.touches)]
    missing = named.join(pl.concat(seen), on=named.columns, how="anti")["outcome_number"]
    complete = candidates["number"].filter(~candidates["number"].is_in(missing.implode()))
    return rows["number"].is_in(complete.implode())


def _rate_changed(moment: Moment, state: State) -> pl.DataFrame:
    """The kept outcomes whose exchange rate is another one now."""
    before, after = moment.before.policy, moment.after.policy
    changed = pl.concat(
        [
            before.fx.join(after.fx, on=before.fx.columns, how="anti"),
            after.fx.join(before.fx, on=before.fx.columns, how="anti"),
        ]
    )["currency"].unique()
    rows = state.outcomes_with(state.outcome_profiles.numbers_where("currency", changed))
    words = state.outcome_profiles.words(rows["profile"])
    asked = pl.DataFrame({"currency": words["currency"], "event_time": rows["event_time_us"].cast(TIME)})
    age = after.fx_max_age_days
    old, new = (rates(asked, policy.fx, policy.base_currency, age) for policy in (before, after))
    return rows.filter(old.ne_missing(new)).select(
        pl.col("id_hash").alias("outcome_hash"), pl.col("number").alias("outcome_number")
    )


def reworked(of: Concerned, moment: Moment, state: State) -> Iterator[tuple[Ledgers, Ledgers]]:
    """The ledgers before and after, in slices of outcomes."""
    loose_before = kept_reversals(of.reversals.withdrawn)
    loose_after = kept_reversals(of.reversals.unmatched)
    new = of.resolved
    for first in range(0, max(of.kept.height, 1), _OUTCOMES_PER_SLICE):
        kept = of.kept.slice(first, _OUTCOMES_PER_SLICE)
        earlier = touches_of(kept["number"], state)
        was, now = (kept.filter(name) for name in ("was_resolved", "is_resolved"))
        before = no_ledgers()
        if was.height or loose_before.height:
            of_was = of.reversals.earlier.filter(pl.col("outcome_number").is_in(was["number"].implode()))
            reversals = pl.concat([kept_reversals(of_was), loose_before])
            before = ledgers(kept_outcomes(was, state), earlier, reversals, moment.before, state)
        outcomes = pl.concat([kept_outcomes(now, state), new])
        touches = pl.concat([earlier, of.new_touches.select(earlier.columns)])
        known = pl.concat([of.reversals.earlier, of.reversals.claimed, of.reversals.new])
        of_now = known.filter(pl.col("outcome_number").is_in(outcomes["number"].implode()))
        after = ledgers(outcomes, touches, pl.concat([kept_reversals(of_now), loose_after]), moment.after, state)
        yield before, after
        new, loose_before, loose_after = new.clear(), loose_before.clear(), loose_after.clear()
