"""The attribution function over a whole batch of events, and its face for notebooks and tests.

>>> import polars as pl, attribution
>>> result = attribution.attribute(
...     pl.DataFrame({"inference_id": ["i1"], "event_time": ["2026-03-01T10:00:00Z"],
...                   "use_case": ["reco"], "model": ["m"]}),
...     pl.DataFrame({"event_id": ["o1"], "event_time": ["2026-03-01T11:00:00Z"], "type": ["purchase"],
...                   "amount": ["100"], "currency": ["USD"], "inference_ids": [["i1"]]}),
...     rules='''
... use_case = "reco"
... [[rule]]
... effective_from = 2026-01-01T00:00:00Z
... kind = "conversion"
... type = "purchase"
... lookback_window = "7d"
... credit = "last"
... margin = "0.30"
... ''')
>>> result.credits.select("outcome_id", "inference_id", "value").rows()
[('o1', 'i1', Decimal('30.000000000'))]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from attribution.deduplicate import deduplicate
from attribution.engine import CompiledPolicy, Ledger, Policy, attribute_outcomes
from attribution.match import matched_slices
from attribution.rules import Rules, combine, parse_rules
from attribution.settle import Settlement, is_settled
from attribution.windows import parse_duration
from attribution.words import constant
from schemas.errors import ConfigurationError
from schemas.events import DECIMAL, OUTCOME_COLUMNS, TIME, WORD, Kind, canonical_columns
from schemas.outputs import ATTRIBUTED

_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Attribution:
    """Ledger rows as frames with the columns of ``docs/tables.md``, without ``sign`` and ``commit_id``.

    attributed: one row per inference; conflicting: refused events (same id, other content), by kind.
    """

    credits: pl.DataFrame
    unattributed: pl.DataFrame
    attributed: pl.DataFrame
    conflicting: dict[Kind, pl.DataFrame]


def attribute(
    inferences: pl.DataFrame,
    conversions: pl.DataFrame | None = None,
    time_saved: pl.DataFrame | None = None,
    reversals: pl.DataFrame | None = None,
    *,
    rules: Rules | str | Sequence[str],
    fx: pl.DataFrame | None = None,
    base_currency: str = "USD",
    reversal_window: str = "60d",
    fx_max_age: str = "7d",
    allowed_lateness: str = "1d",
) -> Attribution:
    """Attribute events held in frames.

    Frames have the canonical columns (``docs/tables.md``); optional ones may be left out. Texts may be
    strings or categoricals, times RFC 3339 strings or UTC datetimes, numbers decimals, integers or decimal
    strings; a float is refused, since it has no exact value. Events are taken as valid: validation belongs
    to the readers. rules: parsed, or the TOML text of one or several rule files. fx: ``date``,
    ``currency``, ``rate``.

    Raises ConfigurationError for a column of the wrong type or a rule that is not right.
    """
    policy = Policy(
        rules=_rules(rules),
        fx=_fx(fx),
        base_currency=base_currency,
        reversal_window_us=parse_duration(reversal_window),
        fx_max_age_days=parse_duration(fx_max_age) // _DAY_US,
    )
    asked = {Kind.INFERENCE: inferences, Kind.REVERSAL: reversals}
    frames = {kind: canonical(frame, kind) for kind, frame in asked.items()}
    outcome_frames = [
        canonical(frame, kind).with_columns(constant(kind.value, 0 if frame is None else frame.height).alias("kind"))
        for kind, frame in ((Kind.CONVERSION, conversions), (Kind.TIME_SAVED, time_saved))
    ]
    outcomes = as_outcomes(outcome_frames)
    kept_inferences = deduplicate(frames[Kind.INFERENCE], "inference_id", list(canonical_columns(Kind.INFERENCE)))
    kept_outcomes = deduplicate(outcomes, "event_id", list(OUTCOME_COLUMNS))
    kept_reversals = deduplicate(frames[Kind.REVERSAL], "event_id", list(canonical_columns(Kind.REVERSAL)))
    compiled = policy.compiled()
    ledger = attribute_batch(kept_inferences.events, kept_outcomes.events, kept_reversals.events, compiled)
    newest = max((_newest(frame) for frame in (*frames.values(), outcomes)), default=0)
    figures = Settlement(ledger.credits, kept_inferences.events.height).all()
    lateness = parse_duration(allowed_lateness)
    attributed = attributed_rows(kept_inferences.events, figures, compiled, lateness, newest)
    conflicting = {
        Kind.INFERENCE: kept_inferences.conflicting,
        Kind.REVERSAL: kept_reversals.conflicting,
        **{
            kind: kept_outcomes.conflicting.filter(pl.col("kind") == kind.value)
            for kind in (Kind.CONVERSION, Kind.TIME_SAVED)
        },
    }
    return Attribution(ledger.credits.drop("inference"), ledger.unattributed, attributed, conflicting)


def attribute_batch(
    inferences: pl.DataFrame, outcomes: pl.DataFrame, reversals: pl.DataFrame, compiled: CompiledPolicy
) -> Ledger:
    """Steps 2 to 10 for canonical events without duplicates, in slices that bound memory."""
    ledgers = []
    of_none = reversals
    for part in matched_slices(outcomes, inferences):
        of_these = reversals
        if part.outcomes.height < outcomes.height:
            of_these = reversals.join(part.outcomes, left_on="reverses", right_on="event_id", how="semi")
            of_none = of_none.join(part.outcomes, left_on="reverses", right_on="event_id", how="anti")
        else:
            of_none = reversals.clear()
        ledgers.append(attribute_outcomes(part.outcomes, inferences, part.pairs, of_these, compiled))
    if of_none.height or not ledgers:
        no_pairs = pl.DataFrame(schema={"outcome": pl.UInt32, "inference": pl.UInt32})
        ledgers.append(attribute_outcomes(outcomes.clear(), inferences, no_pairs, of_none, compiled))
    return Ledger(
        pl.concat([ledger.credits for ledger in ledgers]),
        pl.concat([ledger.unattributed for ledger in ledgers]),
    )


def attributed_rows(
    inferences: pl.DataFrame,
    figures: pl.DataFrame,
    compiled: CompiledPolicy,
    allowed_lateness_us: int,
    watermark_us: int,
) -> pl.DataFrame:
    """``attributed`` rows, open ones too, without ``sign`` and ``commit_id``; figures: of ``Settlement``, in order."""
    settled = is_settled(inferences, compiled.in_force, allowed_lateness_us, watermark_us)
    frame = inferences.select(
        "inference_id", "event_time", "use_case", "model", "model_version", "endpoint", "provider", "arm"
    ).hstack(figures.get_columns())
    frame = frame.with_columns(
        constant(compiled.policy.base_currency, frame.height).alias("currency"), pl.Series("settled", settled)
    )
    return frame.select(name for name in ATTRIBUTED if name not in ("sign", "commit_id"))


def as_outcomes(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Conversions and time-saved events as one frame of OUTCOME_COLUMNS; further columns stay."""
    return pl.concat(
        [
            frame.with_columns(
                pl.lit(None, dtype=dtype).alias(name) for name, dtype in OUTCOME_COLUMNS.items() if name not in frame
            ).select(*OUTCOME_COLUMNS, *(name for name in frame.columns if name not in OUTCOME_COLUMNS))
            for frame in frames
        ]
    )


