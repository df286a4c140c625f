"""``attribution rules check | show | diff``: what the rule files say, once every default is filled in.

What ``show`` prints is itself valid TOML, and parses to the same rules.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from attribution.decimals import decimal_text
from attribution.rules import Rule, parse_rules
from attribution.windows import format_duration, time_text
from schemas.errors import ConfigurationError
from streams.rule_files import load_rules, read_text, rule_paths, rules_of

NO_DIFFERENCE = 0
DIFFERENCE = 1
_NOTHING = "nothing"


def check(paths: Sequence[Path]) -> str:
    """One line per file with its use case, number of rules and digest, and one for all of them.

    Several paths are checked as one set. Raises ConfigurationError with one line per wrong file.
    """
    lines, errors = [], []
    files = [file for path in paths for file in rule_paths(path)]
    for file in files:
        try:
            rules = parse_rules(read_text(file), str(file))
        except ConfigurationError as error:
            errors.append(str(error))
        else:
            lines += [f"{file}: {rules[0].use_case}: {_count(len(rules), 'rule')}"]
            lines += [f"  {rule.rule_id}  {rule.digest()}" for rule in rules]
    if errors:
        raise ConfigurationError("\n".join(errors))
    everything = rules_of(list(paths))
    total = f"{_count(len(files), 'file')}, {_count(len(everything.rules), 'rule')}"
    return "\n".join([*lines, f"{total}, all fine, digest {everything.digest()}"]) + "\n"


def show(paths: Sequence[Path]) -> str:
    """Every rule with all keys that apply, one block per use case. Raises ConfigurationError."""
    blocks = []
    for use_case, rules in groupby(rules_of(list(paths)).rules, key=lambda rule: rule.use_case):
        tables = [_table(rule) for rule in rules]
        blocks.append("\n".join([f"use_case = {_quoted(use_case)}\n", *tables]))
    return "\n".join(blocks)


def diff(old: Path, new: Path) -> tuple[str, int]:
    """What changed per rule, and the exit code: 1 if there are differences, else 0. Raises ConfigurationError."""
    before = {rule.rule_id: _described(rule) for rule in load_rules(old).rules}
    after = {rule.rule_id: _described(rule) for rule in load_rules(new).rules}
    lines = []
    for rule_id in sorted(before.keys() | after.keys(), key=str.encode):
        if rule_id not in before:
            lines.append(f"added    {rule_id}")
        elif rule_id not in after:
            lines.append(f"removed  {rule_id}")
        elif before[rule_id] != after[rule_id]:
            lines += [f"changed  {rule_id}", *_changes(before[rule_id], after[rule_id])]
    if not lines:
        return "no differences\n", NO_DIFFERENCE
    return "\n".join(lines) + "\n", DIFFERENCE


def _changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    keys = list(dict.fromkeys([*before, *after]))
    pairs = [(key, before.get(key, _NOTHING), after.get(key, _NOTHING)) for key in keys]
    return [f"  {key}: {old} -> {new}" for key, old, new in pairs if old != new]


def _table(rule: Rule) -> str:
    values = "".join(f"{key} = {text}\n" for key, text in _described(rule).items())
    comment = _quoted(f"{rule.place}, {rule.rule_id}")  # a name may hold a line end
    return f"# {comment}\n[[rule]]\n{values}"


def _described(rule: Rule) -> dict[str, str]:
    """Every key that applies to the rule, with its value as TOML; a cap that is not set is left out."""
    described = {
        "effective_from": time_text(rule.effective_from_us),
        "kind": _quoted(rule.kind),
        "type": _quoted(rule.type),
        "join": _quoted(rule.join),
        "lookback_window": _quoted(format_duration(rule.lookback_window_us)),
        "early_tolerance": _quoted(format_duration(rule.early_tolerance_us)),
        "credit": _quoted(rule.credit),
    }
    if rule.half_life_us is not None:
        described["half_life"] = _quoted(format_duration(rule.half_life_us))
    if rule.credit == "position":
        weights = ", ".join(_decimal(weight, 6) for weight in rule.position_weights)
        described["position_weights"] = f"[{weights}]"
    described["share"] = _decimal(rule.share, 6)
    if rule.max_touches is not None:
        described["max_touches"] = str(rule.max_touches)
    return described | (_conversion(rule) if rule.kind == "conversion" else _time_saved(rule))


def _conversion(rule: Rule) -> dict[str, str]:
    per_event = rule.value_per_event
    described = {"margin": _decimal(rule.margin)} if per_event is None else {"value_per_event": _decimal(per_event)}
    described["effect"] = _quoted(rule.effect)
    return described | ({} if rule.max_value is None else {"max_value": _decimal(rule.max_value)})


def _time_saved(rule: Rule) -> dict[str, str]:
    described = {} if rule.baseline_seconds is None else {"baseline_seconds": _decimal(rule.baseline_seconds)}
    described["realisation"] = _decimal(rule.realisation)
    if rule.max_seconds is not None:
        described["max_seconds"] = _decimal(rule.max_seconds)
    rates = {f"hourly_rate.{_quoted(role)}": _decimal(rate) for role, rate in rule.hourly_rates}
    return described | rates


def _decimal(number: int, places: int = 9) -> str:
    return _quoted(decimal_text(number, places))


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes, and DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
