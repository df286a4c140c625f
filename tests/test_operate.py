"""docs/operate.md explains every file of deploy/, metric, alert and message that ends a run, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, UnavailableError
from tests.pages import ROOT, first_words, rows, section, words
from tests.promql import served_metrics
from tests.test_monitoring import DEPLOY, alerts

PAGE = "docs/operate.md"
#: What `run` takes part in, whose errors end it.
OF_A_RUN = (
    *sorted((ROOT / "streams" / "live").glob("*.py")),
    *(ROOT / "streams" / f"{name}.py" for name in ("kafka_client", "file_source", "digests", "parquet_sink")),
)
EXIT_CODES = {
    "UnavailableError": UnavailableError.exit_code,
    "FencedError": UnavailableError.exit_code,
    "ConfigurationError": ConfigurationError.exit_code,
    "setting_error": ConfigurationError.exit_code,
}


def test_every_file_of_the_folder_is_named() -> None:
    head = (ROOT / PAGE).read_text().partition("\n## ")[0]
    assert set(first_words(head)) == {path.relative_to(ROOT).as_posix() for path in DEPLOY.iterdir()}


def test_every_alert_is_explained_and_no_other() -> None:
    assert first_words(section(PAGE, "Alerts")) == [rule["alert"] for rule in alerts()]


def test_every_metric_is_explained_and_no_other() -> None:
    shown = first_words(section(PAGE, "What each metric means"))
    served = {re.sub("_(bucket|sum|count)$", "", name) for name in served_metrics()}
    assert set(shown) <= served
    assert {name for name in served if name.startswith("attribution_")} <= set(shown)
    assert len(shown) == len(set(shown))


# --- the messages that end a run ---


def messages(source: str) -> Iterator[tuple[int, str]]:
    """(exit code, message) of each error that is made there; … stands for what is only known when it happens."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in EXIT_CODES and node.args:
            text = _text(node.args[0])
            named = {keyword.arg: _text(keyword.value) for keyword in node.keywords}
            if "expected" in named:
                text += f": expected {named['expected']}, got {named['got']}"
            yield EXIT_CODES[node.func.id], text


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    return "…"


def texts(source: str) -> Iterator[str]:
    """Every text of a program."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            yield _text(node)


def runbook() -> dict[str, int]:
    return {words(row[0])[0]: int(row[1]) for row in rows(section(PAGE, "When it stops"))}


def explains(shown: str, message: str) -> bool:
    """Whether a message is one that the runbook shows; … in what is shown stands for anything.

    >>> explains("offset … is gone", "t/0: offset … is gone, the broker's first is …")
    True
    """
    return re.search(".*?".join(map(re.escape, shown.split("…"))), message) is not None


@pytest.mark.parametrize("path", OF_A_RUN, ids=lambda path: Path(path).stem)
def test_every_message_that_ends_a_run_is_explained_with_its_exit_code(path: Path) -> None:
    shown = runbook()
    made = [(code, text) for code, text in messages(path.read_text()) if re.search("[a-z]{3}", text)]
    unexplained = [text for code, text in made if code not in {shown[key] for key in shown if explains(key, text)}]
    assert unexplained == []


def test_every_message_that_is_explained_is_one_that_the_program_has() -> None:
    known = [text for path in sorted((ROOT / "streams").rglob("*.py")) for text in texts(path.read_text())]
    known.append(": expected …, got …")  # the one shape of a configuration message: schemas/errors.py
    assert [shown for shown in runbook() if not any(explains(shown, text) for text in known)] == []


def test_a_message_without_an_explanation_is_found() -> None:
    source = 'raise UnavailableError(f"{path}: the moon is full: {error}") from error'
    assert list(messages(source)) == [(3, "…: the moon is full: …")]
    assert not any(explains(shown, "…: the moon is full: …") for shown in runbook())
    source = 'raise setting_error(f"{file}: a.b", expected="a folder", got=Bare("nothing"))'
    assert list(messages(source)) == [(2, "…: a.b: expected a folder, got …")]
