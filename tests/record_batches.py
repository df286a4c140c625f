"""Record batches byte by byte, as a broker sends them: every shape that a broker keeps, also ones no client here makes.

Written from the format's description (https://kafka.apache.org/documentation/#recordbatch), not with the client's own
builder, so that a reader is judged by something else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from crc32c import crc32c
from kafka import codec

PLAIN, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODECS = {"none": PLAIN, "gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
_ENCODERS: dict[int, Callable[[bytes], bytes]] = {
    GZIP: codec.gzip_encode,
    SNAPPY: codec.snappy_encode,
    LZ4: codec.lz4_encode,
    ZSTD: codec.zstd_encode,
}
_IS_LOG_APPEND, _IS_TRANSACTIONAL, _IS_CONTROL = 8, 16, 32
_BEGIN_MS = 1_772_409_600_000  # 2026-03-02


@dataclass(frozen=True)
class Row:
    """One record: time_ms −1 where it has none."""

    offset: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    time_ms: int = _BEGIN_MS

    @property
    def time_us(self) -> int:
        return max(self.time_ms * 1_000, -1)


@dataclass(frozen=True)
class BatchOf:
    """A batch and how it is written. base: of its offsets, the first record's by default; last: the last offset that it
    ever had; producer: with an id, of a transaction; attributes: of each record, 0 in this version."""

    rows: Sequence[Row]
    compression: int = PLAIN
    base: int | None = None
    last: int | None = None
    append_ms: int | None = None
    producer: int = -1
    is_transactional: bool = False
    is_control: bool = False
    epoch: int = 0
    attributes: int = 0
    payload: bytes | None = None
    count: int | None = None
    base_ms: int | None = None

    @property
    def base_offset(self) -> int:
        return self.rows[0].offset if self.base is None else self.base

    @property
    def last_offset(self) -> int:
        return (self.rows[-1].offset if self.rows else self.base_offset) if self.last is None else self.last

    def encoded(self) -> bytes:
        first_ms = self.base_ms if self.base_ms is not None else self.rows[0].time_ms if self.rows else -1
        records = self.payload
        # Nothing is never compressed: not where compaction has left nothing, either.
        compression = self.compression if self.rows else PLAIN
        if records is None:
            records = b"".join(self._record(row, first_ms) for row in self.rows)
            records = _ENCODERS[compression](records) if compression else records
        flags = compression | (_IS_LOG_APPEND if self.append_ms is not None else 0)
        flags |= (_IS_TRANSACTIONAL if self.is_transactional else 0) | (_IS_CONTROL if self.is_control else 0)
        max_ms = max((row.time_ms for row in self.rows), default=-1) if self.append_ms is None else self.append_ms
        count = len(self.rows) if self.count is None else self.count
        delta = self.last_offset - self.base_offset
        checked = struct.pack(">hiqqqhii", flags, delta, first_ms, max_ms, self.producer, 0, -1, count) + records
        behind_length = struct.pack(">ibI", self.epoch, 2, crc32c(checked)) + checked
        return struct.pack(">qi", self.base_offset, len(behind_length)) + behind_length

    def _record(self, row: Row, first_ms: int) -> bytes:
        body = bytes([self.attributes]) + number(row.time_ms - first_ms) + number(row.offset - self.base_offset)
        body += text(row.key) + text(row.value) + number(len(row.headers))
        for name, value in row.headers:
            body += text(name.encode("utf-8", "surrogateescape")) + text(value)
        return number(len(body)) + body


def number(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the sign in the lowest bit."""
    rest = (value << 1) ^ (value >> 63)
    octets = bytearray()
    while rest > 0x7F:
        octets.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*octets, rest])


def text(value: bytes | None) -> bytes:
    return number(-1) if value is None else number(len(value)) + value


def marker(offset: int, producer: int, *, aborts: bool) -> BatchOf:
    """The control batch that ends a transaction."""
    row = Row(offset, struct.pack(">hi", 0, 0), struct.pack(">hh", 0, 0 if aborts else 1))
    return BatchOf([row], producer=producer, is_transactional=True, is_control=True)


