"""``attribution explain`` on the folders it may meet: ledgers of the live engine, altered rows, things not there."""

from __future__ import annotations

import re
import shutil
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from schemas.errors import ConfigurationError, UnavailableError
from tests.explained_folder import (
    REFUNDED,
    change_manifest,
    of_inference,
    of_outcome,
    publish,
    refund,
    replace_table,
    table,
)
from tests.printed import section

# --- ledgers of the live engine ---


def live(out: Path) -> Path:
    """The ledger of section 6's worked example: a split, then a refund, then a late third touch."""
    replayed = table(out, "credits")
    changes = [("i1", 15, 0, 50, 1), ("i2", 15, 0, 50, 1), ("i1", -3, -3, -10, 0), ("i2", -3, -3, -10, 0)]
    rows = []
    for name, value, reversed_value, amount, sign in changes:
        row = replayed.filter(pl.col("inference_id") == name).to_dicts()[0]
        figures = {"value": Decimal(value), "reversed_value": Decimal(reversed_value), "amount": Decimal(amount)}
        rows.append(row | figures | {"sign": sign, "commit_id": 7 if sign else 9})
    so_far = pl.DataFrame(rows, schema=replayed.schema)
    sums = so_far.group_by("inference_id").agg(pl.col("value", "reversed_value", "amount").sum())
    late = replayed.join(sums, on="inference_id", how="left", suffix="_before").with_columns(
        *(pl.col(n) - pl.col(f"{n}_before").fill_null(0) for n in ("value", "reversed_value", "amount")),
        pl.when(pl.col("value_before").is_null()).then(1).otherwise(0).alias("sign"),
        pl.lit(12).alias("commit_id"),
    )
    replace_table(out, "credits", pl.concat([so_far, late.select(so_far.columns).cast(so_far.schema)]))
    change_manifest(out, engine="live", commit_id=12)
    return out


def test_a_ledger_of_corrections_is_explained_as_its_net(tmp_path: Path) -> None:
    text = of_outcome(live(publish(tmp_path, REFUNDED)), "o1")
    published = section(text, "Published")
    assert "published value(i1) = 8" in published
    assert "3 ledger rows of commit 7, 9, 12" in published
    assert published.endswith("The published rows are equal to the recomputed ones.")


def test_rows_of_a_commit_after_the_manifests_are_not_read(tmp_path: Path) -> None:
    out = live(publish(tmp_path, REFUNDED))
    change_manifest(out, commit_id=9)
    text = of_outcome(out, "o1")
    assert "published value(i1) = 12" in text
    assert "only recomputed: credits: outcome_id o1, inference_id i3" in text


def test_the_attributed_row_of_an_open_inference_is_still_to_come(tmp_path: Path) -> None:
    out = live(publish(tmp_path, REFUNDED))
    replace_table(out, "attributed", table(out, "attributed").clear())
    assert section(of_inference(out, "i1"), "Published") == (
        "no attributed row yet: the live engine publishes it when the inference settles\n"
        "1 standing credit row\n"
        "The published rows are equal to the recomputed ones."
    )


@pytest.mark.parametrize(
    ("watermark", "waits"), [("2026-03-03T10:00:00.000000Z", True), ("2026-03-03T10:00:00.000001Z", False)]
)
def test_an_outcome_that_waits_says_until_when(tmp_path: Path, watermark: str, *, waits: bool) -> None:
    out = publish(tmp_path, REFUNDED)
    replace_table(out, "credits", table(out, "credits").clear())
    change_manifest(out, engine="live", watermark=watermark)
    published = section(of_outcome(out, "o1"), "Published")
    until = "nothing yet: it waits for what it names until the watermark passes 2026-03-03T10:00:00Z"
    assert (published == until) is waits
    assert ("only recomputed" in published) is not waits


def test_an_altered_figure_is_shown_as_a_difference(tmp_path: Path) -> None:
    out = publish(tmp_path, REFUNDED)
    replace_table(out, "credits", table(out, "credits").with_columns(pl.col("value") + Decimal("0.000000001")))
    published = section(of_outcome(out, "o1"), "Published")
    assert "The published rows differ from the recomputed ones:" in published
    assert published.count("only published:") == published.count("only recomputed:") == 3


# --- what is not there ---


def test_an_unknown_id_is_wrong_usage_and_is_named(tmp_path: Path) -> None:
    out = publish(tmp_path, REFUNDED)
    with pytest.raises(ConfigurationError, match=r'--outcome: expected .*, got "o9"'):
        of_outcome(out, "o9")
    with pytest.raises(ConfigurationError, match=r'--inference: expected .*, got "o1"'):
        of_inference(out, "o1")
    with pytest.raises(ConfigurationError, match="that is a reversal: see --outcome o1"):
        of_outcome(out, "r1")


def test_an_outcome_known_only_from_its_reversals_is_explained_as_missing(tmp_path: Path) -> None:
    text = of_outcome(publish(tmp_path, REFUNDED | {"reversals": [refund("r1", "o9")]}), "o9")
    assert "there is no such outcome, so these reversals take nothing back:" in text
    assert "r1: at 2026-03-05T10:00:00Z, takes all that is left" in text
    assert "unattributed r1, reversal_unmatched" in text


@pytest.mark.parametrize("gone", ["manifest.json", "credits", "outcomes", "inferences", "rules"])
def test_a_folder_without_its_tables_is_unavailable(tmp_path: Path, gone: str) -> None:
    out = publish(tmp_path, REFUNDED)
    (out / gone).unlink() if gone.endswith(".json") else shutil.rmtree(out / gone)
    with pytest.raises(UnavailableError, match=re.escape(str(out))):
        of_outcome(out, "o1")


def test_a_pipeline_without_rates_has_none_beside_its_tables(tmp_path: Path) -> None:
    out = publish(tmp_path, REFUNDED)
    (out / "fx.csv").unlink()
    assert "The published rows are equal to the recomputed ones." in of_outcome(out, "o1")
