"""Processes for tools that hold too much memory, or that are old, as callers see them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolExecutionError, ToolWorker, tool
from grpc_tool_bridge.runner.memory import is_supported
from support.waiting import is_gone, until
from unit.runner import process_tools as made

MIB = 1024 * 1024
LIMIT = 200 * MIB
LARGE = 300 * MIB

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_supported(), reason="the system has no /proc")]

limited = tool(executor="process", limits={"max_memory_bytes": LIMIT})
plain = tool(executor="process")
TOOLS = [
    *(limited(each) for each in (made.hold, made.hold_in_a_child, made.hold_and_yield)),
    *(plain(each) for each in (made.keep, made.pid)),
]


@pytest.fixture(params=["hub", "worker"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the processes are."""
    return str(request.param)


@asynccontextmanager
async def calling(place: str = "hub", **settings: Any) -> AsyncIterator[tuple[BridgeServer, GRPCToolBridge]]:
    made_of = Settings(shutdown_grace=0.0, process_jitter=0.0, **settings)
    server = BridgeServer(tools=TOOLS if place == "hub" else [], settings=made_of)
    async with server:
        worker = ToolWorker(server.address, tools=[] if place == "hub" else TOOLS, settings=made_of)
        async with worker, GRPCToolBridge(server.address) as bridge:
            await bridge.initialize("s")
            yield server, bridge


def replaced(server: BridgeServer) -> int:
    return server.hub.executor.processes_replaced


async def test_a_tool_that_holds_too_much_is_killed_and_the_hub_goes_on(place: str, tmp_path: Path) -> None:
    async with calling(place, max_processes=1) as (_, bridge):
        note = tmp_path / "note"
        with pytest.raises(ToolExecutionError) as caught:
            await bridge.tools["hold"](LARGE, note)
        error = caught.value
        assert (error.error_type, error.details["origin"]) == ("ResourceExhausted", "bridge")
        assert error.details["max_memory_bytes"] == str(LIMIT)
        assert int(error.details["held_bytes"]) > LIMIT
        assert f"its limit is {LIMIT:,} (max_memory_bytes), so it was killed" in error.message
        pid = await bridge.tools["pid"]()
        assert pid != os.getpid()
        if note.exists():
            await until(lambda: is_gone(int(note.read_text())))


async def test_what_its_children_hold_counts_and_so_does_what_a_stream_holds() -> None:
    async with calling(max_processes=1) as (_, bridge):
        with pytest.raises(ToolExecutionError) as caught:
            await bridge.tools["hold_in_a_child"](LARGE)
        assert caught.value.error_type == "ResourceExhausted"
        values = bridge.tools["hold_and_yield"].stream(LARGE)
        assert await anext(values) == 1
        with pytest.raises(ToolExecutionError) as caught:
            await anext(values)
        assert caught.value.error_type == "ResourceExhausted"


async def test_a_tool_within_its_limit_is_left_alone(tmp_path: Path) -> None:
    async with calling(max_processes=1) as (server, bridge):
        call = asyncio.ensure_future(bridge.tools["hold"](MIB, tmp_path / "note"))
        await until((tmp_path / "note").exists)
        await asyncio.sleep(0)
        assert not call.done()
        call.cancel()
        await until(lambda: server.hub.executor.processes_busy == 0)


async def test_processes_are_replaced_after_some_calls_and_no_call_is_lost(place: str) -> None:
    async with calling(place, max_processes=2, max_process_calls=20) as (server, bridge):
        pids: set[int] = set()

        async def call() -> None:
            # Any error would fail the test.
            while len(pids) < 4:
                pids.add(await bridge.tools["pid"]())

        await asyncio.gather(*(call() for _ in range(4)))
        if place == "hub":
            assert replaced(server) >= 2
        await until(lambda: sum(not is_gone(pid) for pid in pids) <= 3)


async def test_the_next_process_is_ready_before_the_old_one_ends() -> None:
    async with calling(max_processes=1, max_process_calls=3) as (server, bridge):
        pids = [await bridge.tools["pid"]() for _ in range(3)]
        await until(lambda: replaced(server) == 1)
        assert len(set(pids)) == 1
        assert await bridge.tools["pid"]() != pids[0]


async def test_a_process_that_keeps_too_much_is_replaced() -> None:
    async with calling(max_processes=1, max_process_bytes=LIMIT) as (server, bridge):
        first = await bridge.tools["keep"](1)
        assert await bridge.tools["keep"](LARGE) == first
        await until(lambda: replaced(server) == 1)
        await until(lambda: is_gone(first))
        assert await bridge.tools["keep"](1) != first


async def test_a_process_that_is_old_is_replaced() -> None:
    async with calling(max_processes=1, max_process_seconds=0.001) as (server, bridge):
        first = await bridge.tools["pid"]()
        await until(lambda: replaced(server) == 1)
        assert await bridge.tools["pid"]() != first


async def test_without_a_limit_processes_are_kept() -> None:
    async with calling(max_processes=1) as (server, bridge):
        assert len({await bridge.tools["pid"]() for _ in range(50)}) == 1
        assert replaced(server) == 0