def rows(count: int, first: int = 0, *, step: int = 1, **more: object) -> list[Row]:
    """Records such as producers send, each with a key and a time of its own."""
    plain = (
        Row(first + step * n, b'{"event_id":"o%d","type":"x"}' % n, b"k%d" % n, time_ms=_BEGIN_MS + 7 * n)
        for n in range(count)
    )
    return [replace(row, **more) for row in plain]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Shape:
    """Batches one after the other, as one response has them, and what a reader from ``position`` on finds there.

    aborted: (producer, first offset) of transactions; found: all rows from the position on by default.
    """

    batches: Sequence[BatchOf]
    position: int = 0
    aborted: Sequence[tuple[int, int]] = ()
    found: Sequence[Row] | None = None
    end: int | None = None
    more: bytes = field(default=b"", repr=False)

    @property
    def data(self) -> bytes:
        return b"".join(batch.encoded() for batch in self.batches) + self.more

    @property
    def expected(self) -> list[Row]:
        if self.found is not None:
            return list(self.found)
        return [row for batch in self.batches for row in batch.rows if row.offset >= self.position]

    @property
    def next_offset(self) -> int:
        return self.batches[-1].last_offset + 1 if self.end is None else self.end


def _embedded() -> bytes:
    """A value that holds records, byte for byte as they lie in a batch: a copy of a topic in a topic."""
    return BatchOf(rows(9)).encoded()[61:]


_KEYS = [None, b"", b"k", b"key of twelve", (5).to_bytes(8, "big"), bytes(range(256))]
_LENGTHS = [*range(16), 62, 63, 64, 127, 128, 8_191, 8_192, 300_000]
_HEADERS: list[tuple[tuple[str, bytes | None], ...]] = [
    (),
    (("traceparent", b"00-4bf9"),),
    (("a", None), ("", b""), ("a", b"\x00\xff"), ("much longer than twelve", b"x" * 40)),
    (("größe", "é".encode()),),
    tuple((f"h{n}", b"%d" % n) for n in range(64)),
]
_IN_TIME = [_BEGIN_MS, _BEGIN_MS - 86_400_000, _BEGIN_MS + 86_400_000, -1, 0, 7_258_118_399_999]

