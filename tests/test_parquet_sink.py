"""Published files: plain text for every reader whatever the dictionary in memory, one folder per day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from schemas.errors import UnavailableError
from schemas.events import WORD
from schemas.outputs import TABLES, in_files
from streams.parquet_sink import day_slices, write_frame

DAY_US = 86_400_000_000
COMMIT_DAY = date(2026, 3, 1)


def attributed(models: list[str], days: list[int]) -> pl.DataFrame:
    """A frame of ``attributed`` with a dictionary of its own."""
    frame = pl.DataFrame(
        {
            "inference_id": [f"i{day}-{model}" for day, model in zip(days, models, strict=True)],
            "event_time": pl.Series([day * DAY_US for day in days]).cast(pl.Datetime("us", "UTC")),
            "model": pl.Series(models).cast(WORD),
        }
    )
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name))
        for name, dtype in TABLES["attributed"].items()
    )


def test_files_with_different_dictionaries_read_as_one_table_in_every_reader(tmp_path: Path) -> None:
    write_frame("attributed", attributed(["a", "b"], [0, 1]), tmp_path, "1", COMMIT_DAY)
    write_frame("attributed", attributed(["c", "ü", ""], [1, 1, 2]), tmp_path, "2", COMMIT_DAY)
    glob = str(tmp_path / "attributed" / "**" / "*.parquet")
    expected = ["", "a", "b", "c", "ü"]
    by_polars = pl.read_parquet(glob, hive_partitioning=False)
    assert by_polars.schema == pl.Schema(in_files("attributed"))
    assert sorted(by_polars["model"]) == expected
    assert sorted(pl.scan_parquet(glob, hive_partitioning=False).collect(engine="streaming")["model"]) == expected
    assert sorted(row[0] for row in duckdb.read_parquet(glob).select("model").fetchall()) == expected
    assert sorted(pd.read_parquet(tmp_path / "attributed")["model"]) == expected
    assert sorted(ds.dataset(tmp_path / "attributed", partitioning="hive").to_table()["model"].to_pylist()) == expected


def test_rows_lie_under_the_day_of_their_event(tmp_path: Path) -> None:
    files = write_frame("attributed", attributed(["a", "b", "c"], [1, 0, 1]), tmp_path, "n", COMMIT_DAY)
    assert [(file.path, file.rows) for file in files] == [
        ("attributed/date=1970-01-01/n.parquet", 1),
        ("attributed/date=1970-01-02/n.parquet", 2),
    ]


def test_a_table_without_rows_is_one_file_with_its_schema(tmp_path: Path) -> None:
    for table, schema in TABLES.items():
        (file,) = write_frame(table, pl.DataFrame(schema=schema), tmp_path, "n", COMMIT_DAY)
        assert file.path == f"{table}/date=1970-01-01/n.parquet"
        assert pl.read_parquet(tmp_path / file.path, hive_partitioning=False).schema == pl.Schema(in_files(table))


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "attributed").write_text("in the way")
    with pytest.raises(UnavailableError, match="cannot be written"):
        write_frame("attributed", attributed(["a"], [0]), tmp_path, "n", COMMIT_DAY)


def test_ordered_days_are_plain_slices_and_unordered_ones_keep_their_order_within_a_day() -> None:
    ordered = list(day_slices(np.array([3, 3, 5])))
    assert [part.rows for part in ordered] == [slice(0, 2), slice(2, 3)]
    mixed = {part.day: part.rows for part in day_slices(np.array([1, 0, 1, 0]))}
    assert [list(rows) for rows in mixed.values() if not isinstance(rows, slice)] == [[1, 3], [0, 2]]
    assert list(day_slices(np.array([], dtype=np.int64))) == []
