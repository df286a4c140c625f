"""Ids are told apart by their text: equal hashes of different ids change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from attribution.match import hashed
from streams.live.families import INFERENCES
from streams.live.family_state import FamilyState
from streams.runner import run
from streams.settings import load_settings
from tests.case_files import write_case
from tests.cases import EVENT_LISTS, Case, in_time_order, random_case
from tests.forged import forged_pairs
from tests.live_runs import net
from tests.reference import attribute

_IDS = ("inference_id", "event_id", "reverses", "trace_id")


def test_the_pairs_are_different_texts_with_one_hash() -> None:
    pairs = list(islice(forged_pairs(1), 20))
    one, other = (pl.Series([pair[side] for pair in pairs]) for side in (0, 1))
    assert hashed(one).equals(hashed(other))
    assert not (one == other).any()


def forged(case: Case) -> Case:
    """The case with every two ids replaced by a pair of one hash."""
    names: dict[str, str] = {}
    texts = (text for pair in forged_pairs(7) for text in pair)

    def name(text: str) -> str:
        return names.setdefault(text, next(texts))

    def renamed(event: dict[str, Any]) -> dict[str, Any]:
        changed: dict[str, Any] = {key: name(event[key]) for key in _IDS if event.get(key) is not None}
        if event.get("inference_ids"):
            changed["inference_ids"] = sorted(name(text) for text in event["inference_ids"])
        return event | changed

    lists: dict[str, Any] = {key: [renamed(event) for event in getattr(case, key)] for key in EVENT_LISTS}
    return Case(**lists, rules=case.rules, fx=case.fx, settings=case.settings)


@pytest.mark.parametrize("seed", [4, 11, 14])
def test_a_live_engine_tells_them_apart_in_every_index(seed: int, tmp_path: Path) -> None:
    case = forged(in_time_order(random_case(seed, size=14, conflicts=False)))
    assert case.rules
    pipeline = write_case(case, tmp_path)
    run(load_settings(pipeline), until_end=True, batch_records=5)
    expected = attribute(**vars(case))
    for table in ("credits", "unattributed"):
        assert net(tmp_path / "out", table) == getattr(expected, table)


def rows(ids: Iterator[str] | list[str]) -> pl.DataFrame:
    texts = pl.Series(list(ids))
    values = {"id_hash": hashed(texts), "inference_id": texts, "expiry_us": pl.Series([5] * len(texts))}
    absent = {
        n: pl.Series([0] * len(texts)).cast(t) if t.is_numeric() else pl.Series([None] * len(texts), dtype=t)
        for n, t in INFERENCES.columns.items()
    }
    return pl.DataFrame(absent | values).select(list(INFERENCES.columns)).cast(INFERENCES.columns)  # type: ignore[arg-type]


def test_a_segment_gives_all_rows_of_one_hash(tmp_path: Path) -> None:
    pairs = list(islice(forged_pairs(3), 50))
    state = FamilyState(tmp_path, INFERENCES)
    state.add("a", rows([text for pair in pairs for text in pair]))
    asked = hashed(pl.Series([pair[0] for pair in pairs])).to_numpy()
    found = state.find("id_hash", asked, ["inference_id"], visible_from_us=None)
    assert sorted(found.rows()) == sorted((number, text) for number, pair in enumerate(pairs) for text in pair)
