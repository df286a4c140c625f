"""The audit: identical where all is well, explained where the contract says why, different where something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from schemas.outputs import TABLES
from streams.cli import main
from streams.runner import run
from streams.settings import load_settings
from tests.live_cases import random_log
from tests.live_files import write_pipeline, write_topics

TOPICS = ("inferences", "conversions", "time_saved", "reversals")


def audited(folder: Path, *, code: int) -> dict[str, Any]:
    command = ["audit", str(folder / "pipeline.toml"), "--log", str(folder / "log"), "--against", str(folder / "out")]
    text = CliRunner().invoke(main, command)
    result = CliRunner().invoke(main, [*command, "--format", "json"])
    assert result.exit_code == text.exit_code == code, text.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert text.stdout.startswith(found["result"])
    return found


def consume(folder: Path, batch_records: int = 20) -> None:
    run(load_settings(folder / "pipeline.toml"), until_end=True, batch_records=batch_records)


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    log = random_log(0, changing_rates=False)
    write_pipeline(log, tmp_path)
    write_topics(log, tmp_path)
    consume(tmp_path)
    return tmp_path


def file_of(folder: Path, table: str) -> Path:
    """A published file of the table that holds rows."""
    files = sorted((folder / "out" / table).glob("**/*.parquet"))
    return next(file for file in files if pl.read_parquet(file).height)


def test_a_healthy_run_is_identical_and_everything_sums(healthy: Path) -> None:
    found = audited(healthy, code=0)
    assert found["result"] == "identical"
    assert found["different"] == {}
    assert found["files"] == found["input_files"] == []
    assert found["conservation"]["broken"] == []
    assert found["conservation"]["checked"] > 0
    assert {row["source_topic"] for row in found["counts"]} == set(TOPICS)
    assert all(row["sums"] for row in found["counts"])


def test_a_log_larger_than_memory_is_audited_too(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.audit.command.usable_memory", lambda: 1)
    monkeypatch.setattr("streams.replay.parts_needed", lambda *_: 3)
    assert audited(healthy, code=0)["result"] == "identical"


def test_rows_that_wait_for_a_roll_count_as_published(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.live.committer.Committer.is_roll_due", lambda *_: False)
    (healthy / "log" / "inferences" / "900.jsonl").write_text(
        '{"inference_id":"new","event_time":"2199-01-01T00:00:00Z","use_case":"u","model":"m"}\n'
    )
    from streams.live.steps import observers

    class Killed(Exception):  # noqa: N818
        pass

    def kill(step: str) -> None:
        if step == "roll.files":
            raise Killed

    observers.append(kill)
    try:
        with pytest.raises(Killed):
            consume(healthy)
    finally:
        observers.remove(kill)
    assert audited(healthy, code=0)["result"] == "identical"


def test_records_that_came_too_late_are_explained_with_what_they_would_have_been_worth(tmp_path: Path) -> None:
    log = random_log(0, late=0.15, changing_rates=False)
    write_pipeline(log, tmp_path)
    write_topics(log, tmp_path)
    consume(tmp_path)
    found = audited(tmp_path, code=0)
    assert found["result"] == "explained"
    assert {row["why"] for row in found["explained"]} <= {"too_late", "conflicting_duplicate"}
    assert found["late"]["too_late"] > 0


@pytest.mark.parametrize("seed", range(3))
def test_a_topic_that_slept_while_others_went_on_is_explained_row_by_row(seed: int, tmp_path: Path) -> None:
    log = random_log(seed, changing_rates=False)
    write_pipeline(log, tmp_path)
    write_topics(log, tmp_path, topics=("inferences", "time_saved", "reversals"))
    consume(tmp_path)
    write_topics(log, tmp_path, topics=("conversions",))
    consume(tmp_path)
    found = audited(tmp_path, code=0)
    assert found["result"] == "explained"
    assert {"too_late", "forgotten"} & {row["why"] for row in found["explained"]}


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def test_a_deleted_file_is_named(healthy: Path) -> None:
    file = file_of(healthy, "outcomes")
    file.unlink()
    found = audited(healthy, code=1)
    assert {"path": str(file.relative_to(healthy / "out")), "problem": "missing"} in found["files"]
    assert found["missing_events"] or found["different"]


@pytest.mark.parametrize("table", list(TABLES))
def test_a_flipped_byte_is_named(table: str, healthy: Path) -> None:
    is_empty = table in ("dead_letters", "scores")
    file = next((healthy / "out" / table).glob("**/*.parquet")) if is_empty else file_of(healthy, table)
    flip(file)
    found = audited(healthy, code=1)
    assert {"path": str(file.relative_to(healthy / "out")), "problem": "altered"} in found["files"]


@pytest.mark.parametrize("table", ["credits", "unattributed", "attributed"])
def test_an_edited_row_is_found_in_its_table_and_its_file(table: str, healthy: Path) -> None:
    file = file_of(healthy, table)
    figure = "attributed_value" if table == "attributed" else "amount"
    rows = pl.read_parquet(file)
    edited = pl.when(pl.int_range(pl.len()) == 0).then(pl.col(figure).fill_null(0) + 1).otherwise(figure)
    rows.with_columns(edited.cast(TABLES[table][figure]).alias(figure)).write_parquet(file)
    found = audited(healthy, code=1)
    assert found["files"] == [{"path": str(file.relative_to(healthy / "out")), "problem": "altered"}]
    assert list(found["different"]) == [table]


def test_a_file_that_no_commit_made_is_named(healthy: Path) -> None:
    file = file_of(healthy, "credits")
    copy = file.with_name("copy.parquet")
    copy.write_bytes(file.read_bytes())
    found = audited(healthy, code=1)
    assert found["files"] == [{"path": str(copy.relative_to(healthy / "out")), "problem": "unknown"}]
    assert "credits" in found["different"]


def test_an_event_file_that_changed_or_is_gone_is_named(healthy: Path) -> None:
    first, second, *_ = sorted((healthy / "log" / "inferences").iterdir())
    flip(first)
    second.unlink()
    found = audited(healthy, code=1)
    assert found["input_files"] == [
        {"path": f"inferences/{first.name}", "problem": "altered"},
        {"path": f"inferences/{second.name}", "problem": "missing"},
    ]


def test_other_rules_give_another_answer(healthy: Path, tmp_path: Path) -> None:
    for file in (healthy / "rules").iterdir():
        text = file.read_text()
        file.write_text(text.replace('lookback_window = "', 'lookback_window = "9'))
    audited(healthy, code=1)


def test_a_state_without_a_commit_and_a_folder_without_tables_are_one_message(tmp_path: Path) -> None:
    log = random_log(0)
    write_pipeline(log, tmp_path)
    command = [
        "audit",
        str(tmp_path / "pipeline.toml"),
        "--log",
        str(tmp_path / "log"),
        "--against",
        str(tmp_path / "o"),
    ]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 3
    assert "no commit" in result.stderr
