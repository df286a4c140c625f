"""Random logs for the live engine: some ten days of events over four topics, as they arrive, cut into commits. With
scores there is a fifth.

Windows and lateness are hours, so that within a log inferences settle, outcomes and reversals are forgotten, and late
knowledge comes on both sides of every such moment. Each topic is one partition and one file; events come up to
``allowed_lateness`` out of order. What else may be wrong with a log is asked for: see ``random_log``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

from tests.case_rules import DAY, HOUR, MIDDLE, MS, UNIT, Rule, S, random_rates, random_rules, random_settings
from tests.cases import (
    SCORED_TOPICS,
    TOPICS,
    Event,
    copied,
    random_inferences,
    random_outcome,
    random_reversal,
    random_score,
)
from tests.live_reference import Partition, Rates, Read

#: The largest exchange rate in units.
RATE_MAX = 10**15 - 1
START, END = MIDDLE - 5 * DAY, MIDDLE + 5 * DAY
PARTITIONS: list[Partition] = [(topic, 0) for topic in TOPICS]
TOPIC_OF = {kind: topic for topic, kind in SCORED_TOPICS.items()}


@dataclass(frozen=True)
class Batch:
    """What one commit takes up: records, each partition's in reading order; idle marks; the rates of the moment."""

    reads: list[Read]
    idle: frozenset[Partition]
    fx: Rates


@dataclass(frozen=True)
class LiveLog:
    """A pipeline's whole log and one way of cutting it into commits.

    ``stream`` has all records in order of arrival, so each topic's in its reading order; ``fx`` is the last table of
    rates. After the last batch every topic is at its end.
    """

    rules: list[Rule]
    settings: dict[str, Any]
    fx: Rates
    stream: list[Read]
    batches: list[Batch]

    @property
    def topics(self) -> dict[str, str]:
        """By name their kind; of scores only where there are any."""
        return SCORED_TOPICS if any(read.kind == "score" for read in self.stream) else TOPICS

    @property
    def partitions(self) -> list[Partition]:
        return [(topic, 0) for topic in self.topics]


@dataclass(frozen=True)
class Arrival:
    """An event and when it reaches its topic."""

    time: int
    kind: str
    event: Event


def random_log(
    seed: int,
    size: int = 24,
    *,
    late: float = 0.0,
    idle: float = 0.0,
    reused: float = 0.0,
    conflicts: bool = True,
    changing_rates: bool = True,
    scores: bool = False,
) -> LiveLog:
    """A log of about ``size`` outcomes, the same for the same arguments.

    late: the share of events that come after the lateness, by up to days; idle: the chance that a topic without
    records in a batch is marked idle in it (and then some topics also fall silent for days); reused: the share of
    events whose id comes again for something else, days later; conflicts: also ids that come twice at one event time
    with different content; changing_rates: some rates come late or are corrected while the log is read; scores: as
    many of them as there are outcomes.
    """
    rng = Random(seed)
    settings = random_settings(rng)
    settings |= {"allowed_lateness": rng.choice([0, HOUR, 3 * HOUR, 12 * HOUR])}
    settings |= {"reversal_window": rng.choice([6 * HOUR, DAY, 2 * DAY, 3 * DAY])}
    rules = _short(rng, random_rules(rng, settings), settings)
    events = _events(rng, size, rules, settings)
    if scores:
        inferences = [event for kind, event in events if kind == "inference"]
        events += [("score", random_score(rng, number, inferences)) for number in range(size)]
    events += [(kind, _again(rng, event)) for kind, event in events if rng.random() < reused]
    if conflicts:
        events += [_conflict(rng, kind, event) for kind, event in events if rng.random() < 0.05]
    events += [(kind, copied(rng, event)) for kind, event in events if rng.random() < 0.08]
    delay = _delays(rng, settings["allowed_lateness"], late)
    arrivals = [Arrival(event["event_time"] + delay(), kind, event) for kind, event in events]
    stream = _in_order(_with_silences(rng, arrivals) if idle else arrivals)
    fx = random_rates(rng, settings)
    cut = cut_alike(rng, stream) if idle or rng.random() < 0.7 else cut_apart(rng, stream)
    tables = _tables(rng, fx, len(cut)) if changing_rates else [fx] * len(cut)
    log = LiveLog(rules, settings, fx, stream, [])
    marks = (_idle_marks(rng, reads, idle, log.partitions) for reads in cut)
    return replace(log, batches=[Batch(*parts) for parts in zip(cut, marks, tables, strict=True)])


