"""Keys and times of records: what belongs together has one key, and nothing that a record may hold stops it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.event_keys import read_names

DAY = 1_772_409_600_000_000  # 2026-03-02T00:00:00Z


@pytest.mark.parametrize(
    ("event", "key"),
    [
        ({"inference_id": "i1", "trace_id": "t1", "use_case": "u"}, b"i1"),
        ({"event_id": "o1", "inference_id": "i1"}, b"i1"),
        ({"event_id": "o1", "inference_ids": ["i2", "i1"]}, b"i2"),
        ({"event_id": "o1", "inference_ids": []}, b"o1"),
        ({"event_id": "o1", "inference_id": None, "inference_ids": None, "trace_id": "t1"}, b"t1"),
        ({"event_id": "o1", "type": "sale"}, b"o1"),
        ({"event_id": "r1", "reverses": "o1"}, b"o1"),
        ({"event_id": "s1", "name": "tone", "score": 1, "inference_ids": ["i2", "i1"]}, b"i2"),
        ({"event_id": "o1", "inference_id": 5}, b"o1"),
        ({"event_id": "o1", "inference_ids": [5]}, b"o1"),
        ({"event_id": "o1", "inference_ids": "i1"}, b"o1"),
        ({"event_id": "", "trace_id": "né"}, "né".encode()),
        ({"event_id": ""}, None),
        ({"amount": 5}, None),
        ({}, None),
    ],
)
def test_an_event_is_keyed_by_what_it_belongs_to(event: dict[str, Any], key: bytes | None) -> None:
    assert read_names([json.dumps(event).encode()]).keys == [key]
    assert read_names([json.dumps(event, ensure_ascii=False).encode()]).keys == [key]


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"event_id"',
        b'{"event_id":"o1"} x',
        b'{"event_id":"\xff"}',
        b'{"event_id":"\\ud800"}',
        b'{"x":' * 100_000,
        b'{"event_id":' + b"9" * 5_000 + b"}",
    ],
)
def test_what_is_no_event_has_no_key(record: bytes) -> None:
    good = b'{"event_id":"o1"}'
    assert read_names([good, record, good]).keys == [b"o1", None, b"o1"]


@pytest.mark.parametrize(
    "time",
    ["2026-03-02T00:00:00Z", "2026-03-02T00:00:00.000000Z", "2026-03-02T05:30:00+05:30", DAY // 1_000],
)
def test_a_time_is_read_in_each_of_its_forms(time: str | int) -> None:
    assert read_names([json.dumps({"event_time": time}).encode()]).times_us.tolist() == [DAY]


@pytest.mark.parametrize("time", [None, "yesterday", "2026-03-02T00:00:00", True, -5, 1.5, [], 10**30, "9" * 400])
def test_a_record_without_a_time_has_that_of_the_one_before_it(time: object) -> None:
    odd = json.dumps({"event_id": "odd", "event_time": time}).encode()
    good = json.dumps({"event_time": DAY // 1_000}).encode()
    later = json.dumps({"event_time": DAY // 1_000 + 1}).encode()
    assert read_names([odd, good, odd, later, odd]).times_us.tolist() == [DAY, DAY, DAY, DAY + 1_000, DAY + 1_000]
    assert read_names([odd]).times_us.tolist() == [0]


def test_no_records_have_no_keys() -> None:
    named = read_names([])
    assert named.keys == []
    assert len(named.times_us) == 0


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["reverses", "inference_id", "inference_ids", "trace_id", "event_id", "event_time", "x"])


@given(st.lists(st.binary(max_size=40) | st.dictionaries(names, values).map(lambda e: json.dumps(e).encode())))
@example([b'{"event_time":"\xc3\xa9"}'])
def test_any_records_have_as_many_keys_and_times(records: list[bytes]) -> None:
    named = read_names(records)
    assert len(named.keys) == len(named.times_us) == len(records)
