"""The command line: exit codes, one clear message for each mistake, never a stack trace."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from tests.case_files import write_case
from tests.cases import random_case
from tests.conformance_compare import published_rows

ROOT = Path(__file__).parent.parent


def invoke(*arguments: str | Path, code: int | None = None) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output
    assert code is None or result.exit_code == code, result.output
    return result


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return write_case(random_case(11, size=12), tmp_path)


def test_help_names_every_command() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for command in ("run", "replay", "compact", "explain", "rules", "ratio", "demo"):
        assert command in result.output


def test_help_loads_no_heavy_library() -> None:
    heavy = ("polars", "pyarrow", "scipy", "numpy", "rich", "pydantic")
    code = f"import sys, streams.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_replay_prints_rows_and_digests(pipeline: Path, tmp_path: Path) -> None:
    result = invoke("replay", pipeline, "--log", tmp_path / "log", "--out", tmp_path / "replayed")
    assert result.exit_code == 0
    assert '"digest"' in result.output


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["replay", "PIPELINE", "--log", "nowhere", "--out", "new"], 3, "no such log folder"),
        (["replay", "nowhere.toml", "--log", "LOG", "--out", "new"], 2, "nowhere.toml"),
        (["replay", "PIPELINE", "--log", "LOG", "--out", "LOG"], 2, "new or empty folder"),
        (["replay", "PIPELINE", "--log", "LOG", "--out", "new", "--to", "yesterday"], 2, "--to"),
        (["replay", "PIPELINE", "--log", "LOG"], 2, "--out"),
        (["rules", "check", "nowhere"], 2, "nowhere"),
        (["ratio", "--out", "nowhere"], 3, "nowhere"),
        (["ratio", "--out", "nowhere", "--period", "year"], 2, "--period"),
        (["explain", "--out", "nowhere"], 2, "--inference"),
        (["explain", "--out", "nowhere", "--outcome", "o1"], 3, "nowhere"),
        (["no-such-command"], 2, "No such command"),
    ],
)
def test_each_mistake_has_its_exit_code_and_one_message(
    pipeline: Path, tmp_path: Path, arguments: list[str], exit_code: int, message: str
) -> None:
    places = {"PIPELINE": str(pipeline), "LOG": str(tmp_path / "log")}
    given = [places.get(argument, argument) for argument in arguments]
    result = invoke(*(str(tmp_path / part) if part in ("nowhere", "new", "nowhere.toml") else part for part in given))
    assert result.exit_code == exit_code, result.output
    assert message in result.output


def test_a_missing_rules_or_rates_file_is_a_wrong_configuration(pipeline: Path, tmp_path: Path) -> None:
    for place in ("rules", "fx.csv"):
        text = pipeline.read_text()
        assert place in text
        pipeline.write_text(text.replace(place, f"gone-{place}"))
        result = invoke("replay", pipeline, "--log", tmp_path / "log", "--out", tmp_path / "new")
        assert result.exit_code == 2, result.output
        assert f"gone-{place}" in result.output
        pipeline.write_text(text)


def test_a_full_disk_is_one_message_and_nothing_is_published(pipeline: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: both fail a write half-way."""
    out = tmp_path / "new"
    command = [sys.executable, "-m", "streams.cli", "replay", pipeline, "--log", tmp_path / "log", "--out", out]

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))

    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, preexec_fn=limit, cwd=ROOT
    )
    assert done.returncode == 3, done.stderr
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert "cannot be written" in last
    assert "Traceback" not in done.stderr
    assert not out.exists()


@contextmanager
def running(pipeline: Path) -> Iterator[Callable[[str], dict[str, Any]]]:
    """``attribution run`` as a process; gives a function that waits for an event in its journal."""
    command = [sys.executable, "-m", "streams.cli", "run", str(pipeline)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        stream = process.stderr

        def wait_for(event: str) -> dict[str, Any]:
            for line in stream:
                said: dict[str, Any] = json.loads(line)
                if said["event"] == event:
                    return said
            pytest.fail(f"it ended without {event}")

        try:
            yield wait_for
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def in_a_hurry(pipeline: Path) -> None:
    """Commits and rolls come fast, and nothing comes too late."""
    text = pipeline.read_text(encoding="utf-8")
    text = re.sub('allowed_lateness = ".*"', 'allowed_lateness = "20000d"', text)
    text = text.replace("[output]\n", '[output]\nroll_interval = "100ms"\n')
    pipeline.write_text(text.replace("[state]\n", '[state]\ncommit_interval = "100ms"\n'), encoding="utf-8")


def test_run_stays_up_takes_in_new_files_and_goes_on_after_it_was_stopped(pipeline: Path, tmp_path: Path) -> None:
    in_a_hurry(pipeline)
    conversions = tmp_path / "log" / "conversions"
    late = tmp_path / "late"
    conversions.rename(late)
    conversions.mkdir()
    with running(pipeline) as wait_for:
        assert wait_for("commit")["read"] > 0
        for file in late.iterdir():
            file.rename(conversions / file.name)
        assert wait_for("commit")["read"] > 0
    invoke("run", pipeline, "--until-end")
    invoke("replay", pipeline, "--log", tmp_path / "log", "--out", tmp_path / "replayed")
    for table in ("credits", "unattributed"):
        live, replayed = (published_rows(tmp_path / out, table) for out in ("out", "replayed"))
        assert sorted(map(repr, map(plain_row, live))) == sorted(map(repr, map(plain_row, replayed)))


def test_a_running_engine_answers_over_http(pipeline: Path) -> None:
    in_a_hurry(pipeline)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    pipeline.write_text(pipeline.read_text() + f'[http]\nlisten = "127.0.0.1:{port}"\n')
    with running(pipeline) as wait_for:
        wait_for("commit")
        for path, expected in (
            ("healthz", b'"status"'),
            ("readyz", b'"status"'),
            ("metrics", b"attribution_commits_total"),
        ):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
                assert answer.status == 200
                assert expected in answer.read()
        found = invoke("status", pipeline, "--format", "json", code=0)
        assert json.loads(found.stdout)["commit_id"] >= 1


def plain_row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in sorted(row) if name not in ("sign", "commit_id")}


def test_run_stops_when_a_file_it_has_read_has_changed(pipeline: Path, tmp_path: Path) -> None:
    invoke("run", pipeline, "--until-end")
    file = next((tmp_path / "log" / "inferences").iterdir())
    file.write_bytes(file.read_bytes() + b"\n{}")
    result = invoke("run", pipeline, "--until-end", code=3)
    assert "has changed since it was read" in result.stderr


def test_a_second_run_without_news_adds_no_commit(pipeline: Path, tmp_path: Path) -> None:
    invoke("run", pipeline, "--until-end")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    invoke("run", pipeline, "--until-end")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == before
