"""What no file of the project may hold, and what holds for the lock and for skipped tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HIDDEN_BUT_OURS = {".ci", ".editorconfig", ".github", ".gitattributes", ".gitignore"}
MADE = {"__pycache__", "build", "demo", "dist", "kafka-demo"}  # by make and Python; .gitignore names them too

# The patterns and the cases below are written so that this file does not hold what it looks for.
FORBIDDEN = {
    "a package index": re.compile(r"pypi[.]org|python[h]osted|(?<!emit-)index-[u]rl|find-[l]inks"),
    "a path of one machine": re.compile(r"(?<![\w.:/~])/(?:work|root|home|Users)(?![\w-])"),
    "an open end": re.compile(r"\b(?:TO[D]O|FIX[M]E)\b"),
}


def own_files(folder: Path = ROOT) -> Iterator[Path]:
    """Every file of the project; a walk, since an unpacked archive has no git."""
    for path in sorted(folder.iterdir()):
        is_ours = path.name in HIDDEN_BUT_OURS or not path.name.startswith(".")
        is_made = path.name.endswith(".egg-info") or (path.name in MADE and (folder == ROOT or path.name[0] == "_"))
        if is_ours and not is_made:
            if path.is_dir():
                yield from own_files(path)
            else:
                yield path


def found(text: str, what: str) -> list[str]:
    """The lines that hold it."""
    return [line for line in text.splitlines() if FORBIDDEN[what].search(line)]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    lines = {
        str(path.relative_to(ROOT)): found(path.read_text(encoding="utf-8", errors="replace"), what)
        for path in own_files()
    }
    assert {name: held for name, held in lines.items() if held} == {}


SLASH = "/"


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a package index", "--index-{}rl https://mirror.example/simple".format("u")),
        ("a package index", "# from https://pypi{}org/simple".format(".")),
        ("a path of one machine", f'path = "{SLASH}home/me/data"'),
        ("a path of one machine", f"cd {SLASH}root"),
        ("an open end", "# TO{}O: later".format("D")),
    ],
)
def test_what_may_not_stand_is_found(what: str, line: str) -> None:
    assert found(f"first\n{line}\nlast\n", what) == [line]


@pytest.mark.parametrize("line", ["tests/root/a", "s3://bucket/home/a", "/workers", "--no-emit-index-url"])
def test_what_only_looks_like_it_is_not_found(line: str) -> None:
    assert [what for what in FORBIDDEN if found(line, what)] == []


def test_the_walk_sees_the_project() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in own_files()}
    assert {"Makefile", "requirements.lock", ".ci/run", "schemas/events.py", "tests/test_repository.py"} <= names
    assert not any(name.startswith((".venv/", ".git/")) or "__pycache__" in name for name in names)


def test_every_line_of_the_lock_is_pinned_and_has_a_hash() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", "")
    requirements = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert requirements
    for line in requirements:
        assert re.match(r"[a-z0-9._-]+==[0-9][^ ]*( ; [^#]+?)? +--hash=sha256:[0-9a-f]{64}( |$)", line), line


SKIPPED = """
import pytest

def test_a():
    pytest.skip({reason!r})
"""


def outcome_of_a_skip(folder: Path, reason: str, ci: str) -> int:
    """pytest's exit code for one skipped test under this project's conftest."""
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_skip.py").write_text(SKIPPED.format(reason=reason))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=folder, env=os.environ | {"CI": ci}, capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    ("reason", "ci", "code"),
    [("needs a broker", "true", 0), ("later", "", 0), ("later", "true", 1), ("", "true", 1)],
)
def test_in_ci_a_skip_without_an_allowed_reason_fails(tmp_path: Path, reason: str, ci: str, code: int) -> None:
    assert outcome_of_a_skip(tmp_path, reason, ci) == code


def test_in_ci_a_module_skipped_whole_without_an_allowed_reason_fails(tmp_path: Path) -> None:
    (tmp_path / "test_module.py").write_text("import pytest\npytest.skip('later', allow_module_level=True)\n")
    assert outcome_of_a_skip(tmp_path, "needs a broker", "true") != 0
