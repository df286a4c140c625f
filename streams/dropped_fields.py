"""Fields that never reach the disk: taken out of records before anything else looks at them.

So tables, dead letters and the archive are all without them, and a replay of the archive finds what the live engine
found. A record without such a field stays as it came, byte for byte. One with it is written anew: numbers keep their
digits, of a key given twice the first counts, as in every record. What is no JSON cannot be taken apart: where it may
hold such a field, ``{`` stands in its place, which is a dead letter, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

_ESCAPE = b"\\u"
_WITHHELD = b"{"


@dataclass(frozen=True)
class DroppedFields:
    """names: of members of the record itself, not of objects within it."""

    names: frozenset[str] = frozenset()

    def may_be_in(self, data: bytes) -> bool:
        """False where none of the names stands in it, nor an escape that could hide one."""
        return _ESCAPE in data or any(text in data for text in self._texts())

    def left_out_of(self, records: pl.Series) -> pl.Series:
        """Binary records without the fields; nulls stay."""
        if not self.names or not len(records):
            return records
        is_suspect = pl.lit(value=False)
        for text in (_ESCAPE, *self._texts()):
            is_suspect |= pl.col("record").bin.contains(text)
        found = records.to_frame("record").select(is_suspect.fill_null(value=False)).to_series()
        if not found.any():
            return records
        # One by one, some 10 µs each: JSON is taken apart and written anew.
        others = pl.Series(self.left_out_of_each(records.filter(found).to_list()), dtype=pl.Binary)
        place = (found.cum_sum().cast(pl.Int64) - 1).clip(0)
        replaced = pl.when(found).then(others.gather(place)).otherwise(records)
        return pl.select(replaced.alias(records.name)).to_series()

    def left_out_of_each(self, records: Iterable[bytes]) -> list[bytes]:
        return [self._without(record) if self.may_be_in(record) else record for record in records]

    def _texts(self) -> list[bytes]:
        return [json.dumps(name, ensure_ascii=False)[1:-1].encode() for name in self.names]

    def _without(self, record: bytes) -> bytes:
        try:
            found = json.loads(
                record.decode(),
                object_pairs_hook=_first_counts,
                parse_int=_digits,
                parse_float=_digits,
                parse_constant=_refuse,
            )
            if not isinstance(found, dict) or not self.names & found.keys():
                return record
            return msgspec.json.encode({name: value for name, value in found.items() if name not in self.names})
        except (ValueError, RecursionError):  # no JSON, or no UTF-8
            return _WITHHELD


NOTHING_DROPPED = DroppedFields()


def _first_counts(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def _digits(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _refuse(word: str) -> object:
    raise ValueError(word)
