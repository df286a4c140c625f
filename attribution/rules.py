"""Attribution rules: which outcomes earn an inference credit, for how long, and what they are worth.

One TOML text holds the rules of one use case. Everything is checked here, once; an error names file, rule,
key, what was expected, what was found and a hint. What comes out has every default filled in and every
number as an integer, so equal rules are equal values however they were written: ``"24h"`` and ``"1d"`` are
both 86,400,000,000 µs, ``"0.320"`` and ``"0.32"`` both 320,000,000 units of 1e-9.

**Rules are dated and immutable:** their digests show that they have not changed since they were used.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from attribution.decimals import Bounds
from attribution.toml_tables import Bare, Table, parse_toml
from attribution.windows import time_text
from schemas.errors import setting_error

KINDS = ("conversion", "time_saved")
JOINS = ("inference", "trace")
CREDITS = ("first", "last", "linear", "time_decay", "position")
EFFECTS = ("gain", "loss")
ANY = "*"
MAX_TOUCHES = 10_000

#: Shares and position weights are millionths; money, rates and seconds units of 1e-9.
SHARE_PLACES = 6
ONE = 10**9
ONE_SHARE = 10**SHARE_PLACES
POSITION_WEIGHTS = (400_000, 200_000, 400_000)


@dataclass(frozen=True)
class Rule:
    """One rule, in force for inferences from ``effective_from_us`` until a later one for its kind and type.

    Durations and times are microseconds (UTC); money, rates, realisation and seconds are units of 1e-9;
    shares and position weights are millionths. Keys that do not apply hold their default, or None.
    """

    use_case: str
    kind: str  # "conversion" | "time_saved"
    type: str  # outcome type or "*"
    effective_from_us: int
    join: str  # "inference" | "trace"
    lookback_window_us: int
    early_tolerance_us: int
    credit: str  # first | last | linear | time_decay | position
    half_life_us: int | None
    position_weights: tuple[int, int, int]
    share: int
    max_touches: int | None
    margin: int
    value_per_event: int | None
    effect: str
    max_value: int | None
    baseline_seconds: int | None
    realisation: int
    max_seconds: int | None
    hourly_rates: tuple[tuple[str, int], ...]  # (role, rate), sorted; () for conversion
    # Where it was written, for messages; no part of what the rule says.
    file: str = field(default="", compare=False)
    number: int = field(default=0, compare=False)

    @property
    def rule_id(self) -> str:
        """``use_case/kind/type/2026-01-01T00:00:00Z``, with a fraction of a second only if there is one."""
        return f"{self.use_case}/{self.kind}/{self.type}/{time_text(self.effective_from_us)}"

    @property
    def place(self) -> str:
        """Where a message about the rule points to."""
        return f"{self.file}: rule {self.number}"

    def digest(self) -> str:
        """SHA-256 (hex) of the parsed rule as canonical JSON: sorted keys, no blanks, UTF-8."""
        content = {key: value for key, value in asdict(self).items() if key not in ("file", "number")}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Rules:
    """All rules of a pipeline, sorted by (use_case, kind, type, effective_from_us), texts as bytes."""

    rules: tuple[Rule, ...]

    def digest(self) -> str:
        """SHA-256 (hex) over the digests of all rules in their order."""
        return hashlib.sha256("\n".join(rule.digest() for rule in self.rules).encode()).hexdigest()


def combine(rule_lists: Iterable[Sequence[Rule]]) -> Rules:
    """The rules of all files as one sorted set.

    Raises ConfigurationError, naming both places, if two files share a use case or two rules an identity.
    """
    by_use_case: dict[str, str] = {}
    by_id: dict[str, Rule] = {}
    for rules in rule_lists:
        for use_case, file in {rule.use_case: rule.file for rule in rules}.items():
            if use_case in by_use_case:
                hint = f"{by_use_case[use_case]} has it too: one use case is one file"
                raise setting_error(f"{file}: use_case", expected="a use case of its own", got=use_case, hint=hint)
            by_use_case[use_case] = file
        for rule in rules:
            _add(by_id, rule)
    order = sorted(by_id.values(), key=lambda r: (r.use_case.encode(), r.kind, r.type.encode(), r.effective_from_us))
    return Rules(tuple(order))


def parse_rules(text: str, file: str) -> list[Rule]:
    """The rules of one file, in the order of the file; ``file`` is its name for messages.

    Raises ConfigurationError at the first thing that is wrong.
    """
    top = Table(file, parse_toml(text, file))
    top.refuse_unknown(("use_case", "rule"))
    use_case = top.text("use_case")
    tables = top.tables("rule")
    _refuse_finer_than_microseconds(text, file, tables)
    by_id: dict[str, Rule] = {}
    for number, values in enumerate(tables, start=1):
        _add(by_id, _rule(Table(f"{file}: rule {number}", values), use_case, file, number))
    return list(by_id.values())


def _add(by_id: dict[str, Rule], rule: Rule) -> None:
    """Files the rule under its id; two versions with one start are an error."""
    other = by_id.setdefault(rule.rule_id, rule)
    if other is not rule:
        expected = f"a start of its own for {rule.kind} and type {rule.type}"
        hint = f"{other.place} starts then too: give the newer one its own date"
        got = Bare(time_text(rule.effective_from_us))
        raise setting_error(f"{rule.place}: effective_from", expected=expected, got=got, hint=hint)


_KEYS = (
    "effective_from", "kind", "type", "join", "lookback_window", "early_tolerance", "credit", "half_life",
    "position_weights", "share", "max_touches", "margin", "value_per_event", "effect", "max_value",
    "baseline_seconds", "realisation", "max_seconds", "hourly_rate",
)  # fmt: skip
#: A key on the left applies only where the key on the right has that word.
_ONLY_WITH = {
    "half_life": ("credit", "time_decay"),
    "position_weights": ("credit", "position"),
    "max_touches": ("join", "trace"),
    "margin": ("kind", "conversion"),
    "value_per_event": ("kind", "conversion"),
    "effect": ("kind", "conversion"),
    "max_value": ("kind", "conversion"),
    "baseline_seconds": ("kind", "time_saved"),
    "realisation": ("kind", "time_saved"),
    "max_seconds": ("kind", "time_saved"),
    "hourly_rate": ("kind", "time_saved"),
}
_MONEY = Bounds()
_CAP = Bounds(positive=True)
_FRACTION = Bounds(high=1, including=True)
_SHARE = Bounds(places=SHARE_PLACES, positive=True)
_WEIGHT = Bounds(places=SHARE_PLACES)
_SECONDS = Bounds(high=10**9, integers=True)
_SECONDS_CAP = Bounds(high=10**9, integers=True, positive=True)


def _rule(table: Table, use_case: str, file: str, number: int) -> Rule:
    table.refuse_unknown(_KEYS)
    kind = table.word("kind", KINDS)
    join = table.word("join", JOINS, default="inference")
    credit = table.word("credit", CREDITS)
    _refuse_what_does_not_apply(table, {"kind": kind, "join": join, "credit": credit})
    return Rule(
        use_case=use_case,
        kind=kind,
        type=table.text("type"),
        effective_from_us=table.time("effective_from"),
        join=join,
        lookback_window_us=table.duration("lookback_window"),
        early_tolerance_us=table.duration("early_tolerance") if "early_tolerance" in table else 0,
        credit=credit,
        half_life_us=table.duration("half_life", positive=True) if credit == "time_decay" else None,
        position_weights=_position_weights(table) if "position_weights" in table else POSITION_WEIGHTS,
        share=table.decimal("share", _SHARE, ONE_SHARE),
        max_touches=table.integer("max_touches", 1, MAX_TOUCHES) if join == "trace" else None,
        margin=table.decimal("margin", _FRACTION, ONE),
        value_per_event=table.optional_decimal("value_per_event", _MONEY),
        effect=table.word("effect", EFFECTS, default="gain"),
        max_value=table.optional_decimal("max_value", _CAP),
        baseline_seconds=table.optional_decimal("baseline_seconds", _SECONDS),
        realisation=table.decimal("realisation", _FRACTION, ONE),
        max_seconds=table.optional_decimal("max_seconds", _SECONDS_CAP),
        hourly_rates=_hourly_rates(table) if kind == "time_saved" else (),
        file=file,
        number=number,
    )


def _refuse_what_does_not_apply(table: Table, words: Mapping[str, str]) -> None:
    for key, (governor, word) in _ONLY_WITH.items():
        if key in table and words[governor] != word:
            expected, got = f'{governor} = "{word}" beside it', Bare(f'{governor} = "{words[governor]}"')
            raise table.error(key, expected, got=got, hint=f"{key} does not apply here: remove it")
    if "margin" in table and "value_per_event" in table:
        hint = "value_per_event replaces margin: remove one of the two"
        raise table.error("margin", "no value_per_event beside it", got=Bare("both"), hint=hint)


def _position_weights(table: Table) -> tuple[int, int, int]:
    expected = 'three weights in quotes such as ["0.4", "0.2", "0.4"]: first, middle, last; first + last above 0'
    weights = table.get("position_weights", expected)
    if not isinstance(weights, list) or len(weights) != 3:
        raise table.error("position_weights", expected)
    parts = Table(f"{table.place}: position_weights", dict(zip(("first", "middle", "last"), weights, strict=True)))
    first, middle, last = (parts.decimal(name, _WEIGHT) for name in parts.values)
    if first + last == 0:
        raise table.error("position_weights", expected, hint="with no weight at either end two touches share nothing")
    return first, middle, last


def _hourly_rates(table: Table) -> tuple[tuple[str, int], ...]:
    rates = table.get("hourly_rate", expected := 'a table of rates by role such as { "*" = "38.00" }')
    if not isinstance(rates, dict):
        raise table.error("hourly_rate", expected, hint='"*" is the rate of every role without one of its own')
    roles = Table(f"{table.place}: hourly_rate", rates)
    roles.get(ANY, "the rate of every role without one of its own")
    return tuple((role, roles.decimal(role, _MONEY)) for role in sorted(rates, key=str.encode))


_FINE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d\.\d{5}(\d)\d*[1-9]")


def _refuse_finer_than_microseconds(text: str, file: str, tables: Sequence[Mapping[str, object]]) -> None:
    """The TOML parser cuts off digits past the microsecond without a word, and a rule's start must be exact.

    A candidate in the text may as well stand in a comment: it is a start only if another sixth digit in
    its place gives another start.
    """
    for found in _FINE_TIME.finditer(text):
        other = str(9 - int(found[1]))
        altered = tomllib.loads(text[: found.start(1)] + other + text[found.end(1) :]).get("rule", [])
        for number, (rule, changed) in enumerate(zip(tables, altered, strict=True), start=1):
            if rule.get("effective_from") != changed.get("effective_from"):
                place = f"{file}: rule {number}: effective_from"
                raise setting_error(place, expected="at most six digits after the second", got=Bare(found[0]))
