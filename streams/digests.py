"""Digests of the money tables: one number that is equal where every figure is equal.

SHA-256 over the table's rows by date, then by key, written as CSV (RFC 4180, a header, LF after every
line, quotes only where needed; decimals with 9 places, times as integer µs, null as nothing and an empty
text as ``""``), without ``sign`` and ``commit_id``. So it does not depend on arrival order, duplicates,
threads, partitions or file boundaries.
"""

from __future__ import annotations

import hashlib
import io

import polars as pl

from schemas.outputs import DATE_COLUMN, LEDGER_KEYS, TABLES

_ROWS_PER_CHUNK = 200_000


def table_digest(table: str, frame: pl.DataFrame) -> str:
    """The digest, as lower-case hex, of a ledger table's standing rows."""
    columns = [name for name in TABLES[table] if name not in ("sign", "commit_id")]
    date_column = DATE_COLUMN[table]
    assert date_column is not None
    keys = [pl.col(key).cast(pl.String) for key in LEDGER_KEYS[table]]
    ordered = frame.select(columns).sort(pl.col(date_column).dt.date(), *keys)
    times = [pl.col(name).to_physical() for name, dtype in TABLES[table].items() if isinstance(dtype, pl.Datetime)]
    digest = hashlib.sha256()
    for start in range(0, max(ordered.height, 1), _ROWS_PER_CHUNK):
        chunk = io.BytesIO()
        ordered.slice(start, _ROWS_PER_CHUNK).with_columns(times).write_csv(
            chunk, include_header=start == 0, quote_style="necessary"
        )
        digest.update(chunk.getbuffer())
    return digest.hexdigest()
