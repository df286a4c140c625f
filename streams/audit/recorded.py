"""What a state folder says was read and published, pinned at one commit while an engine may go on beside it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import UnavailableError
from schemas.outputs import TABLES
from streams.live.commit import Commit, PublishedFile, decode_commit
from streams.live.commit_log import read_all
from streams.live.families import FILES
from streams.live.family_state import FamilyState
from streams.live.file_reader import InputFile
from streams.live.history import PastCommit, lasting, past_commits
from streams.live.output_folder import STAGING
from streams.live.state_folder import finished_files

#: An engine that commits and rolls at each of so many looks is too fast for us.
_LOOKS = 20


@dataclass(frozen=True)
class Recorded:
    """The newest commit, all before it in short, the input files by topic, and where the rows are.

    inputs: in the order in which they were read, with how many records; files: by table, those of this commit and
    before; also copies of rows that wait for a roll; unknown: files of the tables that no commit has made; in_archive:
    by topic, as ``files``.
    """

    newest: Commit
    past: list[PastCommit]
    inputs: dict[str, list[InputFile]]
    files: dict[str, list[Path]]
    unknown: list[str]
    in_archive: dict[str, list[Path]]

    def published(self) -> list[PublishedFile]:
        """Every file that was ever published."""
        return [file for commit in (*self.past, lasting(self.newest)) for file in commit.published]

    def archived(self) -> list[PublishedFile]:
        """Every file that ever came into the archive."""
        return [file for commit in (*self.past, lasting(self.newest)) for file in commit.archived]

    def watermark_before(self) -> dict[int, int | None]:
        """By commit, the watermark of the commit before it: what was forgotten when it was made."""
        commits = [*self.past, lasting(self.newest)]
        watermarks = [None, *(commit.watermark_us for commit in commits)]
        return {commit.number: watermark for commit, watermark in zip(commits, watermarks, strict=False)}


def read_recorded(state: Path, out: Path, archive: Path | None, aside: Path) -> Recorded:
    """aside: an empty folder, for copies of what the engine may delete.

    Raises UnavailableError where there is no commit or the state cannot be read.
    """
    problem: Exception = UnavailableError(f"{state}: no commit: nothing was ever published from this state")
    for look in range(_LOOKS):
        try:
            return _read(state, out, archive, aside / str(look))
        except (UnavailableError, FileNotFoundError) as error:  # deleted meanwhile, as a rule: look again
            problem = error
            if not read_all(state):
                break
    raise UnavailableError(str(problem))


def _read(state: Path, out: Path, archive: Path | None, aside: Path) -> Recorded:
    commits = {number: decode_commit(content, state) for number, content in read_all(state)}
    if not commits:
        raise UnavailableError(f"{state}: no commit: nothing was ever published from this state")
    newest = commits[max(commits)]
    past = {commit.number: commit for commit in past_commits(state)}
    past |= {number: lasting(commit) for number, commit in commits.items()}
    before = [past[number] for number in sorted(past) if number < newest.number]
    inputs: dict[str, list[InputFile]] = {topic.name: [] for topic in newest.held.topics}
    files = FamilyState(state / "segments", FILES, newest.segments.get(FILES.name, []))
    for topic, file in finished_files(files):
        inputs[topic].append(file)
    for partition in newest.partitions:
        if partition.unfinished is not None:
            inputs[partition.topic].append(partition.unfinished)
    recorded = Recorded(newest, before, inputs, {table: [] for table in TABLES}, [], {topic: [] for topic in inputs})
    _find_rows(recorded, out, aside)
    if archive is not None:
        _find_archived(recorded, archive, aside)
    return recorded


def _find_rows(recorded: Recorded, out: Path, aside: Path) -> None:
    """Fill in where the rows are; raises FileNotFoundError where waiting rows went while they were copied."""
    listed = {file.path for file in recorded.published()}
    for table in TABLES:
        for path in sorted((out / table).glob("**/*.parquet")):
            if _commit_of(path.name) <= recorded.newest.number:
                recorded.files[table].append(path)
                if str(path.relative_to(out)) not in listed:
                    recorded.unknown.append(str(path.relative_to(out)))
    for file in recorded.newest.published:  # of a roll that was cut off, or is on its way
        if not (out / file.path).exists() and (out / STAGING / file.staged).exists():
            recorded.files[file.path.partition("/")[0]].append(_copy(out / STAGING / file.staged, aside))
    for part in recorded.newest.parts:
        recorded.files[part.table].append(_copy(out / STAGING / part.name, aside))


def _find_archived(recorded: Recorded, archive: Path, aside: Path) -> None:
    """Fill in where the archive's files are, later ones left out."""
    upto = recorded.newest.archive_base + recorded.newest.number
    for topic, files in recorded.in_archive.items():
        files += [path for path in (archive / topic).glob("date=*/*.parquet") if _commit_of(path.name) <= upto]
    waiting = [(part.table, part.name) for part in recorded.newest.archive_parts]
    # Of a roll that was cut off, or is on its way.
    staged = [file for file in recorded.newest.archived if (archive / STAGING / file.staged).exists()]
    waiting += [(file.path.partition("/")[0], file.staged) for file in staged]
    for topic, name in waiting:
        recorded.in_archive[topic].append(_copy(archive / STAGING / name, aside))


def _copy(path: Path, aside: Path) -> Path:
    aside.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(path, aside / path.name))


def _commit_of(name: str) -> int:
    """The commit in the name of a published file; 0 where there is none."""
    with suppress(ValueError):
        return int(name[:12])
    return 0
