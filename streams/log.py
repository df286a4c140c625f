"""What a log is to whoever reads all of it: event files, an archive, or what Kafka still holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import polars as pl

from streams.decode import Decoded
from streams.event_log import EventLog
from streams.live.file_reader import InputFile
from streams.settings import Topic

#: Called with how many bytes more have been read.
Advance = Callable[[int], None]

_BLOCKS_AHEAD = 4
_Label = TypeVar("_Label")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Taken:
    """Successive records of one partition. next_offset: where Kafka is read on after them."""

    topic: Topic
    partition: int
    decoded: Decoded
    next_offset: int | None


class Log(Protocol):
    """has_commits: its events have ``commit_id``: in which commit they were read first; finished: after ``steps``, the
    (topic, file) that a live engine need not read again."""

    has_commits: bool
    finished: list[tuple[str, InputFile]]

    def paths(self) -> Iterable[Path]:
        """The files that are read."""

    def read(self, events: EventLog, before_us: int | None, advance: Advance) -> None:
        """Add every record; before_us: without events at or after this time. Raises UnavailableError."""

    def described(self) -> list[dict[str, Any]]:
        """What was read, with ranges and digests."""

    def records_at(self, topic: str, rows: pl.DataFrame) -> pl.DataFrame:
        """``record_key`` and ``record_value`` of records by their source columns, in the order of ``rows``."""

    def steps(self) -> Iterator[list[Taken]]:
        """Every record once more, in steps of bounded size: of two events with one id the one that counts comes in an
        earlier step, or both come in one."""


def ahead(
    pool: Executor, items: Iterable[tuple[_Label, _Item]], work: Callable[[_Item], _Result]
) -> Iterator[tuple[_Label, _Result]]:
    """What the work makes of each item, in order; a few are worked on before the first is taken."""
    waiting: deque[tuple[_Label, Future[_Result]]] = deque()
    for label, item in items:
        waiting.append((label, pool.submit(work, item)))
        if len(waiting) > _BLOCKS_AHEAD:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()
