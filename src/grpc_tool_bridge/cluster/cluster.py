"""A hub's part in a cluster: puts its store, its links to other hubs and its front together."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from nats.errors import Error

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.counting import Counting
from grpc_tool_bridge.cluster.directory import ClusterDirectory
from grpc_tool_bridge.cluster.forwarding.front import ClusterHub
from grpc_tool_bridge.cluster.forwarding.orphanage import Orphanage
from grpc_tool_bridge.cluster.forwarding.owned_hub import OwnedHub
from grpc_tool_bridge.cluster.forwarding.owners import Owners
from grpc_tool_bridge.cluster.links.own_links import OwnLinks
from grpc_tool_bridge.cluster.members.certainty import Certainty
from grpc_tool_bridge.cluster.members.cut_off import CutOff, Links
from grpc_tool_bridge.cluster.members.hub_record import HubRecord
from grpc_tool_bridge.cluster.members.leases import Change
from grpc_tool_bridge.cluster.micro import HubMicro
from grpc_tool_bridge.cluster.sessions.store import NatsStore
from grpc_tool_bridge.cluster.tools.guest_tools import GuestTools
from grpc_tool_bridge.cluster.tools.guests import Guests
from grpc_tool_bridge.cluster.tools.offering import Offering, worker_id_of
from grpc_tool_bridge.cluster.tools.peer_tools import PeerTools
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.interfaces import ValueSealer
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.link.listener import LinkServer
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
        sealer: Seals what is stored of secret variables; None: it is stored as it is.

    Attributes:
        store: The durable store of the hub.

    Raises:
        ValidationError: The URL is not valid.
    """

    def __init__(self, url: str, settings: Settings, sealer: ValueSealer | None = None) -> None:
        self.name = settings.hub_name or socket.gethostname()
        info = {"name": self.name, "version": version("grpc-tool-bridge")}
        self.store = NatsStore(url, info=info, sealer=sealer)
        self._settings = settings
        self._tasks = TaskSet()
        self._micro: HubMicro | None = None

    def attach(self, hub: Hub) -> ClusterHub:
        """Joins a hub to the cluster; returns what is to be served instead of it.

        Args:
            hub: The hub, whose durable store is ``store``.
        """
        store, settings = self.store, self._settings
        certainty = self._certainty = Certainty(store)
        hub.on_serving(certainty.changed)
        self._hub = hub
        self._offering = Offering(hub)
        self._peer_tools = PeerTools(hub)
        guests = Guests(hub, self._offering.tell_again)
        of_peers = settings.model_copy(update={"max_link_calls": max(_MAX_LINK_CALLS, settings.max_link_calls)})
        owned = OwnedHub(hub, certainty, self._peer_tools)
        self._served = LinkServer(owned, of_peers, peers_of(hub.memory, of_peers))
        secret = (settings.secret_of_cluster() or "").encode()
        self.links = OwnLinks(store, self.name, self._served.serve, secret=secret, serves=guests)
        self.links.on_life = self._offering.begin
        self.links.on_linked(self._offering.linked)
        self.owners = Owners(hub, store, self.links, certainty)
        self._guest_tools = GuestTools(hub, guests, self._offering, self.owners.incarnation_of)
        self.front = ClusterHub(hub, certainty, self.owners, guests, self._guest_tools)
        self._counting = Counting(store, self.links, self.front, guests)
        self._orphanage = Orphanage(store, self.owners, hub)
        store.on_lost(self._lost)
        return self.front

    def _lost(self, session_ids: Sequence[str], why: str) -> None:
        self._counting.note_lost(len(session_ids))
        for session_id in session_ids:
            self.front.forget(session_id, _moved(session_id, why))

    async def start(self, links: Links) -> None:
        """Listens for other hubs and dials them; the store is open.

        Args:
            links: Those of clients and workers, which are sent away while the hub is cut off.

        Raises:
            ToolBridgeError: NATS cannot be reached.
        """
        store, hub = self.store, self._hub
        store.leases.on_change(self._changed)
        hub.directory = ClusterDirectory(store.lease, store.leases, self.links, [self._counting.counts])
        await self.links.open()
        self._micro = HubMicro(store.bus.nc, store.bus.names.cluster, hub.hubs.own, hub.metrics.totals)
        try:
            await self._micro.start()
        except Error as error:
            raise UnavailableError(f"{self.store!r}: the connection to NATS was lost: {error}") from None
        self.front.start()
        self._tasks.spawn(self._look_always(), "lives of the hub")
        cut_off = CutOff(self._certainty, self.store.bus, links)
        self._tasks.spawn(cut_off.look_always(), "being cut off")
        self._tasks.spawn(self._orphanage.look_always(), "sessions without a hub")

    def _changed(self, record: HubRecord, change: str) -> None:
        """Takes notice of another hub."""
        if change == Change.CLOSED:
            self._offering.gone(record.incarnation)
            self._guest_tools.owner_gone(record.incarnation)
            self._orphanage.hub_gone()
        else:
            self._hub.workers.set_room(worker_id_of(record.incarnation), record.room)

    async def _look_always(self) -> None:
        while True:
            await self.links.follow()
            self.store.lease.set(room=self._offering.room, sessions=len(self._hub.store))
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
        await self._offering.aclose()
        await self._guest_tools.aclose()
        self._peer_tools.close()
        self.links.stop_listening()
        await self._served.close(grace)
        if self._micro is not None:
            await self._micro.aclose()
        await self.links.aclose()

    def abandon(self) -> None:
        """Gives it up in an event loop that has ended."""
        self._tasks.abandon()


def _moved(session_id: str, why: str) -> UnavailableError:
    return UnavailableError(f"session {session_id!r} moves to another hub: {why}; call again")
