"""Traffic drawn from a stated truth, summed up as the report sums it up: the raw material of ``coverage``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from attribution.money import INT, UNIT
from attribution.statistics.clusters import CLUSTER_GROUPS

Array = npt.NDArray[np.int64]
AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000
_DRAWS_AT_A_TIME = 250  # bounds memory


@dataclass(frozen=True)
class Truth:
    """Sessions of ``size`` inferences each.

    A session brings value with probability ``session_share``, each of its inferences then with ``share``. That value is
    lognormal with median 1: ``sigma`` of the inference's own, ``session_sigma`` of what its session has in common.
    """

    sessions: int
    size: int = 1
    session_share: float = 1.0
    share: float = 1.0
    sigma: float = 1.0
    session_sigma: float = 0.0

    @property
    def mean(self) -> float:
        """The true value per inference."""
        return self.session_share * self.share * math.exp((self.sigma**2 + self.session_sigma**2) / 2)


@dataclass(frozen=True)
class Draws:
    """sums: ``draw``, ``cluster_group``, ``requests``, ``value``; values: ``draw``, ``cluster``, ``value`` (units)."""

    sums: pl.DataFrame
    values: pl.DataFrame


def drawn(truth: Truth, draws: int, rng: np.random.Generator, *, ignore_sessions: bool = False) -> Draws:
    """The traffic of so many reports; ignore_sessions: every inference is a cluster of its own, wrongly."""
    size = 1 if ignore_sessions else truth.size
    parts = [
        _some(truth, range(first, min(first + _DRAWS_AT_A_TIME, draws)), rng, size)
        for first in range(0, draws, _DRAWS_AT_A_TIME)
    ]
    return Draws(pl.concat(part.sums for part in parts), pl.concat(part.values for part in parts))


def _some(truth: Truth, numbers: range, rng: np.random.Generator, size: int) -> Draws:
    """The draws of these numbers; size: inferences in a cluster, all of a session or one."""
    draws = len(numbers)
    earns = rng.random((draws, truth.sessions)) < truth.session_share
    number, session = np.nonzero(earns)
    common = np.exp(truth.session_sigma * rng.standard_normal((len(number), 1)))
    has_value = rng.random((len(number), truth.size)) < truth.share
    value = np.exp(truth.sigma * rng.standard_normal(has_value.shape)) * common * has_value
    units = np.rint(value * UNIT).astype(np.int64)
    units = units.reshape(-1, truth.size // size, size).sum(axis=2)  # per cluster, row by row as ``number``
    per_session = units.shape[1]
    groups = rng.integers(0, CLUSTER_GROUPS, (draws, truth.sessions, per_session))
    places = groups + CLUSTER_GROUPS * np.arange(draws)[:, None, None]
    requests = np.bincount(places.ravel(), minlength=draws * CLUSTER_GROUPS) * size
    values = np.zeros_like(requests)
    np.add.at(values, places[number, session].ravel(), units.ravel())
    filled = np.flatnonzero(requests)
    sums = {
        "draw": numbers.start + filled // CLUSTER_GROUPS,
        "cluster_group": filled % CLUSTER_GROUPS,
        "requests": requests[filled],
        "value": pl.Series(values[filled]).cast(INT),
    }
    cluster = session[:, None] * per_session + np.arange(per_session)
    of_clusters = {
        "draw": numbers.start + np.repeat(number, per_session),
        "cluster": cluster.ravel(),
        "value": pl.Series(units.ravel()).cast(INT),
    }
    return Draws(pl.DataFrame(sums), pl.DataFrame(of_clusters).filter(pl.col("value") != 0))


def latencies(rng: np.random.Generator, median_ms: int, sessions: int, size: int, sigma: float) -> pl.DataFrame:
    """``cluster_group``, ``latency_ms`` per request: lognormal; half of σ² is what a session's requests share."""
    score = (rng.standard_normal((sessions, 1)) + rng.standard_normal((sessions, size))) / math.sqrt(2)
    groups = rng.integers(0, CLUSTER_GROUPS, sessions)
    milliseconds = np.rint(median_ms * np.exp(sigma * score)).astype(np.int64)
    return pl.DataFrame({"cluster_group": np.repeat(groups, size), "latency_ms": milliseconds.ravel()})


@dataclass(frozen=True)
class Delays:
    """Outcomes of a cohort whose requests all came at once.

    A request brings one with probability ``share``; its value is lognormal (median 1, ``sigma``), its delay
    exponential with ``mean_days``, cut off at ``window_days``. Large ones come later: the normal scores of delay and
    of log value are correlated by ``correlation``.
    """

    share: float = 0.1
    sigma: float = 0.5
    mean_days: float = 10.0
    window_days: float = 30.0
    correlation: float = 0.5

    @property
    def mean(self) -> float:
        """The true value per request, when all has come."""
        return self.share * math.exp(self.sigma**2 / 2)


def credits_of(truth: Delays, requests: int, days_ago: float, rng: np.random.Generator) -> pl.DataFrame:
    """Net credits of one cohort, those still to come too: the columns that ``settled_delays`` takes."""
    from scipy.special import ndtr

    count = int(rng.binomial(requests, truth.share))
    score = rng.standard_normal(count)
    log_value = truth.correlation * score + math.sqrt(1 - truth.correlation**2) * rng.standard_normal(count)
    within_window = -math.expm1(-truth.window_days / truth.mean_days)
    delay_us = np.rint(-truth.mean_days * np.log1p(-ndtr(score) * within_window) * _DAY_US).astype(np.int64)
    asked = pl.Series([AS_OF - timedelta(days=days_ago)], dtype=pl.Datetime("us", "UTC")).new_from_index(0, count)
    return pl.DataFrame(
        {
            "use_case": pl.Series(["reco"]).new_from_index(0, count),
            "outcome_id": pl.Series(np.arange(count)).cast(pl.String),
            "inference_time": asked,
            "outcome_time": asked + pl.Series(delay_us).cast(pl.Duration("us")),
            "value": pl.Series(np.rint(np.exp(truth.sigma * log_value) * UNIT).astype(np.int64)).cast(INT),
        }
    )
