"""``attribution status``: where a pipeline stands, read from its newest commit, whether or not it is running."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from attribution.windows import time_text
from schemas.errors import UnavailableError
from streams.file_source import topic_files
from streams.live.commit import Commit, Partition, decode_commit
from streams.live.commit_log import read_newest
from streams.live.families import FILES
from streams.live.family_state import FamilyState
from streams.live.sizes import Sizes, sizes_of
from streams.live.state import State
from streams.live.state_folder import finished_files
from streams.settings import FilesInput, Settings


@dataclass(frozen=True)
class PartitionStatus:
    """position: what is read next, file and record or offset; lag_files, lag_bytes: what lies there unread of files (a
    file being read counts whole); lag_records: of Kafka, None where the broker does not tell; holds_watermark: the
    watermark waits for this partition."""

    topic: str
    partition: int
    position: str
    read: int
    lag_files: int | None
    lag_bytes: int | None
    lag_records: int | None
    event_time: str | None
    idle: bool
    holds_watermark: bool


@dataclass(frozen=True)
class Status:
    commit_id: int
    committed_at: str
    watermark: str | None
    rolled_commit_id: int
    waiting_rows: int
    sizes: Sizes
    partitions: list[PartitionStatus]


def status(settings: Settings) -> Status:
    """Raises UnavailableError where there is no commit, or state or input cannot be read."""
    state = settings.state_path()
    found = read_newest(state)
    if found is None:
        raise UnavailableError(f"{state}: no commit yet. Hint: attribution run makes the first one as it starts")
    commit = decode_commit(found[1], state)
    ends = _ends(settings)
    known = State(state / "segments", commit.segments, watermark_us=commit.watermark_us, to_be_asked=False)
    return Status(
        commit_id=commit.number,
        committed_at=time_text(commit.committed_at_us),
        watermark=None if commit.watermark_us is None else time_text(commit.watermark_us),
        rolled_commit_id=commit.rolled.commit_id,
        waiting_rows=sum(part.rows for part in commit.parts),
        sizes=sizes_of(known),
        partitions=[_partition(settings, known.families[FILES.name], ends, commit, p) for p in commit.partitions],
    )


def _ends(settings: Settings) -> dict[tuple[str, int], int]:
    """Where Kafka's partitions end; nothing where there is no broker to ask: the rest can be told all the same."""
    if isinstance(settings.input, FilesInput):
        return {}
    from streams.kafka_log import ends  # the client takes a while to load

    try:
        return ends(settings.input)
    except UnavailableError:
        return {}


def _partition(
    settings: Settings, files: FamilyState, ends: Mapping[tuple[str, int], int], commit: Commit, partition: Partition
) -> PartitionStatus:
    lag_files = lag_bytes = lag_records = None
    if isinstance(settings.input, FilesInput):
        finished = [file.name for topic, file in finished_files(files) if topic == partition.topic]
        unread = [file for file in topic_files(settings.input.path, partition.topic) if file.name not in set(finished)]
        lag_files, lag_bytes = len(unread), sum(file.stat().st_size for file in unread)
        if partition.unfinished is not None:
            position = f"{partition.unfinished.name}, record {partition.unfinished.records}"
        else:
            position = f"after {finished[-1]}" if finished else "the beginning"
    else:
        position = f"offset {partition.next_offset or 0}"
        end = ends.get((partition.topic, partition.partition))
        lag_records = None if end is None else max(end - (partition.next_offset or 0), 0)
    awake = [p.newest_us for p in commit.partitions if not p.is_idle]
    slowest = None if None in awake else min((time for time in awake if time is not None), default=None)
    # After --until-end the watermark is ahead of every partition that is not idle.
    is_held = slowest is None or commit.watermark_us is None or slowest >= commit.watermark_us
    return PartitionStatus(
        topic=partition.topic,
        partition=partition.partition,
        position=position,
        read=partition.totals.read,
        lag_files=lag_files,
        lag_bytes=lag_bytes,
        lag_records=lag_records,
        event_time=None if partition.newest_us is None else time_text(partition.newest_us),
        idle=partition.is_idle,
        holds_watermark=not partition.is_idle and partition.newest_us == slowest and is_held,
    )


def as_json(found: Status) -> str:
    return json.dumps(asdict(found), indent=2, ensure_ascii=False)


def _lag(partition: PartitionStatus) -> str:
    if partition.lag_files is not None:
        return f"{partition.lag_files:,} files, {partition.lag_bytes:,} bytes"
    return "unknown, no broker answers" if partition.lag_records is None else f"{partition.lag_records:,} records"


def as_text(found: Status) -> str:
    now = datetime.now(UTC).replace(microsecond=0)
    age = now - datetime.fromisoformat(found.committed_at).replace(microsecond=0)
    sizes = found.sizes
    lines = [
        f"commit {found.commit_id}, made {found.committed_at} ({age} ago)",
        f"watermark {found.watermark or 'none yet'}",
        f"published up to commit {found.rolled_commit_id}; {found.waiting_rows:,} rows wait for the next roll",
        f"open inferences: {sizes.open_inferences:,}",
        f"kept outcomes: {sizes.kept_outcomes:,}, {sizes.waiting_outcomes:,} of them waiting",
        f"state: {sizes.state_bytes / 2**20:,.1f} MiB",
    ]
    for partition in found.partitions:
        holds = " <- holds the watermark" if partition.holds_watermark else ""
        idle = ", idle" if partition.idle else ""
        lines.append(
            f"{partition.topic}/{partition.partition}: read {partition.read:,}, at {partition.position}; "
            f"lag {_lag(partition)}; "
            f"event time {partition.event_time or 'none yet'}{idle}{holds}"
        )
    return "\n".join(lines)
