"""Exact decimals: text to whole units and back, never through floating point.

``"0.32"`` with 9 places is 320,000,000 units of 10⁻⁹. A text with more places than asked for is
refused, not rounded: what somebody wrote into a rule is what counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Digits, and a point with digits after it: no sign, no exponent, no blank, no bare point.
GRAMMAR = r"[0-9]+(\.[0-9]+)?"
#: More digits before the point than any bound of the contract; keeps the conversion cheap.
_WHOLE_DIGITS_MAX = 30


def units(text: str, places: int) -> int:
    """The number as whole units of 10^-places.

    Raises ValueError if the text is no such decimal or has more places.

    >>> units("19.99", 9)
    19990000000
    """
    if not re.fullmatch(GRAMMAR, text):
        raise ValueError(f'expected digits such as "0.32", got "{text}"')
    whole, _, fraction = text.partition(".")
    if len(fraction) > places:
        raise ValueError(f'expected at most {places} decimal places, got "{text}"')
    if len(whole.lstrip("0")) > _WHOLE_DIGITS_MAX:
        raise ValueError(f"expected at most {_WHOLE_DIGITS_MAX} digits before the point, got {len(whole)}")
    return int(whole.lstrip("0") + fraction.ljust(places, "0") or "0")


def decimal_text(number: int, places: int) -> str:
    """The shortest decimal text of a number of units; the inverse of ``units``.

    >>> decimal_text(320_000_000, 9), decimal_text(-5, 0)
    ('0.32', '-5')
    """
    whole, fraction = divmod(abs(number), 10**places)
    digits = str(fraction).rjust(places, "0").rstrip("0") if fraction else ""
    return f"{'-' if number < 0 else ''}{whole}{'.' if digits else ''}{digits}"


@dataclass(frozen=True)
class Bounds:
    """What a decimal setting may be: a text from 0 (above it, if ``positive``) to below ``high``.

    high: in whole numbers; exclusive unless ``including``. An integer will do too where ``integers``.
    """

    places: int = 9
    high: int = 10**6
    positive: bool = False
    including: bool = False
    integers: bool = False

    @property
    def expected(self) -> str:
        """The bounds in the words of a message."""
        what = "an integer, or a decimal" if self.integers else "a decimal"
        low = "above 0" if self.positive else "0 or more"
        high = f"at most {self.high}" if self.including else f"below {self.high}"
        return f'{what} in quotes such as "0.5", {low} and {high}, with at most {self.places} places'

    def units(self, value: object) -> int | None:
        """The value in units of 10^-places, or None if it is not within the bounds."""
        number: int | None = None
        if isinstance(value, str):
            try:
                number = units(value, self.places)
            except ValueError:
                return None
        elif self.integers and isinstance(value, int) and not isinstance(value, bool):
            number = value * 10**self.places
        high = self.high * 10**self.places + (1 if self.including else 0)
        return number if number is not None and (1 if self.positive else 0) <= number < high else None
