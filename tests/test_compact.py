"""A compact copy of published tables holds the same rows in fewer files, whatever the engine does meanwhile."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, UnavailableError
from schemas.outputs import TABLES, in_files
from streams import compact as compact_module
from streams.compact import compact
from streams.published import scan_table, table_files
from streams.ratio_command import RatioOptions, run_ratio
from tests.published import at, credit, frame, inference, publish, worked_example

NEWEST = 2


def several_commits(out: Path) -> Path:
    """Two commits over three days; o1 is credited in the first and reversed in the second."""
    outcomes = [{"event_id": f"o{n}", "kind": "conversion", "event_time": at(n), "commit_id": n} for n in (1, 2)]
    score = {"name": "tone", "score": Decimal("-0.5"), "inference_ids": ["i1"]}
    return publish(
        out,
        inferences=[
            *(inference(n, commit_id=1 + n % 2, event_time=at(n, day)) for day in (2, 3, 4) for n in range(5)),
            inference(7, attributes='{"team":"ü"}', model=""),
        ],
        outcomes=[row | {"inference_ids": ["i1", "i2"]} for row in outcomes],
        scores=[score | {"event_id": f"s{n}", "event_time": at(n, 1 + n), "commit_id": n} for n in (1, 2)],
        credits=[credit("o1", 1, "15", "50"), credit("o1", 1, "-3.000000001", "-10", sign=0, commit_id=2)],
        dead_letters=[{"reason": "not_utf8", "record_value": b"\xff\x00", "commit_id": 1}],
    )


def by_polars(out: Path, table: str) -> list[tuple[object, ...]]:
    return sorted(scan_table(out, table).collect().rows(), key=repr)


def by_duckdb(out: Path, table: str) -> tuple[list[tuple[object, ...]], list[str]]:
    found = duckdb.read_parquet(f"{out}/{table}/*/*.parquet", hive_partitioning=True)
    return sorted(found.fetchall(), key=repr), [str(dtype) for dtype in found.types]


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# --- the same rows ---


def test_every_table_holds_the_same_rows_in_fewer_files_for_polars_and_duckdb(tmp_path: Path) -> None:
    out, to = several_commits(tmp_path / "out"), tmp_path / "new" / "copy"
    counted = compact(out, to)
    for table in TABLES:
        assert by_polars(to, table) == by_polars(out, table), table
        assert by_duckdb(to, table) == by_duckdb(out, table), table
        assert counted[table] == len(by_polars(out, table))
        assert len(table_files(to, table)) <= len(table_files(out, table))
    assert len(table_files(to, "inferences")) < len(table_files(out, "inferences"))


def test_a_table_has_one_file_per_day_that_has_rows(tmp_path: Path) -> None:
    out, to = several_commits(tmp_path / "out"), tmp_path / "copy"
    compact(out, to)
    assert [str(file.relative_to(to)) for file in table_files(to, "inferences")] == [
        f"inferences/date=2026-03-0{day}/000000000002-0000.parquet" for day in (2, 3, 4)
    ]


def test_ledger_rows_stay_signed_rows_with_their_commits(tmp_path: Path) -> None:
    out, to = several_commits(tmp_path / "out"), tmp_path / "copy"
    compact(out, to)
    found = scan_table(to, "credits").select(pl.col("value").cast(pl.String), "sign", "commit_id").collect()
    assert found.rows() == [("15.000000000", 1, 1), ("-3.000000001", 0, 2)]


def test_a_table_without_rows_is_one_file_with_its_schema(tmp_path: Path) -> None:
    out, to = several_commits(tmp_path / "out"), tmp_path / "copy"
    assert compact(out, to)["unattributed"] == 0
    (file,) = table_files(to, "unattributed")
    assert file.parent.name == "date=1970-01-01"
    assert pl.read_parquet(file, hive_partitioning=False).schema == pl.Schema(in_files("unattributed"))


def test_the_files_have_the_published_schema_and_zstd(tmp_path: Path) -> None:
    out, to = several_commits(tmp_path / "out"), tmp_path / "copy"
    compact(out, to)
    for table in TABLES:
        published = pq.read_metadata(table_files(out, table)[-1])
        for file in table_files(to, table):
            copied = pq.read_metadata(file)
            assert copied.schema.equals(published.schema), table
            assert copied.schema.to_arrow_schema() == published.schema.to_arrow_schema(), table
            if copied.num_row_groups:
                column = copied.row_group(0).column(0)
                assert column.compression == "ZSTD"
                assert column.is_stats_set


def test_a_report_from_the_copy_has_the_figures_of_the_source(tmp_path: Path) -> None:
    out, to = worked_example(tmp_path / "out"), tmp_path / "copy"
    publish(out, outcomes=[], scores=[], dead_letters=[])
    compact(out, to)
    options = RatioOptions(costs=out / "costs.toml", format="csv")
    of_source, of_copy = (
        # The report's digests are of files, and the copy has others.
        [row | {"digests": ""} for row in csv.DictReader(run_ratio(folder, options).splitlines())]
        for folder in (out, to)
    )
    assert of_copy == of_source
    assert len(of_copy) > 1


def test_a_copy_of_a_copy_is_the_same(tmp_path: Path) -> None:
    out = several_commits(tmp_path / "out")
    compact(out, tmp_path / "first")
    compact(tmp_path / "first", tmp_path / "second")
    for table in TABLES:
        first, second = (
            {str(file.relative_to(folder)): pl.read_parquet(file).rows() for file in table_files(folder, table)}
            for folder in (tmp_path / "first", tmp_path / "second")
        )
        assert first == second


@settings(max_examples=25)
@given(
    files=st.lists(st.lists(st.integers(0, NEWEST + 2), max_size=9), min_size=1, max_size=5),
    block_rows=st.integers(1, 12),
    file_rows=st.integers(1, 30),
)
def test_rows_are_in_order_of_commit_then_file_whatever_the_size_of_blocks_and_files(
    files: list[list[int]], block_rows: int, file_rows: int
) -> None:
    with (
        TemporaryDirectory() as folder,
        patch.object(compact_module, "_BLOCK_BYTES", block_rows * compact_module._LEAST_ROW_BYTES),
        patch.object(compact_module, "_ROWS_PER_FILE", file_rows),
    ):
        out, to = publish(Path(folder) / "out", outcomes=[], scores=[], dead_letters=[]), Path(folder) / "copy"
        day = out / "credits" / "date=2026-03-03"
        day.mkdir()
        expected = []
        for number, commits in enumerate(files):
            named = [(commit, f"o{number}-{row}") for row, commit in enumerate(commits)]
            of_file = [credit(name, 1, "1", None, commit_id=commit) for commit, name in named]
            frame("credits", of_file).write_parquet(day / f"{number}.parquet", row_group_size=4)
            expected += [row for row in named if row[0] <= NEWEST]
        expected.sort(key=lambda row: row[0])
        assert compact(out, to)["credits"] == len(expected)
        assert scan_table(to, "credits").select("commit_id", "outcome_id").collect().rows() == expected
        heights = [pq.read_metadata(file).num_rows for file in table_files(to, "credits")]
        assert all(height <= max(file_rows, block_rows) for height in heights)
        assert all(one + other > file_rows - block_rows for one, other in pairwise(heights))


# --- beside the tables ---


def test_rules_rates_and_manifest_are_copied_byte_for_byte(tmp_path: Path) -> None:
    out, to = several_commits(tmp_path / "out"), tmp_path / "copy"
    (out / "rules").mkdir()
    (out / "rules" / "reco.toml").write_bytes(b"# r\xc3\xbcles\n")
    (out / "fx.csv").write_bytes(b"date,currency,rate\r\n")
    compact(out, to)
    for name in ("rules/reco.toml", "fx.csv", "manifest.json"):
        assert (to / name).read_bytes() == (out / name).read_bytes()
    assert visible(to) == sorted([*TABLES, "rules", "fx.csv", "manifest.json"])


def test_a_pipeline_without_foreign_money_has_no_rates_to_copy(tmp_path: Path) -> None:
    out, to = several_commits(tmp_path / "out"), tmp_path / "copy"
    compact(out, to)
    assert visible(to) == sorted([*TABLES, "manifest.json"])


# --- an engine that goes on ---


def test_rows_of_commits_after_the_manifests_are_left_out(tmp_path: Path) -> None:
    out, to = several_commits(tmp_path / "out"), tmp_path / "copy"
    expected = {table: by_polars(out, table) for table in TABLES}
    for commit, day in ((3, 2), (4, 9)):
        late = [inference(n, commit_id=commit, event_time=at(n, day)) for n in range(3)]
        folder = out / "inferences" / f"date={date(2026, 3, day)}"
        folder.mkdir(exist_ok=True)
        frame("inferences", late).write_parquet(folder / f"{commit}.parquet")
    compact(out, to)
    for table in TABLES:
        assert by_polars(to, table) == expected[table], table
    assert not (to / "inferences" / "date=2026-03-09").exists()


def test_a_roll_while_it_copies_changes_nothing_in_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, to = several_commits(tmp_path / "out"), tmp_path / "copy"
    expected = {table: by_polars(out, table) for table in TABLES}
    manifest = (out / "manifest.json").read_bytes()

    def roll_then_copy(table: str, files: list[Path], newest: int, folder: Path) -> int:
        later = out / table / "date=2026-03-02" / "3.parquet"
        later.parent.mkdir(exist_ok=True)
        frame(table, [{"commit_id": 3}]).write_parquet(later)
        (out / "manifest.json").write_text(json.dumps(json.loads(manifest) | {"commit_id": 3}))
        return copy_table(table, files, newest, folder)

    copy_table = compact_module._compact_table
    monkeypatch.setattr(compact_module, "_compact_table", roll_then_copy)
    compact(out, to)
    assert (to / "manifest.json").read_bytes() == manifest
    for table in TABLES:
        assert by_polars(to, table) == expected[table], table


# --- what goes wrong ---


@pytest.mark.parametrize("target", ["new", "empty"])
def test_an_interrupted_copy_leaves_nothing(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, to = several_commits(tmp_path / "out"), tmp_path / target
    if target == "empty":
        to.mkdir()
    seen: list[str] = []

    def interrupted(table: str, files: list[Path], newest: int, folder: Path) -> int:
        if table == "attributed":
            seen.extend(visible(to))
            raise KeyboardInterrupt
        return copy_table(table, files, newest, folder)

    copy_table = compact_module._compact_table
    monkeypatch.setattr(compact_module, "_compact_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compact(out, to)
    assert all(name.startswith("_") for name in seen)
    assert to.exists() == (target == "empty")
    assert visible(to) == []
    monkeypatch.undo()
    assert compact(out, to)["credits"] == 2


def test_a_missing_source_is_unavailable_and_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"manifest\.json is not there"):
        compact(tmp_path / "out", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    out = several_commits(tmp_path / "out")
    shutil.rmtree(out / "attributed")
    with pytest.raises(UnavailableError, match="attributed: no published files"):
        compact(out, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_target_that_holds_files_is_wrong_usage_and_stays_as_it_is(tmp_path: Path) -> None:
    out, to = several_commits(tmp_path / "out"), tmp_path / "copy"
    to.mkdir()
    (to / "mine.txt").write_text("kept")
    with pytest.raises(ConfigurationError, match="copy: expected a new or empty folder"):
        compact(out, to)
    assert visible(to) == ["mine.txt"]


@pytest.mark.parametrize("inside", [".", "credits", "new/copy", "../out/new"])
def test_a_target_inside_the_source_is_wrong_usage(inside: str, tmp_path: Path) -> None:
    out = several_commits(tmp_path / "out")
    with pytest.raises(ConfigurationError, match="expected a folder outside of"):
        compact(out, out / inside)
    assert not (out / "new").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop("via"), "got none named via"),
        (lambda rows: rows.with_columns(pl.col("sign").cast(pl.Int64)), "got sign as Int64, not Int8"),
        (lambda rows: rows.with_columns(pl.lit("x").alias("note")), "got note too"),
        (lambda rows: rows.select(reversed(rows.columns)), "got another order"),
    ],
    ids=["missing", "type", "unknown", "order"],
)
def test_a_file_of_another_schema_is_named_with_the_column(
    change: Callable[[pl.DataFrame], pl.DataFrame], message: str, tmp_path: Path
) -> None:
    out = several_commits(tmp_path / "out")
    file = out / "credits" / "date=2026-03-03" / "9.parquet"
    change(frame("credits", [credit("o9", 1, "1", None)])).write_parquet(file)
    with pytest.raises(UnavailableError, match=f"{file}: expected the columns of credits, {message}"):
        compact(out, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    out = several_commits(tmp_path / "out")
    file = out / "credits" / "date=2026-03-03" / "9.parquet"
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(UnavailableError, match=f"{file}: cannot be read"):
        compact(out, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_file_that_vanishes_while_it_is_copied_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = several_commits(tmp_path / "out")
    file = out / "credits" / "date=2026-03-03" / "2.parquet"
    write = compact_module._write

    def removed_then_written(*arguments: object) -> int:
        file.unlink(missing_ok=True)
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compact_module, "_write", removed_then_written)
    with pytest.raises(UnavailableError, match=f"{file}"):
        compact(out, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
