"""What groups of inferences cost, what they are worth, and the ratio of the two.

**Every sum is exact and every quotient is sum over sum.** The data's way: inferences with their cost → requests
and their cost per group; credits joined to their inferences → value per group; both → figures per group, per
period's total; beside them holdout inferences and what could not be attributed, in rows of their own.

Group and period are the inference's, never the outcome's. Figures come out as ``Fraction`` (``int`` for counts);
an unknown one is None with its reason in ``FIGURE_reason``. Rounding is the printer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Any

import polars as pl

from attribution.costs import CostReason
from attribution.figures import Row, Sums, cost_figures, figures, known_or
from attribution.money import INT, UNIT
from schemas.reasons import Unattributed

KEYS = ("use_case", "model", "model_version", "endpoint", "provider", "arm")
ATTRIBUTE_PREFIX = "attributes."
DEFAULT_BY = ("use_case", "model", "model_version")
#: Period → what polars truncates times to; a week is an ISO week, from Monday.
PERIODS = {"day": "1d", "week": "1w", "month": "1mo", "quarter": "1q"}
HOLDOUT = "holdout"

#: Costs are summed in two halves: one sum of 128 bits could wrap.
_HALF = 10**18


@dataclass(frozen=True)
class Tables:
    """The tables as published up to the report's commit; ``inferences`` with their cost.

    inferences: ``inference_id``, ``event_time``, the columns of ``KEYS``, ``attributes``, and from
    ``attribution.costs.with_costs`` ``cost`` (Int128 units of 10⁻¹²) and ``cost_reason``; the others as in
    ``schemas.outputs``.
    """

    inferences: pl.LazyFrame
    credits: pl.LazyFrame
    unattributed: pl.LazyFrame
    attributed: pl.LazyFrame


@dataclass(frozen=True)
class View:
    """What is asked for: inferences of [from_day, to_day), UTC, as of one moment, by group and period."""

    as_of: datetime
    from_day: date
    to_day: date
    reversal_window: timedelta
    by: tuple[str, ...] = DEFAULT_BY
    period: str | None = None
    min_priced_share: Fraction = Fraction(99, 100)


#: A group: its period's first day, then its keys' texts.
_Group = tuple[date | str | None, ...]
_Groups = dict[_Group, Sums]


def ratio_rows(tables: Tables, view: View) -> list[Row]:
    """Rows ``requests`` (a group), ``total``, ``holdout``, ``unattributed``; each by period, then by key, nulls first.

    With a period there is a ``total`` for each period that has requests or outcomes; without, one.
    """
    group = ["_period", *(f"_key_{number}" for number in range(len(view.by)))]
    keyed = _keyed(tables.inferences, view, group)
    requests, holdouts = _inference_sums(keyed, group)
    pairs = _credited_pairs(tables.credits, keyed, view, group)
    settled = _settled(tables.attributed, keyed, group)
    groups = _with_values(requests, pairs, settled, group)
    totals = _with_values(_summed_by_period(requests), pairs, settled, ["_period"])
    return [
        *_group_rows(groups, view),
        *_total_rows(totals, _attributed_amounts(tables, view), view),
        *_holdout_rows(holdouts, _would_be_values(tables.unattributed, keyed, group), view),
        *_unattributed_rows(tables.unattributed, view),
    ]


# Frames: from tables to whole numbers per group


def _keyed(inferences: pl.LazyFrame, view: View, group: Sequence[str]) -> pl.LazyFrame:
    """The range's inferences with their group in columns of their own, so that no key can hide a figure."""
    keys = [_key(name).alias(column) for name, column in zip(view.by, group[1:], strict=True)]
    return inferences.filter(in_range("event_time", view)).select(
        "inference_id",
        "cost",
        "cost_reason",
        (pl.col("arm").cast(pl.String) == HOLDOUT).fill_null(False).alias("is_holdout"),
        _period("event_time", view).alias("_period"),
        *keys,
    )


def _key(name: str) -> pl.Expr:
    if not name.startswith(ATTRIBUTE_PREFIX):
        return pl.col(name).cast(pl.String)
    key = name.removeprefix(ATTRIBUTE_PREFIX)
    texts = pl.col("attributes").str.json_decode(pl.Struct({key: pl.String()}))
    return texts.struct.rename_fields(["value"]).struct.field("value")  # a key may read like a pattern


def in_range(column: str, view: View) -> pl.Expr:
    """From the first moment of from_day, inclusive, to that of to_day, exclusive."""
    start, end = (datetime.combine(day, time(), UTC) for day in (view.from_day, view.to_day))
    return (pl.col(column) >= start) & (pl.col(column) < end)


def _period(column: str, view: View) -> pl.Expr:
    """The first day of the period, which may lie before the range; null without periods."""
    if view.period is None:
        return pl.lit(None, dtype=pl.Date)
    return pl.col(column).dt.truncate(PERIODS[view.period]).dt.date()


