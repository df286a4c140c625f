"""A folder of a live engine's tables: rows wait in ``_staging`` until a roll puts them where readers look.

The published tables lie in one, the archive in another: a table for each topic. A part holds one table's rows of one
commit. A roll makes files of all waiting parts, one per table and date, aside;
once the commit that lists them is durable they are renamed into place. A published file is never written again or
removed. After a crash ``recover`` renames what the newest commit lists and deletes what it does not.
"""

from __future__ import annotations

import contextlib
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from attribution.toml_tables import Bare
from schemas.errors import UnavailableError, setting_error
from schemas.outputs import DATE_COLUMN, TABLES
from streams.digests import sha256_of
from streams.live.commit import Part, PublishedFile
from streams.live.segments import sync
from streams.live.state_folder import writer_of
from streams.live.steps import reached
from streams.manifest import NAME as MANIFEST
from streams.parquet_sink import COMPRESSION_LEVEL, EPOCH_DAY, dated_path, days_of, unwritten, write_file
from streams.published import read_manifest

STAGING = "_staging"
_OLDER_STATE = "Hint: the state folder is older than these tables; bring back the one that belongs to them"
_NEW_OUTPUT = "give a new state an output folder of its own, or bring back the state folder of this one"
_ROLLED = ".rolled.parquet"
#: A part of one date with so many rows becomes a published file as it is; smaller ones are merged with others.
_ROWS_OF_A_FILE = 50_000
#: One compresses while another is forced to disk.
_THREADS = 2


@dataclass(frozen=True)
class Layout:
    """What a folder's tables are. write: rows of a table as a file; date_column: the time that says under which date a
    row belongs, None: under that of its commit; label: stands for the table in names of files."""

    write: Callable[[str, pl.DataFrame, Path], None]
    date_column: Callable[[str], str | None]
    label: Callable[[str], str] = str


PUBLISHED = Layout(write_file, lambda table: DATE_COLUMN[table])


