"""The judge of the live engine is itself judged: by the attribution function's, and by facts worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.case_rules import DAY, HOUR, MIDDLE, UNIT, Rule
from tests.cases import SCORED_TOPICS, TOPICS, Case, Event, in_time_order, random_case
from tests.live_cases import PARTITIONS, LiveLog, at, by_topic, inference, random_log, recut, reversal, sale
from tests.live_reference import LiveModel, LiveResult, Rates, Read
from tests.reference import Result, attribute

T0 = MIDDLE  # hour 0 of all that is made by hand
SETTINGS = {"base_currency": "USD", "reversal_window": 2 * DAY, "allowed_lateness": HOUR, "fx_max_age": 7}
RULE: Rule = {"use_case": "u", "kind": "conversion", "type": "*", "effective_from": T0 - 99 * DAY, "credit": "linear"}
RULES = [RULE | {"lookback_window": DAY, "early_tolerance": 2 * HOUR, "join": "trace", "max_touches": 9}]
HUGE = 200 * 366 * DAY


# --- against the judge of the attribution function ---


def judged(batches: Iterable[list[Read]], rules: list[Rule], fx: Rates, settings: dict[str, Any]) -> Result:
    """The attribution function on all that the batches hold, where an earlier commit counts as read first."""
    events: dict[str, list[Event]] = {kind: [] for kind in SCORED_TOPICS.values()}
    for number, reads in enumerate(batches):
        for read in reads:
            topic, *place = read.event["position"]
            events[read.kind].append(read.event | {"position": (f"{number:06} {topic}", *place)})
    inferences, conversions, time_saved, reversals, scores = events.values()
    return attribute(inferences, conversions, time_saved, reversals, rules, fx, settings, scores)


def run(log: LiveLog) -> LiveResult:
    """The live model at the log's end."""
    model = LiveModel(log.rules, log.settings, log.partitions)
    for batch in log.batches:
        model.commit(batch.reads, idle=batch.idle, fx=batch.fx)
    model.commit([], idle=set(), fx=log.fx, until_end=True)
    return model.result()


def check_against_the_judge(log: LiveLog) -> LiveResult:
    """The live model gives what the attribution function gives on all that is not too late."""
    live = run(log)
    late = {position for _, _, position in live.too_late}
    kept = [[read for read in batch.reads if read.event["position"] not in late] for batch in log.batches]
    expected = judged(kept, log.rules, log.fx, log.settings)
    assert live.credits == expected.credits
    assert live.unattributed == expected.unattributed
    assert live.attributed == [row for row in expected.attributed if row["settled"]]
    assert live.scores == expected.scores
    assert live.duplicates == expected.duplicates
    assert len(live.conflicting) == len(expected.conflicting)
    return live


def stream_of(case: Case) -> list[Read]:
    """The events of a case, each topic in time order, as one stream in time order."""
    reads = [
        Read(kind, (topic, 0), event) for topic, kind in TOPICS.items() for event in getattr(in_time_order(case), topic)
    ]
    return sorted(reads, key=lambda read: int(read.event["event_time"]))


def log_of(case: Case, seed: int) -> LiveLog:
    """A case as a log in time order, in random batches."""
    return recut(LiveLog(case.rules, case.settings, case.fx, stream_of(case), []), seed)


