"""The judge of the live engine: a slow, obvious model in plain Python of what readers of its files see.

It follows the text of the contract (design, section 7.1), one method per step of a commit, on top of the judge of
the attribution function (``tests/reference.py``, where the form of events, rules and rows is described), and shares
no code with the engine. A moment is *passed* when the watermark is greater than it; times are integer microseconds.

Whatever is accepted is an object of its own. So an id that comes again after it was forgotten is another event, and
where ids are used again rows of one key may stand more than once: ``attributed`` then has a row for each inference of
that id. Within one outcome an id stands for one inference, the first, as the key of ``credits`` asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.reference import RULE_DEFAULTS, attribute_one, step_10_unmatched_reversals
from tests.reference_parts import (
    Event,
    Row,
    Rule,
    World,
    attributed_row,
    content_of,
    reaches,
    read_order,
    score_row,
    sorted_rows,
    widest_window,
)

Partition = tuple[str, int]
Position = Any
Rates = list[tuple[int, str, int]]
Refused = tuple[str, str, Position]


@dataclass(frozen=True)
class Read:
    """One valid record; ``event["position"]`` is (topic, partition, file, offset)."""

    kind: str
    partition: Partition
    event: Event


@dataclass(frozen=True)
class LiveResult:
    """What stands after a commit: net rows (``sign`` 1, ``commit_id`` 0), sorted by their keys.

    ``attributed`` has settled inferences only. ``too_late`` and ``conflicting`` hold (kind, id, position) of every
    record refused so far, by position; ``duplicates`` counts equal copies. ``left`` names the ids that the watermark
    leaves known to the next commit: of ``inferences``, ``outcomes``, ``reversals`` and ``scores``.
    """

    credits: list[Row]
    unattributed: list[Row]
    attributed: list[Row]
    scores: list[Row]
    too_late: list[Refused]
    conflicting: list[Refused]
    duplicates: int
    watermark: int | None
    left: dict[str, set[str]]


Accepted = TypeVar("Accepted", "Inference", "Outcome", "Reversal", "Score")


@dataclass(eq=False)
class Inference:
    """An accepted inference."""

    event: Event


@dataclass(eq=False)
class Outcome:
    """An accepted outcome, the inferences it names that it came to know, and what stands of it."""

    event: Event
    known: list[Inference] = field(default_factory=list)
    is_resolved: bool = False
    credits: list[tuple[Inference, Row]] = field(default_factory=list)
    unattributed: list[Row] = field(default_factory=list)


@dataclass(eq=False)
class Reversal:
    """An accepted reversal and its row while it is unmatched."""

    event: Event
    is_resolved: bool = False
    unattributed: list[Row] = field(default_factory=list)


@dataclass(eq=False)
class Score:
    """An accepted score."""

    event: Event


class LiveModel:
    """The live engine, a commit at a time.

    rules, settings: as in ``tests/reference.py``; topics: every (topic, partition) there is.
    """

    def __init__(self, rules: Iterable[Rule], settings: dict[str, Any], topics: list[Partition]) -> None:
        self.rules = [RULE_DEFAULTS | {k: v for k, v in rule.items() if v is not None} for rule in rules]
        self.settings = settings
        self.partitions = topics
        self.lateness: int = settings["allowed_lateness"]
        self.watermark: int | None = None
        self.largest: dict[Partition, int] = {}
        # What is known, by id: all that the watermark of the newest commit has not made the model forget.
        self.inferences: dict[str, Inference] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.reversals: dict[str, Reversal] = {}
        self.scores: dict[str, Score] = {}
        # What was ever accepted: rows outlive what they were worked out from.
        self.every_outcome: list[Outcome] = []
        self.every_reversal: list[Reversal] = []
        self.every_score: list[Score] = []
        self.settled: list[Inference] = []
        self.too_late: list[Refused] = []
        self.conflicting: list[Refused] = []
        self.duplicates = 0

    def commit(
        self,
        reads: list[Read],
        *,
        idle: Collection[Partition],
        fx: Iterable[tuple[int, str, int]],
        until_end: bool = False,
    ) -> None:
        """One micro-batch: all that was read since the last commit, each partition in its reading order.

        idle: the partitions marked idle in this commit; fx: the rates now; until_end: every partition is at its end.
        """
        in_time = self.step_1_too_late(reads)
        inferences, outcomes, reversals = self.step_2_accept(in_time)
        self.every_outcome += outcomes
        self.every_reversal += reversals
        self.step_3_know(inferences, outcomes)
        self.step_4_watermark(idle, until_end=until_end)
        self.step_5_resolve(until_end=until_end)
        self.step_6_ledgers(list(fx))
        self.step_7_forget()

    def result(self) -> LiveResult:
        """What stands now."""
        credited = [pair for outcome in self.every_outcome for pair in outcome.credits]
        owners: list[Outcome | Reversal] = [*self.every_outcome, *self.every_reversal]
        unattributed = [row for owner in owners for row in owner.unattributed]
        attributed = [self.attributed(inference, credited) for inference in self.settled]
        left: dict[str, set[str]] = {
            "inferences": set(self.inferences),
            "outcomes": set(self.outcomes),
            "reversals": set(self.reversals),
            "scores": set(self.scores),
        }
        return LiveResult(
            sorted_rows([row for _, row in credited], "outcome_id", "inference_id"),
            sorted_rows(unattributed, "outcome_id", "inference_id", "reversal_id", "reason"),
            sorted_rows(attributed, "inference_id"),
            sorted_rows([score_row(score.event) for score in self.every_score], "event_id"),
            sorted(self.too_late, key=lambda refused: read_order({"position": refused[2]})),
            sorted(self.conflicting, key=lambda refused: read_order({"position": refused[2]})),
            self.duplicates,
            self.watermark,
            left,
        )

    # --- the steps of a commit ---

    def step_1_too_late(self, reads: list[Read]) -> list[Read]:
        """Refuse what is older than the largest time read before it in its own partition by over the lateness."""
        in_time = []
        for read in reads:
            time: int = read.event["event_time"]
            largest = self.largest.get(read.partition, time)
            if time < largest - self.lateness:
                self.too_late.append(refused(read))
            else:
                in_time.append(read)
            self.largest[read.partition] = max(largest, time)
        return in_time

    def step_2_accept(self, reads: list[Read]) -> tuple[list[Inference], list[Outcome], list[Reversal]]:
        """Accept what is neither past its own retention nor known; outcomes first, as reversals ask for them."""
        outcomes = self.accept(reads, ("conversion", "time_saved"), self.outcomes, Outcome, self.outcome_end)
        reversals = self.accept(reads, ("reversal",), self.reversals, Reversal, self.reversal_end)
        inferences = self.accept(reads, ("inference",), self.inferences, Inference, self.inference_end)
        self.every_score += self.accept(reads, ("score",), self.scores, Score, self.outcome_end)
        return inferences, outcomes, reversals

    def step_3_know(self, inferences: list[Inference], outcomes: list[Outcome]) -> None:
        """A new outcome gets to know all inferences it names that are known, an older one those that are new.

        Which of them are open is asked where the outcome is worked out: the others count as unknown there.
        """
        for outcome in self.outcomes.values():
            arriving = self.inferences.values() if outcome in outcomes else inferences
            outcome.known += [inference for inference in arriving if names(outcome, inference)]

    def step_4_watermark(self, idle: Collection[Partition], *, until_end: bool) -> None:
        """The smallest of the largest times of partitions that are not idle, or the largest of all; never back."""
        awake = [] if until_end else [partition for partition in self.partitions if partition not in idle]
        if not self.largest or any(partition not in self.largest for partition in awake):
            return
        found = min(self.largest[partition] for partition in awake) if awake else max(self.largest.values())
        self.watermark = found if self.watermark is None else max(self.watermark, found)

    def step_5_resolve(self, *, until_end: bool) -> None:
        """End the waiting of outcomes and reversals; a reversal of a known outcome is published with it."""
        longest_early = max((rule["early_tolerance"] for rule in self.rules), default=0)
        for outcome in self.outcomes.values():
            due = outcome.event["event_time"] + longest_early + self.lateness
            outcome.is_resolved |= until_end or self.has_passed(due) or has_all_named(outcome)
        for reversal in self.reversals.values():
            reversed_outcome = self.outcomes.get(reversal.event["reverses"])
            if reversed_outcome is not None:
                reversal.is_resolved = reversed_outcome.is_resolved
            else:
                reversal.is_resolved |= until_end or self.has_passed(reversal.event["event_time"] + self.lateness)

    def step_6_ledgers(self, fx: Rates) -> None:
        """Work out again the rows of all that is known and resolved; those of what was forgotten stay as they are."""
        for outcome in self.outcomes.values():
            if outcome.is_resolved:
                self.work_out(outcome, fx)
        for reversal in self.reversals.values():
            reversal.unattributed = self.unmatched(reversal, fx) if reversal.is_resolved else []

    def step_7_forget(self) -> None:
        """Forget what the new watermark has passed; reversals first, as they ask for their outcomes."""
        self.reversals = {k: v for k, v in self.reversals.items() if not self.has_passed(self.reversal_end(v.event))}
        self.outcomes = {k: v for k, v in self.outcomes.items() if not self.has_passed(self.outcome_end(v.event))}
        self.scores = {k: v for k, v in self.scores.items() if not self.has_passed(self.outcome_end(v.event))}
        self.settled += [i for i in self.inferences.values() if self.has_passed(self.inference_end(i.event))]
        self.inferences = {k: v for k, v in self.inferences.items() if v not in self.settled}

    # --- what the steps are made of ---

    def accept(
        self,
        reads: list[Read],
        kinds: tuple[str, ...],
        known: dict[str, Accepted],
        kept: Callable[[Event], Accepted],
        end: Callable[[Event], int],
    ) -> list[Accepted]:
        """Of one id the first by position counts, if its retention is not over; gives and adds what is accepted."""
        new = []
        for read in sorted(reads, key=lambda read: read_order(read.event)):
            if read.kind not in kinds:
                continue
            content = content_of(read.kind, read.event)
            event_id = id_of(read)
            if self.has_passed(end(content)):
                self.too_late.append(refused(read))
            elif event_id not in known:
                known[event_id] = kept(content)
                new.append(known[event_id])
            elif known[event_id].event == content:
                self.duplicates += 1
            else:
                self.conflicting.append(refused(read))
        return new

    def has_passed(self, moment: int) -> bool:
        """Whether the watermark is greater."""
        return self.watermark is not None and self.watermark > moment

    def inference_end(self, event: Event) -> int:
        """When an inference settles and is forgotten."""
        _, lookback = widest_window(event, self.world({}, {}, [], []))
        return int(event["event_time"]) + lookback + self.lateness

    def outcome_end(self, event: Event) -> int:
        """When an outcome, or a score, is forgotten."""
        return int(event["event_time"] + self.settings["reversal_window"]) + self.lateness

    def reversal_end(self, event: Event) -> int:
        """When a reversal is forgotten: with its outcome if that is known, in any case not before its lateness."""
        own = int(event["event_time"]) + self.lateness
        outcome = self.outcomes.get(event["reverses"])
        return own if outcome is None else max(own, self.outcome_end(outcome.event))

    def world(
        self, inferences: dict[str, Event], outcomes: dict[str, Event], reversals: list[Event], fx: Rates
    ) -> World:
        """All that there is, as far as the attribution function is asked."""
        by_id = {reversal["event_id"]: reversal for reversal in reversals}
        return World(inferences, outcomes, by_id, self.rules, fx, self.settings)

    def work_out(self, outcome: Outcome, fx: Rates) -> None:
        """The rows of one outcome from what it knows: of an id used again the first inference that is open."""
        world = self.world({}, {}, [], fx)
        first: dict[str, Inference] = {}
        for inference in outcome.known:
            if reaches(inference.event, *widest_window(inference.event, world), outcome.event):
                first.setdefault(inference.event["inference_id"], inference)
        inferences = {key: inference.event for key, inference in first.items()}
        outcome_id = outcome.event["event_id"]
        reversals = [r.event for r in self.reversals.values() if r.event["reverses"] == outcome_id]
        world = self.world(inferences, {outcome_id: outcome.event}, reversals, fx)
        credited, outcome.unattributed = attribute_one(outcome.event, world)
        outcome.credits = [(first[row["inference_id"]], row) for row in credited]

    def unmatched(self, reversal: Reversal, fx: Rates) -> list[Row]:
        """The row of a reversal that does not count against any known outcome."""
        outcomes = {key: outcome.event for key, outcome in self.outcomes.items()}
        return step_10_unmatched_reversals(self.world({}, outcomes, [reversal.event], fx))

    def attributed(self, inference: Inference, credited: list[tuple[Inference, Row]]) -> Row:
        """The row of a settled inference: the sum of its credits that stand now."""
        own = [row for owner, row in credited if owner is inference]
        assert self.watermark is not None
        return attributed_row(inference.event, own, self.watermark, self.world({}, {}, [], []))


def id_of(read: Read) -> str:
    """The record's id among those of its kind; conversions and time-saved events share theirs."""
    return str(read.event["inference_id" if read.kind == "inference" else "event_id"])


def refused(read: Read) -> Refused:
    """How a refused record is listed."""
    return read.kind, id_of(read), read.event["position"]


def names(outcome: Outcome, inference: Inference) -> bool:
    """Whether the outcome carries the inference's id or that of its trace."""
    if "trace_id" in outcome.event:
        return bool(outcome.event["trace_id"] == inference.event.get("trace_id"))
    return inference.event["inference_id"] in outcome.event.get("inference_ids", [])


def has_all_named(outcome: Outcome) -> bool:
    """Whether there is no inference left to wait for; more of a trace may always come."""
    known = {inference.event["inference_id"] for inference in outcome.known}
    return "trace_id" not in outcome.event and known >= set(outcome.event.get("inference_ids", []))
