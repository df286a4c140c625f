"""The engine on a real broker, on the same cores: ``python -m benchmarks kafka [--events N --rate N --seconds S]``.

1. A filled topic read to its end, in batches of 16 KiB and of 256 KiB as they were produced: to committed Parquet,
   archive included, beside a plain loop that only polls and parses, on the same topics. Rates are sustained ones, from
   the first commit to the last, starts and ends left out. The broker's share is its processor time over that time.
2. Events that arrive at a steady rate, commits and rolls of one second: the time from the moment a producer sends a
   record to the moment at which its row's file has its final name.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.kafka_load import fill, new_topics, send_steadily, write_pipeline
from benchmarks.live import say
from tests.broker import PID_FILE, Broker

_HERE = Path(__file__).resolve().parent
_TICKS = os.sysconf("SC_CLK_TCK")
_BATCHES = (16 << 10, 256 << 10)
_SETTLING_SECONDS = 5


@dataclass(frozen=True)
class Ran:
    """commits: the journal's lines of them; cpu: seconds of the engine's processor time, first commit to last."""

    events_per_second: float
    cpu_per_event_us: float
    broker_share: float
    seconds: float


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def run_to_the_end(pipeline: Path, broker: Broker) -> Ran:
    """Read all that is there; the journal tells of each commit as it is made."""
    node = int((broker.folder / PID_FILE).read_text())
    command = [sys.executable, "-m", "streams.cli", "run", str(pipeline), "--until-end"]
    process = subprocess.Popen(command, cwd=_HERE.parent, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    seen: list[tuple[float, int, float, float]] = []
    for line in process.stderr:
        entry: dict[str, Any] = json.loads(line)
        if entry["event"] == "commit" and entry["read"]:
            seen.append((time.perf_counter(), entry["read"], cpu_seconds(process.pid), cpu_seconds(node)))
    assert process.wait() == 0, pipeline
    assert len(seen) > 2, "more events are needed for a rate"
    first, last = seen[0], seen[-1]
    events, seconds = sum(read for _, read, _, _ in seen[1:]), last[0] - first[0]
    return Ran(events / seconds, (last[2] - first[2]) / events * 1e6, (last[3] - first[3]) / seconds, seconds)


def plain_loop(broker: Broker, topics: dict[str, str], events: int) -> float:
    command = [sys.executable, "-m", "benchmarks.kafka_plain", broker.bootstrap, str(events), *topics.values()]
    printed = subprocess.run(command, cwd=_HERE.parent, stdout=subprocess.PIPE, check=True).stdout
    return events / float(json.loads(printed)["seconds"])


def filled_topics(broker: Broker, folder: Path, events: int) -> None:
    for batch_bytes in _BATCHES:
        topics = new_topics(broker.bootstrap)
        produced = fill(broker.bootstrap, topics, events, batch_bytes)
        print(f"{events:,} events of 300 bytes, lz4, batches of {batch_bytes >> 10} KiB, in 8 partitions")
        say("producer of the load", f"{produced:,.0f} events/s")
        theirs = plain_loop(broker, topics, events)
        ran = run_to_the_end(write_pipeline(folder / str(batch_bytes), broker.bootstrap, topics), broker)
        more = f"{ran.cpu_per_event_us:.1f} µs of processor per event; the broker took {ran.broker_share:.0%} of a core"
        say("attribution run, to Parquet and archive", f"{ran.events_per_second:,.0f} events/s", more)
        ratio = ran.events_per_second / theirs
        say("kafka-python, json.loads, nothing else", f"{theirs:,.0f} events/s", f"the engine: {ratio:.2f} ×")
        archive = sum(file.stat().st_size for file in (folder / str(batch_bytes) / "archive").rglob("*.parquet"))
        say("archive", f"{archive / events:.0f} bytes", "per event")


def latency(broker: Broker, folder: Path, rate: int, seconds: float) -> None:
    topics = new_topics(broker.bootstrap)
    pipeline = write_pipeline(folder / "latency", broker.bootstrap, topics, commit="1s", roll="1s")
    with (folder / "latency.txt").open("wb") as stderr:
        command = [sys.executable, "-m", "streams.cli", "run", str(pipeline)]
        process = subprocess.Popen(command, cwd=_HERE.parent, stderr=stderr)
        wait_for(lambda: b'"event":"start"' in (folder / "latency.txt").read_bytes())
        sent = send_steadily(broker.bootstrap, topics, rate, seconds)
        time.sleep(_SETTLING_SECONDS)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    took = _waited(folder / "latency")
    assert len(took) == sent, f"{len(took)} of {sent}"
    print(f"{sent:,} events at {rate:,} a second, commits and rolls of one second: from sent to published")
    say("median", f"{took.quantile(0.5):.2f} s")
    say("99th percentile", f"{took.quantile(0.99):.2f} s", f"longest {took.max():.2f}")


def _waited(folder: Path) -> pl.Series:
    """Seconds that each record took: a file's last change of status is the renaming that published it."""
    files = [
        pl.read_parquet(file, hive_partitioning=False)
        .select("source_topic", "source_partition", "source_offset")
        .with_columns(published_ms=pl.lit(file.stat().st_ctime * 1_000))
        for table in ("inferences", "outcomes")
        for file in (folder / "out" / table).rglob("*.parquet")
    ]
    archive = pl.read_parquet(folder / "archive" / "*" / "date=*" / "*.parquet", hive_partitioning=False).select(
        source_topic="topic",
        source_partition="partition",
        source_offset="offset",
        sent_ms=pl.col("record_time").dt.timestamp("ms"),
    )
    joined = pl.concat(files).join(archive, on=["source_topic", "source_partition", "source_offset"])
    return joined.select((pl.col("published_ms") - pl.col("sent_ms")) / 1_000)["published_ms"]


def wait_for(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks kafka", description="The engine on a real broker.")
    parser.add_argument("--events", type=int, default=4_000_000, help="in a filled topic")
    parser.add_argument("--rate", type=int, default=20_000, help="events per second that arrive")
    parser.add_argument("--seconds", type=float, default=30, help="how long they do")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="attribution-bench-") as temporary:
        folder = Path(temporary)
        with Broker(folder / "broker") as broker:
            filled_topics(broker, folder, chosen.events)
            latency(broker, folder, chosen.rate, chosen.seconds)
