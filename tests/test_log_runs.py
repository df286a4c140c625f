"""The topics of a log side by side: all records, in each topic's own order, none far ahead of another's."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

import polars as pl
import pytest
import zstandard

from schemas.errors import UnavailableError
from schemas.events import FIELDS, Kind
from streams.log_runs import _RECORDS_AHEAD, _SLACK_US, Run, read_runs
from streams.parquet_rows import rows_as_json
from tests.test_parquet_rows import COLUMNS

START_MS = 1_772_409_600_000
SLACK_MS = _SLACK_US // 1_000


def event(name: str, after_ms: int | None) -> bytes:
    return json.dumps({"event_id": name} | ({} if after_ms is None else {"event_time": START_MS + after_ms})).encode()


def write(folder: Path, topic: str, records: Sequence[bytes], name: str = "a.jsonl") -> None:
    (folder / topic).mkdir(exist_ok=True)
    (folder / topic / name).write_bytes(b"".join(record + b"\n" for record in records))


def read(folder: Path, longest: int = 1_000) -> list[Run]:
    files = {topic.name: sorted(topic.iterdir()) for topic in sorted(folder.iterdir())}
    return list(read_runs(files, longest=longest))


def by_topic(runs: list[Run]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = defaultdict(list)
    for run in runs:
        found[run.topic] += run.records
    return found


def names(runs: list[Run]) -> str:
    return "".join(key.decode() for run in runs for key in run.keys if key)


def test_the_topic_that_is_behind_goes_next_as_far_as_the_others_and_a_minute_more(tmp_path: Path) -> None:
    write(tmp_path, "one", [event("a", 0), event("b", SLACK_MS), event("c", SLACK_MS + 1), event("d", 9 * SLACK_MS)])
    write(tmp_path, "two", [event("x", 0), event("y", 5 * SLACK_MS), event("z", 10 * SLACK_MS)])
    assert [names([run]) for run in read(tmp_path)] == ["ab", "x", "c", "yz", "d"]
    write(tmp_path, "two", [event("x", 0), event("y", 5 * SLACK_MS), event("z", 10 * SLACK_MS + 1)])
    assert [names([run]) for run in read(tmp_path)] == ["ab", "x", "c", "y", "d", "z"]


def test_ties_go_by_the_name_of_the_topic(tmp_path: Path) -> None:
    for topic in ("b", "a", "c"):
        write(tmp_path, topic, [event(topic, 0)])
    assert names(read(tmp_path)) == "abc"


def test_a_wrong_clock_far_ahead_holds_its_topic_up_no_longer_than_its_neighbours_are_due(tmp_path: Path) -> None:
    write(tmp_path, "one", [event("a", 0), event("F", 10**9), event("b", 1)])
    write(tmp_path, "two", [event(name, number * 10 * SLACK_MS) for number, name in enumerate("xyz")])
    assert names(read(tmp_path)) == "aFbxyz"


def test_records_without_a_time_go_with_those_before_them(tmp_path: Path) -> None:
    write(tmp_path, "one", [event("a", 0), event("b", None), event("c", 10 * SLACK_MS), event("d", None)])
    write(tmp_path, "two", [event("x", 0), event("y", 5 * SLACK_MS)])
    write(tmp_path, "zero", [b"no event", event("m", None)])
    assert names(read(tmp_path)) == "mabxycd"


@pytest.mark.parametrize("longest", [1, 7, 1_000])
def test_every_record_comes_once_in_its_topics_order_and_none_far_ahead(longest: int, tmp_path: Path) -> None:
    rng = Random(longest)
    logs = {}
    for topic, mean_ms in (("dense", 500), ("sparse", 90_000), ("late", 3_000)):
        times = [0]
        for _ in range(_RECORDS_AHEAD + 900):
            times.append(times[-1] + rng.randrange(2 * mean_ms))
        logs[topic] = [event(f"{topic}{number}", time) for number, time in enumerate(times)]
        write(tmp_path, topic, logs[topic][:1_000], "1.jsonl")
        write(tmp_path, topic, logs[topic][1_000:], "2.jsonl")
    runs = read(tmp_path, longest)
    assert by_topic(runs) == logs
    assert max(len(run.records) for run in runs) <= longest
    due = {topic: [json.loads(record)["event_time"] for record in records] for topic, records in logs.items()}
    at = dict.fromkeys(logs, 0)
    for run in runs:
        at[run.topic] += len(run.records)
        newest = due[run.topic][at[run.topic] - 1]
        others = [due[topic][place] for topic, place in at.items() if topic != run.topic and place < len(due[topic])]
        assert newest <= min(others, default=newest) + SLACK_MS, run.topic


def test_lines_are_taken_as_they_are_and_blank_ones_are_none(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "1.jsonl").write_bytes(b' {"event_id": "a"} \r\n\n  \n{"x": "\xff"}\nno json\n{"event_id":"b"}')
    (tmp_path / "t" / "2.jsonl.gz").write_bytes(gzip.compress(b'{"event_id":"c"}\n[1]\n'))
    (tmp_path / "t" / "3.jsonl.zst").write_bytes(zstandard.compress(b'{"event_id":"d"}\n'))
    (tmp_path / "t" / "4.jsonl").write_bytes(b"")
    assert by_topic(read(tmp_path))["t"] == [
        b' {"event_id": "a"} ',
        b'{"x": "\xff"}',
        b"no json",
        b'{"event_id":"b"}',
        b'{"event_id":"c"}',
        b"[1]",
        b'{"event_id":"d"}',
    ]


def test_rows_of_parquet_are_taken_as_json(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    count = _RECORDS_AHEAD + 10
    rows = pl.DataFrame({"event_id": [f"o{n}" for n in range(count)]}).with_columns(
        event_time=pl.lit(START_MS).cast(pl.Datetime("ms", "UTC")), amount=pl.lit("1.50").cast(pl.Decimal(38, 9))
    )
    rows.write_parquet(tmp_path / "t" / "a.parquet", row_group_size=1_000)
    runs = read(tmp_path)
    time = "2026-03-02T00:00:00.000Z"
    expected = [f'{{"event_id":"o{n}","event_time":"{time}","amount":"1.500000000"}}'.encode() for n in range(count)]
    assert by_topic(runs)["t"] == expected
    assert [key for run in runs for key in run.keys] == [f"o{n}".encode() for n in range(count)]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_row_of_no_known_kind_says_of_each_field_what_one_of_its_kind_says(kind: Kind) -> None:
    everything = {field.name for fields in FIELDS.values() for field in fields}
    own = {field.name for field in FIELDS[kind]}
    for values in COLUMNS.values():
        rows = pl.DataFrame(dict.fromkeys(sorted(everything), values))
        for known, unknown in zip(rows_as_json(rows, kind), rows_as_json(rows, None), strict=True):
            of_kind, of_none = (json.loads(text, parse_float=str, parse_int=str) for text in (known, unknown))
            assert {name: of_none[name] for name in own} == {name: of_kind[name] for name in own}


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, "t", [event("a", 0)])
    (tmp_path / "t" / "b.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(UnavailableError, match=r"b\.jsonl\.gz"):
        read(tmp_path)


def test_all_bytes_are_told_as_read(tmp_path: Path) -> None:
    write(tmp_path, "t", [event(f"e{n}", n) for n in range(10)])
    (tmp_path / "t" / "b.jsonl.gz").write_bytes(gzip.compress(b'{"event_id":"c"}\n' * 1_000))
    write(tmp_path, "u", [event("x", 0)])
    files = {topic.name: sorted(topic.iterdir()) for topic in sorted(tmp_path.iterdir())}
    told: list[int] = []
    assert list(read_runs(files, longest=10, on_read=told.append))
    assert sum(told) == sum(file.stat().st_size for file in tmp_path.rglob("*.*"))
    assert min(told) >= 0
