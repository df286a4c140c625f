"""Where rules are read from: a folder of rule files, or one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from streams.rule_files import load_rules, rule_sources
from tests.rule_texts import CONVERSION, TIME_SAVED, toml, write


def test_a_folder_and_a_single_file_are_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "rules", b=toml(CONVERSION, use_case="b"), a=toml(TIME_SAVED, use_case="a"))
    (folder / "notes.md").write_text("not a rule")
    (folder / ".#a.toml").write_text("an editor's lock")
    assert [rule.use_case for rule in load_rules(folder).rules] == ["a", "b"]
    assert [rule.use_case for rule in load_rules(folder / "b.toml").rules] == ["b"]
    assert [name for name, _ in rule_sources(folder)] == ["a.toml", "b.toml"]
    assert rule_sources(folder / "b.toml") == [("b.toml", (folder / "b.toml").read_bytes())]


def test_missing_empty_and_unreadable_rules_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.toml").write_bytes(b'use_case = "caf\xe9"')
    (tmp_path / "folder" / "x.toml").mkdir(parents=True)
    expected = {
        "none": "none: expected a folder of rule files (*.toml) or one, got nothing there",
        "empty": "empty: expected at least one rule file (*.toml), got none",
        "latin.toml": "latin.toml: expected UTF-8 text, got other bytes at position 15",
        "folder": "folder/x.toml: expected a readable file, got Is a directory",
    }
    for name, message in expected.items():
        with pytest.raises(ConfigurationError) as caught:
            load_rules(tmp_path / name)
        assert str(caught.value) == f"{tmp_path}/{message}"