def canonical(frame: pl.DataFrame | None, kind: Kind) -> pl.DataFrame:
    """A user's frame with the canonical columns and types of its kind, defaults filled in."""
    schema = canonical_columns(kind)
    if frame is None:
        return pl.DataFrame(schema=schema)
    if "inference_id" in frame.columns and "inference_id" not in schema:
        single = pl.when(pl.col("inference_id").is_not_null()).then(pl.concat_list("inference_id"))
        listed = pl.col("inference_ids") if "inference_ids" in frame.columns else pl.lit(None, dtype=pl.List(pl.String))
        frame = frame.with_columns(pl.coalesce(listed, single).alias("inference_ids"))
    columns = [_cast(frame, name, dtype) for name, dtype in schema.items()]
    frame = pl.DataFrame(columns)
    if "inference_ids" in schema:
        frame = frame.with_columns(pl.col("inference_ids").list.unique().list.sort())
    if kind is Kind.INFERENCE:
        frame = frame.with_columns(pl.col("status").fill_null("served"))
    if kind is Kind.CONVERSION:
        frame = frame.with_columns(pl.col("quantity").fill_null(pl.lit("1").cast(DECIMAL)))
    return frame


def _cast(frame: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Series:
    if name not in frame.columns:
        return pl.Series(name, [None], dtype=dtype).new_from_index(0, frame.height).alias(name)
    column = frame[name]
    if isinstance(dtype, pl.Decimal) and column.dtype.is_float():
        raise ConfigurationError(
            f"column {name}: expected decimals, integers or decimal strings, got {column.dtype}. "
            "Hint: a float has no exact value; cast it to a string or a Decimal where it is made"
        )
    if dtype == TIME and column.dtype == pl.String:
        return column.str.to_datetime("%+", time_unit="us", time_zone="UTC")
    if dtype == TIME and column.dtype == pl.Datetime and column.dtype.time_zone is None:  # type: ignore[attr-defined]
        column = column.dt.replace_time_zone("UTC")
    return column.cast(dtype)


def _rules(rules: Rules | str | Sequence[str]) -> Rules:
    if isinstance(rules, Rules):
        return rules
    texts = [rules] if isinstance(rules, str) else list(rules)
    return combine([parse_rules(text, f"rules[{position}]") for position, text in enumerate(texts)])


def _fx(fx: pl.DataFrame | None) -> pl.DataFrame:
    schema = {"date": pl.Date(), "currency": WORD, "rate": DECIMAL}
    if fx is None:
        return pl.DataFrame(schema=schema)
    return pl.DataFrame([_cast(fx, name, dtype) for name, dtype in schema.items()])


def _newest(frame: pl.DataFrame) -> int:
    newest = frame["event_time"].to_physical().max()
    return int(newest) if isinstance(newest, int) else 0
