"""One process of the live benchmark: the engine on a state and a log that are there, timed from outside.

``python -m benchmarks.live_run PIPELINE --commits N [--batch N] [--serial] [--profile FILE]`` prints what it measured
as JSON. After so many commits it sends itself SIGTERM.

--serial: nothing runs beside anything else, so that the processor time of all threads can be told apart by stage.
"""

from __future__ import annotations

import argparse
import cProfile
import functools
import json
import resource
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attribution import engine as kernel
from streams import decode, runner
from streams.live import arrivals, history, merging, output_folder, reworking, rows, segments, settling, step, touching
from streams.live.commit_log import CommitLog
from streams.live.engine import Engine
from streams.live.family_state import FamilyState
from streams.live.file_reader import FileReader

#: (stage, module or class, function). Stages that begin with "·" are shown apart within each other one.
_TIMED: list[tuple[str, Any, str]] = [
    ("read", FileReader, "next_block"),
    ("decode", decode, "decode"),
    ("arrivals", arrivals, "take_in"),
    ("touching", touching, "copied"),
    ("touching", touching, "named_by"),
    ("touching", touching, "gained_by"),
    ("reworking", reworking, "concerned"),
    ("reworking", step, "_difference"),
    ("settling", settling, "earned"),
    ("settling", settling, "settled_rows"),
    ("settling", settling, "changed_rows"),
    ("table rows", rows, "table_rows"),
    ("segments", FamilyState, "add"),
    ("parts", output_folder.OutputFolder, "stage"),
    ("roll", output_folder.OutputFolder, "roll"),
    ("roll", output_folder.OutputFolder, "publish"),
    ("merges", merging.Merger, "_merge"),
    ("commit file", CommitLog, "append"),
    ("commit file", history, "fold"),
    ("rest", Engine, "commit"),
    ("· look-ups", FamilyState, "find"),
    ("· scans", FamilyState, "expiring"),
    ("· kernel", kernel, "attribute_outcomes"),
    ("· fsync", segments, "sync"),
]


class Stages:
    """Seconds of each stage, without those of stages within it. clock: of the wall, or of the processor."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._clock = clock
        self._threads = threading.local()
        for stage, owner, name in _TIMED:
            _replace(owner, name, self._timed(stage, getattr(owner, name)))

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            stack: list[tuple[str, float]] = self._threads.__dict__.setdefault("stack", [])
            name = f"{stack[-1][0].partition(' ·')[0]} {stage}" if stage.startswith("·") and stack else stage
            stack.append((name, 0.0))
            began = self._clock()
            try:
                return function(*args, **kwargs)
            finally:
                took = self._clock() - began
                _, within = stack.pop()
                self.seconds[name] += took - within
                if stack:
                    parent, so_far = stack[-1]
                    stack[-1] = parent, so_far + took

        return timed


def _replace(owner: Any, name: str, stand_in: object) -> None:
    """Put another function in the place of one, also where modules have taken it by name."""
    real = getattr(owner, name)
    setattr(owner, name, stand_in)
    for module in [module for module in sys.modules.values() if module.__name__.startswith("streams.")]:
        for key, value in list(vars(module).items()):
            if value is real:
                setattr(module, key, stand_in)


class Serial(ThreadPoolExecutor):
    """Threads that are none: what is handed over is done at once."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            done.set_exception(error)
        return done


class Watcher:
    """A journal that looks at the process after each commit and stops it after the last."""

    def __init__(self, commits: int, stages: Stages) -> None:
        self.began = time.perf_counter()
        self.seen: list[dict[str, Any]] = []
        self.stopped_at: float | None = None
        self._commits = commits
        self._stages = stages

    def __call__(self, event: str, *, level: str = "info", **fields: object) -> None:
        del level
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.seen.append(
            {
                "event": event,
                "at": time.perf_counter() - self.began,
                "cpu": usage.ru_utime + usage.ru_stime,
                "memory": memory(),
                "stages": dict(self._stages.seconds),
                **fields,
            }
        )
        made = sum(entry["event"] == "commit" for entry in self.seen)
        if made >= self._commits and self.stopped_at is None:
            self.stopped_at = time.time()
            signal.raise_signal(signal.SIGTERM)


def watched_between_batches() -> list[dict[str, int]]:
    """Grows by what memory the process takes each time a batch is done and the next not begun; one may be read."""
    seen = []
    commit = Engine.commit

    @functools.wraps(commit)
    def watched(*args: Any, **kwargs: Any) -> bool:
        is_made = commit(*args, **kwargs)
        seen.append(memory())
        return is_made

    _replace(Engine, "commit", watched)
    return seen


def memory() -> dict[str, int]:
    """Resident memory of this process in bytes, by kind, and its peak."""
    names = {"VmRSS": "resident", "RssAnon": "anonymous", "RssFile": "mapped", "VmHWM": "peak"}
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {names[words[0][:-1]]: int(words[1]) * 1024 for words in lines if words and words[0][:-1] in names}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.live_run")
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--commits", type=int, required=True)
    parser.add_argument("--batch", type=int, default=250_000)
    parser.add_argument("--serial", action="store_true")
    parser.add_argument("--profile", type=Path)
    chosen = parser.parse_args()
    from streams.settings import load_settings

    settings = load_settings(chosen.pipeline)
    watcher = Watcher(chosen.commits, Stages(time.process_time if chosen.serial else time.perf_counter))
    between = watched_between_batches()
    if chosen.serial:
        _replace(futures, "ThreadPoolExecutor", Serial)
    profile = cProfile.Profile() if chosen.profile else None
    if profile:
        profile.enable()
    runner.run(settings, until_end=False, log=watcher, batch_records=chosen.batch)
    if profile:
        profile.disable()
        profile.dump_stats(chosen.profile)
    print(
        json.dumps({"entries": watcher.seen, "stopped_at": watcher.stopped_at, "memory": memory(), "between": between})
    )


if __name__ == "__main__":
    main()
