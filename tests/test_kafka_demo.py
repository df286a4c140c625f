"""The README's way through Kafka, as typed there: the same answer as from the files."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.demo_events import write_events
from tests.broker import Broker
from tests.conformance_compare import published_rows
from tests.pages import ROOT, blocks, section

ADDRESS = "127.0.0.1:9092"
OUT = Path("kafka-demo/out")


def attribution(line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == ".venv/bin/attribution"
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output


def typed() -> list[str]:
    """The README's commands."""
    [block] = blocks(section("README.md", "With Kafka"))
    return block.text.splitlines()


def standing(out: Path, table: str) -> pl.DataFrame:
    """A ledger's net rows, whichever commit they are of."""
    rows = pl.DataFrame(published_rows(out, table), infer_schema_length=None)
    return rows.drop("commit_id", "sign", strict=False)


def test_the_demos_events_give_the_same_by_way_of_kafka_as_from_files(
    broker_of_its_own: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "configs", "configs")
    pipeline = Path("configs/kafka.toml")
    assert ADDRESS in pipeline.read_text()
    pipeline.write_text(pipeline.read_text().replace(ADDRESS, broker_of_its_own.bootstrap))
    counts = write_events(tmp_path)

    start, *lines = typed()
    assert start == f"make kafka PORT={ADDRESS.rpartition(':')[2]}"
    for line in lines:
        attribution(line.replace(ADDRESS, broker_of_its_own.bootstrap))

    attribution(".venv/bin/attribution replay configs/demo.toml --log demo/events --out demo/replayed")
    replayed = Path("demo/replayed")
    for table in ("credits", "unattributed"):
        expected = standing(replayed, table)
        assert expected.height > 1_000
        found = standing(OUT, table)
        assert sorted(found.select(expected.columns).rows(), key=str) == sorted(expected.rows(), key=str)
    read = {row["source_topic"]: row["read"] for row in published_rows(OUT, "commits")}
    assert read == counts
    reasons = [published_rows(out, "dead_letters") for out in (OUT, replayed)]
    assert len({tuple(sorted(row["reason"] for row in rows)) for rows in reasons}) == 1
