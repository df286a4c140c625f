"""A pipeline that is killed, stalled or starved on purpose, and what must hold of its files whatever happened.

It reads a random log in batches of a few records, each one commit, and rolls now and then; malformed lines stand among
the records, and the rates change on the way. Every run cuts the log into the same batches, so commit n holds the same
whatever happened before it. ``Pipeline.run`` is ``attribution run --until-end`` in a process of its own, which
``Fault`` hits right after any step that ``streams.live.steps`` tells of. By hand:
``python -m tests.faults PIPELINE.toml [STEP OCCURRENCE]``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal, Self
from unittest import mock

import streams.live
from streams.cli import main
from streams.live import batches, engine, output_folder, steps
from streams.live.batches import Batch
from streams.live.engine import Clocks, Engine
from streams.publish import load_policy
from streams.runner import run
from streams.settings import Settings, load_settings
from tests.case_files import to_fx_csv, to_json_events, write_case
from tests.cases import EVENT_LISTS, TOPICS, Case
from tests.live_cases import PARTITIONS, LiveLog
from tests.live_reference import LiveModel, LiveResult, Rates, Read

BATCH_RECORDS = 20
#: Of one process; the first commit and the last roll, too.
COMMITS_PER_ROLL = 2
FILES_PER_TOPIC = 3
#: The commit before which the rates file changes.
NEW_RATES_AT = 4
#: So many records from one that is no event to the next.
MALFORMED_EVERY = 9
WALL_US = Clocks().wall_us
_PATIENCE_SECONDS = 60
#: Forks from a server that has imported the engine: what would be most of the time of a start is spent once.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Fault:
    """What hits a process, and when: after the n-th time (from 1) it tells of a step, of any where ``step`` is empty.

    ``fill``: as if the disk were full from then on, no file may grow.
    """

    step: str
    occurrence: int = 1
    action: Literal["kill", "stop", "fill"] = "kill"
    delay_seconds: float = 0


@dataclass(frozen=True)
class Ended:
    """exit_code: −9 where it was killed; steps: all it told of, in order; said: what a user saw on stderr."""

    exit_code: int
    steps: list[str]
    said: list[str]

    @property
    def error(self) -> str:
        """What it failed with: exactly one message with exit code 3, no stack trace."""
        messages = [line for line in self.said if not line.startswith("{")]
        assert self.exit_code == 3, self.said
        assert len(messages) == 1, self.said
        assert messages[0].startswith("error: "), self.said
        return messages[0]


@dataclass
class Running:
    """A run under way."""

    process: ForkServerProcess
    output: Connection

    def end(self) -> Ended:
        """Wait for it."""
        self.process.join(_PATIENCE_SECONDS)
        self.kill()
        with os.fdopen(os.dup(self.output.fileno()), "rb") as stream:
            lines = stream.read().decode().splitlines()
        self.output.close()
        assert self.process.exitcode is not None
        told = [line.removeprefix("step ") for line in lines if line.startswith("step ")]
        return Ended(self.process.exitcode, told, [line for line in lines if not line.startswith("step ")])

    def wait_until_stopped(self) -> None:
        """Wait until it stands still."""
        until = time.monotonic() + _PATIENCE_SECONDS
        stat = Path(f"/proc/{self.process.pid}/stat")
        while self.process.exitcode is None and stat.read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < until, "it was never stopped"
            time.sleep(0.002)
        assert self.process.exitcode is None, f"it ended before it was stopped: {self.end()}"

    def resume(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@dataclass(frozen=True)
class Pipeline:
    """A pipeline over the records of a log, in a folder: see ``write_pipeline``."""

    log: LiveLog
    folder: Path

    def start(self, *faults: Fault) -> Running:
        """Run to the end in a process of its own."""
        output, said = _PROCESSES.Pipe(duplex=False)
        process = _PROCESSES.Process(target=_run_in_child, args=(self.settings.file, said, faults))
        process.start()
        said.close()
        return Running(process, output)

    def run(self, *faults: Fault) -> Ended:
        return self.start(*faults).end()

    def kill(self, *faults: Fault) -> list[str]:
        """Run until one of the faults kills it; gives the steps it told of."""
        ended = self.run(*faults)
        assert ended.exit_code == -signal.SIGKILL, ended
        return ended.steps

    def recover(self) -> None:
        """A start and nothing else."""
        Engine(self.settings, load_policy(self.settings)).close()

    def copy(self, folder: Path) -> Pipeline:
        shutil.copytree(self.folder, folder)
        return Pipeline(self.log, folder)

    @cached_property
    def settings(self) -> Settings:
        return load_settings(self.folder / "pipeline.toml")

    @property
    def out(self) -> Path:
        return self.settings.output.path

    @property
    def archive(self) -> Path:
        assert self.settings.archive is not None
        return self.settings.archive.path

    @property
    def state(self) -> Path:
        return self.settings.state_path()

    @cached_property
    def records(self) -> dict[tuple[str, str], list[tuple[str, Read | None]]]:
        """The records of each (topic, file): as written, and in the model's form where they are events."""
        return {key: records for topic in TOPICS for key, records in _records_of(self.log, topic).items()}


