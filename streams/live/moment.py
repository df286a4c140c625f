"""Under which watermark and rates a commit is made."""

from __future__ import annotations

from dataclasses import dataclass

from attribution.engine import CompiledPolicy


@dataclass(frozen=True)
class Moment:
    """What a commit is made under.

    watermark_us: that it moves to; before, after: the policy with the rates of the commit before, and with those
    of now (the same object where they are equal); resolve_all: whatever waits is resolved with what is known.
    """

    watermark_us: int | None
    before: CompiledPolicy
    after: CompiledPolicy
    resolve_all: bool = False
