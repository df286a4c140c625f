"""Blocks of records → canonical events and dead letters.

**Bulk where it is proven, strict everywhere else.** A mapping reads a block; the canonical one reads JSON Lines
(``json_block``) or Parquet rows (``parquet_rows``) column by column, checks the columns (``columns``), and hands
every row in doubt, as bytes, to ``strict_record``, which alone accepts or refuses it. So the result is the
strict decoder's, record by record, at the speed of columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from schemas.events import SOURCE_COLUMNS, WORD, Kind, canonical_columns
from schemas.outputs import DEAD_LETTERS
from streams.columns import Longs, Reading, to_canonical
from streams.json_block import read_json
from streams.json_lines import Lines, count_records
from streams.parquet_rows import read_rows
from streams.strict_record import Limits, Record, Refused, decode_record
from streams.wire_records import Records, read_wire

__all__ = ["MAPPINGS", "Block", "Decoded", "Limits", "admitted", "decode", "raw_records"]

_DEAD_LETTERS = {name: dtype for name, dtype in DEAD_LETTERS.items() if name != "commit_id"}


@dataclass(frozen=True)
class Block:
    """Raw records of one partition, in order, with where they were read.

    data: JSON Lines, rows of a Parquet file, or records of a broker. first_offset: the position of the first record;
    blank lines have none. file: empty for a source without files. counted: how many records there are, if known.
    """

    topic: str
    partition: int
    file: str
    first_offset: int
    data: bytes | pl.DataFrame | Records
    counted: int | None = None

    @cached_property
    def records(self) -> int:
        """How many records it holds; counted once, for that takes as long as a seventh of decoding them."""
        if self.counted is not None:
            return self.counted
        return count_records(self.data) if isinstance(self.data, bytes) else len(self.data)

    def offsets_of(self, numbers: Longs) -> Longs:
        """The positions of records by their number within the block."""
        return self.data.offsets[numbers] if isinstance(self.data, Records) else numbers + self.first_offset

    def numbers_of(self, offsets: Longs) -> Longs:
        """The numbers within the block of the records at these positions, −1 for those that are elsewhere."""
        if isinstance(self.data, Records):
            there = np.minimum(np.searchsorted(self.data.offsets, offsets), max(len(self.data) - 1, 0))
            is_here = self.data.offsets[there] == offsets if len(self.data) else np.zeros(len(offsets), dtype=np.bool_)
            return np.where(is_here, there, -1)
        numbers = offsets - self.first_offset
        return np.where((numbers >= 0) & (numbers < self.records), numbers, -1)

    def keys_of(self, numbers: Longs) -> pl.Series:
        """The keys of records by number; null where the source has none."""
        if isinstance(self.data, Records):
            return self.data.keys.gather(numbers)
        return pl.Series([None], dtype=pl.Binary).new_from_index(0, len(numbers))


@dataclass(frozen=True)
class Decoded:
    """Every record of a block: accepted, refused, or without an event under its mapping.

    events: ``canonical_columns(kind)`` + ``SOURCE_COLUMNS``, in record order, duplicates included.
    dead_letters: ``DEAD_LETTERS`` without ``commit_id``, in record order.
    read = events + dead_letters + ignored.
    """

    events: pl.DataFrame
    dead_letters: pl.DataFrame
    read: int
    ignored: int


def admitted(block: Block, limits: Limits) -> Block:
    """The block without the fields that are to be dropped: whatever else is done with records is done with these."""
    dropped, data = limits.dropped, block.data
    if not dropped.names:
        return block
    if isinstance(data, Records):
        return replace(block, data=replace(data, values=dropped.left_out_of(data.values)))
    if isinstance(data, pl.DataFrame):
        return replace(block, data=data.drop(dropped.names, strict=False))
    if not dropped.may_be_in(data):
        return block
    lines = Lines(data)
    return replace(block, data=b"\n".join(dropped.left_out_of_each(lines.take(np.arange(len(lines))))) + b"\n")


def decode(block: Block, kind: Kind, limits: Limits, mapping: str = "canonical") -> Decoded:
    """Decodes and validates one block; never raises for what a record holds. mapping: a key of ``MAPPINGS``."""
    return MAPPINGS[mapping](block, kind, limits)


def raw_records(block: Block, kind: Kind, limits: Limits, numbers: Longs) -> list[tuple[int, bytes]]:
    """Those of some records (by number within the block) that the block holds, each with its bytes."""
    reading = _read(block.data, kind, limits)
    held = numbers[numbers < reading.read]
    return list(zip(held.tolist(), reading.raw(held), strict=True))


def _decode_canonical(block: Block, kind: Kind, limits: Limits) -> Decoded:
    reading = _read(block.data, kind, limits)
    columns, doubt = to_canonical(reading.frame, kind, latest_us=_latest_us(block, reading, limits))
    doubt = doubt | reading.doubt
    sure = ~doubt
    records = np.arange(reading.frame.height) if reading.records is None else reading.records
    if doubt.any():
        columns, records = columns.filter(sure), records[sure.to_numpy()]
    events = _located(columns, records, block)
    ignored = block.data.tombstones if isinstance(block.data, Records) else np.zeros(0, dtype=np.int64)
    one_by_one = _decode_one_by_one(block, reading, np.concatenate([records, ignored]), kind, limits)
    accepted = {number: record for number, (record, _) in one_by_one.items() if not isinstance(record, Refused)}
    refused = {number: (record, raw) for number, (record, raw) in one_by_one.items() if isinstance(record, Refused)}
    if accepted:
        more = _frame(list(accepted.values()), canonical_columns(kind))
        events = pl.concat([events, _located(more, np.array(list(accepted)), block)]).sort("source_offset")
    return Decoded(events, _dead_letters(refused, block), reading.read, len(ignored))


#: The seam between what producers emit and canonical events: bytes → mapping → canonical columns.
MAPPINGS: dict[str, Callable[[Block, Kind, Limits], Decoded]] = {"canonical": _decode_canonical}


def _latest_us(block: Block, reading: Reading, limits: Limits) -> int | pl.Series:
    """The latest event time of each row that is not ``future_time``: a broker's records have times of their own."""
    if not isinstance(block.data, Records):
        return limits.latest_us
    times = block.data.times_us if reading.records is None else block.data.times_us[reading.records]
    return pl.Series(times + limits.max_future_skew_us)


