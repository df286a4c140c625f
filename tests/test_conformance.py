"""One suite of cases for every engine: what a reader finds on disk is what was worked out by hand.

The cases are the files of ``conformance/``; ``conformance_format`` says how to read them, ``conformance_compare`` how
they are held against what an engine publishes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from schemas.reasons import Refusal, Unattributed
from streams.live.steps import observers
from streams.replay import replay
from streams.runner import run
from streams.settings import load_settings
from tests.conformance_compare import compare, compare_published, compare_reference, published_rows
from tests.conformance_format import (
    TOPICS,
    ConformanceCase,
    Record,
    duration_us,
    parse_case,
    reference_case,
    write_files,
)
from tests.published import credit, publish
from tests.reference import attribute

#: Publishes under ``out`` what the pipeline makes of ``log``.
Engine = Callable[[Path, Path, Path], None]


def _replay(pipeline: Path, log: Path, out: Path) -> None:
    replay(load_settings(pipeline), log, out)


def _run(pipeline: Path, log: Path, out: Path, batch_records: int) -> None:
    settings = load_settings(pipeline)
    source = settings.input.model_copy(update={"path": log})
    output = settings.output.model_copy(update={"path": out})
    state = settings.state.model_copy(update={"path": out.with_name(f"{out.name}-state")})
    moved = settings.model_copy(update={"input": source, "output": output, "state": state})
    run(moved, until_end=True, batch_records=batch_records)


class _Restart(Exception):  # noqa: N818 - no error: a way out
    """Stops a run after a commit."""


def _run_with_restarts(pipeline: Path, log: Path, out: Path) -> None:
    """As ``_run``, started anew after every commit, until a start finds nothing new."""

    def stop(step: str) -> None:
        if step == "commit.clean":
            raise _Restart

    observers.append(stop)
    try:
        while True:
            with suppress(_Restart):
                return _run(pipeline, log, out, batch_records=7)
    finally:
        observers.remove(stop)


def _replay_of_archive(pipeline: Path, log: Path, out: Path) -> None:
    """What a live engine kept of the log, replayed."""
    with pipeline.open("a") as file:
        file.write('[archive]\npath = "archive"\n')
    _run(pipeline, log, out.with_name("live"), batch_records=7)
    replay(load_settings(pipeline), pipeline.parent / "archive", out)


ENGINES: dict[str, Engine] = {
    "replay": _replay,
    "run": partial(_run, batch_records=1_000_000),
    "run-by-7": partial(_run, batch_records=7),
    "run-by-1": partial(_run, batch_records=1),
    "run-restarted": _run_with_restarts,
    "replay-of-archive": _replay_of_archive,
}
#: Engines that take 10,000 records at once.
WHOLE = ("replay", "run")

FILES = sorted((Path(__file__).parent / "conformance").glob("*.case"))
CASES = {file.stem: parse_case(file.read_text(encoding="utf-8")) for file in FILES}
ORDER_FREE = [name for name, case in CASES.items() if case.is_order_free]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_an_engine_publishes_what_was_worked_out_by_hand(name: str, engine: str, tmp_path: Path) -> None:
    check(CASES[name], engine, tmp_path)


def check(case: ConformanceCase, engine: str, folder: Path) -> None:
    pipeline = write_files(case, folder)
    ENGINES[engine](pipeline, folder / "log", folder / "out")
    compare_published(case, folder / "out")


@pytest.mark.parametrize("name", CASES)
def test_the_reference_finds_what_was_worked_out_by_hand(name: str) -> None:
    compare_reference(CASES[name], attribute(**vars(reference_case(CASES[name]))))


@pytest.mark.parametrize("name", ORDER_FREE)
def test_records_read_backwards_and_twice_give_the_same_ledgers(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    pipeline = write_files(case, tmp_path, [*reversed(case.records), *case.records])
    ENGINES["replay"](pipeline, tmp_path / "log", tmp_path / "out")
    for table in ("scores", "credits", "unattributed", "attributed"):
        compare(case, table, published_rows(tmp_path / "out", table))


# --- the suite itself ---


def test_every_case_says_what_it_is() -> None:
    titles = [case.title for case in CASES.values()]
    assert len(set(titles)) == len(CASES)
    assert all(case.title and case.shows and case.records for case in CASES.values())


def test_every_reason_stands_in_a_case() -> None:
    def reasons(table: str) -> set[str]:
        return {row["reason"] for case in CASES.values() if table in case.expected for row in case.expected[table].rows}

    assert reasons("unattributed") == set(Unattributed)
    # Lateness is a property of a log that is read while it grows; a replay knows none.
    assert reasons("dead_letters") == set(Refusal) - {Refusal.TOO_LATE}


@pytest.mark.parametrize("name", CASES)
def test_no_event_of_a_case_comes_too_late_for_a_live_engine(name: str) -> None:
    case = reference_case(CASES[name])
    for topic in TOPICS:
        newest = 0
        for event in getattr(case, topic):
            assert event["event_time"] >= newest - duration_us(CASES[name].settings["allowed_lateness"])
            newest = max(newest, event["event_time"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# t\n[credit]\n", "no such section"),
        ("# t\n[credits]\nvalue  colour\n", "unknown columns colour"),
        ("# t\n[attributed]\ninference_id\n", "needs the column settled"),
        ("# t\n[settings]\nlateness 1d\n", "unknown settings: lateness"),
        ("# t\n[credits]\nvalue  amount\n1\n", r"\[credits\]"),
        ("# t\n2026-03-02 inference i1 reco\n", "stands in no section"),
    ],
)
def test_a_case_with_a_slip_in_it_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_case(text)


@pytest.mark.parametrize("wrong", ["o1  i1  30.000000001", "o1  i2  30", "o1  i1  30\no2  i1  0"])
def test_a_figure_or_a_row_that_differs_is_found(wrong: str, tmp_path: Path) -> None:
    text = (
        "# t\n[rules]\nreco conversion purchase from 2026-01-01 lookback_window=7d credit=last margin=0.30\n"
        "[events]\n2026-03-02 inference i1 reco\n2026-03-03 conversion o1 purchase 100 USD for i1\n"
        "[credits]\noutcome_id  inference_id  value\n"
    )
    check(parse_case(text + "o1  i1  30\n"), "replay", tmp_path / "right")
    with pytest.raises(AssertionError, match="credits"):
        check(parse_case(text + wrong + "\n"), "replay", tmp_path / "wrong")


def test_signed_rows_of_many_commits_are_netted_before_they_are_compared(tmp_path: Path) -> None:
    # Two touches, a refund, a third touch; and a row whose words changed, withdrawn and written anew.
    steps = [
        credit("o1", 1, "15", "50", reversed_value=Decimal(0)),
        credit("o1", 1, "-3", "-10", sign=0, commit_id=2, reversed_value=Decimal(-3)),
        credit("o1", 1, "-4", None, sign=0, commit_id=3, reversed_value=Decimal(1)),
        credit("o2", 1, "30", None, rule_id="old"),
        credit("o2", 1, "-30", None, sign=-1, commit_id=2, rule_id="old"),
        credit("o2", 1, "50", None, commit_id=2, rule_id="new"),
    ]
    case = parse_case(
        "# t\n[credits]\noutcome_id  inference_id  amount  value  reversed_value  rule_id\n"
        "o1  i1  40  8  -2  -\no2  i1  -  50  -  new\n"
    )
    compare(case, "credits", published_rows(publish(tmp_path / "right", credits=steps), "credits"))
    with pytest.raises(AssertionError, match="do not sum to 0"):
        published_rows(publish(tmp_path / "rest", credits=[*steps[:4], steps[4] | {"value": Decimal(-29)}]), "credits")
    with pytest.raises(AssertionError, match="neither 0 nor 1"):
        published_rows(publish(tmp_path / "twice", credits=[steps[0], steps[0]]), "credits")
    with pytest.raises(AssertionError, match="stand twice"):
        published_rows(publish(tmp_path / "both", credits=[steps[3], steps[5]]), "credits")


# --- cases too long to read ---

_TRACE_RULE = (
    "[rules]\nreco conversion purchase from 2026-01-01 lookback_window=7d credit=linear join=trace max_touches=10000\n"
)


def _touches(count: int, trace: str) -> str:
    return "".join(f"2026-03-02 inference i{number:05d} reco trace_id={trace}\n" for number in range(count))


@pytest.mark.parametrize("engine", WHOLE)
@pytest.mark.parametrize("named", ["for " + " ".join(f"i{number:05d}" for number in range(10_000)), "trace t"])
def test_an_outcome_of_10_000_touches_is_split_over_all_of_them(named: str, engine: str, tmp_path: Path) -> None:
    events = f"[events]\n{_touches(10_000, 't')}2026-03-03 conversion o1 purchase 100 USD {named}\n"
    head = "[credits]\noutcome_id  inference_id  amount  value\n"
    rows = "".join(f"o1  i{number:05d}  0.01  0.01\n" for number in range(10_000))
    check(parse_case("# t\n" + _TRACE_RULE + events + head + rows), engine, tmp_path)


@pytest.mark.parametrize("engine", WHOLE)
def test_a_trace_with_10_001_open_touches_is_not_split(engine: str, tmp_path: Path) -> None:
    events = f"[events]\n{_touches(10_001, 't')}2026-03-03 conversion o1 purchase 100 USD trace t\n"
    lost = "[unattributed]\noutcome_id  reason  use_case  amount  value\no1  too_many_touches  reco  100  -\n"
    check(parse_case("# t\n" + _TRACE_RULE + events + lost), engine, tmp_path)


def test_a_raw_record_holds_any_byte_and_a_blank_line_is_no_record() -> None:
    case = parse_case("# t\n[events]\nblank conversions\nraw conversions {\\xff}\n")
    assert case.records == [Record("conversions", b""), Record("conversions", b"{\xff}")]
    assert case.topic_records("conversions") == [b"{\xff}"]
