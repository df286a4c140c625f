"""Maturity and projected value: delay curves of settled credits, the mean over a group's requests, what it comes to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest

from attribution.money import INT, UNIT
from attribution.statistics import (
    Curves,
    Earned,
    Reach,
    age_us,
    delay_curves,
    is_immature,
    maturity_figures,
    reach_sums,
    settled_delays,
    settled_outcomes,
    with_reach,
)

AS_OF = datetime(2026, 3, 10, tzinfo=UTC)
LATENESS = timedelta(days=1)
ASKED = datetime(2026, 2, 1, tzinfo=UTC)
DAY_US = 86_400_000_000

Net = tuple[str, str, float, int]  # use case, outcome, delay in days, value in units


def nets(*rows: Net) -> pl.LazyFrame:
    schema: dict[str, Any] = {
        "use_case": pl.String,
        "outcome_id": pl.String,
        "inference_time": pl.Datetime("us", "UTC"),
        "outcome_time": pl.Datetime("us", "UTC"),
        "value": INT,
    }
    full = [(use_case, outcome, ASKED, ASKED + timedelta(days=days), value) for use_case, outcome, days, value in rows]
    return pl.LazyFrame(full, schema=schema, orient="row")


def curves_of(*rows: Net) -> dict[str, Curves]:
    frame = nets(*rows)
    return delay_curves(
        settled_delays(frame).collect(engine="streaming"), settled_outcomes(frame).collect(engine="streaming")
    )


def many(use_case: str, count: int, days: float, value: int, name: str = "o") -> list[Net]:
    return [(use_case, f"{name}{number}", days, value) for number in range(count)]


#: Three quarters of the value within a day, all of it within three.
CURVES = curves_of(*many("reco", 30, 1, 5 * UNIT), *many("reco", 10, 3, 5 * UNIT, "late"), *many("reco", 10, 2, 1, "x"))


# --- curves ---


def test_a_curve_weighs_value_not_outcomes() -> None:
    curve = curves_of(*many("reco", 49, 1, 1), ("reco", "large", 2, 51))["reco"].gains
    assert curve.share(DAY_US) == Fraction(49, 100)


@pytest.mark.parametrize(("age_us", "share"), [(-1, "0"), (0, "1/2"), (1, "1/2"), (DAY_US - 1, "1/2"), (DAY_US, "1")])
def test_what_came_exactly_at_an_age_came_within_it(age_us: int, share: str) -> None:
    curve = curves_of(*many("reco", 25, 0, 2), *many("reco", 25, 1, 2, "later"))["reco"].gains
    assert curve.share(age_us) == Fraction(share)


def test_an_outcome_may_precede_its_inference() -> None:
    curve = curves_of(*many("reco", 50, -0.5, 2))["reco"].gains
    assert [curve.share(age) for age in (-DAY_US // 2 - 1, -DAY_US // 2)] == [0, 1]


def test_gains_and_losses_have_curves_of_their_own_from_50_outcomes_each() -> None:
    own = curves_of(*many("reco", 50, 1, 3), *many("reco", 50, 2, -7, "loss"))["reco"]
    assert [own.gains.share(DAY_US), own.losses.share(DAY_US)] == [1, 0]
    together = curves_of(*many("reco", 50, 1, 3), *many("reco", 49, 2, -7, "loss"))["reco"]
    assert together.gains is together.losses
    assert together.gains.share(DAY_US) == Fraction(150, 150 + 343)


@pytest.mark.parametrize(("count", "is_there"), [(49, False), (50, True)])
def test_a_use_case_with_fewer_than_50_settled_outcomes_has_no_curve(count: int, *, is_there: bool) -> None:
    gains, losses = many("reco", count - 20, 1, 3), many("reco", 20, 2, -3, "loss")
    assert ("reco" in curves_of(*gains, *losses)) == is_there


def test_an_outcome_counts_once_whatever_it_touched_and_only_with_value() -> None:
    touched_twice = [row for row in many("reco", 49, 1, 3) for _ in range(2)]
    worthless = many("reco", 9, 1, 0, "refunded")
    assert curves_of(*touched_twice, *worthless) == {}


def test_settled_delays_are_sums_per_use_case_and_delay() -> None:
    found = settled_delays(
        nets(("a", "1", 1, 5), ("a", "2", 1, -2), ("a", "3", 1, 6), ("b", "4", 1, 0), ("b", "5", 0, 1))
    )
    assert sorted(found.collect().rows()) == [("a", DAY_US, 11, 2), ("b", 0, 1, 0)]


# --- ages and reach ---


def test_the_age_is_counted_to_as_of_less_the_allowed_lateness() -> None:
    times = [AS_OF - LATENESS - timedelta(days=2, microseconds=1), AS_OF, AS_OF - timedelta(days=40)]
    frame = pl.DataFrame({"event_time": times, "settled": [False, False, True]}).cast(
        {"event_time": pl.Datetime("us", "UTC")}
    )
    assert frame.select(age_us(AS_OF, LATENESS))["age_us"].to_list() == [2 * DAY_US + 1, -DAY_US, None]


def test_reach_is_f_of_each_request_times_the_curves_total_also_when_streamed() -> None:
    curves = CURVES | curves_of(*many("chat", 50, 1, 3), *many("chat", 50, 2, -7, "loss"))
    rng = np.random.default_rng(3)
    ages = [None if age > 4 * DAY_US else int(age) for age in rng.integers(-DAY_US, 5 * DAY_US, 500)]
    use_cases = [["reco", "chat", "unknown", None][number % 4] for number in range(500)]
    schema = {"use_case": pl.String, "age_us": pl.Int64}
    chunk = pl.DataFrame({"use_case": use_cases, "age_us": ages}, schema=schema)
    requests = pl.concat([chunk.head(0), chunk], rechunk=False).lazy()
    found = with_reach(requests, curves).collect(engine="streaming")
    for use_case, age, gain, loss in found.select("use_case", "age_us", "gain_reach", "loss_reach").iter_rows():
        expected = Fraction(0), Fraction(0)
        if use_case in curves and age is not None:
            own = curves[use_case]
            expected = own.gains.share(age) * own.gains.total, own.losses.share(age) * own.losses.total
        assert (gain, loss) == expected


def test_reach_of_no_requests_is_empty() -> None:
    nothing = pl.LazyFrame(schema={"use_case": pl.String, "age_us": pl.Int64})
    assert with_reach(nothing, CURVES).collect(engine="streaming").columns[-2:] == ["gain_reach", "loss_reach"]


def test_reach_adds_up_per_group_and_use_case() -> None:
    frame = pl.DataFrame(
        {
            "use_case": ["reco", "reco", "chat"],
            "model": ["A", "B", "A"],
            "requests": [3, 4, 5],
            "settled": [1, 1, 0],
            "gain_reach": pl.Series([10**20, 1, 2], dtype=INT),
            "loss_reach": pl.Series([0, 0, 3], dtype=INT),
        }
    )
    assert reach_sums(frame, []) == {(): {"reco": Reach(7, 2, 10**20 + 1, 0), "chat": Reach(5, 0, 2, 3)}}
    assert reach_sums(frame, ["use_case", "model"])["reco", "B"] == {"reco": Reach(4, 1, 1, 0)}


# --- figures ---


def reach(requests: int, settled: int, *ages_days: float, use_case: str = "reco", curves: Any = None) -> Reach:
    own = (curves or CURVES)[use_case]
    ages = [int(days * DAY_US) for days in ages_days]
    gains, losses = (sum(int(curve.share(age) * curve.total) for age in ages) for curve in (own.gains, own.losses))
    return Reach(requests, settled, gains, losses)


GAINS = Earned(has_gains=True, gains=60 * UNIT)


def test_maturity_is_the_mean_share_and_settled_requests_count_whole() -> None:
    share = CURVES["reco"].gains.share(DAY_US)
    figures = maturity_figures({"reco": reach(4, 2, 1, 0.5)}, CURVES, GAINS)
    assert figures == {"maturity": (2 + share) / 4, "projected_value": 60 / ((2 + share) / 4)}


@pytest.mark.parametrize(
    ("reaches", "reason"),
    [
        ({}, "no_requests"),
        ({"reco": Reach()}, "no_requests"),
        ({"other": Reach(2, 1)}, "too_few"),
        ({"reco": Reach(2, 2), "other": Reach(2, 1)}, "too_few"),
    ],
)
def test_maturity_is_null_with_its_reason(reaches: dict[str, Reach], reason: str) -> None:
    figures = maturity_figures(reaches, CURVES, GAINS)
    assert figures == {
        "maturity": None,
        "maturity_reason": reason,
        "projected_value": None,
        "projected_value_reason": reason,
    }


def test_a_settled_group_is_mature_without_any_curve() -> None:
    figures = maturity_figures({"other": Reach(3, 3)}, {}, GAINS)
    assert figures == {"maturity": 1, "projected_value": 60}


TWO_SIGNS = curves_of(
    *many("reco", 30, 1, 3),
    *many("reco", 20, 3, 3, "late"),
    *many("reco", 10, 1, -7, "loss"),
    *many("reco", 40, 3, -7, "l"),
)


@pytest.mark.parametrize(
    ("earned", "maturity", "projected"),
    [
        (Earned(), "3/5", "0"),
        (Earned(has_gains=True, gains=6 * UNIT), "3/5", "10"),
        (Earned(has_losses=True, losses=-6 * UNIT), "1/5", "-30"),
        (Earned(has_gains=True, has_losses=True, gains=6 * UNIT, losses=-6 * UNIT), "1/5", "-20"),
    ],
)
def test_the_smaller_maturity_of_the_signs_that_a_group_has_counts_and_each_sign_is_projected_by_its_own(
    earned: Earned, maturity: str, projected: str
) -> None:
    figures = maturity_figures({"reco": reach(1, 0, 1, curves=TWO_SIGNS)}, TWO_SIGNS, earned)
    assert figures == {"maturity": Fraction(maturity), "projected_value": Fraction(projected)}


def test_value_that_came_earlier_than_ever_before_is_not_projected() -> None:
    figures = maturity_figures({"reco": reach(1, 0, 0.5)}, CURVES, GAINS)
    assert figures == {"maturity": 0, "projected_value": None, "projected_value_reason": "too_few"}


def test_use_cases_of_one_group_each_have_their_own_curve() -> None:
    curves = CURVES | curves_of(*many("chat", 50, 2, 3))
    reaches = {"reco": reach(1, 0, 3), "chat": reach(3, 0, 1, 1, 2, use_case="chat", curves=curves)}
    assert maturity_figures(reaches, curves, GAINS)["maturity"] == Fraction(1 + 1, 4)


@pytest.mark.parametrize(
    ("maturity", "immature"), [(Fraction(95, 100), False), (Fraction(949_999_999_999, 10**12), True), (None, True)]
)
def test_a_group_is_immature_below_95_hundredths_or_at_null(maturity: Fraction | None, *, immature: bool) -> None:
    assert is_immature(maturity) == immature
