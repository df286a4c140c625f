"""The documentation is true: its examples run, its tables are complete, its links lead somewhere.

Fenced blocks are run page by page, in order, in a folder in which the demo has just been run; ``tests/pages.py``
says what a block of each language is.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import json
import pkgutil
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from attribution.bill_rows import UnallocatedReason
from attribution.check import Condition
from attribution.cost_model import Driver
from attribution.costs import CostReason
from attribution.figures import _BANDS, BILL_FIGURES, FIGURES, REASONS
from attribution.rules import _KEYS as RULE_KEYS
from attribution.rules import parse_rules
from schemas.costs import COSTS
from schemas.errors import AttributionError, UnavailableError
from schemas.events import FIELDS, Kind
from schemas.outputs import TABLES, in_files
from schemas.reasons import Refusal, Unattributed
from streams import runner
from streams.audit import explained
from streams.audit.command import _REFUSED_LATER
from streams.audit.files import FileProblem
from streams.bills.columns import COLUMN_KEYS
from streams.cli import main
from streams.cost_file import COST_KEYS, load_cost_file
from streams.cost_tables import TABLE_KEYS
from streams.fx_file import parse_fx
from streams.live import http, reporting
from streams.live.http import Metrics
from streams.settings import _SECTIONS, load_settings
from streams.strict_record import Limits, Refused, decode_record
from tests.pages import (
    PAGES,
    blocks,
    broken_links,
    called,
    commands,
    first_words,
    options_of,
    prose,
    rows,
    run_page,
    section,
    unknown_in,
    words,
)

LANGUAGES = {"console", "csv", "json", "python", "sh", "text", "toml"}
LIMITS = Limits(max_record_bytes=1_048_576, max_future_skew_us=0, now_us=4_000_000_000_000_000)

# --- examples ---


@dataclass(frozen=True)
class Demo:
    """folder: where ``attribution demo --dir .`` was run; output: what it printed."""

    folder: Path
    output: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    with contextlib.chdir(folder):
        result = CliRunner().invoke(main, ["demo", "--dir", "."], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return Demo(folder, result.output)


@pytest.mark.parametrize("page", PAGES)
def test_every_example_gives_what_it_shows(
    page: str, demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGES[page].read_text()
    if any(block.language in ("console", "python") for block in blocks(text)):
        shutil.copytree(demo.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    if faults := run_page(text, page, demo.output):
        pytest.fail("\n".join(faults), pytrace=False)


def test_there_are_examples_and_every_block_has_a_known_language() -> None:
    found = [(page, block) for page, path in PAGES.items() for block in blocks(path.read_text())]
    assert {(page, block.line): block.language for page, block in found if block.language not in LANGUAGES} == {}
    assert {block.language for _, block in found} >= {"console", "python", "sh", "toml", "json"}


def test_configurations_and_events_in_the_pages_are_valid(demo: Demo) -> None:
    seen = set()
    for page, path in PAGES.items():
        for block in blocks(path.read_text()):
            place = f"{page}: line {block.line}"
            file = demo.folder / "configs" / "demo" / "page.toml"
            file.write_text(block.text)
            match block.language:
                case "toml" if "[[rule]]" in block.text:
                    parse_rules(block.text, place)
                case "toml" if "[[price_list]]" in block.text:
                    load_cost_file(file)
                case "toml":
                    load_settings(file)
                case "csv":
                    parse_fx(block.text, place, "USD")
                case "json":
                    for line in block.text.splitlines():
                        decoded = [decode_record(line.encode(), kind, LIMITS) for kind in Kind]
                        assert not all(isinstance(event, Refused) for event in decoded), (place, decoded)
                case _:
                    continue
            seen.add(block.language)
    assert seen == {"csv", "json", "toml"}


# --- commands ---


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_in_a_page_exists(page: str) -> None:
    text = PAGES[page].read_text()
    known = {option for _, command in commands() for option in options_of(command)}
    faults = [
        unknown_in(line) for line in called(text) if line.startswith((".venv/bin/attribution", "attribution", "make"))
    ]
    faults += [
        f"{span}: no such option" for span in words(prose(text)) if span[:2] == "--" and span.split()[0] not in known
    ]
    assert [fault for fault in faults if fault] == []


def test_every_command_and_option_is_documented() -> None:
    texts = "\n".join(path.read_text() for path in PAGES.values())
    for name, command in commands():
        assert name == "attribution" or f"{name} " in texts or f"{name}`" in texts, name
        for option in options_of(command) - {"-h", "--help", "--version"}:
            assert re.search(rf"{option}\b", texts), f"{name} {option}"


def test_every_exit_code_is_documented() -> None:
    codes = {0, 1, *(error.exit_code for error in AttributionError.__subclasses__())}
    assert UnavailableError.exit_code in codes
    assert first_words(section("docs/how_it_works.md", "Exit codes")) == [str(code) for code in sorted(codes)]


# --- reference tables ---


def test_every_reason_is_documented_in_the_order_in_which_it_is_tried() -> None:
    assert first_words(section("docs/semantics.md", "Unattributed")) == list(Unattributed)
    assert first_words(section("docs/semantics.md", "Refused records")) == list(Refusal)


def test_every_rule_key_and_credit_model_is_documented() -> None:
    assert first_words(section("docs/rules.md", "Keys")) == list(RULE_KEYS)
    from attribution.credit import CREDIT_MODELS

    assert first_words(section("docs/semantics.md", "Credit models")) == list(CREDIT_MODELS)


def settings_keys() -> dict[str, str]:
    """Each key's full name and its default as TOML; ``required`` or empty where there is none."""
    keys: dict[str, str] = {}
    for location, model in _SECTIONS.items():
        path = [part for part in location if part not in ("files", "kafka")]
        for name, field in model.model_fields.items():
            key = ".".join([*path, field.alias or name])
            if key in {"input", "input.security", "time", "output", "state", "archive", "http"}:
                continue
            default = field.default
            required = "required" if default is PydanticUndefined else ""
            keys[key] = required or ("" if default is None else json.dumps(default))
    return keys


