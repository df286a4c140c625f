"""The files source: which files, in which order, cut into which blocks, and what cannot be read."""

from __future__ import annotations

import gzip
import os
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import UnavailableError
from schemas.events import Kind
from streams.decode import Block, decode
from streams.file_source import read_blocks, topic_files
from tests.records import LIMITS, record


def compress_zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)  # type: ignore[no-any-return]


def write(folder: Path, name: str, data: bytes = b"{}\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    if name.endswith(".gz"):
        data = gzip.compress(data)
    elif name.endswith(".zst"):
        with pa.CompressedOutputStream(str(file), "zstd") as stream:
            stream.write(data)
        return file
    file.write_bytes(data)
    return file


def datas(blocks: list[Block]) -> list[bytes]:
    return [block.data for block in blocks if isinstance(block.data, bytes)]


def test_files_come_in_name_order_and_other_names_are_left_alone(tmp_path: Path) -> None:
    names = ["b.jsonl", "a.jsonl.gz", "Z.parquet", "10.jsonl", "9.jsonl.zst", "é.jsonl"]
    for name in [*names, ".c.jsonl", "_d.jsonl", "e.json", "f.jsonl.tmp", "jsonl", "g.csv"]:
        write(tmp_path / "topic", name)
    write(tmp_path / "topic" / "h.jsonl", "inner.jsonl")
    found = [file.name for file in topic_files(tmp_path, "topic")]
    assert found == ["10.jsonl", "9.jsonl.zst", "Z.parquet", "a.jsonl.gz", "b.jsonl", "é.jsonl"]


def test_an_empty_folder_has_no_files_and_a_missing_one_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "topic").mkdir()
    assert topic_files(tmp_path, "topic") == []
    with pytest.raises(UnavailableError, match="missing: no such folder") as error:
        topic_files(tmp_path, "missing")
    assert error.value.exit_code == 3
    with pytest.raises(UnavailableError, match=r"f\.jsonl"):
        topic_files(write(tmp_path, "f.jsonl").parent, "f.jsonl")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_lines_are_read_whole_whatever_the_compression_and_the_last_line_end(
    tmp_path: Path, suffix: str, end: bytes
) -> None:
    lines = [record(Kind.CONVERSION, event_id=f'"c{n}"') for n in range(100)]
    file = write(tmp_path, f"a{suffix}", b"\n".join(lines) + end)
    blocks = list(read_blocks(file, "topic", block_bytes=1000))
    assert len(blocks) > 3
    assert {(block.topic, block.partition, block.file) for block in blocks} == {("topic", 0, file.name)}
    events = pl.concat([decode(block, Kind.CONVERSION, LIMITS).events for block in blocks])
    assert events["event_id"].to_list() == [f"c{n}" for n in range(100)]
    assert events["source_offset"].to_list() == list(range(100))


@given(st.lists(st.sampled_from([b"{}", b"", b" ", b"\t\r", b'{"a": 1}\r', b"x" * 50])), st.integers(1, 40))
def test_record_numbers_go_on_over_blocks_and_leave_blank_lines_out(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], block_bytes: int
) -> None:
    file = write(tmp_path_factory.getbasetemp(), "numbers.jsonl", b"\n".join(lines))
    letters = [
        letter
        for block in read_blocks(file, "topic", block_bytes=block_bytes)
        for letter in decode(block, Kind.CONVERSION, LIMITS).dead_letters.select("source_offset", "record_value").rows()
    ]
    assert letters == list(enumerate(line.rstrip(b"\r") for line in lines if line.strip()))


def test_a_line_longer_than_a_block_is_one_record(tmp_path: Path) -> None:
    long = b'{"a": "' + b"x" * 10_000 + b'"}'
    file = write(tmp_path, "a.jsonl", b"{}\n" + long + b"\n{}\n")
    blocks = list(read_blocks(file, "topic", block_bytes=64))
    assert b"".join(datas(blocks)) == file.read_bytes()
    assert long in b"".join(datas(blocks)).split(b"\n")
    assert sum(decode(block, Kind.CONVERSION, LIMITS).read for block in blocks) == 3


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_an_empty_file_has_no_blocks(tmp_path: Path, suffix: str) -> None:
    assert list(read_blocks(write(tmp_path, f"a{suffix}", b""), "topic")) == []


