"""``attribution ratio --check``: which days are judged, and what fails on them."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta

import polars as pl

from attribution.check import CHECK_DAYS, Judged, check_rows, settled_window
from attribution.ratio import Report, ratio_report
from attribution.view import View
from streams.ratio_ledgers import Ledgers
from streams.ratio_options import Asked


def check(ledgers: Ledgers, asked: Asked) -> tuple[View, Report]:
    """The report over the range asked for, or else the newest CHECK_DAYS days, headed by what fails."""
    is_asked = asked.from_day is not None or asked.to_day is not None
    view = ledgers.view(asked, asked.from_day or _newest(ledgers, asked), asked.to_day)
    report = ratio_report(ledgers.inputs(view), view)
    costs = Judged(view.from_day, view.to_day, report.rows)
    bands = [costs] if is_asked else _judged_bands(ledgers, asked, costs)
    bills = [(sums, file.max_age_us) for sums, file in zip(ledgers.bills, ledgers.cost_file.bills, strict=True)]
    remediations = ledgers.cost_file.model.remediations
    found = check_rows(bands, costs, bills, remediations, ledgers.watermark.date())
    return view, Report([*found, *report.rows], report.warnings)


def _newest(ledgers: Ledgers, asked: Asked) -> date | None:
    """Where the newest days begin; None where the range has another end, and so its own beginning."""
    return None if asked.to_day else ledgers.to_day - timedelta(days=CHECK_DAYS)


def _judged_bands(ledgers: Ledgers, asked: Asked, costs: Judged) -> list[Judged]:
    """Per window of settled days a report, for the use cases whose window it is.

    A use case none of whose days are settled is judged by nothing: its value has had no time to come.
    """
    counted = ledgers.source.counted(ledgers.first_day(), ledgers.to_day)
    use_case = counted.profiles["use_case"].gather(counted.by_day["profile"]).alias("use_case")
    of_requests = counted.by_day.with_columns(use_case).filter(~pl.col("is_holdout"))
    requests: dict[str, dict[date, int]] = defaultdict(dict)
    for name, day, count in of_requests.group_by("use_case", "day").agg(pl.col("inferences").sum()).iter_rows():
        requests[name][day] = count
    settled = ledgers.source.settled_requests()
    windows: dict[tuple[date, date], set[str]] = defaultdict(set)
    overheads = {overhead.use_case for overhead in ledgers.cost_file.model.overheads}
    for name, of_days in requests.items():
        if name in overheads:
            continue
        window = settled_window(of_days, settled.get(name, {}))
        if window is not None:
            windows[window].add(name)
    judged = []
    for (from_day, to_day), names in sorted(windows.items()):
        is_same = (from_day, to_day) == (costs.from_day, costs.to_day)
        view = ledgers.view(asked, from_day, to_day)
        rows = costs.rows if is_same else ratio_report(ledgers.inputs(view), view).rows
        judged.append(Judged(from_day, to_day, rows, frozenset(names)))
    return judged
