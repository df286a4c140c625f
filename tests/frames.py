"""A case in the judge's plain form as canonical frames for the kernel, and ledgers back as plain rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from attribution.batch import attribute_batch, attributed_rows
from attribution.decimals import decimal_text
from attribution.deduplicate import Deduplicated, deduplicate
from attribution.engine import Policy
from attribution.frames import as_outcomes
from attribution.money import decimals
from attribution.rules import Rule, Rules
from attribution.settle import Settlement
from attribution.words import constant
from schemas.events import DECIMAL, OUTCOME_COLUMNS, SOURCE_COLUMNS, TIME, WORD, Kind, canonical_columns
from tests.cases import TOPICS, Case, Event
from tests.reference import RULE_DEFAULTS, Result
from tests.reference_parts import Row

#: The event lists of a case and the kind of event in each.
LISTS = {name: Kind(kind) for name, kind in TOPICS.items()}
#: The order of the parts of an event's ``position``.
POSITION = ("source_topic", "source_partition", "source_file", "source_offset")


def run_kernel(case: Case) -> Result:
    """The kernel's answer in the form of the judge's."""
    frames = {kind: frame(getattr(case, name), kind) for name, kind in LISTS.items()}
    inferences = deduplicate(frames[Kind.INFERENCE], "inference_id", list(canonical_columns(Kind.INFERENCE)))
    outcomes = deduplicate(_outcomes(frames), "event_id", list(OUTCOME_COLUMNS))
    reversals = deduplicate(frames[Kind.REVERSAL], "event_id", list(canonical_columns(Kind.REVERSAL)))
    compiled = policy(case).compiled()
    ledger = attribute_batch(inferences.events, outcomes.events, reversals.events, compiled)
    watermark = max((event["event_time"] for name in LISTS for event in getattr(case, name)), default=0)
    figures = Settlement(ledger.credits, inferences.events.height).all()
    lateness = case.settings["allowed_lateness"]
    attributed = attributed_rows(inferences.events, figures, compiled, lateness, watermark)
    kept = {Kind.INFERENCE: inferences, None: outcomes, Kind.REVERSAL: reversals}
    return Result(
        credits=plain(ledger.credits.drop("inference"), "outcome_id", "inference_id"),
        unattributed=plain(ledger.unattributed, "outcome_id", "inference_id", "reversal_id", "reason"),
        attributed=plain(attributed, "inference_id"),
        conflicting=[event for kind, part in kept.items() for event in _conflicting(part, kind)],
        duplicates=sum(part.duplicates.height for part in kept.values()),
    )


def plain(table: pl.DataFrame, *key: str) -> list[Row]:
    """Rows with money in units and times in µs, by key with null first, and the ledger columns of a replay."""
    exact = [name for name, dtype in table.schema.items() if isinstance(dtype, pl.Decimal | pl.Datetime)]
    numbers = table.with_columns(pl.col(name).to_physical() for name in exact)
    rows = numbers.sort([pl.col(name).cast(pl.String) for name in key]).to_dicts()
    return [row | {"sign": 1, "commit_id": 0} for row in rows]


def frame(events: Sequence[Event], kind: Kind) -> pl.DataFrame:
    """Canonical columns of one kind, defaults filled in, and source columns."""
    values = {name: [_value(event, name) for event in events] for name in canonical_columns(kind)}
    places = {name: [event["position"][part] for event in events] for part, name in enumerate(POSITION)}
    dtypes = canonical_columns(kind) | SOURCE_COLUMNS
    made = pl.DataFrame([_column(name, dtype, (values | places)[name]) for name, dtype in dtypes.items()])
    if kind is Kind.INFERENCE:
        return made.with_columns(pl.col("status").fill_null("served"))
    if kind is Kind.CONVERSION:
        return made.with_columns(pl.col("quantity").fill_null(pl.lit("1").cast(DECIMAL)))
    return made


def policy(case: Case) -> Policy:
    """The case's rules, rates and settings."""
    days, currencies, rates = ([rate[part] for rate in case.fx] for part in range(3))
    fx = {
        "date": pl.Series(days, dtype=pl.Int32).cast(pl.Date),
        "currency": pl.Series(currencies, dtype=pl.String).cast(WORD),
        "rate": decimals(pl.Series(rates, dtype=pl.Int128)),
    }
    settings = case.settings
    return Policy(
        _rules(case), pl.DataFrame(fx), settings["base_currency"], settings["reversal_window"], settings["fx_max_age"]
    )


def _outcomes(frames: dict[Kind, pl.DataFrame]) -> pl.DataFrame:
    """Conversions and time-saved events as one frame."""
    kinds = (Kind.CONVERSION, Kind.TIME_SAVED)
    return as_outcomes([frames[kind].with_columns(constant(kind, frames[kind].height).alias("kind")) for kind in kinds])


def _conflicting(part: Deduplicated, kind: Kind | None) -> list[tuple[str, str, Any]]:
    """(kind, id, position) of each refused event; outcomes tell their kind themselves."""
    rows = part.conflicting.to_dicts()
    id_column = "inference_id" if kind is Kind.INFERENCE else "event_id"
    return [(str(kind or row["kind"]), row[id_column], tuple(row[name] for name in POSITION)) for row in rows]


def _rules(case: Case) -> Rules:
    """Rules in the engine's form; parsing them from a text is another test's subject."""
    made = [
        _rule(RULE_DEFAULTS | {key: value for key, value in rule.items() if value is not None}) for rule in case.rules
    ]
    return Rules(tuple(sorted(made, key=lambda r: (r.use_case.encode(), r.kind, r.type.encode(), r.effective_from_us))))


def _rule(rule: Event) -> Rule:
    return Rule(
        use_case=rule["use_case"],
        kind=rule["kind"],
        type=rule["type"],
        effective_from_us=rule["effective_from"],
        join=rule["join"],
        lookback_window_us=rule["lookback_window"],
        early_tolerance_us=rule["early_tolerance"],
        credit=rule["credit"],
        half_life_us=rule.get("half_life"),
        position_weights=rule["position_weights"],
        share=rule["share"],
        max_touches=rule.get("max_touches"),
        margin=rule["margin"],
        value_per_event=rule.get("value_per_event"),
        effect=rule["effect"],
        max_value=rule.get("max_value"),
        baseline_seconds=rule.get("baseline_seconds"),
        realisation=rule["realisation"],
        max_seconds=rule.get("max_seconds"),
        hourly_rates=tuple(sorted(rule.get("hourly_rate", {}).items())),
    )


def _value(event: Event, name: str) -> Any:
    """A canonical field of an event in the plain form."""
    value = event.get(name)
    if name == "inference_ids":
        return None if value is None else sorted(set(value), key=str.encode)
    if name == "attributes":
        return json.dumps(value, sort_keys=True, ensure_ascii=False) if value else None
    return value


def _column(name: str, dtype: pl.DataType, values: list[Any]) -> pl.Series:
    """A column from units (decimals), microseconds (times), texts (words) or values of its own type."""
    if isinstance(dtype, pl.Decimal):
        texts = [None if value is None else decimal_text(value, dtype.scale) for value in values]
        return pl.Series(name, texts, dtype=pl.String).cast(dtype)
    written = pl.Int64() if dtype == TIME else pl.String() if dtype == WORD else dtype
    return pl.Series(name, values, dtype=written).cast(dtype)
