"""A compact copy of published tables, for readers: few large files instead of many small ones, row for row the same.

A live engine adds files for as long as it runs, under every day that a late event belongs to; a reader opens them
all. The copy has, per table and day, one file (more only past two million rows) with the rows in order of commit,
within a commit in order of the source's files. Ledger rows stay what they are: signed differences, never summed up.

The engine may go on meanwhile. Its files appear whole and never change, and its manifest is replaced last in a roll:
what belongs to commits up to the manifest's is all there, and rows of later commits are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import ConfigurationError, UnavailableError
from schemas.outputs import TABLES, in_files
from streams.manifest import NAME as MANIFEST
from streams.published import rates_beside, read_manifest, table_files
from streams.staging import staged

_ROWS_PER_FILE = 2_000_000
#: What is in memory at once, and a row group of the copy: at most 131,072 rows, fewer where rows are wide.
_BLOCK_BYTES = 1 << 27
_LEAST_ROW_BYTES = 1 << 10
#: A copy is written once and read often: smaller files are worth more here than time, other than in the engine.
_COMPRESSION_LEVEL = 3
_DAY_OF_NO_ROWS = "date=1970-01-01"


@dataclass(frozen=True)
class _Part:
    """The rows of one commit in one file; row_bytes: uncompressed, per row."""

    file: Path
    commit_id: int
    rows: int
    row_bytes: int

    @property
    def size_bytes(self) -> int:
        return self.rows * self.row_bytes


def compact(out: Path, to: Path) -> dict[str, int]:
    """Copy the tables of ``out`` into ``to``, a new or empty folder; returns the rows per table.

    Nothing is visible in ``to`` before everything is. Raises UnavailableError where tables are missing, unreadable
    or of another schema, ConfigurationError where ``to`` holds files or lies inside ``out``.
    """
    read_manifest(out)
    if to.resolve().is_relative_to(out.resolve()):
        raise ConfigurationError(f"{to}: expected a folder outside of {out}, got one inside")
    with staged(to) as stage:
        # Before the files are listed, and once: it says up to which commit they are complete.
        _copy_file(out / MANIFEST, stage / MANIFEST)
        newest = read_manifest(stage).commit_id
        files = {table: table_files(out, table) for table in TABLES}
        _copy_policy(out, stage)
        return {table: _compact_table(table, files[table], newest, stage / table) for table in TABLES}


def _copy_policy(out: Path, stage: Path) -> None:
    for source in sorted((out / "rules").glob("*.toml")):
        (stage / "rules").mkdir(exist_ok=True)
        _copy_file(source, stage / "rules" / source.name)
    rates = rates_beside(out)
    if rates is not None:
        _copy_file(rates, stage / rates.name)


def _copy_file(source: Path, target: Path) -> None:
    try:
        content = source.read_bytes()
    except OSError as error:
        raise _unreadable(source, error) from error
    target.write_bytes(content)


def _compact_table(table: str, files: list[Path], newest: int, folder: Path) -> int:
    """One day at a time. A day without rows is left out; a table without any is one file with its schema."""
    schema = pl.DataFrame(schema=in_files(table)).to_arrow().schema
    rows = 0
    for day, of_day in groupby(files, key=lambda file: file.parent.name):
        parts = [part for file in of_day for part in _parts(table, file, newest)]
        # Stable, so within a commit the files keep their order.
        parts.sort(key=lambda part: part.commit_id)
        written = _write(_blocks(parts), schema, folder / day, newest) if parts else 0
        expected = sum(part.rows for part in parts)
        if written != expected:
            raise UnavailableError(f"{files[0].parents[1]}/{day}: changed while read: {written} rows, not {expected}")
        rows += written
    if rows == 0:
        _write(iter([pl.DataFrame(schema=in_files(table))]), schema, folder / _DAY_OF_NO_ROWS, newest)
    return rows


def _parts(table: str, file: Path, newest: int) -> list[_Part]:
    """What a file holds of commits up to ``newest``, in order of commit."""
    scan = _scan(file)
    try:
        found, expected = scan.collect_schema(), pl.Schema(in_files(table))
        if found != expected:
            raise UnavailableError(f"{file}: expected the columns of {table}, got {_difference(found, expected)}")
        of_commit = pl.col("commit_id") <= newest
        counts = scan.filter(of_commit).group_by("commit_id").agg(pl.len()).sort("commit_id").collect()
        metadata = pq.read_metadata(file)
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise _unreadable(file, error) from error
    size_bytes = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    row_bytes = max(size_bytes // max(metadata.num_rows, 1), _LEAST_ROW_BYTES)
    return [_Part(file, commit_id, rows, row_bytes) for commit_id, rows in counts.iter_rows()]


def _difference(found: pl.Schema, expected: pl.Schema) -> str:
    """The first thing that is not as expected."""
    for name, dtype in expected.items():
        if name not in found:
            return f"none named {name}"
        if found[name] != dtype:
            return f"{name} as {found[name]}, not {dtype}"
    unknown = [name for name in found if name not in expected]
    return f"{unknown[0]} too" if unknown else "another order"


def _blocks(parts: list[_Part]) -> Iterator[pl.DataFrame]:
    """The rows of parts, in their order: parts that fit into a block together at once, a larger one in pieces."""
    together: list[_Part] = []
    size_bytes = 0
    for part in parts:
        if together and size_bytes + part.size_bytes > _BLOCK_BYTES:
            yield _read_together(together)
            together, size_bytes = [], 0
        if part.size_bytes > _BLOCK_BYTES:
            yield from _read_in_pieces(part)
        else:
            together.append(part)
            size_bytes += part.size_bytes
    if together:
        yield _read_together(together)


def _read_together(parts: list[_Part]) -> pl.DataFrame:
    """Of each file, the commits between its first and last here: parts are in order, so none lies between unasked."""
    commits: dict[Path, list[int]] = {}
    for part in parts:
        commits.setdefault(part.file, []).append(part.commit_id)
    frames = [
        _collect(_scan(file).filter(pl.col("commit_id").is_between(commits[file][0], commits[file][-1])), file)
        for file in sorted(commits)
    ]
    return pl.concat(frames).sort("commit_id", maintain_order=True)


def _read_in_pieces(part: _Part) -> Iterator[pl.DataFrame]:
    """Slices of the whole file: polars skips the row groups before one, which it could not after a filter."""
    step = max(_BLOCK_BYTES // part.row_bytes, 1)
    first, missing = 0, part.rows
    while missing > 0:
        piece = _collect(_scan(part.file).slice(first, step), part.file)
        if piece.height == 0:
            return
        of_commit = piece.filter(pl.col("commit_id") == part.commit_id)
        if of_commit.height:
            yield of_commit
        first, missing = first + step, missing - of_commit.height


def _scan(file: Path) -> pl.LazyFrame:
    return pl.scan_parquet(file, glob=False, hive_partitioning=False)


def _collect(rows: pl.LazyFrame, file: Path) -> pl.DataFrame:
    try:
        return rows.collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unreadable(file, error) from error


def _write(blocks: Iterator[pl.DataFrame], schema: pa.Schema, folder: Path, newest: int) -> int:
    """Each block a row group, in as few files as rows per file allow; returns the rows."""
    folder.mkdir(parents=True)
    total, number = 0, 0
    block = next(blocks, None)
    while block is not None:
        path = folder / f"{newest:012d}-{number:04d}.parquet"
        rows = 0
        with pq.ParquetWriter(path, schema, compression="zstd", compression_level=_COMPRESSION_LEVEL) as writer:
            while block is not None and (rows == 0 or rows + block.height <= _ROWS_PER_FILE):
                if block.height:  # a row group without rows would say nothing
                    writer.write_table(block.to_arrow())
                rows += block.height
                block = next(blocks, None)
        total, number = total + rows, number + 1
    return total


def _unreadable(file: Path, error: Exception) -> UnavailableError:
    return UnavailableError(f"{file}: cannot be read: {error}")