def _read(data: bytes | pl.DataFrame | Records, kind: Kind, limits: Limits) -> Reading:
    if isinstance(data, Records):
        return read_wire(data, kind, max_record_bytes=limits.max_record_bytes)
    if isinstance(data, bytes):
        return read_json(data, kind, max_record_bytes=limits.max_record_bytes)
    return read_rows(data, kind, max_record_bytes=limits.max_record_bytes)


def _decode_one_by_one(
    block: Block, reading: Reading, settled: Longs, kind: Kind, limits: Limits
) -> dict[int, tuple[Record | Refused, bytes]]:
    """Every record that is not settled yet, by number, with its bytes. A loop, for it is the strict decoder's."""
    if len(settled) == reading.read:
        return {}
    rest = np.ones(reading.read, dtype=np.bool_)
    rest[settled] = False
    numbers = np.flatnonzero(rest)
    raws = reading.raw(numbers)
    found = {}
    for number, raw in zip(numbers.tolist(), raws, strict=True):
        own = replace(limits, now_us=int(block.data.times_us[number])) if isinstance(block.data, Records) else limits
        found[number] = (decode_record(raw, kind, own), raw)
    return found


def _frame(records: list[Record], columns: dict[str, pl.DataType]) -> pl.DataFrame:
    return pl.DataFrame(
        [pl.Series(name, [record[name] for record in records], dtype=dtype) for name, dtype in columns.items()]
    )


def _dead_letters(refused: dict[int, tuple[Refused, bytes]], block: Block) -> pl.DataFrame:
    letters: list[Record] = [{"reason": letter.reason.value, "detail": letter.detail} for letter, _ in refused.values()]
    numbers = np.array(list(refused), dtype=np.int64)
    columns = _frame(letters, {"reason": WORD, "detail": pl.String()}).with_columns(
        record_key=block.keys_of(numbers),
        record_value=pl.Series([raw for _, raw in refused.values()], dtype=pl.Binary),
    )
    return _located(columns, numbers, block).select(*_DEAD_LETTERS)


def _located(frame: pl.DataFrame, records: Longs, block: Block) -> pl.DataFrame:
    """With the source columns; records: their numbers within the block."""
    return frame.with_columns(
        _constant("source_topic", block.topic, len(records)),
        _constant("source_partition", block.partition, len(records)),
        pl.Series("source_offset", block.offsets_of(records), dtype=pl.Int64),
        _constant("source_file", block.file, len(records)),
    )


def _constant(name: str, value: str | int, length: int) -> pl.Series:
    return pl.Series(name, [value], dtype=SOURCE_COLUMNS[name]).new_from_index(0, length)
