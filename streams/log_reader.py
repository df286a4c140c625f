"""A log of event files → canonical frames, dead letters and counts.

Blocks are decoded in two threads while the next ones are read; results are taken in reading order, so
nothing depends on which thread was first.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from schemas.errors import UnavailableError
from schemas.events import SOURCE_COLUMNS, Kind, canonical_columns
from schemas.outputs import DEAD_LETTERS
from streams.decode import Decoded, Limits, decode, raw_records
from streams.file_source import read_blocks, topic_files
from streams.settings import Settings, Topic

_THREADS = 2
_BLOCKS_AHEAD = 4

#: Called with (bytes read, bytes in all).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class InputFile:
    """One file of the log as it was read."""

    topic: str
    name: str
    bytes: int
    records: int
    sha256: str


@dataclass
class Counts:
    """What became of the records of one topic and partition: read = the sum of the other four."""

    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    ignored: int = 0


@dataclass
class Log:
    """Valid events by kind (copies included), refused records, counts; grows file by file.

    counts: accepted counts valid events until ``drop_copies`` knows which of them are copies.
    """

    frames: dict[Kind, list[pl.DataFrame]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    dead_letters: list[pl.DataFrame] = field(default_factory=list)
    counts: dict[tuple[str, int], Counts] = field(default_factory=lambda: defaultdict(Counts))
    files: list[InputFile] = field(default_factory=list)

    def events(self, kind: Kind) -> pl.DataFrame:
        """All valid events of a kind so far: canonical columns and source columns."""
        schema = {**canonical_columns(kind), **SOURCE_COLUMNS}
        return pl.concat([pl.DataFrame(schema=schema), *self.frames[kind]])

    def refused(self) -> pl.DataFrame:
        schema = {name: dtype for name, dtype in DEAD_LETTERS.items() if name != "commit_id"}
        return pl.concat([pl.DataFrame(schema=schema), *self.dead_letters])

    def newest_event_time(self) -> int | None:
        """The largest event time of all valid events, in µs; None without events."""
        newest = [frame["event_time"].to_physical().max() for frames in self.frames.values() for frame in frames]
        times = [int(time) for time in newest if isinstance(time, int)]
        return max(times, default=None)

    def add(self, kind: Kind, topic: str, partition: int, decoded: Decoded, before_us: int | None) -> None:
        events = decoded.events
        if before_us is not None:
            events = events.filter(pl.col("event_time").to_physical() < before_us)
        counts = self.counts[topic, partition]
        counts.read += decoded.read - (decoded.events.height - events.height)
        counts.accepted += events.height
        counts.dead_letters += decoded.dead_letters.height
        counts.ignored += decoded.ignored
        if events.height:
            self.frames[kind].append(events)
        if decoded.dead_letters.height:
            self.dead_letters.append(decoded.dead_letters)


def read_topic_files(
    log: Log,
    topic: Topic,
    files: list[Path],
    limits: Limits,
    *,
    before_us: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Add the records of some files of one topic. before_us: leave out events at or after this time.

    Raises UnavailableError for a file that cannot be read to its end.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = [pool.submit(_sha256, file) for file in files]
        records = dict.fromkeys((file.name for file in files), 0)
        for decoded, file in _decoded(pool, topic, files, limits):
            log.add(topic.kind, topic.name, 0, decoded, before_us)
            records[file] += decoded.read
        for file, digest in zip(files, digests, strict=True):
            size = file.stat().st_size
            log.files.append(InputFile(topic.name, file.name, size, records[file.name], digest.result()))
            if progress is not None:
                progress(size)


def _decoded(
    pool: ThreadPoolExecutor, topic: Topic, files: list[Path], limits: Limits
) -> Iterator[tuple[Decoded, str]]:
    waiting: deque[tuple[Future[Decoded], str]] = deque()
    for file in files:
        for block in read_blocks(file, topic.name):
            waiting.append((pool.submit(decode, block, topic.kind, limits, topic.mapping), file.name))
            if len(waiting) > _BLOCKS_AHEAD:
                future, name = waiting.popleft()
                yield future.result(), name
    while waiting:
        future, name = waiting.popleft()
        yield future.result(), name


def read_log(
    settings: Settings, folder: Path, limits: Limits, *, before_us: int | None = None, progress: Progress | None = None
) -> Log:
    """Read every file of every topic under ``folder``."""
    if not folder.is_dir():
        raise UnavailableError(f"{folder}: no such log folder")
    log = Log()
    by_topic = {topic.name: topic_files(folder, topic.name) for topic in settings.input.topics}
    total = sum(file.stat().st_size for files in by_topic.values() for file in files)
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    for topic in settings.input.topics:
        for file in by_topic[topic.name]:
            read_topic_files(log, topic, [file], limits, before_us=before_us, progress=advance)
    return log


def records_at(folder: Path, topic: Topic, rows: pl.DataFrame, limits: Limits) -> list[bytes]:
    """The raw bytes of records by their source columns, in the order of ``rows``; each file is read once more."""
    found: dict[tuple[str, int], bytes] = {}
    for (name,), wanted in rows.group_by("source_file"):
        offsets = np.sort(wanted["source_offset"].to_numpy())
        for block in read_blocks(folder / topic.name / str(name), topic.name):
            here = offsets[(offsets >= block.first_offset)] - block.first_offset
            for offset, raw in raw_records(block, topic.kind, limits, here):
                found[str(name), offset + block.first_offset] = raw
    names, numbers = rows["source_file"].cast(pl.String), rows["source_offset"]
    return [found[name, number] for name, number in zip(names, numbers, strict=True)]


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UnavailableError(f"{file}: cannot be read: {error.strerror or error}") from error