def test_every_settings_key_is_documented_with_its_default() -> None:
    assert all(issubclass(model, BaseModel) for model in _SECTIONS.values())
    tables = [section("docs/settings.md", "Keys"), section("docs/settings.md", "Kafka")]
    shown = {words(row[0])[0]: row[2].strip("`") for table in tables for row in rows(table)}
    for key, default in settings_keys().items():
        assert key in shown, key
        assert not default or "required" in (default, shown[key]) or shown[key] == default, (key, default, shown[key])
    assert set(shown) <= set(settings_keys())


def test_every_field_of_an_event_is_documented() -> None:
    of_kinds = {words(row[0])[0]: words(row[1]) + words(row[2]) for row in rows(section("docs/settings.md", "Events"))}
    for kind, fields in FIELDS.items():
        choices = {choice for field in fields for choice in field.choices}
        assert set(of_kinds[kind]) - choices == {field.name for field in fields}, kind


_TYPE_NAMES: dict[pl.DataType, str] = {
    pl.String(): "text",
    pl.Datetime("us", "UTC"): "timestamp",
    pl.Decimal(38, 9): "decimal(38,9)",
    pl.Decimal(38, 12): "decimal(38,12)",
    pl.Int64(): "int64",
    pl.Int32(): "int32",
    pl.Int8(): "int8",
    pl.Boolean(): "boolean",
    pl.Date(): "date",
    pl.Binary(): "binary",
    pl.List(pl.String): "list(text)",
}


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_a_table_is_documented_with_its_type(table: str) -> None:
    shown = [(words(row[0])[0], row[1]) for row in rows(section("docs/tables.md", table))]
    assert shown == [(name, _TYPE_NAMES[dtype]) for name, dtype in in_files(table).items()]


def test_every_key_of_the_manifest_is_documented(demo: Demo) -> None:
    manifest = json.loads((demo.folder / "demo" / "out" / "manifest.json").read_text())
    assert set(words(section("docs/tables.md", "manifest.json"))) >= set(manifest) | {"inputs", "tables.NAME.digest"}


