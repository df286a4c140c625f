"""The digest of an event's content: the same wherever it is worked out, another for any field that differs."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from attribution.content import content_digest, mixed_numbers
from attribution.frames import canonical
from schemas.events import Kind, canonical_columns

COLUMNS = list(canonical_columns(Kind.INFERENCE))
OUTCOME = list(canonical_columns(Kind.CONVERSION))


def inference(**more: object) -> dict[str, object]:
    base = {"inference_id": "i", "event_time": "2026-03-01T10:00:00Z", "use_case": "u", "model": "m"}
    return base | {"input_tokens": 7, "cost": "0.5", "cost_currency": "USD", "cache_hit": False} | more


def digests(*rows: dict[str, object]) -> list[int]:
    names = sorted({name for row in rows for name in row})
    frame = canonical(pl.DataFrame([{name: row.get(name) for name in names} for row in rows]), Kind.INFERENCE)
    return content_digest(frame, COLUMNS).tolist()


def test_equal_content_has_one_digest_wherever_the_rows_stand() -> None:
    first, other, again = digests(inference(), inference(model="n"), inference())
    assert first == again != other
    assert digests(inference()) == [first]


@pytest.mark.parametrize(
    "field",
    [
        {"inference_id": "j"},
        {"event_time": "2026-03-01T10:00:00.000001Z"},
        {"use_case": "v"},
        {"model_version": "1"},
        {"model_version": ""},
        {"input_tokens": 8},
        {"input_tokens": 0},
        {"input_tokens": None},
        {"output_tokens": 0},
        {"cost": "0.500000000001"},
        {"cost": "999999999999"},
        {"cost": None},
        {"cache_hit": True},
        {"cache_hit": None},
        {"trace_id": "u"},
        {"session_id": "u"},
        {"attributes": '{"a":"b"}'},
    ],
)
def test_any_field_that_differs_gives_another_digest(field: dict[str, object]) -> None:
    one, other = digests(inference(), inference(**field))
    assert one != other


def test_a_value_in_another_field_is_another_content() -> None:
    one, other = digests(inference(trace_id="x"), inference(session_id="x"))
    assert one != other


def test_named_ids_are_told_apart_by_what_and_how_many_they_are() -> None:
    lists = [["a"], ["b"], ["a", "b"], ["ab"], None]
    row = {"event_id": "o", "event_time": "2026-03-01T10:00:00Z", "type": "t", "amount": Decimal(1), "currency": "USD"}
    frame = canonical(
        pl.DataFrame([row | {"inference_ids": ids} for ids in [*lists, *lists]]).with_columns(
            pl.col("amount").cast(pl.Decimal(38, 9))
        ),
        Kind.CONVERSION,
    )
    found = content_digest(frame, OUTCOME).tolist()
    assert found[:5] == found[5:]
    assert len(set(found)) == 5


def test_another_process_finds_the_same_digest() -> None:
    code = (
        "from tests.test_content import digests, inference\n"
        "digests(inference(model='other', use_case='words'))\n"  # other numbers for the same words
        "print(digests(inference())[0])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(printed) == digests(inference())[0]


def test_no_rows_no_digests() -> None:
    assert content_digest(pl.DataFrame(schema=canonical_columns(Kind.INFERENCE)), COLUMNS).tolist() == []


def test_no_two_numbers_have_one_key() -> None:
    numbers = np.arange(-50_000, 50_000, dtype=np.int64)
    assert len(np.unique(mixed_numbers(numbers))) == len(numbers)


@pytest.mark.parametrize("name", [name for name in OUTCOME if name != "event_id"])
def test_a_null_counts_alike_whatever_stands_in_the_other_rows(name: str) -> None:
    full = {"event_time": 5, "type": "t", "amount": 1, "currency": "USD", "quantity": 2, "inference_ids": ["a"]}
    schema = canonical_columns(Kind.CONVERSION)
    rows = pl.DataFrame(
        [{"event_id": "o"}, {"event_id": "o", "trace_id": "t", "attributes": "{}"} | full], schema=schema
    )
    both, alone = (content_digest(some, ["event_id", name]) for some in (rows, rows.head(1)))
    assert both[0] == alone[0] != both[1]
