"""Canonical events: the fields of each kind, their types, bounds and defaults.

Everything that reads or checks an event is made from the tables here: the bulk decoder, the strict
record decoder, the published tables' columns and the JSON Schema files.

Units stand last in a name. Money and seconds are exact decimals (9 places; ``cost`` 12), times are
UTC microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import polars as pl

TIME = pl.Datetime("us", "UTC")
DECIMAL = pl.Decimal(38, 9)
COST = pl.Decimal(38, 12)
#: Texts with few distinct values (models, currencies …): dictionary-coded in memory, plain text in files.
WORD = pl.Categorical()

#: Valid times lie in [2000-01-01, 2200-01-01), in microseconds since 1970.
TIME_MIN_US = 946_684_800_000_000
TIME_MAX_US = 7_258_118_400_000_000
ID_MAX_BYTES = 256
INFERENCE_IDS_MAX = 10_000
NESTING_MAX = 64
COUNT_MAX = 2**53 - 1


class Kind(StrEnum):
    INFERENCE = "inference"
    CONVERSION = "conversion"
    TIME_SAVED = "time_saved"
    REVERSAL = "reversal"
    SCORE = "score"


#: Kinds that name inferences: by ``inference_id``, ``inference_ids`` or ``trace_id``.
NAMING_KINDS = frozenset({Kind.CONVERSION, Kind.TIME_SAVED, Kind.SCORE})


class Type(StrEnum):
    """What a field's value must be; each type has one grammar and one refusal reason."""

    ID = "id"  # text of 1 to 256 bytes
    IDS = "ids"  # list of 1 to 10,000 ids
    TIME = "time"  # RFC 3339 text with an offset, or integer epoch milliseconds
    TEXT = "text"  # any valid text, many distinct values
    WORD = "word"  # any valid text, few distinct values
    CHOICE = "choice"  # one of `choices`
    DECIMAL = "decimal"  # JSON number or decimal text, rounded half-even to `places`
    COUNT = "count"  # JSON integer in [0, 2^53)
    FLAG = "flag"  # true or false
    CURRENCY = "currency"  # active ISO 4217 code
    TEXTS = "texts"  # object of texts; kept as JSON text with sorted keys


@dataclass(frozen=True)
class Field:
    """One field of an event.

    low, high: bounds of a decimal; ``low`` is inclusive unless ``low_open``, ``high`` exclusive.
    """

    name: str
    type: Type
    doc: str
    required: bool = False
    not_empty: bool = False
    choices: tuple[str, ...] = ()
    default: str | None = None
    places: int = 9
    low: Decimal = Decimal(0)
    high: Decimal = Decimal(10) ** 12
    low_open: bool = False

    @property
    def dtype(self) -> pl.DataType:
        """The polars type of the canonical column."""
        match self.type:
            case Type.TIME:
                return TIME
            case Type.DECIMAL:
                return COST if self.places == 12 else DECIMAL
            case Type.COUNT:
                return pl.Int64()
            case Type.FLAG:
                return pl.Boolean()
            case Type.IDS:
                return pl.List(pl.String)
            case Type.WORD | Type.CHOICE | Type.CURRENCY:
                return WORD
            case Type.ID | Type.TEXT | Type.TEXTS:
                return pl.String()


_QUANTITY_MAX = Decimal(10) ** 6
_SECONDS_MAX = Decimal(10) ** 9
_SCORE_MAX = Decimal(10) ** 9


def _seconds(name: str, doc: str, *, signed: bool) -> Field:
    return Field(
        name, Type.DECIMAL, doc, low=-_SECONDS_MAX if signed else Decimal(0), high=_SECONDS_MAX, low_open=signed
    )


_EVENT_ID = Field("event_id", Type.ID, "Unique over conversions and time-saved events together.", required=True)
_EVENT_TIME = Field("event_time", Type.TIME, "When it happened.", required=True)
_TYPE = Field("type", Type.WORD, "The outcome's type, which selects the rule.", required=True, not_empty=True)
_CURRENCY = Field("currency", Type.CURRENCY, "ISO 4217 code of the amount.")
_ATTRIBUTES = Field("attributes", Type.TEXTS, "Further facts, as an object of texts.")
#: An outcome carries at most one of these.
_NAMING = (
    Field("inference_id", Type.ID, "The one inference that earned the outcome."),
    Field("inference_ids", Type.IDS, "The inferences that earned the outcome; repeats count once."),
    Field("trace_id", Type.ID, "The trace whose inferences earned the outcome, where the rule opts in."),
)
#: A score carries exactly one of these.
_SCORED = (
    Field("inference_id", Type.ID, "The one inference that is scored."),
    Field("inference_ids", Type.IDS, "The inferences that are scored together; repeats count once."),
    Field("trace_id", Type.ID, "The trace whose inferences are scored together."),
)

