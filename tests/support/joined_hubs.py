"""Hubs of one process that offer their tools to one another, without NATS: each dials each other over memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings
from grpc_tool_bridge.cluster.tools.guest_tools import GuestTools
from grpc_tool_bridge.cluster.tools.guests import Guests
from grpc_tool_bridge.cluster.tools.offering import Offering, worker_id_of
from grpc_tool_bridge.cluster.tools.peer_tools import PeerTools
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.workers.peer import PeerWorker
from grpc_tool_bridge.errors import SessionNotFoundError
from grpc_tool_bridge.link.dialer import DialledLink
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.memory import MemoryConnection
from grpc_tool_bridge.link.streams import Dialable
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.rpc.methods import METHODS, ORIGIN_KEY
from grpc_tool_bridge.transport.link_stub import LinkTransport
from support.waiting import until


@dataclass(frozen=True)
class Name:
    """Which hub it is."""

    incarnation: str

    @property
    def name(self) -> str:
        return self.incarnation


class PeerLink(LinkTransport):
    """The link to another hub: offers this hub's tools, and answers that hub's calls of them."""

    def __init__(self, hub: Name, serve: Any, guests: Guests, linked: Callable[["PeerLink"], None]) -> None:
        super().__init__(MemoryConnection(serve), dial_again=lambda _: True, serves=guests)
        self.hub = hub
        self._linked = linked

    async def _take_up(self, link: DialledLink, way: Dialable) -> None:
        await super()._take_up(link, way)
        if self.is_linked:
            self._linked(self)

    async def register(self, request: pb.RegisterToolsRequest) -> pb.RegisterToolsResponse:
        response: pb.RegisterToolsResponse = await self.stub.RegisterTools(request)
        return response

    async def unregister(self, request: pb.UnregisterToolsRequest) -> pb.StatusResponse:
        response: pb.StatusResponse = await self.stub.UnregisterTools(request)
        return response


class ForPeers:
    """What a hub serves to others: itself, but for their tools."""

    takes_large_calls = True

    def __init__(self, hub: Hub, tools: PeerTools) -> None:
        self._hub = hub
        self.register_tools, self.unregister_tools = tools.register_tools, tools.unregister_tools

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub, name)


def _nested(name: str) -> Any:
    attribute = METHODS[name].attribute

    async def unary(self: "Front", request: Any, context: RequestContext = LOCAL) -> Any:
        way = self.way_of(context)
        if way is None:
            function = getattr(self.hub, attribute)
            return await (function(request, context) if name == "ExecuteTool" else function(request))
        answer = await way[0].call(name, request.SerializeToString(), deadline=context.deadline, metadata=way[1])
        return METHODS[name].response.FromString(bytes(answer))

    return unary


class Front:
    """What a hub serves to its clients and workers: itself, but for what the tools of its workers ask for guests."""

    takes_large_calls = True

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.guests: Guests | None = None
        self.tools: GuestTools | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.hub, name)

    def attach(self, hub: Hub) -> "Front":
        """As of a recorder, which is served instead of the hub."""
        self.hub = hub
        return self

    async def aclose(self) -> None:
        """Nothing is open."""

    def way_of(self, context: Any) -> Any:
        assert self.guests is not None
        if context.parent is not None:
            return self.guests.way_of(context.parent)
        if ORIGIN_KEY in (getattr(context, "metadata", None) or ()):
            return self.guests.way_of(context.peer.parent_of(context))
        return None

    execute_tool = _nested("ExecuteTool")
    get_session_tools = _nested("GetSessionTools")
    get_session_variable = _nested("GetSessionVariable")
    set_session_variable = _nested("SetSessionVariable")

    async def stream_tool(self, request: Any, context: RequestContext = LOCAL) -> AsyncIterator[Any]:
        way = self.way_of(context)
        chunks = (
            self.hub.stream_tool(request, context)
            if way is None
            else way[0].stream("StreamTool", request.SerializeToString(), deadline=context.deadline, metadata=way[1])
        )
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    def register_tools(self, request: pb.RegisterToolsRequest, context: RequestContext = LOCAL) -> Any:
        if request.session_id and request.session_id not in self.hub.store._sessions:
            assert self.tools is not None
            return self.tools.register(context.peer, request)
        return self.hub.register_tools(request, context)

    def unregister_tools(self, request: pb.UnregisterToolsRequest, context: RequestContext = LOCAL) -> Any:
        if request.session_id in self.hub.store.guests:
            assert self.tools is not None
            return self.tools.unregister(context.peer, request)
        return self.hub.unregister_tools(request, context)


class JoinedHub:
    """One hub of several.

    Attributes:
        name: Its name, which is its incarnation too.
        server, hub: The hub.
        guests, offering, peer_tools, guest_tools: What makes it one of several.
        links: To the others, by name.
    """

    def __init__(self, name: str, tools: Iterable[Any], hubs: Mapping[str, "JoinedHub"], **settings: Any) -> None:
        self.name = name
        self._hubs = hubs
        # It is given the hub by the server, which then serves it.
        front: Any = Front(None)  # type: ignore[arg-type]
        self.server = BridgeServer(tools=tools, settings=Settings(**{"shutdown_grace": 0, **settings}), recorder=front)
        self.hub = self.server.hub
        self.offering = Offering(self.hub, name)
        self.guests = front.guests = Guests(self.hub, self.offering.tell_again)
        self.peer_tools = PeerTools(self.hub)
        self.guest_tools = front.tools = GuestTools(self.hub, self.guests, self.offering, self._owner_of)
        self.for_peers = LinkServer(ForPeers(self.hub, self.peer_tools), self.hub.settings)
        self.links: dict[str, PeerLink] = {}

    async def _owner_of(self, session_id: str) -> str:
        for name, other in self._hubs.items():
            if session_id in other.hub.store._sessions:
                return name
        raise SessionNotFoundError(f"there is no session {session_id}")

    async def dial(self, other: "JoinedHub") -> None:
        """Links to another hub, which then knows this hub's tools."""
        link = PeerLink(Name(other.name), other.for_peers.serve, self.guests, self.offering.linked)
        self.links[other.name] = link
        await link.connect(0)

    async def undial(self, name: str) -> None:
        """Ends the link to another hub, as if this one had died."""
        await self.links.pop(name).close()

    def peer(self, name: str) -> PeerWorker:
        """Returns another hub as this one knows it."""
        return next(peer for peer in self.hub.workers.peers() if peer.id == worker_id_of(name))

    async def knows(self, *names: str) -> None:
        """Waits until every session here sees tools with these names."""
        await until(lambda: set(names) <= self.hub.registry.by_name(None).keys(), f"for the tools {names}")

    def open_bridge(self) -> GRPCToolBridge:
        """Returns a bridge to it."""
        return GRPCToolBridge(self.server.address)

    async def aclose(self) -> None:
        """Ends what makes it one of several."""
        await asyncio.gather(*(link.close() for link in self.links.values()))
        await self.offering.aclose()
        await self.guest_tools.aclose()
        self.peer_tools.close()


@asynccontextmanager
async def joined_hubs(**tools: Iterable[Any] | Mapping[str, Any]) -> AsyncIterator[list[JoinedHub]]:
    """Runs hubs that are linked to one another.

    Args:
        tools: By name of the hub, its functions; or a mapping with "tools" and settings.
    """
    hubs: dict[str, JoinedHub] = {}
    async with AsyncExitStack() as stack:
        for name, given in tools.items():
            options = dict(given) if isinstance(given, Mapping) else {"tools": given}
            hubs[name] = JoinedHub(name, options.pop("tools", ()), hubs, **options)
            await stack.enter_async_context(hubs[name].server)
        for one in hubs.values():
            stack.push_async_callback(one.aclose)
            for other in hubs.values():
                if one is not other:
                    await one.dial(other)
        yield list(hubs.values())
