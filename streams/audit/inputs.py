"""The log that an audit replays: what the newest commit had read, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from schemas.errors import UnavailableError
from streams.archive_log import ArchiveLog, archive_files
from streams.audit.files import FileProblem, archive_problems, input_problems
from streams.audit.recorded import Recorded
from streams.file_log import FileLog
from streams.log import Log
from streams.log_source import LogSource, is_the_archive, kafka_input
from streams.replay import limits_of
from streams.settings import Settings


@dataclass(frozen=True)
class RecordedLog:
    """problems: files that are not as they were read; in_log: how many records were read of each partition, None:
    those that the log turns out to have."""

    log: Log
    problems: list[FileProblem]
    in_log: dict[tuple[str, int], int] | None


def open_recorded(settings: Settings, source: LogSource, recorded: Recorded, fetched: Path) -> RecordedLog:
    """fetched: a folder for what is brought from Kafka.

    Raises ConfigurationError for Kafka where the pipeline has none, UnavailableError for a missing folder or broker.
    """
    topics, limits = settings.input.topics, limits_of(settings)
    if source == "kafka":
        from streams.kafka_log import fetch  # the client takes a while to load

        fetch(kafka_input(settings), lambda: limits, fetched, recorded.newest.partitions)
        return RecordedLog(ArchiveLog(topics, archive_files(fetched, topics), limits, is_kept=False), [], None)
    if not source.is_dir():
        raise UnavailableError(f"{source}: no such log folder")
    if is_the_archive(settings, source):
        commit = recorded.newest
        log = ArchiveLog(topics, recorded.in_archive, limits, upto_commit=commit.archive_base + commit.number)
        return RecordedLog(log, archive_problems(source, recorded, _oldest(settings, recorded)), None)
    there = {
        topic: [(path, file.records) for file in files if (path := source / topic / file.name).exists()]
        for topic, files in recorded.inputs.items()
    }
    file_log = FileLog(
        source,
        topics,
        {topic.name: [path for path, _ in there.get(topic.name, [])] for topic in topics},
        limits,
        upto=dict(file for files in there.values() for file in files),
    )
    in_log = {(topic, 0): sum(file.records for file in files) for topic, files in recorded.inputs.items()}
    return RecordedLog(file_log, input_problems(source, recorded.inputs), in_log)


def _oldest(settings: Settings, recorded: Recorded) -> date:
    """The oldest day that the archive's retention leaves."""
    if settings.archive is None:
        return date.min
    committed_at = datetime.fromtimestamp(recorded.newest.committed_at_us / 1e6, UTC)
    return (committed_at - timedelta(microseconds=settings.archive.retention_us)).date()
