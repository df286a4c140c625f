"""The files of a random case say what the case says."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

from tests.case_files import PLACES, write_case
from tests.cases import Event, random_case
from tests.reference import attribute


def read_back(topic: str, event: Event) -> Event:
    """A canonical JSON event in the plain form, by the contract's text."""
    plain = {key: value for key, value in event.items() if value is not None and not key.startswith("x_")}
    for key in PLACES.keys() & plain.keys():
        exact = Decimal(plain[key] if isinstance(plain[key], str) else repr(plain[key]))
        plain[key] = int(exact.scaleb(PLACES[key]).to_integral_value(ROUND_HALF_EVEN))
    if isinstance(plain["event_time"], int):
        plain["event_time"] *= 1000
    else:
        moment = datetime.fromisoformat(plain["event_time"])  # cuts off digits past the microsecond
        plain["event_time"] = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if topic in ("conversions", "time_saved") and "inference_id" in plain:
        plain["inference_ids"] = [plain.pop("inference_id")]
    return plain


def test_files_of_a_case_say_what_the_case_says(tmp_path: Path) -> None:
    for seed in range(40):
        case = random_case(seed, 20)
        pipeline = write_case(case, tmp_path / str(seed), seed)
        plain: dict[str, Any] = {}
        for topic in ("inferences", "conversions", "time_saved", "reversals"):
            lines = (pipeline.parent / "log" / topic / "events.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
            events = [read_back(topic, json.loads(line)) for line in lines]
            plain[topic] = [e | {"position": (topic, 0, "events.jsonl", n)} for n, e in enumerate(events)]
        assert attribute(**plain, rules=case.rules, fx=case.fx, settings=case.settings) == attribute(**vars(case))
        parsed = [tomllib.loads(path.read_text(encoding="utf-8")) for path in (pipeline.parent / "rules").iterdir()]
        assert sum(len(file["rule"]) for file in parsed) == len(case.rules)
        assert tomllib.loads(pipeline.read_text(encoding="utf-8"))["base_currency"] == case.settings["base_currency"]
        assert len((pipeline.parent / "fx.csv").read_text().splitlines()) == len(case.fx) + 1
