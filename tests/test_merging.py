"""Which segments are merged, and that a merge changes nothing but their number."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import polars as pl

from streams.live.families import WAITS
from streams.live.family_state import FamilyState
from streams.live.merging import Merged, Merger, groups
from streams.live.segments import SegmentFile

BUCKET = 100


def file(name: str, rows: int, first: int, last: int) -> SegmentFile:
    return SegmentFile(name, rows, rows * 10, 0, first, last)


def names(found: list[list[SegmentFile]]) -> list[list[str]]:
    return [[one.name for one in group] for group in found]


def test_four_of_one_bucket_and_about_one_size_are_merged() -> None:
    small = [file(f"s{number}", 100, 110, 120) for number in range(4)]
    assert names(groups(small, BUCKET)) == [["s0", "s1", "s2", "s3"]]
    assert groups(small[:3], BUCKET) == []
    assert groups([*small[:3], file("large", 100_000, 110, 120)], BUCKET) == []
    assert groups([*small[:3], file("elsewhere", 100, 210, 220)], BUCKET) == []


def test_segments_of_several_buckets_are_merged_with_each_other() -> None:
    across = [file(f"a{number}", 100, 110, 420) for number in range(4)]
    assert names(groups([*across, file("s", 100, 110, 120)], BUCKET)) == [["a0", "a1", "a2", "a3"]]


def test_a_large_segment_is_left_alone_and_of_several_buckets_dealt_out_alone() -> None:
    assert groups([file(f"l{number}", 600_000, 110, 120) for number in range(8)], BUCKET) == []
    assert names(groups([file("l", 600_000, 110, 320)], BUCKET)) == [["l"]]


def test_no_merge_has_more_than_a_million_rows() -> None:
    middling = [file(f"m{number}", 300_000, 110, 120) for number in range(8)]
    assert names(groups(middling, BUCKET)) == [["m0", "m1", "m2"]]


def rows(first: int, count: int) -> pl.DataFrame:
    number = np.arange(first, first + count, dtype=np.int64)
    return pl.DataFrame({"expiry_us": number, "outcome_hash": number.astype(np.uint64), "outcome_number": number * 7})


def finished(merger: Merger) -> Merged:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        merged = merger.finished()
        if merged is not None:
            return merged
        time.sleep(0.01)
    raise AssertionError("the merge did not end")


def test_a_merge_leaves_out_what_has_expired_and_deals_the_rest_out_by_expiry(tmp_path: Path) -> None:
    state = FamilyState(tmp_path, WAITS)
    for number in range(4):
        state.add(f"{number}.arrow", rows(100 * number, 250))
    columns = ["expiry_us", "outcome_number"]
    before = state.expiring(150, 10_000, columns)
    merger = Merger(tmp_path, 1, {WAITS.name: BUCKET})
    merger.start({WAITS.name: state.files()}, 5, watermark_us=150)
    merged = finished(merger)
    merger.close()
    gone = state.replace(merged.old, merged.new)
    assert [one.name for one in gone] == ["0.arrow", "1.arrow", "2.arrow", "3.arrow"]
    assert state.expiring(150, 10_000, columns).sort(columns).equals(before.sort(columns))
    assert state.expiring(None, 150, columns).height == 0
    assert [(one.min_expiry_us, one.max_expiry_us) for one in state.files()] == [
        (150, 199), (200, 299), (300, 399), (400, 499), (500, 549)
    ]  # fmt: skip


def test_what_was_forgotten_while_a_merge_ran_is_not_missed(tmp_path: Path) -> None:
    state = FamilyState(tmp_path, WAITS)
    for number in range(4):
        state.add(f"{number}.arrow", rows(100 * number, 50))
    merger = Merger(tmp_path, 1, {WAITS.name: 10_000})
    merger.start({WAITS.name: state.files()}, 5, watermark_us=None)
    merged = finished(merger)
    merger.close()
    assert [one.name for one in state.forget(120)] == ["0.arrow"]
    assert [one.name for one in state.replace(merged.old, merged.new)] == ["1.arrow", "2.arrow", "3.arrow"]
    assert state.count(120) == 130


def test_a_segment_that_expired_and_was_deleted_before_a_merge_read_it_is_left_out(tmp_path: Path) -> None:
    state = FamilyState(tmp_path, WAITS)
    for number in range(4):
        state.add(f"{number}.arrow", rows(100 * number, 50))
    listed = state.files()
    (tmp_path / "0.arrow").unlink()
    merger = Merger(tmp_path, 1, {WAITS.name: 10_000})
    merger.start({WAITS.name: listed}, 5, watermark_us=None)
    merged = finished(merger)
    merger.close()
    assert sum(segment.file.rows for segment in merged.new) == 150
