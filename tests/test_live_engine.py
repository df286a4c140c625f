"""The live engine held against its judge: whatever the batches, the order, the idle marks and the rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.runner import run
from streams.settings import load_settings
from tests.case_files import write_case
from tests.cases import in_time_order, random_case
from tests.live_cases import LiveLog, random_log
from tests.live_reference import LiveModel
from tests.live_runs import LivePipeline, differences, drive, net
from tests.reference import attribute


def check(log: LiveLog, folder: Path, *, restart: bool) -> None:
    """Net rows and refusals are the model's after every commit."""
    if not log.rules:
        return  # no pipeline without rules can be started
    pipeline = LivePipeline(log, folder)
    model = LiveModel(log.rules, log.settings, log.partitions)
    for number in drive(pipeline, restart=restart):
        batch = log.batches[number - 1]
        model.commit(batch.reads, idle=batch.idle, fx=batch.fx, until_end=number == len(log.batches))
        found = differences(pipeline.out, model.result())
        assert not found, f"commit {number}:\n" + "\n".join(found[:12])


@pytest.mark.parametrize("seed", range(6))
def test_every_commit_publishes_what_the_model_says(seed: int, tmp_path: Path) -> None:
    check(random_log(seed), tmp_path, restart=False)


@pytest.mark.parametrize("seed", range(100, 106))
def test_late_events_and_idle_topics_are_judged_as_the_model_judges_them(seed: int, tmp_path: Path) -> None:
    check(random_log(seed, late=0.15, idle=0.3), tmp_path, restart=seed % 2 == 0)


@pytest.mark.parametrize("seed", range(200, 206))
def test_scores_are_judged_and_kept_as_the_model_says(seed: int, tmp_path: Path) -> None:
    check(random_log(seed, late=0.1, idle=0.3, scores=True), tmp_path, restart=seed % 2 == 0)


@pytest.mark.parametrize("seed", [4, 5, 11, 14])
def test_topics_that_have_not_been_read_yet_hold_the_watermark(seed: int, tmp_path: Path) -> None:
    """Batches so small that the first ones hold records of one topic only: the others are behind, not idle."""
    case = in_time_order(random_case(seed, size=14, conflicts=False))
    run(load_settings(write_case(case, tmp_path)), until_end=True, batch_records=5)
    expected = attribute(**vars(case))
    for table in ("credits", "unattributed"):
        assert net(tmp_path / "out", table) == getattr(expected, table)
    assert net(tmp_path / "out", "attributed") == [row for row in expected.attributed if row["settled"]]


@pytest.mark.parametrize("seed", [4, 14])
def test_merges_that_overtake_commits_count_nothing_twice(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With commits of one record and merges of every two segments, merges are begun and taken up all the time."""
    monkeypatch.setattr("streams.live.merging._FAN_IN", 2)
    case = in_time_order(random_case(seed, size=14, conflicts=False))
    run(load_settings(write_case(case, tmp_path)), until_end=True, batch_records=1)
    expected = attribute(**vars(case))
    for table in ("credits", "unattributed"):
        assert net(tmp_path / "out", table) == getattr(expected, table)
    assert net(tmp_path / "out", "attributed") == [row for row in expected.attributed if row["settled"]]
