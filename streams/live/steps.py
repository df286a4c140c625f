"""The numbered steps of commits, rolls and recoveries, told to whoever watches: the tests that kill them there."""

from __future__ import annotations

from collections.abc import Callable

#: Called with a step's name right after it was done.
observers: list[Callable[[str], None]] = []


def reached(step: str) -> None:
    for observer in observers:
        observer(step)
