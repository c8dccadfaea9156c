"""The fixtures in a user's own project, run by a pytest of its own."""

import re
from pathlib import Path
from typing import Any

import pytest

from support.pytests import OPTIONS, PYTEST

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "test-your-tools.md"

TOOLS = """
import threading
from collections.abc import Iterator

import pytest


def add(a: int, b: int) -> int:
    return a + b


def count(n: int) -> Iterator[int]:
    yield from range(n)


@pytest.fixture
def bridge_tools():
    return [add, count]
"""

PLAIN = """
LOOPS = []


def test_a_plain_function_calls_a_tool(bridge):
    bridge.sync.initialize("plain")
    LOOPS.append(bridge.sync._loop)
    assert bridge.sync.tools["add"](2, 3) == 5
    assert list(bridge.sync.tools["count"].stream(3)) == [0, 1, 2]


def test_a_bridge_that_the_test_closed_itself_is_no_trouble(bridge):
    with bridge.sync as view:
        view.initialize()
        assert view.call_tool("add", 1, 1) == 2


def test_a_bridge_that_is_never_used_is_no_trouble(bridge):
    assert bridge.session_id is None


def test_each_test_has_its_own_hub(bridge, bridge_server):
    assert len(bridge_server.hub.store) == 0


def test_the_loop_of_an_earlier_test_has_ended():
    assert [loop.is_closed() for loop in LOOPS] == [True]
"""

PYTEST_ASYNCIO = """
import asyncio

import pytest

pytestmark = pytest.mark.asyncio


async def test_an_async_test_calls_a_tool(bridge):
    tools = await bridge.initialize("async")
    assert await tools["add"](2, 3) == 5
    assert [value async for value in tools["count"].stream(3)] == [0, 1, 2]


async def test_a_session_left_open_is_no_trouble(bridge, bridge_server):
    await bridge.initialize("left open")
    assert "left open" in [session.id for session in bridge_server.hub.store.sessions()]


async def test_a_bridge_closed_by_the_test_is_no_trouble(bridge):
    async with bridge:
        await bridge.initialize()
        assert await bridge.call_tool("add", 1, 1) == 2


async def test_another_bridge_may_join_the_session(bridge, bridge_server):
    from grpc_tool_bridge import GRPCToolBridge

    await bridge.initialize("shared")
    async with GRPCToolBridge(bridge_server.address) as other:
        await other.initialize("shared")
        await other.session_context.set_variable("x", 1)
        assert await bridge.session_context.get_variable("x") == 1
"""

ONE_LOOP_FOR_ALL = """
import asyncio

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_opens_a_session(bridge):
    await bridge.initialize()


async def test_finds_no_task_of_the_test_before(bridge):
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "heartbeat"] == []
"""

ANYIO = """
import pytest


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_an_anyio_test_calls_a_tool(bridge):
    tools = await bridge.initialize("anyio")
    assert await tools["add"](2, 3) == 5


@pytest.fixture
async def ready(bridge, anyio_backend):
    await bridge.initialize("from a fixture")
    yield bridge


@pytest.mark.anyio
async def test_a_fixture_may_open_the_session(ready):
    assert await ready.call_tool("add", 2, 3) == 5
"""

SETTINGS = """
import pytest
from grpc_tool_bridge import GRPCToolBridge, Settings, ToolExecutionError


@pytest.fixture
def bridge_settings():
    return Settings(token="secret", max_message_bytes=2_000, show_tracebacks=False)


def test_the_hub_has_the_project_s_settings_and_the_bridge_knows_its_token(bridge, bridge_server):
    assert bridge_server.settings.max_message_bytes == 2_000
    bridge.sync.initialize()
    with pytest.raises(ToolExecutionError, match="too large"):
        bridge.sync.call_tool("add", "x" * 3_000, 1)
"""

TOOL_THAT_HANGS = """
import threading

import pytest

INSIDE = threading.Event()


@pytest.fixture
def bridge_tools():
    async def hang() -> None:
        import asyncio

        INSIDE.set()
        await asyncio.Event().wait()

    return [hang]


@pytest.mark.asyncio
async def test_leaves_a_call_running(bridge):
    import asyncio

    await bridge.initialize()
    call = asyncio.create_task(bridge.call_tool("hang"))
    assert await asyncio.to_thread(INSIDE.wait, 60)
    call.cancel()
"""

HEAVY = ("grpc", "google.protobuf", "pydantic", "anyio.from_thread", "grpc_tool_bridge.client.client")


NO_TOOLS = """
def test_without_tools_of_the_project_there_are_none(bridge):
    assert bridge.sync.initialize() == {}
"""


