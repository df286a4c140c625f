"""A log in an archive: every record a live engine read, in the order of its commits.

Files of an archive are read in stretches. Those of one roll may share commits, and of two events with one id that of
the earlier commit counts: so a stretch holds whole commits, of all topics, and stretches follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from attribution.deduplicate import COMMIT
from schemas.archive import ARCHIVE
from schemas.errors import UnavailableError
from streams.columns import Longs
from streams.decode import Block, Decoded, Limits, admitted, decode
from streams.digests import sha256_of
from streams.event_log import EventLog, InputFile
from streams.live.file_reader import InputFile as FinishedFile
from streams.log import Advance, Taken, ahead
from streams.settings import Topic
from streams.wire_records import Records

_THREADS = 2
_BLOCK_RECORDS = 131_072


@dataclass
class InputRange:
    """The records of one partition that were read."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    records: int


@dataclass(frozen=True)
class _File:
    topic: str
    path: Path
    records: int
    first_commit: int
    last_commit: int


@dataclass(frozen=True)
class _Piece:
    """Records of one partition, and of one event file where they came from files, with the commit of each."""

    topic: Topic
    block: Block
    commits: Longs


@dataclass
class ArchiveLog:
    """The archive's files of each topic.

    next_offsets: where Kafka is read on, by (topic, partition), where that is known better than by the last record.
    upto_commit: records of later commits are left out. is_kept: the files will still be there when somebody looks.
    """

    topics: Sequence[Topic]
    files: Mapping[str, Sequence[Path]]
    limits: Limits
    upto_commit: int | None = None
    next_offsets: Mapping[tuple[str, int], int] = field(default_factory=dict)
    is_kept: bool = True
    ranges: dict[tuple[str, int], InputRange] = field(default_factory=dict)
    read_files: list[InputFile] = field(default_factory=list)
    finished: list[tuple[str, FinishedFile]] = field(default_factory=list)

    has_commits = True

    def paths(self) -> Iterator[Path]:
        for of_topic in self.files.values():
            yield from of_topic

    def read(self, events: EventLog, before_us: int | None, advance: Advance) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            for stretch in self._stretches():
                pieces = ((piece, piece) for piece in self._pieces(stretch))
                for piece, decoded in ahead(pool, pieces, self._decoded):
                    events.add(piece.topic.kind, piece.topic.name, piece.block.partition, decoded, before_us)
                    self._note(piece)
                for file in stretch:
                    if self.is_kept:
                        self.read_files.append(_described(file))
                    advance(file.path.stat().st_size)

    def _stretches(self) -> Iterator[list[_File]]:
        """Files by commit, each stretch without a commit of another; those of later commits are left out."""
        files = [_file(topic, path) for topic, paths in self.files.items() for path in paths]
        stretch: list[_File] = []
        last_commit = 0
        for file in sorted(files, key=lambda file: (file.first_commit, file.topic, file.path.name)):
            if self.upto_commit is not None and file.first_commit > self.upto_commit:
                continue
            if stretch and file.first_commit > last_commit:
                yield stretch
                stretch = []
            stretch.append(file)
            last_commit = max(last_commit, file.last_commit)
        if stretch:
            yield stretch

    def _pieces(self, stretch: Sequence[_File]) -> Iterator[_Piece]:
        for topic in sorted(self.topics, key=lambda topic: topic.name):
            frames = [_rows(file.path) for file in stretch if file.topic == topic.name]
            if not frames:
                continue
            rows = pl.concat(frames).sort("commit_id", maintain_order=True)
            if self.upto_commit is not None:
                rows = rows.filter(pl.col("commit_id") <= self.upto_commit)
            for (partition, file), of_one in rows.group_by("partition", "file", maintain_order=True):
                for some in of_one.iter_slices(_BLOCK_RECORDS):
                    yield _piece(topic, int(str(partition)), str(file), some)

    def _decoded(self, piece: _Piece) -> Decoded:
        block = admitted(piece.block, self.limits)
        decoded = decode(block, piece.topic.kind, self.limits, piece.topic.mapping)
        numbers = block.numbers_of(decoded.events["source_offset"].to_numpy())
        return replace(decoded, events=decoded.events.with_columns(pl.Series(COMMIT, piece.commits[numbers])))

    def _note(self, piece: _Piece) -> None:
        assert isinstance(piece.block.data, Records), "an archive holds records"
        key, offsets = (piece.topic.name, piece.block.partition), piece.block.data.offsets
        first, last = int(offsets.min()), int(offsets.max())
        was = self.ranges.setdefault(key, InputRange(*key, first, last, 0))
        was.first_offset, was.last_offset = min(was.first_offset, first), max(was.last_offset, last)
        was.records += len(offsets)

    def described(self) -> list[dict[str, Any]]:
        ranges = [asdict(self.ranges[key]) for key in sorted(self.ranges)]
        return ranges + [asdict(file) for file in self.read_files]

    def records_at(self, topic: str, rows: pl.DataFrame) -> pl.DataFrame:
        place = ["source_partition", "source_file", "source_offset"]
        wanted = rows.select(place).cast({"source_file": pl.String}).with_row_index()
        there = pl.scan_parquet(list(self.files[topic]), hive_partitioning=False, glob=False).select(
            pl.col("partition").alias(place[0]),
            pl.col("file").alias(place[1]),
            pl.col("offset").alias(place[2]),
            pl.col("key").alias("record_key"),
            pl.col("value").alias("record_value"),
        )
        try:  # streamed: few are asked for, and an archive is large
            records = wanted.lazy().join(there, on=place).sort("index").collect(engine="streaming")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UnavailableError(f"{topic}: the archive cannot be read: {error}") from error
        assert records.height == rows.height, f"{topic}: every record that was read is in the archive"
        return records.select("record_key", self.limits.dropped.left_out_of(records["record_value"]))

    def steps(self) -> Iterator[list[Taken]]:
        for stretch in self._stretches():
            taken = []
            for piece in self._pieces(stretch):
                assert isinstance(piece.block.data, Records), "an archive holds records"
                key = piece.topic.name, piece.block.partition
                after = self.next_offsets.get(key, int(piece.block.data.offsets[-1]) + 1)
                taken.append(Taken(piece.topic, piece.block.partition, self._decoded(piece), after))
            yield taken


