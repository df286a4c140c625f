"""``attribution demo``: the whole way on real traffic, on this machine, in seconds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl

from schemas.errors import UnavailableError
from streams.demo_events import ORIGIN_NOTE, write_events
from streams.ratio_command import RatioOptions, run_ratio
from streams.runner import run
from streams.settings import load_settings

_PARTS = ("demo.toml", "demo", "rules")


def run_demo(folder: Path, *, show: Callable[[str], None], say: Callable[[str], None]) -> None:
    """Write configs and events below ``folder``, consume them, and show what came out.

    show: takes results; say: takes what is going on. An earlier demo's events and tables are replaced.
    """
    configs = _configs(folder)
    say(f"configuration: {configs / 'demo.toml'}, rules in {configs / 'rules'}")
    counts = write_events(folder)
    say("events: " + ", ".join(f"{count} {topic}" for topic, count in counts.items()))
    settings = load_settings(configs / "demo.toml")
    out = settings.output.path
    shutil.rmtree(out, ignore_errors=True)
    say(f"attribution run {configs / 'demo.toml'} --until-end")
    run(settings, until_end=True, notify=say)
    say("")
    show(f"What is real here: {ORIGIN_NOTE}\n")
    show(run_ratio(out, RatioOptions(costs=configs / "demo" / "costs.toml")))
    show(_counted(out, "unattributed", "Not attributed, by reason", ["use_case", "reason"]))
    show(_counted(out, "dead_letters", "Refused records (dead letters), by reason", ["reason"]))
    show(_next_steps(out, configs))


def _configs(folder: Path) -> Path:
    """The demo's configs below ``folder``: those of a checkout as they are, else copies of the shipped ones."""
    here = Path(__file__).resolve().parent
    shipped = here / "_configs"
    source = shipped if (shipped / "demo.toml").exists() else here.parent / "configs"
    target = folder.resolve() / "configs"
    if target == (here.parent / "configs"):
        return folder / "configs"
    try:
        target.mkdir(parents=True, exist_ok=True)
        for part in _PARTS:
            if (source / part).is_dir():
                shutil.copytree(source / part, target / part, dirs_exist_ok=True)
            else:
                shutil.copyfile(source / part, target / part)
    except OSError as error:
        raise UnavailableError(f"{target}: cannot be written: {error.strerror or error}") from error
    return folder / "configs"


def _counted(out: Path, table: str, title: str, keys: list[str]) -> str:
    rows = pl.read_parquet(out / table / "**" / "*.parquet", hive_partitioning=False)
    figures = [pl.len().alias("rows")]
    if table == "unattributed":
        figures.append(pl.col("amount").sum().round(2).alias("amount_usd"))
    counts = rows.group_by(keys).agg(figures).sort("rows", descending=True)
    lines = [[*counts.columns], *([str(value if value is not None else "–") for value in row] for row in counts.rows())]
    widths = [max(len(line[place]) for line in lines) for place in range(len(counts.columns))]
    numbers = len(keys)
    text = "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if place < numbers else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    return f"{title}\n{text}\n"


def _next_steps(out: Path, configs: Path) -> str:
    credit = pl.read_parquet(out / "credits" / "**" / "*.parquet", hive_partitioning=False)
    several = credit.group_by("outcome_id").len().filter(pl.col("len") > 1).sort("outcome_id")
    outcome = several["outcome_id"][0] if several.height else credit["outcome_id"][0]
    return f"""The tables are plain Parquet in {out}: inferences, outcomes, credits, unattributed, attributed, dead_letters, commits.
  polars   pl.read_parquet("{out}/attributed/**/*.parquet").select(pl.col("attributed_value").sum())
  DuckDB   SELECT use_case, sum(attributed_value) FROM '{out}/attributed/**/*.parquet' GROUP BY use_case
Next
  attribution explain --out {out} --outcome {outcome}
  attribution replay {configs / "demo.toml"} --log {out.parent / "events"} --out {out.parent / "replayed"}
  attribution rules show {configs / "rules"}"""
