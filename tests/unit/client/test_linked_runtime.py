"""What a worker's tool may ask of the hub."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from grpc_tool_bridge import (
    BridgeServer,
    ConflictError,
    DeadlineExceededError,
    GRPCToolBridge,
    NotFoundError,
    Settings,
    ToolContext,
    ToolExecutionError,
    ToolWorker,
)
from grpc_tool_bridge.client.linked_runtime import _OriginStub, _OriginTransport
from integration.connections import read
from support.waiting import soon, until

Run = Callable[..., Awaitable[Any]]


async def add(a: int, b: int) -> int:
    return a + b


async def fail() -> None:
    raise ValueError("no")


@pytest.fixture
async def server() -> AsyncIterator[BridgeServer]:
    async with BridgeServer(tools=[add, fail], settings=Settings(shutdown_grace=0)) as server:
        yield server
        await until(lambda: not server.hub.admission.active)


@pytest.fixture
async def bridge(server: BridgeServer) -> AsyncIterator[GRPCToolBridge]:
    async with GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        yield bridge


@pytest.fixture
def run(server: BridgeServer, bridge: GRPCToolBridge) -> Run:
    """Runs a function as a tool of a worker that has the others, too."""

    async def run(function: Callable[[ToolContext], Awaitable[Any]], *others: Any, timeout: float = 30) -> Any:
        async def asks(ctx: ToolContext) -> Any:
            return await function(ctx)

        async with ToolWorker(server.address, [asks, *others]):
            return await soon(bridge.client.tool("asks").with_options(timeout=timeout)())

    return run


async def test_a_tool_uses_the_variables_of_its_callers_session(run: Run, bridge: GRPCToolBridge) -> None:
    await bridge.session_context.set_variable("there", [1])

    async def ask(ctx: ToolContext) -> Any:
        revision = await ctx.set_variable("mine", {"a": 1})
        again = await ctx.set_variable("mine", 2, expected_revision=revision)
        assert again > revision
        with pytest.raises(ConflictError):
            await ctx.set_variable("mine", 3, expected_revision=revision)
        with pytest.raises(NotFoundError):
            await ctx.get_variable("nothing")
        names = [variable.name for variable in await ctx.list_variables("th")]
        value = await ctx.get_variable("there")
        await ctx.delete_variable("there")
        with pytest.raises(NotFoundError):
            await ctx.delete_variable("there")
        return [names, value]

    assert await run(ask) == [["there"], [1]]
    assert await bridge.session_context.get_variable("mine") == 2
    assert await bridge.session_context.get_variable("there", None) is None


async def test_a_tool_calls_others_and_gets_their_errors(run: Run) -> None:
    async def ask(ctx: ToolContext) -> Any:
        assert await ctx.call_tool("add", 1, b=2) == 3
        with pytest.raises(ToolExecutionError) as caught:
            await ctx.call_tool("fail")
        with pytest.raises(ToolExecutionError) as missing:
            await ctx.call_tool("nothing")
        return [caught.value.error_type, missing.value.error_type]

    assert await run(ask) == ["ValueError", "ToolNotFound"]


async def test_a_tool_streams_others_and_ends_them_where_it_leaves(run: Run) -> None:
    ended = asyncio.Event()

    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def ask(ctx: ToolContext) -> Any:
        values: list[int] = []
        await read(ctx.stream_tool("count", 3), into=values)
        stream: Any = ctx.stream_tool("endless")
        values.append(await anext(stream))
        await stream.aclose()
        await ended.wait()
        return values

    assert await run(ask, count, endless) == [0, 1, 2, 1]


async def test_a_tool_without_time_asks_nothing_more(run: Run) -> None:
    refused: list[str] = []

    async def ask(ctx: ToolContext) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for asked in (ctx.call_tool("add", 1, 2), anext(ctx.stream_tool("add", 1, 2))):
                try:
                    await asked
                except DeadlineExceededError as error:
                    refused.append(error.message)
            raise

    with pytest.raises(ToolExecutionError) as caught:
        await run(ask, timeout=0.1)
    assert caught.value.error_type == "TimeoutError"
    assert refused == ["asks has no time left for a request to the hub"] * 2


async def test_a_tool_that_was_answered_asks_nothing_more(server: BridgeServer, bridge: GRPCToolBridge) -> None:
    kept: list[ToolContext] = []

    async def asks(ctx: ToolContext) -> None:
        kept.append(ctx)

    async with ToolWorker(server.address, [asks]):
        await soon(bridge.client.tool("asks")())
        with pytest.raises(ToolExecutionError) as caught:
            await soon(kept[0].call_tool("add", 1, 2))
        assert caught.value.error_type == "Cancelled"


async def test_its_time_is_what_its_caller_left_it(run: Run) -> None:
    async def ask(ctx: ToolContext) -> float:
        began = time.monotonic()
        left = ctx.time_left()
        assert time.monotonic() - began < left
        return left

    assert 0 < await run(ask, timeout=5) <= 5


async def test_each_call_says_what_it_is_made_for() -> None:
    made: list[Any] = []

    class Stub:
        def ExecuteTool(self, request: Any, **options: Any) -> str:
            made.append((request, options))
            return "call"

    stub = _OriginStub(Stub(), 42)
    assert stub.ExecuteTool("request") == "call"
    assert made == [("request", {"metadata": (("tool-bridge-origin", "42"),)})]
    with pytest.raises(AttributeError, match="nothing"):
        _ = stub.nothing


async def test_its_link_is_there_and_stays_when_its_client_goes() -> None:
    transport = _OriginTransport(object(), 1, "here")
    await transport.connect(0)
    await transport.close()
    assert transport.is_linked
    assert transport.where == "here"
