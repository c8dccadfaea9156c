"""Ends tests that hang, each alone.

An alarm in the main thread fails a test, and its traceback names the line. Where that cannot help, since C code holds
the interpreter or an event loop swallowed the alarm, the process ends with the tracebacks of all threads: pytest-xdist
then fails that one test and goes on with another process.
"""

import faulthandler
import os
from collections.abc import Generator, Iterable
from typing import Any, TextIO

import pytest
from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

from support.patience import PROCESS_LIMIT, TEST_LIMIT

_stderr = pytest.StashKey[TextIO]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Sets the limits; ``--timeout`` and PYTEST_TIMEOUT still set the first one."""
    if config.getoption("timeout") is None and "PYTEST_TIMEOUT" not in os.environ:
        config.option.timeout = TEST_LIMIT
    capture = config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    # What is captured is lost when the process ends.
    with capture.global_and_fixture_disabled():
        config.stash[_stderr] = os.fdopen(os.dup(2), "w")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Closes what it opened."""
    config.stash[_stderr].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Guards a test with its fixtures."""
    faulthandler.dump_traceback_later(PROCESS_LIMIT, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


class OneFailsAlone(LoadGroupScheduling):  # type: ignore[misc] # pytest-xdist is not typed
    """Gives the tests of a process that died to another one, without the one that it died of."""

    def remove_node(self, node: WorkerController) -> Any:
        units: Iterable[dict[str, bool]] = self.assigned_work[node].values()
        for unit in units:
            for test, is_done in unit.items():
                if not is_done:
                    unit[test] = True
                    super().remove_node(node)
                    return test
        return super().remove_node(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadGroupScheduling | None:
    """Runs each test in whichever process is free, and those of one ``xdist_group`` one after the other."""
    return OneFailsAlone(config, log) if config.getoption("dist") == "loadgroup" else None
