"""What an event costs on disk: ``python -m benchmarks.live_disk [--events N --batch N --every-roll --uuids]``.

The load of the live benchmark runs through the engine with an archive, to the end of its log. Printed are the bytes of
the published tables, of the archive and of the history of commits, what was written to disk in all, and how often
something was forced there. Bytes do not depend on the machine; processor time does.

--batch: events a commit; --every-roll: each commit publishes, else only the first and the last; --uuids: ids of 16
random bytes, as UUIDs are, instead of 8.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from attribution.content import mixed_numbers
from benchmarks import live_load, live_state
from benchmarks.live_load import Load, Numbers, write_pipeline
from streams.runner import run
from streams.settings import load_settings

_SETTINGS = '[archive]\npath = "archive"\n[output]\npath = "out"\nroll_interval = "{}"\n'
_SALTS = {"inf": 1, "ses": 2, "trc": 3, "out": 4, "rev": 5, "unk": 6}


def uuids(prefix: str, numbers: Numbers) -> pl.Series:
    """Ids of 36 characters that look as random as UUIDs; the same number has the same id each time."""
    first = mixed_numbers(np.asarray(numbers, dtype=np.int64) * 8 + _SALTS[prefix])
    second = mixed_numbers((first >> np.uint64(1)).astype(np.int64))
    texts = [f"{int(a):016x}{int(b):016x}" for a, b in zip(first, second, strict=True)]
    parted = [f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in texts]
    return pl.Series("id", parted, dtype=pl.String)


def size(folder: Path) -> tuple[int, int]:
    """(bytes, files) below a folder."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files), len(files)


def written() -> int:
    """Bytes that this process has had written to disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_disk", description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--batch", type=int, default=100_000)
    parser.add_argument("--every-roll", action="store_true")
    parser.add_argument("--uuids", action="store_true")
    options = parser.parse_args()
    if options.uuids:
        live_load.ids = live_state.ids = uuids
    with tempfile.TemporaryDirectory(prefix="attribution-bench-") as temporary:
        measure(Path(temporary) / "disk", options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    log = live_state.write_state(Load(200_000, 40_000), write_pipeline(folder))
    batches = max(options.events // options.batch, 1)
    events = batches * options.batch
    record_bytes = sum(log.write(options.batch) for _ in range(batches))
    pipeline = folder / "pipeline.toml"
    without = pipeline.read_text().replace('[output]\npath = "out"\n', "")
    pipeline.write_text(without + _SETTINGS.format("1ms" if options.every_roll else "1h"))

    forced, force = [0], os.fsync

    def counted(descriptor: int) -> None:
        forced[0] += 1
        force(descriptor)

    os.fsync = counted
    commits: list[int] = []
    used, before = resource.getrusage(resource.RUSAGE_SELF), written()
    run(
        load_settings(pipeline),
        until_end=True,
        log=lambda event, **fields: commits.append(fields["published_files"]) if event == "commit" else None,
        batch_records=options.batch,
    )
    end, bytes_written = resource.getrusage(resource.RUSAGE_SELF), written() - before
    seconds = end.ru_utime + end.ru_stime - used.ru_utime - used.ru_stime

    rolls = sum(map(bool, commits))
    print(f"{events:,} events of {record_bytes / events:.0f} bytes; {len(commits)} commits, {rolls} rolls")
    tables = [table for table in sorted((folder / "out").iterdir()) if any(table.glob("date=*"))]
    found = [(table.name, *size(table)) for table in tables]
    found.append(("published in all", sum(f[1] for f in found), sum(f[2] for f in found)))
    found += [("archive", *size(folder / "archive")), ("history", *size(folder / "state" / "history"))]
    for name, of_bytes, files in found:
        each = of_bytes / max(files, 1)
        print(f"  {name:18} {of_bytes / events:10.1f} bytes an event {files:6,} files of {each:10,.0f} bytes")
    each = bytes_written / len(commits)
    print(f"  written in all     {bytes_written / events:10.1f} bytes an event, {each:,.0f} a commit")
    print(f"  forced to disk     {forced[0] / len(commits):10.1f} times a commit")
    print(f"  processor          {seconds / events * 1e6:10.1f} µs an event")


if __name__ == "__main__":
    main()
