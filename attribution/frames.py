"""A user's frames → canonical frames: types, defaults, bounds. What readers validate record by record is held
against whole columns here, so that nothing the kernel adds and multiplies can pass its 128 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import polars as pl

from schemas.errors import ConfigurationError
from schemas.events import (
    DECIMAL,
    FIELDS,
    INFERENCE_IDS_MAX,
    OUTCOME_COLUMNS,
    TIME,
    TIME_MAX_US,
    TIME_MIN_US,
    WORD,
    Field,
    Kind,
    Type,
    canonical_columns,
)

_RATES: dict[str, pl.DataType] = {"date": pl.Date(), "currency": WORD, "rate": DECIMAL}


def as_outcomes(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Conversions and time-saved events as one frame of OUTCOME_COLUMNS; further columns stay."""
    return pl.concat(
        [
            frame.with_columns(
                pl.lit(None, dtype=dtype).alias(name) for name, dtype in OUTCOME_COLUMNS.items() if name not in frame
            ).select(*OUTCOME_COLUMNS, *(name for name in frame.columns if name not in OUTCOME_COLUMNS))
            for frame in frames
        ]
    )


def canonical(frame: pl.DataFrame | None, kind: Kind) -> pl.DataFrame:
    """A user's frame with the canonical columns and types of its kind, defaults filled in.

    Raises ConfigurationError for a required column that is missing or holds nulls, a type that has no exact
    value, and a value out of bounds.
    """
    schema = canonical_columns(kind)
    if frame is None:
        return pl.DataFrame(schema=schema)
    if "inference_id" in frame.columns and "inference_id" not in schema:
        single = pl.when(pl.col("inference_id").is_not_null()).then(pl.concat_list("inference_id"))
        listed = pl.col("inference_ids") if "inference_ids" in frame.columns else pl.lit(None, dtype=pl.List(pl.String))
        frame = frame.with_columns(pl.coalesce(listed, single).alias("inference_ids"))
    columns = pl.DataFrame([_cast(frame, name, dtype) for name, dtype in schema.items()])
    if "inference_ids" in schema:
        columns = columns.with_columns(pl.col("inference_ids").list.unique().list.sort())
    for field in FIELDS[kind]:
        if field.name in columns.columns:
            _check(columns[field.name], field, kind)
        if field.default is not None:
            default = pl.lit(field.default).cast(field.dtype)
            columns = columns.with_columns(pl.col(field.name).fill_null(default))
    return columns


def rates_frame(fx: pl.DataFrame | None) -> pl.DataFrame:
    """A user's rates with the columns ``date``, ``currency``, ``rate``; none where there is no frame."""
    if fx is None:
        return pl.DataFrame(schema=_RATES)
    return pl.DataFrame([_cast(fx, name, dtype) for name, dtype in _RATES.items()])


def _cast(frame: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Series:
    if name not in frame.columns:
        return pl.Series(name, [None], dtype=dtype).new_from_index(0, frame.height).alias(name)
    column = frame[name]
    if isinstance(dtype, pl.Decimal) and column.dtype.is_float():
        raise _refusal(
            name,
            "decimals, integers or decimal strings",
            column.dtype,
            "a float has no exact value; cast it to a string or a Decimal where it is made",
        )
    try:
        if dtype == TIME and column.dtype == pl.String:
            return column.str.to_datetime("%+", time_unit="us", time_zone="UTC")
        if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is None:
            column = column.dt.replace_time_zone("UTC")
        return column.cast(dtype)
    except pl.exceptions.PolarsError as error:
        raise _refusal(name, f"values of type {dtype}", f"{column.dtype}: {error}") from error


def _check(column: pl.Series, field: Field, kind: Kind) -> None:
    if field.required and column.null_count():
        raise _refusal(field.name, f"a value in every {kind}", f"{column.null_count()} without")
    if field.type is Type.DECIMAL:
        low, high = column.min(), column.max()
        if not isinstance(low, Decimal) or not isinstance(high, Decimal):
            return  # nothing but nulls
        if low < field.low or (field.low_open and low == field.low) or high >= field.high:
            expected = f"values from {field.low:f} to below {field.high:f}"
            raise _refusal(field.name, expected, f"{low:f} to {high:f}")
    elif field.type is Type.TIME:
        times = column.to_physical()
        if ((times < TIME_MIN_US) | (times >= TIME_MAX_US)).any():
            raise _refusal(field.name, "times in 2000 to 2199", f"{column.min()!s} to {column.max()!s}")
    elif field.type is Type.IDS and (column.list.len() > INFERENCE_IDS_MAX).any():
        raise _refusal(field.name, f"at most {INFERENCE_IDS_MAX} ids", column.list.len().max())


def _refusal(column: str, expected: str, got: object, hint: str = "") -> ConfigurationError:
    return ConfigurationError(f"column {column}: expected {expected}, got {got}{f'. Hint: {hint}' if hint else ''}")
