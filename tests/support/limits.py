"""Ends tests that hang, each alone.

An alarm in the main thread fails a test, and its traceback names the line. Where that cannot help, since C code holds
the interpreter or an event loop swallowed the alarm, the process ends with the tracebacks of all threads: pytest-xdist
then fails that one test and goes on with another process.
"""

import faulthandler
import os
from collections.abc import Generator, Iterable, Sequence
from typing import Any, TextIO

import pytest
from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

from support.patience import PATIENCE, TEST_LIMIT

_stderr = pytest.StashKey[TextIO]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Sets the limits; ``--timeout`` and PYTEST_TIMEOUT still set the first one."""
    if config.getoption("timeout") is None:
        config.option.timeout = float(os.environ.get("PYTEST_TIMEOUT", TEST_LIMIT))
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
    seconds = float(item.config.getoption("timeout")) + PATIENCE
    faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


class _Names(list[str]):
    """The names of all tests, each of which is found at once: the scheduler asks where each one stands."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(names)
        self._places = {name: place for place, name in reversed(list(enumerate(self)))}

    def index(self, value: str, *_: Any) -> int:
        return self._places[value]


class OneFailsAlone(LoadGroupScheduling):  # type: ignore[misc] # pytest-xdist is not typed
    """Gives the tests of a process that died to another one, without the one that it died of.

    pytest-xdist 3.8 would run that one again in each process that takes its place, and gives a new process too few
    tests to begin. It also counts, for each test, through all that were before: what is over is forgotten here.
    """

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        super().add_node_collection(node, collection)
        if node in self.registered_collections:
            self.registered_collections[node] = _Names(collection)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        scope = self._split_scope(self.registered_collections[node][item_index])
        super().mark_test_complete(node, item_index, duration)
        if all(self.assigned_work[node][scope].values()):
            del self.assigned_work[node][scope]

    def remove_node(self, node: WorkerController) -> Any:
        units = self.assigned_work[node]
        died_of = next((test for unit in units.values() for test, is_done in unit.items() if not is_done), None)
        for scope, unit in list(units.items()):
            if died_of in unit:
                unit[died_of] = True
            if all(unit.values()):
                del units[scope]
        super().remove_node(node)
        return died_of

    def _reschedule(self, node: WorkerController) -> None:
        # A process runs a test once it knows the next one.
        while not node.shutting_down and self._pending_of(self.assigned_work[node]) <= 2:
            super()._reschedule(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadGroupScheduling | None:
    """Runs each test in whichever process is free, and those of one ``xdist_group`` one after the other."""
    return OneFailsAlone(config, log) if config.getoption("dist") == "loadgroup" else None
