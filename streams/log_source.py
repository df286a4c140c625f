"""Where a log is read from: a folder of event files, an archive, or Kafka itself."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attribution.toml_tables import Bare
from schemas.errors import UnavailableError, setting_error
from streams.archive_log import ArchiveLog, archive_files, is_archive
from streams.decode import Limits
from streams.file_log import open_file_log
from streams.log import Log
from streams.settings import KafkaInput, Settings

#: A folder, or what Kafka holds.
LogSource = Path | Literal["kafka"]


def open_log(settings: Settings, source: LogSource, limits: Limits, fetched: Path) -> Log:
    """fetched: a folder for what is brought from Kafka, which must last as long as the log is read.

    Raises ConfigurationError for Kafka where the pipeline has none, UnavailableError for a missing folder or broker.
    """
    topics = settings.input.topics
    if source == "kafka":
        from streams.kafka_log import fetch  # the client takes a while to load

        offsets = fetch(kafka_input(settings), lambda: limits, fetched)
        return ArchiveLog(topics, archive_files(fetched, topics), limits, next_offsets=offsets, is_kept=False)
    if is_the_archive(settings, source):
        if not source.is_dir():
            raise UnavailableError(f"{source}: no such log folder")
        return ArchiveLog(topics, archive_files(source, topics), limits)
    return open_file_log(settings, source, limits)


def kafka_input(settings: Settings) -> KafkaInput:
    """Raises ConfigurationError for a pipeline that reads files."""
    if not isinstance(settings.input, KafkaInput):
        expected = f"a folder, for {settings.file} reads files"
        raise setting_error("--log", expected=expected, got="kafka", hint="a folder of that name is ./kafka/")
    return settings.input


def is_the_archive(settings: Settings, folder: Path) -> bool:
    """Whether a folder is an archive: this pipeline's, or one by its looks."""
    is_own = settings.archive is not None and folder.resolve() == settings.archive.path.resolve()
    return is_own or is_archive(folder)


def refuse_as_state_log(settings: Settings, source: LogSource) -> None:
    """``replay --state``: raises ConfigurationError for another log than the pipeline's own, after whose last record
    ``run`` goes on."""
    if isinstance(settings.input, KafkaInput):
        own = settings.archive.path if settings.archive else None
        if source != "kafka" and (own is None or source.resolve() != own.resolve()):
            expected = "the pipeline's own, kafka" + (f" or {own}" if own else "")
            raise setting_error("--log (with --state)", expected=expected, got=str(source))
        return
    own = settings.input.path
    if source == "kafka" or source.resolve() != own.resolve():
        is_ours = source != "kafka" and is_the_archive(settings, source)
        got = Bare(f"an archive, {source}") if is_ours else str(source)
        raise setting_error("--log (with --state)", expected=f"the pipeline's own, {own}", got=got)
