"""A hub, a network that fails, and a bridge that reaches the hub by a link through it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, suppress
from typing import Any, Protocol, Self

import grpc.aio
import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolBridge
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkCall, LinkFrame, LinkHello
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.testing import ToxicProxy
from support.waiting import soon, until


class Gate:
    """Tools that wait until they are let go, and count what became of them."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.go_on = asyncio.Event()

    async def work(self, value: int = 0) -> int:
        self.started += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return value

    async def stream(self, count: int = 1) -> AsyncIterator[int]:
        for number in range(count):
            yield number
        yield await self.work(count)

    async def running(self, count: int = 1) -> None:
        await until(lambda: self.started >= count, f"for {count} calls to begin")


async def echo(value: Any) -> Any:
    return value


class OverLink:
    """What a test of a link has.

    Args:
        server: The hub; it is started already.
        proxy: The network before it.
        stack: Closes what is made here.
    """

    bridge: GRPCToolBridge

    def __init__(self, server: BridgeServer, proxy: ToxicProxy, stack: AsyncExitStack) -> None:
        self.server = server
        self.hub = server.hub
        self.proxy = proxy
        self._stack = stack
        self._writer: ToolBridge | None = None

    @property
    def session_id(self) -> str:
        return self.bridge.client.require_session()

    @property
    def variables(self) -> Any:
        """The variables, as they are seen through the network."""
        return self.bridge.session_context

    async def writer(self) -> Any:
        """The variables of the same session, as a peer has them who never loses the hub."""
        if self._writer is None:
            self._writer = self.server.bridge(keep_session=True)
            self._stack.push_async_callback(self._writer.close)
            await self._writer.initialize(self.session_id)
        return self._writer.session_context

    def make_bridge(self, **options: Any) -> GRPCToolBridge:
        # What follows the tools is open all the time, and a test could not tell it from what it left behind.
        options.setdefault("follow_tools", False)
        bridge = GRPCToolBridge(self.proxy.address, **options)
        self._stack.push_async_callback(bridge.close)
        return bridge

    def lose(self) -> None:
        """Loses the link, and every further one until the network is restored."""
        self.proxy.refuse()
        self.proxy.cut()

    async def lost(self) -> None:
        """Loses the link, and waits until both ends know."""
        self.lose()
        await until(lambda: not self.bridge.client.is_linked and not self.links())

    def links(self) -> list[Any]:
        """The hub's ends of its links."""
        return list(self.server._server._links._links)

    async def restart(self, *tools: Any, **settings: Any) -> None:
        """Ends the hub, and begins another behind the same network."""
        await soon(self.server.stop(0))
        await self.replace(*tools, **settings)

    async def replace(self, *tools: Any, **settings: Any) -> None:
        """Begins another hub, to which further connections go."""
        settings.setdefault("shutdown_grace", 0.0)
        self.server = await self._stack.enter_async_context(BridgeServer(tools=tools, settings=Settings(**settings)))
        self.hub = self.server.hub
        self._writer = None
        self.proxy.target = self.server.address

    async def quiet(self) -> None:
        """Waits until the hub counts nothing any more, neither calls nor bytes of its links."""
        await until(lambda: not self.hub.admission.active and not any(map(_busy, self.hub.store.sessions())))
        await until(lambda: not any(map(_carries, self.links())))


class Connect(Protocol):
    """Starts a hub and opens the bridge to it."""

    def __call__(self, *tools: Any, options: dict[str, Any] | None = None, **settings: Any) -> Awaitable[OverLink]:
        """``tools`` and ``settings`` are the hub's, ``options`` the bridge's."""


@pytest.fixture
async def over_link() -> AsyncIterator[Connect]:
    """Starts hubs and opens bridges to them through a network; afterwards nothing may be left running."""
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:

        async def connect(*tools: Any, options: dict[str, Any] | None = None, **settings: Any) -> OverLink:
            settings.setdefault("shutdown_grace", 0.0)
            server = await stack.enter_async_context(BridgeServer(tools=tools, settings=Settings(**settings)))
            proxy = await stack.enter_async_context(ToxicProxy(server.address))
            world = OverLink(server, proxy, stack)
            world.bridge = world.make_bridge(**(options or {}))
            await world.bridge.initialize()
            return world

        yield connect
    await until(lambda: not _left(before), f"for the end of {_left(before)}")


class RawLink:
    """A link's frames, as a peer sends them who keeps to no rule.

    Args:
        address: The hub's.
        greet: Whether it says hello.
    """

    def __init__(self, address: str, *, greet: bool = True) -> None:
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            # A connection of its own.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self._channel = grpc.aio.insecure_channel(address, options=options)
        self.rpc: Any = self._channel.stream_stream(METHODS["Link"].path)()
        self._greet = greet
        self._envelopes: list[Envelope] = []

    async def __aenter__(self) -> Self:
        if self._greet:
            await self.send(Envelope(hello=LinkHello(protocol=1, peer="raw")))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def send(self, *envelopes: Envelope) -> None:
        await self.write(LinkFrame(envelopes=envelopes).SerializeToString())

    async def write(self, frame: bytes) -> None:
        await soon(self.rpc.write(frame))

    async def try_write(self, frame: bytes) -> None:
        """Sends a frame, unless the hub has ended the link meanwhile."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.write(frame)

    async def call(self, call_id: int, method: str, request: Any, **options: Any) -> None:
        """Calls, whatever the number."""
        await self.send(call_envelope(call_id, method, request, **options))

    async def receive(self) -> Envelope:
        """Returns what comes next, but for the hub's hello."""
        while not self._envelopes:
            frame = await soon(self.rpc.read())
            assert frame is not grpc.aio.EOF, f"the link ended: {await self.rpc.code()} {await self.rpc.details()}"
            self._envelopes += [e for e in LinkFrame.FromString(frame).envelopes if e.WhichOneof("kind") != "hello"]
        return self._envelopes.pop(0)

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """Reads until the hub has ended the link; returns how."""
        with suppress(grpc.aio.AioRpcError):
            while await soon(self.rpc.read()) is not grpc.aio.EOF:
                pass
        return await soon(self.rpc.code()), await soon(self.rpc.details())


def call_envelope(call_id: int, method: str, request: Any, **options: Any) -> Envelope:
    payload = request if isinstance(request, bytes) else request.SerializeToString()
    return Envelope(id=call_id, call=LinkCall(method=method, payload=payload, **options))


def _busy(session: Any) -> bool:
    return bool(session.active or session.watches or session.calls)


def _carries(hub_link: Any) -> bool:
    link = hub_link._link
    held = hub_link._server._pending
    return bool(link.incoming or link._inbox.bytes or link._inbox.assembled or link.waiting_bytes or held)


def _left(before: "set[asyncio.Task[Any]]") -> "list[asyncio.Task[Any]]":
    return [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()]
