"""What became of records; counts that must sum."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """The records of one topic and partition: read = the sum of the other four.

    Until deduplication, accepted counts all valid events, copies too.
    """

    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    ignored: int = 0
