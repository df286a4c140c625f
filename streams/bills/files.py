"""A bill's files, part by part and batch by batch, as frames of text columns: CSV, plain or gzipped, and Parquet.

A bill is read whole or not at all: a file that ends early, a row with too few or too many fields, or text that is not
UTF-8 stops the reading, with the file's name and the row where there is one. Rows are counted from 1 within their file,
without the header; blank lines are none.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from schemas.errors import UnavailableError
from streams.bills.values import NULLS

_BLOCK_BYTES = 1 << 24
_PARQUET_ROWS = 1 << 16
_ENDINGS = (".csv", ".csv.gz", ".parquet")
#: Beside the parts of an export: what is in them, and that they are all there.
_IGNORED_ENDINGS = (".json", ".yml", ".yaml", ".txt", ".sql")


def parts_of(path: Path) -> list[Path]:
    """The files of a bill, in order of name: the file itself, or those of a folder.

    Raises UnavailableError where there are none, and for a file or folder that would be left out.
    """
    if not path.exists():
        raise UnavailableError(f"{path}: expected a bill, got nothing there")
    if path.is_file():
        return [_known(path)]
    try:
        inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith((".", "_")))
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read: {error.strerror or error}") from error
    for folder in filter(Path.is_dir, inside):
        if any(_is_part(file) for file in folder.rglob("*")):
            hint = "a bill is one snapshot; name its folder"
            raise UnavailableError(f"{folder}: expected files, got a folder with more of them. Hint: {hint}")
    files = [_known(file) for file in inside if file.is_file() and not file.name.lower().endswith(_IGNORED_ENDINGS)]
    if not files:
        raise UnavailableError(f"{path}: expected files *.csv, *.csv.gz or *.parquet, got none")
    return files


def _is_part(path: Path) -> bool:
    return path.name.lower().endswith(_ENDINGS)


def _known(path: Path) -> Path:
    if not _is_part(path):
        raise UnavailableError(
            f"{path}: expected *.csv, *.csv.gz or *.parquet. Hint: a bill is read whole or not at all"
        )
    return path


def columns_of(path: Path) -> list[str]:
    """The names of a part's columns; of nested ones in Parquet also ``outer.inner``."""
    return _parquet_columns(path) if _is_parquet(path) else _csv_columns(path)


def batches(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """A part's rows with these columns as texts, absence as null, a batch at a time."""
    yield from _parquet_batches(path, columns) if _is_parquet(path) else _csv_batches(path, columns)


def _is_parquet(path: Path) -> bool:
    return path.name.lower().endswith(".parquet")


# CSV


def _csv_columns(path: Path) -> list[str]:
    try:
        with _opened(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            header = next(csv.reader(text), None)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise unreadable(path, error) from error
    if header is None:
        raise UnavailableError(f"{path}: expected a header, got an empty file")
    return header


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")


def csv_line(path: Path, row: int) -> int | None:
    """The line on which a row ends; None for Parquet, which has no lines."""
    if _is_parquet(path):
        return None
    with _opened(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="") as text:
        reader = csv.reader(text)
        rows = (fields for fields in reader if fields)
        next(itertools.islice(rows, row, None), None)
        return reader.line_num


def _csv_batches(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    header = _csv_columns(path)
    for column in columns:
        if header.count(column) > 1:
            raise UnavailableError(f"{path}: expected one column {column}, got {header.count(column)}")
    refused: list[str] = []

    def refuse(row: Any) -> str:
        # The header is pyarrow's row 1.
        refused.append(f"row {row.number - 1}: expected {row.expected_columns} fields, got {row.actual_columns}")
        return "error"

    try:
        with _opened(path) as stream:
            reader = pa_csv.open_csv(
                stream,
                # With threads, pyarrow does not tell which row it is that has too few fields.
                read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
                convert_options=pa_csv.ConvertOptions(
                    include_columns=list(columns),
                    column_types=dict.fromkeys(columns, pa.string()),
                    null_values=list(NULLS),
                    strings_can_be_null=True,
                ),
            )
            for batch in reader:
                yield _as_frame({name: batch.column(number) for number, name in enumerate(columns)})
    except pa.ArrowException as error:
        raise UnavailableError(f"{path}: {refused[0]}") if refused else unreadable(path, error) from error
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> UnavailableError:
    why = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return UnavailableError(f"{path}: cannot be read: {why}")


def _as_frame(columns: Mapping[str, pa.Array]) -> pl.DataFrame:
    return pl.DataFrame({name: pl.Series(name, column, dtype=pl.String) for name, column in columns.items()})


# Parquet


def _parquet_columns(path: Path) -> list[str]:
    try:
        return [name for field in pq.read_schema(path) for name in _names(field, "")]
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def _names(field: pa.Field, outer: str) -> Iterator[str]:
    yield f"{outer}{field.name}"
    if pa.types.is_struct(field.type):
        for inner in field.type:
            yield from _names(inner, f"{outer}{field.name}.")


def _parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    try:
        with pq.ParquetFile(path) as file:
            there = file.schema_arrow.names
            tops = {name: _top(name, there) for name in columns}
            for batch in file.iter_batches(_PARQUET_ROWS, columns=sorted(set(tops.values()))):
                found = {name: _inner(batch.column(top), name, top) for name, top in tops.items()}
                yield pl.DataFrame({name: _texts(column).alias(name) for name, column in found.items()})
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise unreadable(path, error) from error


def _top(name: str, there: Sequence[str]) -> str:
    """The outermost column of a name, which may hold points itself."""
    return name if name in there else max((top for top in there if name.startswith(f"{top}.")), key=len)


def _inner(column: pa.Array, name: str, top: str) -> pa.Array:
    for part in name.removeprefix(top).split(".")[1:]:
        column = pc.struct_field(column, part)
    return column


def _texts(column: pa.Array) -> pl.Series:
    """A column of any type as texts: times as UTC, numbers with all their digits, nested values as JSON."""
    kind = column.type
    if pa.types.is_nested(kind):
        # Row by row, for neither Arrow nor polars writes JSON of maps: 2 µs each.
        return pl.Series([_json(value, is_map=pa.types.is_map(kind)) for value in column.to_pylist()], dtype=pl.String)
    if pa.types.is_dictionary(kind):
        return _texts(column.dictionary_decode())
    if pa.types.is_decimal256(kind):
        return pl.Series(column.cast(pa.string()), dtype=pl.String)
    series = pl.Series(column)
    if series.dtype == pl.String:
        return series.to_frame("text").select(pl.when(~pl.col("text").is_in(list(NULLS))).then("text")).to_series()
    if isinstance(series.dtype, pl.Datetime):
        # Without a zone it is UTC; with one, polars shows it in its own.
        utc = series.dt.convert_time_zone("UTC") if series.dtype.time_zone else series
        return utc.dt.cast_time_unit("us").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return series.cast(pl.String)


def _json(value: Any, *, is_map: bool) -> str | None:
    if value is None:
        return None
    return json.dumps(dict(value) if is_map else value, default=str, ensure_ascii=False)
