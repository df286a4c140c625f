"""What a statistic may be in a row, why it may be unknown, and how an estimate is written.

``Fraction`` and ``int`` are exact; a ``float`` is an estimate and prints to six significant digits, which is the
printer's work (``significant``). None has its reason beside it in ``FIGURE_reason``.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context
from enum import StrEnum
from fractions import Fraction

#: Digits that an estimate is printed with.
DIGITS = 6

Cell = Fraction | float | int | str | None
Cells = dict[str, Cell]


class Reason(StrEnum):
    """Why a statistic is unknown, or (``heavy_tail``) not to be relied on."""

    NO_REQUESTS = "no_requests"
    TOO_FEW = "too_few"
    UNBOUNDED = "unbounded"
    IMMATURE = "immature"
    HEAVY_TAIL = "heavy_tail"
    NO_EVIDENCE = "no_evidence"
    HOLDOUT_NOT_OBSERVED = "holdout_not_observed"
    NO_TRADE_OFF = "no_trade_off"


def known_or(name: str, figure: Cell, reason: str | None) -> Cells:
    """The figure, or None beside the reason why it is unknown."""
    return {name: figure} if reason is None else {name: None, f"{name}_reason": str(reason)}


def significant(number: Fraction | float, digits: int = DIGITS) -> str:
    """The number rounded half-even to so many significant digits, without exponent or trailing zeros.

    >>> significant(0.16666666), significant(Fraction(-1234567, 1)), significant(0.0000000123456789), significant(0.0)
    ('0.166667', '-1234570', '0.0000000123457', '0')
    """
    exact = Fraction(number)
    context = Context(prec=digits, rounding=ROUND_HALF_EVEN)
    rounded = context.divide(exact.numerator, exact.denominator)
    text = f"{rounded:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
