"""A hub over streams that are not gRPC's: a toy over a socket pair carries calls, streams and cancellations."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.client.bridge import ToolBridge
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import ToolCommunicationError, ToolExecutionError
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.streams import Dialable, FrameStream
from grpc_tool_bridge.transport.link_stub import LinkTransport
from support.waiting import soon


class SocketStream(FrameStream):
    """Frames over a socket, each with its length before it."""

    peer = "a socket pair"

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes | None:
        try:
            size = int.from_bytes(await self._reader.readexactly(4), "little")
            return await self._reader.readexactly(size)
        except asyncio.IncompleteReadError:
            return None

    async def write(self, frame: bytes) -> None:
        self._writer.write(len(frame).to_bytes(4, "little") + frame)
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


class SocketPairs(Dialable):
    """An endpoint and the way to it: each dial makes a pair, whose other end the hub accepts."""

    where = "a socket pair"

    def __init__(self, links: LinkServer) -> None:
        self._links = links
        self.tasks = TaskSet()

    def open(self) -> "SocketPairs":
        return self

    async def dial(self) -> FrameStream:
        ours, theirs = [SocketStream(*await asyncio.open_connection(sock=end)) for end in socket.socketpair()]
        self.tasks.spawn(self._links.serve(theirs), "toy link")
        return ours

    async def close(self, *, stranded: bool = False) -> None:
        await self.tasks.aclose()


class Tools:
    """Tools of the hub.

    Attributes:
        started, cancelled: Set by the one that waits.
    """

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def add(self, a: int, b: int) -> int:
        return a + b

    async def fail(self) -> None:
        raise LookupError("it")

    async def count(self, until: int) -> AsyncIterator[str]:
        for number in range(until):
            yield str(number % 10) * 50_000

    async def wait(self) -> None:
        self.started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled.set()


@pytest.fixture
def tools() -> Tools:
    return Tools()


@pytest.fixture
def pairs_of(tools: Tools) -> SocketPairs:
    hub = Hub(Settings(), [tools.add, tools.fail, tools.count, tools.wait])
    return SocketPairs(LinkServer(hub, Settings()))


@pytest.fixture
async def bridge(pairs_of: SocketPairs) -> AsyncIterator[ToolBridge]:
    async with ToolBridge(ToolBridgeClient(LinkTransport(pairs_of))) as bridge:
        await soon(bridge.initialize())
        yield bridge


async def test_calls_and_their_errors_come_back(bridge: ToolBridge) -> None:
    assert await soon(bridge.tools["add"](1, 2)) == 3
    assert await soon(asyncio.gather(*(bridge.tools["add"](n, n) for n in range(100)))) == [2 * n for n in range(100)]
    with pytest.raises(ToolExecutionError, match="LookupError: it"):
        await soon(bridge.tools["fail"]())


async def test_a_stream_arrives_in_order_and_past_its_credit(bridge: ToolBridge) -> None:
    async with asyncio.timeout(10), contextlib.aclosing(bridge.tools["count"].stream(50)) as values:
        assert [value[:1] async for value in values] == [str(n % 10) for n in range(50)]


async def test_a_cancellation_reaches_the_tool(bridge: ToolBridge, tools: Tools) -> None:
    waiting = asyncio.create_task(bridge.tools["wait"]())
    await soon(tools.started.wait())
    waiting.cancel()
    await soon(tools.cancelled.wait())
    assert await soon(bridge.tools["add"](1, 2)) == 3


async def test_a_link_that_is_lost_fails_its_calls_and_the_next_one_has_those_that_come(
    bridge: ToolBridge, tools: Tools, pairs_of: SocketPairs
) -> None:
    waiting = asyncio.create_task(bridge.tools["wait"]())
    await soon(tools.started.wait())
    await pairs_of.tasks.aclose()
    with pytest.raises(ToolCommunicationError, match="the link to a socket pair was lost"):
        await soon(waiting)
    assert await soon(bridge.tools["add"](1, 2)) == 3
