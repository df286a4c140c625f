"""One immutable segment of state: an Arrow IPC file of one record batch, sorted, mapped, checksummed.

A mapped file costs nothing to open and only the pages that are touched are read. Rows are found by the hash of an id;
whoever asks compares the id itself, so that different ids of one hash are told apart.
"""

from __future__ import annotations

import mmap
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from schemas.errors import UnavailableError
from streams.live.families import EXPIRY, Family
from streams.live.filters import Filter, Hashes

#: Few, large writes: how the page cache was filled decides what a page costs to map.
_WRITE_BYTES = 16 << 20

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]
Times = np.ndarray[tuple[int], np.dtype[np.int64]]


class SegmentFile(msgspec.Struct, frozen=True):
    """A segment as a commit lists it."""

    name: str
    rows: int
    bytes: int
    crc32: int
    min_expiry_us: int
    max_expiry_us: int


def write_segment(folder: Path, name: str, family: Family, rows: pl.DataFrame) -> SegmentFile:
    """Write rows (at least one, in any order) as a segment; not yet forced to disk: see ``sync``.

    A further key has two columns of its own: its hashes in ascending order, and the rows they stand in.
    """
    ordered = rows.select(list(family.columns)).sort(family.sort_by, maintain_order=True)
    del rows  # freed here, where the caller has let go of them: a merge holds them once less
    assert dict(ordered.schema) == family.columns, f"{family.name}: {ordered.schema}"
    for key in family.keys[1:]:
        order = ordered[key].arg_sort(nulls_last=True).cast(pl.UInt32)
        ordered = ordered.with_columns(ordered[key].gather(order).alias(_sorted(key)), order.alias(_row(key)))
    path = folder / name
    try:
        with path.open("xb", buffering=_WRITE_BYTES) as file:
            written = _Checked(file)
            table = ordered.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
            with pa.ipc.new_file(pa.PythonFile(written, mode="w"), table.schema) as writer:
                for batch in table.to_batches():
                    writer.write_batch(batch)
    except OSError as error:
        if not isinstance(error, FileExistsError):  # what was there before is not ours to remove
            path.unlink(missing_ok=True)
        raise UnavailableError(f"{path}: cannot be written: {error.strerror or error}") from error
    expiry = ordered[EXPIRY].to_numpy()
    return SegmentFile(name, ordered.height, written.bytes, written.crc32, int(expiry.min()), int(expiry.max()))


class _Checked:
    """A file that is written once from its beginning; knows the size and the checksum of what was written."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes, self.crc32 = 0, 0

    def write(self, data: bytes) -> int:
        self.crc32 = zlib.crc32(data, self.crc32)
        count = self._file.write(data)
        self.bytes += count
        return count

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        self._file.flush()


def sync(path: Path) -> None:
    """Force a file or folder to disk; raises UnavailableError."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be written: {error.strerror or error}") from error


class Segment:
    """A segment that is mapped and can be asked."""

    def __init__(
        self, folder: Path, file: SegmentFile, family: Family, *, verify: bool = True, with_filters: bool = True
    ) -> None:
        """verify: hold the file against its checksum, needless once just written; with_filters: it will be asked.

        Raises UnavailableError for a file that is missing or not what was written.
        """
        self.file = file
        path = folder / file.name
        try:
            with path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                if size != file.bytes:
                    raise UnavailableError(f"{path}: state is damaged: {size} bytes, expected {file.bytes}")
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise UnavailableError(f"{path}: state cannot be read: {error.strerror or error}") from error
        if verify and zlib.crc32(self._map) != file.crc32:
            raise UnavailableError(f"{path}: state is damaged: its checksum is not that of the commit")
        self._batch = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self._map))).get_batch(0)
        self._keys: dict[str, tuple[Hashes, Rows | None]] = {}
        for position, key in enumerate(family.keys):
            column = self._batch.column(key if position == 0 else _sorted(key))
            hashes = column.slice(0, len(column) - column.null_count).to_numpy(zero_copy_only=True)
            at = None if position == 0 else self._batch.column(_row(key)).to_numpy(zero_copy_only=True)
            self._keys[key] = (hashes, at)
        self.filters = {key: Filter.of(hashes) for key, (hashes, _) in self._keys.items()} if with_filters else {}
        self._columns = list(family.columns)
        if verify or with_filters:
            self.forget_pages()  # all of them were touched

    def find(self, key: str, hashes: Hashes, bits: Hashes) -> tuple[Rows, Rows]:
        """(positions in ``hashes``, rows of the segment) of every row that has one of the hashes.

        hashes: ascending; bits: ``filters.bits_of`` them. A run of equal hashes is found whole.
        """
        asked = np.flatnonzero(self.filters[key].may_hold(hashes, bits))
        there, at = self._keys[key]
        wanted = hashes[asked]
        first = np.searchsorted(there, wanted, side="left")
        is_hit = first < len(there)
        is_hit[is_hit] = there[first[is_hit]] == wanted[is_hit]
        asked, first, wanted = asked[is_hit], first[is_hit], wanted[is_hit]
        lengths = np.searchsorted(there, wanted, side="right") - first
        positions = np.repeat(asked, lengths)
        within = np.arange(len(positions)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = np.repeat(first, lengths) + within
        return positions, rows if at is None else at[rows].astype(np.int64)

    def take(self, rows: Rows, columns: list[str]) -> pl.DataFrame:
        """Some rows, copied out of the map."""
        taken = self._batch.select(columns).take(pa.array(rows))
        frame = pl.from_arrow(taken)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def whole(self) -> pl.DataFrame:
        """All rows, copied out of the map."""
        return self.take(np.arange(self.file.rows), self._columns)

    def expiries(self) -> Times:
        """The expiry of each row, as it lies in the map."""
        return self.numbers(EXPIRY)

    def numbers(self, column: str) -> Times:
        """A column of whole numbers without nulls, as it lies in the map."""
        numbers: Times = self._batch.column(column).to_numpy(zero_copy_only=True)
        return numbers

    def forget_pages(self) -> None:
        """Give the mapped pages back to the system; they are read again when asked for."""
        self._map.madvise(mmap.MADV_DONTNEED)


def _sorted(key: str) -> str:
    return f"{key}__sorted"


def _row(key: str) -> str:
    return f"{key}__row"
