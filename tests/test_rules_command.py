"""``attribution rules check | show | diff``: what they print, and with which exit code they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from attribution.rules import combine, parse_rules
from schemas.errors import ConfigurationError
from streams import rules_command
from streams.rule_files import load_rules
from tests.rule_texts import CONVERSION, DECAY, POSITION, TIME_SAVED, TRACE, toml, write

EVERYTHING = {
    "a": toml(
        DECAY | {"margin": '"0.32"', "max_value": '"500"', "type": '"say \\"hi\\"\\n\\u007f"'},
        TRACE | {"type": '"*"', "value_per_event": '"4.2"', "effect": '"loss"', "early_tolerance": '"1h30m"'},
        POSITION | {"effective_from": "2026-03-01T00:00:00.25Z", "share": '"2.5"'},
    ),
    "b": toml(
        TIME_SAVED | {"baseline_seconds": '"0.5"', "max_seconds": "7200", "hourly_rate": '{ "*" = "1", "a b" = "2" }'},
        use_case="support",
    ),
}


def test_show_prints_every_default_and_what_it_prints_parses_to_the_same_rules(tmp_path: Path) -> None:
    folder = write(tmp_path / "rules", **EVERYTHING)
    for name in EVERYTHING:
        (tmp_path / f"{name}.toml").write_text(rules_command.show([folder / f"{name}.toml"]))
    rules = load_rules(folder).rules
    again = combine([parse_rules((tmp_path / f"{name}.toml").read_text(), name) for name in EVERYTHING])
    assert again.rules == rules
    assert rules_command.show([folder]) == "\n".join((tmp_path / f"{name}.toml").read_text() for name in EVERYTHING)


def test_show_reads_as_a_rule_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(toml(CONVERSION))
    assert rules_command.show([tmp_path]) == (
        'use_case = "search"\n\n'
        f'# "{tmp_path}/a.toml: rule 1, search/conversion/purchase/2026-01-01T00:00:00Z"\n'
        "[[rule]]\n"
        "effective_from = 2026-01-01T00:00:00Z\n"
        'kind = "conversion"\n'
        'type = "purchase"\n'
        'join = "inference"\n'
        'lookback_window = "7d"\n'
        'early_tolerance = "0s"\n'
        'credit = "last"\n'
        'share = "1"\n'
        'margin = "1"\n'
        'effect = "gain"\n'
    )


def test_check_prints_files_counts_and_digests(tmp_path: Path) -> None:
    folder = write(tmp_path / "rules", a=toml(CONVERSION, TIME_SAVED), b=toml(CONVERSION, use_case="b"))
    rules = load_rules(folder)
    lines = [f"  {rule.rule_id}  {rule.digest()}\n" for rule in rules.rules]
    assert rules_command.check([folder]) == (
        f"{folder}/a.toml: search: 2 rules\n{lines[1]}{lines[2]}"
        f"{folder}/b.toml: b: 1 rule\n{lines[0]}"
        f"2 files, 3 rules, all fine, digest {rules.digest()}\n"
    )
    assert lines[0].startswith("  b/conversion/purchase/2026-01-01T00:00:00Z  ")


def test_check_names_every_wrong_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "rules", a="x = 1", b=toml(CONVERSION), c="y = 1")
    with pytest.raises(ConfigurationError) as caught:
        rules_command.check([folder])
    assert [line.partition(": expected")[0] for line in str(caught.value).splitlines()] == [
        f"{folder}/a.toml: x",
        f"{folder}/c.toml: y",
    ]


def test_diff_names_what_was_added_removed_and_changed_and_ends_with_1(tmp_path: Path) -> None:
    old = write(tmp_path / "old", a=toml(CONVERSION | {"margin": '"0.32"'}, DECAY | {"type": '"signup"'}))
    new = write(
        tmp_path / "new", a=toml(CONVERSION | {"value_per_event": '"4"', "lookback_window": '"1d"'}, TIME_SAVED)
    )
    text, exit_code = rules_command.diff(old, new)
    assert exit_code == 1
    assert text == (
        "changed  search/conversion/purchase/2026-01-01T00:00:00Z\n"
        '  lookback_window: "7d" -> "1d"\n'
        '  margin: "0.32" -> nothing\n'
        '  value_per_event: nothing -> "4"\n'
        "removed  search/conversion/signup/2026-01-01T00:00:00Z\n"
        "added    search/time_saved/*/2026-01-01T00:00:00Z\n"
    )


def test_diff_of_equal_rules_ends_with_0(tmp_path: Path) -> None:
    old = write(tmp_path / "old", a=toml(CONVERSION | {"lookback_window": '"24h"'}))
    new = write(tmp_path / "new", renamed=toml(CONVERSION | {"lookback_window": '"1d"', "margin": '"1.0"'}))
    assert rules_command.diff(old, new) == ("no differences\n", 0)
