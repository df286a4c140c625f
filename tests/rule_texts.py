"""Rules as TOML texts: one smallest rule of each sort, to be altered key by key."""

from __future__ import annotations

from pathlib import Path

from attribution.rules import Rule, parse_rules

CONVERSION = {
    "effective_from": "2026-01-01T00:00:00Z",
    "kind": '"conversion"',
    "type": '"purchase"',
    "lookback_window": '"7d"',
    "credit": '"last"',
}
TIME_SAVED = CONVERSION | {"kind": '"time_saved"', "type": '"*"', "hourly_rate": '{ "*" = "38.00" }'}
TRACE = CONVERSION | {"join": '"trace"', "max_touches": "50"}
DECAY = CONVERSION | {"credit": '"time_decay"', "half_life": '"2d"'}
POSITION = CONVERSION | {"credit": '"position"'}


def toml(*rules: dict[str, str], use_case: str = "search") -> str:
    tables = ["[[rule]]\n" + "".join(f"{key} = {value}\n" for key, value in rule.items()) for rule in rules]
    return "\n".join([f'use_case = "{use_case}"', *tables])


def parsed(rule: dict[str, str]) -> Rule:
    return parse_rules(toml(rule), "a.toml")[0]


def without(rule: dict[str, str], key: str) -> dict[str, str]:
    return {name: value for name, value in rule.items() if name != key}


def write(folder: Path, **texts: str) -> Path:
    """The texts as rule files ``NAME.toml`` in the folder, which it gives back."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
    return folder
