"""What old commits say, one line each, in one file a day: what was published, and what became of the records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from schemas.errors import UnavailableError
from streams.counts import Counts
from streams.live.commit import Commit, PublishedFile, decode_commit
from streams.live.commit_log import CommitLog
from streams.live.segments import sync
from streams.live.steps import reached

_FOLDER = "history"


class PartitionCounts(msgspec.Struct, frozen=True):
    topic: str
    partition: int
    counts: Counts


class PastCommit(msgspec.Struct, frozen=True):
    """The lasting part of a commit."""

    number: int
    writer: int
    committed_at_us: int
    watermark_us: int | None
    partitions: list[PartitionCounts]
    published: list[PublishedFile]
    archived: list[PublishedFile] = []


def lasting(commit: Commit) -> PastCommit:
    read = [PartitionCounts(p.topic, p.partition, p.counts) for p in commit.partitions if p.counts.read]
    return PastCommit(
        commit.number,
        commit.writer,
        commit.committed_at_us,
        commit.watermark_us,
        read,
        commit.published,
        commit.archived,
    )


def fold(state: Path, log: CommitLog, newest: int) -> None:
    """Write a line for every commit older than the newest, force it to disk, then delete their files.

    A line cut off by a crash is written anew: its commit is still there. Raises UnavailableError.
    """
    old = list(log.before(newest))
    if not old:
        return
    folder = state / _FOLDER
    try:
        folder.mkdir(exist_ok=True)
        for _, content in old:
            commit = decode_commit(content, state)
            day = datetime.fromtimestamp(commit.committed_at_us / 1e6, UTC).date()
            path = folder / f"{day}.jsonl"
            is_new = not path.exists()
            with path.open("ab+") as file:
                _cut_off_half_a_line(file.fileno())
                file.write(msgspec.json.encode(lasting(commit)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync(folder)
                sync(state)
            reached("history.write")
    except OSError as error:
        raise UnavailableError(f"{folder}: cannot be written: {error.strerror or error}") from error
    log.forget_before(newest)
    reached("history.delete")


def past_commits(state: Path) -> Iterator[PastCommit]:
    """Every commit that was folded, once, in order; raises UnavailableError for a damaged file."""
    found: dict[int, PastCommit] = {}
    for path in sorted((state / _FOLDER).glob("*.jsonl")):
        try:
            lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line end is half a line
            commits = [msgspec.json.decode(line, type=PastCommit) for line in lines]
        except (OSError, msgspec.MsgspecError) as error:
            raise UnavailableError(f"{path}: cannot be read: {error}") from error
        found |= {commit.number: commit for commit in commits}
    # Not in the order of the files: the clock that names them may have been set back.
    yield from (found[number] for number in sorted(found))


def _cut_off_half_a_line(descriptor: int) -> None:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    at = size
    while at > 0:
        start = max(at - 65_536, 0)
        found = os.pread(descriptor, at - start, start).rfind(b"\n")
        if found >= 0:
            at = start + found + 1
            break
        at = start
    if at < size:
        os.ftruncate(descriptor, at)
