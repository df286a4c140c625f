"""What a cost file says, as data: which bill lines are whose cost, what is written off over time, what serves whom.

A *scope* is a set of inferences, named by what they have in common: ``{"model": "M", "endpoint": "E"}``; the empty
scope is all of them. A *line rule* gives the bill lines that it matches to the inferences of its scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction

import polars as pl

from attribution.costs import PriceList

SCOPE_KEYS = ("use_case", "model", "model_version", "endpoint", "provider")
TAG_PREFIX = "tags."
#: A remediation that went on for longer would be an exception for good.
REMEDIATION_DAYS_MAX = 90


class CostType(StrEnum):
    """What a cost was for. Serving ran the model; indirect came with it; the other two are written off over time."""

    SERVING = "serving"
    INDIRECT = "indirect"
    DEVELOPMENT = "development"
    RETRAINING = "retraining"


class Driver(StrEnum):
    """In proportion to what a day's bill is divided over its inferences."""

    ESTIMATE = "estimate"
    TOKENS = "tokens"
    COMPUTE_MS = "compute_ms"
    REQUESTS = "requests"


DEFAULT_DRIVERS = (Driver.ESTIMATE, Driver.REQUESTS)


@dataclass(frozen=True)
class Scope:
    """Inferences that have these values; keys: of SCOPE_KEYS."""

    keys: Mapping[str, str] = field(default_factory=dict)

    def covers(self) -> pl.Expr:
        """Whether a row with the columns of SCOPE_KEYS lies in the scope; never null."""
        equal = [(pl.col(key).cast(pl.String) == value).fill_null(value=False) for key, value in self.keys.items()]
        return pl.all_horizontal(pl.lit(value=True), *equal)

    def __str__(self) -> str:
        return ", ".join(f"{key} {value}" for key, value in self.keys.items()) or "all inferences"


@dataclass(frozen=True)
class LineRule:
    """match: column (or ``tags.KEY``) → the texts that it may have; all of them must hold.

    drivers: in the order in which they are tried; the last one always works.
    """

    name: str
    match: Mapping[str, tuple[str, ...]]
    cost_type: CostType
    scope: Scope
    drivers: tuple[Driver, ...] = DEFAULT_DRIVERS


@dataclass(frozen=True)
class Amortised:
    """amount: units of 10⁻¹² of its currency; charged by day from ``from_day`` on, to before ``retired``."""

    cost_type: CostType
    scope: Scope
    amount: int
    currency: str
    from_day: date
    life_days: int
    retired: date | None = None

    @property
    def until_day(self) -> date:
        """The first day not charged any more, were it never retired."""
        return self.from_day + timedelta(days=self.life_days)


@dataclass(frozen=True)
class Overhead:
    """Inferences of ``use_case`` serve those of another one: a judge."""

    use_case: str
    of: str


@dataclass(frozen=True)
class Remediation:
    """A failed check that somebody works on; keys: of use_case, model, model_version, one left out matches any."""

    keys: Mapping[str, str]
    owner: str
    reason: str
    from_day: date
    until_day: date

    def in_force(self, day: date) -> bool:
        """Both ends are days in force."""
        return self.from_day <= day <= self.until_day


@dataclass(frozen=True)
class Change:
    """Something that was changed at one moment, whose two sides can be compared."""

    scope: Scope
    at_us: int
    note: str


@dataclass(frozen=True)
class CostModel:
    """All of a cost file but its bills, which are files of their own.

    min_priced_share: the least share of requests with a known cost that unit costs and drivers need.
    """

    min_priced_share: Fraction = Fraction(99, 100)
    price_lists: tuple[PriceList, ...] = ()
    lines: tuple[LineRule, ...] = ()
    amortised: tuple[Amortised, ...] = ()
    overheads: tuple[Overhead, ...] = ()
    remediations: tuple[Remediation, ...] = ()
    changes: tuple[Change, ...] = ()
