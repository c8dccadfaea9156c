"""Hubs of one process that are a cluster: they share a store in memory, and their links are in memory, too."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from grpc_tool_bridge import Settings, ToolBridge
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.cluster.forwarding.front import ClusterHub
from grpc_tool_bridge.cluster.forwarding.owned_hub import OwnedHub
from grpc_tool_bridge.cluster.forwarding.owners import Owners
from grpc_tool_bridge.cluster.links.endpoint import HubName
from grpc_tool_bridge.cluster.links.peers import PeerLink
from grpc_tool_bridge.cluster.members.certainty import Certainty
from grpc_tool_bridge.cluster.tools.peer_tools import PeerTools
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.memory import MemoryConnection
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.transport.link_stub import LinkTransport
from support.shared_store import Book, SharedStore


class NoGuests:
    """A hub that runs no calls of others; ``Guests`` and ``GuestTools``."""

    def __init__(self) -> None:
        self.registered: list[pb.RegisterToolsRequest] = []

    def way_of(self, parent: Any) -> None:
        del parent

    async def register(self, link: Any, request: pb.RegisterToolsRequest) -> pb.RegisterToolsResponse:
        del link
        self.registered.append(request)
        return pb.RegisterToolsResponse(success=True)

    async def unregister(self, link: Any, request: pb.UnregisterToolsRequest) -> pb.StatusResponse:
        del link, request
        return pb.StatusResponse(success=True)

    def adopted(self, session: Session) -> None:
        del session

    def forgot(self, session: Session) -> None:
        del session


class MemoryHub:
    """One hub of a cluster.

    Attributes:
        store, hub, front: Its parts.
    """

    def __init__(self, cluster: "MemoryCluster", name: str, tools: Iterable[Any], settings: Settings) -> None:
        self.name = name
        self.store = SharedStore(cluster.book, name)
        self.hub = Hub(settings, tools, durable=self.store)
        self.certainty = Certainty(self.store)
        self.hub.on_serving(self.certainty.changed)
        self.peers: dict[str, PeerLink] = {}
        self.owners = Owners(self.hub, self.store, self, self.certainty)
        self.guests = NoGuests()
        self.front = ClusterHub(self.hub, self.certainty, self.owners, self.guests, self.guests)
        self.store.on_lost(self._lost)
        self.owned = OwnedHub(self.hub, self.certainty, PeerTools(self.hub))
        self.for_peers = LinkServer(self.owned, settings)
        self.for_clients = LinkServer(self.front, settings)
        self._cluster = cluster
        self.bridges: list[ToolBridge] = []

    def get(self, incarnation: str) -> PeerLink | None:
        return self.peers.get(incarnation)

    def _lost(self, session_ids: Iterable[str], why: str) -> None:
        for session_id in session_ids:
            self.front.forget(session_id, UnavailableError(f"session {session_id!r} moved to another hub: {why}"))

    async def start(self) -> Self:
        await self.hub.restore()
        await self.hub.start()
        self.front.start()
        return self

    async def link_to(self, other: "MemoryHub") -> None:
        endpoint: Any = MemoryConnection(other.for_peers.serve)
        link = PeerLink(HubName(other.name, other.name), endpoint, serves=None, features=(), on_linked=lambda _: None)
        await link.connect(5)
        self.peers[other.name] = link

    async def bridge(self, session_id: str | None = None, **options: Any) -> ToolBridge:
        """Opens a session for a client that is linked to this hub."""
        transport = LinkTransport(MemoryConnection(self.for_clients.serve))
        bridge = ToolBridge(ToolBridgeClient(transport, **options), keep_session=True)
        self.bridges.append(bridge)
        await bridge.initialize(session_id)
        return bridge

    async def die(self) -> None:
        """Ends as a hub that was killed: nobody is told, and its lease is closed by others later."""
        self.store.certain = False
        for other in self._cluster.hubs.values():
            link = other.peers.pop(self.name, None)
            if link is not None:
                await link.aclose(f"hub {self.name} is gone")

    async def stop(self) -> None:
        for bridge in self.bridges:
            await bridge.close()
        for link in self.peers.values():
            await link.aclose("the test is over")
        await self.front.aclose()
        await self.hub.drain(0)
        await self.hub.aclose()


class MemoryCluster:
    """Hubs by name, each linked to all others; ``async with`` runs them.

    Args:
        names: The names of the hubs.
        tools: The tools that every hub has.
        settings: Of every hub.
    """

    def __init__(
        self,
        names: Iterable[str],
        tools: Iterable[Any] = (),
        settings: Settings | None = None,
        tools_of: Mapping[str, Iterable[Any]] | None = None,
    ) -> None:
        self.book = Book()
        tools, own = list(tools), tools_of or {}
        self.hubs = {
            name: MemoryHub(self, name, [*tools, *own.get(name, ())], settings or Settings()) for name in names
        }

    async def __aenter__(self) -> Self:
        for hub in self.hubs.values():
            await hub.start()
        for hub in self.hubs.values():
            for other in self.hubs.values():
                if other is not hub:
                    await hub.link_to(other)
        return self

    async def __aexit__(self, *_: object) -> None:
        for hub in self.hubs.values():
            await hub.stop()

    def __getitem__(self, name: str) -> MemoryHub:
        return self.hubs[name]