class OutputFolder:
    """Writes as one writer: its number stands in every name."""

    def __init__(self, out: Path, writer: int, layout: Layout = PUBLISHED) -> None:
        """Raises UnavailableError where the folder cannot be written."""
        self.path = out
        self._writer = writer
        self._layout = layout
        self._staging = out / STAGING
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnavailableError(f"{out}: cannot be written: {error.strerror or error}") from error

    def refuse_newer(self, newest: int) -> None:
        """Raises UnavailableError where the tables were published by a later commit than the state's newest."""
        if (self.path / MANIFEST).exists():
            published = read_manifest(self.path).commit_id
            if published > newest:
                found = f"published up to commit {published}, but the newest commit is {newest}"
                raise UnavailableError(f"{self.path}: {found}. {_OLDER_STATE}")

    def stage(self, commit_id: int, rows: Mapping[str, pl.DataFrame], commit_day: date) -> list[Part]:
        """Write a commit's rows (the columns of each table) as parts, forced to disk. Tables without rows have none."""
        with ThreadPoolExecutor(_THREADS) as pool:
            made = pool.map(lambda item: self._parts(commit_id, item[0], item[1], commit_day), rows.items())
            parts = [part for of_table in made for part in of_table]
        sync(self._staging)
        reached("commit.parts")
        return parts

    def _parts(self, commit_id: int, table: str, rows: pl.DataFrame, commit_day: date) -> list[Part]:
        """A part of its own for each date with many rows, which a roll publishes as it is; one for all others."""
        if rows.height == 0:
            return []
        column = self._layout.date_column(table)
        days = _days(None if column is None else rows[column], rows.height, commit_day)
        large = [day for day, count in days.items() if count >= _ROWS_OF_A_FILE]
        parts = []
        if large and len(days) > 1:
            day_of = rows[str(column)].dt.date().cast(pl.String)
            parts += [self._part(commit_id, table, rows.filter(day_of == day), {day: days.pop(day)}) for day in large]
            rows = rows.filter(~day_of.is_in(large))
        if days:
            parts.append(self._part(commit_id, table, rows, days))
        return parts

    def _part(self, commit_id: int, table: str, rows: pl.DataFrame, days: dict[str, int]) -> Part:
        suffix = f"-{next(iter(days))}" if len(days) == 1 else ""
        name = f"{self._name(commit_id)}-{self._layout.label(table)}{suffix}.parquet"
        self._layout.write(table, rows, self._staging / name)
        sync(self._staging / name)
        return Part(table, name, days, *_size_and_checksum(self._staging / name))

    def roll(self, commit_id: int, parts: Iterable[Part], empty: Iterable[str] = ()) -> list[PublishedFile]:
        """Make the files of a roll aside, forced to disk. empty: tables that get a file without rows."""
        files = []
        by_day: dict[tuple[str, str], list[Part]] = defaultdict(list)
        for part in parts:
            for day in part.days:
                by_day[part.table, day].append(part)
        for (table, day), of_day in sorted(by_day.items()):
            whole = [part for part in of_day if len(part.days) == 1 and part.rows >= _ROWS_OF_A_FILE]
            files += [self._made(table, date.fromisoformat(day), part.name, part.rows) for part in whole]
            rest = [part for part in of_day if part not in whole]
            if rest:
                name = f"{self._name(commit_id)}-{self._layout.label(table)}-{day}{_ROLLED}"
                self._merge(table, day, rest, self._staging / name)
                rows = sum(part.days[day] for part in rest)
                files.append(self._made(table, date.fromisoformat(day), name, rows))
        for table in empty:
            name = f"{self._name(commit_id)}-{table}.empty.parquet"
            self._layout.write(table, pl.DataFrame(schema=TABLES[table]), self._staging / name)
            files.append(self._made(table, EPOCH_DAY, name, 0))
        sync(self._staging)
        reached("roll.files")
        return files

    def _merge(self, table: str, day: str, parts: list[Part], target: Path) -> None:
        rows = pl.scan_parquet([self._staging / part.name for part in parts], glob=False, hive_partitioning=False)
        column = self._layout.date_column(table)
        if column is not None and any(len(part.days) > 1 for part in parts):
            first = datetime.combine(date.fromisoformat(day), time(), UTC)
            # A range of times, not the date of each: it goes down to the statistics of the row groups.
            rows = rows.filter(pl.col(column).is_between(first, first + timedelta(days=1), closed="left"))
        try:
            rows.sink_parquet(target, compression="zstd", compression_level=COMPRESSION_LEVEL, statistics=True)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise unwritten(target, error) from error

    def _made(self, table: str, day: date, name: str, rows: int) -> PublishedFile:
        sync(self._staging / name)
        stem = "-".join(name.split("-", 2)[:2])
        stem += "-rolled" if name.endswith(_ROLLED) else ""
        return PublishedFile(name, dated_path(table, day, stem), rows, sha256_of(self._staging / name))

    def publish(self, files: Iterable[PublishedFile]) -> None:
        """Rename the files of a durable commit into place; those that are there already are left."""
        folders = set()
        try:
            for file in files:
                staged, target = self._staging / file.staged, self.path / file.path
                if staged.exists():
                    if target.exists():
                        raise UnavailableError(f"{target}: is there already. {_OLDER_STATE}")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    staged.rename(target)
                    reached("roll.rename")
                elif not target.exists():
                    raise UnavailableError(f"{target}: a published file is missing, and so is its staged copy")
                folders |= {target.parent, target.parent.parent, self.path}
        except OSError as error:
            raise UnavailableError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        for folder in folders:
            sync(folder)
        if folders:
            reached("roll.sync")

    def forget(self, parts: Iterable[Part]) -> None:
        """Delete parts that are published."""
        for part in parts:
            with contextlib.suppress(FileNotFoundError):
                (self._staging / part.name).unlink()
        reached("roll.clean")

    def recover(self, published: Iterable[PublishedFile], parts: Collection[Part]) -> None:
        """Roll the newest commit's files forward and delete what no commit lists.

        Raises UnavailableError where waiting rows or published files are missing, or waiting rows damaged.
        """
        waiting = {part.name for part in parts}
        there = {entry.name for entry in self._staging.iterdir()}
        if missing := sorted(waiting - there):
            raise UnavailableError(f"{self._staging / missing[0]}: rows that wait to be published are missing")
        for part in parts:
            if _size_and_checksum(self._staging / part.name) != (part.bytes, part.crc32):
                raise UnavailableError(f"{self._staging / part.name}: rows that wait to be published are damaged")
        self.publish(published)
        for name in sorted(name for name in there - waiting if writer_of(name) <= self._writer):
            (self._staging / name).unlink(missing_ok=True)
            reached("recovery.delete")

    def _name(self, commit_id: int) -> str:
        return f"{commit_id:012d}-{self._writer:06d}"


def _size_and_checksum(path: Path) -> tuple[int, int]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read: {error.strerror or error}") from error
    return len(content), zlib.crc32(content)


def refuse_occupied_output(out: Path, hint: str = _NEW_OUTPUT) -> None:
    """Raises ConfigurationError where there is more than an earlier first start left behind."""
    if out.is_dir() and any(not entry.name.startswith(STAGING) for entry in out.iterdir()):
        expected = "a new or empty folder, for the state has no commit"
        raise setting_error(str(out), expected=expected, got=Bare("one that holds files"), hint=hint)


def _days(times: pl.Series | None, rows: int, commit_day: date) -> dict[str, int]:
    """How many rows belong under each date."""
    if times is None:
        return {commit_day.isoformat(): rows}
    days, counts = np.unique(days_of(times), return_counts=True)
    texts = pl.Series(days, dtype=pl.Int32).cast(pl.Date).cast(pl.String)
    return dict(zip(texts.to_list(), counts.tolist(), strict=True))
