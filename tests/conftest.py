"""What holds for every test: UTC, how many examples property tests try, no silent skips, one Kafka for all.

A skip's reason begins with "needs ": "needs a Kafka broker". Where ``CI=true``, any other skip is a failure, and
``.ci/run`` takes none for want of a broker either. Each test process starts at most one broker for all of its tests;
``--dist loadfile`` keeps a file's tests in one process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.broker import Broker, NamedBroker

os.environ["TZ"] = "UTC"
time.tzset()

IS_CI = os.environ.get("CI", "").lower() == "true"
EXPLAINED = "needs "

# Times of single examples say little on a shared machine, so there is no deadline.
settings.register_profile("dev", max_examples=50, deadline=None, print_blob=True)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None)
settings.register_profile(
    "soak",
    settings.get_profile("dev"),
    max_examples=2_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if IS_CI else "dev"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _refuse_unexplained(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _refuse_unexplained(report)
    return report


def _refuse_unexplained(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = _skip_reason(report)
    if IS_CI and not reason.startswith(EXPLAINED):
        report.outcome = "failed"
        report.longrepr = f'{report.nodeid}: skipped without a reason that begins with "{EXPLAINED}": {reason!r}'


def _skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    assert isinstance(report.longrepr, tuple), report.longrepr
    return report.longrepr[2].removeprefix("Skipped: ")


@pytest.fixture(scope="session")
def secured_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker that all tests share, with its listeners for SCRAM too. Nobody kills it."""
    with _new_broker(tmp_path_factory.mktemp("broker"), secured=True) as broker:
        yield broker


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Broker | NamedBroker:
    """The same, for tests that need its ``bootstrap`` only: a broker named in the environment will do."""
    from tests.broker import NAMED, NamedBroker, missing

    named = os.environ.get(NAMED)
    if named and missing():
        return NamedBroker(named)
    shared: Broker = request.getfixturevalue("secured_broker")
    return shared


@pytest.fixture
def broker_of_its_own(tmp_path: Path) -> Iterator[Broker]:
    """A broker that the test may kill."""
    with _new_broker(tmp_path / "broker", secured=False) as broker:
        yield broker


def _new_broker(folder: Path, *, secured: bool) -> Broker:
    from tests.broker import Broker, missing

    if reason := missing():
        pytest.skip(reason)
    return Broker(folder, secured=secured)
