"""What a run refuses, each with one message and an exit code, and nothing lost by it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.live.commit_log import commits_folder

RULE = """use_case = "reco"

[[rule]]
effective_from = 2026-01-01T00:00:00Z
kind = "conversion"
type = "purchase"
lookback_window = "7d"
credit = "last"
margin = "0.5"
"""
#: Starts at the newest inference time read, not after it.
SECOND = RULE.partition("\n\n")[2].replace("2026-01-01", "2026-03-02")
PIPELINE = """base_currency = "USD"
rules = "rules"
fx = "fx.csv"
[input]
source = "files"
path = "log"
[[input.topic]]
name = "inferences"
kind = "inference"
[[input.topic]]
name = "conversions"
kind = "conversion"
[time]
allowed_lateness = "1d"
reversal_window = "30d"
[output]
path = "out"
[state]
path = "state"
"""
INFERENCE = '{"inference_id":"i1","event_time":"2026-03-02T00:00:00Z","use_case":"reco","model":"m"}\n'
SALE = (
    '{"event_id":"o1","event_time":"2026-03-03T00:00:00Z","type":"purchase","amount":"10","currency":"EUR",'
    '"inference_id":"i1"}\n'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pipeline that has run to its end once."""
    for topic, line in (("inferences", INFERENCE), ("conversions", SALE)):
        (tmp_path / "log" / topic).mkdir(parents=True)
        (tmp_path / "log" / topic / "1.jsonl").write_text(line)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "reco.toml").write_text(RULE)
    (tmp_path / "fx.csv").write_text("date,currency,rate\n2026-03-01,EUR,1.1\n")
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    run(tmp_path, code=0)
    return tmp_path


def run(folder: Path, *, code: int) -> str:
    result = CliRunner().invoke(main, ["run", str(folder / "pipeline.toml"), "--until-end"])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stderr


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('base_currency = "USD"', 'base_currency = "CHF"', "base_currency"),
        ('allowed_lateness = "1d"', 'allowed_lateness = "2d"', "time.allowed_lateness"),
        ('reversal_window = "30d"', 'reversal_window = "31d"', "time.reversal_window"),
        ('fx = "fx.csv"', 'fx = "fx.csv"\nfx_max_age = "9d"', "fx_max_age"),
        ('kind = "conversion"', 'kind = "time_saved"', "input.topic conversions"),
        ('name = "conversions"', 'name = "inferences2"', "input.topic conversions"),
    ],
)
def test_settings_that_figures_depend_on_are_held(old: str, new: str, key: str, folder: Path) -> None:
    edit(folder / "pipeline.toml", old, new)
    (folder / "log" / "inferences2").mkdir()
    message = run(folder, code=2)
    assert f"{key}: expected" in message
    assert "replay --state" in message
    edit(folder / "pipeline.toml", new, old)
    run(folder, code=0)


def test_a_topic_may_be_added(folder: Path) -> None:
    edit(folder / "pipeline.toml", "[time]", '[[input.topic]]\nname = "reversals"\nkind = "reversal"\n[time]')
    (folder / "log" / "reversals").mkdir()
    run(folder, code=0)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('margin = "0.5"', 'margin = "0.6"', "is not what it was"),
        ('type = "purchase"', 'type = "order"', "was in use and is gone"),
        ('margin = "0.5"', f'margin = "0.5"\n{SECOND}', "expected a time after 2026-03-02T00:00:00Z"),
    ],
)
def test_rules_in_use_never_change(old: str, new: str, said: str, folder: Path) -> None:
    edit(folder / "rules" / "reco.toml", old, new)
    message = run(folder, code=2)
    assert said in message
    assert "2026-03-02T00:00:00Z" in message
    assert "replay --state" in message


def test_a_rule_that_starts_later_may_be_added_and_comments_may_change(folder: Path) -> None:
    later = RULE.partition("\n")[2].replace("2026-01-01T00:00:00Z", "2026-03-02T00:00:01Z").replace("0.5", "0.7")
    (folder / "rules" / "reco.toml").write_text(f"# a comment\n{RULE}{later}")
    run(folder, code=0)


def test_tables_of_another_state_are_not_written_to(folder: Path) -> None:
    shutil.rmtree(folder / "state")
    assert "expected a new or empty folder" in run(folder, code=2)
    assert not (folder / "state").exists()


def test_an_older_state_than_the_tables_is_refused(folder: Path) -> None:
    shutil.copytree(folder / "state", folder / "older")
    (folder / "log" / "conversions" / "2.jsonl").write_text(SALE.replace("o1", "o2"))
    run(folder, code=0)
    shutil.rmtree(folder / "state")
    (folder / "older").rename(folder / "state")
    assert "the newest commit is 1" in run(folder, code=3)


def test_a_state_of_a_newer_version_is_named(folder: Path) -> None:
    import hashlib

    commits = commits_folder(folder / "state")
    assert commits is not None
    [path] = commits.glob("*.json")
    content, _, _ = path.read_bytes().partition(b"\n")
    newer = content.replace(b'"format":1', b'"format":2').replace(b'"code_version":"1.0.0"', b'"code_version":"9.1.0"')
    path.write_bytes(newer + b"\n" + hashlib.sha256(newer).hexdigest().encode() + b"\n")
    message = run(folder, code=3)
    assert "written by version 9.1.0" in message
    assert "replay --state" in message


def test_rates_that_are_wrong_stop_a_start(folder: Path) -> None:
    (folder / "fx.csv").write_text("date,currency,rate\n2026-03-01,EUR,-1\n")
    assert "fx.csv: line 2: rate" in run(folder, code=2)


def test_the_journal_of_a_run_is_json_with_one_line_a_commit(folder: Path) -> None:
    (folder / "log" / "conversions" / "2.jsonl").write_text(SALE.replace("o1", "o2"))
    lines = [json.loads(line) for line in run(folder, code=0).splitlines()]
    assert [line["event"] for line in lines] == ["start", "commit", "stop"]
    start, commit, stop = lines
    assert start["commit_id"] == 1
    assert commit["read"] == commit["accepted"] == 1
    assert stop["commit_id"] == commit["commit_id"] == 2
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["at"]) for line in lines)
