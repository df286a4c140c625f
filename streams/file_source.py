"""The files source: a folder of event files, read in name order, as blocks of whole records.

``<path>/<topic>/`` holds ``*.jsonl``, ``*.jsonl.gz``, ``*.jsonl.zst`` and ``*.parquet``. A topic is partition 0; a
record's position is its file's name and its number within the file, from 0, blank lines not counted. Names that
start with ``.`` or ``_`` are left alone: files still being written, other programs' notes.

Whatever keeps a file from being read to its end raises ``UnavailableError`` with its name: half a file is no file.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import polars as pl
import pyarrow as pa

from schemas.errors import UnavailableError
from streams.decode import Block
from streams.parquet_file import read_parquet
from streams.strict_record import is_unicode


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _open_plain(file: Path) -> AbstractContextManager[_Readable]:
    return file.open("rb")


def _open_gzip(file: Path) -> AbstractContextManager[_Readable]:
    return gzip.GzipFile(file, "rb")


def _open_zstd(file: Path) -> AbstractContextManager[_Readable]:
    stream: AbstractContextManager[_Readable] = pa.input_stream(str(file), compression="zstd")
    return stream


_JSON_LINES: dict[str, Callable[[Path], AbstractContextManager[_Readable]]] = {
    ".jsonl": _open_plain,
    ".jsonl.gz": _open_gzip,
    ".jsonl.zst": _open_zstd,
}
_SUFFIXES = (*_JSON_LINES, ".parquet")
_UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    pa.ArrowException,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)


def topic_files(path: Path, topic: str) -> list[Path]:
    """The topic's event files in name order (as bytes).

    Raises UnavailableError when its folder is missing or cannot be listed.
    """
    folder = path / topic
    try:
        names = [entry.name for entry in os.scandir(folder) if not entry.is_dir()]
    except OSError as error:
        raise UnavailableError(f"{folder}: no such folder of events: {_why(error)}") from error
    chosen = [name for name in names if name.endswith(_SUFFIXES) and not name.startswith((".", "_"))]
    for name in chosen:
        if not is_unicode(name):  # bytes that are no text stand as surrogates, which no table can hold
            raise UnavailableError(f"{folder}: {os.fsencode(name)!r}: a file name that is not UTF-8")
    return [folder / name for name in sorted(chosen, key=os.fsencode)]


def read_blocks(file: Path, topic: str, *, block_bytes: int = 16 << 20) -> Iterator[Block]:
    """The records of one file as blocks of about ``block_bytes``, each of whole lines or rows.

    A line longer than a block makes its block longer. Raises UnavailableError when the file cannot be read.
    """
    datas = read_parquet(file, block_bytes) if file.name.endswith(".parquet") else _read_lines(file, block_bytes)
    first_offset = 0
    try:
        for data in datas:
            block = Block(topic, partition=0, file=file.name, first_offset=first_offset, data=data)
            yield block
            first_offset += block.records
    except _UNREADABLE as error:
        raise UnavailableError(f"{file}: cannot be read: {_why(error)}") from error


def _read_lines(file: Path, block_bytes: int) -> Iterator[bytes]:
    open_file = next(open_ for suffix, open_ in _JSON_LINES.items() if file.name.endswith(suffix))
    with open_file(file) as stream:
        pending: list[bytes] = []  # begins a line and has no end of one
        if file.stat().st_size == 0 and file.suffix != ".jsonl":
            raise EOFError("no compressed file is empty: it was cut off")
        while chunk := stream.read(block_bytes):
            end = chunk.rfind(b"\n") + 1
            if end:
                yield b"".join([*pending, chunk[:end]])
                pending = []
            pending.append(chunk[end:])
        if last := b"".join(pending):
            yield last


def _why(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