def test_several_compressed_members_in_one_file_are_all_read(tmp_path: Path) -> None:
    gz, zst = tmp_path / "a.jsonl.gz", tmp_path / "a.jsonl.zst"
    gz.write_bytes(gzip.compress(b"{}\n") + gzip.compress(b"[]\n"))
    zst.write_bytes(compress_zstd(b"{}\n") + compress_zstd(b"[]\n"))
    for file in (gz, zst):
        assert b"".join(datas(list(read_blocks(file, "topic")))) == b"{}\n[]\n"


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".parquet"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "changed", "empty_header"])
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, suffix: str, damage: str) -> None:
    file = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pl.DataFrame({"a": [str(n) for n in range(10_000)]}).write_parquet(file)
    else:
        write(tmp_path, file.name, os.urandom(50_000).hex().encode() + b"\n")
    whole = file.read_bytes()
    middle = len(whole) // 2
    broken = {
        "cut": whole[:middle],
        "garbage": b"this is something else\n" * 10,
        "changed": whole[:middle] + bytes(64) + whole[middle + 64 :],
        "empty_header": whole[:3],
    }
    file.write_bytes(broken[damage])
    with pytest.raises(UnavailableError, match=rf"a\{suffix}: cannot be read"):
        list(read_blocks(file, "topic"))


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"):
        with pytest.raises(UnavailableError, match=name):
            list(read_blocks(tmp_path / name, "topic"))


def test_parquet_is_read_in_blocks_of_rows(tmp_path: Path) -> None:
    rows = 1000
    frame = pl.DataFrame({"event_id": [f"c{n}" for n in range(rows)]}).with_columns(
        event_time=pl.lit(1_767_225_600_000), type=pl.lit("purchase")
    )
    file = tmp_path / "a.parquet"
    frame.write_parquet(file, row_group_size=300)
    blocks = list(read_blocks(file, "topic", block_bytes=2000))
    assert len(blocks) > 3
    events = pl.concat([decode(block, Kind.CONVERSION, LIMITS).events for block in blocks])
    assert events.select("event_id", "source_offset", "source_file").rows() == [
        (f"c{n}", n, "a.parquet") for n in range(rows)
    ]


def test_the_types_of_other_writers_arrive(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    texts = pa.map_(pa.string(), pa.string())
    table = pa.table(
        {
            "event_id": pa.array(["c1", "c2"]).dictionary_encode(),
            "event_time": pa.array([1_767_225_600_000_000] * 2, pa.timestamp("us", "UTC")),
            "type": pa.array(["purchase"] * 2),
            "amount": pa.array([Decimal("0.000000001"), None], pa.decimal256(50, 12)),
            "currency": pa.array(["EUR", None], pa.large_string()),
            "attributes": pa.array([[("b", "1"), ("a", "2")], None], texts),
            "unknown": pa.array(["{}", "[1]"], pa.json_()),
            "wide": pa.array([[Decimal(1)], None], pa.list_(pa.decimal256(50, 12))),
            "wide_map": pa.array([[("k", Decimal(1))], None], pa.map_(pa.string(), pa.decimal256(50, 12))),
            "nested": pa.array([[{"a": [("k", "v")]}], None], pa.list_(pa.struct([("a", texts)]))),
        }
    )
    pq.write_table(table, file)
    (block,) = read_blocks(file, "topic")
    assert isinstance(block.data, pl.DataFrame)
    assert block.data.columns == table.column_names
    decoded = decode(block, Kind.CONVERSION, LIMITS)
    assert decoded.dead_letters.rows() == []
    assert decoded.events["attributes"].to_list() == ['{"a":"2","b":"1"}', None]
    assert decoded.events["amount"].to_list() == [Decimal("0.000000001"), None]


def test_a_column_name_given_twice_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]), file)
    with pytest.raises(UnavailableError, match=r"a\.parquet: cannot be read"):
        list(read_blocks(file, "topic"))


def test_a_parquet_file_without_rows_has_no_records(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pl.DataFrame(schema={"event_id": pl.String}).write_parquet(file)
    assert [decode(block, Kind.CONVERSION, LIMITS).read for block in read_blocks(file, "topic")] in ([], [0])
