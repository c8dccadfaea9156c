"""The stub over a link beside the generated one: one body for both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import AsyncMock

import grpc
import grpc.aio
import pytest
from grpc.aio import AioRpcError

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolContext
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.client_stub import RpcTransport
from grpc_tool_bridge.transport.facts import read_facts
from grpc_tool_bridge.transport.link_stub import LinkStub
from grpc_tool_bridge.transport.link_transport import LinkTransport
from grpc_tool_bridge.transport.status import from_rpc_error
from grpc_tool_bridge.wire.methods import METHODS
from grpc_tool_bridge.wire.values import deserialize_value, pack_value

# Nothing here takes long, unless it is broken.
PATIENCE = 5.0

SESSION = "s"


class Desk:
    """A hub with tools, and a stub to it.

    Attributes:
        stub: What is tested.
        link: Whether it goes over a link.
        hub: Of the server.
        started, go, cancelled: Events of the tools.
    """

    def __init__(self, server: BridgeServer, transport: Any) -> None:
        self.transport = transport
        self.stub: Any = transport.stub
        self.link = isinstance(transport, LinkTransport)
        self.hub = server.hub
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.yielded = 0

    async def wait(self) -> str:
        """Waits until the test says so."""
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "gone"

    async def count(self, until: int, size: int = 1, pause_at: int = -1) -> AsyncIterator[str]:
        """Yields texts of ``size`` characters."""
        self.started.set()
        try:
            for number in range(until):
                if number == pause_at:
                    await self.go.wait()
                self.yielded += 1
                yield str(number % 10) * size
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise
        finally:
            self.cancelled.set()

    def call(self, tool: str, *args: Any, timeout_ms: int = 0, **options: Any) -> Any:
        """Begins a call of a tool."""
        request = pb.ToolCallRequest(session_id=SESSION, tool_id=tool, timeout_ms=timeout_ms)
        request.args.extend(pack_value(value) for value in args)
        return self.stub.ExecuteTool(request, **options)

    def stream(self, tool: str, *args: Any, timeout_ms: int = 0, **options: Any) -> Any:
        """Begins a stream of a tool."""
        request = pb.ToolStreamRequest(session_id=SESSION, tool_id=tool, timeout_ms=timeout_ms)
        request.args.extend(pack_value(value) for value in args)
        return self.stub.StreamTool(request, **options)


async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


async def fail() -> None:
    """Fails."""
    raise LookupError("it")


async def metadata_of(context: ToolContext) -> dict[str, str]:
    """Returns the metadata of its call."""
    return dict(context.metadata)


MakeDesk = Callable[..., Any]


@pytest.fixture(params=["rpc", "link"])
async def make_desk(request: pytest.FixtureRequest) -> AsyncIterator[MakeDesk]:
    """Starts hubs and makes stubs to them; afterwards no call may be left at a hub."""
    async with AsyncExitStack() as stack:

        async def make(**settings: Any) -> Desk:
            server = BridgeServer(settings=Settings(shutdown_grace=0, **settings))
            await stack.enter_async_context(server)
            connection = Connection(address=server.address, max_message_bytes=server.settings.max_message_bytes)
            transport = LinkTransport(connection) if request.param == "link" else RpcTransport(connection)
            stack.push_async_callback(transport.close)
            await transport.connect(PATIENCE)
            desk = Desk(server, transport)
            for tool in (add, fail, metadata_of, desk.wait, desk.count):
                server.hub.registry.add(tool)
            await desk.stub.InitializeSession(pb.InitializeSessionRequest(session_id=SESSION))
            return desk

        async with asyncio.timeout(4 * PATIENCE):
            yield make


@pytest.fixture
async def desk(make_desk: MakeDesk) -> Desk:
    made: Desk = await make_desk()
    return made


async def soon(awaitable: Any) -> Any:
    """Awaits what a working hub gives at once."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def test_probe(desk: Desk) -> None:
    print(await desk.call("add", 1, 2))
