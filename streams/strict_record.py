"""One record's bytes → its canonical values, or the one reason why it is refused.

**This is the authority on what a record means.** The bulk readers accept a row only where they can
prove that this module gives the same; every other row comes here, and only here are reasons decided.
So it is written for being obviously right: the standard library's JSON parser, one small function for
each type of field, all faults collected, the first in the order of ``schemas.reasons.Refusal`` wins
(within a reason: the first in the order of ``schemas.events.FIELDS``).

>>> limits = Limits(max_record_bytes=1000, max_future_skew_us=0, now_us=1_800_000_000_000_000)
>>> decode_record(b'{"event_id": "r1", "event_time": "2026-01-01T00:00:00Z", "reverses": 7}', Kind.REVERSAL, limits)
Refused(reason=<Refusal.INVALID_ID: 'invalid_id'>, detail='reverses: expected a text of 1 to 256 bytes, got 7')
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import NoReturn

from schemas.currencies import ACTIVE
from schemas.events import (
    COUNT_MAX,
    FIELDS,
    ID_MAX_BYTES,
    INFERENCE_IDS_MAX,
    NAMING_KINDS,
    NESTING_MAX,
    TIME_MAX_US,
    TIME_MIN_US,
    Field,
    Kind,
    Type,
    canonical_columns,
)
from schemas.reasons import Refusal
from streams.across_fields import conflicts, missing
from streams.dropped_fields import NOTHING_DROPPED, DroppedFields

#: A canonical value: times are UTC microseconds, decimals are quantised to the field's places.
Value = str | int | bool | Decimal | list[str] | None
Record = dict[str, Value]

_PRECEDENCE = {reason: rank for rank, reason in enumerate(Refusal)}
_SHOWN_CHARACTERS = 80
_DECIMAL_TEXT = re.compile(r"-?([0-9]+)(?:\.[0-9]+)?")
_INTEGER_TOKEN = re.compile(r"-?[0-9]+")
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
#: Longest integer token worth converting: anything longer is out of every bound.
_INTEGER_CHARACTERS = 20
#: Wide enough for every number within bounds: 12 digits before and 12 after the point.
_ROUNDING = Context(prec=40, rounding=ROUND_HALF_EVEN)
_EPOCH_DAY = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Limits:
    """What a record is held against besides its own content.

    now_us: stands in for the record's own time where the source has none (plain files). dropped: fields that records
    are read without.
    """

    max_record_bytes: int
    max_future_skew_us: int
    now_us: int
    dropped: DroppedFields = NOTHING_DROPPED

    @property
    def latest_us(self) -> int:
        """The latest event time that is not ``future_time``."""
        return self.now_us + self.max_future_skew_us


@dataclass(frozen=True)
class Refused:
    """Why a record is a dead letter; ``detail`` says which field and what was found."""

    reason: Refusal
    detail: str


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it stands in the record: what it means depends on the field."""

    token: str


class _FieldError(Exception):
    """A field's value is refused; caught by ``_check_fields``, never seen outside."""

    def __init__(self, reason: Refusal, expected: str, got: object) -> None:
        super().__init__(reason, expected, got)
        self.reason = reason
        self.detail = f"expected {expected}, got {_shown(got)}"


