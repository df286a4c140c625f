"""Files that are not what a commit says: missing, altered, or in no commit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from schemas.outputs import TABLES, in_files
from streams.digests import sha256_of
from streams.live.commit import PublishedFile
from streams.live.file_reader import InputFile


@dataclass(frozen=True)
class FileProblem:
    """problem: ``missing``, ``altered`` or ``unknown``; path: relative to its folder."""

    path: str
    problem: str


def published_problems(out: Path, listed: Iterable[PublishedFile]) -> list[FileProblem]:
    """Published files that are not as they were made, and files of the tables that no commit lists."""
    known = {file.path: file.sha256 for file in listed}
    problems = [problem for path, digest in known.items() if (problem := _problem(out, path, digest))]
    there = {str(path.relative_to(out)) for table in TABLES for path in (out / table).glob("**/*.parquet")}
    return problems + [FileProblem(path, "unknown") for path in sorted(there - set(known))]


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


def input_problems(log: Path, inputs: dict[str, list[InputFile]]) -> list[FileProblem]:
    """Event files that are not as they were read."""
    files = [(f"{topic}/{file.name}", file.sha256) for topic, of_topic in inputs.items() for file in of_topic]
    return [problem for path, digest in files if (problem := _problem(log, path, digest))]


def _problem(folder: Path, path: str, sha256: str) -> FileProblem | None:
    file = folder / path
    if not file.exists():
        return FileProblem(path, "missing")
    return None if sha256_of(file) == sha256 else FileProblem(path, "altered")