def _inference_sums(keyed: pl.LazyFrame, group: Sequence[str]) -> tuple[_Groups, _Groups]:
    """Counts and costs of requests, and of holdout inferences."""
    half = pl.lit(_HALF, dtype=INT)
    sums = (
        keyed.group_by("is_holdout", *group)
        .agg(
            pl.len().alias("requests"),
            (pl.col("cost") // half).sum().alias("high"),
            (pl.col("cost") % half).sum().alias("low"),
            *((pl.col("cost_reason") == code.value).sum().alias(code.value) for code in CostReason),
        )
        .collect(engine="streaming")
    )
    requests: _Groups = {}
    holdouts: _Groups = {}
    for row in sums.iter_rows(named=True):  # one row per group
        unpriced = {code.value: row[code.value] for code in CostReason}
        of_arm = holdouts if row["is_holdout"] else requests
        of_arm[tuple(row[name] for name in group)] = Sums(
            row["requests"], row["high"] * _HALF + row["low"], dict(unpriced)
        )
    return requests, holdouts


def _summed_by_period(groups: _Groups) -> _Groups:
    """Counts and costs of each period over all its groups."""
    totals: _Groups = {}
    for (period, *_), sums in groups.items():
        total = totals.setdefault((period,), Sums())
        total.requests += sums.requests
        total.cost += sums.cost
        total.unpriced = {code: count + sums.unpriced[code] for code, count in total.unpriced.items()}
    return totals


def _credited_pairs(ledger: pl.LazyFrame, keyed: pl.LazyFrame, view: View, group: Sequence[str]) -> pl.DataFrame:
    """One row per outcome and request that it credits: net values in units, whether the credit stands, the group."""
    value = pl.col("value").to_physical()
    reversible_from = view.as_of - view.reversal_window
    nets = ledger.group_by("outcome_id", "inference_id").agg(
        value.sum().alias("value"),
        value.filter(pl.col("kind") == "conversion").sum().alias("conversion_value"),
        value.filter(pl.col("via") == "trace").sum().alias("trace_value"),
        value.filter(pl.col("outcome_time") >= reversible_from).sum().alias("reversible_value"),
        (pl.col("sign").cast(pl.Int64).sum() == 1).alias("stands"),
    )
    requests = keyed.filter(~pl.col("is_holdout")).select("inference_id", *group)
    return requests.join(nets, on="inference_id", how="inner").collect(engine="streaming")


def _settled(attributed: pl.LazyFrame, keyed: pl.LazyFrame, group: Sequence[str]) -> pl.DataFrame:
    """Value of settled requests, in units, per group."""
    earned = attributed.filter(pl.col("settled")).select(
        "inference_id", pl.col("attributed_value").to_physical().alias("settled_value")
    )
    requests = keyed.filter(~pl.col("is_holdout")).select("inference_id", *group)
    joined = requests.join(earned.filter(pl.col("settled_value") != 0), on="inference_id", how="inner")
    return joined.group_by(group).agg(pl.col("settled_value").sum()).collect(engine="streaming")


def _would_be_values(unattributed: pl.LazyFrame, keyed: pl.LazyFrame, group: Sequence[str]) -> dict[_Group, int]:
    """What holdout inferences would have earned, in units, per group."""
    would_be = unattributed.filter(pl.col("reason") == Unattributed.HOLDOUT.value).select(
        "inference_id", pl.col("value").to_physical().alias("value")
    )
    joined = keyed.filter("is_holdout").select("inference_id", *group).join(would_be, on="inference_id", how="inner")
    sums = joined.group_by(group).agg(pl.col("value").sum()).collect(engine="streaming")
    return {row[:-1]: row[-1] for row in sums.select(*group, "value").iter_rows()}


_VALUES = ["value", "conversion_value", "trace_value", "reversible_value"]


def _with_values(requests: _Groups, pairs: pl.DataFrame, settled: pl.DataFrame, group: list[str]) -> _Groups:
    """Groups with their outcomes and values added (every credited request is in one of them)."""
    by_outcome = pairs.group_by(group).agg(
        pl.col(_VALUES).sum(), pl.col("outcome_id").filter("stands").n_unique().alias("outcomes")
    )
    for row in by_outcome.iter_rows(named=True):  # one row per group
        sums = requests[tuple(row[name] for name in group)]
        sums.outcomes = row["outcomes"]
        for name in _VALUES:
            setattr(sums, name, row[name])
    for row in settled.group_by(group).agg(pl.col("settled_value").sum()).iter_rows(named=True):
        requests[tuple(row[name] for name in group)].settled_value = row["settled_value"]
    for row in _concentration(requests, pairs, group).iter_rows(named=True):
        sums = requests[tuple(row[name] for name in group)]
        sums.with_value, sums.top_value = row["with_value"], row["top_value"]
    return requests


def _concentration(requests: _Groups, pairs: pl.DataFrame, group: list[str]) -> pl.DataFrame:
    """Per group: requests whose net value is not 0, and the value of the top ⌈requests / 100⌉.

    Requests of value 0 stand between gains and losses, so a loss is among the top ones only where gains and
    zeros are fewer than the top.
    """
    schema = {name: pairs.schema[name] for name in group} | {"requests": pl.Int64()}
    counts = pl.DataFrame([(*key, sums.requests) for key, sums in requests.items()], schema=schema, orient="row")
    earned = (
        pairs.group_by(*group, "inference_id")
        .agg(pl.col("value").sum())
        .filter(pl.col("value") != 0)
        .join(counts, on=group, how="inner", nulls_equal=True)
        .sort("value", descending=True)
    )
    value = pl.col("value")
    zeros = pl.col("requests").first() - pl.len()
    position = pl.int_range(pl.len()) + pl.when(value < 0).then(zeros).otherwise(0)
    top_count = (pl.col("requests").first() + 99) // 100
    return earned.group_by(group, maintain_order=True).agg(
        pl.len().alias("with_value"), value.filter(position < top_count).sum().alias("top_value")
    )


def _attributed_amounts(tables: Tables, view: View) -> dict[_Group, tuple[int, int]]:
    """Per period of the outcome: credited and unattributed amounts in units, without holdout."""
    is_holdout = pl.col("reason") == Unattributed.HOLDOUT.value
    parts = (("credited", tables.credits), ("unattributed", tables.unattributed.filter(~is_holdout)))
    amount = pl.col("amount").to_physical()
    rows = [
        table.filter(in_range("outcome_time", view)).select(
            _period("outcome_time", view).alias("_period"), pl.lit(part).alias("part"), amount.alias("amount")
        )
        for part, table in parts
    ]
    sums = (
        pl.concat(rows)
        .group_by("_period")
        .agg(pl.col("amount").filter(pl.col("part") == part).sum().alias(part) for part, _ in parts)
        .collect(engine="streaming")
    )
    return {(period,): (credited, other) for period, credited, other in sums.iter_rows()}


# Rows: from whole numbers per group to figures


def _in_order(groups: Iterable[_Group]) -> list[_Group]:
    """By period, then by key as bytes (which is Python's order of texts); nulls first."""
    return sorted(groups, key=lambda group: [(part is not None, str(part)) for part in group])


def _head(row: str, group: _Group, by: Sequence[str]) -> Row:
    return {"row": row, "period": group[0], **dict(zip(by, group[1:], strict=True))}


def _group_rows(groups: _Groups, view: View) -> list[Row]:
    share = view.min_priced_share
    return [_head("requests", group, view.by) | figures(groups[group], share) for group in _in_order(groups)]


def _total_rows(totals: _Groups, amounts: Mapping[_Group, tuple[int, int]], view: View) -> list[Row]:
    periods = {*totals, *amounts} if view.period else {(None,)}
    rows = []
    for period in _in_order(periods):
        credited, unattributed = amounts.get(period, (0, 0))
        everything = credited + unattributed
        share = Fraction(credited, everything) if everything else None
        attributed_share = known_or("attributed_share", share, "no_amount" if share is None else None)
        shown = figures(totals.get(period, Sums()), view.min_priced_share)
        rows.append(_head("total", period, ()) | shown | attributed_share)
    return rows


def _holdout_rows(holdouts: _Groups, would_be: Mapping[_Group, int], view: View) -> list[Row]:
    return [
        _head("holdout", group, view.by)
        | {"inferences": holdouts[group].requests}
        | cost_figures(holdouts[group])
        | {"would_be_value": Fraction(would_be.get(group, 0), UNIT)}
        for group in _in_order(holdouts)
    ]


def _unattributed_rows(unattributed: pl.LazyFrame, view: View) -> list[Row]:
    """Per use case, reason and period of the outcome; only ``capped`` rows have a value."""
    words = ["_period", "use_case", "reason"]
    entries = (
        unattributed.filter((pl.col("reason") != Unattributed.HOLDOUT.value) & in_range("outcome_time", view))
        .with_columns(_period("outcome_time", view).alias("_period"))
        .group_by(*words, "outcome_id", "inference_id", "reversal_id")
        .agg(
            pl.col("amount", "value").to_physical().sum(),
            pl.col("amount").is_not_null().any().alias("has_amount"),
            (pl.col("sign").cast(pl.Int64).sum() == 1).alias("stands"),
        )
    )
    sums = (
        entries.filter("stands")
        .group_by(words)
        .agg(
            pl.col("outcome_id").n_unique().alias("outcomes"),
            pl.col("amount", "value").sum(),
            pl.col("has_amount").any(),
        )
        .collect(engine="streaming")
    )
    by_group: dict[_Group, dict[str, Any]] = {
        tuple(row[name] for name in words): row for row in sums.iter_rows(named=True)
    }
    rows: list[Row] = []
    for group in _in_order(by_group):
        entry = by_group[group]
        amount = Fraction(entry["amount"], UNIT) if entry["has_amount"] else None
        row = _head("unattributed", group, words[1:]) | {"outcomes": entry["outcomes"]}
        row |= known_or("amount", amount, None if entry["has_amount"] else "no_amount")
        rows.append(row | ({"value": Fraction(entry["value"], UNIT)} if group[2] == Unattributed.CAPPED else {}))
    return rows
