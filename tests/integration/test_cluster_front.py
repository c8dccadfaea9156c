"""Hubs that are one bridge over NATS: a session is used at every hub, and outlives its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolContext, tool
from support.nats_nodes import NatsNode, one_node
from support.waiting import soon, until


@tool
def add(a: int, b: int) -> int:
    return a + b


@tool
async def count(up_to: int) -> AsyncIterator[int]:
    for number in range(up_to):
        yield number


@tool
async def remembers(ctx: ToolContext, value: int) -> int:
    await ctx.set_variable("kept", value)
    return value


TOOLS = [add, count, remembers]


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    with one_node() as started:
        yield started


class Hubs:
    """Hubs of one cluster in this process, by name."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._url = url
        self._stack = stack
        self.servers: dict[str, BridgeServer] = {}

    async def start(self, name: str, **settings: Any) -> BridgeServer:
        server = self.servers[name] = BridgeServer(
            tools=TOOLS, store=self._url, settings=Settings(hub_name=name, **settings)
        )
        await server.start()
        self._stack.push_async_callback(server.stop, 0)
        return server

    async def bridge(self, name: str, session_id: str) -> GRPCToolBridge:
        bridge = GRPCToolBridge(self.servers[name].address, keep_session=True)
        await bridge.initialize(session_id)
        self._stack.push_async_callback(bridge.close)
        return bridge


@pytest.fixture
async def hubs(node: NatsNode, request: pytest.FixtureRequest) -> AsyncIterator[Hubs]:
    import secrets

    async with AsyncExitStack() as stack:
        hubs = Hubs(f"{node.url}/t{secrets.token_hex(4)}", stack)
        for name in "ab":
            await hubs.start(name)
        yield hubs


async def test_a_session_made_at_one_hub_is_used_at_the_other(hubs: Hubs) -> None:
    here, there = await hubs.bridge("a", "s"), await hubs.bridge("b", "s")
    assert "s" in hubs.servers["a"].hub.store
    assert "s" not in hubs.servers["b"].hub.store
    await there.session_context.set_variable("x", [1, 2])
    assert await here.session_context.get_variable("x") == [1, 2]
    assert await there.tools["add"](1, 2) == 3
    assert [number async for number in there.stream_tool("count", 3)] == [0, 1, 2]
    assert await there.tools["remembers"](5) == 5
    assert await there.session_context.get_variable("kept") == 5


async def test_a_session_is_served_on_when_its_hub_was_stopped(hubs: Hubs) -> None:
    here, there = await hubs.bridge("a", "s"), await hubs.bridge("b", "s")
    await here.session_context.set_variable("x", 1)
    await hubs.servers["a"].stop(0)
    assert await soon(there.session_context.get_variable("x")) == 1
    assert await soon(there.tools["add"](1, 2)) == 3
    assert "s" in hubs.servers["b"].hub.store


async def test_the_calls_of_a_session_go_on_while_its_hub_is_stopped(hubs: Hubs) -> None:
    await hubs.bridge("a", "s")
    there = await hubs.bridge("b", "s")
    made = 0

    async def call_on() -> None:
        nonlocal made
        while True:
            assert await there.tools["add"](made, 1) == made + 1
            made += 1

    calling = asyncio.ensure_future(call_on())
    await until(lambda: made > 5)
    await hubs.servers["a"].stop()
    before = made
    await until(lambda: made > before + 5 or calling.done())
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
