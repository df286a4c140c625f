"""``attribution ratio``: reads published tables, prints what groups of inferences cost and what they are worth.

The way of the data: manifest → commit (``--as-of``) → bills → range → counts → a day at a time (``ratio_source``) →
rows (``attribution.ratio``) → text. As of is the commit's watermark, never the clock, so the same folder, cost file,
bills and options give the same report at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from attribution.check import has_failed
from attribution.figures import Row
from attribution.ratio import ratio_report
from attribution.view import View
from schemas.errors import UnavailableError
from streams.cost_file import CostFile, load_cost_file
from streams.costs_table import CostsWriter, costs_writer
from streams.ratio_check import check
from streams.ratio_ledgers import Ledgers, read_ledgers
from streams.ratio_options import RatioOptions, parse_options
from streams.ratio_report import FORMATS

__all__ = ["Printed", "RatioOptions", "print_ratio", "run_ratio"]


@dataclass(frozen=True)
class Printed:
    """text: the report; is_clean: whether nothing that was checked failed."""

    text: str
    is_clean: bool = True


def run_ratio(out: Path, options: RatioOptions, say: Callable[[str], None] = lambda _: None) -> str:
    """The report as text in the format asked for; say: takes warnings.

    Raises ConfigurationError for a wrong option or cost file, UnavailableError where tables or bills cannot be read.
    """
    return print_ratio(out, options, say).text


def print_ratio(out: Path, options: RatioOptions, say: Callable[[str], None]) -> Printed:
    """As ``run_ratio``, with what a check found."""
    asked = parse_options(options)
    cost_file = CostFile() if options.costs is None else load_cost_file(options.costs)
    try:
        with _writer(options.write_costs) as writer:
            ledgers = read_ledgers(out, asked, cost_file, say)
            if options.check:
                view, report = check(ledgers, asked)
            else:
                view = ledgers.view(asked, asked.from_day, asked.to_day)
                report = ratio_report(ledgers.inputs(view), view, None if writer is None else writer.write)
        head = report_row(ledgers, view)
    except (OSError, pl.exceptions.ComputeError) as error:
        raise UnavailableError(f"{out}: the tables cannot be read: {error}") from error
    for warning in report.warnings:
        say(warning)
    if options.check:
        head["result"] = "failed" if has_failed(report.rows) else "passed"
    text = FORMATS[options.format]([head, *report.rows], asked.by, options.width)
    return Printed(text, is_clean=not has_failed(report.rows))


def _writer(folder: Path | None) -> AbstractContextManager[CostsWriter | None]:
    return nullcontext() if folder is None else costs_writer(folder)


def report_row(ledgers: Ledgers, view: View) -> Row:
    """What the report rests on."""
    manifest = ledgers.manifest
    return {
        "row": "report",
        "period": None,
        "as_of": view.as_of,
        "from": view.from_day,
        "to": view.to_day,
        "base_currency": manifest.base_currency,
        "reversal_window": manifest.reversal_window,
        "allowed_lateness": manifest.allowed_lateness,
        "min_priced_share": ledgers.cost_file.model.min_priced_share,
        "engine": manifest.engine,
        "code_version": manifest.code_version,
        "commit_id": ledgers.commit_id,
        "digests": ledgers.digests(),
    }