def archive_files(folder: Path, topics: Sequence[Topic]) -> dict[str, list[Path]]:
    """The archive's files of each topic."""
    return {topic.name: sorted((folder / topic.name).glob("date=*/*.parquet")) for topic in topics}


def is_archive(folder: Path) -> bool:
    """Whether a folder of logs is an archive: its topics hold dates, not event files."""
    return any(folder.glob("*/date=*"))


def newest_commit(folder: Path) -> int:
    """The newest commit that wrote to an archive, by the names of its files; 0 where there is none."""
    return max((int(path.name.partition("-")[0]) for path in folder.glob("*/date=*/*.parquet")), default=0)


def _file(topic: str, path: Path) -> _File:
    """Raises UnavailableError for a file that cannot be read."""
    try:
        with pq.ParquetFile(path) as parquet:
            column = parquet.schema.names.index("commit_id")  # of the leaves: headers are two
            groups = [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
            records = parquet.metadata.num_rows
            bounds = [group.column(column).statistics for group in groups if group.num_rows]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UnavailableError(f"{path}: not a file of an archive: {error}") from error
    first, last = (b.min for b in bounds), (b.max for b in bounds)
    return _File(topic, path, records, min(first, default=0), max(last, default=0))


def _rows(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, hive_partitioning=False, glob=False).select(list(ARCHIVE))
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UnavailableError(f"{path}: cannot be read: {error}") from error


def _described(file: _File) -> InputFile:
    name = str(file.path.relative_to(file.path.parents[1]))
    return InputFile(file.topic, name, file.path.stat().st_size, file.records, sha256_of(file.path))


def _piece(topic: Topic, partition: int, file: str, rows: pl.DataFrame) -> _Piece:
    records = Records(
        rows["offset"].to_numpy(),
        rows["record_time"].to_physical().to_numpy(),
        rows["key"],
        rows["value"],
        rows["headers"],
    )
    block = Block(topic.name, partition, file, int(records.offsets[0]), records)
    return _Piece(topic, block, rows["commit_id"].to_numpy())
