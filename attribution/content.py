"""A digest of an event's content: equal content, equal digest, in every process and on every machine.

It stands in for the content of events that are kept to tell copies from conflicts: 8 bytes instead of a row.
Two different contents of one id have one digest with probability 2⁻⁶⁴. polars' own row hash is no use here:
it is another one in each process.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from attribution.match import hashed
from attribution.words import by_word
from schemas.events import WORD

Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]

_NULL = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def content_digest(events: pl.DataFrame, columns: list[str]) -> Hashes:
    """One UInt64 per row over the columns in the order given; a null is a content of its own."""
    digest = np.zeros(events.height, dtype=np.uint64)
    for name in columns:
        column = events[name]
        # A null must count alike whether the others in its column are null or not.
        nothing = [_NULL] * (2 if isinstance(column.dtype, pl.Decimal) else 1)
        for part in _parts(column) if column.null_count() < events.height else nothing:
            digest = _mixed(digest ^ part)
    return digest


def mixed_numbers(numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Hashes:
    """A well-spread key for each whole number: SplitMix64's finaliser, which maps no two numbers to one key.

    Source: Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    """
    return _mixed(numbers.astype(np.uint64))


def _parts(column: pl.Series) -> list[Hashes]:
    """The column as one or two columns of hashes, nulls as a hash of their own."""
    if column.dtype == pl.List(pl.String):
        return [_of_lists(column)]
    if column.dtype == WORD:
        return [by_word(column, lambda texts: hashed(texts).to_numpy(), _NULL)]
    if column.dtype == pl.String:
        return [hashed(column).fill_null(int(_NULL)).to_numpy()]
    is_null = column.is_null().to_numpy()
    if isinstance(column.dtype, pl.Decimal):
        parts = _of_decimals(column)
    else:
        parts = [column.to_physical().cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64)]
    return [np.where(is_null, _NULL, _mixed(part)) for part in parts]


def _of_lists(column: pl.Series) -> Hashes:
    """Lists are sorted and hold no repeats (canonical form), so the sum of their items' hashes tells them apart."""
    lengths = column.list.len().fill_null(0).to_numpy().astype(np.int64)
    items = column.drop_nulls().list.explode(keep_nulls=False, empty_as_null=False)
    running = np.zeros(len(items) + 1, dtype=np.uint64)
    np.cumsum(_mixed(hashed(items).to_numpy()), out=running[1:])
    ends = np.cumsum(lengths)
    sums = running[ends] - running[ends - lengths] + lengths.astype(np.uint64)
    return np.where(column.is_null().to_numpy(), _NULL, sums)


def _of_decimals(column: pl.Series) -> list[Hashes]:
    """The two 64-bit halves of each 128-bit number."""
    array = column.fill_null(0).rechunk().to_arrow()
    halves = np.frombuffer(array.buffers()[1], dtype=np.uint64)[2 * array.offset :][: 2 * len(array)].reshape(-1, 2)
    return [halves[:, 0], halves[:, 1]]


def _mixed(bits: Hashes) -> Hashes:
    bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
    bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
    return bits ^ (bits >> np.uint64(31))