def decode_record(raw: bytes, kind: Kind, limits: Limits) -> Record | Refused:
    """Canonical values by column name (all of ``canonical_columns(kind)``), or the refusal."""
    if len(raw) > limits.max_record_bytes:
        return Refused(Refusal.TOO_LARGE, f"{len(raw)} bytes, max_record_bytes is {limits.max_record_bytes}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Refused(Refusal.NOT_UTF8, f"byte {error.start}: {error.reason}")
    if nests_too_deep(raw):
        return Refused(Refusal.MALFORMED_JSON, f"more than {NESTING_MAX} levels of nesting")
    try:
        event = parse_json(text)
    except ValueError as error:
        return Refused(Refusal.MALFORMED_JSON, str(error))
    if not isinstance(event, dict):
        return Refused(Refusal.NOT_AN_OBJECT, f"expected an object, got {_shown(event)}")
    return _canonical({name: value for name, value in event.items() if value is not None}, kind, limits)


def parse_json(text: str) -> object:
    """JSON as the contract reads it: the first of equal keys counts, numbers keep their token.

    Raises ValueError for what JSON does not know, NaN and Infinity included.
    """
    return json.loads(
        text, parse_int=Number, parse_float=Number, parse_constant=_refuse_constant, object_pairs_hook=_first_wins
    )


def canonical_texts(texts: dict[str, str]) -> str | None:
    """``attributes`` as compact JSON text, keys sorted as bytes; None when empty."""
    return json.dumps(texts, ensure_ascii=False, separators=(",", ":"), sort_keys=True) if texts else None


def _refuse_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


def _first_wins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return dict(reversed(pairs))


def nests_too_deep(raw: bytes) -> bool:
    """More than 64 levels, found without recursion; brackets inside strings do not count."""
    if raw.count(b"{") + raw.count(b"[") <= NESTING_MAX:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", raw)):
        depth += 1 if bracket in b"[{" else -1
        if depth > NESTING_MAX:
            return True
    return False


# --- one function per type: JSON value → canonical value, or _FieldError --------------------------------------


def _id(value: object, _field: Field) -> str:
    if not isinstance(value, str) or not is_unicode(value) or not 1 <= len(value.encode()) <= ID_MAX_BYTES:
        raise _FieldError(Refusal.INVALID_ID, f"a text of 1 to {ID_MAX_BYTES} bytes", value)
    return value


def _ids(value: object, field: Field) -> list[str]:
    if not isinstance(value, list):
        raise _FieldError(Refusal.INVALID_ID, "a list of ids", value)
    ids = sorted({_id(item, field) for item in value})
    if not 1 <= len(ids) <= INFERENCE_IDS_MAX:
        raise _FieldError(Refusal.OUT_OF_RANGE, f"1 to {INFERENCE_IDS_MAX} different ids", Number(str(len(ids))))
    return ids


def _time(value: object, _field: Field) -> int:
    us = _epoch_us(value) if isinstance(value, Number) else _rfc3339_us(value) if isinstance(value, str) else None
    if us is None or not TIME_MIN_US <= us < TIME_MAX_US:
        expected = "an RFC 3339 time with offset or integer epoch milliseconds, in 2000 to 2199"
        raise _FieldError(Refusal.INVALID_TIME, expected, value)
    return us


def _epoch_us(number: Number) -> int | None:
    if not _INTEGER_TOKEN.fullmatch(number.token) or len(number.token) > _INTEGER_CHARACTERS:
        return None
    return int(number.token) * 1000


def _rfc3339_us(text: str) -> int | None:
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    sign, offset_hours, offset_minutes = match[8], int(match[9] or 0), int(match[10] or 0)
    if hour > 23 or minute > 59 or second > 59 or offset_hours > 23 or offset_minutes > 59:
        return None
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    offset = (offset_hours * 60 + offset_minutes) * (-1 if sign == "-" else 1)
    seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second
    return seconds * 1_000_000 + int((match[7] or "")[:6].ljust(6, "0"))


def _decimal(value: object, field: Field) -> Decimal:
    text = _shortest(value) if isinstance(value, Number) else value
    match = _DECIMAL_TEXT.fullmatch(text) if isinstance(text, str) else None
    if match is None or not isinstance(text, str):
        raise _FieldError(Refusal.INVALID_NUMBER, "a number or a decimal text", value)
    expected = f"a number in {'(' if field.low_open else '['}{field.low}, {field.high})"
    if len(match[1].lstrip("0")) > 12:
        raise _FieldError(Refusal.OUT_OF_RANGE, expected, value)
    # Bounds hold for the rounded number: it is the one that is published. `+ 0` drops a negative zero's sign.
    number = Decimal(text).quantize(Decimal(1).scaleb(-field.places), context=_ROUNDING) + 0
    if not field.low <= number < field.high or (field.low_open and number == field.low):
        raise _FieldError(Refusal.OUT_OF_RANGE, expected, value)
    return number


def _shortest(number: Number) -> str:
    """The shortest decimal text of the double that a JSON number is read as."""
    double = float(number.token)
    if math.isinf(double):
        raise _FieldError(Refusal.OUT_OF_RANGE, "a number that a double can hold", number)
    return format(Decimal(repr(double)), "f")


def _count(value: object, _field: Field) -> int:
    if not isinstance(value, Number) or not _INTEGER_TOKEN.fullmatch(value.token):
        raise _FieldError(Refusal.INVALID_NUMBER, "an integer", value)
    if len(value.token) > _INTEGER_CHARACTERS or not 0 <= int(value.token) <= COUNT_MAX:
        raise _FieldError(Refusal.OUT_OF_RANGE, f"an integer in [0, {COUNT_MAX}]", value)
    return int(value.token)


def _currency(value: object, _field: Field) -> str:
    if not isinstance(value, str) or value not in ACTIVE:
        raise _FieldError(Refusal.UNKNOWN_CURRENCY, "an active ISO 4217 code", value)
    return value


def _text(value: object, field: Field) -> str:
    if not isinstance(value, str) or not is_unicode(value) or (field.not_empty and not value):
        raise _FieldError(Refusal.INVALID_VALUE, "a text that is not empty" if field.not_empty else "a text", value)
    return value


def _choice(value: object, field: Field) -> str:
    if not isinstance(value, str) or value not in field.choices:
        raise _FieldError(Refusal.INVALID_VALUE, f"one of {', '.join(field.choices)}", value)
    return value


def _flag(value: object, _field: Field) -> bool:
    if not isinstance(value, bool):
        raise _FieldError(Refusal.INVALID_VALUE, "true or false", value)
    return value


def _texts(value: object, _field: Field) -> str | None:
    if not isinstance(value, dict) or not all(is_unicode(text) for pair in value.items() for text in pair):
        raise _FieldError(Refusal.INVALID_VALUE, "an object of texts", value)
    return canonical_texts(value)


def is_unicode(value: object) -> bool:
    """A text without lone surrogates (which JSON can escape but UTF-8 cannot hold)."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_CHECKS: dict[Type, Callable[[object, Field], Value]] = {
    Type.ID: _id,
    Type.IDS: _ids,
    Type.TIME: _time,
    Type.TEXT: _text,
    Type.WORD: _text,
    Type.CHOICE: _choice,
    Type.DECIMAL: _decimal,
    Type.COUNT: _count,
    Type.FLAG: _flag,
    Type.CURRENCY: _currency,
    Type.TEXTS: _texts,
}


# --- a whole record --------------------------------------------------------------------------------------


def _canonical(event: dict[str, object], kind: Kind, limits: Limits) -> Record | Refused:
    """``event``: the members of the record that are not null."""
    values, faults = _check_fields(event, kind)
    faults.extend(Refused(Refusal.MISSING_FIELD, f"{name}: required") for name in missing(event, kind))
    event_time = values.get("event_time")
    if isinstance(event_time, int) and event_time > limits.latest_us:
        detail = f"event_time: over max_future_skew ahead of the record, got {_shown(event['event_time'])}"
        faults.append(Refused(Refusal.FUTURE_TIME, detail))
    faults = faults or [Refused(Refusal.CONFLICTING_FIELDS, detail) for detail in conflicts(values, kind)]
    if faults:
        return min(faults, key=lambda fault: _PRECEDENCE[fault.reason])
    if kind in NAMING_KINDS and "inference_id" in values:
        values["inference_ids"] = [str(values["inference_id"])]
    return {name: values.get(name, default) for name, default in _DEFAULTS[kind].items()}


def _defaults(kind: Kind) -> Record:
    defaults: Record = dict.fromkeys(canonical_columns(kind))
    for field in FIELDS[kind]:
        if field.default is not None:
            defaults[field.name] = _CHECKS[field.type](field.default, field)
    return defaults


_DEFAULTS = {kind: _defaults(kind) for kind in Kind}


def _check_fields(event: dict[str, object], kind: Kind) -> tuple[Record, list[Refused]]:
    values: Record = {}
    faults: list[Refused] = []
    for field in FIELDS[kind]:
        if field.name in event:
            try:
                values[field.name] = _CHECKS[field.type](event[field.name], field)
            except _FieldError as fault:
                faults.append(Refused(fault.reason, f"{field.name}: {fault.detail}"))
    return values, faults


def _shown(value: object) -> str:
    """A value as JSON, short enough for a message; escapes keep it valid text whatever it holds."""
    text = _as_json(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _as_json(value: object) -> str:
    """Numbers as they were written."""
    if isinstance(value, Number):
        return value.token
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)}: {_as_json(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_json, value))}]"
    return json.dumps(value)
