"""Dividing an amount so that the parts always sum to it: cumulative rounding, in whole numbers.

Part k of a total is what the first k parts get, rounded half-even, less what the first k − 1 get. Ten by three equal
weights, in whole units::

    round(10/3), round(20/3), round(30/3) = 3, 7, 10   →   3, 4, 3
"""

from __future__ import annotations

import polars as pl

from attribution.money import INT, integer

#: With weights that sum to less than this, every product below fits 128 bits.
WHOLE_LIMIT = 10**16
#: Sums are made in two halves: one of 128 bits could wrap.
_HALF = 10**18


def weighted_shares(total: int, weights: pl.Series, whole: int, before: int = 0) -> pl.Series:
    """The parts of rows with these weights (Int128, none negative); ``before``: the weights of the rows before them.

    whole: the sum of all rows' weights, above 0 and below WHOLE_LIMIT.
    """
    assert 0 < whole < WHOLE_LIMIT, whole
    upto = proportion(integer(total), weights.cum_sum() + integer(before), integer(whole))
    return upto - upto.shift(1, fill_value=rounded_share(total, before, whole))


def even_shares(total: int, rows: int, whole: int, before: int = 0) -> pl.Series:
    """The parts of ``rows`` rows of weight 1; ``before``: how many stand before them, ``whole``: how many there are."""
    return weighted_shares(total, integer(1).new_from_index(0, rows), whole, before)


def proportion(total: pl.Series, part: pl.Series, whole: pl.Series) -> pl.Series:
    """total × part / whole, rounded half-even; whole > 0.

    The total is taken apart into q × whole + r, so that no product passes 128 bits where r × part and q × part do not.
    """
    quotient = total // whole
    product = (total - quotient * whole) * part
    floor = product // whole
    twice = (product - floor * whole) * integer(2)
    below = quotient * part + floor
    is_odd = (below % integer(2)) == integer(1)
    rounds_up = (twice > whole) | ((twice == whole) & is_odd)
    return below + rounds_up.cast(INT)


def exact_sum(column: pl.Series) -> int:
    """The sum of a column of Int128, however large; a null counts 0."""
    half = integer(_HALF)
    return int((column // half).sum()) * _HALF + int((column % half).sum())


def rounded_share(total: int, part: int, whole: int) -> int:
    """total × part / whole, rounded half-even.

    >>> rounded_share(10, 1, 4), rounded_share(-10, 1, 4), rounded_share(14, 1, 4)
    (2, -2, 4)
    """
    floor, rest = divmod(total * part, whole)
    return floor + (2 * rest > whole or (2 * rest == whole and floor % 2 == 1))
