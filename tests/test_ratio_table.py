"""The ratio report as a table: what it shows, and how it fits a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streams.ratio_command import RatioOptions, run_ratio
from tests.published import inference, publish, worked_example


def table(out: Path, **options: Any) -> str:
    return run_ratio(out, RatioOptions(**{"costs": out / "costs.toml"} | options))


FIGURES_IN_THE_TABLE = (
    *("requests", "outcomes", "cost", "value", "cost per inference", "value per inference", "cost-to-value ratio"),
    *("margin", "margin contribution", "ROI multiple", "band"),
)


def heads(text: str) -> str:
    """The heads of the first table, each as one text: columns are blocks of words that stand above one another."""
    lines = text.splitlines()[1:]
    rule = next(number for number, line in enumerate(lines) if line.startswith("──"))
    width = max(map(len, lines[:rule]))
    padded = [line.ljust(width) for line in lines[:rule]]
    blank = {column for column in range(width) if all(line[column] == " " for line in padded)}
    words: list[str] = []
    for column in range(width):
        if column not in blank:
            end = next((c for c in range(column, width) if c in blank), width)
            words.append(" ".join(line[column:end].strip() for line in padded).strip())
            blank |= set(range(column, end))
    return " | ".join(words).replace("- ", "-")


def test_the_table_shows_every_figure_of_the_definition_at_its_natural_width(tmp_path: Path) -> None:
    text = table(worked_example(tmp_path))
    assert text.startswith("As of 2026-03-22T00:00:00Z: inferences from 2026-03-02 to before 2026-03-23, in USD")
    assert heads(text).endswith(" | ".join(FIGURES_IN_THE_TABLE))
    group, total = (next(line for line in text.splitlines() if line.startswith(start)) for start in ("  M", "total"))
    figures = ["9", "2", "3.9100", "40.50", "0.4344", "4.5000", "0.09654", "36.59", "4.0656", "10.36", "excellent"]
    assert group.split() == ["M", *figures]
    assert total.split() == ["total", *figures]
    assert max(map(len, text.splitlines())) <= 160


def test_a_use_case_stands_once_above_its_models_and_a_version_says_its_model(tmp_path: Path) -> None:
    versions = {1: "M-2026-01-01", 2: "2", 3: None, 4: "M"}
    out = publish(
        tmp_path,
        inferences=[inference(number, model_version=version) for number, version in versions.items()],
        credits=[],
    )
    lines = [line.rstrip() for line in table(out).splitlines()]
    assert lines.count("reco") == 1
    groups = lines[lines.index("reco") + 1 : lines.index("", 1)]
    assert [line.split("  ")[1] for line in groups] == ["M", "M, 2", "M", "M-2026-01-01"]


def test_a_narrow_terminal_gets_the_table_in_parts_and_no_figure_is_folded(tmp_path: Path) -> None:
    out = worked_example(tmp_path)
    by = "use_case,model,attributes.customer"
    whole = table(out, by=by, period="day")
    for width in (150, 120, 90):
        text = table(out, by=by, period="day", width=width)
        assert max(map(len, text.splitlines()[1:])) <= width
        assert set(text.replace("─", "").split()) == set(whole.replace("─", "").split())
        assert "…" not in text
    assert table(out, by=by, period="day", width=500) == whole
    assert "0.4344" in table(out, by=by, period="day", width=20)


def test_the_table_names_what_is_unknown(tmp_path: Path) -> None:
    without = run_ratio(worked_example(tmp_path), RatioOptions())
    assert "(a) incomplete_cost" in without
    assert "≥ 1.0000" in without
    assert "Cost is a lower bound (≥): unknown for 8 no_price" in without
