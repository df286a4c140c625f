"""The archive: every record that was read, once, as it came; a replay of it finds what was published."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from schemas.archive import ARCHIVE
from schemas.errors import ConfigurationError, UnavailableError
from streams.cli import main
from streams.live.archiving import forget_before
from streams.live.batches import FileBatches
from streams.live.engine import Engine
from streams.publish import load_policy
from streams.replay import limits_of, replay
from streams.runner import run
from streams.settings import FilesInput, load_settings
from tests.live_cases import random_log
from tests.live_files import write_pipeline, write_topics

DAY_US = 86_400_000_000
TOPICS = ("inferences", "conversions", "time_saved", "reversals")
EVENT = '{"event_id":"%s","event_time":"2026-03-01T00:00:00Z","type":"x"%s}'


def with_archive(pipeline: Path, more: str = "") -> Path:
    with pipeline.open("a") as file:
        file.write(f'[archive]\npath = "archive"\n{more}')
    return pipeline


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A pipeline over a random log in four files a topic."""
    log = random_log(3, changing_rates=False)
    file = with_archive(write_pipeline(log, tmp_path))
    write_topics(log, tmp_path, files=4)
    return file


def consume(pipeline: Path) -> None:
    run(load_settings(pipeline), until_end=True, batch_records=30)


def archived(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "archive" / "*" / "date=*" / "*.parquet", hive_partitioning=False)


def write_events(folder: Path, topic: str, lines: list[str], name: str = "x.jsonl") -> None:
    (folder / "log" / topic / name).write_text("".join(f"{line}\n" for line in lines))


def test_it_holds_every_record_once_where_it_was_read_and_by_which_commit(pipeline: Path, tmp_path: Path) -> None:
    write_events(tmp_path, "conversions", ["", "{", "  ", '{"event_id": 7}'])
    consume(pipeline)
    rows = archived(tmp_path)
    assert dict(rows.schema) == ARCHIVE
    expected = [
        (topic, file.name, number, line)
        for topic in TOPICS
        for file in (tmp_path / "log" / topic).iterdir()
        for number, line in enumerate(line for line in file.read_bytes().split(b"\n") if line.strip())
    ]
    assert sorted(rows.select("topic", "file", "offset", "value").iter_rows()) == sorted(expected)
    commits = pl.read_parquet(tmp_path / "out" / "commits" / "**" / "*.parquet", hive_partitioning=False)
    read = commits.filter(pl.col("source_topic").is_not_null()).select("commit_id", "source_topic", "read")
    counted = rows.group_by("commit_id", pl.col("topic").alias("source_topic")).len("read").cast({"read": pl.Int64})
    assert sorted(counted.select(read.columns).iter_rows()) == sorted(read.iter_rows())
    assert rows["record_time"].null_count() == 0


def digests(manifest: dict[str, Any]) -> dict[str, Any]:
    return {table: manifest["tables"][table] for table in ("credits", "unattributed", "inferences", "outcomes")}


def test_a_replay_of_it_gives_the_digests_of_a_replay_of_the_files(pipeline: Path, tmp_path: Path) -> None:
    consume(pipeline)
    settings = load_settings(pipeline)
    of_files = replay(settings, tmp_path / "log", tmp_path / "of-files")
    of_archive = replay(settings, tmp_path / "archive", tmp_path / "of-archive")
    assert digests(of_archive) == digests(of_files)
    small = replay(settings, tmp_path / "archive", tmp_path / "small", memory_bytes=20_000)
    assert digests(small) == digests(of_files)
    ranges = [entry for entry in of_archive["inputs"] if "last_offset" in entry]
    assert {entry["topic"]: entry["records"] for entry in ranges} == {
        topic: sum(len(file.read_text().splitlines()) for file in (tmp_path / "log" / topic).iterdir())
        for topic in TOPICS
    }
    assert sum(entry["records"] for entry in of_archive["inputs"] if "sha256" in entry) == archived(tmp_path).height


