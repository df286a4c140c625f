"""A Parquet file as frames of whole row groups, whatever types its columns have.

polars reads most types, and twice as fast as pyarrow. What it refuses, panics at or reads otherwise than the
contract says goes through pyarrow and comes out as something that it knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

_ROWS_PER_BLOCK = 1 << 18
_POLARS_DIGITS = 38
_ATTRIBUTES = "attributes"


def read_parquet(file: Path, block_bytes: int) -> Iterator[pl.DataFrame]:
    """Whole row groups, as many as make a block; polars skips the others."""
    with pq.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
        as_texts = [field.name for field in schema if _must_be_text(field)]
        others = [name for name in schema.names if name not in as_texts]
        by_polars = not any(_is_foreign(field.type) for field in schema)
        first, rows, size, taken = 0, 0, 0, 0
        for number in range(1, parquet.num_row_groups + 1):
            group = parquet.metadata.row_group(number - 1)
            rows, size = rows + group.num_rows, size + group.total_byte_size
            if rows >= _ROWS_PER_BLOCK or size >= block_bytes or number == parquet.num_row_groups:
                groups = range(taken, number)
                if by_polars:
                    scan = pl.scan_parquet(file, glob=False).select(pl.exclude(as_texts))
                    frame = scan.slice(first, rows).collect()
                else:
                    frame = pl.DataFrame(_plain(parquet.read_row_groups(groups, columns=others)))
                if as_texts:
                    texts = _texts(parquet.read_row_groups(groups, columns=as_texts))
                    frame = frame.with_columns(texts).select(schema.names)
                yield frame
                first, rows, size, taken = first + rows, 0, 0, number


def _must_be_text(field: pa.Field) -> bool:
    """Decimals of more digits than polars has, and a map of attributes: polars keeps the last of equal keys."""
    return _is_wide(field.type) or (field.name == _ATTRIBUTES and pa.types.is_map(field.type))


def _is_wide(dtype: pa.DataType) -> bool:
    """A decimal of more digits than polars has, or what holds one: polars refuses the file, or panics later."""
    if pa.types.is_decimal256(dtype):
        return bool(dtype.precision > _POLARS_DIGITS)
    return any(_is_wide(part) for part in _parts(dtype))


def _is_foreign(dtype: pa.DataType) -> bool:
    """Types at whose mere sight polars panics: list views, and zones that its time-zone database lacks."""
    if pa.types.is_list_view(dtype) or pa.types.is_large_list_view(dtype):
        return True
    if pa.types.is_timestamp(dtype):
        return dtype.tz not in (None, "UTC")
    return any(_is_foreign(part) for part in _parts(dtype))


def _parts(dtype: pa.DataType) -> list[pa.DataType]:
    return [dtype.field(number).type for number in range(dtype.num_fields)]


def _plain(columns: pa.Table) -> pa.Table:
    """Times in UTC, list views as lists; what holds such types as JSON text."""
    for number, field in enumerate(columns.schema):
        column, dtype = columns.column(number), field.type
        if pa.types.is_timestamp(dtype) and dtype.tz is not None:
            column = column.cast(pa.timestamp(dtype.unit, "UTC"))
        elif pa.types.is_list_view(dtype) or pa.types.is_large_list_view(dtype):
            column = column.cast(pa.large_list(dtype.value_type))
        if _is_foreign(column.type):
            column = pa.array([None if value is None else _text(value) for value in column.to_pylist()], pa.string())
        columns = columns.set_column(number, field.name, column)
    return columns


def _texts(columns: pa.Table) -> list[pl.Series]:
    """Wide decimals as decimal texts, what holds them as JSON. Value by value: no column library writes them so."""
    return [
        pl.Series(name, [None if value is None else _text(value) for value in column.to_pylist()], pl.String)
        for name, column in zip(columns.column_names, columns.columns, strict=True)
    ]


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, list) and value and all(isinstance(item, tuple) for item in value):  # a map
        members = (f"{json.dumps(str(key))}:{json.dumps(item, default=str)}" for key, item in value)
        return f"{{{','.join(members)}}}"
    return json.dumps(value, default=str)
