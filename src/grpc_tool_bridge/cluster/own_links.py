"""The links of this hub to all others, made anew for each life of it."""

import logging
from collections.abc import Callable

from grpc_tool_bridge.cluster.endpoint import HubName, Serve
from grpc_tool_bridge.cluster.mailbox import Mailbox
from grpc_tool_bridge.cluster.peers import PeerLink, Peers
from grpc_tool_bridge.cluster.sealing import ClusterKey, shared_secret
from grpc_tool_bridge.cluster.secret import StoredSecret
from grpc_tool_bridge.cluster.store import NatsStore
from grpc_tool_bridge.errors import ToolBridgeError

_log = logging.getLogger(__name__)


class OwnLinks:
    """Keeps the links of the present life of a hub.

    A life ends with its lease. The other hubs know each life by its incarnation, and so do the subjects of its links.

    Args:
        store: The hub's store, which has the connection and the leases.
        name: The hub's, for people.
        serve: Serves the links that others dial.
        secret: What the hubs are given to know each other by; empty: nothing besides what stands in the store.
        serves: Answers the calls of the hubs that this one dials; None: nothing does.
    """

    def __init__(
        self, store: NatsStore, name: str, serve: Serve, *, secret: bytes = b"", serves: object = None
    ) -> None:
        self._store = store
        self._name = name
        self._serve = serve
        self._secret = secret
        self._serves = serves
        self._key: ClusterKey | None = None
        self._mailbox: Mailbox | None = None
        self._peers: Peers | None = None
        self._incarnation = ""
        self._callbacks: list[Callable[[PeerLink], None]] = []

    def get(self, incarnation: str) -> PeerLink | None:
        """Returns the link to a hub; None if the hub is not known, or gone. It may not be up."""
        return None if self._peers is None else self._peers.get(incarnation)

    def links(self) -> list[PeerLink]:
        """Returns the links to all live hubs."""
        return [] if self._peers is None else self._peers.links()

    def on_linked(self, callback: Callable[[PeerLink], None]) -> None:
        """Calls back with each new link of this and of later lives."""
        self._callbacks.append(callback)
        if self._peers is not None:
            self._peers.on_linked(callback)

    async def open(self) -> None:
        """Listens, and dials the other hubs.

        Raises:
            ToolBridgeError: NATS cannot be reached.
        """
        bus = self._store.bus
        self._key = ClusterKey(await shared_secret(StoredSecret(bus)), self._secret)
        bus.on_state(self._connected)
        await self._begin()

    async def follow(self) -> None:
        """Begins anew if the hub has begun another life."""
        if self._key is None or self._store.incarnation == self._incarnation or not self._store.is_certain():
            return
        await self._end("this hub has lost its lease, and begins anew")
        try:
            await self._begin()
        except ToolBridgeError as error:
            self._incarnation = ""
            _log.warning("the links to other hubs cannot be made now: %s", error)

    async def _begin(self) -> None:
        store, key = self._store, self._key
        assert key is not None  # noqa: S101 - ``open`` has made it
        incarnation = store.incarnation
        mailbox = Mailbox(store.bus.nc, store.address.cluster, incarnation)
        await mailbox.open()
        self._mailbox, self._incarnation = mailbox, incarnation
        own = HubName(incarnation, self._name)
        self._peers = Peers(mailbox, key, own, store.leases, serve=self._serve, serves=self._serves)
        for callback in self._callbacks:
            self._peers.on_linked(callback)
        self._peers.open()

    def _connected(self, is_connected: bool) -> None:
        if self._mailbox is not None:
            self._mailbox.on_state(is_connected=is_connected)

    async def _end(self, why: str) -> None:
        peers, self._peers = self._peers, None
        mailbox, self._mailbox = self._mailbox, None
        if peers is not None:
            await peers.aclose(why)
        if mailbox is not None:
            await mailbox.aclose()

    def stop_listening(self) -> None:
        """Accepts no further links: the hub is shutting down."""
        if self._peers is not None:
            self._peers.stop_listening()

    async def aclose(self) -> None:
        """Ends all links."""
        self._key = None
        await self._end("this hub is shutting down")
