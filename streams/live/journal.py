"""What a running engine says: one line per commit, start, stop and warning, never one per record.

A terminal gets text, everything else JSON Lines for whatever collects logs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO

import msgspec

#: Takes (event, level, fields).
Journal = Callable[..., None]


def journal(stream: IO[str] | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Journal:
    """A journal that writes to a stream (stderr). Call it with an event, ``level`` and further fields."""
    target = stream or sys.stderr

    def write(event: str, *, level: str = "info", **fields: object) -> None:
        # Who reads may go away: that is no reason to stop.
        with suppress(OSError, ValueError):
            emit(event, level, fields)

    def emit(event: str, level: str, fields: dict[str, object]) -> None:
        at = now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if target.isatty():
            shown = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
            print(f"{at} {level} {event} {shown}".rstrip(), file=target, flush=True)
        else:
            line = msgspec.json.encode({"at": at, "level": level, "event": event, **fields}).decode()
            print(line, file=target, flush=True)

    return write


def silent(event: str, *, level: str = "info", **fields: object) -> None:
    """A journal for tests and callers that want none."""
