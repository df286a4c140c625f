"""A Bloom filter over 64-bit hashes: most segments are known not to hold a key without touching the disk.

Each key sets a few bits of one 64-bit word. The word follows from the hash's high bits, so keys in order of hash ask
words in order, and a filter is built in one pass. Source: Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient
Bloom Filters, WEA 2007.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]

_BITS_PER_KEY = 12
_BITS_SET = 5
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Filter:
    """Never denies a key that it holds; admits about one in a hundred that it does not."""

    words: Hashes

    @staticmethod
    def of(hashes: Hashes) -> Filter:
        """hashes: ascending."""
        words = np.zeros(max(1, -(-len(hashes) * _BITS_PER_KEY // 64)), dtype=np.uint64)
        if len(hashes):
            at = _word_of(hashes, len(words))
            starts = np.flatnonzero(np.concatenate(([True], at[1:] != at[:-1])))
            words[at[starts]] = np.bitwise_or.reduceat(bits_of(hashes), starts)
        return Filter(words)

    def may_hold(self, hashes: Hashes, bits: Hashes) -> Bools:
        """bits: ``bits_of`` the hashes, worked out once for all filters that are asked."""
        found: Bools = (self.words[_word_of(hashes, len(self.words))] & bits) == bits
        return found


def bits_of(hashes: Hashes) -> Hashes:
    """The bits that each key sets in its word, from the hash's low 30 bits."""
    bits = np.zeros(len(hashes), dtype=np.uint64)
    for number in range(_BITS_SET):
        bits |= np.uint64(1) << ((hashes >> np.uint64(6 * number)) & np.uint64(63))
    return bits


def _word_of(hashes: Hashes, words: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The high half of each hash scaled to the number of words: ascending hashes give ascending words."""
    return (((hashes >> _HALF) * np.uint64(words)) >> _HALF).astype(np.int64)
