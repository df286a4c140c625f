"""JSON Schema (2020-12) documents of the five kinds of event, made from ``schemas.events.FIELDS``.

For producers, registries and editors. The engine has checks of its own, which decide; a document says as much of
them as JSON Schema can. It cannot say that

- an id's 256 bytes are bytes: ``maxLength`` counts characters, which is the same for ASCII only;
- bounds hold after rounding to 9 (``cost`` 12) decimals: they are checked on the number as written;
- a count or an epoch is written without fraction or exponent: ``1.0`` is an integer there;
- repeats in ``inference_ids`` count once: ``maxItems`` counts them all;
- cached and cache-write tokens together are at most the input tokens;
- a time is at most a skew ahead of its record's own time.

A ``null`` means absent everywhere, so every "at most one of" and "not without" speaks of present, not-null fields.

The files in ``schemas/json`` are this module's output::

    python -m schemas.json_schema inference > schemas/json/inference.schema.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

from schemas.currencies import ACTIVE
from schemas.events import (
    COUNT_MAX,
    FIELDS,
    ID_MAX_BYTES,
    INFERENCE_IDS_MAX,
    TIME_MAX_US,
    TIME_MIN_US,
    Field,
    Kind,
    Type,
)

Json: TypeAlias = "bool | int | str | Sequence[Json] | Mapping[str, Json] | None"
Schema: TypeAlias = "dict[str, Json]"

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_TITLES = {
    Kind.INFERENCE: "One call of a model.",
    Kind.CONVERSION: "A business outcome, with or without money.",
    Kind.TIME_SAVED: "Working time that AI saved, or cost.",
    Kind.REVERSAL: "Takes back all or part of an outcome.",
    Kind.SCORE: "A figure given to inferences, such as a judge's; it earns nothing.",
}

# The day before 2000 and the first of 2200 are in range in some offsets.
_MONTH_AND_DAY = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|[12][0-9]))"
)
_DATE = f"(?:1999-12-31|2200-01-01|2[01][0-9]{{2}}-{_MONTH_AND_DAY})"
_HOUR_AND_MINUTE = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME_PATTERN = f"^{_DATE}T{_HOUR_AND_MINUTE}:[0-5][0-9](?:[.][0-9]+)?(?:Z|[+-]{_HOUR_AND_MINUTE})$"


def json_schema(kind: Kind) -> Schema:
    """The document for one kind; keys in the order in which they are written."""
    fields = FIELDS[kind]
    return {
        "$schema": DIALECT,
        "$id": f"urn:attribution:event:{kind.value}",
        "title": kind.value,
        "description": _TITLES[kind],
        "type": "object",
        "required": [field.name for field in fields if field.required],
        "properties": {field.name: _property(field) for field in fields},
        "additionalProperties": True,
        "allOf": _constraints(kind),
    }


def render(kind: Kind) -> str:
    """The text of the kind's file: two spaces of indent, a newline at the end."""
    return json.dumps(json_schema(kind), indent=2, ensure_ascii=False) + "\n"


def _property(field: Field) -> Schema:
    schema: Schema = {"description": field.doc, **_value(field)}
    if field.default is not None:
        schema["default"] = field.default
    return schema if field.required else _or_null(schema)


def _or_null(schema: Schema) -> Schema:
    """The same schema, which also takes null: bounds and patterns hold for their own types only."""
    types, words = schema["type"], schema.get("enum")
    nullable = {**schema, "type": [types, "null"] if isinstance(types, str) else [*_list(types), "null"]}
    return nullable if words is None else {**nullable, "enum": [*_list(words), None]}


def _list(value: Json) -> list[Json]:
    assert isinstance(value, list)
    return value


def _value(field: Field) -> Schema:
    match field.type:
        case Type.ID:
            return _id()
        case Type.IDS:
            return {"type": "array", "minItems": 1, "maxItems": INFERENCE_IDS_MAX, "items": _id()}
        case Type.TIME:
            return {
                "type": ["string", "integer"],
                "format": "date-time",
                "pattern": _TIME_PATTERN,
                "minimum": TIME_MIN_US // 1000,
                "exclusiveMaximum": TIME_MAX_US // 1000,
            }
        case Type.TEXT | Type.WORD:
            return {"type": "string", "minLength": 1} if field.not_empty else {"type": "string"}
        case Type.CHOICE:
            return {"type": "string", "enum": list(field.choices)}
        case Type.DECIMAL:
            return _decimal(field)
        case Type.COUNT:
            return {"type": "integer", "minimum": 0, "maximum": COUNT_MAX}
        case Type.FLAG:
            return {"type": "boolean"}
        case Type.CURRENCY:
            return {"type": "string", "enum": sorted(ACTIVE)}
        case Type.TEXTS:
            return {"type": "object", "additionalProperties": {"type": "string"}}


def _id() -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": ID_MAX_BYTES}


def _decimal(field: Field) -> Schema:
    """A number within the bounds, or its decimal text: as many whole digits as stay below ``high``.

    Bounds are [0, 10^n) or (-10^n, 10^n); below zero, [0, 10^n) still has the text "-0".
    """
    whole_digits = len(str(int(field.high))) - 1
    assert field.high == 10**whole_digits, field.name
    assert field.low == (-field.high if field.low_open else 0), field.name
    magnitude = f"0*[0-9]{{1,{whole_digits}}}(?:[.][0-9]+)?"
    low_key, minus = ("exclusiveMinimum", "-?") if field.low_open else ("minimum", "(?:-(?=[0.]+$))?")
    return {
        "type": ["number", "string"],
        low_key: int(field.low),
        "exclusiveMaximum": int(field.high),
        "pattern": f"^{minus}{magnitude}$",
    }


def _constraints(kind: Kind) -> list[Json]:
    """What holds between fields."""
    ways = ("inference_id", "inference_ids", "trace_id")
    naming = _at_most_one(*ways)
    match kind:
        case Kind.INFERENCE:
            return [_needs("cost", "cost_currency"), _needs("cost_currency", "cost")]
        case Kind.CONVERSION:
            return [_needs("amount", "currency"), _needs("currency", "amount"), *naming]
        case Kind.TIME_SAVED:
            seconds: list[Json] = [
                {"anyOf": [_present("seconds"), _present("actual_seconds")]},
                *_at_most_one("seconds", "actual_seconds"),
                _needs("baseline_seconds", "actual_seconds"),
            ]
            return [*seconds, *naming]
        case Kind.REVERSAL:
            return [*_at_most_one("amount", "quantity", "seconds"), _needs("currency", "amount")]
        case Kind.SCORE:
            return [{"anyOf": [_present(way) for way in ways]}, *naming]


def _present(*names: str) -> Schema:
    return {"required": list(names), "properties": {name: {"not": {"type": "null"}} for name in names}}


def _needs(name: str, other: str) -> Schema:
    return {"if": _present(name), "then": _present(other)}


def _at_most_one(*names: str) -> list[Schema]:
    return [{"not": _present(*pair)} for pair in combinations(names, 2)]


if __name__ == "__main__":
    sys.stdout.write(render(Kind(sys.argv[1])))
