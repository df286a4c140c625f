"""Hundreds of ``kill -9`` at random moments of random logs, most of them inside a commit or a roll.

``ATTRIBUTION_KILLS`` says how many (300). Each falls a moment of up to 5 ms after a random step. At the end of every
log nothing is lost and nothing is counted twice; between the kills readers find one commit whole.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from concurrent.futures import wait
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from streams.live.merging import Merger
from tests import faults
from tests.fault_checks import check_finished, check_recovered
from tests.faults import Fault, run_unkilled, step_names, write_pipeline
from tests.live_cases import random_log

KILLS = int(os.environ.get("ATTRIBUTION_KILLS", "300"))
DELAY_SECONDS_MAX = 0.005
A_START = "(a start)"
#: All other steps are followed by more of the same commit or roll.
OUTSIDE = ("recovery.fence", "recovery.delete", "commit.clean", A_START)
STEPS = [step for step in step_names() if step not in OUTSIDE]


@pytest.mark.soak
def test_hundreds_of_random_kills_lose_nothing_and_count_nothing_twice(tmp_path: Path) -> None:
    rng = Random(7)
    killed: Counter[str] = Counter()
    for seed in count():
        log = random_log(seed, size=rng.choice([24, 60]), late=rng.choice([0, 0.06]))
        if not log.rules:
            continue  # no pipeline without rules can be started
        unkilled = run_unkilled(write_pipeline(log, tmp_path / f"unkilled-{seed}"))
        pipeline = write_pipeline(log, tmp_path / f"killed-{seed}")
        while killed.total() < KILLS:
            ended = pipeline.run(random_fault(rng))
            if ended.exit_code != -signal.SIGKILL:
                assert ended.exit_code == 0, ended.said
                break
            killed[last_step(ended.steps)] += 1
            if rng.random() < 0.3:
                pipeline.recover()
                check_recovered(pipeline, unkilled)
        ended = pipeline.run()
        assert ended.exit_code == 0, ended.said
        check_finished(pipeline, unkilled)
        if killed.total() >= KILLS:
            break
    inside = sum(number for step, number in killed.items() if step not in OUTSIDE)
    print(f"\n{killed.total()} kills, {inside} of them inside a commit or a roll; by the last step before:")
    for step, number in killed.most_common():
        print(f"{number:6}  {step}")
    assert inside >= 0.8 * killed.total()
    assert set(killed) >= set(STEPS) or KILLS < 300


@pytest.mark.soak
@pytest.mark.parametrize("seed", [5, 27])
def test_a_slow_committer_changes_nothing(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each merge begins late, when the next batch is attributed, and is done at once."""
    start = Merger.start

    def start_late(self: Merger, *args: Any) -> None:
        time.sleep(0.25)
        start(self, *args)
        if self._running is not None:
            wait([self._running])

    monkeypatch.setattr(Merger, "start", start_late)
    monkeypatch.setattr(faults, "BATCH_RECORDS", 10)
    pipeline = write_pipeline(random_log(seed, size=60), tmp_path / "pipeline")
    unkilled = run_unkilled(pipeline)
    check_finished(pipeline, unkilled)


def random_fault(rng: Random) -> Fault:
    """Mostly soon, so that a log is good for many kills; the first time that a roll's steps come is in a start."""
    step = rng.choice(STEPS)
    soon = [1, 1, 1, 2, 3] if step.startswith("commit.") else [2, 2, 3]
    occurrence = rng.randint(2, 40) if step == "roll.rename" else rng.choice(soon)
    return Fault(step, occurrence, delay_seconds=rng.choice([0, rng.random()]) * DELAY_SECONDS_MAX)


def last_step(steps: list[str]) -> str:
    """The last step before a kill. What is forced to disk and renamed again at a start is recovery, not a commit."""
    return steps[-1] if "commit.segments" in steps else A_START
