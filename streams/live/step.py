"""One batch of events against what is known: what is new in state, and every row that is published for it.

The order matters: too late → copies → what outcomes name → reversals → what is worked out again → what is earned →
what settles. *Before* is what earlier commits know, *after* that and the batch; both go through the same function
of the outcomes concerned, and the difference is published.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from attribution.increment import difference
from attribution.retention import Retention
from schemas.events import Kind
from streams.live.arrivals import Arrivals, take_in
from streams.live.families import EXPIRY, INFERENCES, OUTCOMES, SCORES, SUMS, WAITS
from streams.live.ledgers import Ledgers
from streams.live.moment import Moment
from streams.live.reworking import Concerned, concerned, reworked
from streams.live.settling import changed_rows, earned, settled_rows
from streams.live.state import Facts, State
from streams.live.touching import copied, gained_by, named_by


@dataclass(frozen=True)
class Stepped:
    """arrivals: the events accepted and refused; facts: to be added to state; credits, unattributed, attributed:
    signed rows to be published, without ``commit_id``."""

    arrivals: Arrivals
    facts: Facts
    credits: pl.DataFrame
    unattributed: pl.DataFrame
    attributed: pl.DataFrame


def step(events: dict[Kind, pl.DataFrame], moment: Moment, state: State, retention: Retention) -> Stepped:
    """events: valid, in time in their own partition, in reading order, by kind; canonical and source columns."""
    arrivals = take_in(events, state, retention)
    new = copied(arrivals.inferences)
    named = named_by(arrivals.outcomes, new, state, retention)
    gained = gained_by(new, state, retention)
    of_concern = concerned(arrivals, named, gained, moment, state)
    ledgers = reworked(of_concern, moment, state)
    credits_, unattributed = _difference(ledgers)

    more = earned(credits_)
    settled_before = state.watermark_us
    has_settled = pl.repeat(value=False, n=more.height, eager=True)
    if settled_before is not None:
        has_settled = more[EXPIRY] < settled_before
    sums = more.filter(~has_settled)
    base_currency = moment.after.policy.base_currency
    attributed = pl.concat(
        [
            settled_rows(new, sums, moment.watermark_us, base_currency, state),
            changed_rows(more.filter(has_settled), base_currency, state),
        ]
    )
    facts = _facts(arrivals, of_concern) | {SUMS.name: sums.select(list(SUMS.columns))}
    return Stepped(arrivals, _lasting(facts, moment.watermark_us), credits_, unattributed, attributed)


def _difference(sides: Iterable[tuple[Ledgers, Ledgers]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    changes = [
        (
            difference("credits", before.credits, after.credits),
            difference("unattributed", before.unattributed, after.unattributed),
        )
        for before, after in sides
    ]
    return pl.concat([credits_ for credits_, _ in changes]), pl.concat([rows for _, rows in changes])


def _facts(arrivals: Arrivals, of_concern: Concerned) -> Facts:
    inferences = arrivals.inferences.with_columns(pl.col("event_time").to_physical().alias("event_time_us"))
    outcomes = arrivals.outcomes.with_columns(
        pl.col("event_time").to_physical().alias("event_time_us"),
        pl.when(pl.col("number").is_in(of_concern.waiting.implode())).then("due_us").alias("due_us"),
    )
    waiting = outcomes.filter(pl.col("due_us").is_not_null())
    scores = {SCORES.name: arrivals.scores.select(list(SCORES.columns))} if arrivals.scores.height else {}
    return {
        INFERENCES.name: inferences.select(list(INFERENCES.columns)),
        OUTCOMES.name: outcomes.select(list(OUTCOMES.columns)),
        WAITS.name: waiting.select(
            pl.col("due_us").alias(EXPIRY),
            pl.col("id_hash").alias("outcome_hash"),
            pl.col("number").alias("outcome_number"),
        ),
        **scores,
        **of_concern.facts,
    }


def _lasting(facts: Facts, watermark_us: int | None) -> Facts:
    """Without rows that the watermark passes in this very commit, and without empty frames."""
    if watermark_us is not None:
        facts = {name: rows.filter(rows[EXPIRY] >= watermark_us) for name, rows in facts.items()}
    return {name: rows for name, rows in facts.items() if rows.height}