def test_every_figure_of_the_ratio_is_documented_with_the_reasons_why_it_is_null() -> None:
    text = section("docs/ratio.md", "Figures")
    assert first_words(text) == list(FIGURES)
    for figure, _, null in rows(text):
        for name in words(figure):
            reasons = tuple(words(null))
            inherited = REASONS[reasons[0]] if null.startswith("as ") else reasons
            assert inherited == REASONS.get(name, ()), name
    assert {name for _, name in _BANDS} | {"unsustainable"} <= set(words(text))


def test_every_key_of_the_cost_file_and_every_cost_reason_is_documented() -> None:
    keys = [*COST_KEYS, *(f"{table}.{key}" for table, keys in TABLE_KEYS.items() for key in keys)]
    assert first_words(section("docs/ratio.md", "The cost file")) == keys
    assert first_words(section("docs/ratio.md", "Costs")) == [*CostReason, *Driver]
    assert first_words(section("docs/ratio.md", "Other exports")) == list(COLUMN_KEYS)
    assert set(UnallocatedReason) <= set(words(section("docs/ratio.md", "Costs")))


def test_every_figure_of_a_bill_every_check_and_every_column_of_the_table_costs_is_documented() -> None:
    assert first_words(section("docs/ratio.md", "A bill in full")) == list(BILL_FIGURES)
    assert first_words(section("docs/ratio.md", "The check")) == list(Condition)
    shown = [(words(row[0])[0], row[1]) for row in rows(section("docs/ratio.md", "The table costs"))]
    assert shown == [(name, _TYPE_NAMES[dtype]) for name, dtype in COSTS.items()]


def test_every_metric_is_documented_with_its_labels() -> None:
    text = section("docs/running.md", "Health and metrics")
    shown = {words(row[0])[0]: tuple(words(row[1])) for row in rows(text) if row[0].startswith("`attribution_")}
    metrics = [metric for metric in vars(Metrics()).values() if isinstance(metric, MetricWrapperBase)]
    served = {line.split()[2] for line in Metrics().text().decode().splitlines() if line.startswith("# TYPE attr")}
    assert served == set(shown)
    assert len(metrics) == len(served)
    assert {metric._name: metric._labelnames for metric in metrics} == {
        name.removesuffix("_total"): labels for name, labels in shown.items()
    }


def test_every_path_that_is_served_is_documented() -> None:
    served = set(re.findall(r'path == "(/[a-z]+)"', inspect.getsource(http)))
    paths = {word for word in first_words(section("docs/running.md", "Health and metrics")) if word[0] == "/"}
    assert paths == served
    assert len(served) == 3


def test_every_event_of_the_journal_is_documented_with_its_fields(demo: Demo, tmp_path: Path) -> None:
    shown = {words(row[0])[0]: row[1:] for row in rows(section("docs/running.md", "The journal"))}
    logged = r'(?:\blog|self\._journal)\(\s*"(\w+)"'
    assert set(shown) == {name for m in (runner, reporting) for name in re.findall(logged, inspect.getsource(m))}

    shutil.copytree(demo.folder, tmp_path, dirs_exist_ok=True)
    for folder in ("out", "state"):
        shutil.rmtree(tmp_path / "demo" / folder)
    seen: dict[str, tuple[str, set[str]]] = {}

    def journal(event: str, *, level: str = "info", **fields: object) -> None:
        seen[event] = level, set(fields)

    runner.run(load_settings(tmp_path / "configs" / "demo.toml"), until_end=True, log=journal)
    reporter = reporting.Reporter(journal, Metrics(), 0)
    for tell in (reporter.rates_refused, reporter.offsets_refused, reporter.slow_client):
        tell("")
    assert set(seen) == set(shown)
    for event, (level, fields) in seen.items():
        assert words(shown[event][0]) == [level], event
        assert fields <= set(words(shown[event][1])), event


