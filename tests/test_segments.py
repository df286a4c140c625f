"""Segments of state: every row is found by each of its keys and read back as it was; a damaged file is named."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import UnavailableError
from streams.live.families import INFERENCES, OUTCOMES, WAITS, Family
from streams.live.filters import bits_of
from streams.live.segments import Segment, SegmentFile, write_segment

FAMILY = Family("f", ("a", "b"), {"a": pl.UInt64(), "b": pl.UInt64(), "expiry_us": pl.Int64(), "text": pl.String()})
_HASH = st.sampled_from([0, 1, 2, 3, 2**64 - 2, 2**64 - 1])
_ROWS = st.lists(st.tuples(_HASH, st.none() | _HASH, st.integers(-5, 5), st.text(max_size=3)), min_size=1)


def written(folder: Path, family: Family, rows: pl.DataFrame) -> tuple[SegmentFile, Segment]:
    file = write_segment(folder, "s.arrow", family, rows)
    return file, Segment(folder, file, family)


@settings(deadline=None)
@given(_ROWS, st.lists(_HASH, max_size=5))
def test_every_row_of_a_hash_is_found_by_either_key(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int | None, int, str]], asked: list[int]
) -> None:
    frame = pl.DataFrame(rows, schema=FAMILY.columns, orient="row")
    file, segment = written(tmp_path_factory.mktemp("s"), FAMILY, frame)
    hashes = np.sort(np.array(asked, dtype=np.uint64))
    for place, key in enumerate(FAMILY.keys):
        positions, at = segment.find(key, hashes, bits_of(hashes))
        found = list(zip(hashes[positions].tolist(), segment.take(at, list(FAMILY.columns)).rows(), strict=True))
        expected = [(wanted, row) for wanted in asked for row in rows if row[place] == wanted]
        assert sorted(found, key=repr) == sorted(expected, key=repr)
    assert sorted(segment.expiries()) == sorted(row[2] for row in rows)
    assert (file.min_expiry_us, file.max_expiry_us) == (min(r[2] for r in rows), max(r[2] for r in rows))


def test_lists_decimals_and_nulls_are_read_back_as_they_were(tmp_path: Path) -> None:
    row: dict[str, object] = dict.fromkeys(OUTCOMES.columns)
    row |= {"id_hash": 7, "expiry_us": 9, "event_id": "o", "amount": Decimal("999999999999.999999999")}
    row |= {"inference_ids": ["a", "é"], "quantity": Decimal("0.000000001"), "seconds": Decimal(-1)}
    frame = pl.DataFrame([row, row | {"id_hash": 5, "inference_ids": None}], schema=OUTCOMES.columns)
    _, segment = written(tmp_path, OUTCOMES, frame)
    back = segment.take(np.array([1, 0]), list(OUTCOMES.columns))
    assert back.rows() == frame.rows()


def test_rows_without_keys_lie_in_order_of_expiry(tmp_path: Path) -> None:
    frame = pl.DataFrame({"expiry_us": [3, 1, 2], "outcome_hash": [0, 0, 0], "outcome_number": [3, 1, 2]})
    _, segment = written(tmp_path, WAITS, frame.cast(dict(WAITS.columns)))  # type: ignore[arg-type]
    assert segment.expiries().tolist() == [1, 2, 3]


def one_inference(folder: Path) -> SegmentFile:
    row = dict.fromkeys(INFERENCES.columns) | {"id_hash": 1, "expiry_us": 1, "inference_id": "i"}
    return write_segment(folder, "s.arrow", INFERENCES, pl.DataFrame([row], schema=INFERENCES.columns))


@pytest.mark.parametrize("position", [8, 300, -20])
def test_a_flipped_bit_anywhere_is_found_and_the_file_named(position: int, tmp_path: Path) -> None:
    file = one_inference(tmp_path)
    content = bytearray((tmp_path / "s.arrow").read_bytes())
    content[position] ^= 1
    (tmp_path / "s.arrow").write_bytes(content)
    with pytest.raises(UnavailableError, match=r"s\.arrow: state is damaged: its checksum"):
        Segment(tmp_path, file, INFERENCES)


def test_a_file_that_was_cut_off_or_is_gone_is_named(tmp_path: Path) -> None:
    file = one_inference(tmp_path)
    path = tmp_path / "s.arrow"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UnavailableError, match=r"s\.arrow: state is damaged: \d+ bytes, expected"):
        Segment(tmp_path, file, INFERENCES)
    path.unlink()
    with pytest.raises(UnavailableError, match=r"s\.arrow: state cannot be read: No such file"):
        Segment(tmp_path, file, INFERENCES)


def test_a_segment_is_never_written_over_another(tmp_path: Path) -> None:
    one_inference(tmp_path)
    before = (tmp_path / "s.arrow").read_bytes()
    with pytest.raises(UnavailableError, match="File exists"):
        one_inference(tmp_path)
    assert (tmp_path / "s.arrow").read_bytes() == before


def test_pages_given_back_are_read_again(tmp_path: Path) -> None:
    segment = Segment(tmp_path, one_inference(tmp_path), INFERENCES)
    segment.forget_pages()
    assert segment.take(np.array([0]), ["inference_id"]).rows() == [("i",)]
