"""What the live engine keeps: families of facts, each a table of rows that are added and, once expired, forgotten.

**Facts are only ever added.** An outcome that gains a touch, a reversal or its resolution gains a row, and no row is
rewritten: what was known before a commit is what earlier commits added, and what is known now is that and the
commit's own rows. A row is forgotten when the watermark passes its ``expiry_us`` (design: retention).

Money and quantities are whole units; ids are told apart by their text, keys are hashes of 64 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from streams.live.profiles import INFERENCE_PROFILE, OUTCOME_PROFILE

_HASH = pl.UInt64()
_TIME_US = pl.Int64()
_NUMBER = pl.Int64()
_PROFILE = pl.UInt32()
_TEXT = pl.String()
_UNITS = pl.Decimal(38, 9)
EXPIRY = "expiry_us"


@dataclass(frozen=True)
class Family:
    """keys: hash columns that rows are found by; segments are sorted by the first, or by expiry where there is none."""

    name: str
    keys: tuple[str, ...]
    columns: dict[str, pl.DataType]

    @property
    def sort_by(self) -> str:
        return self.keys[0] if self.keys else EXPIRY


def _family(name: str, /, *keys: str, **columns: pl.DataType) -> Family:
    return Family(name, keys, {**dict.fromkeys(keys, _HASH), EXPIRY: _TIME_US, **columns})


#: Expires with its widest window and the allowed lateness; then it settles.
INFERENCES = _family(
    "inferences",
    "id_hash",
    "trace_hash",
    inference_id=_TEXT,
    trace_id=_TEXT,
    event_time_us=_TIME_US,
    digest=_HASH,
    profile=_PROFILE,
    number=_NUMBER,
)
#: Expires with the reversal window and the allowed lateness. due_us: until when it waits; null where it does not.
OUTCOMES = _family(
    "outcomes",
    "id_hash",
    event_id=_TEXT,
    event_time_us=_TIME_US,
    profile=_PROFILE,
    amount=_UNITS,
    quantity=_UNITS,
    seconds=_UNITS,
    baseline_seconds=_UNITS,
    actual_seconds=_UNITS,
    inference_ids=pl.List(pl.String),
    trace_id=_TEXT,
    digest=_HASH,
    number=_NUMBER,
    due_us=_TIME_US,
)
#: A copy of an open inference that an outcome names; expires with the outcome.
TOUCHES = _family(
    "touches",
    "outcome_key",
    outcome_number=_NUMBER,
    inference_number=_NUMBER,
    inference_id=_TEXT,
    event_time_us=_TIME_US,
    inference_expiry_us=_TIME_US,
    profile=_PROFILE,
)
#: An id not yet seen, or a trace, and the outcome that names it.
WANTS = _family("wants", "wanted_hash", outcome_hash=_HASH, outcome_number=_NUMBER)
#: Outcomes that wait, by the moment until which they do.
WAITS = _family("waits", outcome_hash=_HASH, outcome_number=_NUMBER)
#: Outcomes resolved before that moment.
RESOLVED = _family("resolved", "outcome_key", outcome_number=_NUMBER)
#: Expires with its outcome, if that is known, in any case not before its own time and the allowed lateness.
REVERSALS = _family(
    "reversals",
    "id_hash",
    "reverses_hash",
    event_id=_TEXT,
    reverses=_TEXT,
    event_time_us=_TIME_US,
    amount=_UNITS,
    currency=_TEXT,
    quantity=_UNITS,
    seconds=_UNITS,
    digest=_HASH,
    number=_NUMBER,
    is_outcome_known=pl.Boolean(),
)
#: Expires as an outcome does. It is kept to tell copies from new ones; nothing else asks for it.
SCORES = _family("scores", "id_hash", event_id=_TEXT, digest=_HASH)
#: What open inferences earned, to be summed up when they settle.
SUMS = _family(
    "sums",
    inference_number=_NUMBER,
    outcome_count=pl.Int64(),
    conversion_value=_UNITS,
    time_saved_value=_UNITS,
    time_saved_seconds=_UNITS,
    attributed_value=_UNITS,
    reversed_value=_UNITS,
)

#: Expiry of what is never forgotten.
FOREVER_US = 2**62
#: Event files read to their end; numbered in the order in which they were.
FILES = _family(
    "files", number=_NUMBER, topic=_TEXT, name=_TEXT, bytes=_NUMBER, modified_ns=_NUMBER, sha256=_TEXT, records=_NUMBER
)
#: Combinations of words, by number.
INFERENCE_PROFILES = _family("inference_profiles", number=_NUMBER, **dict.fromkeys(INFERENCE_PROFILE, _TEXT))
OUTCOME_PROFILES = _family("outcome_profiles", number=_NUMBER, **dict.fromkeys(OUTCOME_PROFILE, _TEXT))

#: Families whose rows expire about as soon as inferences do; those of the others live as long as an outcome.
OF_INFERENCES = frozenset(family.name for family in (INFERENCES, WAITS, RESOLVED, SUMS))

FAMILIES = {
    family.name: family
    for family in (
        *(INFERENCES, OUTCOMES, TOUCHES, WANTS, WAITS, RESOLVED, REVERSALS, SCORES, SUMS),
        *(FILES, INFERENCE_PROFILES, OUTCOME_PROFILES),
    )
}
