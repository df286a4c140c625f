"""A log of event files, read whole: decoded and counted.

Blocks are decoded in two threads while the next ones are read; results are taken in reading order, so
nothing depends on which thread was first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas.errors import UnavailableError
from streams.decode import Block, Decoded, Limits, admitted, decode, raw_records
from streams.digests import sha256_of
from streams.event_log import EventLog, InputFile
from streams.file_source import read_blocks, topic_files
from streams.live.file_reader import FileReader, cut
from streams.live.file_reader import InputFile as FinishedFile
from streams.log import Advance, Taken, ahead
from streams.settings import Settings, Topic

_THREADS = 2
_STEP_RECORDS = 250_000


@dataclass
class FileLog:
    """The event files of each topic under ``folder``.

    files: by topic, in the order in which they are read; upto: how many records of a file to read, of others all.
    """

    folder: Path
    topics: Sequence[Topic]
    files: dict[str, list[Path]]
    limits: Limits
    upto: Mapping[Path, int] = field(default_factory=dict)
    read_files: list[InputFile] = field(default_factory=list)
    finished: list[tuple[str, FinishedFile]] = field(default_factory=list)

    has_commits = False

    def paths(self) -> Iterator[Path]:
        for of_topic in self.files.values():
            yield from of_topic

    def read(self, events: EventLog, before_us: int | None, advance: Advance) -> None:
        """Raises UnavailableError for a file that cannot be read to its end."""
        for topic in self.topics:
            self._read_topic(events, topic, self.files[topic.name], before_us, advance)

    def _read_topic(
        self, events: EventLog, topic: Topic, files: list[Path], before_us: int | None, advance: Advance
    ) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            digests: dict[Path, Future[str]] = {}
            records = dict.fromkeys(files, 0)
            done = 0
            for file, decoded in ahead(pool, self._blocks(pool, topic, files, digests), self._decoded):
                events.add(topic.kind, topic.name, 0, decoded, before_us)
                records[file] += decoded.read
                while files[done] != file:
                    advance(files[done].stat().st_size)
                    done += 1
            self.read_files += [
                InputFile(topic.name, file.name, file.stat().st_size, records[file], digests[file].result())
                for file in files
            ]
            for file in files[done:]:
                advance(file.stat().st_size)

    def _blocks(
        self, pool: ThreadPoolExecutor, topic: Topic, files: list[Path], digests: dict[Path, Future[str]]
    ) -> Iterator[tuple[Path, tuple[Topic, Block]]]:
        for file in files:
            digests[file] = pool.submit(sha256_of, file)
            for block in _first(read_blocks(file, topic.name), self.upto.get(file)):
                yield file, (topic, block)

    def _decoded(self, item: tuple[Topic, Block]) -> Decoded:
        topic, block = item
        return decode(admitted(block, self.limits), topic.kind, self.limits, topic.mapping)

    def described(self) -> list[dict[str, Any]]:
        """What was read, for the manifest."""
        return [asdict(file) for file in self.read_files]

    def records_at(self, topic: str, rows: pl.DataFrame) -> pl.DataFrame:
        """``record_key`` and ``record_value`` of records by their source columns, in order; each file is read again."""
        kind = next(one.kind for one in self.topics if one.name == topic)
        found: dict[tuple[str, int], bytes] = {}
        for (name,), wanted in rows.group_by("source_file"):
            offsets = np.sort(wanted["source_offset"].to_numpy())
            for block in read_blocks(self.folder / topic / str(name), topic):
                here = offsets[(offsets >= block.first_offset)] - block.first_offset
                for offset, raw in raw_records(admitted(block, self.limits), kind, self.limits, here):
                    found[str(name), offset + block.first_offset] = raw
        names, numbers = rows["source_file"].cast(pl.String), rows["source_offset"]
        values = [found[name, number] for name, number in zip(names, numbers, strict=True)]
        return pl.DataFrame(
            {"record_key": [None] * len(values), "record_value": values},
            schema={"record_key": pl.Binary, "record_value": pl.Binary},
        )

    def steps(self) -> Iterator[list[Taken]]:
        """Read once more, the same files: topic by topic in the order of their names, in bounded steps. Fills
        ``finished``. Raises UnavailableError where a file has changed or gone since it was read."""
        self.finished = []
        for topic in sorted(self.topics, key=lambda topic: topic.name):
            digests = {file.name: file.sha256 for file in self.read_files if file.topic == topic.name}
            reader = FileReader(self.folder, topic.name, only=digests)
            while (block := reader.next_block(_STEP_RECORDS)) is not None:
                yield [Taken(topic, 0, self._decoded((topic, block)), None)]
            files = reader.take_finished()
            if {file.name: file.sha256 for file in files} != digests:
                raise UnavailableError(f"{self.folder / topic.name}: its files changed while they were replayed")
            self.finished += [(topic.name, file) for file in files]


def open_file_log(settings: Settings, folder: Path, limits: Limits) -> FileLog:
    """Raises UnavailableError for a missing folder."""
    if not folder.is_dir():
        raise UnavailableError(f"{folder}: no such log folder")
    topics = settings.input.topics
    return FileLog(folder, topics, {topic.name: topic_files(folder, topic.name) for topic in topics}, limits)


def _first(blocks: Iterator[Block], records: int | None) -> Iterator[Block]:
    """The blocks of the first records only."""
    for block in blocks:
        if records is None:
            yield block
        elif block.first_offset < records:
            yield cut(block, records - block.first_offset)[0]
