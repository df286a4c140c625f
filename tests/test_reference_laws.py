"""Laws that hold for the judge on random cases: conservation, order-free, one outcome at a time."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import Case, Event, case_strategy, in_time_order, random_case, shuffled
from tests.reference import (
    attribute,
    step_1_deduplicate,
    step_2_open_inferences,
    step_3_eligible_touches,
    step_4_paths,
    step_5_amount,
    step_6_value,
)
from tests.reference_parts import World, governing_rule


def known(case: Case) -> World:
    kinds = {"inference": case.inferences, "conversion": case.conversions}
    kinds |= {"time_saved": case.time_saved, "reversal": case.reversals}
    accepted, _, _ = step_1_deduplicate([(kind, event) for kind, events in kinds.items() for event in events])
    defaults = {"join": "inference", "early_tolerance": 0, "share": 10**6, "margin": 10**9, "effect": "gain"}
    rules = [defaults | {"realisation": 10**9} | rule for rule in case.rules]
    return World(accepted["inference"], accepted["outcome"], accepted["reversal"], rules, case.fx, case.settings)


@pytest.mark.parametrize("block", range(10))
def test_amount_value_and_seconds_are_conserved(block: int) -> None:
    for seed in range(block * 30, block * 30 + 30):
        case = random_case(seed, seed % 40 + 1)
        result, world = attribute(**vars(case)), known(case)
        rows = defaultdict(list)
        for row in result.credits + [row for row in result.unattributed if row["reversal_id"] is None]:
            rows[row["outcome_id"]].append(row)
        assert rows.keys() == world.outcomes.keys()
        for event in world.outcomes.values():
            check_conservation(event, rows[event["event_id"]], world)
        by_inference: dict[str, int] = defaultdict(int)
        for row in result.credits:
            by_inference[row["inference_id"]] += row["value"]
        assert all(row["attributed_value"] == by_inference[row["inference_id"]] for row in result.attributed)


def check_conservation(event: Event, rows: list[Event], world: World) -> None:
    """All rows of an outcome sum to its net amount, and where it was split to its value under the rules."""
    reversals = [r for r in world.reversals.values() if r["reverses"] == event["event_id"] and counts(r, event, world)]
    amount = step_5_amount(event, reversals, world)
    amounts = [row["amount"] for row in rows]
    assert all(a is None for a in amounts) if amount is None else sum(amounts) == amount
    touches, reason = step_3_eligible_touches(event, step_2_open_inferences(event, world), world)
    if reason not in (None, "holdout") or rows[0].get("reason") not in (None, "holdout"):
        assert len(rows) == 1
        return
    rules = [governing_rule(path, event, world) for path in step_4_paths(event, touches, world)[0]]
    shares = sum(r["share"] for r in rules)
    is_capped = reason == "holdout"
    worths = [step_6_value(event, r, reversals, world, is_capped=is_capped) for r in rules]
    value, seconds = (
        sum(Fraction(r["share"] * w[k], shares) for r, w in zip(rules, worths, strict=True)) for k in (0, 1)
    )
    assert sum(row["value"] for row in rows) == round(value)
    assert event["kind"] == "conversion" or sum(row["seconds"] for row in rows) == round(seconds)


def counts(r: Event, event: Event, world: World) -> bool:
    """Whether a reversal is in time and fits, told in another way than the model's."""
    field = next((f for f in ("amount", "quantity", "seconds") if f in r), None)
    fits = {
        None: True,
        "amount": "amount" in event and r.get("currency", event.get("currency")) == event.get("currency"),
        "quantity": event["kind"] == "conversion",
        "seconds": event["kind"] == "time_saved",
    }
    window = world.settings["reversal_window"]
    return bool(fits[field]) and 0 <= r["event_time"] - event["event_time"] <= window


@given(case_strategy(), st.integers(0, 99))
def test_order_of_arrival_changes_nothing(case: Case, seed: int) -> None:
    one, other = attribute(**vars(case)), attribute(**vars(shuffled(case, seed)))
    assert one == other


@given(case_strategy(conflicts=False))
def test_without_conflicts_neither_positions_nor_copies_change_a_row(case: Case) -> None:
    one, other = attribute(**vars(case)), attribute(**vars(in_time_order(case)))
    assert one == other
    assert one.conflicting == []


@given(case_strategy(max_size=6, conflicts=False, duplicates=False))
def test_an_outcome_is_split_alone_as_among_others(case: Case) -> None:
    together = attribute(**vars(case))
    for events in (case.conversions, case.time_saved):
        for event in events:
            kinds = ([event], []) if events is case.conversions else ([], [event])
            alone = attribute(case.inferences, *kinds, case.reversals, case.rules, case.fx, case.settings)
            assert alone.credits == [row for row in together.credits if row["outcome_id"] == event["event_id"]]