@pytest.mark.parametrize("block", range(4))
def test_while_nothing_is_forgotten_live_is_the_attribution_function(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        case = random_case(seed, seed % 12 + 1)
        case.settings["allowed_lateness"] = HUGE
        check_against_the_judge(log_of(case, seed))


@pytest.mark.parametrize("block", range(4))
def test_what_comes_in_time_order_may_be_forgotten_at_the_first_moment(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        # Without conflicts: an id may then be forgotten before it is used again.
        check_against_the_judge(log_of(random_case(seed, seed % 12 + 1, conflicts=False), seed))


@pytest.mark.parametrize("block", range(4))
def test_disorder_within_the_lateness_changes_nothing_whatever_the_batches(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        assert check_against_the_judge(recut(random_log(seed), seed)).too_late == []


def test_what_is_too_late_is_as_if_never_sent_and_no_batching_changes_what_that_is() -> None:
    refused_count = 0
    for seed in range(40):
        log = recut(random_log(seed, late=0.2), seed)
        live = check_against_the_judge(log)
        assert run(recut(log, seed + 1)).too_late == live.too_late
        refused_count += len(live.too_late)
    assert refused_count > 50


def test_rates_that_change_while_outcomes_are_kept_give_what_the_last_rates_give() -> None:
    for seed in range(30):
        log = random_log(seed)
        log.settings["reversal_window"] = HUGE  # so none is forgotten before its rate is final
        check_against_the_judge(log)


def test_a_topic_holds_its_records_in_reading_order_whatever_the_batches() -> None:
    for seed in range(20):
        log = random_log(seed, late=0.1, idle=0.9, reused=0.1)
        for cut in (log, recut(log, seed)):
            reads = [read for batch in cut.batches for read in batch.reads]
            for partition, expected in by_topic(log.stream).items():
                found = [read for read in reads if read.partition == partition]
                assert found == expected
                assert [read.event["position"][3] for read in found] == list(range(len(found)))


# --- facts worked out by hand ---


class Feed:
    """A live model fed by hand: hours after T0, microseconds beside them; each record in the topic of its kind."""

    def __init__(self, settings: dict[str, Any] = SETTINGS, topics: dict[str, str] = TOPICS) -> None:
        self.model = LiveModel(RULES, settings, [(topic, 0) for topic in topics])
        self.lengths = dict.fromkeys(topics, 0)

    def commit(
        self, *events: tuple[str, Event], idle: str = "", until_end: bool = False, fx: Rates | None = None
    ) -> LiveResult:
        reads = []
        for topic, event in events:
            position = (topic, 0, None, self.lengths[topic])
            self.lengths[topic] += 1
            reads.append(Read(SCORED_TOPICS[topic], (topic, 0), event | {"position": position}))
        marks = {(topic, 0) for topic in idle.split()}
        self.model.commit(reads, idle=marks, fx=fx or [], until_end=until_end)
        return self.model.result()

    def reach(self, hours: float, us: int = 0) -> LiveResult:
        """One record without effect in every topic, so that the watermark stands at this time."""
        n = str(self.lengths)
        return self.commit(
            inference(f"i{n}", hours, us, use_case="none", status="failed"),
            sale(f"o{n}", hours, us, []),
            ("time_saved", at(hours, us) | {"event_id": f"s{n}", "type": "x", "seconds": 0}),
            reversal(f"r{n}", hours, us, "nothing"),
        )


def values(result: LiveResult, outcome: str) -> dict[str, int]:
    """Whole units each inference earns of an outcome."""
    return {r["inference_id"]: r["value"] // UNIT for r in result.credits if r["outcome_id"] == outcome}


def reasons(result: LiveResult, outcome: str) -> list[str]:
    return [row["reason"] for row in result.unattributed if row["outcome_id"] == outcome]


def earned(result: LiveResult, name: str) -> list[int]:
    return [row["attributed_value"] // UNIT for row in result.attributed if row["inference_id"] == name]


ALL_IDLE = " ".join(TOPICS)


def test_as_late_as_allowed_is_in_time_and_a_microsecond_more_is_too_late() -> None:
    feed = Feed()
    result = feed.commit(inference("a", 5), inference("exactly", 4), inference("more", 4, -1))
    assert result.too_late == [("inference", "more", ("inferences", 0, None, 2))]
    assert result.left["inferences"] == {"a", "exactly"}


def test_lateness_is_measured_in_the_own_partition_and_across_commits() -> None:
    feed = Feed()
    feed.commit(inference("a", 50))
    assert feed.commit(sale("o", 0, ids=["a"])).too_late == []
    assert [name for _, name, _ in feed.commit(inference("b", 49, -1)).too_late] == ["b"]


def test_what_is_too_late_is_no_duplicate() -> None:
    feed = Feed()
    result = feed.commit(inference("a", 0), inference("b", 5), inference("a", 0))
    assert (result.duplicates, [name for _, name, _ in result.too_late]) == (0, ["a"])


def test_after_idleness_an_event_is_refused_once_its_own_retention_is_over_by_a_microsecond() -> None:
    for us, expected in ((0, []), (1, ["late"])):
        feed = Feed()
        result = feed.commit(sale("o", 25, us, ids=[]), idle="inferences time_saved reversals")  # 24 h window + 1 h
        assert result.watermark == T0 + 25 * HOUR + us
        assert [name for _, name, _ in feed.commit(inference("late", 0)).too_late] == expected


def test_the_watermark_of_a_records_own_commit_refuses_nothing() -> None:
    feed = Feed()
    result = feed.commit(sale("o", 99, ids=[]), inference("a", 0), idle=ALL_IDLE)
    assert (result.watermark, result.too_late) == (T0 + 99 * HOUR, [])
    assert earned(result, "a") == [0]


def test_an_outcomes_own_retention_is_the_reversal_window_and_the_lateness() -> None:
    for us, expected in ((0, []), (1, ["late"])):
        feed = Feed()
        feed.commit(inference("a", 49, us), idle="conversions time_saved reversals")
        assert [name for _, name, _ in feed.commit(sale("late", 0, ids=[])).too_late] == expected


def test_a_late_reversal_counts_where_its_outcome_is_kept_or_comes_with_it() -> None:
    refund = reversal("r", 1, 0, "o", amount=20 * UNIT)
    for before, together in (((sale("o", 0, ids=["a"]),), ()), ((), (sale("o", 0, ids=["a"]),)), ((), ())):
        feed = Feed()
        feed.commit(inference("a", 0), *before)
        feed.commit(inference("b", 10), idle="conversions time_saved reversals")
        result = feed.commit(*together, refund)
        is_known = bool(before or together)
        assert values(result, "o") == ({"a": 80} if is_known else {})
        assert [name for _, name, _ in result.too_late] == ([] if is_known else ["r"])


def test_an_idle_partition_does_not_hold_the_watermark_and_one_without_records_does() -> None:
    feed = Feed()
    some = (inference("a", 3), sale("o", 1, ids=[]))
    assert feed.commit(*some, idle="time_saved").watermark is None
    assert feed.commit(idle="time_saved reversals").watermark == T0 + HOUR
    assert feed.commit(idle="time_saved reversals conversions").watermark == T0 + 3 * HOUR
    assert feed.commit(inference("b", 9), idle="").watermark == T0 + 3 * HOUR


def test_the_watermark_never_moves_back() -> None:
    feed = Feed()
    assert feed.commit(inference("a", 9), idle=ALL_IDLE).watermark == T0 + 9 * HOUR
    assert feed.commit(sale("o", 1, ids=[]), idle="time_saved reversals").watermark == T0 + 9 * HOUR
    for seed in range(20):
        log = random_log(seed, idle=0.9, late=0.1)
        model = LiveModel(log.rules, log.settings, PARTITIONS)
        seen = []
        for batch in log.batches:
            model.commit(batch.reads, idle=batch.idle, fx=batch.fx)
            seen.append(model.watermark or 0)
        assert seen == sorted(seen)


def test_an_outcome_waits_until_the_watermark_has_passed_tolerance_and_lateness() -> None:
    feed = Feed()
    feed.commit(sale("o", 0, ids=["unseen"]))
    assert reasons(feed.reach(3), "o") == []  # 2 h early tolerance + 1 h lateness
    assert reasons(feed.reach(3, 1), "o") == ["no_open_inference"]


def test_an_outcome_does_not_wait_once_all_it_names_are_there() -> None:
    feed = Feed()
    assert values(feed.commit(inference("a", 0), sale("o", 1, ids=["a", "b"])), "o") == {}
    assert values(feed.commit(inference("b", 2)), "o") == {"a": 50, "b": 50}
    assert reasons(feed.commit(sale("none", 1)), "none") == ["no_inference_id"]


def test_a_trace_is_always_waited_for_and_grows_while_its_outcome_is_kept() -> None:
    feed = Feed()
    assert values(feed.commit(inference("a", 0, trace_id="t"), sale("o", 1, trace_id="t")), "o") == {}
    assert values(feed.reach(4), "o") == {}
    assert values(feed.reach(4, 1), "o") == {"a": 100}
    # Two hours after the outcome is the last moment of the tolerance; only idleness lets such an inference in.
    feed = Feed()
    feed.commit(inference("a", 0, trace_id="t"), sale("o", 1, trace_id="t"))
    feed.commit(sale("p", 20, ids=[]), idle="inferences time_saved reversals")
    assert values(feed.commit(inference("b", 3, trace_id="t")), "o") == {"a": 50, "b": 50}
    assert values(feed.commit(inference("c", 3, 1, trace_id="t")), "o") == {"a": 50, "b": 50}


def test_until_end_resolves_what_waits_and_a_later_run_corrects_it() -> None:
    feed = Feed()
    feed.commit(sale("o", 1, ids=["a"]), reversal("r", 1, 0, "p", amount=20 * UNIT))
    result = feed.commit(until_end=True)
    assert (reasons(result, "o"), reasons(result, "p")) == (["no_open_inference"], ["reversal_unmatched"])
    result = feed.commit(inference("a", 0), sale("p", 0, 1, ids=["a"]))
    assert (values(result, "o"), reasons(result, "o")) == ({"a": 100}, [])
    assert (values(result, "p"), reasons(result, "p")) == ({"a": 80}, [])


def test_a_reversal_before_its_outcome_is_unmatched_only_once_the_lateness_is_over() -> None:
    feed = Feed()
    feed.commit(reversal("r", 1, 0, "o", amount=20 * UNIT), inference("a", 0))
    result = feed.reach(2)
    assert reasons(result, "o") == []
    assert values(feed.commit(sale("o", 1, ids=["a"])), "o") == {"a": 80}
    feed = Feed()
    feed.commit(reversal("r", 1, 0, "o", amount=20 * UNIT), inference("a", 0))
    result = feed.reach(2, 1)
    assert reasons(result, "o") == ["reversal_unmatched"]
    assert "r" not in result.left["reversals"]


def test_what_came_after_a_reversal_was_forgotten_is_not_reversed() -> None:
    feed = Feed()
    feed.commit(reversal("r", 1, 0, "o", amount=20 * UNIT), inference("a", 0))
    feed.commit(inference("b", 9), idle="conversions time_saved reversals")
    result = feed.commit(sale("o", 0, ids=["a"]))
    assert (values(result, "o"), reasons(result, "o")) == ({"a": 100}, ["reversal_unmatched"])


def test_an_inference_settles_a_microsecond_after_window_and_lateness() -> None:
    feed = Feed()
    feed.commit(inference("a", 0), sale("o", 1, ids=["a"]))
    result = feed.reach(25)
    assert (earned(result, "a"), "a" in result.left["inferences"]) == ([], True)
    result = feed.reach(25, 1)
    assert (earned(result, "a"), "a" in result.left["inferences"]) == ([100], False)


def test_a_refund_after_settlement_changes_what_the_inference_earned() -> None:
    feed = Feed()
    feed.commit(inference("a", 0), sale("o", 1, ids=["a"]))
    assert earned(feed.reach(40), "a") == [100]
    result = feed.commit(reversal("r", 41, 0, "o", amount=20 * UNIT))
    assert earned(result, "a") == [80]
    assert [row["reversed_value"] // UNIT for row in result.attributed if row["inference_id"] == "a"] == [-20]
    assert [row["outcome_count"] for row in result.attributed if row["inference_id"] == "a"] == [1]


def test_a_refund_of_a_forgotten_outcome_is_unmatched() -> None:
    feed = Feed()
    feed.commit(inference("a", 0), sale("o", 1, ids=["a"]))
    feed.commit(inference("b", 50, 1), idle="conversions time_saved reversals")
    result = feed.commit(reversal("r", 49, 1, "o", amount=20 * UNIT), until_end=True)
    assert (values(result, "o"), reasons(result, "o")) == ({"a": 100}, ["reversal_unmatched"])


def test_a_reversal_outside_the_window_outlives_its_outcome_until_its_own_lateness_is_over() -> None:
    refund = reversal("r", 60, 0, "o")
    for us, is_kept in ((0, True), (1, False)):
        feed = Feed()
        feed.commit(inference("a", 0), sale("o", 1, ids=["a"]), refund)
        result = feed.reach(61, us)
        assert reasons(result, "o") == ["reversal_unmatched"]
        assert ("o" in result.left["outcomes"], "r" in result.left["reversals"]) == (False, is_kept)


def test_an_unmatched_reversal_is_withdrawn_when_its_outcome_comes_even_if_that_still_waits() -> None:
    feed = Feed()
    result = feed.commit(reversal("r", 1, 0, "o", seconds=UNIT), until_end=True)
    assert reasons(result, "o") == ["reversal_unmatched"]
    assert reasons(feed.commit(sale("o", 1, ids=["a"])), "o") == []
    result = feed.commit(inference("a", 1))
    assert (values(result, "o"), reasons(result, "o")) == ({"a": 100}, ["reversal_unmatched"])


def test_a_forgotten_inference_earns_nothing() -> None:
    feed = Feed()
    feed.commit(inference("a", 0), idle=ALL_IDLE)
    feed.commit(inference("b", 25, 1), idle="conversions time_saved reversals")
    result = feed.commit(sale("o", 1, ids=["a"]), until_end=True)
    assert (values(result, "o"), reasons(result, "o"), earned(result, "a")) == ({}, ["no_open_inference"], [0])


def test_a_forgotten_outcome_keeps_the_rate_it_had_and_a_kept_one_takes_the_new_one() -> None:
    day = T0 // DAY
    old, new = [(day - 1, "EUR", UNIT)], [(day - 1, "EUR", 2 * UNIT)]
    for hours, us, expected in ((50, 0, 200), (50, 1, 100)):  # 48 h of reversals + 1 h lateness after hour 1
        feed = Feed()
        feed.commit(inference("a", 0), sale("o", 1, ids=["a"], currency="EUR"), fx=old)
        feed.commit(inference("b", hours, us), idle="conversions time_saved reversals", fx=old)
        assert values(feed.commit(fx=new), "o") == {"a": expected}


def test_an_id_used_again_is_a_conflict_while_it_is_kept_and_another_inference_after() -> None:
    for us, expected in ((0, [0]), (1, [0, 100])):
        feed = Feed()
        feed.commit(inference("a", 0))
        feed.reach(25, us)
        feed.commit(inference("a", 26), sale("o", 27, ids=["a"]))
        result = feed.commit(sale("end", 99, ids=[]), until_end=True)
        assert [name for _, name, _ in result.conflicting] == ([] if us else ["a"])
        assert earned(result, "a") == expected


def test_of_an_id_used_again_an_outcome_keeps_the_first_inference_that_was_open_for_it() -> None:
    for hours, expected in ((0, ["m"]), (-1, ["again"])):
        feed = Feed()
        feed.commit(inference("a", hours), sale("o", 24, ids=["a"]))
        feed.reach(25, 1)
        result = feed.commit(inference("a", 26, model="again"), until_end=True)
        assert [row["model"] for row in result.credits] == expected


def test_equal_copies_are_counted_and_of_different_ones_the_first_by_position_stays() -> None:
    feed = Feed()
    saved = ("time_saved", at(0, 0) | {"event_id": "o", "type": "x", "seconds": UNIT})
    result = feed.commit(saved, sale("o", 0, ids=["b", "a", "a"]), sale("o", 0, ids=["a", "b"], quantity=UNIT))
    assert result.duplicates == 1
    assert result.conflicting == [("time_saved", "o", ("time_saved", 0, None, 0))]
