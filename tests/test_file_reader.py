"""A topic of files is read record by record, left anywhere and gone on with there; nothing twice, nothing lost."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import UnavailableError
from streams.json_lines import Lines
from streams.live.file_reader import FileReader, InputFile


def write(folder: Path, name: str, lines: list[str]) -> None:
    target = folder / "t" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines).encode()
    target.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)


def read(reader: FileReader, max_records: int, blocks: int | None = None) -> list[tuple[str, int, str]]:
    """(file, record number, line) of every record, of at most so many blocks."""
    found: list[tuple[str, int, str]] = []
    while blocks is None or blocks > 0:
        block = reader.next_block(max_records)
        if block is None:
            break
        assert isinstance(block.data, bytes)
        lines = Lines(block.data)
        assert 0 < len(lines) <= max_records
        found += [(block.file, block.first_offset + number, lines[number].decode()) for number in range(len(lines))]
        blocks = None if blocks is None else blocks - 1
    return found


def test_files_are_read_in_name_order_in_blocks_as_asked(tmp_path: Path) -> None:
    write(tmp_path, "b.jsonl", ["3"])
    write(tmp_path, "a.jsonl.gz", ["1", "", "2"])
    assert read(FileReader(tmp_path, "t"), 1) == [("a.jsonl.gz", 0, "1"), ("a.jsonl.gz", 1, "2"), ("b.jsonl", 0, "3")]


def test_a_file_that_comes_late_is_read_though_its_name_stands_before(tmp_path: Path) -> None:
    write(tmp_path, "b.jsonl", ["2"])
    reader = FileReader(tmp_path, "t")
    assert read(reader, 9) == [("b.jsonl", 0, "2")]
    write(tmp_path, "a.jsonl", ["1"])
    assert read(reader, 9) == [("a.jsonl", 0, "1")]
    assert [file.name for file in reader.take_finished()] == ["b.jsonl", "a.jsonl"]
    assert reader.take_finished() == []


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from(["", "x", " ", "yy"]), max_size=6), max_size=4),
    st.integers(1, 7),
    st.integers(0, 8),
    st.sampled_from(["jsonl", "jsonl.gz"]),
)
def test_left_anywhere_and_gone_on_with_there_gives_every_record_once(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], size: int, blocks: int, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("log")
    (folder / "t").mkdir()
    for number, lines in enumerate(files):
        write(folder, f"{number}.{suffix}", lines)
    whole = read(FileReader(folder, "t"), 100)
    assert len(whole) == sum(line.strip() != "" for lines in files for line in lines)
    first = FileReader(folder, "t")
    start = read(first, size, blocks)
    second = FileReader(folder, "t", first.take_finished(), first.unfinished)
    assert start + read(second, 3) == whole


def test_rows_of_parquet_are_cut_and_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    pl.DataFrame({"n": range(10)}).write_parquet(tmp_path / "t" / "a.parquet")
    reader = FileReader(tmp_path, "t")
    block = reader.next_block(4)
    assert block is not None
    assert isinstance(block.data, pl.DataFrame)
    again = FileReader(tmp_path, "t", [], reader.unfinished).next_block(100)
    assert again is not None
    assert isinstance(again.data, pl.DataFrame)
    assert block.data["n"].to_list() + again.data["n"].to_list() == list(range(10))
    assert again.first_offset == 4


def known(folder: Path) -> tuple[list[InputFile], InputFile | None]:
    """What a reader knows of a finished and an unfinished file."""
    write(folder, "a.jsonl", ["1"])
    write(folder, "b.jsonl", ["2", "3"])
    reader = FileReader(folder, "t")
    read(reader, 1, 2)
    return reader.take_finished(), reader.unfinished


def test_a_finished_file_may_go(tmp_path: Path) -> None:
    state = known(tmp_path)
    (tmp_path / "t" / "a.jsonl").unlink()
    assert read(FileReader(tmp_path, "t", *state), 9) == [("b.jsonl", 1, "3")]


def test_an_unfinished_file_that_is_gone_is_named(tmp_path: Path) -> None:
    state = known(tmp_path)
    (tmp_path / "t" / "b.jsonl").unlink()
    with pytest.raises(UnavailableError, match=r"b\.jsonl: was read in part and is gone"):
        FileReader(tmp_path, "t", *state)


@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl"])
def test_a_known_file_that_changed_is_named_though_its_size_is_the_same(name: str, tmp_path: Path) -> None:
    state = known(tmp_path)
    file = tmp_path / "t" / name
    file.write_bytes(file.read_bytes().replace(b"\n", b" "))
    os.utime(file, ns=(1, 1))
    with pytest.raises(UnavailableError, match=rf"{name}: has changed since it was read"):
        read(FileReader(tmp_path, "t", *state), 9)


def test_a_copy_with_a_new_time_is_the_same_file(tmp_path: Path) -> None:
    state = known(tmp_path)
    os.utime(tmp_path / "t" / "a.jsonl", ns=(1, 1))
    assert read(FileReader(tmp_path, "t", *state), 9) == [("b.jsonl", 1, "3")]
