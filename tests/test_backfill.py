"""``replay --state``: a run that goes on from a replayed log ends where one that read it all would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.runner import run
from streams.settings import load_settings
from tests.live_cases import LiveLog, random_log
from tests.live_files import write_pipeline, write_topics
from tests.live_runs import JUDGED, net


def written(folder: Path, seed: int, *, scores: bool = False) -> tuple[Path, LiveLog]:
    """A pipeline with lateness so long that nothing is forgotten too early, whatever is read first."""
    log = random_log(seed, changing_rates=False, scores=scores)
    pipeline = write_pipeline(log, folder)
    write_topics(log, folder, files=4)
    return pipeline, log


def set_aside(folder: Path) -> list[tuple[Path, Path]]:
    """The second half of each topic's files, moved out of the log."""
    moved = []
    for topic in sorted((folder / "log").iterdir()):
        files = sorted(topic.iterdir())
        for file in files[len(files) // 2 :]:
            aside = folder / "aside" / topic.name
            aside.mkdir(parents=True, exist_ok=True)
            moved.append((file.rename(aside / file.name), file))
    return moved


def command(folder: Path, *more: str) -> list[str]:
    own = {"--log": "log", "--out": "out", "--state": "state"}
    options = [part for name, path in own.items() for part in (name, str(folder / path))]
    return ["replay", str(folder / "pipeline.toml"), *options, *more]


def backfilled(folder: Path) -> None:
    result = CliRunner().invoke(main, command(folder))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("seed", "scores"), [*((seed, False) for seed in (0, 1, 2, 3, 5)), *((seed, True) for seed in (6, 7, 8))]
)
def test_a_run_goes_on_from_a_backfill_as_from_a_run(seed: int, tmp_path: Path, *, scores: bool) -> None:
    results: list[dict[str, Any]] = []
    for name, begin in (("replayed", backfilled), ("run", consume)):
        folder = tmp_path / name
        folder.mkdir()
        written(folder, seed, scores=scores)
        moved = set_aside(folder)
        begin(folder)
        for aside, place in moved:
            aside.rename(place)
        consume(folder)
        results.append({table: net(folder / "out", table) for table in JUDGED})
        audit = ["audit", str(folder / "pipeline.toml"), "--log", str(folder / "log"), "--against", str(folder / "out")]
        result = CliRunner().invoke(main, audit)
        assert result.exit_code == 0, result.output
    replayed, ran = results
    assert replayed == ran
    assert bool(ran["scores"]) == scores


def consume(folder: Path) -> None:
    run(load_settings(folder / "pipeline.toml"), until_end=True, batch_records=30)


def test_a_backfill_of_the_whole_log_leaves_nothing_to_do(tmp_path: Path) -> None:
    written(tmp_path, 0)
    backfilled(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("*/*/*.parquet")}
    consume(tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "out").glob("*/*/*.parquet")} == before


@pytest.mark.parametrize(
    ("option", "value"), [("--out", "elsewhere"), ("--state", "elsewhere"), ("--log", "."), ("--to", "2026-01-01")]
)
def test_only_the_pipelines_own_folders_and_whole_log_are_taken(option: str, value: str, tmp_path: Path) -> None:
    written(tmp_path, 0)
    given = value if option == "--to" else str(tmp_path / value)
    result = CliRunner().invoke(main, command(tmp_path, option, given))
    assert result.exit_code == 2
    assert f"{option} (with --state): expected" in result.stderr


def test_a_state_in_use_is_left_alone(tmp_path: Path) -> None:
    written(tmp_path, 0)
    backfilled(tmp_path)
    result = CliRunner().invoke(main, command(tmp_path))
    assert result.exit_code == 2
    assert "expected a new or empty folder" in result.stderr
