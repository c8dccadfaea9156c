"""A hub and the ways to reach it: what every contract test runs over."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Protocol

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, SessionConfig, ToolBridge, ToolBridgeClient
from support.http_transport import NDJSON, SSE, HttpTransport
from support.waiting import until

# Makes a bridge as ``GRPCToolBridge`` does, over one of the transports that reach another process.
RemoteBridge = Callable[..., GRPCToolBridge]


def _over_http(server: BridgeServer, accept: str, **options: Any) -> ToolBridge:
    return ToolBridge(ToolBridgeClient(HttpTransport(server.http_address or "", accept)), **options)


# Of each transport, how a bridge to a hub is made; a transport more is a line more.
TRANSPORTS: Mapping[str, Callable[..., ToolBridge]] = {
    "local": lambda server, **options: server.bridge(**options),
    "grpc": lambda server, **options: GRPCToolBridge(server.address, transport="rpc", **options),
    # A hub whose only links go over gRPC, and one that has a local socket.
    "link": lambda server, **options: GRPCToolBridge(server.address, transport="link", **options),
    "socket": lambda server, **options: GRPCToolBridge(server.address, transport="socket", **options),
    "http": lambda server, **options: _over_http(server, SSE, **options),
    # Differs from the one before in its streams alone.
    "http lines": lambda server, **options: _over_http(server, NDJSON, **options),
}

# Where a tool may run that is called over them: in the hub, in a worker, in a process of the hub's.
PLACES = [*TRANSPORTS, "worker", "process"]


class World:
    """A hub that runs, and bridges to it over one transport.

    Args:
        server: The hub; it is started already.
        transport: One of ``TRANSPORTS``; kept for what cannot be the same over all.
        stack: Closes the bridges.
    """

    bridge: ToolBridge

    def __init__(self, server: BridgeServer, transport: str, stack: AsyncExitStack) -> None:
        self.server = server
        self.hub = server.hub
        self.transport = transport
        self._make = TRANSPORTS[transport]
        self._stack = stack

    @property
    def has_link(self) -> bool:
        """Whether all calls of a bridge share a link."""
        return self.transport in ("link", "socket")

    @property
    def tools(self) -> Mapping[str, Any]:
        """The tools of the first bridge."""
        return self.bridge.tools

    @property
    def session_id(self) -> str:
        """The id of the first bridge's session."""
        return self.bridge.client.require_session()

    @property
    def variables(self) -> Any:
        """The variables of the first bridge's session."""
        return self.bridge.session_context

    def make_bridge(self, **options: Any) -> ToolBridge:
        """Makes a bridge that has no session yet; the test closes it, or the end of the world does."""
        bridge = self._make(self.server, **options)
        self._stack.push_async_callback(bridge.close)
        return bridge

    async def attach(
        self,
        session_id: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        config: SessionConfig | None = None,
        **options: Any,
    ) -> ToolBridge:
        """Makes a bridge and opens its session."""
        bridge = self.make_bridge(**options)
        await bridge.initialize(session_id, metadata=metadata, config=config)
        return bridge

    async def leave_alone(self, bridge: ToolBridge | None = None) -> None:
        """Lets the session of a bridge be idle: no heartbeat, and no link that shows that somebody is there."""
        bridge = bridge or self.bridge
        await bridge._tasks.aclose()
        await bridge.client.close()

    async def active_operations(self, bridge: ToolBridge | None = None) -> int:
        """Asks the hub how many calls, streams and watches of a session it counts."""
        return (await (bridge or self.bridge).client.session_info()).active_operations

    async def quiet(self) -> None:
        """Waits until the hub counts no call any more, in its session and over all."""
        await until(lambda: not self.hub.admission.active and not any(map(_busy, self.hub.store.sessions())))
        if self.bridge.session_id in {session.id for session in self.hub.store.sessions()}:
            assert await self.active_operations() == 0
        assert (await self.bridge.client.get_metrics("hub.active_calls"))["hub.active_calls"].integer_value == 0


class Connect(Protocol):
    """Starts a hub and opens the first bridge to it."""

    def __call__(self, *tools: Any, config: SessionConfig | None = None, **settings: Any) -> Awaitable[World]:
        """``tools`` and ``settings`` are the hub's, ``config`` the first session's."""


class Reach(Protocol):
    """Offers functions where they run in one way or another, and opens a bridge to them."""

    place: str

    def __call__(self, *functions: Any, **settings: Any) -> Awaitable[ToolBridge]:
        """``settings`` are those of the hub and the worker."""


async def read(stream: AsyncIterator[Any], into: list[Any]) -> None:
    """Reads a stream to its end; what came before an error is in the list."""
    async for value in stream:
        into.append(value)  # noqa: PERF401 - a comprehension would lose the values before the error


def loop_threads() -> list[threading.Thread]:
    """The threads in which the loops of blocking bridges run; others of the process come and go."""
    return [thread for thread in threading.enumerate() if thread.name == "tool-bridge-sync"]


def _busy(session: Any) -> bool:
    return bool(session.active or session.watches or session.calls)
