"""Different texts with one XXH64, made on purpose.

Of 16 bytes XXH64 (seed 0) mixes in two words, one after the other, each step one to one. So for any other first word
there is a second one that leads to the same hash; of those the ones are taken that are printable ASCII.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

_MASK = 2**64 - 1
_P1, _P2, _P4, _P5 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_PRINTABLE = range(0x20, 0x7F)


def _rotated(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (64 - bits))) & _MASK


def _mixed(word: int) -> int:
    return _rotated(word * _P2 & _MASK, 31) * _P1 & _MASK


def _unmixed(mixed: int) -> int:
    word = mixed * pow(_P1, -1, 2**64) & _MASK
    return _rotated(word, 33) * pow(_P2, -1, 2**64) & _MASK


def _after(first: int) -> int:
    """The state after the first word of 16 bytes."""
    return (_rotated((_P5 + 16) ^ _mixed(first), 27) * _P1 + _P4) & _MASK


def forged_pairs(seed: int) -> Iterator[tuple[str, str]]:
    """Pairs of different texts of 16 characters with one XXH64."""
    rng = Random(seed)
    while True:
        texts = [bytes(rng.choices(_PRINTABLE, k=8)) for _ in range(3)]
        one, other, second = (int.from_bytes(text, "little") for text in texts)
        forged = _unmixed(_after(other) ^ _after(one) ^ _mixed(second)).to_bytes(8, "little")
        if one != other and all(byte in _PRINTABLE for byte in forged):
            yield (texts[0] + texts[2]).decode(), (texts[1] + forged).decode()