def recut(log: LiveLog, seed: int) -> LiveLog:
    """The same log in other batches, nobody idle and the rates as they are at the end."""
    rng = Random(seed)
    cut = rng.choice([cut_alike, cut_apart])(rng, log.stream)
    batches = [Batch(reads, frozenset(), log.fx) for reads in cut]
    return replace(log, batches=batches)


# --- events ---


def _short(rng: Random, rules: list[Rule], settings: dict[str, Any]) -> list[Rule]:
    """The rules with windows of hours, edges included: none at all, and as long as tolerance and lateness go."""
    shortened = []
    for rule in rules:
        lookback = rng.choice([0, S + MS, HOUR, HOUR, 6 * HOUR, 6 * HOUR, DAY, 2 * DAY])
        early = min(rng.choice([0, 0, MS, HOUR, 5 * HOUR, DAY]), settings["reversal_window"])
        shortened.append(rule | {"lookback_window": lookback, "early_tolerance": early})
    return shortened


def _events(rng: Random, size: int, rules: list[Rule], settings: dict[str, Any]) -> list[tuple[str, Event]]:
    """Inferences of traces that grow over hours, outcomes around them, reversals of those; half of it near others."""
    centres: dict[Any, int] = {}
    inferences = []
    for event in random_inferences(rng, size + 4, rules):
        centre = centres.setdefault(event.get("trace_id"), rng.randrange(START, END))
        offset = rng.choice([0, rng.randrange(HOUR), rng.randrange(8 * HOUR), rng.randrange(2 * DAY)])
        time = centre + offset if rng.random() < 0.7 else rng.randrange(START, END)
        inferences.append(event | {"event_time": time - time % rng.choice([1, MS, HOUR])})
    drawn = [random_outcome(rng, number, inferences, rules, settings) for number in range(size)]
    # Cases also miss their windows by weeks: here an outcome misses them by hours.
    outcomes = [
        (kind, event if START - DAY <= event["event_time"] <= END + 2 * DAY else event | {"event_time": MIDDLE})
        for kind, event in drawn
    ]
    reversals = [random_reversal(rng, number, outcomes, settings) for number in range(size)]
    return [("inference", event) for event in inferences] + outcomes + [("reversal", event) for event in reversals]


def _again(rng: Random, event: Event) -> Event:
    """An id used again, on a day when it may be forgotten or not; what the event names stays."""
    later = event | {"event_time": event["event_time"] + rng.choice([HOUR, DAY, 3 * DAY, 6 * DAY])}
    if "amount" in later:
        later["amount"] = later["amount"] // 2
    return later


def _conflict(rng: Random, kind: str, event: Event) -> tuple[str, Event]:
    """Another event of that id and time: in the same topic, or an outcome's in the other topic of outcomes."""
    if kind == "inference":
        return kind, event | {"model": "another"}
    if kind == "reversal":
        return kind, event | {"reason": "another"}
    if kind == "score":
        return kind, event | {"name": "another"}
    common = {k: v for k, v in event.items() if k in {"event_id", "event_time", "type", "inference_ids", "trace_id"}}
    if kind == "conversion" and rng.random() < 0.5:
        return "time_saved", common | {"seconds": 60 * UNIT}
    if kind == "time_saved" and rng.random() < 0.5:
        return "conversion", common | {"quantity": 2 * UNIT}
    return kind, event | {"type": "another"}


# --- arrival ---


