"""Scores from files to files: kept once, kept as long as an outcome, audited; a pipeline without them has none."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from schemas.errors import ConfigurationError
from schemas.outputs import in_files
from streams.cli import main
from streams.live.sizes import SCORE_BYTES
from streams.replay import replay
from streams.runner import run
from streams.settings import load_settings
from tests.case_rules import UNIT
from tests.cases import SCORED_TOPICS
from tests.live_cases import inference, random_log, recut, reversal, sale, score
from tests.live_files import write_pipeline, write_topics
from tests.live_runs import net
from tests.test_live_engine import check
from tests.test_live_reference import Feed, check_against_the_judge

RULE = """use_case = "reco"
[[rule]]
effective_from = 2026-01-01T00:00:00Z
kind = "conversion"
type = "*"
lookback_window = "1h"
credit = "last"
"""
TOPICS = {"inferences": "inference", "conversions": "conversion", "scores": "score"}
#: Ids of scores are kept for so long: reversal_window and allowed_lateness, an hour each.
KEPT_HOURS = 2


class Pipeline:
    """A pipeline over event files that come one by one, each of one record."""

    def __init__(self, folder: Path, *, topics: dict[str, str] | None = None, more: str = "") -> None:
        self.folder = folder
        topics = TOPICS if topics is None else topics
        sections = "".join(f'[[input.topic]]\nname = "{name}"\nkind = "{kind}"\n' for name, kind in topics.items())
        (folder / "rules.toml").write_text(RULE)
        (folder / "pipeline.toml").write_text(
            f'base_currency = "USD"\nrules = "rules.toml"\n[input]\nsource = "files"\npath = "log"\n{sections}'
            '[time]\nallowed_lateness = "1h"\nreversal_window = "1h"\nmax_future_skew = "36500d"\n'
            f'[output]\npath = "out"\n[state]\npath = "state"\n{more}'
        )
        for name in topics:
            (folder / "log" / name).mkdir(parents=True)
        self.files = 0

    def score(self, name: str, time: str, **more: Any) -> None:
        self._write("scores", {"event_id": name, "event_time": time, "name": "tone", "score": 1} | more)

    def inference(self, name: str, time: str) -> None:
        self._write("inferences", {"inference_id": name, "event_time": time, "use_case": "reco", "model": "m"})

    def _write(self, topic: str, event: dict[str, Any]) -> None:
        self.files += 1
        named = {"inference_id": "i1"} if topic == "scores" and not {"inference_ids", "trace_id"} & set(event) else {}
        text = json.dumps(named | event) + "\n"
        (self.folder / "log" / topic / f"{self.files:03d}.jsonl").write_text(text)

    def run(self, **more: Any) -> None:
        run(load_settings(self.folder / "pipeline.toml"), until_end=True, **more)

    def table(self, name: str) -> pl.DataFrame:
        return read(self.folder / "out", name)

    def audit(self, *, code: int) -> dict[str, Any]:
        return audited(self.folder, code=code)


def read(out: Path, table: str) -> pl.DataFrame:
    return pl.read_parquet(out / table / "**" / "*.parquet", hive_partitioning=False)


def audited(folder: Path, *, code: int) -> dict[str, Any]:
    command = ["audit", str(folder / "pipeline.toml"), "--log", str(folder / "log"), "--against", str(folder / "out")]
    result = CliRunner().invoke(main, [*command, "--format", "json"])
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


# --- what is published ---


@pytest.mark.parametrize("with_topic", [False, True])
def test_without_scores_there_is_one_file_without_rows(tmp_path: Path, *, with_topic: bool) -> None:
    topics = {name: kind for name, kind in TOPICS.items() if with_topic or kind != "score"}
    pipeline = Pipeline(tmp_path, topics=topics)
    pipeline.inference("i1", "2026-03-02T00:00:00Z")
    pipeline.run()
    replay(load_settings(tmp_path / "pipeline.toml"), tmp_path / "log", tmp_path / "replayed")
    for out in (tmp_path / "out", tmp_path / "replayed"):
        [file] = (out / "scores").glob("*/*.parquet")
        assert file.parent.name == "date=1970-01-01"
        rows = pl.read_parquet(file, hive_partitioning=False)
        assert (rows.height, dict(rows.schema)) == (0, in_files("scores"))
    assert list((tmp_path / "state" / "segments").glob("*-scores.arrow")) == []


def test_a_score_lies_under_its_own_date_with_where_and_when_it_was_read(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.run()
    pipeline.score("s1", "2026-03-02T23:59:59.999999Z", score=-0.25, attributes={"judge": "m"})
    pipeline.score("s2", "2026-03-03T00:00:00Z", trace_id="job-1")
    pipeline.run()
    days = {file.parent.name: read_one(file) for file in (tmp_path / "out" / "scores").glob("*/*.parquet")}
    assert {day: rows["event_id"].to_list() for day, rows in days.items()} == {
        "date=1970-01-01": [],
        "date=2026-03-02": ["s1"],
        "date=2026-03-03": ["s2"],
    }
    [row] = days["date=2026-03-02"].drop("event_time").to_dicts()
    assert row == {
        "event_id": "s1",
        "name": "tone",
        "score": Decimal("-0.25"),
        "inference_ids": ["i1"],
        "trace_id": None,
        "attributes": '{"judge":"m"}',
        "source_topic": "scores",
        "source_partition": 0,
        "source_offset": 0,
        "source_file": "001.jsonl",
        "commit_id": 2,
    }
    assert pipeline.audit(code=0)["result"] == "identical"


def read_one(file: Path) -> pl.DataFrame:
    return pl.read_parquet(file, hive_partitioning=False)


# --- how long it is kept ---


@pytest.mark.parametrize(("us", "is_kept"), [(-1, True), (0, True), (1, False)])
def test_an_id_is_kept_for_the_reversal_window_and_the_lateness(us: int, tmp_path: Path, *, is_kept: bool) -> None:
    """The watermark moves to the end of what is kept, beside it by a microsecond, or past it."""
    pipeline = Pipeline(tmp_path)
    pipeline.score("s1", "2026-03-02T00:00:00Z")
    pipeline.score("s2", "2026-03-02T00:00:00Z")
    pipeline.run()
    times = {-1: "01:59:59.999999", 0: "02:00:00", 1: "02:00:00.000001"}
    pipeline.inference("i1", f"2026-03-02T{times[us]}Z")
    pipeline.run()
    # A copy in time in its own partition; and another score of an id that was there.
    pipeline.score("s1", "2026-03-02T00:00:00Z")
    pipeline.score("s2", "2026-03-02T02:00:00Z", score=2)
    pipeline.run()
    counts = pipeline.table("commits").filter(source_topic="scores")
    reasons = pipeline.table("dead_letters")["reason"].to_list()
    assert reasons == (["conflicting_duplicate"] if is_kept else ["too_late"])
    assert counts["duplicates"].sum() == (1 if is_kept else 0)
    scores = pipeline.table("scores").sort("commit_id", "event_id")
    assert scores["event_id"].to_list() == (["s1", "s2"] if is_kept else ["s1", "s2", "s2"])
    # Forgotten as the contract says: no difference that wants an explanation.
    found = pipeline.audit(code=0)
    assert (found["result"], found["missing_events"]) == ("identical", [])
    assert found["late"] == {"too_late": 0 if is_kept else 1, "copies": 0 if is_kept else 1}


def test_what_is_behind_its_own_partition_by_more_than_the_lateness_is_too_late(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.score("new", "2026-03-02T05:00:00Z")
    pipeline.score("exactly", "2026-03-02T04:00:00Z")
    pipeline.score("more", "2026-03-02T03:59:59.999999Z")
    pipeline.run()
    assert sorted(pipeline.table("scores")["event_id"]) == ["exactly", "new"]
    assert pipeline.table("dead_letters").select("reason", "source_file").rows() == [("too_late", "003.jsonl")]
    assert pipeline.audit(code=0)["late"] == {"too_late": 1, "copies": 0}


def test_a_topic_of_scores_may_be_added_to_a_state_and_holds_the_watermark_like_any_other(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, topics={"inferences": "inference"})
    pipeline.inference("i1", "2026-03-02T00:00:00Z")
    pipeline.run()
    text = (tmp_path / "pipeline.toml").read_text()
    added = '[[input.topic]]\nname = "scores"\nkind = "score"\n[time]'
    (tmp_path / "pipeline.toml").write_text(text.replace("[time]", added))
    (tmp_path / "log" / "scores").mkdir()
    pipeline.score("s1", "2026-03-02T00:30:00Z")
    pipeline.run()
    assert pipeline.table("scores")["event_id"].to_list() == ["s1"]
    assert pipeline.table("commits")["watermark"].max() == pl.Series(["2026-03-02T00:30:00Z"]).str.to_datetime()[0]
    assert pipeline.audit(code=0)["result"] == "identical"


def test_merges_of_state_keep_every_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.live.merging._FAN_IN", 2)
    check(random_log(300, scores=True), tmp_path, restart=True)


def test_the_size_of_kept_scores_is_predicted(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    for number in range(8):
        pipeline.score(f"s{number}", f"2026-03-02T0{number}:00:00Z")
    pipeline.run()
    told: list[dict[str, object]] = []

    def journal(event: str, *, level: str = "info", **fields: object) -> None:
        told.append({"event": event, "level": level} | fields)

    pipeline.run(log=journal)
    assert told[0]["event"] == "start"
    assert told[0]["predicted_outcome_bytes"] == 8 * SCORE_BYTES * KEPT_HOURS // 7
    assert (told[0]["kept_outcomes"], told[0]["predicted_inference_bytes"]) == (0, 0)


def test_what_a_score_must_have_cannot_be_dropped(tmp_path: Path) -> None:
    Pipeline(tmp_path, more='[archive]\npath = "archive"\ndrop = ["name"]\n')
    with pytest.raises(ConfigurationError, match="fields that score events can do without, got name"):
        load_settings(tmp_path / "pipeline.toml")


# --- the judge of the live engine ---


def test_scores_are_kept_once_and_change_no_figure_whatever_the_batches() -> None:
    kept_count = 0
    for seed in range(25):
        log = random_log(seed, late=0.1, scores=True)
        kept_count += len(check_against_the_judge(recut(log, seed)).scores)
    assert kept_count > 300


def test_a_score_is_kept_as_long_as_an_outcome() -> None:
    others = "conversions time_saved reversals scores"
    for us, late, left in ((0, [], {"s", "o"}), (1, ["o"], set())):
        feed = Feed(topics=SCORED_TOPICS)
        feed.commit(score("s", 0))
        result = feed.commit(inference("a", 49, us), idle=others)
        assert [name for _, name, _ in feed.commit(score("o", 0), idle="").too_late] == late
        assert feed.commit(idle="").left["scores"] == left
        assert [row["event_id"] for row in result.scores] == ["s"]


def test_of_scores_copies_count_once_and_their_ids_are_their_own() -> None:
    feed = Feed(topics=SCORED_TOPICS)
    feed.commit(inference("a", 0), sale("x", 1, ids=["a"]), reversal("x", 2, 0, "x"), score("x", 1))
    result = feed.commit(score("x", 1, inference_ids=["a", "a"]), score("x", 1, score=2 * UNIT))
    assert result.duplicates == 1
    assert result.conflicting == [("score", "x", ("scores", 0, None, 2))]
    assert [(row["event_id"], row["score"]) for row in result.scores] == [("x", UNIT)]


# --- replay and audit ---


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """A random log with scores, run to its end."""
    log = random_log(0, changing_rates=False, scores=True)
    write_pipeline(log, tmp_path)
    write_topics(log, tmp_path)
    run(load_settings(tmp_path / "pipeline.toml"), until_end=True, batch_records=20)
    return tmp_path


def test_run_replay_and_replay_in_parts_publish_the_same_scores(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.replay.parts_needed", lambda *_: 3)
    settings = load_settings(scored / "pipeline.toml")
    manifest = replay(settings, scored / "log", scored / "replayed")
    in_parts = replay(settings, scored / "log", scored / "in-parts", memory_bytes=1)
    ran = net(scored / "out", "scores")
    assert len(ran) > 10
    assert net(scored / "replayed", "scores") == net(scored / "in-parts", "scores") == ran
    assert manifest["tables"]["scores"] == in_parts["tables"]["scores"] == {"rows": len(ran)}
    assert manifest["tables"]["credits"] == in_parts["tables"]["credits"]
    for out in ("replayed", "in-parts"):
        counts = read(scored / out, "commits").filter(source_topic="scores")
        assert counts["accepted"].to_list() == [len(ran)]
        assert counts["duplicates"].sum() > 0


def test_scores_change_no_other_table(scored: Path, tmp_path: Path) -> None:
    text = (scored / "pipeline.toml").read_text()
    without = tmp_path / "without.toml"
    without.write_text(text.replace('[[input.topic]]\nname = "scores"\nkind = "score"\n', ""))
    replay(load_settings(scored / "pipeline.toml"), scored / "log", scored / "with")
    replay(load_settings(without), scored / "log", scored / "without")
    for table in ("inferences", "outcomes", "credits", "unattributed"):
        one, other = (read(scored / out, table).rows() for out in ("with", "without"))
        assert sorted(one, key=repr) == sorted(other, key=repr), table


def test_an_audit_of_scores_is_identical_and_their_counts_sum(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for memory in (1 << 40, 1):
        monkeypatch.setattr("streams.audit.command.usable_memory", lambda memory=memory: memory)
        found = audited(scored, code=0)
        assert found["result"] == "identical"
        assert found["rows"]["scores"] == len(net(scored / "out", "scores"))
        [counts] = [row for row in found["counts"] if row["source_topic"] == "scores"]
        assert counts["sums"]
        assert counts["accepted"] == counts["accepted_rows"] == found["rows"]["scores"]


def scores_file(folder: Path) -> Path:
    """A published file of scores that holds several rows."""
    return max((folder / "out" / "scores").glob("*/*.parquet"), key=lambda file: read_one(file).height)


def test_an_edited_score_is_found_by_its_id(scored: Path) -> None:
    file = scores_file(scored)
    rows = read_one(file)
    is_first = pl.int_range(pl.len()) == 0
    edited = rows.with_columns(pl.when(is_first).then(pl.lit("praise")).otherwise("name").alias("name"))
    edited.write_parquet(file)
    found = audited(scored, code=1)
    event_id = rows["event_id"][0]
    assert found["missing_events"] == [
        {"kind": "score", "id": event_id, "where": "published only"},
        {"kind": "score", "id": event_id, "where": "replay only"},
    ]
    assert [problem["problem"] for problem in found["files"]] == ["altered"]
    assert found["different"] == {}


def test_a_lost_file_of_scores_is_found_with_what_was_in_it(scored: Path) -> None:
    file = scores_file(scored)
    letters = read(scored / "out", "dead_letters").filter(source_topic="scores")
    refused = {json.loads(record)["event_id"] for record in letters["record_value"]}
    # Where a record of that id was refused, either side may have another one.
    lost = set(read_one(file)["event_id"]) - refused
    file.unlink()
    found = audited(scored, code=1)
    missing = [row for row in found["missing_events"] if row["kind"] == "score"]
    assert missing == [{"kind": "score", "id": name, "where": "replay only"} for name in sorted(lost)]
    assert len(lost) > 1
    assert [row["source_topic"] for row in found["counts"] if not row["sums"]] == ["scores"]


def test_a_score_accepted_twice_while_it_was_kept_is_found(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.score("s1", "2026-03-02T00:00:00Z")
    pipeline.run()
    [file] = [file for file in (tmp_path / "out" / "scores").glob("*/*.parquet") if read_one(file).height]
    rows = read_one(file)
    pl.concat([rows, rows.with_columns(pl.col("source_offset") + 1)]).write_parquet(file)
    found = pipeline.audit(code=1)
    assert {"kind": "score", "id": "s1", "where": "accepted twice"} in found["missing_events"]