FIELDS: dict[Kind, tuple[Field, ...]] = {
    Kind.INFERENCE: (
        Field("inference_id", Type.ID, "Identifies the inference; outcomes name it.", required=True),
        _EVENT_TIME,
        Field(
            "use_case", Type.WORD, "What the inference was for; selects the rule file.", required=True, not_empty=True
        ),
        Field("model", Type.WORD, "The model asked for.", required=True, not_empty=True),
        Field("model_version", Type.WORD, "The model that answered."),
        Field("endpoint", Type.WORD, "Where it was served."),
        Field("provider", Type.WORD, "Who served it."),
        Field(
            "status",
            Type.CHOICE,
            "A failed inference costs and earns nothing.",
            choices=("served", "failed"),
            default="served",
        ),
        Field("arm", Type.WORD, "Experiment arm: treatment, holdout or any name."),
        Field("input_tokens", Type.COUNT, "All input tokens, cached ones included."),
        Field("cached_input_tokens", Type.COUNT, "The part of the input read from a cache."),
        Field("cache_write_input_tokens", Type.COUNT, "The part of the input written to a cache."),
        Field("output_tokens", Type.COUNT, "All output tokens, reasoning included."),
        Field("service_tier", Type.CHOICE, "The price tier.", choices=("standard", "batch", "flex", "priority")),
        Field("latency_ms", Type.COUNT, "How long the caller waited."),
        Field("compute_ms", Type.COUNT, "How long the hardware worked."),
        Field("cache_hit", Type.FLAG, "Answered from the gateway's own cache, at no cost."),
        Field("batch_id", Type.ID, "The batch it was served in."),
        Field("cost", Type.DECIMAL, "What it cost, where the caller knows.", places=12),
        Field("cost_currency", Type.CURRENCY, "ISO 4217 code of the cost."),
        Field("session_id", Type.ID, "The session; never earns credit."),
        Field("trace_id", Type.ID, "The trace (task, ticket, episode) the inference belongs to."),
        _ATTRIBUTES,
    ),
    Kind.CONVERSION: (
        _EVENT_ID,
        _EVENT_TIME,
        _TYPE,
        Field("amount", Type.DECIMAL, "The outcome's own money."),
        _CURRENCY,
        Field("quantity", Type.DECIMAL, "How many of it.", high=_QUANTITY_MAX, default="1"),
        *_NAMING,
        _ATTRIBUTES,
    ),
    Kind.TIME_SAVED: (
        _EVENT_ID,
        _EVENT_TIME,
        _TYPE,
        _seconds("seconds", "Seconds saved; negative where the AI cost time.", signed=True),
        _seconds("baseline_seconds", "Seconds it takes without AI.", signed=False),
        _seconds("actual_seconds", "Seconds it took with AI.", signed=False),
        Field("role", Type.WORD, "Whose time; selects the hourly rate."),
        *_NAMING,
        _ATTRIBUTES,
    ),
    Kind.REVERSAL: (
        Field("event_id", Type.ID, "Unique over reversals.", required=True),
        _EVENT_TIME,
        Field("reverses", Type.ID, "The event_id of the outcome it takes back.", required=True),
        Field("amount", Type.DECIMAL, "The money taken back."),
        _CURRENCY,
        Field("quantity", Type.DECIMAL, "The quantity taken back.", high=_QUANTITY_MAX),
        _seconds("seconds", "The seconds taken back.", signed=False),
        Field("reason", Type.TEXT, "Why."),
    ),
    Kind.SCORE: (
        Field("event_id", Type.ID, "Unique over scores.", required=True),
        _EVENT_TIME,
        Field("name", Type.WORD, "What was scored, such as helpfulness.", required=True, not_empty=True),
        Field(
            "score",
            Type.DECIMAL,
            "The figure; it is no money and earns nothing.",
            required=True,
            low=-_SCORE_MAX,
            high=_SCORE_MAX,
            low_open=True,
        ),
        *_SCORED,
        _ATTRIBUTES,
    ),
}

#: Where a record was read: the same five columns for every source.
SOURCE_COLUMNS: dict[str, pl.DataType] = {
    "source_topic": WORD,
    "source_partition": pl.Int32(),
    "source_offset": pl.Int64(),
    "source_file": WORD,
}


def canonical_columns(kind: Kind) -> dict[str, pl.DataType]:
    """Columns of a canonical frame of one kind, without the source columns.

    ``inference_id`` of what names inferences is not a column: it is an ``inference_ids`` list of one. A list is
    sorted as bytes and holds no repeats; ``attributes`` is JSON text with sorted keys, null when empty.
    """
    fields = FIELDS[kind]
    skip_single = kind in NAMING_KINDS
    return {f.name: f.dtype for f in fields if not (skip_single and f.name == "inference_id")}


#: One frame of conversions and time-saved events together, as the attribution function takes them.
OUTCOME_COLUMNS: dict[str, pl.DataType] = {
    "event_id": pl.String(),
    "kind": WORD,
    **{
        k: v
        for k, v in (canonical_columns(Kind.CONVERSION) | canonical_columns(Kind.TIME_SAVED)).items()
        if k != "event_id"
    },
}