@dataclass(frozen=True)
class Unkilled:
    """What a run without faults did. results: the model's after each commit; steps: every one, in order."""

    pipeline: Pipeline
    results: list[LiveResult]
    steps: list[str]

    def after(self, commit: int) -> LiveResult:
        """What stands after a commit; one more than there were can only have rolled."""
        return self.results[min(commit, len(self.results)) - 1]


def step_names() -> list[str]:
    """Every step that the engine's code tells of."""
    files = sorted(Path(streams.live.__path__[0]).glob("*.py"))
    return sorted({name for file in files for name in re.findall(r'reached\(\s*"([\w.]+)"', file.read_text())})


# --- files ---


def write_pipeline(log: LiveLog, folder: Path) -> Pipeline:
    """Write a log as several files per topic, malformed lines among the records, with its rules, two tables of rates
    and the pipeline file."""
    assert log.rules, "no pipeline without rules can be started"
    file = write_case(_case(log), folder)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("[output]\n", f'[output]\nroll_interval = "{COMMITS_PER_ROLL}s"\n'), encoding="utf-8")
    with file.open("a", encoding="utf-8") as stream:
        stream.write('[archive]\npath = "archive"\n')
    (folder / "fx-final.csv").write_text(to_fx_csv(_case(log)))
    (folder / "fx-early.csv").write_text(to_fx_csv(_case(log, fx=early_rates(log))))
    pipeline = Pipeline(log, folder)
    for topic in TOPICS:
        (folder / "log" / topic / "events.jsonl").unlink()
    for (topic, name), records in pipeline.records.items():
        (folder / "log" / topic / name).write_text("".join(f"{line}\n" for line, _ in records), encoding="utf-8")
    return pipeline


