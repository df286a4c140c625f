"""``run``: a consumer that stays up, takes in new event files in micro-batches and publishes what it attributed.

In this release what was read is held in memory and published once, when the consumer stops (``--until-end``
or a signal): there is no durable state yet, so the output folder must be new or empty. Batches enter
through ``Consumer.take_in``, and what is published comes from the same function as a replay's.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import ConfigurationError, UnavailableError
from streams.event_log import EventLog
from streams.file_source import topic_files
from streams.log_reader import read_topic_files
from streams.manifest import manifest
from streams.publish import load_policy, publish
from streams.replay import limits_of, raw_records_of
from streams.settings import FilesInput, Settings
from streams.staging import refuse_occupied, staged

_POLL_SECONDS = 1.0
_COMMIT_ID = 1


class Consumer:
    """Reads a pipeline's topics file by file and holds the events until they are published."""

    def __init__(self, settings: Settings, notify: Callable[[str], None]) -> None:
        if not isinstance(settings.input, FilesInput):
            raise ConfigurationError(
                f'{settings.file}: input.source: expected "files", got "kafka". '
                "Hint: this release reads Kafka topics only as files; see docs/how_it_works.md"
            )
        self._settings = settings
        self._notify = notify
        self._folder = settings.input.path
        self._compiled = load_policy(settings)
        self._known: dict[Path, tuple[int, int]] = {}
        self.log = EventLog()

    def take_in(self) -> int:
        """Read the files that are new since the last call, one micro-batch per topic; returns how many.

        Raises UnavailableError when a known file has changed or vanished: files appear whole and never change.
        """
        taken = 0
        for topic in self._settings.input.topics:
            files = topic_files(self._folder, topic.name)
            self._check_known(topic.name, files)
            new = [file for file in files if file not in self._known]
            for file in new:
                self._known[file] = _stamp(file)
            read_topic_files(self.log, topic, new, limits_of(self._settings))
            taken += len(new)
        return taken

    def _check_known(self, topic: str, files: list[Path]) -> None:
        present = set(files)
        for file, stamp in self._known.items():
            if file.parent.name != topic:
                continue
            if file not in present:
                raise UnavailableError(f"{file}: was read before and is gone. Hint: event files are never removed")
            if _stamp(file) != stamp:
                raise UnavailableError(f"{file}: has changed since it was read. Hint: write a new file instead")

    def publish(self, out: Path) -> dict[str, Any]:
        """Attribute and publish everything taken in; returns the manifest."""
        watermark_us = self.log.newest_event_time_us
        head = manifest(self._settings, engine="live", commit_id=_COMMIT_ID, watermark_us=watermark_us)
        with staged(out) as stage:
            return publish(
                self._settings,
                self._compiled,
                self.log,
                stage,
                raw_records=raw_records_of(self._settings, self._folder, limits_of(self._settings)),
                commit_id=_COMMIT_ID,
                open_too=False,
                describe=lambda _: head,
                notify=self._notify,
            )


def run(settings: Settings, *, until_end: bool, notify: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Consume until the end of the log, or until SIGTERM or SIGINT, then publish; returns the manifest."""
    settings.state_path()
    refuse_occupied(settings.output.path)  # before the work, which would be lost at its end
    consumer = Consumer(settings, notify)
    with _stop_signal() as stopped:
        while True:
            taken = consumer.take_in()
            if taken:
                notify(f"read {taken} new files; {sum(c.read for c in consumer.log.counts.values())} records so far")
            if stopped.is_set() or (until_end and not taken):
                break
            if not taken:
                stopped.wait(_POLL_SECONDS)
        return consumer.publish(settings.output.path)


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; outside the main thread nothing is installed."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns
