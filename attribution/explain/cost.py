"""The sections that tell what one inference cost: its estimate, and each bill that covers it.

Of a bill: its lines → the rule that takes them → the part of the day → the driver, its sum → the inference's share.
Every figure stands beside the arithmetic that leads to it, as ``attribution.explain.words`` says; ``round12`` rounds
half-even to 12 places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from attribution.cost_model import CostModel, CostType, Driver
from attribution.costs import (
    COST_PLACES,
    STANDARD_TIER,
    Conversion,
    CostReason,
    PriceList,
    TokenKind,
    model_names,
    newest_with,
    rate_table,
    token_price,
)
from attribution.division import PoolShare
from attribution.drivers import DriverSums
from attribution.explain.words import Section, Step, number, shown, sums
from attribution.windows import time_text

#: More lines than this are summed up in one.
LINES_SHOWN = 20
_WHY = {
    CostReason.NO_PRICE: "no price list in force has the model, its tier or a price for tokens that are there",
    CostReason.NO_USAGE: "it has no input tokens",
    CostReason.NO_FX_RATE: "there is no rate for the currency on its day",
}


@dataclass(frozen=True)
class CostKnown:
    """What one inference's cost rests on.

    event: its published row; costed: its row of ``attribution.division.Costed.frame``; position: its row number there;
    shares: of the slice; lines: of its day, as ``attribution.bills.lines_on`` gives them, with ``file``.
    """

    event: Mapping[str, Any]
    costed: Mapping[str, Any]
    position: int
    shares: Sequence[PoolShare]
    lines: pl.DataFrame


def explain_cost(known: CostKnown, model: CostModel, conversion: Conversion) -> list[Section]:
    """The estimate, one section per rule that covers the inference on its day, and the sum."""
    covering = [share for share in known.shares if known.position in share.rows]
    return [
        _estimate(known, model.price_lists, conversion),
        *(_share(known, share, conversion.base_currency) for share in covering),
        _sum(known, covering, model, conversion.base_currency),
    ]


# The estimate


def _estimate(known: CostKnown, lists: Sequence[PriceList], conversion: Conversion) -> Section:
    event, base = known.event, conversion.base_currency
    title = f"Estimate of {shown(event['inference_id'])}"
    reason = known.costed["estimate_reason"]
    if reason is not None:
        return Section(title, (f"unknown, {reason}: {_WHY[CostReason(reason)]}",))
    result = number(known.costed["estimate"], COST_PLACES)
    if event["cost"] is not None:
        rate = number(_rate(event["cost_currency"], event, conversion))
        expression = f"round12({event['cost'].normalize():f} × {rate})"
        return Section(title, ("its own cost", Step("estimate", result, expression, base)))
    if event["cache_hit"]:
        return Section(title, ("answered from the gateway's cache", Step("estimate", result, unit=base)))
    time_us = int(pl.Series([event["event_time"]]).dt.epoch("us").item())
    in_force = sorted((p for p in lists if p.effective_from_us <= time_us), key=lambda p: p.effective_from_us)
    found = newest_with(in_force, model_names(event["model"], event["model_version"], event["provider"]))
    assert found is not None, "there is an estimate by price"
    price_list, prices = found
    tier = event["service_tier"] or STANDARD_TIER
    terms = []
    for kind, tokens in _tokens(event).items():
        price = token_price(prices, kind, tier, event["input_tokens"])
        if tokens and price is not None:
            terms.append(f"{tokens} × {price:f}")
    rate = number(_rate(price_list.currency, event, conversion))
    expression = f"round12(({' + '.join(terms) or '0'}) × {rate})"
    head = f"{price_list.name}, in force from {time_text(price_list.effective_from_us)}, tier {tier}"
    return Section(title, (head, Step("estimate", result, expression, base)))


def _tokens(event: Mapping[str, Any]) -> dict[TokenKind, int]:
    cached, written = event["cached_input_tokens"] or 0, event["cache_write_input_tokens"] or 0
    return {
        TokenKind.INPUT: event["input_tokens"] - cached - written,
        TokenKind.CACHED: cached,
        TokenKind.CACHE_WRITE: written,
        TokenKind.OUTPUT: event["output_tokens"] or 0,
    }


def _rate(currency: str, event: Mapping[str, Any], conversion: Conversion) -> int:
    day = pl.Series([event["event_time"].date()], dtype=pl.Date)
    return int(rate_table([currency], day, conversion)["rate"].item())


# Bills


def _share(known: CostKnown, share: PoolShare, base: str) -> Section:
    """From bill lines to the inference's share."""
    day_pool, rule = share.day_pool, share.day_pool.rule
    day = known.event["event_time"].date()
    matches = ", ".join(f"{key} {' or '.join(texts)}" for key, texts in rule.match.items()) or "every line"
    lines: list[str | Step] = [f"{rule.cost_type}, for {rule.scope}; takes lines of {matches}"]
    lines += _pool_lines(known.lines.filter(pl.col("rule") == day_pool.pool.rule), day_pool.pool.cost, base)
    lines += _driver_lines(day_pool.sums, day_pool.members.inferences[day])
    lines += _share_steps(known, share, base)
    return Section(f"Line {shown(rule.name)} on {day}", tuple(lines))


