"""The benchmarks run: what they measure changes, and they must follow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_live_benchmark_runs_small_and_names_every_figure() -> None:
    sizes = ("--inferences", "20000", "--outcomes", "4000", "--batch", "2500", "--commits", "3")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "live", *sizes], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    for figure in (
        *("finding 10,000 keys", "start, files not in the page cache", "commits of 10 events"),
        *("live engine, rolls included", "resident memory", "SIGTERM to exit", "decode", "rocksdb:", "lmdb:"),
    ):
        assert figure in run.stdout, run.stdout
