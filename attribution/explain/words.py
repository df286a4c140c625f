"""The notation of an explanation: how ids, numbers and times are shown, and each reason in one sentence.

A line of arithmetic is ``name = expression = number``, or ``name = number`` where nothing is worked out.
An expression holds decimals (``-3`` is a number, `` − `` with blanks takes away), ``+ − × / ^``, brackets,
``round9`` (half-even to 9 places), ``min``, ``max`` and ``floor``, so it can be read by a person and worked
out again by a program, exactly. An id of other than plain characters stands in quotes, as in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from attribution.decimals import decimal_text
from schemas.reasons import Unattributed

_PLAIN = re.compile(r"[\w.:/@*+-]+")
_RULE_HEADER = re.compile(r"""\s*\[\[\s*(rule|"rule"|'rule')\s*\]\]""")


@dataclass(frozen=True)
class Step:
    """One line of arithmetic.

    >>> print(Step("value(i1)", "22.95", "round9(76.5 × 0.3)", "USD"))
    value(i1) = round9(76.5 × 0.3) = 22.95 USD
    """

    name: str
    result: str
    expression: str = ""
    unit: str = ""

    def __str__(self) -> str:
        middle = f" = {self.expression}" if self.expression and self.expression != self.result else ""
        return f"{self.name}{middle} = {self.result}{' ' if self.unit else ''}{self.unit}"


@dataclass(frozen=True)
class Section:
    """A part of an explanation: a title and its lines, each a text or a line of arithmetic."""

    title: str
    lines: tuple[str | Step, ...]

    def __str__(self) -> str:
        return "\n".join([self.title, *(f"  {line}".rstrip() for line in self.lines)])


def shown(text: str) -> str:
    """An id or name as it is, or in quotes with escapes where it could be misread.

    >>> shown("order-17"), shown('a = "1"')
    ('order-17', '"a = \\\\"1\\\\""')
    """
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=not text.isprintable())


def number(units: int, places: int = 9) -> str:
    """Units of 10^-places as the shortest decimal text."""
    return decimal_text(units, places)


def sums(terms: Sequence[int], places: int = 9) -> str:
    """The terms, added up."""
    return " + ".join(number(term, places) for term in terms)


def rule_lines(text: str, rule_number: int, rule_count: int) -> list[tuple[int, str]]:
    """The lines, with their numbers from 1, of the n-th [[rule]] of a rule file, without what surrounds it.

    Empty where the file is written in another way than with one ``[[rule]]`` line per rule.
    """
    lines = text.splitlines()
    starts = [position for position, line in enumerate(lines) if _RULE_HEADER.match(line)]
    if len(starts) != rule_count:
        return []
    end = starts[rule_number] if rule_number < len(starts) else len(lines)
    block = list(enumerate(lines[starts[rule_number - 1] : end], start=starts[rule_number - 1] + 1))
    while block and (not block[-1][1].strip() or block[-1][1].lstrip().startswith("#")):
        block.pop()  # a comment above the next rule speaks of that
    return block


@dataclass(frozen=True)
class Sentence:
    """Why an outcome earned no inference anything, and what would have to be different."""

    why: str
    otherwise: str


SENTENCES: dict[Unattributed, Sentence] = {
    Unattributed.NO_INFERENCE_ID: Sentence(
        "the outcome names no inference and no trace",
        "it carries inference_id, inference_ids or trace_id",
    ),
    Unattributed.NO_OPEN_INFERENCE: Sentence(
        "none of the inferences it names is both known and open at its time",
        "a named inference is in the log, and the outcome lies between its time less the longest early_tolerance "
        "and its time plus the longest lookback_window of its use case",
    ),
    Unattributed.TOO_MANY_TOUCHES: Sentence(
        "it has more touches than may share one outcome",
        "the path is no longer than max_touches of the rule that governs it (and no trace has over 10000 open "
        "inferences)",
    ),
    Unattributed.FAILED_INFERENCE: Sentence(
        "every open inference it names has the status failed",
        "an open inference has the status served",
    ),
    Unattributed.NO_RULE: Sentence(
        "no served inference had a rule in force for this kind and type of outcome and this way of naming",
        "the inference's use case has a rule for this kind and type (or *) in force at the inference's time, with "
        'join = "trace" where the outcome names a trace',
    ),
    Unattributed.NO_VALUATION: Sentence(
        "no rule in force can put a value on it",
        "the outcome carries an amount (or seconds), or the rule has value_per_event (or baseline_seconds)",
    ),
    Unattributed.OUTSIDE_WINDOW: Sentence(
        "it lies outside the window of every rule in force for it",
        "it happens between an inference's time less early_tolerance and its time plus lookback_window, both ends "
        "included",
    ),
    Unattributed.HOLDOUT: Sentence(
        "every eligible inference is in the holdout arm; the rows say what each would have earned",
        "an eligible inference is in another arm",
    ),
    Unattributed.NO_FX_RATE: Sentence(
        "its value depends on an amount for which there is no exchange rate",
        "fx.csv has a rate of its currency dated before its day and at most fx_max_age older",
    ),
    Unattributed.OUT_OF_RANGE: Sentence(
        "its gross amount in base currency is 1000000000000 or more",
        "its gross amount in base currency is below 1000000000000",
    ),
}
