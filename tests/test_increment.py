"""Signed rows of differences: plain sums give what is known now."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from attribution.increment import difference
from schemas.outputs import LEDGER_KEYS, TABLES

_WORDS = ("rule a", "rule b")


def ledger(*rows: tuple[str, str, int, int | None, str]) -> pl.DataFrame:
    """Rows of (outcome, inference, value, amount, rule)."""
    schema = {name: dtype for name, dtype in TABLES["credits"].items() if name not in ("sign", "commit_id")}
    named = ("outcome_id", "inference_id", "value", "amount", "rule_id")
    filled = [dict.fromkeys(schema) | dict(zip(named, row, strict=True)) for row in rows]
    texts = {name: pl.String() if dtype == TABLES["credits"]["kind"] else dtype for name, dtype in schema.items()}
    return pl.DataFrame(filled, schema=texts).cast(dict(schema))  # type: ignore[arg-type]


def signed(before: pl.DataFrame, after: pl.DataFrame) -> list[tuple[object, ...]]:
    rows = difference("credits", before, after)
    return sorted(rows.select("outcome_id", "inference_id", "value", "rule_id", "sign").cast({"rule_id": str}).rows())


def test_a_row_that_was_not_there_stands_from_now_on() -> None:
    assert signed(ledger(), ledger(("o", "i", 3, 3, "r"))) == [("o", "i", Decimal(3), "r", 1)]


def test_a_row_that_is_gone_is_withdrawn_with_its_own_figures() -> None:
    assert signed(ledger(("o", "i", 3, 3, "r")), ledger()) == [("o", "i", Decimal(-3), "r", -1)]


def test_only_figures_change_a_row_of_differences() -> None:
    assert signed(ledger(("o", "i", 15, 50, "r")), ledger(("o", "i", 12, 40, "r"))) == [("o", "i", Decimal(-3), "r", 0)]


def test_nothing_changes_no_row() -> None:
    same = ledger(("o", "i", 15, 50, "r"), ("o", "j", 15, None, "r"))
    assert signed(same, same) == []


def test_a_word_changes_the_old_row_goes_and_a_new_one_comes() -> None:
    assert signed(ledger(("o", "i", 15, 50, "old")), ledger(("o", "i", 15, 50, "new"))) == [
        ("o", "i", Decimal(-15), "old", -1),
        ("o", "i", Decimal(15), "new", 1),
    ]


def test_an_amount_that_begins_to_exist_is_a_new_row() -> None:
    rows = signed(ledger(("o", "i", 0, None, "r")), ledger(("o", "i", 0, 7, "r")))
    assert [row[-1] for row in rows] == [-1, 1]


_LEDGER = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")),
    st.tuples(st.integers(-9, 9), st.none() | st.integers(0, 9), st.sampled_from(_WORDS)),
)


@given(_LEDGER, _LEDGER)
def test_before_and_differences_sum_to_after(before: dict, after: dict) -> None:  # type: ignore[type-arg]
    first, last = (ledger(*((*key, *row) for key, row in rows.items())) for rows in (before, after))
    booked = pl.concat([difference("credits", ledger(), first), difference("credits", first, last)])
    figures = ("amount", "value", "reversed_value", "seconds")
    words = [name for name in first.columns if name not in figures]
    net = booked.group_by(words).agg(pl.col("amount", "value").sum(), pl.col("sign").sum())
    assert net["sign"].is_in([0, 1]).all()
    gone = net.filter(sign=0)
    assert gone.filter((pl.col("amount") != 0) | (pl.col("value") != 0)).height == 0
    key = list(LEDGER_KEYS["credits"])
    standing = net.filter(sign=1).select(*key, pl.col("rule_id").cast(str), "value", "amount").sort(key)
    expected = last.select(*key, pl.col("rule_id").cast(str), "value", pl.col("amount").fill_null(0)).sort(key)
    assert standing.rows() == expected.rows()
