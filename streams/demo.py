"""``attribution demo``: the whole way on real traffic, on this machine, in seconds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl

from schemas.errors import UnavailableError
from schemas.outputs import TABLES
from streams.demo_events import ORIGIN_NOTE, write_events
from streams.ratio_command import RatioOptions, run_ratio
from streams.runner import run
from streams.settings import load_settings

_PARTS = ("demo.toml", "demo", "rules")


def run_demo(
    folder: Path, *, show: Callable[[str], None], say: Callable[[str], None], width: int | None = None
) -> None:
    """Write configs and events below ``folder``, consume them, and show what came out.

    show: takes results; say: takes what is going on; width: of the terminal, None where there is none. An earlier
    demo's events and tables are replaced.
    """
    configs = _configs(folder)
    say(f"configuration: {configs / 'demo.toml'}, rules in {configs / 'rules'}")
    counts = write_events(folder)
    say("events: " + ", ".join(f"{count} {topic}" for topic, count in counts.items()))
    settings = load_settings(configs / "demo.toml")
    out = Path(os.path.normpath(settings.output.path))  # demo/out, not configs/../demo/out
    for folder_of_before in (out, settings.state_path()):
        shutil.rmtree(folder_of_before, ignore_errors=True)
    say(f"attribution run {configs / 'demo.toml'} --until-end")
    run(settings, until_end=True)
    say("")
    show(f"What is real here: {ORIGIN_NOTE}\n")
    show(run_ratio(out, RatioOptions(costs=configs / "demo" / "costs.toml", width=width)))
    show(_dead_letters(out))
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


def _dead_letters(out: Path) -> str:
    refused = (
        _table(out, "dead_letters").group_by("reason").len("count").sort("count", "reason", descending=[True, False])
    )
    lines = [f"  {count:>8,}  {reason}\n" for reason, count in refused.rows()]
    return f"Refused records (dead letters), by reason\n{''.join(lines)}"


def _next_steps(out: Path, configs: Path) -> str:
    """Commands to go on with; the outcome to explain is one that several inferences share, if there is one."""
    touches = _table(out, "credits").group_by("outcome_id").len("touches")
    outcome = touches.sort(pl.col("touches") == 1, "outcome_id")["outcome_id"][0]
    folder = out.parent
    return "\n".join(
        [
            f"The tables are plain Parquet in {out}: {', '.join(TABLES)}.",
            f'  polars   pl.read_parquet("{out}/attributed/**/*.parquet").select(pl.col("attributed_value").sum())',
            # Shown, not run.
            f"  DuckDB   SELECT use_case, sum(attributed_value) FROM '{out}/attributed/**/*.parquet' GROUP BY use_case",  # noqa: S608
            "Next",
            f"  attribution explain --out {out} --outcome {outcome}",
            f"  attribution replay {configs / 'demo.toml'} --log {folder / 'events'} --out {folder / 'replayed'}",
            f"  attribution rules show {configs / 'rules'}",
        ]
    )


def _table(out: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(out / name / "**" / "*.parquet", hive_partitioning=False)
