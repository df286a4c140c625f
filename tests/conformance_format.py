"""Conformance cases as text an accountant can read: events in, ledger out, refused records included.

A case is a file of sections. The lines on top that begin with ``#`` are its title (the first) and what it shows;
other lines that begin with ``#`` are remarks, mostly the arithmetic. Words stand apart by blanks, and a word with
a blank in it is a JSON text in quotes. Times are UTC; a date alone is its midnight. ::

    # A refund takes its part from every touch
    # 100 × 0.30 = 30, shared 15 and 15; after a refund of 20 it is 80 × 0.30 = 24, shared 12 and 12.

    [settings]                    only what differs from the defaults of a pipeline, and ``read_order matters``
    reversal_window  30d

    [rules]                       use case, kind, type, start, then keys of the rule file
    reco  conversion  purchase  from 2026-01-01  lookback_window=7d credit=linear margin=0.30

    [rates]                       date, currency, base currency per unit
    2026-03-02  EUR  1.10

    [events]                      one record a line, in the order in which each topic is read
    2026-03-02 01:00  inference   i1  reco      arm=treatment
    2026-03-02 02:00  inference   i2  reco
    2026-03-03        conversion  o1  purchase  100.00 USD  for i1 i2
    2026-03-03        time_saved  t1  draft     600 s       trace job-7  role=support_agent
    2026-03-22        reversal    r1  of o1     20.00
    2026-03-23        score       s1  tone      0.8         for i1
    raw    conversions  {"event_id": 7}
    blank  conversions

    [credits]                     two blanks or more between columns; ``-`` is null
    outcome_id  inference_id  value  reversed_value
    o1          i1            12     -3
    o1          i2            12     -3

A figure alone is an amount, of a score its ``score``; with a currency behind it an amount and its currency, with ``s``
seconds; every other field is ``key=value``. ``raw`` puts a record into a topic as it stands (``\\xff`` is that byte),
``blank`` a blank line.

Sections with expected rows bear the names and columns of the published tables; a list is its items with a blank between
them. Columns left out are not compared. A section left out means no rows in ``scores``, ``credits``, ``unattributed``
and ``dead_letters``. Left out, ``attributed`` and ``commits`` are not compared; the first needs the column ``settled``,
for a live engine publishes settled rows only, the second is summed by topic.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import polars as pl

from schemas.events import FIELDS, TIME, Kind, Type
from schemas.outputs import TABLES, in_files
from tests.case_files import PLACES, to_fx_csv, to_rule_files
from tests.cases import SCORED_TOPICS, Case

Row = dict[str, Any]

DEFAULTS = {
    "base_currency": "USD",
    "fx_max_age": "7d",
    "allowed_lateness": "1d",
    "reversal_window": "60d",
    "max_record_bytes": "1048576",
    # Cases have fixed dates: the day on which they run must not matter.
    "max_future_skew": "36500d",
    "read_order": "free",
}
EXPECTED = ("scores", "credits", "unattributed", "attributed", "dead_letters", "commits")
#: Of every case: a topic without records does no harm.
TOPICS = SCORED_TOPICS
_SECTIONS = {"settings", "rules", "rates", "events", *EXPECTED}
_TOPIC_OF = {kind: topic for topic, kind in TOPICS.items()}
_COUNTS = {field.name for field in FIELDS[Kind.INFERENCE] if field.type is Type.COUNT}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_WORD = re.compile(r'(?:[a-z_]+=)?"(?:[^"\\]|\\.)*"|\S+')
_PAIR = re.compile(r"([a-z_]+)=(.*)", re.DOTALL)
_CLOCK = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?")
_FIGURE = re.compile(r"-?\d+(?:\.\d+)?")
_UNITS_US = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
}


@dataclass(frozen=True)
class Table:
    """Expected rows as written: a text per cell, None for null."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Record:
    """One line of a topic's file, without its line end; blank ones are no records."""

    topic: str
    line: bytes


@dataclass(frozen=True)
class ConformanceCase:
    """A parsed case. rules and rates are in the form of ``tests/reference.py``."""

    title: str
    shows: str
    settings: dict[str, str]
    rules: list[Row]
    rates: list[tuple[int, str, int]]
    records: list[Record]
    expected: dict[str, Table]

    @property
    def is_order_free(self) -> bool:
        """Whether any order of reading gives the same ledgers."""
        return self.settings["read_order"] != "matters"

    def topic_records(self, topic: str) -> list[bytes]:
        """The records of a topic by their number; blank lines have none."""
        return [record.line for record in self.records if record.topic == topic and record.line.strip()]


# --- text → case ---


def parse_case(text: str) -> ConformanceCase:
    """The case of a file's text; ValueError tells the line that is not in the format."""
    head, sections = _sections(text)
    settings = DEFAULTS | dict(_two_words(line) for line in sections["settings"])
    if unknown := settings.keys() - DEFAULTS.keys():
        raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
    return ConformanceCase(
        title=head[0],
        shows=" ".join(head[1:]),
        settings=settings,
        rules=[_rule(_WORD.findall(line)) for line in sections["rules"]],
        rates=[_rate(*line.split()) for line in sections["rates"]],
        records=[_record(line) for line in sections["events"]],
        expected={name: _table(name, sections[name]) for name in EXPECTED if name in sections},
    )


