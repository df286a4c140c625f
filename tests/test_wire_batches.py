"""Columns read from whole record batches are what the client reads from them, record by record."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecords
from kafka.record.memory_records import MemoryRecordsBuilder

from schemas.events import TIME_MAX_US
from streams import kafka_columns
from streams.kafka_columns import PartitionColumns
from streams.kafka_fetch import columns_of
from streams.wire_records import Records, join_records
from tests.record_batches import CODECS, SHAPES, BatchOf, Row, Shape, number, rows

WAYS = ("columns", "objects")


def reader(way: str, data: bytes, position: int = 0, aborted: Any = ()) -> Any:
    """What the fetcher would take records from."""
    records = MemoryRecords(data)
    transactions = [SimpleNamespace(producer_id=producer, first_offset=first) for producer, first in aborted]
    plain = Fetcher.PartitionRecords(
        position,
        TopicPartition("topic", 0),
        records,
        isolation_level=IsolationLevel.READ_COMMITTED,
        aborted_transactions=transactions,
    )
    return PartitionColumns(plain, records) if way == "columns" else plain


def taken(source: Any, sizes: Any) -> tuple[list[Records], list[int]]:
    """All that is taken, in parts of these sizes and then of the last one; and the positions behind each part."""
    parts, positions, left = [], [], deque(sizes)
    while source:
        size = left.popleft() if len(left) > 1 else left[0]
        some = [*source.take(size)]
        positions.append(source.next_fetch_offset)
        if some:
            parts.append(columns_of(some))
            assert size is None or len(parts[-1]) <= size
    return parts, positions


def as_rows(parts: list[Records]) -> list[Row]:
    if not parts:
        return []
    found = join_records(parts)
    assert found.headers.null_count() == 0
    return [
        Row(offset, value, key, tuple((header["key"], header["value"]) for header in headers), time_us // 1_000)
        for offset, value, key, headers, time_us in zip(
            found.offsets.tolist(),
            found.values,
            found.keys,
            found.headers.to_list(),
            found.times_us.tolist(),
            strict=True,
        )
    ]


def client_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records were left to the client at a time."""
    counts: list[int] = []

    def note(batches: Any) -> Records:
        records = read_plain(batches)
        counts.append(len(records))
        return records

    read_plain = kafka_columns._read_plain
    monkeypatch.setattr(kafka_columns, "_read_plain", note)
    return counts


@pytest.mark.parametrize("size", [1, 7, None])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_is_read_as_it_was_written(shape: Shape, way: str, size: int | None) -> None:
    source = reader(way, shape.data, shape.position, shape.aborted)
    parts, positions = taken(source, [size])
    assert as_rows(parts) == shape.expected
    assert positions[-1] == shape.next_offset
    assert not source


