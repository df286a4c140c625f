"""Reason codes: why a record was refused, why an outcome earned nothing.

Codes are facts in snake_case, in the order in which they are checked; the first that applies wins.
A code is never reused for another fact.
"""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why a record is a dead letter, in order of precedence."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    MALFORMED_JSON = "malformed_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    INVALID_ID = "invalid_id"
    INVALID_TIME = "invalid_time"
    FUTURE_TIME = "future_time"
    INVALID_NUMBER = "invalid_number"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_CURRENCY = "unknown_currency"
    INVALID_VALUE = "invalid_value"
    CONFLICTING_FIELDS = "conflicting_fields"
    # Decided in the loop, of records that are valid in themselves:
    TOO_LATE = "too_late"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"


class Unattributed(StrEnum):
    """Why (a part of) an outcome's value reached no inference, in order of precedence."""

    NO_INFERENCE_ID = "no_inference_id"
    NO_OPEN_INFERENCE = "no_open_inference"
    TOO_MANY_TOUCHES = "too_many_touches"
    FAILED_INFERENCE = "failed_inference"
    NO_RULE = "no_rule"
    NO_VALUATION = "no_valuation"
    OUTSIDE_WINDOW = "outside_window"
    HOLDOUT = "holdout"
    NO_FX_RATE = "no_fx_rate"
    OUT_OF_RANGE = "out_of_range"
    # Rows beside an outcome that was split, or without any outcome:
    CAPPED = "capped"
    REVERSAL_UNMATCHED = "reversal_unmatched"
