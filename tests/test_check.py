"""The check: each condition on, inside and outside its edge; what excuses it; the exit code."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from attribution.check import settled_window
from schemas.errors import ConfigurationError
from streams.cli import main
from streams.ratio_command import RatioOptions, print_ratio, run_ratio
from tests.bill_files import line, write_bill
from tests.cost_reports import BILL, LINES, PRICES
from tests.published import Rows, at, attributed, credit, inference, publish

#: As-of is 2026-03-22 at 00:00, so the newest 28 days begin on 02-23.
OWN = {"cost": Decimal(1), "cost_currency": "USD"}


def day(number: int) -> datetime:
    """So many days before as-of's, at one in the morning."""
    return at(1, 22) - timedelta(days=number)


def tables(
    out: Path, *inferences: dict[str, Any], earned: dict[int, str] | None = None, open_: tuple[int, ...] = ()
) -> Path:
    """A folder of inferences that have settled, but for some; earned: what each was credited, by number."""
    numbered = [row | {"inference_id": f"i{number}"} for number, row in enumerate(inferences)]
    words = ("use_case", "model", "event_time", "arm")
    rows = [
        attributed(0, "0") | {"inference_id": row["inference_id"]} | {word: row.get(word) for word in words}
        for number, row in enumerate(numbered)
        if number not in open_
    ]
    values = [
        credit(f"o{number}", number, value, value, inference_time=inferences[number]["event_time"])
        for number, value in (earned or {}).items()
    ]
    return publish(out, inferences=numbered, credits=values, attributed=rows)


def on(number: int, **more: object) -> dict[str, Any]:
    """An inference so many days before as-of's, with a cost of 1."""
    return inference(1, event_time=day(number), **(OWN | more))


def checked(out: Path, *texts: str, **options: Any) -> Rows:
    """The findings; the exit code is 1 where one of them failed."""
    (out / "costs.toml").write_text("".join(texts))
    asked = RatioOptions(costs=out / "costs.toml", format="json", check=True, **options)
    printed = print_ratio(out, asked, lambda _: None)
    rows: Rows = json.loads(printed.text)
    found = [row for row in rows if row["row"] == "check"]
    assert printed.is_clean == (not any(row["result"] == "failed" for row in found))
    assert rows[0]["result"] == ("passed" if printed.is_clean else "failed")
    return found


def conditions(found: Rows) -> list[tuple[str, str]]:
    return [(row["check"], row["result"]) for row in found]


UNSUSTAINABLE = ("unsustainable_band", "failed")


def test_a_group_that_earns_what_it_costs_passes_and_one_that_earns_less_fails(tmp_path: Path) -> None:
    out = tables(tmp_path, on(3), on(3, model="N"), earned={0: "1", 1: "0.999999999"})
    [found] = checked(out)
    assert (found["check"], found["result"]) == UNSUSTAINABLE
    assert (found["use_case"], found["model"], found["model_version"]) == ("reco", "N", None)
    assert (found["roi_multiple"], found["from"], found["to"]) == ("0.999999999000", "2026-03-19", "2026-03-20")


def test_value_still_to_come_is_held_against_nobody(tmp_path: Path) -> None:
    assert checked(tables(tmp_path, on(1), on(2), open_=(0, 1))) == []
    # The day that has settled earned enough; what is open costs, and is not judged.
    assert checked(tables(tmp_path / "b", on(1), on(2), earned={1: "1"}, open_=(0,))) == []
    assert conditions(checked(tables(tmp_path / "c", on(1), on(2), open_=(0,)))) == [UNSUSTAINABLE]


def test_one_open_request_keeps_its_day_from_being_judged(tmp_path: Path) -> None:
    out = tables(tmp_path, on(2), on(2, model="N"), on(3), earned={2: "1"}, open_=(1,))
    assert checked(out) == []


def test_the_newest_days_are_judged_and_older_ones_are_not(tmp_path: Path) -> None:
    assert checked(tables(tmp_path, on(1), on(29), earned={0: "1"})) == []
    assert conditions(checked(tables(tmp_path / "b", on(1), on(28), earned={0: "1"}))) == [UNSUSTAINABLE]


