"""``replay``: a whole log recomputed from nothing, as one columnar batch.

Same events, rules and rates give the same digests, on any machine, whatever the order, the copies, the
threads or the file boundaries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from attribution.engine import CompiledPolicy
from attribution.toml_tables import Bare
from schemas.errors import setting_error
from streams.decode import Limits
from streams.event_log import EventLog, Spill, parts_needed, usable_memory
from streams.live.backfill import Backfill
from streams.log_reader import Progress, log_files, read_log, records_at
from streams.manifest import manifest
from streams.publish import RawRecords, load_policy, publish
from streams.rule_files import read_text
from streams.settings import FilesInput, Settings
from streams.staging import refuse_occupied, staged


def replay(
    settings: Settings,
    log: Path,
    out: Path,
    *,
    to_us: int | None = None,
    memory_bytes: int | None = None,
    state: Path | None = None,
    notify: Callable[[str], None] = lambda _: None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Replay the event files under ``log`` into ``out``, a new or empty folder; returns the manifest.

    to_us: as if the log had ended there: events at or after this time are left out. memory_bytes: what the
    replay may use (half of the machine's by default); a larger log is worked on in parts, on disk below
    ``out``. state: also write the live state there, so that ``run`` goes on from the log's end; ``attributed``
    has then settled inferences only. notify: takes warnings.

    Raises ConfigurationError (exit 2) for rules, rates or an ``out`` that is not empty, UnavailableError (exit
    3) for a log that cannot be read or a folder that cannot be written; then nothing is published.
    """
    compiled = load_policy(settings)  # before the work: a mistake in a rule shows at once
    if state is not None:
        _refuse_other_folders(settings, log, out, state, to_us)
    files = log_files(settings, log)
    limits = limits_of(settings)
    with ExitStack() as stack:
        backfill = None
        if state is not None:
            refuse_occupied(out)
            rates = None if settings.fx is None else read_text(settings.fx)
            backfill = stack.enter_context(closing(Backfill(settings, compiled, rates, state)))
        content, events = _published(
            settings, compiled, log, files, limits, out, to_us, memory_bytes, notify, progress, open_too=state is None
        )
        if backfill is not None:
            backfill.take_in(log, events.files, limits, events.newest_event_time_us)
            backfill.commit(out, events.counts)
        return content


def _published(
    settings: Settings,
    compiled: CompiledPolicy,
    log: Path,
    files: dict[str, list[Path]],
    limits: Limits,
    out: Path,
    to_us: int | None,
    memory_bytes: int | None,
    notify: Callable[[str], None],
    progress: Progress | None,
    *,
    open_too: bool,
) -> tuple[dict[str, Any], EventLog]:
    """Publish the tables; gives the manifest and what was read."""
    with staged(out) as stage:
        memory = memory_bytes or usable_memory()
        events = read_within(memory, stage / "spill", settings, files, limits, before_us=to_us, progress=progress)

        def describe(tables: dict[str, Any]) -> dict[str, Any]:
            head = manifest(settings, engine="replay", commit_id=0, watermark_us=events.newest_event_time_us)
            return head | {"inputs": [asdict(file) for file in events.files], "tables": tables}

        content = publish(
            settings,
            compiled,
            events,
            stage,
            raw_records=raw_records_of(settings, log, limits),
            commit_id=0,
            open_too=open_too,
            describe=describe,
            notify=notify,
        )
    return content, events


def _refuse_other_folders(settings: Settings, log: Path, out: Path, state: Path, to_us: int | None) -> None:
    """``run`` goes on in the pipeline's own folders, after the last record of its own log."""
    own = {"--out": (out, settings.output.path), "--state": (state, settings.state_path())}
    if isinstance(settings.input, FilesInput):
        own["--log"] = (log, settings.input.path)
    for option, (given, expected) in own.items():
        if given.resolve() != expected.resolve():
            raise setting_error(f"{option} (with --state)", expected=f"the pipeline's own, {expected}", got=str(given))
    if to_us is not None:
        raise setting_error("--to (with --state)", expected="the whole log", got=Bare("a part of it"))


def read_within(
    memory_bytes: int,
    spill: Path,
    settings: Settings,
    files: dict[str, list[Path]],
    limits: Limits,
    *,
    before_us: int | None = None,
    upto: Mapping[Path, int] | None = None,
    progress: Progress | None = None,
) -> EventLog:
    """Read files by topic; what memory does not hold goes to the folder ``spill``. For the rest see ``read_log``."""
    parts = parts_needed(chain.from_iterable(files.values()), memory_bytes)
    events = EventLog(Spill(memory_bytes, spill, parts))
    read_log(events, settings, files, limits, before_us=before_us, upto=upto, progress=progress)
    return events


def limits_of(settings: Settings) -> Limits:
    """What records are held against; plain files carry no time of their own: the time of reading stands in."""
    now_us = time.time_ns() // 1_000
    return Limits(settings.input.max_record_bytes, settings.time.max_future_skew_us, now_us)


def raw_records_of(settings: Settings, folder: Path, limits: Limits) -> RawRecords:
    """Reads refused records once more, whole, from the files under ``folder``."""
    topics = {topic.name: topic for topic in settings.input.topics}

    def read(topic: str, rows: pl.DataFrame) -> list[bytes]:
        return records_at(folder, topics[topic], rows, limits)

    return read
