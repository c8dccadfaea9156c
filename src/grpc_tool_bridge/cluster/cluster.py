"""A hub's part in a cluster: puts its store, its links to other hubs and its front together."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.certainty import Certainty
from grpc_tool_bridge.cluster.cut_off import CutOff, Links
from grpc_tool_bridge.cluster.front import ClusterHub
from grpc_tool_bridge.cluster.interfaces import Way
from grpc_tool_bridge.cluster.orphanage import Orphanage
from grpc_tool_bridge.cluster.own_links import OwnLinks
from grpc_tool_bridge.cluster.owned_hub import OwnedHub
from grpc_tool_bridge.cluster.owners import Owners
from grpc_tool_bridge.cluster.store import NatsStore
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.errors import UnavailableError, error_info
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.peers import peers_of

# How often it is looked whether this hub lives another life.
_LOOK_SECONDS = 0.1

# How long the others may take to learn that this hub takes nothing more.
_SETTLE_SECONDS = 2.0

# How long the others may take to be told something of this hub.
_ANNOUNCE_SECONDS = 2.0

# One link carries what all clients of a hub ask of another one, their watches included.
_MAX_LINK_CALLS = 200_000

_log = logging.getLogger(__name__)


class Cluster:
    """A hub's part in a cluster.

    Args:
        url: Where NATS is, such as ``nats://host:4222/CLUSTER``.
        settings: Of the hub.

    Attributes:
        store: The durable store of the hub.

    Raises:
        ValidationError: The URL is not valid.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self.name = settings.hub_name or socket.gethostname()
        self.store = NatsStore(url, info={"name": self.name, "version": version("grpc-tool-bridge")})
        self._settings = settings
        self._tasks = TaskSet()

    def attach(self, hub: Hub) -> ClusterHub:
        """Joins a hub to the cluster; returns what is to be served instead of it.

        Args:
            hub: The hub, whose durable store is ``store``.
        """
        store, settings = self.store, self._settings
        certainty = self._certainty = Certainty(store)
        hub.on_serving(certainty.changed)
        owned = OwnedHub(hub, certainty)
        of_peers = settings.model_copy(update={"max_link_calls": max(_MAX_LINK_CALLS, settings.max_link_calls)})
        self._served = LinkServer(owned, of_peers, peers_of(hub.memory, of_peers))
        secret = settings.secret_of_cluster() or ""
        self.links = OwnLinks(store, self.name, self._served.serve, secret=secret.encode())
        self.owners = Owners(hub, store, self.links, certainty)
        self.front = ClusterHub(hub, certainty, self.owners, _NoGuests())
        self._orphanage = Orphanage(store, self.owners, hub)
        store.on_lost(self._lost)
        self._hub = hub
        return self.front

    def _lost(self, session_ids: Sequence[str], why: str) -> None:
        for session_id in session_ids:
            self.front.forget(session_id, _moved(session_id, why))

    async def start(self, links: Links) -> None:
        """Listens for other hubs and dials them; the store is open.

        Args:
            links: Those of clients and workers, which are sent away while the hub is cut off.

        Raises:
            ToolBridgeError: NATS cannot be reached.
        """
        await self.links.open()
        self.front.start()
        self._tasks.spawn(self._look_always(), "lives of the hub")
        cut_off = CutOff(self._certainty, self.store.bus, links)
        self._tasks.spawn(cut_off.look_always(), "being cut off")
        self._tasks.spawn(self._orphanage.look_always(), "sessions without a hub")

    async def _look_always(self) -> None:
        while True:
            await self.links.follow()
            await asyncio.sleep(_LOOK_SECONDS)

    async def announce(self, **info: Any) -> None:
        """Tells the other hubs something of this one.

        Args:
            **info: Fields of ``HubRecord``, such as ``address``.
        """
        lease = self.store.lease
        lease.set(**info)
        # If NATS does not answer now, they are told with the next renewal.
        with contextlib.suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(_ANNOUNCE_SECONDS):
                await lease.update()

    async def hand_over(self) -> None:
        """Lets the other hubs take all sessions at once: the hub has drained, and is about to end."""
        await self._hub.settle_keys()
        for session in self._hub.store.sessions():
            self.front.forget(session.id, _moved(session.id, "its hub is shutting down"))
        # What others have passed on is answered first, so that they know that nothing of it has begun.
        await self._served.settle(_SETTLE_SECONDS)
        await self.store.hand_over()

    async def aclose(self, grace: float) -> None:
        """Leaves the cluster, before the store is closed: calls of peers get ``grace`` seconds to be answered."""
        await self._tasks.aclose()
        await self.front.aclose()
        self.links.stop_listening()
        await self._served.close(grace)
        await self.links.aclose()

    def abandon(self) -> None:
        """Gives it up in an event loop that has ended."""
        self._tasks.abandon()


class _NoGuests:
    """Runs no calls of other hubs; a ``Guests``."""

    def way_of(self, parent: Any) -> tuple[Way, Mapping[str, str]] | None:
        del parent
        return None

    async def register(self, link: Any, request: pb.RegisterToolsRequest) -> pb.RegisterToolsResponse:
        del link
        return pb.RegisterToolsResponse(error=error_info(_refusal(request.session_id)))

    async def unregister(self, link: Any, request: pb.UnregisterToolsRequest) -> pb.StatusResponse:
        del link
        return failed_status(_refusal(request.session_id))


def _moved(session_id: str, why: str) -> UnavailableError:
    return UnavailableError(f"session {session_id!r} moves to another hub: {why}; call again")


def _refusal(session_id: str) -> UnavailableError:
    return UnavailableError(f"session {session_id!r} is at another hub; register its tools there")
