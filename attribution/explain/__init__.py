"""One outcome or one inference taken apart: events, rules, weights, arithmetic, and what was published.

**Nothing is explained that was not computed:** the split of an outcome depends on that outcome, the inferences
it names, its reversals, the rules and one exchange rate alone, so the kernel that made the published rows is
run again on just these, and its own figures are shown, each with the arithmetic that leads to it.

The way of an outcome: event → reversals → rate → candidates → rules → measure → value → shares → weights →
credits → the published rows. ``attribution.explain.words`` tells how a line of arithmetic is read.
"""

from __future__ import annotations

import polars as pl

from attribution.explain import outcome
from attribution.explain.inference import inference_sections
from attribution.explain.kernel import Known, Setting, work_out
from attribution.explain.ledger import Published, PublishedInference, row_lines
from attribution.explain.words import Section
from attribution.explain.working import arithmetic

__all__ = [
    "Known",
    "Published",
    "PublishedInference",
    "Section",
    "Setting",
    "explain_inference",
    "explain_outcome",
    "explain_unknown_outcome",
]


def explain_outcome(known: Known, published: Published, setting: Setting) -> list[Section]:
    """known: one outcome, every inference it names, every reversal of it; published: the outcome's ledger rows."""
    work = work_out(known, setting)
    return [
        outcome.event(work),
        outcome.reversals(work),
        outcome.exchange_rate(work),
        outcome.all_candidates(work),
        *outcome.rules(work),
        *arithmetic(work),
        outcome.result(work),
        outcome.published_rows(work, published),
    ]


def explain_unknown_outcome(outcome_id: str, reversals: pl.DataFrame, published: Published) -> list[Section]:
    """An outcome that is known only from reversals of it."""
    lines = [line for row in published.rows() for line in row_lines(row)]
    return [outcome.unknown_outcome(outcome_id, reversals), Section("Published", tuple(lines or ["no row"]))]


def explain_inference(
    inference_id: str, known: Known, published: PublishedInference, setting: Setting
) -> list[Section]:
    """known: the inference, every outcome that names it, all inferences these name, all their reversals."""
    return inference_sections(inference_id, known, published, setting)
