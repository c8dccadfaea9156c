"""Fails where a test leaves a process behind, and ends it; takes back how a test set up the log.

Each process of the suite takes over what its children leave behind (on Linux), so that nothing can get away by
outliving its parent.
"""

import ctypes
import logging
import sys
from collections.abc import Generator, Iterator

import psutil
import pytest

from support.patience import PATIENCE

# Those of multiprocessing serve all tests of a process and end with it.
_SERVES_ALL = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
# Seconds that a process has to end that was told to.
_GRACE = PATIENCE / 6
_PR_SET_CHILD_SUBREAPER = 36


def pytest_configure() -> None:
    """Takes over orphans."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.fixture(scope="module", autouse=True)
def no_process_outlives_its_module() -> Iterator[None]:
    """Fails the last test of a module of which a process is left, and names it."""
    before = set(_children())
    yield
    if left := end(process for process in _children() if process not in before):
        pytest.fail(f"left running, and killed now: {'; '.join(left)}", pytrace=False)


@pytest.fixture(autouse=True)
def no_log_outlives_its_test() -> Iterator[None]:
    """Removes what writes the log to the stderr of a test, as ``serve`` does: the next test has another stderr."""
    yield
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Looks once more when everything else is over, in the process that started the others too."""
    yield
    if left := end(_children()):
        sys.__stderr__.write(f"\nleft running by the tests, and killed now: {'; '.join(left)}\n")  # type: ignore[union-attr]
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def end(processes: "Iterator[psutil.Process] | list[psutil.Process]") -> list[str]:
    """Kills those that do not end by themselves; returns what they are."""
    _, left = psutil.wait_procs(list(processes), timeout=_GRACE)
    names = [_name(process) for process in left]
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=_GRACE)
    return names


def _children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if _is_a_test_s(child)]


def _is_a_test_s(child: psutil.Process) -> bool:
    try:
        command = " ".join(child.cmdline())
        return child.status() != psutil.STATUS_ZOMBIE and not any(name in command for name in _SERVES_ALL)
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:200]}"
    except psutil.NoSuchProcess:
        return f"{process.pid}"
