"""``publish``: the event files of a log, sent to Kafka. Each folder is a topic, each record's bytes a value."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from attribution.toml_tables import Bare
from schemas.errors import UnavailableError, setting_error
from streams.file_source import topic_files
from streams.kafka_outbox import Outbox, Sent, told
from streams.kafka_topics import TOPIC_NAME, make_topics
from streams.log_runs import Run, read_runs
from streams.setting_types import BootstrapServers
from streams.settings import KafkaInput, load_settings
from streams.stop_signal import stop_signal

_LONGEST_RUN = 1_000
#: With a rate, records go in runs of a twentieth of a second.
_RUNS_PER_SECOND = 20


@dataclass(frozen=True)
class Published:
    """What was acknowledged, by topic. is_whole: all of the log; else it was told to stop."""

    topics: dict[str, Sent]
    seconds: float
    is_whole: bool

    def as_json(self) -> dict[str, Any]:
        records = sum(sent.records for sent in self.topics.values())
        return {
            "topics": {topic: asdict(sent) for topic, sent in self.topics.items()},
            "records": records,
            "bytes": sum(sent.bytes for sent in self.topics.values()),
            "seconds": round(self.seconds, 3),
            "records_per_second": round(records / self.seconds) if self.seconds else 0,
        }


def cluster(bootstrap: str | None, pipeline: Path | None) -> KafkaInput:
    """The cluster at an address, or that of a pipeline file with its security; raises ConfigurationError."""
    if pipeline is None:
        assert bootstrap is not None, "one of the two is given"
        return _plain(bootstrap)
    source = load_settings(pipeline).input
    if not isinstance(source, KafkaInput):
        raise setting_error(f"{pipeline}: input.source", expected='"kafka"', got=source.source)
    return source


def _plain(bootstrap: str) -> KafkaInput:
    """A cluster without security."""
    try:
        servers = TypeAdapter(BootstrapServers).validate_python(bootstrap)
    except ValidationError:
        expected = "one or more HOST:PORT, separated by commas, such as 127.0.0.1:9092"
        raise setting_error("--bootstrap", expected=expected, got=bootstrap) from None
    return KafkaInput.model_construct(source="kafka", bootstrap_servers=servers, topics=())


def publish(
    log: Path,
    source: KafkaInput,
    *,
    partitions: int | None = None,
    compression: str = "lz4",
    rate: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Published:
    """Send every record of every topic below ``log``, until the end, or until SIGTERM or SIGINT.

    partitions: of topics that are not there yet, None: those are an error; rate: at most so many records per second;
    progress: takes bytes read and bytes in all.

    Raises ConfigurationError for a folder that no topic can be called as, UnavailableError where files or the cluster
    fail; the message then says what was sent.
    """
    files = _topics(log)
    with stop_signal() as stopped:
        make_topics(source, list(files), partitions)
        with closing(Outbox(source, compression)) as outbox:
            started = time.monotonic()
            runs = read_runs(files, longest=_longest(rate), on_read=_counted(files, progress))
            is_whole = _send(outbox, runs, rate, stopped)
            outbox.finish()
            seconds = time.monotonic() - started
    return Published({topic: outbox.sent.get(topic, Sent()) for topic in files}, seconds, is_whole)


def _topics(log: Path) -> dict[str, list[Path]]:
    """The event files of each topic below a folder."""
    if not log.is_dir():
        raise UnavailableError(f"{log}: no such log folder")
    names = sorted(entry.name for entry in os.scandir(log) if entry.is_dir() and not entry.name.startswith((".", "_")))
    if not names:
        raise UnavailableError(f"{log}: no folder of event files there. Hint: files lie in LOG/<topic>/")
    if refused := [name for name in names if not TOPIC_NAME.fullmatch(name)]:
        expected = "names of topics, 1 to 249 of the characters a-z A-Z 0-9 . _ -"
        hint = "rename the folders, or begin their names with _ to leave them out"
        raise setting_error(f"{log}: folders", expected=expected, got=Bare(", ".join(map(repr, refused))), hint=hint)
    return {name: topic_files(log, name) for name in names}


def _longest(rate: int | None) -> int:
    return _LONGEST_RUN if rate is None else min(max(rate // _RUNS_PER_SECOND, 1), _LONGEST_RUN)


def _counted(files: dict[str, list[Path]], progress: Callable[[int, int], None] | None) -> Callable[[int], None]:
    total = sum(file.stat().st_size for of_topic in files.values() for file in of_topic)
    done = 0

    def on_read(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    return on_read


def _send(outbox: Outbox, runs: Iterator[Run], rate: int | None, stopped: threading.Event) -> bool:
    """Run after run; true at the end of the log, false where something or somebody stopped it before."""
    started = time.monotonic()
    count = 0
    try:
        for run in runs:
            if stopped.is_set() or outbox.has_failed:
                return False
            outbox.send(run)
            count += len(run.records)
            if rate is not None:
                stopped.wait(max(0.0, started + count / rate - time.monotonic()))
    except (UnavailableError, OSError) as error:  # a file
        outbox.finish()
        raise UnavailableError(f"{error}; {told(outbox.sent)}") from error
    return True
