"""What holds for every test: UTC, how many examples property tests try, and no silent skips.

A skip's reason begins with "needs ": "needs a Kafka broker". Where ``CI=true``, any other skip is a failure.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

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
