"""The links of this hub to all others, made anew for each life of it."""

import logging
from collections import Counter
from collections.abc import Callable

from grpc_tool_bridge.cluster.links.endpoint import OTHER_KEY, REFUSED, HubName, Serve
from grpc_tool_bridge.cluster.links.mailbox import Mailbox
from grpc_tool_bridge.cluster.links.peers import PeerLink, Peers
from grpc_tool_bridge.cluster.sessions.store import NatsStore
from grpc_tool_bridge.errors import ToolBridgeError, UnavailableError
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY

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

    Attributes:
        on_life: Called with the incarnation of each life, before there are links of it.
    """

    def __init__(
        self, store: NatsStore, name: str, serve: Serve, *, secret: bytes = b"", serves: object = None
    ) -> None:
        self._store = store
        self._name = name
        self._serve = serve
        self._secret = secret
        self._serves = serves
        self._peers: Peers | None = None
        self._incarnation = ""
        # Of former lives.
        self._counts: Counter[str] = Counter()
        self._callbacks: list[Callable[[PeerLink], None]] = []
        self.on_life: Callable[[str], None] = lambda _: None

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
        """Listens, and dials the other hubs; the store is open.

        Raises:
            ToolBridgeError: NATS cannot be reached.
        """
        store = self._store
        self._peers = Peers(store.bus, store.leases, serve=self._serve, secret=self._secret, serves=self._serves)
        for callback in self._callbacks:
            self._peers.on_linked(callback)
        await self._begin(self._peers)

    async def _begin(self, peers: Peers) -> None:
        incarnation = self._store.lease.incarnation
        self.on_life(incarnation)
        await peers.begin(HubName(incarnation, self._name))
        self._incarnation = incarnation

    async def follow(self) -> None:
        """Begins anew if the hub has begun another life."""
        peers = self._peers
        if peers is None or self._store.lease.incarnation == self._incarnation or not self._store.is_certain():
            return
        self._counts = self.counts()
        await peers.end("this hub has lost its lease, and begins anew")
        try:
            await self._begin(peers)
        except ToolBridgeError as error:
            self._incarnation = ""
            _log.warning("the links to other hubs cannot be made now: %s", error)

    # ----------------------------------------------------------------------------------------- for those who look

    def link_state(self, incarnation: str) -> tuple[str, str]:
        """Returns the state of the link to a hub, "linked", "connecting" or "refused", and why it is not linked."""
        link = self.get(incarnation)
        if link is None:
            return "connecting", "it is not dialled yet"
        if link.is_linked:
            return "linked", ""
        why = link.failure
        return ("refused" if any(word in why for word in (REFUSED, OTHER_KEY)) else "connecting"), why

    async def ask(self, incarnation: str, method: str, request: bytes, timeout: float, caller: str) -> bytes:
        """Makes a unary request to another hub, as ``HubDirectory.ask``."""
        link = self.get(incarnation)
        if link is None:
            raise UnavailableError("there is no link to that hub")
        metadata = {PRINCIPAL_KEY: caller} if caller else None
        return bytes(await link.call(method, request, timeout=timeout, metadata=metadata, waits=False))

    def counts(self) -> Counter[str]:
        """Returns what the mailboxes of all lives have counted, with "sent" and "received"."""
        mailbox = None if self._peers is None else self._peers.mailbox
        return self._counts + _counted(mailbox) if mailbox is not None else self._counts

    def stop_listening(self) -> None:
        """Accepts no further links: the hub is shutting down."""
        if self._peers is not None:
            self._peers.stop_listening()

    async def aclose(self) -> None:
        """Ends all links."""
        peers, self._peers = self._peers, None
        if peers is not None:
            await peers.end()


def _counted(mailbox: Mailbox) -> Counter[str]:
    return mailbox.counts + Counter(sent=mailbox.sent, received=mailbox.received)
