"""Settings of the property tests, and the rule that nothing is skipped where all packages are meant to be there."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# Whichever test imports Keras first, by itself or through another framework.
os.environ.setdefault("KERAS_BACKEND", "torch")

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)
settings.register_profile("ci", parent=settings.get_profile("default"), max_examples=300, derandomize=True)
settings.register_profile("long", parent=settings.get_profile("default"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))

NO_SKIPS = os.environ.get("RFGRAPH_NO_SKIPS") == "1"


def fail_if_skipped(report):
    """Turn a skip into a failure: with RFGRAPH_NO_SKIPS=1 every test has to run."""
    if NO_SKIPS and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but RFGRAPH_NO_SKIPS=1 says that all tests must run: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    fail_if_skipped(report)
    return report
