"""What must hold of a pipeline's files, whatever hit it: against the model, and against a run that nothing hit."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from schemas.outputs import TABLES
from streams.digests import sha256_of
from streams.live.commit import Commit, decode_commit
from streams.live.commit_log import read_newest
from streams.live.families import INFERENCE_PROFILES, INFERENCES, OUTCOME_PROFILES
from streams.live.history import past_commits
from streams.live.output_folder import STAGING
from streams.live.state import State
from tests.conformance_compare import published_rows
from tests.faults import Pipeline, Unkilled
from tests.live_runs import differences


def newest_commit(pipeline: Pipeline) -> Commit | None:
    found = read_newest(pipeline.state)
    return None if found is None else decode_commit(found[1], pipeline.state)


def check_readers(pipeline: Pipeline, unkilled: Unkilled) -> None:
    """Assert that readers find all tables up to one commit, and in them what the model says of that commit.

    So every outcome's parts sum to the whole: the model's do.
    """
    if not (pipeline.out / "manifest.json").exists():
        assert not list(pipeline.out.glob("[!_]*/**/*.parquet")), "published rows without a manifest"
        return
    commit_id = json.loads((pipeline.out / "manifest.json").read_text())["commit_id"]
    commits = table(pipeline.out, "commits")
    assert sorted(set(commits["commit_id"])) == list(range(1, commit_id + 1))
    found = differences(pipeline.out, unkilled.after(commit_id))
    assert not found, f"commit {commit_id}: {found[:9]}"
    accepted = {row["source_topic"]: row["accepted"] for row in published_rows(pipeline.out, "commits")}
    inferences = accepted.pop("inferences")
    assert table(pipeline.out, "inferences").height == inferences
    assert table(pipeline.out, "outcomes").height == sum(accepted.values())


def check_recovered(pipeline: Pipeline, unkilled: Unkilled) -> None:
    """Assert what holds after a start: as for readers, and nothing lies about that no commit lists."""
    check_readers(pipeline, unkilled)
    commit, state, out = newest_commit(pipeline), pipeline.state, pipeline.out
    segments, parts, published, to_archive, archived = [], [], [], [], []
    if commit is not None:
        past = list(past_commits(state))
        assert [old.number for old in past] == list(range(1, commit.number))
        published = [file for old in past for file in old.published] + commit.published
        archived = [file for old in past for file in old.archived] + commit.archived
        to_archive = [part.name for part in commit.archive_parts]
        segments = [file.name for files in commit.segments.values() for file in files]
        parts = [part.name for part in commit.parts]
        assert [path.name for path in state.glob("rates-*")] == [commit.rates]
        assert [path.name for path in state.glob("commits-*/*")] == [f"{commit.number:012d}.json"]
        kept = State(state / "segments", commit.segments, watermark_us=commit.watermark_us)
        for family in (INFERENCES, INFERENCE_PROFILES, OUTCOME_PROFILES):
            numbers = kept.expiring(family, None, ["number"])["number"]
            assert numbers.is_unique().all(), f"{family.name}: facts that are kept twice"
        for partition in commit.partitions:
            reads = [was.counts.read for old in past for was in old.partitions if was.topic == partition.topic]
            assert sum(reads) + partition.counts.read == partition.totals.read
    assert names(state / "segments") == sorted(segments)
    assert names(out / STAGING) == sorted(parts)
    assert names(pipeline.archive / STAGING) == sorted(to_archive)
    for folder, files in ((out, published), (pipeline.archive, archived)):
        assert {str(path.relative_to(folder)): sha256_of(path) for path in folder.glob("[!_]*/**/*.parquet")} == {
            file.path: file.sha256 for file in files
        }


def check_finished(pipeline: Pipeline, unkilled: Unkilled) -> None:
    """Assert that every record was counted once, and that no row shows what happened on the way.

    Starts it once more: what was merged in the background after the last commit goes only then.
    """
    pipeline.recover()
    check_recovered(pipeline, unkilled)
    written: Counter[str] = Counter()
    for (topic, _), records in pipeline.records.items():
        written[topic] += len(records)
    rows = pl.read_parquet(pipeline.archive / "*" / "date=*" / "*.parquet", hive_partitioning=False)
    assert sorted(rows.select("topic", "file", "offset", "value").iter_rows()) == sorted(
        (topic, name, number, line.encode())
        for (topic, name), records in pipeline.records.items()
        for number, (line, _) in enumerate(records)
    )
    commits = published_rows(pipeline.out, "commits")
    assert {row["source_topic"]: row["read"] for row in commits} == written
    for row in commits:
        assert row["read"] == row["accepted"] + row["duplicates"] + row["dead_letters"] + row["ignored"]
    found = differences(pipeline.out, unkilled.results[-1])
    assert not found, found[:9]
    for name in TABLES:
        mine, theirs = lasting(pipeline.out, name), lasting(unkilled.pipeline.out, name)
        assert_frame_equal(mine, theirs, check_row_order=False)


def lasting(out: Path, name: str) -> pl.DataFrame:
    """A table without what depends on the clock, and without commits that did nothing but roll."""
    frame = table(out, name)
    if name == "commits":
        return frame.filter(pl.col("source_topic").is_not_null()).drop("committed_at")
    return frame


def table(out: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(out / name / "**" / "*.parquet", hive_partitioning=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder. The folder of the commits, which each start gives another number, goes without it."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[re.sub(r"commits-\d+", "commits", str(path.relative_to(folder)))] = path.read_bytes()
    return found
