"""A lower floor never imports a higher one, and the attribution function is pure; both checks are shown failing."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("attribution", "schemas", "streams")

#: What no import shows: the clock through ``datetime``, numpy's random numbers, files through polars and numpy.
IMPURE_NAMES = frozenset({"now", "today", "utcnow", "fromtimestamp", "open", "random", "sample", "shuffle", "memmap"})
IMPURE_PREFIXES = ("read_", "scan_", "sink_")


def check_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """``lint-imports`` as in ``make check``, over the packages in ``root``."""
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def impure_names(source: str) -> list[str]:
    """Names in a module that reach for the clock, random numbers or files, with their lines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in IMPURE_NAMES or name.startswith(IMPURE_PREFIXES):
            found.append((getattr(node, "lineno", 0), name))
    return [f"line {line}: {name}" for line, name in sorted(found)]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their contracts, in a folder where a violation may be planted."""
    for name in FLOORS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=_all_but_code)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _all_but_code(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (name.endswith(".py") or (Path(folder) / name).is_dir())]


def test_floors_hold() -> None:
    result = check_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_higher_import_is_found(copy: Path) -> None:
    (copy / "attribution" / "planted.py").write_text("import streams\n")
    result = check_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "attribution.planted -> streams" in result.stdout
    assert "A lower floor never imports a higher one BROKEN" in result.stdout


@pytest.mark.parametrize("module", ["os", "time", "random", "pathlib", "socket", "urllib.request"])
def test_an_impure_import_is_found(copy: Path, module: str) -> None:
    (copy / "attribution" / "planted.py").write_text(f"import {module}\n")
    result = check_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"attribution.planted -> {module.partition('.')[0]}" in result.stdout


def test_an_impure_import_by_way_of_another_module_is_found(copy: Path) -> None:
    (copy / "schemas" / "planted.py").write_text("import os\n")
    (copy / "attribution" / "planted.py").write_text("import schemas.planted\n")
    result = check_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "schemas.planted -> os" in result.stdout


def test_attribution_uses_no_clock_no_random_numbers_and_no_files() -> None:
    modules = sorted((ROOT / "attribution").rglob("*.py"))
    assert modules
    for path in modules:
        assert impure_names(path.read_text(encoding="utf-8")) == [], path.name


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("datetime.now(UTC)", "line 1: now"),
        ("numpy.random.default_rng(1)", "line 1: random"),
        ("\npl.scan_parquet(path)", "line 2: scan_parquet"),
        ("open(path)", "line 1: open"),
    ],
)
def test_an_impure_name_is_found(source: str, found: str) -> None:
    assert impure_names(source) == [found]