def _sections(text: str) -> tuple[list[str], defaultdict[str, list[str]]]:
    """The remarks on top, and the lines of each section."""
    head: list[str] = []
    sections: defaultdict[str, list[str]] = defaultdict(list)
    current = None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("#"):
            head += [line.strip("# ")] if current is None else []
        elif line.startswith("["):
            current = line.strip("[]")
            if current not in _SECTIONS or current in sections:
                raise ValueError(f"{line}: no such section, or there twice")
            sections[current] = []
        elif line:
            if current is None:
                raise ValueError(f"{line}: stands in no section")
            sections[current].append(line)
    return head, sections


def _two_words(line: str) -> tuple[str, str]:
    key, value = line.split()
    return key, value


def _rate(day: str, currency: str, rate: str) -> tuple[int, str, int]:
    return (date.fromisoformat(day) - EPOCH.date()).days, currency, units(rate)


def _rule(words: list[str]) -> Row:
    use_case, kind, type_, from_, *rest = words
    if from_ != "from":
        raise ValueError(f"{' '.join(words)}: expected from and a date after the type")
    start, rest = _moment(rest)
    rule = {"use_case": _text(use_case), "kind": kind, "type": _text(type_), "effective_from": start}
    return rule | {key: _rule_value(key, value) for key, value in map(_pair, rest)}


def _rule_value(key: str, value: str) -> Any:
    match key:
        case "lookback_window" | "early_tolerance" | "half_life":
            return duration_us(value)
        case "share":
            return units(value, 6)
        case "position_weights":
            return [units(weight, 6) for weight in value.split(",")]
        case "max_touches":
            return int(value)
        case "hourly_rate":
            return {role: units(rate) for role, _, rate in (part.rpartition(":") for part in value.split(","))}
        case "join" | "credit" | "effect":
            return value
        case _:
            return units(value)


def _record(line: str) -> Record:
    first, *_ = words = _WORD.findall(line)
    if first == "blank":
        return Record(words[1], b"")
    if first == "raw":
        _, topic, raw = line.split(maxsplit=2)
        octets = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), raw.encode())
        return Record(topic, octets)
    time_us, (kind, event_id, *rest) = _moment(words)
    id_name = "inference_id" if kind == "inference" else "event_id"
    event = {id_name: _text(event_id), "event_time": time_text(time_us)} | dict(_fields(kind, rest))
    return Record(_TOPIC_OF[kind], json.dumps(event, ensure_ascii=False).encode())


def _fields(kind: str, words: list[str]) -> Iterator[tuple[str, Any]]:
    """The fields of an event after its id, as they stand in JSON."""
    if kind == "inference":
        yield from {"use_case": _text(words[0]), "model": "M"}.items()
    if kind in ("conversion", "time_saved"):
        yield "type", _text(words[0])
    if kind == "score":
        yield "name", _text(words[0])
    rest = words if kind == "reversal" else words[1:]
    while rest:
        word, *rest = rest
        if word == "for":
            ids = [_text(name) for name in rest if not _PAIR.fullmatch(name)]
            rest = [name for name in rest if _PAIR.fullmatch(name)]
            yield ("inference_id", ids[0]) if len(ids) == 1 else ("inference_ids", ids)
        elif word in ("trace", "of"):
            yield ("trace_id" if word == "trace" else "reverses"), _text(rest.pop(0))
        elif _FIGURE.fullmatch(word):
            unit = rest.pop(0) if rest and re.fullmatch(r"s|[A-Z]{3}", rest[0]) else ""
            yield ("score" if kind == "score" else "seconds" if unit == "s" else "amount"), word
            if unit not in ("", "s"):
                yield "currency", unit
        else:
            key, value = _pair(word)
            yield key, int(value) if key in _COUNTS else value


def _table(name: str, lines: list[str]) -> Table:
    columns, *rows = (re.split(r"\s{2,}", line) for line in lines)
    if unknown := set(columns) - TABLES[name].keys():
        raise ValueError(f"[{name}]: unknown columns {', '.join(sorted(unknown))}")
    if name == "attributed" and "settled" not in columns:
        raise ValueError("[attributed]: needs the column settled")
    types = in_files(name)
    try:
        cells = [{c: _cell(cell, types[c]) for c, cell in zip(columns, row, strict=True)} for row in rows]
    except ValueError as error:
        raise ValueError(f"[{name}]: {error}") from error
    return Table(tuple(columns), tuple(cells))


def _cell(text: str, dtype: pl.DataType) -> Any:
    if text == "-":
        return None
    if dtype == TIME:
        time_us, _ = _moment(text.split())
        return EPOCH + timedelta(microseconds=time_us)
    if isinstance(dtype, pl.List):
        return [_text(word) for word in _WORD.findall(text)]
    if isinstance(dtype, pl.Boolean):
        return {"yes": True, "no": False}[text]
    if isinstance(dtype, pl.Decimal):
        return Decimal(text)
    return int(text) if dtype.is_integer() else _text(text)


