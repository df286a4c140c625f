"""The live engine on a full state: ``python -m benchmarks live [--inferences N --outcomes N --batch N --commits N]``.

Each arrival is matched by a settlement, so the state stays as large as it is. In this order:

1. what finding keys costs in a fiftieth, a fifth and all of the open inferences;
2. a start on a fifth of the state, with and without its files in the page cache;
3. commits of ten events;
4. events per second from JSON Lines with rolls, beside LMDB and RocksDB, which do the reads and writes alone;
   memory; how long a SIGTERM takes;
5. processor time by stage, with reading, decoding and committing one after the other.

Sizes are those of the tables in ``docs/performance.md``; smaller ones run in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from attribution.match import hashed
from benchmarks.live_load import NOW_US, Load, Log, Numbers, ids, write_pipeline
from benchmarks.live_state import write_state
from streams.live.commit import decode_commit
from streams.live.commit_log import read_newest
from streams.live.families import INFERENCES
from streams.live.family_state import FamilyState

_HERE = Path(__file__).resolve().parent
_PROBES = {200_000: 5, 10_000: 20, 100: 50}
_COLUMNS = ["inference_id", "event_time_us", "expiry_us", "profile", "number"]
_SMALL_EVENTS, _SMALL_COMMITS = 10, 20
_STAGED_COMMITS = 6
_MIB = 1 << 20


@dataclass(frozen=True)
class Process:
    """What a process of the benchmark printed, and when it ended (seconds since 1970)."""

    printed: dict[str, Any]
    ended_at: float
    seconds: float

    def commits(self) -> list[dict[str, Any]]:
        return [entry for entry in self.printed["entries"] if entry["event"] == "commit"]


def process(module: str, *arguments: object) -> Process:
    """Run one of this folder's programs to its end; it must succeed."""
    began = time.time()
    command = [sys.executable, "-m", f"benchmarks.{module}", *(str(argument) for argument in arguments)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, cwd=_HERE.parent, check=True).stdout
    ended_at = time.time()
    return Process(json.loads(printed), ended_at, ended_at - began)