def audit(pipeline: Path, log: Path) -> dict[str, Any]:
    command = ["audit", str(pipeline), "--log", str(log), "--against", str(pipeline.parent / "out"), "--format", "json"]
    result = CliRunner().invoke(main, command)
    assert result.stdout, (result.stderr, result.exception)
    return {"exit_code": result.exit_code, **json.loads(result.stdout)}


def test_an_audit_from_it_is_clean_and_finds_a_file_of_it_that_was_altered_or_lost(
    pipeline: Path, tmp_path: Path
) -> None:
    consume(pipeline)
    assert audit(pipeline, tmp_path / "archive")["exit_code"] == 0
    first, second = sorted((tmp_path / "archive").glob("conversions/date=*/*.parquet"))[:2]
    frame = pl.read_parquet(first, hive_partitioning=False)
    frame.with_columns(record_time=pl.col("record_time").dt.offset_by("1us")).write_parquet(first)
    kept = second.read_bytes()
    second.unlink()
    found = audit(pipeline, tmp_path / "archive")
    assert found["exit_code"] == 1
    names = [str(path.relative_to(tmp_path / "archive")) for path in (first, second)]
    assert [(entry["path"], entry["problem"]) for entry in found["input_files"]] == [
        (names[0], "altered"),
        (names[1], "missing"),
    ]
    second.write_bytes(kept)


def commit_without_roll(pipeline: Path, commits: int) -> None:
    """As many commits, of which only the first has rolled."""
    settings = load_settings(pipeline)
    assert isinstance(settings.input, FilesInput)
    engine = Engine(settings, load_policy(settings))
    batches = FileBatches(settings.input, lambda: limits_of(settings), 60.0)
    for topic in settings.input.topics:
        batches.add(topic)
    for _ in range(commits):
        engine.commit(batches.next_batch(40, 60.0, threading.Event(), wait=False), limits_of(settings))
    engine.close()


def test_rows_that_wait_for_a_roll_are_audited_too(pipeline: Path, tmp_path: Path) -> None:
    commit_without_roll(pipeline, 3)
    assert list((tmp_path / "archive" / "_staging").iterdir())
    assert audit(pipeline, tmp_path / "archive")["exit_code"] == 0


@pytest.mark.parametrize(("first", "counts"), [("conversions", "conversion"), ("time_saved", "time_saved")])
def test_of_two_events_with_one_id_that_of_the_earlier_commit_counts(
    first: str, counts: str, pipeline: Path, tmp_path: Path
) -> None:
    both = {"conversions": EVENT % ("twice", ""), "time_saved": EVENT % ("twice", ',"seconds":5')}
    second = next(topic for topic in both if topic != first)
    shutil.rmtree(tmp_path / "log")
    for topic in TOPICS:
        (tmp_path / "log" / topic).mkdir(parents=True)
    for topic in (first, second):
        write_events(tmp_path, topic, [both[topic]])
        consume(pipeline)
    replay(load_settings(pipeline), tmp_path / "archive", tmp_path / "replayed")
    for out in ("out", "replayed"):
        rows = pl.read_parquet(tmp_path / out / "outcomes" / "**" / "*.parquet", hive_partitioning=False)
        assert rows.select("event_id", "kind").rows() == [("twice", counts)], out
        letters = pl.read_parquet(tmp_path / out / "dead_letters" / "**" / "*.parquet", hive_partitioning=False)
        assert letters.select("source_topic", "reason", "record_value").rows() == [
            (second, "conflicting_duplicate", both[second].encode())
        ], out
    assert audit(pipeline, tmp_path / "archive")["exit_code"] == 0


def test_retention_deletes_whole_days_and_nothing_of_a_day_that_is_not_over(tmp_path: Path) -> None:
    for name in ("date=2026-03-01", "date=2026-03-02", "date=2026-03-03", "else"):
        (tmp_path / "topic" / name).mkdir(parents=True)
        (tmp_path / "topic" / name / "x.parquet").touch()
    day_4_us = 1_772_582_400_000_000
    forget_before(tmp_path, day_4_us + 1, 2 * DAY_US)
    assert [path.name for path in sorted((tmp_path / "topic").iterdir())] == [
        "date=2026-03-02",
        "date=2026-03-03",
        "else",
    ]
    forget_before(tmp_path, day_4_us - 1, 1 * DAY_US)
    assert (tmp_path / "topic" / "date=2026-03-02").exists()


