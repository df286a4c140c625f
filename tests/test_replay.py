"""Replay and run, from files to files: what a reader finds on disk is what the reference says."""

from __future__ import annotations

import gzip
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest
from click.testing import CliRunner

from schemas.errors import ConfigurationError, UnavailableError
from schemas.outputs import LEDGER_KEYS, TABLES, in_files
from streams.cli import main
from streams.demo_events import write_events
from streams.replay import replay
from streams.runner import run
from streams.settings import load_settings
from tests.case_files import write_case
from tests.cases import Case, random_case
from tests.frames import plain
from tests.live_runs import net
from tests.reference import attribute
from tests.reference_parts import Row

TOPICS = ("inferences", "conversions", "time_saved", "reversals")
DEMO = Path(__file__).parent.parent / "configs" / "demo.toml"


@pytest.fixture(scope="module")
def demo_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_events(folder)
    return folder / "demo" / "events"


@pytest.fixture
def few_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part has fixed costs; what holds for three parts holds for all."""
    monkeypatch.setattr("streams.replay.parts_needed", lambda *_: 3)


def published(out: Path, table: str) -> pl.DataFrame:
    return pl.read_parquet(out / table / "**" / "*.parquet", hive_partitioning=False)


def rows(out: Path, table: str) -> list[Row]:
    return plain(published(out, table).drop("sign", "commit_id"), *LEDGER_KEYS[table])


def digests(manifest: dict[str, Any]) -> dict[str, str]:
    return {table: manifest["tables"][table]["digest"] for table in ("credits", "unattributed")}


def lines_of(log: Path, topic: str) -> list[bytes]:
    return [line for file in sorted((log / topic).iterdir()) for line in file.read_bytes().splitlines() if line]


def assert_same_rows(first: Path, second: Path, table: str) -> None:
    one, other = (published(out, table).drop("committed_at", strict=False) for out in (first, second))
    assert one.height == other.height
    order = [name for name in one.columns if one[name].dtype != pl.List(pl.String)]
    assert one.sort(order, nulls_last=True).equals(other.sort(order, nulls_last=True)), table


# --- the reference, through files ---


def replayable(seed: int) -> Case:
    return random_case(seed, size=1 + seed % 40)


@pytest.mark.usefixtures("few_parts")
@pytest.mark.parametrize("block", range(5))
def test_replay_from_files_agrees_with_the_reference_to_the_unit(block: int, tmp_path: Path) -> None:
    for seed in range(1000 + block * 8, 1008 + block * 8):
        case = replayable(seed)
        if not case.rules:
            continue
        folder = tmp_path / str(seed)
        pipeline = write_case(case, folder, seed)
        manifest = replay(load_settings(pipeline), folder / "log", folder / "replayed")
        expected = attribute(**vars(case))
        for table in ("credits", "unattributed", "attributed"):
            assert rows(folder / "replayed", table) == getattr(expected, table), (seed, table)
        replay(load_settings(pipeline), folder / "log", folder / "in-parts", memory_bytes=1)
        for table in TABLES:
            assert_same_rows(folder / "replayed", folder / "in-parts", table)
        conflicting = published(folder / "replayed", "dead_letters").filter(reason="conflicting_duplicate")
        assert conflicting.height == len(expected.conflicting)
        assert manifest["tables"]["attributed"]["rows"] == len(expected.attributed)


# --- the demo's log ---


def test_two_replays_have_the_same_digests(demo_log: Path, tmp_path: Path) -> None:
    settings = load_settings(DEMO)
    first = replay(settings, demo_log, tmp_path / "a")
    second = replay(settings, demo_log, tmp_path / "b")
    assert digests(first) == digests(second)
    assert first["inputs"] == second["inputs"]


@pytest.mark.usefixtures("few_parts")
def test_a_log_larger_than_memory_gives_the_same_tables_and_digests(demo_log: Path, tmp_path: Path) -> None:
    settings = load_settings(DEMO)
    first = replay(settings, demo_log, tmp_path / "a")
    second = replay(settings, demo_log, tmp_path / "b", memory_bytes=1)
    assert first["tables"] == second["tables"]
    for table in TABLES:
        assert_same_rows(tmp_path / "a", tmp_path / "b", table)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == sorted(
        path.name for path in (tmp_path / "a").iterdir()
    )


def test_order_copies_and_file_boundaries_change_no_digest(demo_log: Path, tmp_path: Path) -> None:
    settings = load_settings(DEMO)
    rng = random.Random(7)
    other = tmp_path / "log"
    for topic in TOPICS:
        lines = lines_of(demo_log, topic) * 2
        rng.shuffle(lines)
        (other / topic).mkdir(parents=True)
        cuts = sorted(rng.sample(range(len(lines)), 3))
        for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(lines)], strict=True)):
            content = b"\n".join(lines[start:end])
            if number % 2:
                (other / topic / f"{number}.jsonl.gz").write_bytes(gzip.compress(content))
            else:
                (other / topic / f"{number}.jsonl").write_bytes(content + b"\n")
    first = replay(settings, demo_log, tmp_path / "a")
    second = replay(settings, other, tmp_path / "b")
    assert digests(first) == digests(second)


def test_run_publishes_the_same_net_rows_as_replay(demo_log: Path, tmp_path: Path) -> None:
    settings = load_settings(DEMO)
    source = settings.input.model_copy(update={"path": demo_log})
    output = settings.output.model_copy(update={"path": tmp_path / "run"})
    replay(settings, demo_log, tmp_path / "replay")
    state = settings.state.model_copy(update={"path": tmp_path / "state"})
    run(settings.model_copy(update={"input": source, "output": output, "state": state}), until_end=True)
    for table in ("credits", "unattributed"):
        assert net(tmp_path / "run", table) == rows(tmp_path / "replay", table)
    settled = [row for row in rows(tmp_path / "replay", "attributed") if row["settled"]]
    assert net(tmp_path / "run", "attributed") == settled


def test_every_reader_reads_every_table_with_a_plain_glob_and_agrees(demo_log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    replay(load_settings(DEMO), demo_log, out)
    for table, schema in TABLES.items():
        glob = str(out / table / "**" / "*.parquet")
        by_polars = pl.read_parquet(glob, hive_partitioning=False)
        assert by_polars.schema == pl.Schema(in_files(table))
        files = sorted((out / table).glob("date=*/*.parquet"))
        by_pandas = pd.concat([pd.read_parquet(file, partitioning=None) for file in files])
        assert list(by_pandas.columns) == list(schema)
        by_folder = pd.read_parquet(out / table)
        assert len(by_folder) == len(by_pandas) == by_polars.height
        relation = duckdb.read_parquet(glob, hive_partitioning=False)
        assert relation.columns == list(schema)
        for column, dtype in schema.items():
            if isinstance(dtype, pl.Decimal):
                total = by_polars[column].sum() if by_polars[column].null_count() < by_polars.height else None
                in_duckdb = relation.sum(column).fetchall()
                in_pandas = sum((value for value in by_pandas[column] if value is not None), start=0)
                assert in_duckdb == [(total,)]
                assert in_pandas == (total or 0)


def test_amounts_and_values_are_conserved_on_disk(demo_log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    replay(load_settings(DEMO), demo_log, out)
    credits_, lost = published(out, "credits"), published(out, "unattributed")
    by_outcome = pl.concat([credits_.select("outcome_id", "amount"), lost.select("outcome_id", "amount")])
    split = by_outcome.group_by("outcome_id").agg(pl.col("amount").sum())
    outcomes = published(out, "outcomes")
    base = outcomes.filter((pl.col("kind") == "conversion") & (pl.col("currency") == "USD"))
    taken = outcomes.filter(kind="reversal").select(pl.col("reverses"))
    whole = base.join(taken, left_on="event_id", right_on="reverses", how="anti")
    compared = whole.select("event_id", pl.col("amount").alias("own")).join(
        split, left_on="event_id", right_on="outcome_id", how="left"
    )
    assert compared.height > 0
    assert compared.filter(pl.col("own") != pl.col("amount")).height == 0


def test_commit_counts_sum_per_topic(demo_log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    replay(load_settings(DEMO), demo_log, out)
    commits = published(out, "commits")
    parts = pl.col("accepted") + pl.col("duplicates") + pl.col("dead_letters") + pl.col("ignored")
    assert commits.filter(pl.col("read") != parts).height == 0
    lines = {topic: len(lines_of(demo_log, topic)) for topic in TOPICS}
    assert dict(commits.select("source_topic", "read").iter_rows()) == lines


def test_replay_to_a_time_is_a_replay_of_the_events_before_it(demo_log: Path, tmp_path: Path) -> None:
    settings = load_settings(DEMO)
    runner = CliRunner()
    to = "2026-03-26T00:00:00Z"
    command = ["replay", str(DEMO), "--log", str(demo_log), "--out", str(tmp_path / "a"), "--to", to]
    assert runner.invoke(main, command).exit_code == 0
    early = tmp_path / "log"
    for topic in TOPICS:
        (early / topic).mkdir(parents=True)
        kept = [line for line in lines_of(demo_log, topic) if not _is_at_or_after(line, to)]
        (early / topic / "0.jsonl").write_bytes(b"\n".join(kept))
    manifest = replay(settings, early, tmp_path / "b")
    for table in ("credits", "unattributed", "attributed"):
        assert rows(tmp_path / "a", table) == rows(tmp_path / "b", table)
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["watermark"] == manifest["watermark"]


def _is_at_or_after(line: bytes, moment: str) -> bool:
    try:
        time = json.loads(line)["event_time"]
        own = datetime.fromtimestamp(time / 1000, UTC) if isinstance(time, int) else datetime.fromisoformat(time)
        return own >= datetime.fromisoformat(moment)
    except (ValueError, KeyError, TypeError):
        return False


def test_a_replay_that_fails_publishes_nothing(demo_log: Path, tmp_path: Path) -> None:
    broken = tmp_path / "log"
    for topic in TOPICS:
        (broken / topic).mkdir(parents=True)
    (broken / "inferences" / "0.jsonl.gz").write_bytes(
        gzip.compress(b"".join(lines_of(demo_log, "inferences")))[:-2000]
    )
    with pytest.raises(UnavailableError, match=r"0\.jsonl\.gz"):
        replay(load_settings(DEMO), broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_holds_files_is_refused_and_left_alone(demo_log: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(ConfigurationError, match="new or empty folder"):
        replay(load_settings(DEMO), demo_log, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_log_publishes_every_table_without_rows(tmp_path: Path) -> None:
    for topic in TOPICS:
        (tmp_path / "log" / topic).mkdir(parents=True)
    manifest = replay(load_settings(DEMO), tmp_path / "log", tmp_path / "out")
    assert manifest["watermark"] is None
    for table in TABLES:
        height = 1 if table == "commits" else 0
        assert published(tmp_path / "out", table).height == height, table


def test_inferences_older_than_every_rule_are_warned_about(demo_log: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    text = (DEMO.parent / "rules" / "code_assistant.toml").read_text()
    rules.write_text(text.replace("effective_from = 20", "effective_from = 21"))
    settings = load_settings(DEMO).model_copy(update={"rules": rules})
    said: list[str] = []
    replay(settings, demo_log, tmp_path / "out", notify=said.append)
    assert any("code_assistant" in line and "older than every rule" in line for line in said)
