"""A tool that fails again and again is held back, as its callers and operators see it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import urlopen

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolExecutionError, ToolWorker, tool
from support.patience import PATIENCE
from support.waiting import until

behaviour = {"fails": True}


@tool
async def search(query: str) -> str:
    if behaviour["fails"]:
        raise OSError("the index is gone")
    if query == "wrong":
        raise ValueError("no such field")
    return query


@tool
def stream_of(query: str) -> Iterator[str]:
    yield query
    if behaviour["fails"]:
        raise OSError("the index is gone")


@tool
async def ticks() -> AsyncIterator[int]:
    yield 1
    await asyncio.Event().wait()


@tool(limits={"timeout_ms": 100})
async def hang() -> None:
    await asyncio.Event().wait()


@tool(breaker={"failures": 0})
async def never() -> None:
    raise OSError("the index is gone")


@tool(breaker={"failures": 1, "seconds": 0.001})
async def soon() -> None:
    if behaviour["fails"]:
        raise OSError("the index is gone")


@tool(executor="process")
def die() -> None:
    os._exit(1)


TOOLS = [search, stream_of, ticks, hang, never, soon]


@pytest.fixture(params=["hub", "worker"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the tools run."""
    behaviour["fails"] = True
    return str(request.param)


@asynccontextmanager
async def calling(
    place: str = "hub", *, tools: Any = TOOLS, **settings: Any
) -> AsyncIterator[tuple[BridgeServer, GRPCToolBridge]]:
    made = Settings(**{"shutdown_grace": 0.0, "breaker_failures": 2, "breaker_seconds": 600.0, **settings})
    server = BridgeServer(tools=tools if place == "hub" else [], settings=made, http_address="127.0.0.1:0")
    async with server:
        worker = ToolWorker(server.address, tools=[] if place == "hub" else tools)
        async with worker, GRPCToolBridge(server.address) as bridge:
            await bridge.initialize("s")
            yield server, bridge


async def error_of(bridge: GRPCToolBridge, name: str, *args: Any) -> ToolExecutionError:
    with pytest.raises(ToolExecutionError) as caught:
        await bridge.tools[name](*args)
    return caught.value


async def test_a_tool_that_fails_again_and_again_is_refused_with_the_time_to_wait(place: str) -> None:
    async with calling(place) as (_, bridge):
        assert [(await error_of(bridge, "search", "q")).error_type for _ in range(2)] == ["OSError"] * 2
        behaviour["fails"] = False
        error = await error_of(bridge, "search", "q")
        assert (error.error_type, error.retryable, error.details["origin"]) == ("WorkerUnavailable", True, "bridge")
        assert "search has failed 2 times in a row, last with OSError, and is held back until" in error.message
        assert error.retry_after is not None
        assert 0 < error.retry_after <= 600
        # The others go on.
        assert await bridge.tools["stream_of"]("q") == ["q"]


async def test_it_is_off_unless_it_is_asked_for(place: str) -> None:
    async with calling(place, breaker_failures=0) as (server, bridge):
        assert {(await error_of(bridge, "search", "q")).error_type for _ in range(5)} == {"OSError"}
        assert server.hub.wrappers.counts() == {}


async def test_a_tool_says_for_itself_when_it_is_held_back(place: str) -> None:
    async with calling(place, breaker_failures=1) as (_, bridge):
        assert {(await error_of(bridge, "never")).error_type for _ in range(3)} == {"OSError"}
        await error_of(bridge, "soon")
        behaviour["fails"] = False
        # A call that tries it succeeds, so it is not held back any more.
        assert await bridge.execute_with_retry("soon") is None


async def test_what_a_caller_does_wrong_is_no_failure(place: str) -> None:
    behaviour["fails"] = False
    async with calling(place, breaker_failures=1) as (_, bridge):
        assert (await error_of(bridge, "search", 3)).error_type == "ValidationError"
        assert (await error_of(bridge, "search", "wrong")).error_type == "ValueError"
        with pytest.raises(ToolExecutionError):
            await bridge.tools["hang"].with_options(timeout=0.05)()
        call = asyncio.ensure_future(bridge.tools["hang"].with_options(timeout=PATIENCE)())
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert (await error_of(bridge, "hang")).error_type == "TimeoutError"
        # Only that one was the tool's own fault.
        assert (await error_of(bridge, "hang")).error_type == "WorkerUnavailable"
        assert await bridge.tools["search"]("q") == "q"


async def test_a_stream_that_fails_counts_and_one_whose_reader_leaves_does_not(place: str) -> None:
    async with calling(place) as (_, bridge):
        for _ in range(3):
            values = bridge.tools["ticks"].stream()
            assert await anext(values) == 1
            await values.aclose()
        assert [(await error_of(bridge, "stream_of", "q")).error_type for _ in range(3)] == [
            "OSError", "OSError", "WorkerUnavailable",
        ]  # fmt: skip


@pytest.mark.slow
async def test_a_process_that_dies_is_a_failure() -> None:
    async with calling(tools=[die], breaker_failures=1) as (_, bridge):
        assert "died" in (await error_of(bridge, "die")).message
        assert "held back" in (await error_of(bridge, "die")).message


async def test_a_tool_without_a_worker_has_not_failed() -> None:
    behaviour["fails"] = False
    async with calling("worker", tools=[], breaker_failures=1, worker_grace_period=0.0) as (server, bridge):
        tools = [search]
        async with ToolWorker(server.address, tools=tools, session_id="s"):
            await until(lambda: "search" in bridge.tools)
            proxy = bridge.tools["search"]
        with pytest.raises(ToolExecutionError):
            await proxy("q")
        async with ToolWorker(server.address, tools=tools, session_id="s"):
            assert await bridge.execute_with_retry("search", "q") == "q"


async def test_operators_see_it(place: str) -> None:
    async with calling(place, breaker_failures=1) as (server, bridge):
        await error_of(bridge, "search", "q")
        await error_of(bridge, "search", "q")
        metrics = await bridge.client.get_metrics("breaker.*")
        assert metrics["breaker.search.state"].string_value == "open"
        assert metrics["breaker.search.refused"].integer_value == 1
        page = await asyncio.to_thread(urlopen, f"http://{server.http_address}/metrics", timeout=PATIENCE)
        with page:
            text = page.read().decode()
        assert 'tool_bridge_tool_held_back{tool="search"} 1.0' in text
        assert 'tool_bridge_calls_held_back_total{tool="search"} 1.0' in text


async def test_the_command_line_shows_it() -> None:
    behaviour["fails"] = True
    async with calling(breaker_failures=1) as (server, bridge):
        await error_of(bridge, "search", "q")
        listed = await run(server, "tools")
        assert "held back until" in listed
        shown = json.loads(await run(server, "tools", "search", "--json"))
        assert shown["breaker"]["state"] == "open"
        assert "breaker" not in json.loads(await run(server, "tools", "stream_of", "--json"))
        assert "held back until" in await run(server, "tools", "search")


async def run(server: BridgeServer, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grpc_tool_bridge.cli", *words, "--address", server.address,
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
