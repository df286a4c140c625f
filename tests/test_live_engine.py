"""The live engine held against its judge: whatever the batches, the order, the idle marks and the rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live_cases import PARTITIONS, LiveLog, random_log
from tests.live_reference import LiveModel
from tests.live_runs import LivePipeline, differences, drive


def check(log: LiveLog, folder: Path, *, restart: bool) -> None:
    """Net rows and refusals are the model's after every commit."""
    if not log.rules:
        return  # no pipeline without rules can be started
    pipeline = LivePipeline(log, folder)
    model = LiveModel(log.rules, log.settings, PARTITIONS)
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