#: By the fact that each is an example of.
SHAPES: dict[str, Shape] = {
    "one record": Shape([BatchOf(rows(1))]),
    "batches of one record": Shape([BatchOf(rows(1, n)) for n in range(40)]),
    "thousands in a batch": Shape([BatchOf(rows(5_000))]),
    "thousands in batches of many sizes": Shape(
        [BatchOf(rows(100 + n % 7, 200 * n), compression=n % 5) for n in range(60)]
    ),
    "offsets with gaps": Shape([BatchOf(rows(9, 100, step=3), base=98, last=130), BatchOf(rows(3, 140))], position=98),
    "a batch of which compaction left the last alone": Shape([BatchOf(rows(1, 99), base=0, last=99)]),
    "the last records of a batch are gone": Shape([BatchOf(rows(5), last=20)]),
    "a batch without any record left": Shape(
        [BatchOf(rows(2)), BatchOf([], base=2, last=9), BatchOf(rows(2, 10)), BatchOf([], base=12, last=15)]
    ),
    "from the middle of a batch": Shape([BatchOf(rows(50, 100)), BatchOf(rows(50, 150))], position=123),
    "from a gap in a batch": Shape([BatchOf(rows(9, 100, step=5)), BatchOf(rows(3, 200))], position=121),
    "a first batch that lies before the position": Shape(
        [BatchOf(rows(5), last=20), BatchOf(rows(5, 21))], position=12
    ),
    "nothing from the position on": Shape([BatchOf(rows(5), last=20)], position=12),
    "no keys": Shape([BatchOf(rows(20, key=None))]),
    "keys of every kind": Shape([BatchOf([Row(n, b"{}", key) for n, key in enumerate(_KEYS * 3)])]),
    "no values": Shape([BatchOf(rows(20, value=None))]),
    "some values are none or empty": Shape(
        [BatchOf([Row(n, value) for n, value in enumerate([None, b"", b"{}", b"\n", None, b" "] * 5)])]
    ),
    "values of every length": Shape([BatchOf([Row(n, b"v" * size) for n, size in enumerate(_LENGTHS)])]),
    "values of zero bytes": Shape([BatchOf([Row(n, bytes(size)) for n, size in enumerate(_LENGTHS)])]),
    "values that look like lengths and zero bytes": Shape(
        [BatchOf([Row(n, b"\x0c\x00" * size) for n, size in enumerate([1, 10, 100, 3])])]
    ),
    "a value that is all lengths and zero bytes": Shape([BatchOf([Row(0, b"\x0c\x00" * 100_000), Row(1, b"{}")])]),
    "values that hold records themselves": Shape([BatchOf([Row(n, _embedded(), b"k") for n in range(20)])]),
    "numbers as keys": Shape([BatchOf([Row(n, b'{"a":1}', n.to_bytes(8, "big")) for n in range(200)])]),
    "bytes above 127 before a record": Shape(
        [BatchOf([Row(n, b"{}", headers=(("h", b"\xff" * n),)) for n in range(9)])]
    ),
    "headers": Shape([BatchOf([Row(n, b"{}", b"k", _HEADERS[n % len(_HEADERS)]) for n in range(40)])]),
    "headers of all records": Shape([BatchOf(rows(40, headers=_HEADERS[1]))]),
    "more headers than are read at once": Shape(
        [BatchOf(rows(2)), BatchOf([Row(2, b"{}", headers=_HEADERS[4] * 3)]), BatchOf(rows(2, 3))]
    ),
    "times of every kind": Shape([BatchOf([Row(n, b"{}", time_ms=time_ms) for n, time_ms in enumerate(_IN_TIME)])]),
    "the broker's times": Shape(
        [BatchOf(rows(9), append_ms=_BEGIN_MS + 99), BatchOf(rows(9, 9)), BatchOf(rows(2, 18), append_ms=5)],
        found=[
            *rows(9, time_ms=_BEGIN_MS + 99),
            *rows(9, 9),
            *rows(2, 18, time_ms=5),
        ],
    ),
    "attributes that no version has": Shape([BatchOf(rows(9), attributes=1), BatchOf(rows(9, 9))]),
    "aborted and committed transactions": Shape(
        [
            BatchOf(rows(3, 0), producer=7, is_transactional=True),
            BatchOf(rows(2, 3), producer=8, is_transactional=True, compression=LZ4),
            BatchOf(rows(2, 5)),
            marker(7, 7, aborts=True),
            BatchOf(rows(2, 8), producer=7, is_transactional=True),
            marker(10, 8, aborts=False),
            marker(11, 7, aborts=False),
            BatchOf(rows(1, 12), producer=9),
        ],
        aborted=[(7, 0)],
        found=[*rows(2, 3), *rows(2, 5), *rows(2, 8), *rows(1, 12)],
    ),
    "nothing but what was aborted": Shape(
        [BatchOf(rows(3), producer=7, is_transactional=True), marker(3, 7, aborts=True)], aborted=[(7, 0)], found=[]
    ),
    "an aborted transaction that began before": Shape(
        [BatchOf(rows(3, 50), producer=7, is_transactional=True), marker(53, 7, aborts=True), BatchOf(rows(1, 54))],
        position=50,
        aborted=[(7, 11)],
        found=rows(1, 54),
    ),
    "a last batch that was cut off": Shape(
        [BatchOf(rows(5)), BatchOf(rows(5, 5))], more=BatchOf(rows(9, 10)).encoded()[:-1]
    ),
    **{
        f"compressed by {name}": Shape([BatchOf(rows(300, 300 * n), compression=number) for n in range(3)])
        for name, number in CODECS.items()
    },
}
