"""Programs beyond Python that tests use, and what installs them.

A test that uses one is marked ``@needs("promtool")`` and is skipped by name where it is missing. ``.ci/run``
installs all that this module lists, and there a skip is a failure. Those in Go are built into ``.peers/bin``.
"""

import os
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

# Of each program, its package in Debian.
PACKAGES = {
    "chromium": "chromium",
    "curl": "curl",
    "fish": "fish",
    "git": "git",
    "node": "nodejs",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "zsh": "zsh",
}
ROOT = Path(__file__).parents[2]
GO_TOOLS = tuple(
    line.split()[0]
    for line in (ROOT / "scripts" / "ci-tools.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)


def where(program: str) -> str | None:
    """Returns the path of a program; None where it is missing."""
    return shutil.which(program, path=f"{ROOT / '.peers' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}")


def needs(program: str) -> pytest.MarkDecorator:
    """Skips a test, or a parameter of one, where a program is missing."""
    remedy = "make tools" if program in GO_TOOLS else f"apt install {PACKAGES[program]}"
    return pytest.mark.skipif(where(program) is None, reason=f"needs {program} ({remedy})")


def missing() -> dict[str, str]:
    """Returns the programs of Debian that are not there, each with its package."""
    return {program: package for program, package in PACKAGES.items() if where(program) is None}


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
