"""Where the records of a block of JSON Lines lie: lines that are not blank, without their line end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from streams.columns import Booleans, Bytes, Longs

_LINE_FEED, _CARRIAGE_RETURN, _SPACE = 0x0A, 0x0D, 0x20
_BLANKS = b" \t\r\n"
_OPENING, _CASE_BIT = ord("{"), 0x20  # "[" and "{" differ in this bit alone
#: Scans go through a block in pieces that stay in the processor's cache: half the time of one pass.
_SCAN_BYTES = 1 << 17


@dataclass
class Lines:
    """The records of a block by number; found on first use, since most blocks never need them."""

    data: bytes

    @cached_property
    def bounds(self) -> tuple[Longs, Longs]:
        """(start, end) of each record."""
        octets = np.frombuffer(self.data, dtype=np.uint8)
        feeds = _positions(octets, _is_line_feed)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), feeds + 1])
        ends = np.concatenate([feeds, np.array([len(octets)], dtype=np.int64)])
        if not len(octets) or octets[-1] == _LINE_FEED:
            starts, ends = starts[:-1], ends[:-1]
        if not len(starts):
            return starts, ends
        blank = octets[starts] <= _SPACE
        for line in np.flatnonzero(blank):  # only lines that begin with a blank: as a rule there are none
            blank[line] = not self.data[starts[line] : ends[line]].strip(_BLANKS)
        if blank.any():
            starts, ends = starts[~blank], ends[~blank]
        return starts, ends - (octets[ends - 1] == _CARRIAGE_RETURN)

    def __len__(self) -> int:
        return len(self.bounds[0])

    def __getitem__(self, record: int) -> bytes:
        starts, ends = self.bounds
        return self.data[starts[record] : ends[record]]

    def take(self, records: Longs) -> list[bytes]:
        return [self[record] for record in records.tolist()]

    def holding(self, positions: Longs) -> Longs:
        """The records that hold these byte positions, in order, each once."""
        return np.unique(np.searchsorted(self.bounds[0], positions, side="right") - 1)

    def with_brackets(self, least: int) -> Longs:
        """The records with at least so many ``{`` and ``[``, in strings or out of them.

        Shown to be none, as a rule, without looking at lines: the block's brackets are taken in runs of half
        as many, and a record with enough of them would hold a whole run, without a line end in it.
        """
        octets = np.frombuffer(self.data, dtype=np.uint8)
        brackets = _positions(octets, _is_opening)
        run = least // 2
        corners = brackets[::run].tolist()
        # One search per run of brackets, not per record.
        if all(self.data.find(b"\n", *span) >= 0 for span in pairwise(corners)):
            return np.zeros(0, dtype=np.int64)
        owners = np.searchsorted(self.bounds[0], brackets, side="right") - 1
        return np.flatnonzero(np.bincount(owners, minlength=len(self)) >= least)


def count_records(data: bytes) -> int:
    """Number of lines that are not blank."""
    return len(Lines(data))


def may_exceed(data: bytes, size: int) -> bool:
    """False when no line is longer than ``size`` bytes, shown in strides: every stretch of that length ends one."""
    start = 0
    while len(data) - start > size:
        start = data.rfind(b"\n", start, start + size + 1) + 1
        if not start:
            return True
    return False


def count_brackets(data: bytes) -> int:
    """Number of ``{`` and ``[``."""
    octets = np.frombuffer(data, dtype=np.uint8)
    pieces = range(0, len(octets), _SCAN_BYTES)
    return sum(int(np.count_nonzero(_is_opening(octets[start : start + _SCAN_BYTES]))) for start in pieces)


def _is_line_feed(octets: Bytes) -> Booleans:
    found: Booleans = octets == _LINE_FEED
    return found


def _is_opening(octets: Bytes) -> Booleans:
    found: Booleans = (octets | _CASE_BIT) == _OPENING
    return found


def _positions(octets: Bytes, test: Callable[[Bytes], Booleans]) -> Longs:
    pieces = range(0, len(octets), _SCAN_BYTES)
    found = [np.flatnonzero(test(octets[start : start + _SCAN_BYTES])) + start for start in pieces]
    return np.concatenate([np.zeros(0, dtype=np.int64), *found])