def test_a_use_case_is_judged_by_its_own_settled_days(tmp_path: Path) -> None:
    out = tables(tmp_path, on(1), on(3), on(1, use_case="other"), earned={1: "2"}, open_=(0,))
    [found] = checked(out)
    assert (found["use_case"], found["from"], found["to"]) == ("other", "2026-03-21", "2026-03-22")


def test_a_range_that_is_asked_for_is_judged_whole(tmp_path: Path) -> None:
    out = tables(tmp_path, on(1), on(40), earned={0: "1"})
    [found] = checked(out, from_="2026-01-01", to="2026-03-01")
    assert (found["check"], found["from"], found["to"]) == ("unsustainable_band", "2026-01-01", "2026-03-01")
    assert checked(out, from_="2026-03-01") == []


@pytest.mark.parametrize(
    ("requests", "settled", "window"),
    [
        ({1: 1}, {1: 1}, (1, 2)),
        ({1: 1}, {}, None),
        ({1: 2}, {1: 1}, None),
        ({1: 1, 5: 1}, {1: 1, 5: 1}, (1, 6)),
        ({1: 1, 5: 1, 6: 1}, {1: 1, 5: 1}, (1, 6)),
        ({1: 1, 30: 1}, {1: 1, 30: 1}, (3, 31)),
        ({1: 1, 28: 1}, {1: 1, 28: 1}, (1, 29)),
        # An older rule with a longer window still holds a day open.
        ({1: 1, 5: 1, 7: 1}, {1: 1, 7: 1}, (6, 8)),
        ({}, {}, None),
    ],
)
def test_the_days_that_are_judged(
    requests: dict[int, int], settled: dict[int, int], window: tuple[int, int] | None
) -> None:
    counts = [{date(2026, 1, number): count for number, count in of.items()} for of in (requests, settled)]
    found = settled_window(*counts)
    assert found == (None if window is None else tuple(date(2026, 1, 1) + timedelta(days=n - 1) for n in window))


def test_requests_whose_cost_is_unknown_fail(tmp_path: Path) -> None:
    out = tables(tmp_path, on(1, cost=None, cost_currency=None), on(1, model="N"), earned={1: "1"})
    [found] = checked(out)
    assert (found["check"], found["result"], found["reason"]) == ("unknown_cost", "failed", "incomplete_cost")
    assert (found["model"], found["from"], found["to"]) == ("M", "2026-02-23", "2026-03-23")


def test_cost_without_requests_fails(tmp_path: Path) -> None:
    out = tables(tmp_path, on(1, model="N"), earned={0: "9"})
    write_bill(out / "bill.csv", line("2", "2026-03-20", month="", model="M"))
    [found] = checked(out, BILL, LINES)
    assert (found["check"], found["line"], found["scope"]) == ("cost_without_requests", "M", {"model": "M"})
    assert (found["cost"], found["result"]) == ("2.000000000000", "failed")


@pytest.mark.parametrize(
    ("newest", "max_age", "is_stale"),
    [("19", "3d", False), ("18", "3d", True), ("18", "4d", False), ("20", "36h", True), ("21", "36h", False)],
)
def test_a_bill_whose_newest_day_is_too_old_fails_and_nothing_excuses_it(
    tmp_path: Path, newest: str, max_age: str, *, is_stale: bool
) -> None:
    out = tables(tmp_path, on(1), earned={0: "9"})
    old_month = line("1", "2026-02-01", "2026-04-01T00:00:00Z", month="", model="M")
    write_bill(out / "bill.csv", line("0.1", f"2026-03-{newest}", month="", model="M"), old_month)
    found = checked(out, BILL, f'max_age = "{max_age}"\n', LINES, REMEDIATION)
    assert conditions(found) == ([("stale_bill", "failed")] if is_stale else [])
    if is_stale:
        assert (found[0]["bill"], found[0]["newest_day"]) == (str(out / "bill.csv"), f"2026-03-{newest}")


