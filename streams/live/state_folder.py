"""The state folder of a pipeline, beside its commits: segments of facts and the rates last used."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import polars as pl

from schemas.errors import UnavailableError
from streams.live.commit import Commit
from streams.live.families import EXPIRY, FILES, FOREVER_US, INFERENCE_PROFILES, OUTCOME_PROFILES
from streams.live.family_state import FamilyState
from streams.live.file_reader import InputFile
from streams.live.memory import MemoryLimit
from streams.live.rates import rates_name
from streams.live.segments import SegmentFile, sync
from streams.live.state import Facts, State
from streams.live.steps import reached


class StateFolder:
    """Writes as one writer: its number stands in every name."""

    def __init__(self, path: Path, writer: int) -> None:
        """Raises UnavailableError where the folder cannot be written."""
        self.path = path
        self.segments = path / "segments"
        self._writer = writer
        try:
            self.segments.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnavailableError(f"{path}: cannot be written: {error.strerror or error}") from error

    def clean(self, commit: Commit | None) -> None:
        """Delete segments and rates that the newest commit does not list, but for those of a later writer: this one has
        stalled then, and the files are in use."""
        listed = {file.name for files in commit.segments.values() for file in files} if commit else set()
        for path in sorted(self.segments.iterdir()):
            if path.name not in listed and writer_of(path.name) <= self._writer:
                path.unlink(missing_ok=True)
                reached("recovery.delete")
        for path in self.path.glob("rates-*.csv"):
            if commit is None or path.name != commit.rates:
                path.unlink()

    def open(self, commit: Commit | None, memory: MemoryLimit | None = None) -> State:
        """The state as of a commit; raises UnavailableError for a segment that is missing or damaged.

        memory: above which look-ups give mapped pages back.
        """
        if commit is None:
            return State(self.segments, {}, memory=memory)
        return State(
            self.segments,
            commit.segments,
            watermark_us=commit.watermark_us,
            next_number=commit.next_number,
            memory=memory,
        )

    def write_facts(self, number: int, state: State, facts: Facts, *, part: int = 0) -> list[SegmentFile]:
        """Add facts as segments of a commit; they are found from now on, and not yet forced to disk.

        part: where a commit has facts added several times.
        """
        files = []
        for name, rows in facts.items():
            file = state.families[name].add(f"{number:012d}-{self._writer:06d}-{part:04d}-{name}.arrow", rows)
            if file is not None:
                files.append(file)
        return files

    def force(self, files: Iterable[SegmentFile]) -> None:
        """Force segments to disk."""
        for file in files:
            sync(self.segments / file.name)
        sync(self.segments)
        reached("commit.segments")

    def forget(self, files: Iterable[SegmentFile]) -> None:
        """Delete segments that no commit lists any more."""
        for file in files:
            (self.segments / file.name).unlink(missing_ok=True)

    def write_rates(self, text: str | None) -> str | None:
        """Keep the text of rates, forced to disk, unless it is there; returns its name."""
        name = rates_name(text)
        if name is None or text is None:
            return None
        path = self.path / name
        try:
            if not path.exists() or path.read_bytes() != text.encode():
                path.write_text(text, encoding="utf-8", newline="")
                sync(path)
                sync(self.path)
        except OSError as error:
            raise UnavailableError(f"{path}: cannot be written: {error.strerror or error}") from error
        return name

    def forget_rates(self, name: str | None) -> None:
        """Delete rates that are not in use any more."""
        if name is not None:
            (self.path / name).unlink(missing_ok=True)


def writer_of(name: str) -> int:
    """The writer in the name of a segment or part."""
    return int(name.split("-", 2)[1])


def kept_rates(folder: Path, commit: Commit) -> str | None:
    """The text of the rates that a commit was made under; raises UnavailableError where it cannot be read."""
    if commit.rates is None:
        return None
    path = folder / commit.rates
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read: {error.strerror or error}") from error
    if rates_name(text) != commit.rates:
        raise UnavailableError(f"{path}: state is damaged: these are not the rates that the commit was made under")
    return text


def lasting_facts(state: State, finished: Iterable[tuple[str, InputFile]]) -> Facts:
    """What is never forgotten: (topic, file) read to their ends, and profiles that are new."""
    forever = pl.lit(FOREVER_US, dtype=pl.Int64).alias(EXPIRY)
    files = pl.DataFrame(
        [{"topic": topic, **msgspec.structs.asdict(file)} for topic, file in finished],
        schema={name: dtype for name, dtype in FILES.columns.items() if name not in (EXPIRY, "number")},
    )
    files = files.with_columns(state.numbered(files.height).alias("number"))
    return {
        FILES.name: files.with_columns(forever),
        INFERENCE_PROFILES.name: state.inference_profiles.take_new().with_columns(forever),
        OUTCOME_PROFILES.name: state.outcome_profiles.take_new().with_columns(forever),
    }


def finished_files(files: FamilyState) -> list[tuple[str, InputFile]]:
    """(topic, file) of the event files read to their ends, in that order. files: the family FILES."""
    rows = files.expiring(None, FOREVER_US + 1, [name for name in FILES.columns if name != EXPIRY]).sort("number")
    return [(topic, InputFile(*values)) for topic, *values in rows.drop("number").iter_rows()]
