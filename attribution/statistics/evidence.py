"""Incremental value: attributed value × what experiments say of it.

Attribution says which value came after an inference; only an experiment says how much of it would have been missing
without. An *evidence entry* holds an experiment's finding as a factor with bounds, for one use case, kind and type of
outcome and for inferences of [from, until). **Attributed value is never changed by it:** incremental value is a
column of its own, and null unless evidence covers every credit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

import polars as pl

from attribution.money import UNIT
from attribution.statistics.cells import Cells, Reason, known_or

_FACTOR_UNIT = 10**9


@dataclass(frozen=True)
class Evidence:
    """One entry. type: None for every type of the kind; factor, low, high: units of 10⁻⁹ with low ≤ factor ≤ high.

    from_time, until_time: of the inference, UTC, from inclusive, until exclusive.
    """

    use_case: str
    kind: str
    type: str | None
    from_time: datetime
    until_time: datetime
    factor: int
    low: int
    high: int
    source: str


def overlapping(entries: Sequence[Evidence]) -> tuple[int, int] | None:
    """The positions of the first two entries for one (use_case, kind, type) that share a moment; None where none do."""
    for later, b in enumerate(entries):
        for earlier, a in enumerate(entries[:later]):
            is_same = (a.use_case, a.kind, a.type) == (b.use_case, b.kind, b.type)
            if is_same and a.from_time < b.until_time and b.from_time < a.until_time:
                return earlier, later
    return None


def evidence_index(entries: Sequence[Evidence]) -> pl.Expr:
    """Column ``evidence`` (UInt32): the position of the entry that covers a credit, null where none does.

    Needs ``use_case``, ``kind``, ``type`` and ``inference_time``; an entry for the exact type wins over one for all.
    Elementwise, so it streams.
    """
    by_rank = sorted(range(len(entries)), key=lambda position: entries[position].type is None)
    index = pl.UInt32()
    found = [pl.when(_covers(entries[n])).then(pl.lit(n, dtype=index)) for n in by_rank]
    return pl.coalesce(*found, pl.lit(None, dtype=index)).alias("evidence")


def incremental_figures(
    values: Mapping[int | None, int], entries: Sequence[Evidence], cost: Fraction, roi_reason: str | None
) -> Cells:
    """``incremental_value`` and ``incremental_roi_multiple``, each with ``_low`` and ``_high``, exact (``Fraction``).

    values: of one report group: position in ``entries`` (None: not covered) → net value in units, over credits whose
    net value is not 0 (a withdrawn or wholly refunded credit needs no evidence); empty: a group that earned nothing,
    0. roi_reason: why the group's own ROI is null. Null: ``no_evidence``; for ROI first what its own reason is. The
    bounds take every entry's factor at its low or high end at once, whichever is less (or more) for its value:
    entries are not taken to be independent, so these bounds are wide rather than narrow.
    """
    names = ("", "_low", "_high")
    cells: Cells = {}
    if None in values:
        no_evidence = Reason.NO_EVIDENCE.value
        for name, reason in (
            ("incremental_value", no_evidence),
            ("incremental_roi_multiple", roi_reason or no_evidence),
        ):
            cells |= known_or(name, None, reason) | {f"{name}_low": None, f"{name}_high": None}
        return cells
    sums = [0, 0, 0]
    for position, value in values.items():
        assert position is not None
        entry = entries[position]
        ends = (entry.low * value, entry.high * value)
        for number, product in enumerate((entry.factor * value, min(ends), max(ends))):
            sums[number] += product
    figures = [Fraction(total, UNIT * _FACTOR_UNIT) for total in sums]
    cells |= {f"incremental_value{name}": figure for name, figure in zip(names, figures, strict=True)}
    if roi_reason is not None:
        roi = known_or("incremental_roi_multiple", None, roi_reason)
        return cells | roi | {"incremental_roi_multiple_low": None, "incremental_roi_multiple_high": None}
    return cells | {f"incremental_roi_multiple{name}": fig / cost for name, fig in zip(names, figures, strict=True)}


def _covers(entry: Evidence) -> pl.Expr:
    time = pl.col("inference_time")
    words = [("use_case", entry.use_case), ("kind", entry.kind)]
    words += [] if entry.type is None else [("type", entry.type)]
    equal = [pl.col(name).cast(pl.String) == word for name, word in words]
    return pl.all_horizontal(*equal, time >= entry.from_time, time < entry.until_time)
