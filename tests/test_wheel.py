"""The wheel is self-contained: the command works where there is no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*arguments: str | Path, cwd: Path, path: Path | None = None) -> str:
    """Standard output of a command that must succeed, with ``path`` as the only project to import."""
    # `-P`/PYTHONSAFEPATH: the current folder is nothing to import from.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONSAFEPATH": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    result = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's contents and its command; dependencies come from the running Python."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    run(*pip, "--target", folder, wheel, cwd=folder)
    return folder


def attribution(installed: Path, *arguments: str | Path, cwd: Path) -> str:
    return run(installed / "bin" / "attribution", *arguments, cwd=cwd, path=installed)


def test_the_wheel_holds_the_packages_their_data_and_the_configurations(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "configs").rglob("*"):
        assert path.is_dir() or f"streams/_configs/{path.relative_to(ROOT / 'configs').as_posix()}" in names
    for package in ("attribution", "schemas", "streams"):
        for path in (ROOT / package).rglob("*"):
            assert path.is_dir() or path.suffix == ".pyc" or path.relative_to(ROOT).as_posix() in names


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert top == {"attribution", "schemas", "streams", f"attribution_engine-{PROJECT['version']}.dist-info"}


def test_the_installed_packages_are_those_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    program = "import attribution, schemas, streams; print(attribution.__file__, schemas.__file__, streams.__file__)"
    files = run(sys.executable, "-c", program, cwd=tmp_path, path=installed).split()
    assert [Path(file).parents[1] for file in files] == [installed] * 3


def test_help_and_version_are_printed(installed: Path, tmp_path: Path) -> None:
    assert "replay" in attribution(installed, "--help", cwd=tmp_path)
    assert PROJECT["version"] in attribution(installed, "--version", cwd=tmp_path)


def test_the_demo_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    attribution(installed, "demo", "--dir", tmp_path, cwd=tmp_path)
    assert list(tmp_path.rglob("credits/*/*.parquet"))