REMEDIATION = """
[[remediation]]
owner = "search-lead"
reason = "moving to the distilled model"
from = 2026-03-01
until = 2026-03-22
"""


@pytest.mark.parametrize(
    ("more", "result"),
    [
        ("", "excused"),
        ('use_case = "reco"\nmodel = "M"\n', "excused"),
        ('use_case = "other"\n', "failed"),
        ('model_version = "2"\n', "failed"),
    ],
)
def test_a_remediation_in_force_excuses_what_has_its_keys(tmp_path: Path, more: str, result: str) -> None:
    [found] = checked(tables(tmp_path, on(1)), REMEDIATION, more)
    assert (found["check"], found["result"]) == ("unsustainable_band", result)
    if result == "excused":
        assert (found["owner"], found["remediation"]) == ("search-lead", "moving to the distilled model")
        assert found["until"] == "2026-03-22"


def test_a_remediation_excuses_nothing_before_and_after_it_is_in_force(tmp_path: Path) -> None:
    out = tables(tmp_path, on(1))
    over = REMEDIATION.replace("until = 2026-03-22", "until = 2026-03-21")
    ahead = REMEDIATION.replace("from = 2026-03-01", "from = 2026-03-23").replace("2026-03-22", "2026-04-01")
    for text in (over, ahead):
        assert conditions(checked(out, text)) == [UNSUSTAINABLE]


@pytest.mark.parametrize(
    ("more", "result"),
    [('model = "M"\n', "excused"), ('use_case = "reco"\n', "failed"), ('model = "N"\n', "failed")],
)
def test_a_remediation_is_for_a_scope_that_has_its_keys(tmp_path: Path, more: str, result: str) -> None:
    out = tables(tmp_path, on(1, model="N"), earned={0: "9"})
    write_bill(out / "bill.csv", line("2", "2026-03-20", month="", model="M"))
    assert conditions(checked(out, BILL, LINES, REMEDIATION, more)) == [("cost_without_requests", result)]


def test_overhead_is_judged_with_those_whom_it_serves(tmp_path: Path) -> None:
    judge = '[[overhead]]\nuse_case = "judge"\nof = "reco"\n'
    out = tables(tmp_path, on(1), on(1, use_case="judge"), earned={0: "1.5"})
    [found] = checked(out, judge)
    assert (found["use_case"], found["roi_multiple"]) == ("reco", "0.750000000000")


def test_the_command_ends_with_1_where_something_failed_and_says_what(tmp_path: Path) -> None:
    out = tables(tmp_path, on(1), on(1, model="N", cost=None, cost_currency=None))
    (out / "costs.toml").write_text(PRICES.replace("prices.json", "none.json") + REMEDIATION + 'model = "M"\n')
    (out / "none.json").write_text("{}")
    run = ["ratio", "--out", str(out), "--costs", str(out / "costs.toml"), "--check"]
    result = CliRunner().invoke(main, run)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[1] == "Check failed"
    assert (
        "  excused: unsustainable_band: reco, M (roi multiple 0; from 2026-03-21 to before 2026-03-22; "
        in result.stdout
    )
    assert "search-lead until 2026-03-22: moving to the distilled model)" in result.stdout
    assert "  failed: unknown_cost: reco, N (reason incomplete_cost; from 2026-02-23 to before 2026-03-23)" in lines
    (out / "costs.toml").write_text(REMEDIATION)
    result = CliRunner().invoke(main, run)
    assert (result.exit_code, result.stdout.splitlines()[1]) == (0, "Check passed")
    header = run_ratio(out, RatioOptions(costs=out / "costs.toml", format="csv", check=True)).splitlines()[0].split(",")
    assert {"check", "result", "owner", "until", "newest_day"} <= set(header)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"by": "model"}, "--check: expected no --by beside it"),
        ({"period": "day"}, "--check: expected no --period beside it"),
        ({"write_costs": Path("x")}, "--check: expected no --write-costs beside it"),
    ],
)
def test_a_check_has_its_own_groups(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        checked(tables(tmp_path), **options)