def test_every_reason_of_an_explained_difference_is_documented_in_the_order_in_which_it_is_looked_for() -> None:
    source = inspect.getsource(explained)
    of_records = [Refusal[name] for name in re.findall(r"Refusal\.(\w+)\.value: \d", source)]
    further = re.findall(r'lit\("(\w+)"\)\.alias\("why"\)', source)
    assert set(of_records) == set(_REFUSED_LATER)
    assert first_words(section("docs/audit.md", "Explained differences")) == [*of_records, *further]


def test_every_field_of_an_audit_is_documented(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo.folder)
    command = "audit configs/demo.toml --log demo/events --against demo/out --format json"
    found = json.loads(CliRunner().invoke(main, command.split()).stdout)
    text = section("docs/audit.md", "As JSON")
    assert first_words(text) == list(found)
    holds = {words(row[0])[0]: set(words(row[1])) for row in rows(text)}
    for key in ("waiting", "late", "conservation"):
        assert set(found[key]) <= holds[key], key
    assert set(found["counts"][0]) == holds["counts"]
    assert set(FileProblem.__dataclass_fields__) == holds["files"] == holds["input_files"]


def test_the_glossary_has_each_word_once_in_order() -> None:
    terms = re.findall(r"^- \*\*(.+?)\*\*:", PAGES["docs/glossary.md"].read_text(), re.MULTILINE)
    assert terms == sorted(set(terms))
    assert {str(kind).replace("_", " ") for kind in (Kind.INFERENCE, Kind.REVERSAL)} <= set(terms)


# --- links and figures of speed ---


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    assert broken_links(PAGES[page].read_text(), PAGES[page].parent) == []


_SPEED = re.compile(r"\d[\d,.]*\s*(million |thousand )?(events|inferences|outcomes|records|rows|MB|GB)\s*(/|per|a) ?s")


def test_a_figure_of_speed_stands_only_beside_how_it_was_measured() -> None:
    assert _SPEED.search("takes in 2 million records per second")
    texts = {page: path.read_text() for page, path in PAGES.items() if page != "docs/performance.md"}
    assert {page: found[0] for page, text in texts.items() if (found := _SPEED.search(text))} == {}


# --- docstrings ---


def modules() -> list[str]:
    packages = [importlib.import_module(name) for name in ("attribution", "schemas", "streams")]
    inner = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, f"{p.__name__}.")]
    return [*(package.__name__ for package in packages), *inner]


def test_every_example_in_a_docstring_gives_what_it_shows() -> None:
    results = {name: doctest.testmod(importlib.import_module(name)) for name in modules()}
    assert {name: result.failed for name, result in results.items() if result.failed} == {}
    assert sum(result.attempted for result in results.values()) >= 10


# --- each check fails when it should ---


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```console\n$ attribution --version\nattribution, version 0.0.0\n```\n", "--- shown"),
        ("```console\n$ attribution rules check nothing_there\n…\n```\n", "exit code 2"),
        ("```console\n$ attribution rules check nothing_there\n…\n$ echo $?\n3\n```\n", "--- got\n2"),
        ("```console\n$ attribution improve x\n```\n", "no such command improve"),
        ("```console\n$ attribution run x --for-ever\n```\n", "no such option --for-ever"),
        ("```console\n$ make coffee\n```\n", "make coffee: no such target"),
        ("```console\n$ rm x\n```\n", "neither attribution nor make"),
        ("```python\nx = 1\n```\n\n```python\n>>> x\n2\n```\n", "Expected:"),
    ],
)
def test_an_example_that_is_not_true_is_found(text: str, fault: str) -> None:
    [found] = run_page(text, "page.md", "")
    assert fault in found


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One thing\n")
    text = "# Here\n[a](a.md) [b](a.md#one-thing) [c](#here) [d](a.md#no) [e](gone.md) [f](#gone)"
    assert broken_links(text, tmp_path) == ["a.md#no", "gone.md", "#gone"]


def test_a_call_in_running_text_that_does_not_exist_is_found() -> None:
    text = "Use `attribution improve --out DIR`.\n\n```sh\nmake coffee  # strong\n```\n"
    assert [unknown_in(line) for line in called(text)] == [
        "make coffee: no such target",
        "attribution improve --out DIR: no such command improve",
    ]