def early_rates(log: LiveLog) -> Rates:
    """Every other rate half a percent off."""
    return [(day, currency, rate - rate // 200 * (n % 2)) for n, (day, currency, rate) in enumerate(log.fx)]


def _case(log: LiveLog, **more: Any) -> Case:
    nothing: dict[str, Any] = {name: [] for name in EVENT_LISTS}
    return Case(**nothing | {"rules": log.rules, "fx": log.fx, "settings": log.settings} | more)


def _records_of(log: LiveLog, topic: str) -> dict[tuple[str, str], list[tuple[str, Read | None]]]:
    """A topic's records, dealt out over files of unequal sizes."""
    reads = [read for read in log.stream if read.partition[0] == topic]
    events = to_json_events(_case(log, **{topic: [read.event for read in reads]}), seed=1)[topic]
    records: list[tuple[str, Read | None]] = list(zip(map(json.dumps, events), reads, strict=True))
    for number in range(0, len(records), MALFORMED_EVERY):
        records.insert(number, ('{"event_id": ', None))
    ends = [len(records) * n**2 // FILES_PER_TOPIC**2 for n in range(FILES_PER_TOPIC + 1)]
    found = {}
    for number, (start, end) in enumerate(pairwise(ends)):
        name = f"{number}.jsonl"
        found[topic, name] = [
            (line, read and Read(read.kind, read.partition, read.event | {"position": (topic, 0, name, offset)}))
            for offset, (line, read) in enumerate(records[start:end])
        ]
    return found


# --- the process that is hit ---


@contextmanager
def in_small_steps(folder: Path, wall_us: Callable[[], int] = WALL_US) -> Iterator[None]:
    """Small batches, rolls counted in commits, rates by commit: so that every run cuts the log alike."""
    commits = 0
    commit = Engine.commit
    clocks = Clocks(wall_us, lambda: float(commits))

    def count(step: str) -> None:
        nonlocal commits
        commits += step == "commit.clean"

    def commit_under_its_rates(self: Engine, *args: Any, **kwargs: Any) -> bool:
        number = 1 if self.newest is None else self.newest.number + 1
        rates = folder / ("fx-final.csv" if number >= NEW_RATES_AT else "fx-early.csv")
        if (folder / "fx.csv").read_bytes() != rates.read_bytes():
            (folder / "fx.new").unlink(missing_ok=True)
            (folder / "fx.new").hardlink_to(rates)  # which needs no room on a full disk
            (folder / "fx.new").replace(folder / "fx.csv")
        return commit(self, *args, **kwargs)

    steps.observers.append(count)
    try:
        with (
            # So that every topic is in the first batch.
            mock.patch.object(batches, "_TURN_RECORDS", BATCH_RECORDS // len(TOPICS)),
            # So that a roll both merges parts and publishes others as they are.
            mock.patch.object(output_folder, "_ROWS_OF_A_FILE", 3),
            mock.patch.object(engine, "Clocks", return_value=clocks),
            mock.patch.object(Engine, "commit", commit_under_its_rates),
            mock.patch.dict(run.__kwdefaults__, batch_records=BATCH_RECORDS),
        ):
            yield
    finally:
        steps.observers.remove(count)


def _run_in_child(file: Path, said: Connection, faults: tuple[Fault, ...]) -> None:
    """Ends as the command line does, or by a signal."""
    os.dup2(said.fileno(), sys.stderr.fileno())
    said.close()
    steps.observers.append(_tell)
    steps.observers.extend(_hit(fault) for fault in faults)
    with in_small_steps(file.parent):
        main(["run", str(file), "--until-end"])


def _tell(step: str) -> None:
    os.write(sys.stderr.fileno(), f"step {step}\n".encode())


def _hit(fault: Fault) -> Callable[[str], None]:
    left = fault.occurrence

    def observe(step: str) -> None:
        nonlocal left
        if fault.step not in ("", step):
            return
        left -= 1
        if left == 0:
            _act(fault)

    return observe


def _act(fault: Fault) -> None:
    if fault.action == "fill":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        return
    number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[fault.action]
    if fault.delay_seconds:
        threading.Timer(fault.delay_seconds, os.kill, (os.getpid(), number)).start()
    else:
        os.kill(os.getpid(), number)


# --- what a run without faults does ---


def run_unkilled(pipeline: Pipeline, wall_us: Callable[[], int] = WALL_US) -> Unkilled:
    """Run to the end in this process, beside the model, which is given the same batches."""
    log = pipeline.log
    model = LiveModel(log.rules, log.settings, PARTITIONS)
    results: list[LiveResult] = []
    told: list[str] = []

    with in_small_steps(pipeline.folder, wall_us):
        commit = Engine.commit

        def commit_beside_model(self: Engine, batch: Batch, *args: Any, resolve_all: bool, **kwargs: Any) -> bool:
            is_committed = commit(self, batch, *args, resolve_all=resolve_all, **kwargs)
            if is_committed:
                idle = {partition for partition, position in batch.positions.items() if position.is_idle}
                rates = log.fx if len(results) + 1 >= NEW_RATES_AT else early_rates(log)
                model.commit(_events(pipeline, batch), idle=idle, fx=rates, until_end=resolve_all)
                results.append(model.result())
            return is_committed

        steps.observers.append(told.append)
        try:
            with mock.patch.object(Engine, "commit", commit_beside_model):
                run(pipeline.settings, until_end=True)
        finally:
            steps.observers.remove(told.append)
    return Unkilled(pipeline, results, told)


def _events(pipeline: Pipeline, batch: Batch) -> list[Read]:
    """A batch in the model's form."""
    found = []
    for read in batch.reads:
        first = read.block.first_offset
        found += pipeline.records[read.block.topic, read.block.file][first : first + read.decoded.read]
    return [read for _, read in found if read is not None]


if __name__ == "__main__":
    for hit in [Fault(sys.argv[2], int(sys.argv[3]))] if len(sys.argv) > 2 else []:
        steps.observers.append(_hit(hit))
    with in_small_steps(Path(sys.argv[1]).resolve().parent):
        main(["run", sys.argv[1], "--until-end"])
