"""Reads rule files: a folder of ``*.toml``, one use case each, or a single file.

Sub-folders and names that start with a dot (an editor's lock and swap files) are left alone.
"""

from __future__ import annotations

from pathlib import Path

from attribution.rules import Rules, combine, parse_rules
from attribution.toml_tables import Bare
from schemas.errors import setting_error


def load_rules(path: Path) -> Rules:
    """All rules below a path, checked and sorted.

    Raises ConfigurationError for a missing, empty or unreadable path and for anything wrong in a file.
    """
    return rules_of([path])


def rules_of(paths: list[Path]) -> Rules:
    """The rules of several folders and files as one set; errors as in ``load_rules``."""
    return combine([parse_rules(read_text(file), str(file)) for path in paths for file in rule_paths(path)])


def rule_sources(path: Path) -> list[tuple[str, bytes]]:
    """(file name, content) of every rule file in name order: the copies kept beside the tables they made."""
    return [(file.name, _read(file)) for file in rule_paths(path)]


def rule_paths(path: Path) -> list[Path]:
    """The rule files of a folder in name order, or the one file itself."""
    if not path.exists():
        raise setting_error(str(path), expected="a folder of rule files (*.toml) or one", got=Bare("nothing there"))
    if not path.is_dir():
        return [path]
    try:
        files = sorted(file for file in path.iterdir() if file.suffix == ".toml" and not file.name.startswith("."))
    except OSError as error:
        raise setting_error(str(path), expected="a readable folder", got=Bare(error.strerror or str(error))) from error
    if not files:
        raise setting_error(str(path), expected="at least one rule file (*.toml)", got=Bare("none"))
    return files


def read_text(file: Path) -> str:
    """The text of a configuration file; raises ConfigurationError if it is missing, unreadable or not UTF-8."""
    try:
        return _read(file).decode()
    except UnicodeDecodeError as error:
        got = Bare(f"other bytes at position {error.start}")
        raise setting_error(str(file), expected="UTF-8 text", got=got) from error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise setting_error(str(file), expected="a readable file", got=Bare(error.strerror or str(error))) from error
