"""Tables read a day and a slice at a time: the report is the same, whatever the slices and the files."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from schemas.errors import UnavailableError
from streams import ratio_source
from streams.ratio_command import RatioOptions, run_ratio
from streams.ratio_source import TableSource
from tests.bill_files import line, write_bill
from tests.cost_reports import BILL, DEVELOPMENT, LINES, PRICES
from tests.published import Rows, at, attributed, credit, inference, publish, unattributed, worked_example


def busy_day(out: Path) -> Path:
    """Three days, one of them with thirty inferences, some at one time; outcomes that touch several of them."""
    times = [at(1, 1), *(at(1) + timedelta(seconds=number // 3) for number in range(30)), at(2, 3)]
    arms = ("holdout", None, "treatment", None)
    inferences = [
        inference(1, inference_id=f"i{n:02}", event_time=time, arm=arms[n % 4], model="MN"[n % 2], compute_ms=n)
        | {"use_case": "judge" if n % 5 == 0 else "reco"}
        for n, time in enumerate(times)
    ]
    credits_ = [
        credit(f"o{n // 3}", n, Decimal(n - 7), str(n), inference_id=f"i{n:02}", inference_time=times[n])
        for n in range(32)
        if arms[n % 4] != "holdout"
    ]
    would_be = [unattributed("o90", "holdout", "5", inference_id=f"i{n:02}", value=Decimal(n)) for n in (4, 8)]
    settled = [
        attributed(1, "3", inference_id=f"i{n:02}", event_time=times[n], use_case="reco", arm=arms[n % 4])
        for n in (1, 2, 3)
    ]
    publish(out, inferences=inferences, credits=credits_, unattributed=would_be, attributed=settled)
    bill = (line("7", model="M"), line("3", kind="logging"), line("2", "2026-03-05", model="M"))
    write_bill(out / "bill.csv", *bill)
    drivers = LINES.replace('["estimate"]', '["compute_ms"]')
    amortised = DEVELOPMENT.replace("900.00", "1").replace("90", "7")
    judge = '[[overhead]]\nuse_case = "judge"\nof = "reco"\n'
    (out / "costs.toml").write_text(PRICES + BILL + drivers + amortised + judge)
    return out


def report(out: Path, **options: str) -> Rows:
    rows: Rows = json.loads(run_ratio(out, RatioOptions(costs=out / "costs.toml", format="json", **options)))  # type: ignore[arg-type]
    return rows


def figures(rows: Rows) -> Rows:
    """All but what the report rests on."""
    return [row for row in rows if row["row"] != "report"]


@pytest.mark.parametrize("slice_rows", [1, 4, 7])
def test_a_day_cut_into_slices_gives_the_same_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_rows: int
) -> None:
    out = busy_day(tmp_path)
    whole = report(out)
    costs = run_ratio(out, RatioOptions(costs=out / "costs.toml", write_costs=out / "whole", format="csv"))
    monkeypatch.setattr(ratio_source, "SLICE_ROWS", slice_rows)
    assert len(TableSource(out, 2, attributes=False).slices(date(2026, 3, 2))) > 2
    assert report(out) == whole
    assert run_ratio(out, RatioOptions(costs=out / "costs.toml", write_costs=out / "cut", format="csv")) == costs
    files = [out / name / "costs" / "**" / "*.parquet" for name in ("whole", "cut")]
    read = [pl.read_parquet(path, hive_partitioning=False) for path in files]
    assert read[0].equals(read[1])


def test_slices_hold_every_inference_once_and_none_of_another_time(tmp_path: Path) -> None:
    source = TableSource(busy_day(tmp_path), 2, attributes=False, slice_rows=5)
    parts = source.slices(date(2026, 3, 2))
    assert [part.inferences().height for part in parts] == [3] * 10
    ids = [row for part in parts for row in part.inferences()["inference_id"]]
    assert sorted(ids) == [f"i{number:02}" for number in range(1, 31)]
    for part in parts:
        assert set(part.credits()["inference_id"]) <= set(part.inferences()["inference_id"])
    assert sum(part.credits().height for part in parts) == 23


def test_files_without_statistics_give_the_same_report(tmp_path: Path) -> None:
    out = busy_day(tmp_path)
    with_statistics = report(out)
    for table in ("inferences", "credits", "unattributed", "attributed"):
        for file in (out / table).rglob("*.parquet"):
            pl.read_parquet(file).write_parquet(file, statistics=False)
    assert figures(report(out)) == figures(with_statistics)


def test_only_files_with_rows_up_to_the_commit_are_read(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    broken = out / "credits" / "date=2026-03-03" / "3.parquet"
    pl.DataFrame({"commit_id": [3]}).write_parquet(broken)
    (out / "costs.toml").write_text(PRICES)
    assert report(out)[1]["value"] == "40.500000000"


def test_inferences_under_another_day_than_theirs_are_refused(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    folder = out / "inferences" / "date=2026-03-02"
    folder.rename(out / "inferences" / "date=2026-03-03")
    (out / "costs.toml").write_text(PRICES)
    with pytest.raises(UnavailableError, match="date=2026-03-03: expected inferences of that day alone"):
        report(out)


def test_a_folder_that_is_no_day_is_refused(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    (out / "inferences" / "date=2026-03-02").rename(out / "inferences" / "date=monday")
    (out / "costs.toml").write_text(PRICES)
    with pytest.raises(UnavailableError, match="expected date=YYYY-MM-DD"):
        report(out)