def run(pytester: pytest.Pytester, *, passed: int, **files: str) -> None:
    """Runs a project of these files by a pytest of its own, and sees that it prints no error and no warning."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")
    pytester.makepyfile(**files)
    result = pytester.runpytest_subprocess(*OPTIONS)
    result.assert_outcomes(passed=passed)
    result.stderr.no_fnmatch_line("*")


def test_tests_of_every_kind_use_the_bridge_in_one_run(pytester: pytest.Pytester) -> None:
    run(
        pytester,
        conftest=TOOLS,
        test_plain=PLAIN,
        test_async=PYTEST_ASYNCIO,
        test_shared=ONE_LOOP_FOR_ALL,
        test_anyio=ANYIO,
        passed=13,
    )


def test_a_project_sets_up_its_hub_and_a_hanging_tool_does_not_hold_up_the_end(pytester: pytest.Pytester) -> None:
    run(pytester, test_hang=TOOL_THAT_HANGS, test_none=NO_TOOLS, test_settings=TOOLS + SETTINGS, passed=3)


def test_the_examples_of_the_guide_pass(pytester: pytest.Pytester) -> None:
    found = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    conftest, plain, asynchronous, calls, settings, bare, alone, dependencies = found

    run(
        pytester,
        my_tools=TOOLS,
        conftest=conftest + settings,
        test_plain=plain,
        test_async=asynchronous,
        test_calls=calls,
        test_bare=bare,
        test_alone=alone,
        test_dependencies=dependencies,
        passed=9,
    )


def test_a_project_that_uses_no_fixture_imports_no_library_of_the_bridge(pytester: pytest.Pytester) -> None:
    check = f"import sys\n\ndef test_light():\n    assert [name for name in {HEAVY!r} if name in sys.modules] == []\n"
    pytester.makepyfile(test_light=check)

    # The plugins of other packages are left out: what they import is not ours.
    result = pytester.run(*PYTEST, "-W", "error", "-p", "no:anyio", "-p", "no:asyncio")

    result.assert_outcomes(passed=1)


def test_the_fixtures_are_listed_with_what_they_are_for(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures", *OPTIONS)

    own = ("bridge_tools", "bridge_settings", "bridge_server", "bridge", "bridge_recording", "recorded_bridge")
    for name in (*own, "bridge_agents", "bridge_redact", "bridge_lifespan", "tool_calls"):
        result.stdout.re_match_lines([rf"{name}\b.*pytest_plugin"])


RECORDED = """
import os

import pytest


@pytest.fixture
def bridge_tools():
    def add(a: int, b: int) -> int:
        return a + b

    def login(user: str) -> str:
        return f"hello {user}"

    return [add, login]


@pytest.fixture
def bridge_redact():
    return ["user"]


def test_add(recorded_bridge, bridge_recording):
    assert bridge_recording.is_recording == (os.environ["EXPECTED"] == "record")
    tools = recorded_bridge.sync.initialize()
    assert tools["add"](2, int(os.environ.get("B", "3"))) >= 5
    assert tools["login"]("robert") in {"hello robert", "hello [redacted]"}


@pytest.mark.parametrize("a", ["x/y", "../z"])
def test_names(bridge_recording, a):
    assert bridge_recording.path.parent.name == "test_recorded"
"""


def run_recorded(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *words: str, **environment: str) -> Any:
    for name in ("EXPECTED", "B"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return pytester.runpytest_subprocess(*OPTIONS, *words)


def test_a_hub_is_recorded_once_then_played_and_recorded_again_where_that_is_asked_for(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")
    pytester.makepyfile(test_recorded=RECORDED)
    path = pytester.path / "recordings" / "test_recorded" / "test_add.jsonl"

    missing = run_recorded(pytester, monkeypatch, "--bridge-record-mode=none", "-k", "test_add", EXPECTED="play")
    missing.assert_outcomes(errors=1)
    missing.stdout.fnmatch_lines(["*there is no recording *test_add.jsonl; run the test once with *"])

    run_recorded(pytester, monkeypatch, EXPECTED="record").assert_outcomes(passed=3)
    first = path.read_bytes()
    assert b"robert" not in first
    assert not list(pytester.path.parent.rglob("z*.jsonl"))

    run_recorded(pytester, monkeypatch, "--bridge-record-mode=none", EXPECTED="play").assert_outcomes(passed=3)

    other = run_recorded(pytester, monkeypatch, "-k", "test_add", EXPECTED="play", B="4")
    other.assert_outcomes(failed=1, errors=1)
    other.stdout.fnmatch_lines(["*b: recorded 3, called with 4*", "*(to record it again: --bridge-record-mode=all)*"])

    run_recorded(pytester, monkeypatch, "--bridge-record-mode=all", EXPECTED="record").assert_outcomes(passed=3)
    assert path.read_bytes() == first


def test_a_test_that_fails_while_it_records_leaves_no_recording(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_recorded=RECORDED)

    run_recorded(pytester, monkeypatch, "-k", "test_add", EXPECTED="record", B="0").assert_outcomes(failed=1)

    assert not list((pytester.path / "recordings").rglob("*.jsonl*"))
