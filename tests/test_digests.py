"""The digest of a money table, against the same text written with Python's csv module."""

from __future__ import annotations

import csv
import hashlib
import io
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from attribution.money import decimals
from schemas.outputs import LEDGER_KEYS, TABLES
from streams.digests import table_digest

TEXTS = (
    st.none()
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
    | st.sampled_from(['a,"b"', "x\ny", "x\ry", "", " ", "#", "é", "～", "😀", "1", "null"])
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "outcome_id": st.text(min_size=1, max_size=4) | st.sampled_from(["a", "b", 'q"', "é", "～", "😀"]),
            "inference_id": TEXTS,
            "reversal_id": TEXTS,
            "use_case": TEXTS,
            "outcome_time": st.integers(0, 3 * 86_400_000_000),
            "amount": st.none() | st.integers(-(10**30), 10**30),
            "value": st.none() | st.sampled_from([0, 1, -1, 10**9, -(10**9), 10**21 - 1]),
            "reason": st.sampled_from(["no_rule", "capped"]),
        }
    ),
    max_size=8,
    unique_by=lambda row: tuple(row[key] for key in LEDGER_KEYS["unattributed"]),
)


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    columns = []
    for name, dtype in TABLES["unattributed"].items():
        values = [row.get(name) for row in rows]
        if isinstance(dtype, pl.Decimal):
            columns.append(decimals(pl.Series(name, values, dtype=pl.Int128)))
        elif isinstance(dtype, pl.Datetime):
            columns.append(pl.Series(name, values, dtype=pl.Int64).cast(dtype))
        else:
            plain = pl.String() if isinstance(dtype, pl.Categorical) else dtype
            columns.append(pl.Series(name, values, dtype=plain).cast(dtype))
    return pl.DataFrame(columns)


def by_hand(rows: list[dict[str, Any]]) -> str:
    names = [name for name in TABLES["unattributed"] if name not in ("sign", "commit_id")]
    keys = LEDGER_KEYS["unattributed"]
    ordered = sorted(
        rows,
        key=lambda row: (
            row["outcome_time"] // 86_400_000_000,
            *((row[key] is not None, (row[key] or "").encode()) for key in keys),
        ),
    )
    text = ",".join(names) + "\n"
    for row in ordered:
        text += ",".join(_cell(row.get(name), TABLES["unattributed"][name]) for name in names) + "\n"
    return hashlib.sha256(text.encode()).hexdigest()


def _cell(value: Any, dtype: pl.DataType) -> str:
    if value is None:
        return ""
    if isinstance(dtype, pl.Decimal):
        whole, fraction = divmod(abs(value), 10**9)
        return f"{'-' if value < 0 else ''}{whole}.{fraction:09d}"
    if isinstance(dtype, pl.Datetime):
        return str(value)
    if value == "":
        return '""'
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([value])
    needs_quotes = any(character in value for character in ',"\r\n')
    return out.getvalue()[:-2] if needs_quotes else value


@given(ROWS)
def test_the_digest_is_that_of_the_csv_text_of_the_contract(rows: list[dict[str, Any]]) -> None:
    assert table_digest("unattributed", [frame(rows)]) == by_hand(rows)


@given(ROWS, st.randoms())
def test_the_digest_does_not_depend_on_the_order_of_rows(rows: list[dict[str, Any]], random: Any) -> None:
    other = list(rows)
    random.shuffle(other)
    assert table_digest("unattributed", [frame(other)]) == table_digest("unattributed", [frame(rows)])


def test_one_unit_changes_the_digest() -> None:
    row = {"outcome_id": "o", "outcome_time": 0, "amount": 1, "reason": "no_rule"}
    assert table_digest("unattributed", [frame([row])]) != table_digest("unattributed", [frame([row | {"amount": 2}])])
