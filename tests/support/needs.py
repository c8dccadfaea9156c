"""Programs beyond Python that tests use, and what installs them.

A test that uses one is marked ``@needs("nats-server")`` and is skipped by name where it is missing. ``.ci/run``
installs all that this module lists, and there a skip is a failure.
"""

import os
import shutil
import sys
from collections.abc import Generator

import pytest

# Of each program, its package in Debian.
PACKAGES = {"chromium": "chromium", "curl": "curl", "nats-server": "nats-server", "promtool": "prometheus"}


def needs(program: str) -> pytest.MarkDecorator:
    """Skips a test, or a parameter of one, where a program is missing."""
    reason = f"needs {program} (apt install {PACKAGES[program]})"
    return pytest.mark.skipif(shutil.which(program) is None, reason=reason)


def missing() -> dict[str, str]:
    """Returns the programs that are not there, each with its package."""
    return {program: package for program, package in PACKAGES.items() if shutil.which(program) is None}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails what is skipped under REQUIRE_ALL=1, unless its mark ``platform`` says that it cannot run here."""
    report = yield
    is_expected = hasattr(report, "wasxfail") or item.get_closest_marker("platform") is not None
    if report.skipped and not is_expected:
        _refuse(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Likewise of a whole module."""
    report = yield
    if report.skipped:
        _refuse(report)
    return report


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("REQUIRE_ALL", "0") not in ("", "0"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}: with REQUIRE_ALL=1 nothing may be skipped"


if __name__ == "__main__":
    sys.stdout.writelines(f"{package}\n" for package in sorted(set(missing().values())))
