"""The one fixture that runs a test over every transport."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, SessionConfig, Settings, ToolBridge, ToolWorker, tool
from integration.connections import PLACES, TRANSPORTS, Connect, Reach, RemoteBridge, World
from integration.transports_of_tests import those_for
from support.waiting import until


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test over every transport that has what it is about."""
    chosen = {name for mark in metafunc.definition.iter_markers("parametrize") for name in [mark.args[0]]}
    for fixture, ways in (("connect", list(TRANSPORTS)), ("reach", PLACES)):
        if fixture in metafunc.fixturenames and fixture not in chosen:
            metafunc.parametrize(fixture, those_for(metafunc.function, ways), indirect=True)


@pytest.fixture
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Starts hubs and opens bridges to them; afterwards nothing may be left running."""
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:

        async def connect(*tools: Any, config: SessionConfig | None = None, **settings: Any) -> World:
            settings = {"shutdown_grace": 0.0, "local_socket": request.param != "link", **settings}
            http = "127.0.0.1:0" if request.param.startswith("http") else None
            server = BridgeServer(tools=tools, settings=Settings(**settings), http_address=http)
            await stack.enter_async_context(server)
            world = World(server, request.param, stack)
            world.bridge = await world.attach(config=config)
            return world

        yield connect
    await until(lambda: not _left(before), f"for the end of {_left(before)}")


@pytest.fixture
async def reach(request: pytest.FixtureRequest) -> AsyncIterator[Reach]:
    """Offers functions in a hub, a worker or processes, and opens bridges to them."""
    async with AsyncExitStack() as stack:

        async def reach(*functions: Any, **settings: Any) -> ToolBridge:
            settings = {"shutdown_grace": 0.0, "local_socket": request.param != "link", **settings}
            offered = [tool(executor="process")(each) if request.param == "process" else each for each in functions]
            served = [] if request.param == "worker" else offered
            http = "127.0.0.1:0" if request.param.startswith("http") else None
            server = BridgeServer(tools=served, settings=Settings(**settings), http_address=http)
            await stack.enter_async_context(server)
            if request.param == "worker":
                worker = ToolWorker(server.address, tools=offered, settings=Settings(**settings))
                await stack.enter_async_context(worker)
            bridge = TRANSPORTS.get(request.param, TRANSPORTS["link"])(server)
            stack.push_async_callback(bridge.close)
            await bridge.initialize()
            await until(lambda: bridge.tools)
            return bridge

        made: Any = reach
        made.place = request.param
        yield made


@pytest.fixture(params=["rpc", "link"])
def remote_bridge(request: pytest.FixtureRequest) -> RemoteBridge:
    """Makes bridges of ``GRPCToolBridge``'s arguments, over plain RPC and over a link."""
    return partial(GRPCToolBridge, transport=request.param)


def _left(before: set["asyncio.Task[Any]"]) -> list["asyncio.Task[Any]"]:
    return [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()]
