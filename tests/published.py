"""Published tables made by hand: rows of inferences and ledgers, as frames or as a folder as the engine leaves it.

An inference not told otherwise is one of use case reco, model M, on 2026-03-02, with the hour as its number; an
outcome is a conversion of the day after.
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from schemas.outputs import DATE_COLUMN, in_files

Rows = list[dict[str, Any]]
PRICES = {"M": {"input_cost_per_token": 2e-06, "cache_read_input_token_cost": 2e-07, "output_cost_per_token": 1e-05}}
OUTCOME_DAY = datetime(2026, 3, 3, tzinfo=UTC)


def at(hour: int, day: int = 2, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def inference(number: int, **more: object) -> dict[str, Any]:
    base = {"inference_id": f"i{number}", "event_time": at(number), "use_case": "reco", "model": "M", "commit_id": 1}
    return base | {"input_tokens": 100_000, "output_tokens": 20_000, "status": "served"} | more


def credit(
    outcome: str, number: int, value: str | Decimal, amount: str | None, sign: int = 1, **more: object
) -> dict[str, Any]:
    base = {"outcome_id": outcome, "inference_id": f"i{number}", "kind": "conversion", "via": "inference"}
    money = {"value": Decimal(value), "amount": amount and Decimal(amount), "sign": sign, "commit_id": 1}
    times = {"outcome_time": OUTCOME_DAY, "inference_time": at(number % 24)}
    return base | times | {"use_case": "reco"} | money | more


def unattributed(outcome: str, reason: str, amount: str | None, **more: object) -> dict[str, Any]:
    base = {"outcome_id": outcome, "reason": reason, "amount": amount and Decimal(amount), "use_case": "reco"}
    return base | {"outcome_time": OUTCOME_DAY, "sign": 1, "commit_id": 1} | more


def attributed(number: int, value: str, **more: object) -> dict[str, Any]:
    base = {"inference_id": f"i{number}", "event_time": at(number), "attributed_value": Decimal(value)}
    return base | {"settled": True, "sign": 1, "commit_id": 1} | more


def frame(table: str, rows: Rows) -> pl.DataFrame:
    schema = in_files(table)
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def publish(out: Path, **tables: Rows) -> Path:
    """A folder as the engine publishes it; commit 1 with watermark 03-10, commit 2 with 03-22."""
    commits = [{"commit_id": 1, "watermark": at(0, 10)}, {"commit_id": 2, "watermark": at(0, 22)}]
    everything: dict[str, Rows] = {
        "inferences": [],
        "credits": [],
        "unattributed": [],
        "attributed": [],
        "commits": commits,
    } | tables
    for table, rows in everything.items():
        column = DATE_COLUMN[table]
        by_day: dict[date, Rows] = defaultdict(list)
        by_day[date(1970, 1, 1)] = []
        for row in rows:
            by_day[row[column].date() if column else date(2026, 3, 22)].append(row)
        for day, of_day in by_day.items():
            for commit in sorted({row["commit_id"] for row in of_day}) or [0]:
                folder = out / table / f"date={day}"
                folder.mkdir(parents=True, exist_ok=True)
                frame(table, [row for row in of_day if row["commit_id"] == commit]).write_parquet(
                    folder / f"{commit}.parquet"
                )
    settings = {"allowed_lateness": "1d", "reversal_window": "60d", "fx_max_age": "7d", "base_currency": "USD"}
    position = {"commit_id": 2, "watermark": "2026-03-22T00:00:00.000000Z"}
    manifest = {"engine": "live", "code_version": "1.0.0", **position, **settings}
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "prices.json").write_text(json.dumps(PRICES))
    (out / "costs.toml").write_text('[[price_list]]\npath = "prices.json"\neffective_from = 2026-01-01T00:00:00Z\n')
    return out


def only(rows: Rows, kind: str) -> dict[str, Any]:
    [row] = [row for row in rows if row["row"] == kind]
    return row


def worked_example(out: Path) -> Path:
    """i1 … i10 on 03-02 from 01:00 to 10:00; o1 (i1, i2), o2 (i3), o3 (i10, holdout); r1 takes 20 from o1."""
    special: dict[int, dict[str, object]] = {
        7: {"cached_input_tokens": 50_000},
        8: {"cost": Decimal("1.00"), "cost_currency": "USD"},
        9: {"status": "failed", "output_tokens": 0},
        10: {"arm": "holdout"},
    }
    return publish(
        out,
        inferences=[inference(number, **special.get(number, {})) for number in range(1, 11)],
        credits=[
            *(credit("o1", number, "15", "50") for number in (1, 2)),
            credit("o2", 3, "16.5", "55"),
            *(credit("o1", number, "-3", "-10", sign=0, commit_id=2) for number in (1, 2)),
        ],
        unattributed=[unattributed("o3", "holdout", "40", inference_id="i10", value=Decimal(12))],
    )
