"""What holds for a whole run of the suite, seen from outside of one: each test here runs a pytest of its own."""

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.limits import OneFailsAlone
from support.patience import PATIENCE
from support.pytests import PYTEST

TESTS = Path(__file__).parents[2]
INI = """
[pytest]
asyncio_mode = auto
timeout_method = signal
addopts = --dist=loadgroup -p no:grpc_tool_bridge -p no:hypothesispytest -p no:anyio
markers =
    platform: cannot run here
"""
NEIGHBOURS = """
def test_before():
    pass

{hangs}

def test_after():
    pass
"""
HANGS = {
    "waits": "import asyncio\nasync def test_hangs():\n    await asyncio.Event().wait()",
    "runs": "import asyncio\nasync def test_hangs():\n    while True:\n        await asyncio.sleep(0)",
    "thread": "import threading\ndef test_hangs():\n    threading.Event().wait()",
    # Neither a signal nor a thread gets a turn.
    "interpreter": (
        "import collections, itertools\ndef test_hangs():\n    collections.deque(itertools.repeat(0), maxlen=0)"
    ),
    # What is raised in a callback is logged by the loop, which goes on.
    "callback": (
        "import asyncio\n"
        "async def test_hangs():\n"
        "    def call():\n        while True:\n            pass\n"
        "    asyncio.get_running_loop().call_soon(call)\n"
        "    await asyncio.Event().wait()"
    ),
}
pytestmark = pytest.mark.slow


def run(
    pytester: pytest.Pytester, *arguments: str, plugin: str, test: str, before: str = "", **environment: str
) -> pytest.RunResult:
    """Runs a pytest with one of the suite's plugins; ``before`` is what a shell does first."""
    pytester.makeini(INI)
    pytester.makeconftest(f"import sys; sys.path.insert(0, {str(TESTS)!r}); pytest_plugins = ['support.{plugin}']")
    pytester.makepyfile(test)
    for name, value in environment.items():
        pytester._monkeypatch.setenv(name, value)
    command = [*PYTEST, *arguments]
    if before:
        command = ["bash", "-c", f'{before}; exec "$@"', "-", *command]
    return pytester.run(*command, timeout=4 * PATIENCE)


@pytest.mark.parametrize("hangs", HANGS)
def test_a_test_that_hangs_fails_alone(pytester: pytest.Pytester, hangs: str) -> None:
    test = NEIGHBOURS.format(hangs=HANGS[hangs])
    # The patience is what a process has beyond its time.
    result = run(pytester, "-n1", "--timeout=2", plugin="limits", test=test, TEST_PATIENCE="0.02")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*FAILED *test_hangs*"])


def test_a_process_that_dies_costs_the_one_test_that_it_ran(pytester: pytest.Pytester) -> None:
    test = NEIGHBOURS.format(hangs="import os\ndef test_dies():\n    os._exit(3)")
    result = run(pytester, "-n2", plugin="limits", test=test)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*crashed while running*test_dies*"])


@pytest.mark.parametrize(
    ("test", "required", "outcomes"),
    [
        ("import pytest\n@pytest.mark.skip(reason='needs x')\ndef test(): pass", "1", {"errors": 1}),
        ("import pytest\n@pytest.mark.skip(reason='needs x')\ndef test(): pass", "0", {"skipped": 1}),
        ("import pytest\ndef test(): pytest.skip('needs x')", "1", {"failed": 1}),
        ("import pytest\n@pytest.mark.platform\ndef test(): pytest.skip('needs x')", "1", {"skipped": 1}),
        ("import pytest\n@pytest.mark.xfail\ndef test(): assert False", "1", {"xfailed": 1}),
        ("import pytest\npytest.importorskip('no_such_module')\ndef test(): pass", "1", {"errors": 1}),
    ],
)
def test_a_skip_is_a_failure_where_all_is_required(
    pytester: pytest.Pytester, test: str, required: str, outcomes: dict[str, int]
) -> None:
    result = run(pytester, "-rs", plugin="needs", test=test, REQUIRE_ALL=required)
    result.assert_outcomes(**outcomes)
    if required == "1" and ("failed" in outcomes or "errors" in outcomes):
        result.stdout.fnmatch_lines(["*with REQUIRE_ALL=1 nothing may be skipped*"])


LEAVES = """
import subprocess, sys
def test_leaves_a_process():
    program = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid)"
    left = [sys.executable, "-c", "import time; time.sleep(900)"]
    with open({path!r}, "w") as note:
        subprocess.run([sys.executable, "-c", program, *left], stdout=note, check=True)
"""


