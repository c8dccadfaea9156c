"""Tools in processes of their own, called through a hub."""

import asyncio
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolExecutionError, ToolTimeoutError, tool
from support.waiting import is_gone
from unit.runner import process_tools as made

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "process-tools.md"
TOOLS = [
    tool(executor="process")(function)
    for function in (made.hang, made.fail, made.die, made.count, made.swap, made.pid, made.use_context)
]


@pytest.fixture
async def hub() -> AsyncIterator[BridgeServer]:
    settings = Settings(max_processes=2, show_tracebacks=False, shutdown_grace=0)
    async with BridgeServer(address="127.0.0.1:0", tools=TOOLS, settings=settings) as hub:
        yield hub


@pytest.fixture
async def bridge(hub: BridgeServer) -> AsyncIterator[GRPCToolBridge]:
    async with GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize("session")
        yield bridge


async def settled(condition: Callable[[], bool]) -> None:
    """Waits until ``condition`` holds; the test's own time-out bounds it."""
    while not condition():
        await asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 0.005)


async def noted(note: Path) -> int:
    written: list[str] = []

    def is_written() -> bool:
        written[:] = note.read_text().split() if note.exists() else []
        return bool(written)

    await settled(is_written)
    return int(written[0])


async def hanging(bridge: GRPCToolBridge, note: Path) -> "tuple[asyncio.Task[Any], int]":
    """Begins a call that never ends, and gives its process."""
    task = asyncio.create_task(bridge.tools["hang"](str(note)))
    return task, await noted(note)


async def test_a_deadline_stops_the_tool_and_the_next_call_is_served(bridge: GRPCToolBridge, tmp_path: Path) -> None:
    note = tmp_path / "note"
    # A process is there, so that the deadline finds the tool at work and not on its way.
    await bridge.tools["pid"]()
    with pytest.raises(ToolTimeoutError):
        await bridge.tools["hang"].with_options(timeout=1)(str(note))
    pid = await noted(note)
    await settled(lambda: is_gone(pid))
    assert await bridge.tools["pid"]() != pid


async def test_a_caller_that_cancels_stops_the_tool(bridge: GRPCToolBridge, tmp_path: Path) -> None:
    task, pid = await hanging(bridge, tmp_path / "note")
    task.cancel()
    await asyncio.wait([task])
    await settled(lambda: is_gone(pid))


async def test_a_hub_that_stops_leaves_no_process(hub: BridgeServer, bridge: GRPCToolBridge, tmp_path: Path) -> None:
    task, pid = await hanging(bridge, tmp_path / "note")
    await hub.stop()
    assert is_gone(pid)
    task.cancel()
    await asyncio.wait([task])


async def test_errors_arrive_as_those_of_any_tool(bridge: GRPCToolBridge) -> None:
    with pytest.raises(ToolExecutionError, match="no room") as raised:
        await bridge.tools["fail"]("no room")
    assert (raised.value.error_type, raised.value.retryable, raised.value.remote_traceback) == ("BusyError", True, "")
    with pytest.raises(ToolExecutionError, match="argument 'text'") as refused:
        await bridge.tools["fail"](5)
    assert refused.value.error_type == "ValidationError"
    with pytest.raises(ToolExecutionError, match="exit code 3") as died:
        await bridge.tools["die"](3)
    assert died.value.error_type == "WorkerUnavailable"


async def test_values_streams_and_the_context_are_those_of_any_tool(bridge: GRPCToolBridge) -> None:
    tools = bridge.tools
    assert await tools["swap"]({"x": 5}, "red") == [2, 5, True]
    assert await tools["count"](3) == [0, 1, 2]
    assert [value async for value in tools["count"].stream(40)] == list(range(40))
    revision, got, missing, names, is_context, about = await tools["use_context"]()
    assert (got, missing, names, is_context) == ({"a": (1, 2)}, "d", ["v"], True)
    assert revision > 0
    assert about[:2] == ["session", "use_context"]


async def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    declared, _, served = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    waits = (
        "    async with BridgeServer(tools=[count_primes]):\n"
        "        await asyncio.Event().wait()  # until it is cancelled\n"
    )
    assert waits in served
    calls = (
        "    async with BridgeServer(tools=[count_primes]) as hub, GRPCToolBridge(hub.address) as bridge:\n"
        '        print(await (await bridge.initialize())["count_primes"](100))\n'
    )
    program = f"from grpc_tool_bridge import GRPCToolBridge\n{declared}{served.replace(waits, calls)}"
    program = program.replace("BridgeServer(", "BridgeServer(address='127.0.0.1:0', ")
    (tmp_path / "primes.py").write_text(program)
    pipe = asyncio.subprocess.PIPE
    ran = await asyncio.create_subprocess_exec(sys.executable, "primes.py", cwd=tmp_path, stdout=pipe, stderr=pipe)
    assert await ran.communicate() == (b"25\n", b"")
