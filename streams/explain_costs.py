"""``attribution explain --inference ID --costs COSTS.toml``: what one inference cost, from bill line to share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from attribution.costing import Costing
from attribution.division import Costed
from attribution.explain.cost import CostKnown, explain_cost
from attribution.explain.words import Section
from attribution.ratio import costing_of
from attribution.view import ONE_DAY
from schemas.errors import setting_error
from streams.bills.read import read_lines_on
from streams.cost_file import load_cost_file
from streams.published import scan_table
from streams.ratio_ledgers import Ledgers, read_ledgers
from streams.ratio_options import RatioOptions, parse_options


def cost_sections(out: Path, inference_id: str, costs: Path, say: Callable[[str], None]) -> list[Section]:
    """The sections on the inference's cost; raises as ``streams.ratio_command.run_ratio`` does."""
    asked = parse_options(RatioOptions(costs=costs))
    ledgers = read_ledgers(out, asked, load_cost_file(costs), say)
    event = _event(out, inference_id, ledgers)
    day = event["event_time"].date()
    view = ledgers.view(asked, day, day + ONE_DAY)
    costing = costing_of(ledgers.inputs(view), view)
    costed, position = _costed(costing, ledgers, event)
    model, file = ledgers.cost_file.model, ledgers.cost_file
    lines = read_lines_on(day, file.bills, model.lines, ledgers.conversion, ledgers.watermark)
    row = costed.frame.row(position, named=True)
    return explain_cost(CostKnown(event, row, position, costed.shares, lines), model, ledgers.conversion)


def _event(out: Path, inference_id: str, ledgers: Ledgers) -> dict[str, Any]:
    which = (pl.col("inference_id") == inference_id) & (pl.col("commit_id") <= ledgers.commit_id)
    found = scan_table(out, "inferences").filter(which).collect(engine="streaming")
    if found.height == 0:
        hint = "dead_letters holds the records that were refused"
        raise setting_error("--inference", expected="an inference_id in the tables", got=inference_id, hint=hint)
    return found.row(0, named=True)


def _costed(costing: Costing, ledgers: Ledgers, event: dict[str, Any]) -> tuple[Costed, int]:
    """The slice that holds the inference, and its row number there."""
    day = event["event_time"].date()
    for costed in costing.day(day, ledgers.source.slices(day)):
        position = costed.frame["inference_id"].index_of(event["inference_id"])
        if position is not None:
            return costed, position
    raise AssertionError("an inference lies in a slice of its day")
