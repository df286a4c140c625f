"""What a commit holds: positions, state, what waits and what is published, at one moment."""

from __future__ import annotations

import hashlib

import msgspec

from attribution.event_time import Progress
from schemas.errors import UnavailableError
from schemas.outputs import TABLES, in_files
from streams.counts import Counts
from streams.live.file_reader import InputFile
from streams.live.segments import SegmentFile

#: Of the state folder. Another number cannot be read.
FORMAT = 1
#: Of the attribution function. What was published is recomputed, so another one cannot go on from this state.
KERNEL = 1


class Part(msgspec.Struct, frozen=True):
    """Rows of a table that wait for a roll, in ``_staging``; days: rows per date folder."""

    table: str
    name: str
    days: dict[str, int]
    bytes: int
    crc32: int

    @property
    def rows(self) -> int:
        return sum(self.days.values())


class PublishedFile(msgspec.Struct, frozen=True):
    """staged: its name in ``_staging``; path: relative to the output folder."""

    staged: str
    path: str
    rows: int
    sha256: str


class Partition(msgspec.Struct, frozen=True):
    """A partition of the input: how far it was read, what was read of it in this commit and in all.

    newest_us, oldest_us: the largest and the smallest event time read from it; unfinished, next_offset: what is read
    next, of files and of Kafka; topic_id: what the cluster calls the topic, and will never call one made anew.
    """

    topic: str
    partition: int
    newest_us: int | None
    oldest_us: int | None
    is_idle: bool
    unfinished: InputFile | None
    counts: Counts
    totals: Counts
    next_offset: int | None = None
    topic_id: str | None = None

    @property
    def progress(self) -> Progress:
        return Progress(self.newest_us, self.is_idle)


class HeldTopic(msgspec.Struct, frozen=True):
    name: str
    kind: str
    mapping: str


class Held(msgspec.Struct, frozen=True):
    """Settings and rules that figures depend on; a state goes on only under these. rules: digests by id."""

    base_currency: str
    allowed_lateness_us: int
    reversal_window_us: int
    fx_max_age_us: int
    topics: list[HeldTopic]
    rules: dict[str, str]


class Rolled(msgspec.Struct, frozen=True):
    """The commit up to which everything is published."""

    commit_id: int
    watermark_us: int | None


class Commit(msgspec.Struct, frozen=True):
    """Commit ``number``. parts: waiting for a roll; published: the files of this commit's roll; rates: the file of
    exchange rates in the state folder, None without rates; tables: a digest of the published columns.

    archive_parts, archived: the same of the archive; archive_base: added to ``number`` it is ``commit_id`` there, so
    that it goes on rising where a new state goes on with the archive of an older one."""

    number: int
    writer: int
    committed_at_us: int
    code_version: str
    held: Held
    watermark_us: int | None
    newest_inference_us: int | None
    next_number: int
    partitions: list[Partition]
    segments: dict[str, list[SegmentFile]]
    parts: list[Part]
    published: list[PublishedFile]
    rolled: Rolled
    rates: str | None
    tables: str
    archive_base: int = 0
    archive_parts: list[Part] = []
    archived: list[PublishedFile] = []
    format: int = FORMAT
    kernel: int = KERNEL

    def encoded(self) -> bytes:
        return msgspec.json.encode(self)


class _Versions(msgspec.Struct, frozen=True):
    format: int
    kernel: int
    code_version: str


def decode_commit(content: bytes, state: object) -> Commit:
    """Raises UnavailableError for a commit of another format or attribution function, or one that cannot be read."""
    try:
        versions = msgspec.json.decode(content, type=_Versions)
        if (versions.format, versions.kernel) != (FORMAT, KERNEL):
            raise UnavailableError(
                f"{state}: written by version {versions.code_version} (state format {versions.format}, "
                f"attribution function {versions.kernel}), this one reads format {FORMAT} and function {KERNEL}. "
                "Hint: replay --state writes a state of this version from the log"
            )
        return msgspec.json.decode(content, type=Commit)
    except msgspec.MsgspecError as error:
        raise UnavailableError(f"{state}: the newest commit cannot be read: {error}") from error


def tables_digest() -> str:
    """A digest of the published columns and types."""
    columns = {table: {name: str(dtype) for name, dtype in in_files(table).items()} for table in TABLES}
    return hashlib.sha256(msgspec.json.encode(columns)).hexdigest()
