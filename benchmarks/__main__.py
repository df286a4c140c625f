"""The side-by-side runs: ``make bench`` or ``python -m benchmarks [--rows N] [--rounds N]``.

Each figure is the median of several runs of a whole process, the ones to be compared in turn, so that a
ratio holds on a noisy machine where seconds do not. What is compared:

1. ``attribution replay`` from Parquet (every table and both money digests written) beside a hand-written DuckDB
   query that only joins, sums and writes one table;
2. the same replay from JSON Lines of 360 bytes, and of a narrow log with lines of 105 bytes;
3. JSON Lines of which one in a thousand is malformed, beside the same lines without;
4. ``attribution --help``.

``python -m benchmarks live`` measures the live engine: see ``live``; ``python -m benchmarks kafka`` the same on a
broker: see ``kafka``.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import polars as pl

from benchmarks import live
from benchmarks.events import conversions, inferences, write_json_lines, write_parquet, write_pipeline

_ATTRIBUTION = [sys.executable, "-m", "streams.cli"]
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Run:
    """One finished process: wall-clock and processor seconds, peak resident memory in MiB."""

    wall: float
    cpu: float
    peak: float


def timed(command: Sequence[str | Path]) -> Run:
    """Run a command to its end; it must succeed."""
    began = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, cwd=_HERE.parent)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {command}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def replay(folder: Path, log: Path) -> Run:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    return timed([*_ATTRIBUTION, "replay", folder / "pipeline.toml", "--log", log, "--out", out])


def duckdb(folder: Path, log: Path) -> Run:
    return timed([sys.executable, "-m", "benchmarks.duckdb_query", log, folder / "duckdb.parquet"])


def median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(getattr(run, name) for run in runs) for name in ("wall", "cpu", "peak")))


def say(label: str, run: Run, more: str = "") -> None:
    print(f"  {label:44} {run.wall:7.2f} s   cpu {run.cpu:6.2f} s   peak {run.peak:6.0f} MiB   {more}", flush=True)


def parquet_beside_duckdb(folder: Path, rows: int, rounds: int) -> None:
    log = folder / "parquet"
    write_parquet(inferences(rows), log / "inferences")
    write_parquet(conversions(rows // 5, rows), log / "conversions")
    print(f"replay from Parquet, {rows:,} inferences + {rows // 5:,} conversions")
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(replay(folder, log))
        theirs.append(duckdb(folder, log))
    ratio = statistics.median(a.wall / b.wall for a, b in zip(ours, theirs, strict=True))
    say("attribution replay: 7 tables, 2 digests", median(ours), f"{ratio:.2f} × DuckDB")
    say("DuckDB: join, sum, one table", median(theirs))
    shutil.rmtree(log)


def json_lines(folder: Path, rows: int, rounds: int) -> None:
    for label, wide, pad_to in (("360-byte", True, 360), ("105-byte", False, None)):
        log = folder / "json"
        size = write_json_lines(inferences(rows, wide=wide), log / "inferences", pad_to=pad_to)
        write_json_lines(conversions(rows // 5, rows, wide=wide), log / "conversions")
        run = median([replay(folder, log) for _ in range(rounds)])
        print(f"replay from JSON Lines, {label} inferences ({size:.0f} on average)")
        say("attribution replay", run, f"{(rows + rows // 5) / run.wall:,.0f} events/s")
        shutil.rmtree(log)


def bad_lines(folder: Path, rows: int, rounds: int) -> None:
    good, bad = folder / "good", folder / "bad"
    for log in (good, bad):
        write_json_lines(inferences(rows), log / "inferences", pad_to=360)
        (log / "conversions").mkdir(parents=True)
    for file in (bad / "inferences").iterdir():
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(line[:-2] + b"\n" if n % 1_000 == 500 else line for n, line in enumerate(lines)))
    clean, broken = [], []
    for _ in range(rounds):
        clean.append(replay(folder, good))
        broken.append(replay(folder, bad))
    dead = pl.read_parquet(folder / "out" / "dead_letters" / "**" / "*.parquet", hive_partitioning=False).height
    print(f"{dead:,} malformed lines among {rows:,}")
    ratio = statistics.median(b.cpu / a.cpu for a, b in zip(clean, broken, strict=True))
    say("without", median(clean))
    say("with", median(broken), f"{ratio:.2f} × the processor time")


def start_up(rounds: int) -> None:
    print("start-up")
    say("attribution --help", median([timed([*_ATTRIBUTION, "--help"]) for _ in range(max(rounds, 5))]))


def machine(*libraries: str) -> None:
    """Say where and with what the figures were measured."""
    print(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {version(name)}" for name in libraries), flush=True)


def main() -> None:
    if sys.argv[1:2] == ["live"]:
        machine("polars", "pyarrow", "numpy", "lmdb", "rocksdict")
        live.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["kafka"]:
        from benchmarks import kafka  # needs Java

        machine("polars", "pyarrow", "numpy", "kafka-python", "confluent-kafka")
        kafka.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="benchmarks", description="The side-by-side runs.")
    parser.add_argument("--rows", type=int, default=5_000_000, help="inferences; a fifth as many conversions")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each command")
    chosen = parser.parse_args()
    machine("polars", "pyarrow", "duckdb", "numpy")
    with tempfile.TemporaryDirectory(prefix="attribution-bench-") as name:
        folder = Path(name)
        write_pipeline(folder)
        start_up(chosen.rounds)
        parquet_beside_duckdb(folder, chosen.rows, chosen.rounds)
        json_lines(folder, chosen.rows, chosen.rounds)
        bad_lines(folder, chosen.rows // 5, chosen.rounds)


if __name__ == "__main__":
    main()
