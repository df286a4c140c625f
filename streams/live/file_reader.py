"""One topic of event files as a stream that can be left at any record and gone on with there.

Files appear whole and never change. What has been read to its end is known by name, size and digest; a known
file that changed, or an unfinished one that is gone, is an error. A file that comes late is read though its name
stands before those that were read: nothing is lost.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import polars as pl

from schemas.errors import UnavailableError
from streams.decode import Block
from streams.digests import sha256_of
from streams.file_source import read_blocks, topic_files
from streams.json_lines import Lines

#: Known files are held against what they were at the first look for new ones and at every so many later ones.
_LOOKS_PER_CHECK = 50


class InputFile(msgspec.Struct, frozen=True):
    """A file of a topic and how many of its records have been read; modified_ns: when it was last written."""

    name: str
    bytes: int
    modified_ns: int
    sha256: str
    records: int


class FileReader:
    """Gives the records of a topic block by block; what it gave is known from ``finished`` and ``unfinished``."""

    def __init__(
        self,
        folder: Path,
        topic: str,
        finished: Iterable[InputFile] = (),
        unfinished: InputFile | None = None,
        *,
        only: Container[str] | None = None,
    ) -> None:
        """only: names of files, where no others are to be read."""
        self._folder = folder
        self._topic = topic
        self._only = only
        self._known = {file.name: file for file in finished}
        self.unfinished = unfinished
        self.finished: list[InputFile] = []
        self._looks = 0
        self._blocks: Iterator[Block] = iter(())
        self._rest: Block | None = None
        if unfinished is not None:
            self._check(unfinished, must_exist=True)
            self._blocks = _skipped(read_blocks(folder / topic / unfinished.name, topic), unfinished.records)

    def next_block(self, max_records: int) -> Block | None:
        """At most so many records, all of one file; None at the end of what is there now.

        Raises UnavailableError for a file that cannot be read or is not what it was.
        """
        while True:
            block = self._rest or next(self._blocks, None)
            self._rest = None
            if block is not None:
                first, self._rest = cut(block, max_records)
                if first.records == 0:  # blank lines alone
                    continue
                assert self.unfinished is not None
                self.unfinished = msgspec.structs.replace(self.unfinished, records=first.first_offset + first.records)
                return first
            self._finish()
            if not self._open_next():
                return None

    def take_finished(self) -> list[InputFile]:
        """The files read to their end since the last call."""
        finished, self.finished = self.finished, []
        return finished

    def _finish(self) -> None:
        if self.unfinished is not None:
            self._known[self.unfinished.name] = self.unfinished
            self.finished.append(self.unfinished)
            self.unfinished = None

    def _open_next(self) -> bool:
        """Begin the first file in name order that is not known; False where there is none."""
        files = topic_files(self._folder, self._topic)
        if self._only is not None:
            files = [file for file in files if file.name in self._only]
        if self._looks % _LOOKS_PER_CHECK == 0:
            for file in files:
                if file.name in self._known:
                    self._check(self._known[file.name], must_exist=False)
        self._looks += 1
        new = next((file for file in files if file.name not in self._known), None)
        if new is None:
            return False
        status = new.stat()
        self.unfinished = InputFile(new.name, status.st_size, status.st_mtime_ns, sha256_of(new), 0)
        self._blocks = read_blocks(new, self._topic)
        return True

    def _check(self, known: InputFile, *, must_exist: bool) -> None:
        file = self._folder / self._topic / known.name
        try:
            status = file.stat()
        except OSError as error:
            if not must_exist:
                return
            raise UnavailableError(f"{file}: was read in part and is gone. Hint: put it back as it was") from error
        if status.st_size == known.bytes and status.st_mtime_ns == known.modified_ns:
            return
        if status.st_size != known.bytes or sha256_of(file) != known.sha256:
            raise UnavailableError(f"{file}: has changed since it was read. Hint: write a new file instead")
        if known.name in self._known:  # touched or copied: so that it is not hashed again at every look
            self._known[known.name] = msgspec.structs.replace(known, modified_ns=status.st_mtime_ns)


def cut(block: Block, max_records: int) -> tuple[Block, Block | None]:
    """The first records of a block and the rest of it."""
    left = block.records - max_records
    if left <= 0:
        return block, None
    if isinstance(block.data, pl.DataFrame):
        head, tail = block.data.head(max_records), block.data.slice(max_records)
        first = replace(block, data=head, counted=max_records)
        return first, replace(block, data=tail, first_offset=block.first_offset + max_records, counted=left)
    assert isinstance(block.data, bytes), "files hold lines or rows"
    starts, _ = Lines(block.data).bounds
    end = int(starts[max_records])
    first = replace(block, data=block.data[:end], counted=max_records)
    rest = replace(block, data=block.data[end:], first_offset=block.first_offset + max_records, counted=left)
    return first, rest


def _skipped(blocks: Iterator[Block], records: int) -> Iterator[Block]:
    """The blocks without the first records."""
    for block in blocks:
        if block.first_offset >= records:
            yield block
        elif block.first_offset + block.records > records:
            _, rest = cut(block, records - block.first_offset)
            assert rest is not None
            yield rest
