"""Figures of groups: exact sums and quotients, and the reason where there is none."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.figures import Row, Sums, figures
from streams.ratio_report import FORMATS
from tests.published import Rows, at, credit, inference, only
from tests.ratio_frames import FrameSource, report_of, view_of

UNIT = 10**9
KNOWN = Sums(requests=4, serving=2 * 10**12, outcomes=1, value=8 * UNIT, conversion_value=8 * UNIT)


@pytest.mark.parametrize(
    ("changed", "figure", "expected"),
    [
        ({"value": 20 * UNIT}, "band", "excellent"),
        ({"value": 20 * UNIT - 1}, "band", "good"),
        ({"value": 6 * UNIT}, "band", "good"),
        ({"value": 6 * UNIT - 1}, "band", "marginal"),
        ({"value": 2 * UNIT}, "band", "marginal"),
        ({"value": 2 * UNIT - 1}, "band", "unsustainable"),
        ({"value": 0}, "band", "unsustainable"),
        ({"value": -UNIT}, "band", "unsustainable"),
        ({"serving": 0}, "band", "no_cost"),
        ({"serving": -1}, "roi_multiple", "negative_cost"),
        ({"serving": -1, "value": 0}, "cost_to_value_ratio", "negative_cost"),
        ({"value": 0}, "cost_to_value_ratio", "no_value"),
        ({"value": -1}, "cost_to_value_ratio", "negative_value"),
        ({"value": 0}, "top_share", "no_value"),
        ({"value": 0}, "trace_share", "no_value"),
        ({"serving": 0}, "cost_per_inference", Fraction(0)),
        ({"outcomes": 0}, "cost_per_outcome", "no_outcomes"),
        ({"requests": 0, "value": 0, "conversion_value": 0, "serving": 0}, "margin", "no_requests"),
        ({}, "break_even_multiple", "no_time_saved"),
        ({"value": 9 * UNIT}, "break_even_multiple", "already_paid"),
        ({"value": 3 * UNIT, "conversion_value": 2 * UNIT}, "break_even_multiple", Fraction(0)),
        ({"unpriced": {"no_price": 1}}, "margin", "incomplete_cost"),
    ],
)
def test_a_figure_or_its_first_reason(changed: dict[str, Any], figure: str, expected: object) -> None:
    row = figures(Sums(**(vars(KNOWN) | changed)), Fraction("0.99"))
    assert (row[figure] is None) == (f"{figure}_reason" in row)
    assert row.get(f"{figure}_reason", row[figure]) == expected


def test_unit_costs_are_given_from_exactly_the_priced_share_that_is_enough() -> None:
    sums = Sums(requests=100, unpriced={"no_price": 1})
    assert figures(sums, Fraction("0.99"))["cost_per_inference"] == 0
    assert figures(sums, Fraction("0.990000001"))["cost_per_inference"] is None


def rows_of(inferences: Rows, credits_: Rows, **view: Any) -> list[Row]:
    """The pure function, for inferences whose cost (in units) is given."""
    costed = [row | money(row.get("cost_units")) for row in inferences]
    times = {row["inference_id"]: row["event_time"] for row in inferences}
    timed = [row | {"inference_time": times[row["inference_id"]]} for row in credits_]
    return report_of(FrameSource(inferences=costed, credits=timed), view_of(**view)).rows


def money(units: int | None) -> dict[str, object]:
    if units is None:
        return {"cost": None, "cost_currency": None}
    return {"cost": Decimal(f"{units}e-12"), "cost_currency": "USD"}


@pytest.mark.parametrize(
    ("requests", "values", "top"),
    [
        (1, ["5"], "5"),
        (100, ["5", "3"], "5"),
        (101, ["5", "3"], "8"),
        (101, ["5", "-3"], "5"),
        (1, ["-3"], "-3"),
        (2, ["-3"], "0"),
        (2, ["-3", "-4"], "-3"),
        (2, ["7", "7"], "7"),
    ],
)
def test_top_share_is_the_value_of_one_request_in_a_hundred_rounded_up(
    requests: int, values: list[str], top: str
) -> None:
    inferences = [inference(1, inference_id=f"i{number}", cost_units=1) for number in range(requests)]
    credits_ = [credit(f"o{number}", number, value, "1") for number, value in enumerate(values)]
    total = only(rows_of(inferences, credits_), "total")
    assert total["top_share"] == Fraction(top) / sum(map(Fraction, values))
    assert total["share_with_value"] == Fraction(len(values), requests)


def test_a_sum_of_costs_that_passes_128_bits_is_exact() -> None:
    largest = 10**37
    inferences = [inference(1, inference_id=f"i{number}", cost_units=largest) for number in range(30)]
    assert only(rows_of(inferences, []), "total")["cost"] == Fraction(30 * largest, 10**12)


def added(rows: list[Row], name: str) -> Fraction:
    return sum((Fraction(str(row[name])) for row in rows), Fraction())


MODELS = st.sampled_from(["A", "B", None])
UNITS = st.integers(-(10**21), 10**21)


@given(
    st.lists(st.tuples(MODELS, st.integers(0, 10**30) | st.none(), st.integers(0, 40), st.booleans()), max_size=12),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11), UNITS), max_size=12),
)
def test_groups_are_plain_sums_and_add_up_to_the_total(
    written: list[tuple[str | None, int | None, int, bool]], earned: list[tuple[int, int, int]]
) -> None:
    inferences = [
        inference(
            1,
            inference_id=f"i{number}",
            model_version=model,
            cost_units=cost,
            reason="no_price" if cost is None else None,
            event_time=at(1) + timedelta(days=days),
            arm="holdout" if is_holdout else None,
        )
        for number, (model, cost, days, is_holdout) in enumerate(written)
    ]
    known = {row["inference_id"]: row for row in inferences if row["arm"] is None}
    pairs = {(f"o{outcome}", number): value for outcome, number, value in earned if f"i{number}" in known}
    credits_ = [credit(o, number, Decimal(value).scaleb(-9), "0") for (o, number), value in pairs.items()]
    expected: dict[tuple[date, str | None], list[Any]] = defaultdict(lambda: [0, Fraction(0), Fraction(0), set()])
    for row in known.values():
        group = expected[row["event_time"].date().replace(day=1), row["model_version"]]
        group[0] += 1
        group[1] += Fraction(row["cost_units"] or 0, 10**12)
    for (outcome, number), value in pairs.items():
        row = known[f"i{number}"]
        group = expected[row["event_time"].date().replace(day=1), row["model_version"]]
        group[2] += Fraction(value, UNIT)
        group[3].add(outcome)
    rows = rows_of(inferences, credits_, by=("model_version",), period="month")
    groups = [row for row in rows if row["row"] == "requests"]
    found = {(row["period"], row["model_version"]): row for row in groups}
    names = ("requests", "cost", "value", "outcomes")
    assert {key: [row[name] for name in names] for key, row in found.items()} == {
        key: [count, cost, value, len(outcomes)] for key, (count, cost, value, outcomes) in expected.items()
    }
    totals = [row for row in rows if row["row"] == "total"]
    for name in ("requests", "cost", "value", "unpriced_no_price"):
        assert added(totals, name) == added(groups, name)


def test_a_table_of_large_figures_grows_rather_than_cut_them() -> None:
    large = Sums(requests=10**9, serving=10**24, value=10**21, outcomes=5)
    asked: Row = {"as_of": at(0), "from": None, "to": None, "base_currency": "USD", "reversal_window": "60d"}
    head: Row = {"row": "report", "period": None, **asked}
    row: Row = {"row": "requests", "period": None, "model": "m" * 100} | figures(large, Fraction(1))
    unsustainable: Row = row | figures(Sums(requests=1, serving=10**24, value=1), Fraction(1))
    for width in (None, 120, 40):
        text = FORMATS["table"]([head, row, unsustainable], ["model"], width)
        assert text.count(" 1,000,000,000,000.00") == 4
        assert "1,000,000,000,000,000,000,000.00" in text
        assert "unsustainable" in text
        assert "…" not in text
