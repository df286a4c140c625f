"""The command line: exit codes, one clear message for each mistake, never a stack trace."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from tests.case_files import write_case
from tests.cases import random_case

ROOT = Path(__file__).parent.parent


def invoke(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return write_case(random_case(11, size=12), tmp_path)


def test_help_names_every_command() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for command in ("run", "replay", "explain", "rules", "ratio", "demo"):
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


def test_run_stays_up_takes_in_new_files_and_publishes_when_told_to_stop(pipeline: Path, tmp_path: Path) -> None:
    late = tmp_path / "late"
    shutil.copytree(tmp_path / "log" / "conversions", late)
    for file in (tmp_path / "log" / "conversions").iterdir():
        file.unlink()
    command = [sys.executable, "-m", "streams.cli", "run", str(pipeline)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        assert "read" in process.stderr.readline()
        for file in late.iterdir():
            aside = tmp_path / "log" / "conversions" / f"_{file.name}"
            shutil.copyfile(file, aside)
            aside.rename(tmp_path / "log" / "conversions" / file.name)
        assert "read" in process.stderr.readline()
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=30) == 0, process.stderr.read()
    invoke("replay", pipeline, "--log", tmp_path / "log", "--out", tmp_path / "replayed")
    for table in ("credits", "unattributed"):
        first, second = (
            pl.read_parquet(folder / table / "**" / "*.parquet", hive_partitioning=False).drop("commit_id")
            for folder in (tmp_path / "out", tmp_path / "replayed")
        )
        assert first.sort(first.columns).equals(second.sort(second.columns))


def test_run_stops_when_a_file_it_has_read_is_gone_or_changed(pipeline: Path, tmp_path: Path) -> None:
    from schemas.errors import UnavailableError
    from streams.runner import Consumer
    from streams.settings import load_settings

    consumer = Consumer(load_settings(pipeline), notify=lambda _: None)
    consumer.take_in()
    file = next((tmp_path / "log" / "inferences").iterdir())
    content = file.read_bytes()
    file.write_bytes(content + b"\n{}")
    with pytest.raises(UnavailableError, match="has changed"):
        consumer.take_in()
    file.unlink()
    with pytest.raises(UnavailableError, match="is gone"):
        consumer.take_in()