def test_old_days_go_at_a_roll(pipeline: Path, tmp_path: Path) -> None:
    consume(pipeline)
    old = tmp_path / "archive" / "conversions" / "date=2020-01-01"
    old.mkdir()
    write_events(tmp_path, "conversions", [EVENT % ("later", "")], "zz.jsonl")
    consume(pipeline)
    assert not old.exists()
    assert archived(tmp_path).filter(file="zz.jsonl").height == 1


def test_an_archive_of_another_state_is_not_added_to(pipeline: Path, tmp_path: Path) -> None:
    consume(pipeline)
    shutil.rmtree(tmp_path / "state")
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(ConfigurationError, match=r"archive: expected a new or empty folder.*Hint: replay --log"):
        consume(pipeline)


def test_the_section_cannot_go_while_records_wait_for_it(pipeline: Path) -> None:
    commit_without_roll(pipeline, 2)
    pipeline.write_text(pipeline.read_text().replace('[archive]\npath = "archive"\n', ""))
    with pytest.raises(UnavailableError, match=r"\[archive\] is gone, but records wait for it"):
        consume(pipeline)


# --- fields that never reach the disk ---


@pytest.mark.parametrize("source", ["jsonl", "parquet"])
def test_a_dropped_field_is_in_no_file(source: str, pipeline: Path, tmp_path: Path) -> None:
    pipeline.write_text(pipeline.read_text() + 'drop = ["prompt"]\n')
    shutil.rmtree(tmp_path / "log")
    for topic in TOPICS:
        (tmp_path / "log" / topic).mkdir(parents=True)
    fields = ',"amount":19.990,"currency":"USD"'
    lines = [
        EVENT % ("a", f'{fields},"prompt":"my secret"'),
        EVENT % ("b", f'{fields},"pr\\u006fmpt":{{"deep":"my secret"}}'),
        EVENT % ("c", f'{fields},"event_id":"later","prompt":"my secret"'),
        EVENT % ("d", fields),
    ]
    if source == "parquet":
        frame = pl.DataFrame(
            {
                "event_id": list("abcd"),
                "event_time": ["2026-03-01T00:00:00Z"] * 4,
                "type": ["x"] * 4,
                "amount": ["19.99"] * 4,
                "currency": ["USD"] * 4,
                "prompt": ["my secret"] * 4,
            }
        )
        frame.write_parquet(tmp_path / "log" / "conversions" / "x.parquet", compression="uncompressed")
    else:
        broken = ['{"prompt": "my secret', 'no JSON, "prompt" or not', '["prompt"]']
        write_events(tmp_path, "conversions", [*lines, *broken])
    consume(pipeline)
    outcomes = pl.read_parquet(tmp_path / "out" / "outcomes" / "**" / "*.parquet", hive_partitioning=False)
    assert sorted(outcomes["event_id"]) == ["a", "b", "c", "d"]
    assert {str(amount.normalize()) for amount in outcomes["amount"]} == {"19.99"}
    rows, letters = archived(tmp_path), tmp_path / "out" / "dead_letters" / "**" / "*.parquet"
    everything = b"".join([*rows["value"], *pl.read_parquet(letters, hive_partitioning=False)["record_value"]])
    assert b"secret" not in everything
    if source == "jsonl":
        by_offset = dict(rows.select("offset", "value").iter_rows())
        assert by_offset[3] == lines[3].encode()
        assert json.loads(by_offset[0], parse_float=str)["amount"] == "19.990"
        assert [by_offset[number] for number in (4, 5, 6)] == [b"{", b"{", b'["prompt"]']
    for folder in ("out", "state", "archive"):
        for file in (tmp_path / folder).rglob("*"):
            assert not file.is_file() or b"my secret" not in file.read_bytes(), file
    assert audit(pipeline, tmp_path / "archive")["exit_code"] == 0
    assert audit(pipeline, tmp_path / "log")["exit_code"] == 0
