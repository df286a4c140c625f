"""Sixty days of events with short windows, run in many starts: live ends where a replay does, and forgets the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from streams.live.commit import decode_commit
from streams.live.commit_log import read_newest
from streams.live.families import FAMILIES, FOREVER_US, INFERENCES, OUTCOMES, REVERSALS, SUMS, TOUCHES, WAITS, WANTS
from streams.live.state import State
from streams.replay import replay
from streams.runner import run
from streams.settings import load_settings
from tests.live_runs import net

DAYS, DAYS_PER_START = 60, 5
START = datetime(2026, 3, 1, tzinfo=UTC)
LOOKBACK, LATENESS, REVERSALS_FOR = timedelta(days=1), timedelta(hours=6), timedelta(days=3)
TOPICS = {"inferences": "inference", "conversions": "conversion", "time_saved": "time_saved", "reversals": "reversal"}
RULES = """use_case = "reco"
[[rule]]
effective_from = 2026-01-01T00:00:00Z
kind = "conversion"
type = "*"
join = "trace"
max_touches = 50
lookback_window = "1d"
early_tolerance = "2h"
credit = "linear"
margin = "0.3"
[[rule]]
effective_from = 2026-01-01T00:00:00Z
kind = "time_saved"
type = "*"
lookback_window = "12h"
credit = "last"
[rule.hourly_rate]
"*" = "36.00"
"""
Timed = tuple[datetime, str, dict[str, Any]]


def events() -> list[Timed]:
    """(time, topic, event) in order of time.

    Outcomes come up to a day after their inferences, some before them; refunds up to three days after their outcomes,
    when the inference has long settled.
    """
    rng = Random(20)
    found: list[Timed] = []
    for number in range(DAYS * 30):
        at = START + timedelta(seconds=rng.randrange(DAYS * 86_400))
        trace = {"trace_id": f"t{number // 4}"} if rng.random() < 0.3 else {}
        found.append((at, "inferences", {"inference_id": f"i{number}", "use_case": "reco", "model": "m", **trace}))
        if rng.random() < 0.5:
            found += _outcome(rng, number, at, trace)
    return sorted((event for event in found if event[0] < START + timedelta(days=DAYS)), key=lambda event: event[0])


def _outcome(rng: Random, number: int, at: datetime, trace: dict[str, str]) -> Iterator[Timed]:
    when = at + timedelta(seconds=rng.randrange(-7_200, 86_400))
    named = trace if trace and rng.random() < 0.5 else {"inference_ids": [f"i{number}", f"i{max(number - 1, 0)}"]}
    if rng.random() < 0.3 and "trace_id" not in named:
        yield when, "time_saved", {"event_id": f"o{number}", "type": "draft", "seconds": rng.randrange(900), **named}
        return
    yield when, "conversions", {"event_id": f"o{number}", "type": "p", "amount": "9.99", "currency": "USD", **named}
    if rng.random() < 0.4:
        refund = {"event_id": f"r{number}", "reverses": f"o{number}", "amount": "3.33"}
        yield when + timedelta(seconds=rng.randrange(3 * 86_400)), "reversals", refund


def write_pipeline(folder: Path) -> Path:
    topics = "".join(f'[[input.topic]]\nname = "{name}"\nkind = "{kind}"\n' for name, kind in TOPICS.items())
    (folder / "rules.toml").write_text(RULES)
    (folder / "pipeline.toml").write_text(
        f'base_currency = "USD"\nrules = "rules.toml"\n[input]\nsource = "files"\npath = "log"\n{topics}'
        '[time]\nallowed_lateness = "6h"\nreversal_window = "3d"\n[output]\npath = "out"\n[state]\npath = "state"\n'
    )
    for topic in TOPICS:
        (folder / "log" / topic).mkdir(parents=True)
    return folder / "pipeline.toml"


def write_days(folder: Path, chosen: list[Timed], name: str) -> None:
    """A file per topic; within an hour, less than the lateness, events come in any order."""
    rng = Random(name)
    for topic in TOPICS:
        of_topic = [event for event in chosen if event[1] == topic]
        of_topic.sort(key=lambda event: event[0] + timedelta(seconds=rng.randrange(3_600)))
        lines = [json.dumps({"event_time": at.isoformat(), **event}) + "\n" for at, _, event in of_topic]
        (folder / "log" / topic / f"{name}.jsonl").write_text("".join(lines))


def test_sixty_days_in_twelve_starts_end_where_a_replay_ends_and_leave_only_what_must_be(tmp_path: Path) -> None:
    settings = load_settings(write_pipeline(tmp_path))
    log = events()
    for first in range(0, DAYS, DAYS_PER_START):
        since, until = START + timedelta(days=first), START + timedelta(days=first + DAYS_PER_START)
        write_days(tmp_path, [event for event in log if since <= event[0] < until], f"{first:02d}")
        run(settings, until_end=True, batch_records=150)
    replay(settings, tmp_path / "log", tmp_path / "replayed")
    for table in ("credits", "unattributed"):
        assert net(tmp_path / "out", table) == net(tmp_path / "replayed", table)
    settled = [row for row in net(tmp_path / "replayed", "attributed") if row["settled"]]
    assert net(tmp_path / "out", "attributed") == settled
    assert any(row["reversed_value"] < 0 for row in settled)
    check_what_is_left(tmp_path, log)


def check_what_is_left(folder: Path, log: list[Timed]) -> None:
    found = read_newest(folder / "state")
    assert found is not None
    commit = decode_commit(found[1], folder)
    assert commit.watermark_us is not None
    watermark = datetime.fromtimestamp(commit.watermark_us / 1e6, UTC)
    assert watermark == log[-1][0]
    state = State(folder / "state" / "segments", commit.segments, watermark_us=commit.watermark_us)
    times = {str(event.get("event_id") or event.get("inference_id")): at for at, _, event in log}
    inferences = {id_ for id_, at in times.items() if id_[0] == "i" and at + LOOKBACK + LATENESS >= watermark}
    outcomes = {id_ for id_, at in times.items() if id_[0] == "o" and at + REVERSALS_FOR + LATENESS >= watermark}
    reversals = {id_ for id_ in times if id_[0] == "r" and f"o{id_[1:]}" in outcomes}
    for family, column, expected in (
        (INFERENCES, "inference_id", inferences),
        (OUTCOMES, "event_id", outcomes),
        (REVERSALS, "event_id", reversals),
    ):
        assert set(state.expiring(family, None, [column])[column]) == expected
    assert state.families[WAITS.name].count(commit.watermark_us) <= len(outcomes)
    for family in (TOUCHES, WANTS, SUMS, WAITS):
        assert state.families[family.name].count(commit.watermark_us) < 10 * len(outcomes)
    # On disk, too: no segment is left whose rows have all been passed.
    for name in FAMILIES:
        for file in commit.segments.get(name, []):
            assert file.max_expiry_us >= commit.watermark_us
            assert file.max_expiry_us < FOREVER_US or file.min_expiry_us == FOREVER_US
    listed = {file.name for files in commit.segments.values() for file in files}
    assert {path.name for path in (folder / "state" / "segments").iterdir()} == listed
