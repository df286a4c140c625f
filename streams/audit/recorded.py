"""What a state folder says was read and published, read beside a running engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from schemas.errors import UnavailableError
from streams.live.commit import Commit, PublishedFile, decode_commit
from streams.live.commit_log import read_newest
from streams.live.families import FILES
from streams.live.family_state import FamilyState
from streams.live.file_reader import InputFile
from streams.live.history import PastCommit, lasting, past_commits

_COLUMNS = ["topic", "name", "bytes", "modified_ns", "sha256", "records"]


@dataclass(frozen=True)
class Recorded:
    """The newest commit, all commits before it in short, and the input files by topic.

    inputs: with how many records of each were read, all of them but for one per topic.
    """

    newest: Commit
    past: list[PastCommit]
    inputs: dict[str, list[InputFile]]

    def published(self) -> list[PublishedFile]:
        """Every file that was ever published."""
        return [file for commit in (*self.past, lasting(self.newest)) for file in commit.published]

    def watermark_before(self) -> dict[int, int | None]:
        """By commit, the watermark of the commit before it: what was forgotten when it was made."""
        commits = [*self.past, lasting(self.newest)]
        watermarks = [None, *(commit.watermark_us for commit in commits)]
        return {commit.number: watermark for commit, watermark in zip(commits, watermarks, strict=False)}


def read_recorded(state: Path) -> Recorded:
    """Raises UnavailableError where there is no commit or the state cannot be read."""
    found = read_newest(state)
    if found is None:
        raise UnavailableError(f"{state}: no commit: nothing was ever published from this state")
    newest = decode_commit(found[1], state)
    past = [commit for commit in past_commits(state) if commit.number < newest.number]
    inputs: dict[str, list[InputFile]] = {topic.name: [] for topic in newest.held.topics}
    files = FamilyState(state / "segments", FILES, newest.segments.get(FILES.name, []))
    for topic, *values in files.expiring(None, 2**63 - 1, _COLUMNS).iter_rows():
        inputs[topic].append(InputFile(*values))
    for partition in newest.partitions:
        if partition.unfinished is not None:
            inputs[partition.topic].append(partition.unfinished)
    return Recorded(newest, past, inputs)
