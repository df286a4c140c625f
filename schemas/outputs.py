"""The eight published tables: their columns, in published order, and their types.

In files every text is plain text; in memory few-valued texts are dictionary-coded (``WORD``).
``date`` is a folder (``<table>/date=YYYY-MM-DD``), never a column of the file.
"""

from __future__ import annotations

import polars as pl

from schemas.events import DECIMAL, OUTCOME_COLUMNS, SOURCE_COLUMNS, TIME, WORD, Kind, canonical_columns

TEXT = pl.String()
COUNT = pl.Int64()
SIGN = pl.Int8()

_COMMIT: dict[str, pl.DataType] = {"commit_id": COUNT}
_LEDGER: dict[str, pl.DataType] = {"sign": SIGN, "commit_id": COUNT}

INFERENCES: dict[str, pl.DataType] = {**canonical_columns(Kind.INFERENCE), **SOURCE_COLUMNS, **_COMMIT}

OUTCOMES: dict[str, pl.DataType] = {
    "event_id": TEXT,
    "kind": WORD,
    "event_time": TIME,
    "type": WORD,
    "amount": DECIMAL,
    "currency": WORD,
    "quantity": DECIMAL,
    "seconds": DECIMAL,
    "baseline_seconds": DECIMAL,
    "actual_seconds": DECIMAL,
    "role": WORD,
    "inference_ids": pl.List(pl.String),
    "trace_id": TEXT,
    "reverses": TEXT,
    "reason": TEXT,
    "attributes": TEXT,
    **SOURCE_COLUMNS,
    **_COMMIT,
}

SCORES: dict[str, pl.DataType] = {**canonical_columns(Kind.SCORE), **SOURCE_COLUMNS, **_COMMIT}

CREDITS: dict[str, pl.DataType] = {
    "outcome_id": TEXT,
    "inference_id": TEXT,
    "kind": WORD,
    "type": WORD,
    "outcome_time": TIME,
    "inference_time": TIME,
    "use_case": WORD,
    "model": WORD,
    "model_version": WORD,
    "endpoint": WORD,
    "via": WORD,
    "amount": DECIMAL,
    "value": DECIMAL,
    "reversed_value": DECIMAL,
    "seconds": DECIMAL,
    "currency": WORD,
    "fx_rate": DECIMAL,
    "rule_id": WORD,
    **_LEDGER,
}

UNATTRIBUTED: dict[str, pl.DataType] = {
    "outcome_id": TEXT,
    "inference_id": TEXT,
    "reversal_id": TEXT,
    "kind": WORD,
    "type": WORD,
    "outcome_time": TIME,
    "use_case": WORD,
    "amount": DECIMAL,
    "value": DECIMAL,
    "seconds": DECIMAL,
    "currency": WORD,
    "fx_rate": DECIMAL,
    "reason": WORD,
    **_LEDGER,
}

ATTRIBUTED: dict[str, pl.DataType] = {
    "inference_id": TEXT,
    "event_time": TIME,
    "use_case": WORD,
    "model": WORD,
    "model_version": WORD,
    "endpoint": WORD,
    "provider": WORD,
    "arm": WORD,
    "outcome_count": COUNT,
    "conversion_value": DECIMAL,
    "time_saved_value": DECIMAL,
    "time_saved_seconds": DECIMAL,
    "attributed_value": DECIMAL,
    "reversed_value": DECIMAL,
    "currency": WORD,
    "settled": pl.Boolean(),
    **_LEDGER,
}

DEAD_LETTERS: dict[str, pl.DataType] = {
    "reason": WORD,
    "detail": TEXT,
    "record_key": pl.Binary(),
    "record_value": pl.Binary(),
    **SOURCE_COLUMNS,
    **_COMMIT,
}

COMMITS: dict[str, pl.DataType] = {
    "commit_id": COUNT,
    "committed_at": TIME,
    "watermark": TIME,
    "source_topic": WORD,
    "source_partition": pl.Int32(),
    "read": COUNT,
    "accepted": COUNT,
    "duplicates": COUNT,
    "dead_letters": COUNT,
    "ignored": COUNT,
}

TABLES: dict[str, dict[str, pl.DataType]] = {
    "inferences": INFERENCES,
    "outcomes": OUTCOMES,
    "scores": SCORES,
    "credits": CREDITS,
    "unattributed": UNATTRIBUTED,
    "attributed": ATTRIBUTED,
    "dead_letters": DEAD_LETTERS,
    "commits": COMMITS,
}

#: The column whose UTC day names the folder; None: the day of the commit.
DATE_COLUMN: dict[str, str | None] = {
    "inferences": "event_time",
    "outcomes": "event_time",
    "scores": "event_time",
    "credits": "outcome_time",
    "unattributed": "outcome_time",
    "attributed": "event_time",
    "dead_letters": None,
    "commits": None,
}

#: A row stands while its signs sum to 1 over these columns.
LEDGER_KEYS: dict[str, tuple[str, ...]] = {
    "credits": ("outcome_id", "inference_id"),
    "unattributed": ("outcome_id", "inference_id", "reversal_id", "reason"),
    "attributed": ("inference_id",),
}


def in_files(table: str) -> dict[str, pl.DataType]:
    """The table's types as a reader of its files sees them."""
    return {name: TEXT if dtype == WORD else dtype for name, dtype in TABLES[table].items()}


assert set(OUTCOME_COLUMNS) <= set(OUTCOMES)
