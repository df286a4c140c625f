"""The kernel from Python: frames in, ledgers out, floats refused at the door."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

import attribution
from schemas.errors import ConfigurationError
from schemas.events import Kind

RULES = """
use_case = "reco"
[[rule]]
effective_from = 2026-01-01T00:00:00Z
kind = "conversion"
type = "*"
lookback_window = "7d"
credit = "linear"
[[rule]]
effective_from = 2026-01-01T00:00:00Z
kind = "time_saved"
type = "*"
lookback_window = "7d"
credit = "last"
[rule.hourly_rate]
"*" = "36.00"
"""


def inferences(*ids: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "inference_id": list(ids),
            "event_time": [datetime(2026, 3, 1, tzinfo=UTC)] * len(ids),
            "use_case": ["reco"] * len(ids),
            "model": ["m"] * len(ids),
        }
    )


def conversion(**fields: object) -> pl.DataFrame:
    event = {"event_id": "o", "event_time": "2026-03-01T01:00:00Z", "type": "sale"} | fields
    return pl.DataFrame({name: [value] for name, value in event.items()})


def test_a_third_of_a_unit_is_nobodys_and_the_parts_sum_to_the_whole() -> None:
    sale = conversion(amount="100", currency="USD", inference_ids=["a", "b", "c"])
    credits_ = attribution.attribute(inferences("c", "a", "b"), sale, rules=RULES).credits.sort("inference_id")
    assert credits_["value"].to_list() == [Decimal("33.333333333"), Decimal("33.333333334"), Decimal("33.333333333")]


def test_one_id_may_stand_in_a_column_of_its_own() -> None:
    sale = conversion(amount=Decimal(5), currency="USD", inference_id="a")
    assert attribution.attribute(inferences("a"), sale, rules=RULES).credits["value"].to_list() == [Decimal(5)]


def test_time_saved_and_reversals_are_taken_too() -> None:
    saved = pl.DataFrame(
        {"event_id": ["t"], "event_time": ["2026-03-01T01:00:00Z"], "type": ["x"], "seconds": [300], "trace_id": [None]}
    ).with_columns(pl.lit("a").alias("inference_id"))
    back = pl.DataFrame(
        {"event_id": ["r"], "event_time": ["2026-03-02T00:00:00Z"], "reverses": ["t"], "seconds": [100]}
    )
    result = attribution.attribute(inferences("a"), time_saved=saved, reversals=back, rules=[RULES])
    assert result.credits.select("value", "reversed_value", "seconds").rows() == [
        (Decimal(2), Decimal(-1), Decimal(200))
    ]
    assert result.attributed["attributed_value"].to_list() == [Decimal(2)]


def test_a_float_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigurationError, match=r"amount: expected decimals.*got Float64.*Hint"):
        attribution.attribute(inferences("a"), conversion(amount=1.5, currency="USD"), rules=RULES)


def test_conflicting_events_are_handed_back() -> None:
    twice = pl.concat([conversion(amount="1", currency="USD"), conversion(amount="2", currency="USD")])
    result = attribution.attribute(inferences("a"), twice, rules=RULES)
    assert result.conflicting[Kind.CONVERSION]["amount"].to_list() == [Decimal(2)]
    assert result.unattributed["amount"].to_list() == [Decimal(1)]


def test_an_exchange_rate_is_that_of_a_day_before() -> None:
    fx = pl.DataFrame({"date": ["2026-02-28", "2026-03-01"], "currency": ["EUR", "EUR"], "rate": ["1.1", "9"]})
    fx = fx.with_columns(pl.col("date").str.to_date())
    sale = conversion(amount="10", currency="EUR", inference_id="a")
    assert attribution.attribute(inferences("a"), sale, rules=RULES, fx=fx).credits["value"].to_list() == [Decimal(11)]


def test_without_events_there_are_no_rows() -> None:
    result = attribution.attribute(inferences(), rules=RULES)
    assert result.credits.height == result.unattributed.height == result.attributed.height == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"amount": "1000000000000", "currency": "USD"},
            r"column amount: expected values from 0 to below 1000000000000",
        ),
        ({"amount": "-1", "currency": "USD"}, r"column amount: expected values from 0"),
        ({"amount": "1,5", "currency": "USD"}, r"column amount: expected values of type Decimal"),
        ({"event_time": "1999-12-31T23:59:59Z"}, r"column event_time: expected times in 2000 to 2199"),
        ({"event_id": None}, r"column event_id: expected a value in every conversion, got 1 without"),
        ({"quantity": "1000000"}, r"column quantity: expected values from 0 to below 1000000"),
    ],
)
def test_what_would_break_exact_arithmetic_is_refused_at_the_door(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        attribution.attribute(inferences("a"), conversion(**fields), rules=RULES)


def test_a_missing_required_column_is_named() -> None:
    with pytest.raises(ConfigurationError, match="column use_case: expected a value in every inference"):
        attribution.attribute(inferences("a").drop("use_case"), rules=RULES)
