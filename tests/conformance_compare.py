"""Published tables, and the reference's rows, held against what a conformance case expects: exactly, row by row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from schemas.events import TIME
from schemas.outputs import LEDGER_KEYS, TABLES
from tests.conformance_format import EPOCH, EXPECTED, ConformanceCase, Row, Table
from tests.reference import Result

_EMPTY_UNLESS_TOLD = ("scores", "credits", "unattributed", "dead_letters")
_COUNTERS = ["read", "accepted", "duplicates", "dead_letters", "ignored"]
_NO_LETTERS = Table((), ())


def published_rows(out: Path, table: str) -> list[Row]:
    """The rows of a published table as any reader finds them, netted where it is a ledger."""
    frame = pl.read_parquet(out / table / "**" / "*.parquet", hive_partitioning=False)
    if table in LEDGER_KEYS:
        frame = _netted(frame, table)
    elif table == "commits":
        frame = frame.group_by("source_topic").agg(pl.col(_COUNTERS).sum()).filter(pl.col("read") > 0)
    return frame.to_dicts()


def _netted(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """The standing rows of a ledger: signed rows summed by all their words.

    What has been withdrawn must sum to nothing, and no key may stand twice.
    """
    figures = [
        name
        for name, dtype in TABLES[table].items()
        if (isinstance(dtype, pl.Decimal) and name != "fx_rate") or name == "outcome_count"
    ]
    words = [name for name in frame.columns if name not in (*figures, "sign", "commit_id")]
    sums = [pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name) for name in figures]
    net = frame.group_by(words).agg(*sums, pl.col("sign").cast(pl.Int64).sum())
    standing, withdrawn = net.filter(sign=1), net.filter(sign=0)
    assert standing.height + withdrawn.height == net.height, f"{table}: signs sum to neither 0 nor 1: {net}"
    nothing = withdrawn.filter(pl.all_horizontal(pl.col(figures).fill_null(0) == 0))
    assert nothing.height == withdrawn.height, f"{table}: rows without standing that do not sum to 0: {withdrawn}"
    keys = standing.select(LEDGER_KEYS[table])
    assert not keys.is_duplicated().any(), f"{table}: keys that stand twice: {standing}"
    return standing


def compare_published(case: ConformanceCase, out: Path, partitions: int = 1) -> None:
    """Assert that an output folder holds what the case expects, row by row. partitions: of each topic."""
    is_live = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["engine"] == "live"
    for table in EXPECTED:
        compare(case, table, published_rows(out, table), settled_only=is_live)
    for row in published_rows(out, "dead_letters"):
        records = case.topic_records(row["source_topic"])
        assert row["record_value"] in (records[row["source_offset"] :][:1] if partitions == 1 else records)
    commits = published_rows(out, "commits")
    written = Counter(record.topic for record in case.records if record.line.strip())
    assert {row["source_topic"]: row["read"] for row in commits} == written
    for row in commits:
        assert row["read"] == row["accepted"] + row["duplicates"] + row["dead_letters"] + row["ignored"]


def compare_reference(case: ConformanceCase, result: Result) -> None:
    """Assert that the reference, too, finds what the case expects in its ledgers and of scores."""
    for table in ("scores", *LEDGER_KEYS):
        rows = getattr(result, table)
        compare(case, table, [{name: _plain(row[name], TABLES[table][name]) for name in row} for row in rows])
    letters = case.expected.get("dead_letters", _NO_LETTERS).rows
    conflicting = [row for row in letters if row["reason"] == "conflicting_duplicate"]
    places = sorted((position[0], position[3]) for _, _, position in result.conflicting)
    assert places == sorted((row["source_topic"], row["source_offset"]) for row in conflicting)


def _plain(value: Any, dtype: pl.DataType) -> Any:
    """A value of the reference as a reader of the published tables sees it."""
    if isinstance(dtype, pl.Decimal) and value is not None:
        return Decimal(value).scaleb(-9)
    return EPOCH + timedelta(microseconds=value) if dtype == TIME else value


def compare(case: ConformanceCase, table: str, rows: Iterable[Row], *, settled_only: bool = False) -> None:
    """Assert that rows are those which the case expects of a table, in the columns that it names."""
    expected = case.expected.get(table)
    if expected is None:
        if table not in _EMPTY_UNLESS_TOLD:
            return
        expected = Table(tuple(TABLES[table]), ())
    wanted: Iterable[Row] = expected.rows
    if settled_only and table == "attributed":
        wanted = [row for row in expected.rows if row["settled"]]
    found, right = Counter(_shown(rows, expected.columns)), Counter(_shown(wanted, expected.columns))
    differences = [f"  expected {row}" for row in right - found] + [f"  found    {row}" for row in found - right]
    assert not differences, "\n".join([f"{case.title}: {table}:", *differences])


def _shown(rows: Iterable[Row], columns: Sequence[str]) -> list[str]:
    """Rows as text, equal exactly where the values are."""
    return ["  ".join(f"{name}={_value_text(row[name])}" for name in columns) for row in rows]


def _value_text(value: Any) -> str:
    if isinstance(value, Decimal):
        # Not by arithmetic, which would round to the context's precision.
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return "-" if value is None else repr(value) if isinstance(value, str) else str(value)
