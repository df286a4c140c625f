"""What holds between the fields of one record: which are missing, which contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from schemas.events import FIELDS, NAMING_KINDS, Kind

_WAYS_OF_NAMING = ("inference_id", "inference_ids", "trace_id")


def missing(event: Mapping[str, object], kind: Kind) -> Iterator[str]:
    """What a record lacks, in order; event: its members that are not null."""
    for field in FIELDS[kind]:
        if field.required and field.name not in event:
            yield field.name
    if kind is Kind.TIME_SAVED and "seconds" not in event and "actual_seconds" not in event:
        yield "actual_seconds" if "baseline_seconds" in event else "seconds or actual_seconds"
    if kind is Kind.SCORE and not any(name in event for name in _WAYS_OF_NAMING):
        yield "inference_id, inference_ids or trace_id"


def conflicts(values: Mapping[str, object], kind: Kind) -> Iterator[str]:
    """What contradicts each other, in words; values: canonical ones of the fields that a record has."""
    if kind in NAMING_KINDS:
        yield from _at_most_one(values, _WAYS_OF_NAMING)
    match kind:
        case Kind.INFERENCE:
            yield from _not_alone(values, "cost", "cost_currency")
            yield from _not_alone(values, "cost_currency", "cost")
            yield from _parts_above_input(values)
        case Kind.CONVERSION:
            yield from _not_alone(values, "amount", "currency")
            yield from _not_alone(values, "currency", "amount")
        case Kind.TIME_SAVED:
            yield from _at_most_one(values, ("seconds", "baseline_seconds"))
            yield from _at_most_one(values, ("seconds", "actual_seconds"))
        case Kind.REVERSAL:
            yield from _at_most_one(values, ("amount", "quantity", "seconds"))
            yield from _not_alone(values, "currency", "amount")


def _at_most_one(values: Mapping[str, object], names: Sequence[str]) -> Iterator[str]:
    given = [name for name in names if name in values]
    if len(given) > 1:
        yield f"{' and '.join(given)}: at most one of {', '.join(names)}"


def _not_alone(values: Mapping[str, object], name: str, partner: str) -> Iterator[str]:
    if name in values and partner not in values:
        yield f"{name}: given without {partner}"


def _parts_above_input(values: Mapping[str, object]) -> Iterator[str]:
    whole = values.get("input_tokens")
    parts = [values.get(name) or 0 for name in ("cached_input_tokens", "cache_write_input_tokens")]
    total = sum(part for part in parts if isinstance(part, int))
    if isinstance(whole, int) and total > whole:
        yield f"cached_input_tokens + cache_write_input_tokens: {total}, above input_tokens: {whole}"
