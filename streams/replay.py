"""``replay``: a whole log recomputed from nothing, as one columnar batch.

Same events, rules and rates give the same digests, on any machine, whatever the order, the copies, the
threads or the file boundaries.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attribution.engine import CompiledPolicy
from attribution.toml_tables import Bare
from schemas.errors import setting_error
from streams.archive_log import ArchiveLog
from streams.decode import Limits
from streams.dropped_fields import NOTHING_DROPPED, DroppedFields
from streams.event_log import EventLog, Spill, parts_needed, usable_memory
from streams.live.backfill import Backfill
from streams.live.output_folder import STAGING, refuse_occupied_output
from streams.log import Log
from streams.log_source import LogSource, open_log, refuse_as_state_log
from streams.manifest import manifest
from streams.publish import load_policy, publish
from streams.rule_files import read_text
from streams.settings import Settings
from streams.staging import refuse_occupied, staged

#: Called with (bytes read, bytes in all).
Progress = Callable[[int, int], None]


def replay(
    settings: Settings,
    log: LogSource,
    out: Path,
    *,
    to_us: int | None = None,
    memory_bytes: int | None = None,
    state: Path | None = None,
    notify: Callable[[str], None] = lambda _: None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Replay a log into ``out``, a new or empty folder; returns the manifest.

    log: a folder of event files, an archive, or ``"kafka"``: what the pipeline's topics hold. to_us: as if the log
    had ended there: events at or after this time are left out. memory_bytes: what the replay may use (half of the
    machine's by default); a larger log is worked on in parts, on disk below ``out``. state: also write the live state
    there, so that ``run`` goes on from the log's end; ``attributed`` has then settled inferences only. notify: takes
    warnings.

    Raises ConfigurationError (exit 2) for rules, rates or an ``out`` that is not empty, UnavailableError (exit
    3) for a log that cannot be read or a folder that cannot be written; then nothing is published.
    """
    compiled = load_policy(settings)  # before the work: a mistake in a rule shows at once
    if state is not None:
        _refuse_other_folders(settings, log, out, state, to_us)
    limits = limits_of(settings)
    with ExitStack() as stack:
        backfill = None
        if state is not None:
            refuse_occupied(out)
            rates = None if settings.fx is None else read_text(settings.fx)
            backfill = stack.enter_context(closing(Backfill(settings, compiled, rates, state)))
        opened = open_log(settings, log, limits, stack.enter_context(_room_for_fetched(settings, log, state)))
        content, events = _published(
            settings, compiled, opened, out, to_us, memory_bytes, notify, progress, open_too=state is None
        )
        if backfill is not None:
            backfill.take_in(opened, events.newest_event_time_us)
            archived = _kept_in_archive(settings, opened)
            backfill.commit(out, events.counts, archived)
        return content


def _published(
    settings: Settings,
    compiled: CompiledPolicy,
    log: Log,
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
        events = read_within(memory_bytes or usable_memory(), stage / "spill", log, before_us=to_us, progress=progress)

        def describe(tables: dict[str, Any]) -> dict[str, Any]:
            head = manifest(settings, engine="replay", commit_id=0, watermark_us=events.newest_event_time_us)
            return head | {"inputs": log.described(), "tables": tables}

        content = publish(
            settings,
            compiled,
            events,
            stage,
            raw_records=log.records_at,
            commit_id=0,
            open_too=open_too,
            describe=describe,
            notify=notify,
        )
    return content, events


def _refuse_other_folders(settings: Settings, log: LogSource, out: Path, state: Path, to_us: int | None) -> None:
    """``run`` goes on in the pipeline's own folders, after the last record of its own log."""
    refuse_as_state_log(settings, log)
    own = {"--out": (out, settings.output.path), "--state": (state, settings.state_path())}
    for option, (given, expected) in own.items():
        if given.resolve() != expected.resolve():
            raise setting_error(f"{option} (with --state)", expected=f"the pipeline's own, {expected}", got=str(given))
    if to_us is not None:
        raise setting_error("--to (with --state)", expected="the whole log", got=Bare("a part of it"))


@contextmanager
def _room_for_fetched(settings: Settings, log: LogSource, state: Path | None) -> Iterator[Path]:
    """A folder for what is brought from Kafka: in the archive where a live engine is to go on with it."""
    if log == "kafka" and state is not None and settings.archive is not None:
        archive = settings.archive.path
        hint = f"--log {archive} goes on from what it holds; or give the new state an archive of its own"
        refuse_occupied_output(archive, hint)
        shutil.rmtree(archive / STAGING, ignore_errors=True)
        yield archive / STAGING
        return
    with TemporaryDirectory(prefix="attribution-replay-") as folder:
        yield Path(folder)


def _kept_in_archive(settings: Settings, log: Log) -> list[Path]:
    """What was brought from Kafka, moved to where the archive's readers look."""
    if settings.archive is None or not isinstance(log, ArchiveLog) or log.is_kept:
        return []
    archive = settings.archive.path
    for folder in sorted((archive / STAGING).glob("*")):
        folder.rename(archive / folder.name)
    return sorted(archive.glob("*/date=*/*.parquet"))


def read_within(
    memory_bytes: int, spill: Path, log: Log, *, before_us: int | None = None, progress: Progress | None = None
) -> EventLog:
    """Read a log; what memory does not hold goes to the folder ``spill``. before_us: without events at or after it."""
    events = EventLog(Spill(memory_bytes, spill, parts_needed(log.paths(), memory_bytes)), has_commits=log.has_commits)
    total, done = sum(file.stat().st_size for file in log.paths()), 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    log.read(events, before_us, advance)
    return events


def limits_of(settings: Settings) -> Limits:
    """What records are held against; plain files carry no time of their own: the time of reading stands in."""
    now_us = time.time_ns() // 1_000
    dropped = DroppedFields(frozenset(settings.archive.drop)) if settings.archive else NOTHING_DROPPED
    return Limits(settings.input.max_record_bytes, settings.time.max_future_skew_us, now_us, dropped)
