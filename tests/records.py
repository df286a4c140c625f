"""Records for the tests of decoding: the plainest of each kind, every nasty value, and what must come of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from schemas.events import SOURCE_COLUMNS, Kind, canonical_columns
from schemas.outputs import DEAD_LETTERS
from streams.decode import Block, Decoded, Limits, decode
from streams.strict_record import Refused, decode_record

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LIMITS = Limits(max_record_bytes=50_000, max_future_skew_us=300_000_000, now_us=int(NOW.timestamp()) * 1_000_000)
TIME = '"2026-03-01T12:00:00Z"'
#: Each kind's plainest valid record: field → JSON text.
PLAIN: dict[Kind, dict[str, str]] = {
    Kind.INFERENCE: {"inference_id": '"i1"', "event_time": TIME, "use_case": '"search"', "model": '"m"'},
    Kind.CONVERSION: {"event_id": '"c1"', "event_time": TIME, "type": '"purchase"'},
    Kind.TIME_SAVED: {"event_id": '"t1"', "event_time": TIME, "type": '"ticket"', "seconds": "60"},
    Kind.REVERSAL: {"event_id": '"r1"', "event_time": TIME, "reverses": '"c1"'},
    Kind.SCORE: {"event_id": '"s1"', "event_time": TIME, "name": '"tone"', "score": "0.8", "inference_id": '"i1"'},
}


def record(kind: Kind, **fields: str | None) -> bytes:
    """The plainest record of a kind with fields (JSON text) put in, or left out where None."""
    members = {name: text for name, text in (PLAIN[kind] | fields).items() if text is not None}
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in members.items()) + "}").encode()


def block(data: bytes | pl.DataFrame, *, first_offset: int = 0) -> Block:
    return Block("topic", 0, "a.jsonl", first_offset, data)


def decode_lines(lines: Sequence[bytes], kind: Kind, limits: Limits = LIMITS) -> Decoded:
    return decode(block(b"\n".join(lines) + b"\n"), kind, limits)


def values(decoded: Decoded) -> dict[int, dict[str, Any]]:
    """Accepted records by offset, times as microseconds, without the source columns."""
    events = decoded.events.with_columns(pl.col("event_time").to_physical())
    return {row.pop("source_offset"): _without_source(row) for row in events.to_dicts()}


def _without_source(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in SOURCE_COLUMNS}


def refusals(decoded: Decoded) -> dict[int, tuple[str, str, bytes]]:
    """(reason, detail, bytes) of the dead letters by offset."""
    columns = decoded.dead_letters.select("source_offset", "reason", "detail", "record_value")
    return {offset: (reason, detail, raw) for offset, reason, detail, raw in columns.iter_rows()}


def assert_as_strict(decoded: Decoded, raws: Sequence[bytes], kind: Kind, limits: Limits = LIMITS) -> None:
    """Every record accepted or refused as the strict decoder does it alone, in order, with the right types."""
    expected = [decode_record(raw, kind, limits) for raw in raws]
    assert values(decoded) == {n: each for n, each in enumerate(expected) if not isinstance(each, Refused)}
    assert refusals(decoded) == {
        n: (each.reason.value, each.detail, raw)
        for n, (each, raw) in enumerate(zip(expected, raws, strict=True))
        if isinstance(each, Refused)
    }
    assert dict(decoded.events.schema) == canonical_columns(kind) | SOURCE_COLUMNS
    assert dict(decoded.dead_letters.schema) == {n: t for n, t in DEAD_LETTERS.items() if n != "commit_id"}
    assert decoded.events["source_offset"].is_sorted()
    assert decoded.dead_letters["source_offset"].is_sorted()
    assert decoded.read == len(raws) == decoded.events.height + decoded.dead_letters.height + decoded.ignored


def assert_agrees(lines: Sequence[bytes], kind: Kind, limits: Limits = LIMITS) -> None:
    assert_as_strict(decode_lines(lines, kind, limits), lines, kind, limits)


#: What may stand where a value is due, as JSON text (or what is no JSON at all).
TOKENS = [
    "null true false 0 -0 -0.0 1 17 -1 1.0 1.5 1e0 1E3 1e-7 1e400 -1e400 1e22 5e-324 19.99 0.1 123456789012345678",
    "9007199254740991 9007199254740992 9223372036854775807 9223372036854775808 18446744073709551616",
    f"-9223372036854775809 [18446744073709551616] {'9' * 38} {'9' * 39} -{'9' * 38} {'9' * 60} {'9' * 400}",
    f'"{"9" * 60}" "Static(1)"',
    f'0.{"1" * 40} {"1" * 11}.{"5" * 30} "{"1" * 11}.{"5" * 30}" -0.0000000001 "-0.0000000006" "-0.0000000005"',
    "999999999999 1000000000000 999999999.999999999 1000000000 999999 1000000 999999.9999999996 1767225600000",
    "1767225600000.0 1.7672256e12 946684799999 946684800000 7258118399999 7258118400000 -1767225600000",
    "1780272300000 1780272300001 1780272000000",
    '"" "x" "1" "-1" "1.5" "+1" "1." ".5" "1e3" " 1" "1 " "007" "-" "-0" "0.0000000005" "0.0000000015" "true"',
    '"999999999999.9999999994" "999999999999.9999999996" "999999999999" "1000000000000" "-999999999.9999999996"',
    '"0.1234567890125" "0.1234567890135" "1.00000000000000000000000000000000001" "١" "1767225600000" "USD" "usd"',
    '"XXX" "served" "failed" "SERVED" "batch" "[1]" "{\\"a\\": \\"b\\"}" "{}" "null" "NaN" "Infinity"',
    '"\\u0000" "\\ud800" "\\udc00x" "\\ud83d\\ude00" "😀" "\\ud83d\\u0041" "\\\\ud800" "\\\\\\ud800" "a\\nb" "é"',
    '"\\u0031\\u0037" "\\u003176722560000\\u0030" "\\u0075" "2026\\u002d03-01T12:00:00Z"',
    '[] [1] ["a"] ["b","a","b"] ["a",1] ["a",null] [""] ["1","2"] ["17",17] [["a"]] [true] ["\\ud800"] [{"a":"b"}]',
    '["{\\"a\\": 1}"] ["[1]"] ["a\\\\","b"] ["a\\"",1]',
    '{} {"a":"b"} {"b":"2","a":"1"} {"a":"1","a":"2"} {"a":null} {"a":1} {"a":true} {"a":{"b":"c"}} {"a":["b"]}',
    '{"a":"\\\\"} {"a":"\\""} {"a":"\\n"} {"a":"\\u0000"} {"a":"\\ud800"} {"\\ud800":"a"} {"é":"😀"} {"":""} {"a":"}"}',
    '{"a":"\\",\\"b\\":\\"c"} {"a":"\\\\n"} {"a":"\\u005cn"}',
    '{"event_id":1} {"a":"{"} {"z":"1","é":"2","Z":"3","😀":"4","\\uffff":"5"}',
    'NaN Infinity -Infinity 01 1. .5 +1 - 1e tru nul "a {a} {"a"} [1 ] } {"a":1,} [1,] \'a\' \\u0031',
    '"\\x" "\\u12" "\t"',
]
SPACED = [
    '"a" "b"',
    '{"a": "b", "a": 1}',
    '"2026-03-01 12:00:00Z"',
    '[ "a" , "b" ]',
    '[ "a" , 1 ]',
    "1 2",
    '{ "a" : "b" }',
]
IDS = [f'"{"x" * 256}"', f'"{"x" * 257}"', f'"{"é" * 128}"', f'"{"é" * 128}x"']
TIMES = """
    2026-03-01T12:00:00+05:30 2026-03-01T12:00:00-00:00 2026-03-01T12:00:00+23:59 2026-03-01T12:00:00+24:00
    2026-03-01T12:00:00+05:60 2026-03-01T12:00:00+0530 2026-03-01T12:00:00+05 2026-03-01T12:00:00 2026-03-01
    2026-03-01t12:00:00Z 2026-03-01T12:00:00z 2026-03-01T24:00:00Z 2026-03-01T23:59:60Z 2026-03-01T23:60:00Z
    2026-02-29T00:00:00Z 2024-02-29T00:00:00Z 2100-02-29T00:00:00Z 2000-02-29T00:00:00Z 2026-04-31T00:00:00Z
    2026-00-01T00:00:00Z 2026-13-01T00:00:00Z 2026-01-00T00:00:00Z 0000-01-01T00:00:00Z 2026-1-01T00:00:00Z
    1999-12-31T23:59:59.999999Z 2000-01-01T00:00:00Z 1999-12-31T23:00:00-01:00 2000-01-01T00:30:00+01:00
    2199-12-31T23:59:59.999999999Z 2200-01-01T00:00:00Z 2200-01-01T00:30:00+01:00 2199-12-31T23:30:00-01:00
    2026-03-01T12:00:00.Z 2026-03-01T12:00:00.1Z 2026-03-01T12:00:00.12Z 2026-03-01T12:00:00.1234Z
    2026-03-01T12:00:00.123456Z 2026-03-01T12:00:00.1234567Z 2026-03-01T12:00:00.123456789Z
    2026-03-01T12:00:00.12345678901Z 2026-03-01T12:00:00.1234567890123456789012345Z 2026-03-01T12:00:00,5Z
    2026-03-01T12:00:00.123+02:00 2026-03-01T12:00:00.5-02:00 2026-03-01T12:00:00.12x4Z 2026-03-01T12:00:0:Z
    2026-03-01T12:00Z +2026-03-01T12:00:00Z 2026-03-01T12:00:00ZZ 2026-W09-7T12:00:00Z 2026-03-01T12:00:00,+05:30
    2026-06-01T00:05:00Z 2026-06-01T00:05:00.000001Z 2026-06-01T05:35:00+05:30 2026-03-01T12:00:00.1234567+05:30
""".split()
NASTY = [*(token for row in TOKENS for token in row.split(" ")), *SPACED, *IDS, *(f'"{text}"' for text in TIMES)]