def state(folder: Path, load: Load) -> Log:
    """A pipeline with a full state in a new folder."""
    began = time.perf_counter()
    log = write_state(load, write_pipeline(folder))
    size = sum(file.stat().st_size for file in (folder / "state").rglob("*") if file.is_file())
    print(
        f"{load.inferences:,} open inferences + {load.outcomes:,} kept outcomes: "
        f"{size / _MIB:,.0f} MiB, made in {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    return log


def say(label: str, figure: str, more: str = "") -> None:
    print(f"  {label:44} {figure:>18}   {more}".rstrip(), flush=True)


def starts(folder: Path) -> None:
    for label, is_cold in (("files in the page cache", False), ("files not in the page cache", True)):
        if is_cold:
            _forget_cached(folder / "state")
        run = process("live_run", folder / "pipeline.toml", "--commits", 0)
        ready = run.printed["entries"][0]
        say(f"start, {label}", f"{run.seconds:.2f} s", f"ready after {ready['at']:.2f} s; process from start to exit")


def _forget_cached(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def probes(folder: Path, load: Load) -> None:
    """ns per key of ``FamilyState.find`` among the open inferences; keys that are there bring five columns along."""
    newest = read_newest(folder / "state")
    assert newest is not None, "the state was made with a commit"
    files = decode_commit(newest[1], folder / "state").segments[INFERENCES.name]
    family = FamilyState(folder / "state" / "segments", INFERENCES, files)
    rng = np.random.default_rng(11)
    for keys, times in _PROBES.items():
        absent, present = (
            _probe(family, [first + rng.integers(0, load.inferences, keys) for _ in range(times)])
            for first in (4 * load.inferences, load.inferences)
        )
        more = f"ns per key, absent / present with five columns; {len(files)} segments"
        say(f"finding {keys:,} keys at once", f"{absent:,.0f} / {present:,.0f}", more)


def _probe(family: FamilyState, asked: list[Numbers]) -> float:
    seconds = []
    for numbers in asked:
        hashes = hashed(ids("inf", numbers)).to_numpy()
        began = time.perf_counter()
        family.find("id_hash", hashes, _COLUMNS, visible_from_us=NOW_US)
        seconds.append((time.perf_counter() - began) / len(numbers))
    return statistics.median(seconds) * 1e9


def small_commits(folder: Path, log: Log) -> None:
    log.write(_SMALL_EVENTS * (_SMALL_COMMITS + 3))
    run = process(
        "live_run", folder / "pipeline.toml", "--commits", _SMALL_COMMITS, "--batch", _SMALL_EVENTS, "--serial"
    )
    took = [b["at"] - a["at"] for a, b in pairwise(run.commits()[:_SMALL_COMMITS])]
    say(
        f"commits of {_SMALL_EVENTS} events",
        f"{statistics.median(took) * 1e3:.0f} ms",
        f"longest {max(took) * 1e3:.0f}",
    )


def events(folder: Path, log: Log, batch: int, commits: int) -> float:
    """Events per second with rolls."""
    size = sum(log.write(batch) for _ in range(commits + 3))
    print(f"{batch:,} events a commit, {size / batch / (commits + 3):.0f} bytes each: JSON Lines to published Parquet")
    run = process("live_run", folder / "pipeline.toml", "--commits", commits, "--batch", batch)
    seen = [entry for entry in run.commits()[:commits] if entry["read"] == batch]
    _check(seen, batch)
    took = [b["at"] - a["at"] for a, b in pairwise(seen)]
    whole = seen[-1]["at"] - seen[0]["at"]
    count = batch * len(took)
    cpu = (seen[-1]["cpu"] - seen[0]["cpu"]) / count * 1e6
    got = cpu * count / whole / 1e6
    say(
        "live engine, rolls included",
        f"{count / whole:,.0f} events/s",
        f"{cpu:.1f} µs of processor per event, {got:.1f} cores in use; load of the machine {os.getloadavg()[0]:.1f}",
    )
    say("median commit, mostly without a roll", f"{batch / statistics.median(took):,.0f} events/s", _longest(took))
    between = run.printed["between"][1:]
    resident, anonymous = ([entry[kind] for entry in between] for kind in ("resident", "anonymous"))
    state = sum(file.stat().st_size for file in (folder / "state").rglob("*") if file.is_file())
    say(
        "resident memory between batches",
        f"{statistics.median(resident) / _MIB:,.0f} MiB",
        f"of which not mapped files {statistics.median(anonymous) / _MIB:,.0f}; largest {max(resident) / _MIB:,.0f}; "
        f"peak within one {run.printed['memory']['peak'] / _MIB:,.0f}; state {state / _MIB:,.0f} on disk",
    )
    say("SIGTERM to exit", f"{run.ended_at - run.printed['stopped_at']:.2f} s")
    return count / whole


def _check(seen: list[dict[str, Any]], batch: int) -> None:
    """The load is what it says: nothing refused, and one copy in 200 (batches and files need not end together)."""
    assert all(entry["dead_letters"] == 0 for entry in seen), seen
    copies = sum(entry["duplicates"] for entry in seen) / (batch * len(seen))
    assert 0.004 < copies < 0.006, f"{copies:.2%} copies"


def _longest(took: list[float]) -> str:
    return f"{statistics.median(took):.2f} s; longest {max(took):.2f} s"


def peers(folder: Path, load: Load, batch: int, commits: int, ours: float) -> None:
    for store in ("rocksdb", "lmdb"):
        sizes = ("--inferences", load.inferences, "--outcomes", load.outcomes)
        run = process("live_peers", store, folder / store, *sizes, "--batch", batch, "--commits", commits)
        seconds = run.printed["seconds"][1:] or run.printed["seconds"]
        theirs = batch / statistics.mean(seconds)
        disk, peak = (size / _MIB for size in (run.printed["bytes"], run.printed["memory"]["peak"]))
        more = f"live engine, all of it: {ours / theirs:.2f} ×; {disk:,.0f} MiB on disk, peak {peak:,.0f} MiB"
        say(f"{store}: gets, puts, deletes alone", f"{theirs:,.0f} events/s", f"{more}; {_longest(seconds)}")
        shutil.rmtree(folder / store)


def stages(folder: Path, log: Log, batch: int, commits: int) -> None:
    for _ in range(commits + 3):
        log.write(batch)
    run = process("live_run", folder / "pipeline.toml", "--commits", commits, "--batch", batch, "--serial")
    first, *_, last = [entry for entry in run.commits()[:commits] if entry["read"] == batch]
    count = sum(entry["read"] for entry in run.commits()[:commits]) - first["read"]
    print("processor time by stage, µs per event")
    spent = {name: last["stages"][name] - first["stages"].get(name, 0.0) for name in last["stages"]}
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        if seconds / count > 5e-9:
            say(name, f"{seconds / count * 1e6:.2f}")
    say("all", f"{sum(spent.values()) / count * 1e6:.2f}")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks live", description="The live engine on a full state.")
    parser.add_argument("--inferences", type=int, default=50_000_000, help="open ones")
    parser.add_argument("--outcomes", type=int, default=10_000_000, help="kept ones")
    parser.add_argument("--batch", type=int, default=250_000, help="events per commit")
    parser.add_argument("--commits", type=int, default=20)
    chosen = parser.parse_args(arguments)
    load = Load(chosen.inferences, chosen.outcomes)
    fifth, fiftieth = (Load(load.inferences // part, load.outcomes // part) for part in (5, 50))
    with tempfile.TemporaryDirectory(prefix="attribution-bench-") as temporary:
        folder = Path(temporary)
        for name, part in (("fiftieth", fiftieth), ("fifth", fifth)):
            state(folder / name, part)
            if part is fifth:
                starts(folder / name)
            probes(folder / name, part)
            shutil.rmtree(folder / name)
        log = state(folder / "full", load)
        probes(folder / "full", load)
        small_commits(folder / "full", log)
        ours = events(folder / "full", log, chosen.batch, chosen.commits)
        stages(folder / "full", log, chosen.batch, min(chosen.commits, _STAGED_COMMITS))
        shutil.rmtree(folder / "full")
        peers(folder, load, chosen.batch, chosen.commits, ours)
