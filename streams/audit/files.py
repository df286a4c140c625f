"""Files that are not what a commit says: missing, altered, or in no commit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from schemas.outputs import in_files
from streams.audit.recorded import Recorded
from streams.digests import sha256_of
from streams.live.file_reader import InputFile
from streams.live.output_folder import STAGING


@dataclass(frozen=True)
class FileProblem:
    """problem: ``missing``, ``altered`` or ``unknown``; path: relative to its folder."""

    path: str
    problem: str


def published_problems(out: Path, recorded: Recorded) -> list[FileProblem]:
    """Published files that are not as they were made, and files of the tables that no commit lists."""
    problems = []
    for file in recorded.published():
        is_staged = not (out / file.path).exists() and (out / STAGING / file.staged).exists()
        path = f"{STAGING}/{file.staged}" if is_staged else file.path
        if problem := _problem(out, path, file.sha256):
            problems.append(FileProblem(file.path, problem.problem))
    return problems + [FileProblem(path, "unknown") for path in recorded.unknown]


def unreadable(out: Path, problems: Iterable[FileProblem]) -> set[Path]:
    """Those of the altered files that no reader can read any more."""
    found = set()
    for problem in problems:
        if problem.problem == "altered":
            try:
                schema = pl.read_parquet(out / problem.path, hive_partitioning=False).schema
                if dict(schema) != in_files(problem.path.partition("/")[0]):
                    found.add(out / problem.path)
            except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
                found.add(out / problem.path)
    return found


def archive_problems(archive: Path, recorded: Recorded, oldest: date) -> list[FileProblem]:
    """Files of the archive that are not as they were made; those of days before ``oldest`` need not be there."""
    return [
        problem
        for file in recorded.archived()
        if date.fromisoformat(Path(file.path).parent.name.removeprefix("date=")) >= oldest
        and not (archive / STAGING / file.staged).exists()
        and (problem := _problem(archive, file.path, file.sha256))
    ]


def input_problems(log: Path, inputs: dict[str, list[InputFile]]) -> list[FileProblem]:
    """Event files that are not as they were read."""
    files = [(f"{topic}/{file.name}", file.sha256) for topic, of_topic in inputs.items() for file in of_topic]
    return [problem for path, digest in files if (problem := _problem(log, path, digest))]


def _problem(folder: Path, path: str, sha256: str) -> FileProblem | None:
    file = folder / path
    if not file.exists():
        return FileProblem(path, "missing")
    return None if sha256_of(file) == sha256 else FileProblem(path, "altered")