@pytest.mark.parametrize("arguments", [[], ["-n1"]], ids=["alone", "parallel"])
def test_a_process_that_is_left_is_named_and_killed(pytester: pytest.Pytester, arguments: list[str]) -> None:
    note = pytester.path / "note"
    result = run(pytester, *arguments, plugin="leftovers", test=LEAVES.format(path=str(note)), TEST_PATIENCE="0.1")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*left running, and killed now:*time.sleep(900)*"])
    with pytest.raises(ProcessLookupError):
        signal.pidfd_send_signal(_pidfd(int(note.read_text())), 0)


def _pidfd(pid: int) -> int:
    import os

    return os.pidfd_open(pid)


IGNORED = """
import signal, subprocess, sys
def test_children_have_default_signals():
    program = "import signal; print([n.name for n in signal.Signals if signal.getsignal(n) is signal.SIG_IGN])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(eval(ran.stdout)) <= {"SIGPIPE", "SIGXFSZ"}
"""


@pytest.mark.parametrize("arguments", [[], ["-n1"]], ids=["alone", "parallel"])
def test_children_have_a_terminal_s_signals_wherever_the_suite_was_started(
    pytester: pytest.Pytester, arguments: list[str]
) -> None:
    ignored = "trap '' INT HUP TERM QUIT"
    run(pytester, *arguments, plugin="terminal", test=IGNORED, before=ignored).assert_outcomes(passed=1)


NAMES = """
import pytest
@pytest.mark.parametrize("value", [object(), object(), lambda: 0], ids=repr)
def test_values(value):
    pass
@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("value", range(4))
def test_together(value, worker_id):
    with open("workers", "a") as note:
        note.write(worker_id + chr(10))
"""


def test_names_with_addresses_are_alike_in_all_processes_and_groups_stay_together(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_others=NAMES)
    result = run(pytester, "-n3", plugin="names", test="def test_more(): pass")
    result.assert_outcomes(passed=8)
    assert len(set((pytester.path / "workers").read_text().split())) == 1


class Node:
    """A process that is given tests, and runs none."""

    shutting_down = False

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.given: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_the_scheduler_gives_each_test_once_and_forgets_those_that_are_over(pytester: pytest.Pytester) -> None:
    scheduler = OneFailsAlone(pytester.parseconfig("--tx", "2*popen"))
    nodes: list[Any] = [Node("gw0"), Node("gw1")]
    tests = [f"test_x.py::test[{number}]" for number in range(100)]
    for node in nodes:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, tests)
    scheduler.schedule()
    over: list[int] = []
    while given := [node for node in nodes if node.given]:
        for node in given:
            number = node.given.pop(0)
            over.append(number)
            scheduler.mark_test_complete(node, number)
            assert sum(map(len, scheduler.assigned_work.values())) < 10
    assert sorted(over) == list(range(100))
    assert all(node.shutting_down for node in nodes)


KEPT = """
import gc
def test_collections_leave_out_what_is_kept():
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000
"""


def test_what_the_run_holds_is_left_out_of_garbage_collections(pytester: pytest.Pytester) -> None:
    run(pytester, plugin="heap", test=KEPT).assert_outcomes(passed=1)


def test_what_a_test_logs_may_be_no_unicode(pytester: pytest.Pytester) -> None:
    test = "import logging\ndef test(): logging.getLogger().warning(chr(0xD800)); assert 0\ndef test_after(): pass"
    run(pytester, "-n1", plugin="names", test=test).assert_outcomes(passed=1, failed=1)


def test_an_interrupted_run_leaves_no_busy_process() -> None:
    script = TESTS.parent / "scripts" / "busy.py"
    command = [
        sys.executable,
        str(script),
        sys.executable,
        "-c",
        "import sys; print('runs', flush=True); sys.stdin.read()",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdout is not None
        pids = [int(pid) for pid in busy.stdout.readline().rpartition(":")[2].split()]
        assert pids
        handles = [_pidfd(pid) for pid in pids]
        assert busy.stdout.readline() == "runs\n"
        busy.kill()
    for handle in handles:
        _ended(handle)


def _ended(handle: int) -> None:
    import os
    import select

    poll = select.poll()
    poll.register(handle, select.POLLIN)
    assert poll.poll(PATIENCE * 1000), "it runs on"
    os.close(handle)