#: All others are read as columns, none left to the client.
LEFT_TO_THE_CLIENT = {
    "more headers than are read at once": [1],
    "attributes that no version has": [9],
    "a value that is all lengths and zero bytes": [2],
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_not_proven_is_left_to_the_client_batch_by_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = client_reads(monkeypatch)
    shape = SHAPES[name]
    taken(reader("columns", shape.data, shape.position, shape.aborted), [None])
    assert counts == LEFT_TO_THE_CLIENT.get(name, [])


octets = st.binary(max_size=30) | st.text(max_size=10).map(str.encode) | st.just(b"\x0c\x00\x00\x00\x00\x00\x00" * 3)
headers = st.lists(st.tuples(st.text(max_size=15), st.none() | octets), max_size=3).map(tuple)
records = st.builds(
    Row,
    offset=st.just(0),
    value=st.none() | octets,
    key=st.none() | octets,
    headers=headers,
    time_ms=st.integers(-1, 4_000_000_000_000),
)


@st.composite
def logs(draw: st.DrawFn) -> Shape:
    offset, batches = draw(st.integers(0, 2**40)), []
    first = offset
    for _ in range(draw(st.integers(1, 5))):
        base, these = offset, []
        for row in draw(st.lists(records, max_size=12)):
            offset += draw(st.integers(0, 3))
            these.append(Row(offset, row.value, row.key, row.headers, row.time_ms))
            offset += 1
        last = max(offset - 1, base) + draw(st.integers(0, 2))
        batches.append(BatchOf(these, draw(st.sampled_from([*CODECS.values()])), base=base, last=last))
        offset = last + 1
    return Shape(batches, draw(st.integers(first, offset - 1)))


@given(shape=logs(), sizes=st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_both_ways_read_what_was_written_in_parts_of_any_size(shape: Shape, sizes: list[int]) -> None:
    for way in WAYS:
        parts, positions = taken(reader(way, shape.data, shape.position), sizes)
        assert as_rows(parts) == shape.expected
        assert positions[-1] == shape.next_offset


@given(data=st.data(), shape=logs())
def test_a_damaged_payload_with_a_right_checksum_is_read_alike_or_refused_alike(
    data: st.DataObject, shape: Shape
) -> None:
    batch = shape.batches[0]
    payload = bytearray(BatchOf(batch.rows, base=batch.base, last=batch.last).encoded()[61:])
    for _ in range(data.draw(st.integers(1, 3))):
        if payload:
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    damaged = BatchOf(batch.rows, base=batch.base, last=batch.last, payload=bytes(payload)).encoded()
    found = [outcome(way, damaged, batch.base_offset) for way in WAYS]
    # The client cannot read a header whose name is no text; columns can.
    assert found[0] == found[1] or "UnicodeDecodeError" in str(found[1])


def outcome(way: str, data: bytes, position: int) -> tuple[list[Row], int] | str:
    try:
        parts, positions = taken(reader(way, data, position), [None])
    except CorruptRecordError as error:
        return "refused: UnicodeDecodeError" if "UnicodeDecodeError" in str(error) else "refused"
    return as_rows(parts), positions[-1]


@pytest.mark.parametrize("way", WAYS)
def test_batches_before_a_wrong_checksum_are_read_and_then_it_is_told_again_and_again(way: str) -> None:
    bad = bytearray(BatchOf(rows(5, 5)).encoded())
    bad[-1] ^= 1
    source = reader(way, BatchOf(rows(5)).encoded() + bytes(bad) + BatchOf(rows(5, 10)).encoded())
    assert as_rows([columns_of([*source.take(100)])]) == rows(5)
    for _ in range(2 if way == "columns" else 1):  # the client, asked again, finds nothing and never ends
        with pytest.raises(CorruptRecordError, match=r"topic.*partition=0.* at offset 5 failed crc check"):
            source.take(100)
    assert source.next_fetch_offset == 5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("payload", [b"", b"\x0c", number(6) + bytes(5), number(6) + bytes(7), number(-3) + bytes(9)])
def test_records_that_are_none_stop_it_though_their_checksum_is_right(payload: bytes, way: str) -> None:
    with pytest.raises(CorruptRecordError):
        taken(reader(way, BatchOf(rows(1), payload=payload).encoded()), [None])


@pytest.mark.parametrize("compression", [*CODECS.values()][1:])
def test_what_cannot_be_decompressed_is_told_as_an_error_of_the_client(compression: int) -> None:
    source = reader("columns", BatchOf(rows(1), compression=compression, payload=b"nothing of the kind").encoded())
    with pytest.raises(CorruptRecordError):
        source.take(100)


@pytest.mark.parametrize("way", WAYS)
def test_a_time_before_1970_is_none_and_one_after_every_event_is_the_last(way: str) -> None:
    last_ms = TIME_MAX_US // 1_000
    times_ms = [-2, -(2**40), 0, last_ms - 1, last_ms, last_ms + 1, 2**53, 2**60, 2**62]
    parts, _ = taken(
        reader(way, BatchOf([Row(n, b"{}", time_ms=at) for n, at in enumerate(times_ms)]).encoded()), [None]
    )
    found = join_records(parts).times_us.tolist()
    assert found == [-1, -1, 0, TIME_MAX_US - 1_000, *[TIME_MAX_US] * 5]


def test_a_header_whose_name_is_no_text_is_read_with_a_mark_in_its_place() -> None:
    named = [Row(n, b"{}", headers=((name, b"v"),)) for n, name in enumerate(["ok", "x\udcff\udcfey", "größe"])]
    parts, _ = taken(reader("columns", BatchOf(named).encoded()), [None])
    assert [row.headers[0][0] for row in as_rows(parts)] == ["ok", "x��y", "größe"]


@pytest.mark.parametrize(("magic", "compression"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)])
@pytest.mark.parametrize("way", WAYS)
def test_message_sets_of_old_brokers_are_read_by_the_client(way: str, magic: int, compression: int) -> None:
    builder = MemoryRecordsBuilder(magic, compression, 1 << 20)
    for row in rows(20):
        builder.append(row.time_ms, row.key, row.value)
    builder.close()
    old, new = bytes(builder.buffer()), BatchOf(rows(5, 20)).encoded()
    expected = [*rows(20, **({} if magic else {"time_ms": -1})), *rows(5, 20)]
    for position, size in ((0, None), (0, 3), (7, 4)):
        parts, positions = taken(reader(way, old + new, position), [size])
        assert as_rows(parts) == expected[position:]
        assert positions[-1] == 25