def _moment(words: list[str]) -> tuple[int, list[str]]:
    """Microseconds of a date with or without a time of day, and the words after it."""
    day, *rest = words
    clock = rest.pop(0) if rest and _CLOCK.fullmatch(rest[0]) else "00:00"
    return microseconds(datetime.fromisoformat(f"{day}T{clock}+00:00")), rest


def _pair(word: str) -> tuple[str, str]:
    if not (found := _PAIR.fullmatch(word)):
        raise ValueError(f"{word}: expected key=value")
    return found[1], _text(found[2])


def _text(word: str) -> str:
    return str(json.loads(word)) if word.startswith('"') else word


def duration_us(text: str) -> int:
    """Microseconds of a duration such as ``1h30m``."""
    return sum(int(number) * _UNITS_US[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdw])", text))


def units(text: str, places: int = 9) -> int:
    """A decimal as a whole number of 10⁻ᵖˡᵃᶜᵉˢ, rounded half-even."""
    return int(Decimal(text).scaleb(places).to_integral_value(ROUND_HALF_EVEN))


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def time_text(time_us: int) -> str:
    """RFC 3339, always with microseconds."""
    return f"{EPOCH + timedelta(microseconds=time_us):%Y-%m-%dT%H:%M:%S.%fZ}"


# --- case → files, case → reference ---


def write_files(case: ConformanceCase, folder: Path, records: Sequence[Record] | None = None) -> Path:
    """Write log, rules, rates and pipeline file; gives the path of the pipeline file.

    records: another order of the case's own, or copies of them. Each topic is one file.
    """
    lines = defaultdict(list)
    for record in case.records if records is None else records:
        lines[record.topic].append(record.line + b"\n")
    for topic in TOPICS:
        (folder / "log" / topic).mkdir(parents=True)
        (folder / "log" / topic / "events.jsonl").write_bytes(b"".join(lines[topic]))
    (folder / "rules").mkdir()
    plain = reference_case(case)
    for name, text in to_rule_files(plain).items():
        (folder / "rules" / name).write_text(text, encoding="utf-8")
    (folder / "fx.csv").write_text(to_fx_csv(plain), encoding="utf-8")
    pipeline = folder / "pipeline.toml"
    pipeline.write_text(_pipeline_toml(case.settings), encoding="utf-8")
    return pipeline


def _pipeline_toml(settings: Mapping[str, str]) -> str:
    topics = "".join(f'[[input.topic]]\nname = "{name}"\nkind = "{kind}"\n' for name, kind in TOPICS.items())
    durations = ("allowed_lateness", "reversal_window", "max_future_skew")
    return (
        f'base_currency = "{settings["base_currency"]}"\nrules = "rules"\nfx = "fx.csv"\n'
        f'fx_max_age = "{settings["fx_max_age"]}"\n'
        f'[input]\nsource = "files"\npath = "log"\nmax_record_bytes = {settings["max_record_bytes"]}\n{topics}'
        "[time]\n" + "".join(f'{key} = "{settings[key]}"\n' for key in durations) + '[output]\npath = "out"\n'
        '[state]\npath = "state"\n'
    )


def reference_case(case: ConformanceCase) -> Case:
    """The case in the reference's plain form, without the records that its own dead letters say are refused."""
    refused = {
        (row["source_topic"], row["source_offset"])
        for row in (case.expected["dead_letters"].rows if "dead_letters" in case.expected else ())
        if row["reason"] != "conflicting_duplicate"
    }
    events: dict[str, list[Row]] = {
        topic: [
            _reference_event(line, topic) | {"position": (topic, 0, "events.jsonl", number)}
            for number, line in enumerate(case.topic_records(topic))
            if (topic, number) not in refused
        ]
        for topic in TOPICS
    }
    durations = {key: duration_us(case.settings[key]) for key in ("reversal_window", "allowed_lateness")}
    settings = {"base_currency": case.settings["base_currency"], **durations}
    settings["fx_max_age"] = duration_us(case.settings["fx_max_age"]) // _UNITS_US["d"]
    return Case(**events, rules=case.rules, fx=case.rates, settings=settings)


def _reference_event(line: bytes, topic: str) -> Row:
    """A valid record: absent is missing, the first of equal keys counts, one named inference is a list of one."""
    known = json.loads(line, parse_float=str, parse_int=str, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    event: Row = {}
    for key, value in known.items():
        if value is None:
            continue
        if key in PLACES:
            event[key] = units(value, PLACES[key])
        elif key == "event_time":
            event[key] = int(value) * 1_000 if value.isdigit() else microseconds(datetime.fromisoformat(value))
        elif key == "inference_id" and topic != "inferences":
            event["inference_ids"] = [value]
        elif not key.startswith("x_"):
            event[key] = value
    return event
