"""``run``: a consumer that stays up. It reads micro-batches, attributes and commits each, and publishes at every roll.

The next batch is read and decoded in a thread of its own while the one before is attributed and committed.
"""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.live.batches import Batch, FileBatches
from streams.live.engine import Committed, Engine
from streams.live.families import FILES
from streams.live.file_reader import InputFile
from streams.live.http import Health, Metrics, serve
from streams.live.journal import Journal, silent
from streams.live.reporting import Reporter
from streams.live.sizes import predicted_bytes, sizes_of
from streams.live.state_folder import finished_files
from streams.manifest import manifest
from streams.publish import load_policy
from streams.replay import limits_of
from streams.settings import KafkaInput, Settings
from streams.stop_signal import stop_signal

if TYPE_CHECKING:
    from streams.live.kafka_batches import KafkaBatches

#: A batch takes about so many bytes for each of its records, from their lines to the rows of their tables.
_BYTES_PER_RECORD = 8_192
_BATCH_MIN, _BATCH_MAX = 10_000, 500_000
_FILES_MAX = 65_536


def run(
    settings: Settings,
    *,
    until_end: bool,
    log: Journal = silent,
    batch_records: int | None = None,
) -> dict[str, Any]:
    """Consume until the end of the log, or until SIGTERM or SIGINT; returns the manifest.

    batch_records: at most so many a commit; by default as many as ``state.memory`` has room for.

    Raises ConfigurationError and UnavailableError as ``Engine`` and the readers do; what was committed stays.
    """
    seconds = settings.state.commit_interval_us / 1e6
    records = batch_records or _records_within(settings.state.memory_bytes)
    _allow_many_files()
    metrics, health = Metrics(), Health(limit_s=max(60.0, 3 * seconds))
    reporter = Reporter(log, metrics, settings.time.allowed_lateness_us, _folders(settings))
    with stop_signal() as stopped, _served(settings, metrics, health), _lag_told(settings, reporter) as tell_lag:

        def committed(made: Committed) -> None:
            reporter.committed(made)
            tell_lag(made)

        engine = Engine(
            settings,
            load_policy(settings),
            on_commit=committed,
            on_rates_refused=reporter.rates_refused,
            on_failure=stopped.set,
        )
        with ExitStack() as stack:
            stack.enter_context(closing(engine))
            reporter.started(engine)
            batches = stack.enter_context(closing(_batches(settings, engine, reporter)))
            _say_start(log, settings, engine)
            health.ready()
            has_ended = _consume(
                engine,
                lambda: batches.next_batch(records, seconds, stopped, wait=not until_end),
                settings,
                stopped,
                health,
                until_end=until_end,
            )
        commit = engine.newest
        assert commit is not None, "the first start always commits"
        log("stop", commit_id=commit.number, reason="end of the log" if has_ended else "told to")
        return manifest(settings, engine="live", commit_id=commit.number, watermark_us=commit.watermark_us)


def _records_within(memory_bytes: int) -> int:
    return min(max(memory_bytes // _BYTES_PER_RECORD, _BATCH_MIN), _BATCH_MAX)


def _say_start(log: Journal, settings: Settings, engine: Engine) -> None:
    """Where it goes on from, how large the state is, and how large it will become at the rate seen so far."""
    sizes = sizes_of(engine.state)
    predicted = None if engine.newest is None else predicted_bytes(engine.newest, engine.retention)
    log(
        "start",
        state=str(settings.state_path()),
        commit_id=None if engine.newest is None else engine.newest.number,
        open_inferences=sizes.open_inferences,
        kept_outcomes=sizes.kept_outcomes,
        state_bytes=sizes.state_bytes,
        predicted_inference_bytes=None if predicted is None else predicted[0],
        predicted_outcome_bytes=None if predicted is None else predicted[1],
    )


@contextmanager
def _served(settings: Settings, metrics: Metrics, health: Health) -> Iterator[None]:
    """Health and metrics over HTTP, where the pipeline asks for it."""
    if settings.http is None:
        yield
        return
    with serve(settings.http.port, metrics, health):
        yield


def _folders(settings: Settings) -> dict[str, Path]:
    """Where the engine writes, by what for."""
    own = {"output": settings.output.path, "state": settings.state_path()}
    return own | ({"archive": settings.archive.path} if settings.archive else {})


@contextmanager
def _lag_told(settings: Settings, reporter: Reporter) -> Iterator[Callable[[Committed], None]]:
    """What is to be told of each commit, so that lag tools know of it."""
    if not isinstance(settings.input, KafkaInput):
        yield lambda _: None
        return
    from streams.live.kafka_lag import KafkaLag

    with closing(KafkaLag(settings.input, settings.lag_group, reporter.lag, reporter.offsets_refused)) as lag:
        yield lambda made: lag.committed({(p.topic, p.partition): p.next_offset or 0 for p in made.commit.partitions})


def _batches(settings: Settings, engine: Engine, reporter: Reporter) -> FileBatches | KafkaBatches:
    """The reader, at the positions of the newest commit."""
    idle_after = settings.time.idle_after_us / 1e6
    partitions = [] if engine.newest is None else engine.newest.partitions
    if isinstance(settings.input, KafkaInput):
        from streams.live.kafka_batches import KafkaBatches

        known = {(p.topic, p.partition): p for p in partitions}
        return KafkaBatches(
            settings.input, lambda: limits_of(settings), idle_after, known, on_slow_client=reporter.slow_client
        )
    batches = FileBatches(settings.input, lambda: limits_of(settings), idle_after)
    finished: dict[str, list[InputFile]] = {topic.name: [] for topic in settings.input.topics}
    for name, file in finished_files(engine.state.families[FILES.name]):
        finished[name].append(file)
    was = {p.topic: p for p in partitions}
    for topic in settings.input.topics:
        if topic.name not in was:
            batches.add(topic)
            continue
        partition = was[topic.name]
        batches.add(
            topic,
            finished[topic.name],
            partition.unfinished,
            partition.newest_us,
            is_idle=partition.is_idle,
            has_records=partition.totals.read > 0,
        )
    return batches


def _consume(
    engine: Engine,
    next_batch: Callable[[], Batch],
    settings: Settings,
    stopped: threading.Event,
    health: Health,
    *,
    until_end: bool,
) -> bool:
    """Batch after batch, until it is told to stop; true where the log's end was reached first."""
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader, _stopped_at_the_end(stopped):
        ahead = reader.submit(next_batch)
        while True:
            batch = ahead.result()
            health.beat()
            is_end = until_end and batch.at_end
            is_last = is_end or stopped.is_set()
            if not is_last:
                ahead = reader.submit(next_batch)
            engine.commit(batch, limits_of(settings), resolve_all=is_end, roll=is_last, behind=not is_last)
            if is_last:
                engine.flush()
                return is_end


@contextmanager
def _stopped_at_the_end(stopped: threading.Event) -> Iterator[None]:
    """However the block ends, the reader does not wait for more."""
    try:
        yield
    finally:
        stopped.set()


def _allow_many_files() -> None:
    """Each segment of state is an open file: take as many as the system gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