def _delays(rng: Random, lateness: int, late: float) -> Callable[[], int]:
    """How long after its time an event arrives: within the lateness, exactly at its end, or later."""

    def delay() -> int:
        if rng.random() < late:
            return lateness + rng.choice([1, rng.randint(1, HOUR), rng.randint(1, DAY), rng.randint(1, 4 * DAY)])
        return rng.choice([0, 0, lateness, rng.randint(0, lateness), rng.randint(0, lateness // 4)])

    return delay


def _with_silences(rng: Random, arrivals: list[Arrival]) -> list[Arrival]:
    """Some topics bring nothing for days; what came then arrives when they wake, in its order."""
    kinds = dict.fromkeys([*TOPICS.values(), *(arrival.kind for arrival in arrivals)])
    for kind in rng.sample([*kinds], rng.choice([1, 2, 2])):
        asleep = rng.randrange(START, END)
        awake = asleep + rng.choice([DAY, 3 * DAY, 5 * DAY])
        arrivals = [
            replace(a, time=awake + (a.time - asleep) // S) if a.kind == kind and asleep <= a.time < awake else a
            for a in arrivals
        ]
    return arrivals


def _in_order(arrivals: list[Arrival]) -> list[Read]:
    """All records as they arrived, numbered within their topics."""
    lengths: defaultdict[Partition, int] = defaultdict(int)
    stream = []
    for arrival in sorted(arrivals, key=lambda arrival: arrival.time):
        partition = TOPIC_OF[arrival.kind], 0
        position = (*partition, "events.jsonl", lengths[partition])
        lengths[partition] += 1
        stream.append(Read(arrival.kind, partition, arrival.event | {"position": position}))
    return stream


# --- commits ---


def by_topic(stream: list[Read]) -> dict[Partition, list[Read]]:
    """The records of each topic in reading order."""
    partitions = dict.fromkeys([*PARTITIONS, *(read.partition for read in stream)])
    return {partition: [read for read in stream if read.partition == partition] for partition in partitions}


def cut_alike(rng: Random, stream: list[Read]) -> list[list[Read]]:
    """Batches of what arrived at the same time, of one record or of many."""
    return _cut(rng, stream, rng.choice([1, 3, 10, 25, 60]))


def cut_apart(rng: Random, stream: list[Read]) -> list[list[Read]]:
    """Batches that each take up some of every topic, whatever arrived when."""
    cuts = rng.choice([2, 5, 12])
    topics = [_cut(rng, reads, cuts) for reads in by_topic(stream).values()]
    return [[read for reads in parts for read in reads] for parts in zip(*topics, strict=True)]


def _cut(rng: Random, reads: list[Read], cuts: int) -> list[list[Read]]:
    """The list in ``cuts`` + 1 pieces, some of them empty."""
    ends = [0, *sorted(rng.randint(0, len(reads)) for _ in range(cuts)), len(reads)]
    return [reads[start:end] for start, end in pairwise(ends)]


def _idle_marks(rng: Random, reads: list[Read], idle: float, partitions: Iterable[Partition]) -> frozenset[Partition]:
    """Some of the topics that brought nothing."""
    silent = [partition for partition in partitions if all(read.partition != partition for read in reads)]
    return frozenset(partition for partition in silent if rng.random() < idle)


def _tables(rng: Random, fx: Rates, count: int) -> list[Rates]:
    """The rates at each commit: half of the log's days come late or are corrected, the last table is ``fx``."""
    known: list[dict[int, int | None]] = []
    for day, _, rate in fx:
        is_final_from = rng.randrange(count) if rng.random() < 0.5 and START // DAY - 2 <= day <= END // DAY else 0
        before = rng.choice([None, None, min(rate + 1, RATE_MAX), min(2 * rate, RATE_MAX)])
        known.append(dict.fromkeys(range(is_final_from), before))
    return [
        [
            (day, currency, found)
            for (day, currency, rate), early in zip(fx, known, strict=True)
            if (found := early.get(commit, rate)) is not None
        ]
        for commit in range(count)
    ]


# --- events made by hand, each with its topic ---


def at(hours: float, us: int) -> Event:
    """A time in hours after the middle of all cases, and microseconds beside it."""
    return {"event_time": MIDDLE + round(hours * HOUR) + us}


def inference(name: str, hours: float, us: int = 0, **more: Any) -> tuple[str, Event]:
    return "inferences", at(hours, us) | {"inference_id": name, "use_case": "u", "model": "m"} | more


def sale(name: str, hours: float, us: int = 0, ids: list[str] | None = None, **more: Any) -> tuple[str, Event]:
    named = {} if ids is None else {"inference_ids": ids}
    money = {"type": "sale", "amount": 100 * UNIT, "currency": "USD"}
    return "conversions", at(hours, us) | {"event_id": name} | money | named | more


def reversal(name: str, hours: float, us: int, of: str, **more: Any) -> tuple[str, Event]:
    return "reversals", at(hours, us) | {"event_id": name, "reverses": of} | more


def score(name: str, hours: float, us: int = 0, **more: Any) -> tuple[str, Event]:
    return "scores", at(hours, us) | {"event_id": name, "name": "n", "score": UNIT, "inference_ids": ["a"]} | more
