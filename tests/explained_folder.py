"""A few events replayed into a folder of published tables, and such folders altered.

An inference not told otherwise is one of use case reco, model M, a day before the purchases.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl

from schemas.outputs import in_files
from streams.explain_command import run_explain
from streams.replay import replay
from streams.settings import load_settings
from tests.cases import TOPICS

Event = dict[str, Any]

RULE = """
[[rule]]
effective_from = 2026-01-01T00:00:00Z
kind = "conversion"
type = "purchase"
lookback_window = "7d"
credit = "linear"
margin = "0.3"
"""
SUPPORT = """
[[rule]]
effective_from = 2026-01-01T00:00:00Z
kind = "time_saved"
type = "*"
lookback_window = "1d"
credit = "last"
realisation = "0.6"
baseline_seconds = 510
max_seconds = 300
[rule.hourly_rate]
"*" = "38"
agent = "31.5"
"""


def inference(inference_id: str, time: str = "2026-03-01T10:00:00Z", **more: object) -> Event:
    return {"inference_id": inference_id, "event_time": time, "use_case": "reco", "model": "M"} | more


def purchase(event_id: str, *inference_ids: str, time: str = "2026-03-02T10:00:00Z", **more: object) -> Event:
    named = {"inference_ids": list(inference_ids)} if inference_ids else {}
    return {"event_id": event_id, "event_time": time, "type": "purchase"} | named | more


def refund(event_id: str, reverses: str, time: str = "2026-03-05T10:00:00Z", **more: object) -> Event:
    return {"event_id": event_id, "event_time": time, "reverses": reverses} | more


def publish(folder: Path, events: dict[str, list[Event]], *, rules: dict[str, str] | None = None, fx: str = "") -> Path:
    """Replay some events, given by topic; gives the folder of the published tables."""
    for topic in TOPICS:
        (folder / "log" / topic).mkdir(parents=True)
        lines = "".join(json.dumps(event) + "\n" for event in events.get(topic, []))
        (folder / "log" / topic / "events.jsonl").write_text(lines)
    (folder / "rules").mkdir()
    for use_case, text in (rules or {"reco": RULE}).items():
        (folder / "rules" / f"{use_case}.toml").write_text(f'use_case = "{use_case}"\n{text}')
    (folder / "fx.csv").write_text(f"date,currency,rate\n{fx}")
    topics = "".join(f'[[input.topic]]\nname = "{name}"\nkind = "{kind}"\n' for name, kind in TOPICS.items())
    (folder / "pipeline.toml").write_text(
        'base_currency = "USD"\nrules = "rules"\nfx = "fx.csv"\n[input]\nsource = "files"\npath = "log"\n'
        f'{topics}[output]\npath = "out"\n'
    )
    replay(load_settings(folder / "pipeline.toml"), folder / "log", folder / "out")
    return folder / "out"


def table(out: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(sorted((out / name).glob("*/*.parquet")), hive_partitioning=False)


def replace_table(out: Path, name: str, rows: pl.DataFrame) -> None:
    """Another content of a table, in one file."""
    shutil.rmtree(out / name)
    (out / name / "date=1970-01-01").mkdir(parents=True)
    rows.cast(in_files(name)).write_parquet(out / name / "date=1970-01-01" / "rows.parquet")  # type: ignore[arg-type]


def change_manifest(out: Path, **more: object) -> None:
    manifest = json.loads((out / "manifest.json").read_text()) | more
    (out / "manifest.json").write_text(json.dumps(manifest))


def of_outcome(out: Path, outcome_id: str) -> str:
    return run_explain(out, inference=None, outcome=outcome_id)


def of_inference(out: Path, inference_id: str) -> str:
    return run_explain(out, inference=inference_id, outcome=None)


REFUNDED: dict[str, list[Event]] = {
    "inferences": [inference("i1"), inference("i2"), inference("i3")],
    "conversions": [purchase("o1", "i1", "i2", "i3", amount="100", currency="USD")],
    "reversals": [refund("r1", "o1", amount="20")],
}