def _pool_lines(lines: pl.DataFrame, pool: int, base: str) -> list[str | Step]:
    """Each bill line, converted, and its part of the day; the small ones in one sum. A loop over ``LINES_SHOWN``."""
    ordered = lines.sort(pl.col("cost_on_day").abs(), descending=True, maintain_order=True)
    shown_lines, others = ordered[:LINES_SHOWN], ordered[LINES_SHOWN:]
    found: list[str | Step] = []
    terms = []
    for row in shown_lines.iter_rows(named=True):
        place = f"{row['file']}, row {row['row']}"
        span = f"{time_text(row['start_us'])} to {time_text(row['end_us'])}"
        amount, converted = (number(row[name], COST_PLACES) for name in ("cost", "converted"))
        found.append(f"{place}: {amount} {row['currency']} for {span}")
        found.append(Step(f"  converted({place})", converted, f"round12({amount} × {number(row['rate'])})", base))
        upto, before, whole = (row[f"{name}_us"] for name in ("upto", "before", "whole"))
        expression = f"round12({converted} × {upto}/{whole}) − round12({converted} × {before}/{whole})"
        terms.append(number(row["cost_on_day"], COST_PLACES))
        found.append(Step(f"  part({place})", terms[-1], expression, base))
    if others.height:
        terms.append(number(int(others["cost_on_day"].sum()), COST_PLACES))
        found.append(f"{others.height} further lines, with {terms[-1]} {base} of the day")
    return [*found, Step("pool", number(pool, COST_PLACES), " + ".join(terms), base)]


def _driver_lines(of_drivers: Mapping[Driver, DriverSums], inferences: int) -> list[str | Step]:
    """Which served requests have each driver that was tried."""
    return [
        f"driver {driver}: {of.served_with} of {of.served} served requests in scope have it, of {inferences} inferences"
        for driver, of in of_drivers.items()
    ]


def _share_steps(known: CostKnown, share: PoolShare, base: str) -> list[str | Step]:
    chosen = share.day_pool.chosen
    assert chosen is not None, "what is divided has a driver"
    place = _place(share, known)
    name = shown(known.event["inference_id"])
    weight = int(share.weights[place])
    before = share.before + int(share.weights[:place].sum())
    pool, whole = number(share.day_pool.pool.cost, COST_PLACES), chosen.whole
    expression = f"round12({pool} × {before + weight}/{whole}) − round12({pool} × {before}/{whole})"
    unit = " (in 10⁻⁹ of the base currency)" if chosen.driver is Driver.ESTIMATE else ""
    return [
        f"divided by {chosen.driver}{unit}, in order of event time and id",
        Step(f"sum of {chosen.driver}", str(whole)),
        Step(f"weight({name})", str(weight)),
        Step("weights before it", str(before)),
        Step(f"share({name})", number(int(share.costs[place]), COST_PLACES), expression, base),
    ]


def _sum(known: CostKnown, covering: Sequence[PoolShare], model: CostModel, base: str) -> Section:
    """Serving and indirect; the bill is the serving cost where there is one."""
    is_billed, estimate = known.costed["is_billed"], known.costed["estimate"]
    costs: dict[str, list[int]] = {"serving": [], "indirect": []}
    if not is_billed and estimate is not None:
        costs["serving"].append(estimate)
    for share in covering:
        is_serving = is_billed and share.day_pool.rule.cost_type is CostType.SERVING
        costs["serving" if is_serving else "indirect"].append(int(share.costs[_place(share, known)]))
    lines: list[str | Step] = [f"basis {'billed: a bill replaces the estimate' if is_billed else 'estimated'}"]
    for component, terms in costs.items():
        if terms:
            lines.append(Step(component, number(sum(terms), COST_PLACES), sums(terms, COST_PLACES), base))
        else:
            is_unknown = component == "serving" and not is_billed
            lines.append(f"{component}: {'unknown' if is_unknown else 'nothing'}")
    lines.append("idle and amortised costs depend on the periods of a report, and are not in this")
    served = [overhead.of for overhead in model.overheads if overhead.use_case == known.event["use_case"]]
    lines += [f"it is overhead: a report moves all of it to requests of {shown(use_case)}" for use_case in served]
    return Section(f"Cost of {shown(known.event['inference_id'])}", tuple(lines))


def _place(share: PoolShare, known: CostKnown) -> int:
    """Where the inference stands among those that the pool covers."""
    place = share.rows.index_of(known.position)
    assert place is not None, "the share is one that covers it"
    return place
