"""Parquet files whose types polars refuses, panics at or reads otherwise than the contract says."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import UnavailableError
from schemas.events import Kind
from streams.decode import Decoded, Limits, decode
from streams.file_source import read_blocks, topic_files

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Limits(1 << 20, 0, 2_000_000_000_000_000)


def read(folder: Path, **columns: Any) -> Decoded:
    """One conversion with further columns, through a file."""
    plain = {"event_id": ["o"], "event_time": pa.array([NOON], pa.timestamp("us", "UTC")), "type": ["sale"]}
    pq.write_table(pa.table(plain | columns), folder / "0.parquet")
    (block,) = read_blocks(folder / "0.parquet", "conversions")
    return decode(block, Kind.CONVERSION, LIMITS)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_double_that_is_no_number_is_no_text_either(tmp_path: Path, number: float) -> None:
    for column in ("event_id", "trace_id", "type", "currency"):
        assert read(tmp_path, **{column: pa.array([number])}).dead_letters.height == 1, column
    assert read(tmp_path, inference_ids=pa.array([[number]])).dead_letters.height == 1
    assert read(tmp_path, attributes=pa.array([{"a": number}])).dead_letters.height == 1
    (reason,) = read(tmp_path, amount=pa.array([number]), currency=["USD"]).dead_letters["reason"]
    assert reason == "invalid_number"


def test_the_first_of_equal_keys_in_a_map_counts(tmp_path: Path) -> None:
    texts = pa.array([[("z", "1"), ("a", "é"), ("z", "2")]], pa.map_(pa.string(), pa.string()))
    assert read(tmp_path, attributes=texts).events["attributes"].to_list() == ['{"a":"é","z":"1"}']
    numbers = pa.array([[("z", 1)]], pa.map_(pa.string(), pa.int64()))
    assert read(tmp_path, attributes=numbers).dead_letters["reason"].to_list() == ["invalid_value"]


@pytest.mark.parametrize("zone", ["+05:30", "US/Pacific", "Asia/Kolkata", "-03:00"])
def test_a_time_of_any_zone_is_that_instant(tmp_path: Path, zone: str) -> None:
    events = read(tmp_path, event_time=pa.array([NOON], pa.timestamp("us", zone))).events
    assert events["event_time"].to_list() == [NOON]
    other = read(tmp_path, unknown=pa.array([[NOON]], pa.list_(pa.timestamp("ns", zone)))).events
    assert other["event_time"].to_list() == [NOON]


def test_list_views_are_lists(tmp_path: Path) -> None:
    listed = pa.array([["b", "a"]], pa.list_view(pa.string()))
    assert read(tmp_path, inference_ids=listed).events["inference_ids"].to_list() == [["a", "b"]]


def test_a_file_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / os.fsdecode(b"\xff.jsonl")).touch()
    with pytest.raises(UnavailableError, match="not UTF-8"):
        topic_files(tmp_path, "t")


@pytest.mark.parametrize("name", ["0.jsonl.gz", "0.jsonl.zst", "0.parquet"])
def test_a_compressed_file_without_bytes_was_cut_off(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UnavailableError, match=name):
        list(read_blocks(tmp_path / name, "t"))


def test_a_link_to_nowhere_is_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "0.jsonl").symlink_to(tmp_path / "gone")
    (file,) = topic_files(tmp_path, "t")
    with pytest.raises(UnavailableError, match=r"0\.jsonl"):
        list(read_blocks(file, "t"))


def test_the_detail_shows_a_number_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_bytes(
        b'{"event_id":"o","event_time":"2026-03-01T12:00:00Z","type":"t","attributes":{"a":1.50}}'
    )
    (block,) = read_blocks(tmp_path / "0.jsonl", "conversions")
    detail = decode(block, Kind.CONVERSION, LIMITS).dead_letters["detail"].item()
    assert '{"a": 1.50}' in detail
