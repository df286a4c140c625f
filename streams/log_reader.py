"""Event files → an event log: read, decoded and counted.

Blocks are decoded in two threads while the next ones are read; results are taken in reading order, so
nothing depends on which thread was first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl

from schemas.errors import UnavailableError
from streams.decode import Block, Decoded, Limits, decode, raw_records
from streams.digests import sha256_of
from streams.event_log import EventLog, InputFile
from streams.file_source import read_blocks, topic_files
from streams.live.file_reader import cut
from streams.settings import Settings, Topic

_THREADS = 2
_BLOCKS_AHEAD = 4

#: Called with (bytes read, bytes in all).
Progress = Callable[[int, int], None]


def read_topic_files(
    log: EventLog,
    topic: Topic,
    files: list[Path],
    limits: Limits,
    *,
    before_us: int | None = None,
    upto: Mapping[Path, int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Add the records of some files of one topic.

    before_us: leave out events at or after this time; upto: how many records of a file to read, of others all.

    Raises UnavailableError for a file that cannot be read to its end.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        digests: dict[Path, Future[str]] = {}
        records = dict.fromkeys(files, 0)
        done = 0
        for file, decoded in _decoded(pool, topic, files, limits, digests, upto or {}):
            log.add(topic.kind, topic.name, 0, decoded, before_us)
            records[file] += decoded.read
            while progress is not None and files[done] != file:
                progress(files[done].stat().st_size)
                done += 1
        for file in files:
            log.files.append(
                InputFile(topic.name, file.name, file.stat().st_size, records[file], digests[file].result())
            )
        if progress is not None:
            for file in files[done:]:
                progress(file.stat().st_size)


def _decoded(
    pool: ThreadPoolExecutor,
    topic: Topic,
    files: list[Path],
    limits: Limits,
    digests: dict[Path, Future[str]],
    upto: Mapping[Path, int],
) -> Iterator[tuple[Path, Decoded]]:
    """Decoded blocks in reading order, a few of them ahead of the one that is taken."""
    waiting: deque[tuple[Path, Future[Decoded]]] = deque()
    for file in files:
        digests[file] = pool.submit(sha256_of, file)
        for block in _first(read_blocks(file, topic.name), upto.get(file)):
            waiting.append((file, pool.submit(decode, block, topic.kind, limits, topic.mapping)))
            if len(waiting) > _BLOCKS_AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


def _first(blocks: Iterator[Block], records: int | None) -> Iterator[Block]:
    """The blocks of the first records only."""
    for block in blocks:
        if records is None:
            yield block
        elif block.first_offset < records:
            yield cut(block, records - block.first_offset)[0]


def log_files(settings: Settings, folder: Path) -> dict[str, list[Path]]:
    """The event files of each topic under ``folder``; raises UnavailableError for a missing folder."""
    if not folder.is_dir():
        raise UnavailableError(f"{folder}: no such log folder")
    return {topic.name: topic_files(folder, topic.name) for topic in settings.input.topics}


def read_log(
    log: EventLog,
    settings: Settings,
    files: dict[str, list[Path]],
    limits: Limits,
    *,
    before_us: int | None = None,
    upto: Mapping[Path, int] | None = None,
    progress: Progress | None = None,
) -> None:
    """Read every file of every topic into ``log``; see ``read_topic_files``."""
    total = sum(file.stat().st_size for of_topic in files.values() for file in of_topic)
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    for topic in settings.input.topics:
        read_topic_files(log, topic, files[topic.name], limits, before_us=before_us, upto=upto, progress=advance)


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
