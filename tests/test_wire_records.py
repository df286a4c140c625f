"""Records of a broker are read as their values are in files, each held against its own time."""

from __future__ import annotations

import json

import numpy as np
import polars as pl

from schemas.events import Kind
from streams.decode import Block, Limits, decode, raw_records
from streams.wire_records import Records, no_headers

SECOND = 1_000_000
AT = 1_772_409_600 * SECOND  # 2026-03-02T00:00:00Z
LIMITS = Limits(max_record_bytes=500, max_future_skew_us=60 * SECOND, now_us=0)


def event(number: int, **more: object) -> bytes:
    base = {"inference_id": f"i{number}", "event_time": "2026-03-02T00:00:00Z", "use_case": "u", "model": "m"}
    return json.dumps(base | more).encode()


def block(values: list[bytes | None], times_us: list[int] | None = None) -> Block:
    offsets = np.arange(len(values), dtype=np.int64) * 3 + 100  # a log has gaps
    times = np.array(times_us or [AT] * len(values), dtype=np.int64)
    keys = pl.Series([f"k{number}".encode() for number in range(len(values))], dtype=pl.Binary)
    records = Records(offsets, times, keys, pl.Series(values, dtype=pl.Binary), no_headers(len(values)))
    return Block("topic", 2, "", 100, records)


def test_events_have_the_offsets_and_the_partition_they_were_read_at() -> None:
    found = decode(block([event(0), event(1)]), Kind.INFERENCE, LIMITS)
    assert found.events.select("inference_id", "source_topic", "source_partition", "source_offset").rows() == [
        ("i0", "topic", 2, 100),
        ("i1", "topic", 2, 103),
    ]
    assert (found.read, found.ignored, found.dead_letters.height) == (2, 0, 0)


def test_a_record_without_a_value_is_ignored_and_one_with_an_empty_value_refused() -> None:
    found = decode(block([event(0), None, b"", b"  ", event(4)]), Kind.INFERENCE, LIMITS)
    assert found.events["inference_id"].to_list() == ["i0", "i4"]
    assert (found.read, found.ignored) == (5, 1)
    letters = found.dead_letters.select("reason", "record_key", "record_value", "source_offset")
    assert letters.rows() == [("malformed_json", b"k2", b"", 106), ("malformed_json", b"k3", b"  ", 109)]


def test_a_value_may_hold_line_ends_and_blanks_around_it() -> None:
    pretty = json.dumps(json.loads(event(1)), indent=2).encode()
    found = decode(block([event(0), pretty, b" " + event(2), b"\t" + event(3) + b"\r\n"]), Kind.INFERENCE, LIMITS)
    assert found.events["inference_id"].to_list() == ["i0", "i1", "i2", "i3"]
    assert found.events["source_offset"].to_list() == [100, 103, 106, 109]


def test_each_record_is_held_against_its_own_time() -> None:
    times = [AT - 60 * SECOND, AT - 60 * SECOND - 1, AT + SECOND]
    found = decode(block([event(0), event(1), event(2)], times), Kind.INFERENCE, LIMITS)
    assert found.events["inference_id"].to_list() == ["i0", "i2"]
    assert found.dead_letters["reason"].to_list() == ["future_time"]
    assert found.dead_letters["source_offset"].to_list() == [103]


def test_a_bad_record_between_good_ones_is_refused_alone_with_its_bytes() -> None:
    values = [event(0), b"{", event(2), b"\xff", b"[]", event(5, latency_ms=-1), b"x" * 501]
    found = decode(block(list(values)), Kind.INFERENCE, LIMITS)
    assert found.events["inference_id"].to_list() == ["i0", "i2"]
    letters = dict(zip(found.dead_letters["source_offset"], found.dead_letters["reason"], strict=True))
    assert letters == {
        103: "malformed_json",
        109: "not_utf8",
        112: "not_an_object",
        115: "out_of_range",
        118: "too_large",
    }
    assert found.dead_letters["record_value"].to_list() == [values[1], *values[3:]]


def test_positions_lead_to_records_and_back() -> None:
    records = block([event(0), None, event(2)])
    assert records.numbers_of(np.array([100, 101, 103, 106, 109, 0])).tolist() == [0, -1, 1, 2, -1, -1]
    assert records.offsets_of(np.array([2, 0])).tolist() == [106, 100]
    assert raw_records(records, Kind.INFERENCE, LIMITS, np.array([2])) == [(2, event(2))]


def test_no_records() -> None:
    found = decode(block([]), Kind.INFERENCE, LIMITS)
    assert (found.events.height, found.read) == (0, 0)
    assert block([]).numbers_of(np.array([5])).tolist() == [-1]
