"""A case in the reference's plain form as canonical frames for the kernel, and frames back as plain rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from attribution.batch import as_outcomes, attribute_batch, attributed_rows
from attribution.decimals import decimal_text
from attribution.deduplicate import deduplicate
from attribution.engine import Ledger, Policy
from attribution.money import decimals
from attribution.rules import Rule, Rules
from attribution.settle import Settlement
from schemas.events import OUTCOME_COLUMNS, SOURCE_COLUMNS, TIME, WORD, Kind, canonical_columns
from tests.cases import Case

Row = dict[str, Any]
LISTS = {"inferences": Kind.INFERENCE, "conversions": Kind.CONVERSION, "time_saved": Kind.TIME_SAVED}
LISTS |= {"reversals": Kind.REVERSAL}


def frame(events: Iterable[Mapping[str, Any]], kind: Kind) -> pl.DataFrame:
    """Canonical columns and source columns of one kind."""
    events = list(events)
    columns = []
    for name, dtype in canonical_columns(kind).items():
        columns.append(_column(name, dtype, [_value(event, name) for event in events]))
    positions = [event["position"] for event in events]
    for place, (name, dtype) in enumerate(
        zip(
            ("source_topic", "source_partition", "source_file", "source_offset"),
            (WORD, pl.Int32, WORD, pl.Int64),
            strict=True,
        )
    ):
        columns.append(
            pl.Series(
                name, [position[place] for position in positions], dtype=pl.String if dtype == WORD else dtype
            ).cast(dtype)
        )
    result = pl.DataFrame(columns).select(*canonical_columns(kind), *SOURCE_COLUMNS)
    if kind is Kind.INFERENCE:
        return result.with_columns(pl.col("status").fill_null("served"))
    if kind is Kind.CONVERSION:
        return result.with_columns(pl.col("quantity").fill_null(pl.lit("1").cast(pl.Decimal(38, 9))))
    return result


def _value(event: Mapping[str, Any], name: str) -> Any:
    value = event.get(name)
    if name == "inference_ids":
        ids = value if value is not None else ([event["inference_id"]] if event.get("inference_id") else None)
        return None if ids is None else sorted(set(ids), key=str.encode)
    if name == "attributes":
        return json.dumps(value, sort_keys=True, ensure_ascii=False) if value else None
    return value


def _column(name: str, dtype: pl.DataType, values: list[Any]) -> pl.Series:
    if isinstance(dtype, pl.Decimal):
        texts = [None if v is None else decimal_text(v, dtype.scale) for v in values]
        return pl.Series(name, texts, dtype=pl.String).cast(dtype)
    if dtype == TIME:
        return pl.Series(name, values, dtype=pl.Int64).cast(dtype)
    if dtype == WORD:
        return pl.Series(name, values, dtype=pl.String).cast(dtype)
    return pl.Series(name, values, dtype=dtype)


def rules(case: Case) -> Rules:
    made = [
        Rule(
            use_case=rule["use_case"],
            kind=rule["kind"],
            type=rule["type"],
            effective_from_us=rule["effective_from"],
            join=rule.get("join") or "inference",
            lookback_window_us=rule["lookback_window"],
            early_tolerance_us=rule.get("early_tolerance") or 0,
            credit=rule["credit"],
            half_life_us=rule.get("half_life"),
            position_weights=tuple(rule.get("position_weights") or (400_000, 200_000, 400_000)),  # type: ignore[arg-type]
            share=rule.get("share") or 10**6,
            max_touches=rule.get("max_touches"),
            margin=10**9 if rule.get("margin") is None else rule["margin"],
            value_per_event=rule.get("value_per_event"),
            effect=rule.get("effect") or "gain",
            max_value=rule.get("max_value"),
            baseline_seconds=rule.get("baseline_seconds"),
            realisation=10**9 if rule.get("realisation") is None else rule["realisation"],
            max_seconds=rule.get("max_seconds"),
            hourly_rates=tuple(sorted((rule.get("hourly_rate") or {}).items())),
        )
        for rule in case.rules
    ]
    return Rules(tuple(sorted(made, key=lambda r: (r.use_case.encode(), r.kind, r.type.encode(), r.effective_from_us))))


def policy(case: Case) -> Policy:
    fx = pl.DataFrame(
        {
            "date": pl.Series([day for day, _, _ in case.fx], dtype=pl.Int32).cast(pl.Date),
            "currency": pl.Series([currency for _, currency, _ in case.fx], dtype=pl.String).cast(WORD),
            "rate": decimals(pl.Series([rate for _, _, rate in case.fx], dtype=pl.Int128)),
        }
    )
    settings = case.settings
    return Policy(rules(case), fx, settings["base_currency"], settings["reversal_window"], settings["fx_max_age"])


def run_kernel(case: Case) -> tuple[list[Row], list[Row], list[Row], int, int]:
    """(credits, unattributed, attributed) as the reference's rows, and the counts of conflicting and duplicate events."""
    frames = {kind: frame(getattr(case, name), kind) for name, kind in LISTS.items()}
    outcomes = as_outcomes(
        [
            frames[kind].with_columns(pl.lit(kind.value).cast(WORD).alias("kind"))
            for kind in (Kind.CONVERSION, Kind.TIME_SAVED)
        ]
    )
    kept = [
        deduplicate(frames[Kind.INFERENCE], "inference_id", list(canonical_columns(Kind.INFERENCE))),
        deduplicate(outcomes, "event_id", list(OUTCOME_COLUMNS)),
        deduplicate(frames[Kind.REVERSAL], "event_id", list(canonical_columns(Kind.REVERSAL))),
    ]
    compiled = policy(case).compiled()
    ledger: Ledger = attribute_batch(kept[0].events, kept[1].events, kept[2].events, compiled)
    newest = max((event["event_time"] for name in LISTS for event in getattr(case, name)), default=0)
    figures = Settlement(ledger.credits, kept[0].events.height).all()
    attributed = attributed_rows(kept[0].events, figures, compiled, case.settings["allowed_lateness"], newest)
    return (
        plain(ledger.credits.drop("inference"), "outcome_id", "inference_id"),
        plain(ledger.unattributed, "outcome_id", "inference_id", "reversal_id", "reason"),
        plain(attributed, "inference_id"),
        sum(part.conflicting.height for part in kept),
        sum(part.duplicates.height for part in kept),
    )


def plain(table: pl.DataFrame, *key: str) -> list[Row]:
    """Rows with money in units and times in µs, by key with null first, and the ledger columns of a replay."""
    units = [
        pl.col(name).to_physical()
        for name, dtype in table.schema.items()
        if isinstance(dtype, (pl.Decimal, pl.Datetime))
    ]
    rows = table.with_columns(units).sort([pl.col(k).cast(pl.String) for k in key]).to_dicts()
    return [row | {"sign": 1, "commit_id": 0} for row in rows]
