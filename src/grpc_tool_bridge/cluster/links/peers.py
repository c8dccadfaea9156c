"""The links to all other hubs: dialled as hubs come, and whenever they are lost, until their leases are closed."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.links.endpoint import HubName, PeerEndpoint, PeerListener, Serve
from grpc_tool_bridge.cluster.links.mailbox import Mailbox
from grpc_tool_bridge.cluster.links.peer_calls import OnAsk, OnEvent, PeerCall, PeerLostError, Serialized
from grpc_tool_bridge.cluster.links.sealing import ClusterKey, shared_secret
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.link.dialer import Dialer, DialledLink
from grpc_tool_bridge.link.streams import Dialable
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    RegisterToolsRequest,
    RegisterToolsResponse,
    StatusResponse,
    UnregisterToolsRequest,
)
from grpc_tool_bridge.rpc.asks import ASK_PER_CALL_FEATURE
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.callers import PRINCIPAL_FEATURE

# Announced to the hub that is dialled: who dials is a hub.
HUB_FEATURE = "hub"

# For the registration of tools.
REGISTER_SECONDS = 20.0

_log = logging.getLogger(__name__)


class Member(Protocol):
    """What the book of leases has of a hub.

    Attributes:
        incarnation: Of this life of it.
        name: For people.
        closed: Why its lease was closed; empty: it is not.
    """

    @property
    def incarnation(self) -> str:
        """Of this life of it."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def closed(self) -> str:
        """Why its lease was closed; empty: it is not."""


class Members(Protocol):
    """The book of leases; ``Leases`` is one."""

    def hubs(self) -> Sequence[Member]:
        """Returns all hubs whose lease is not closed, including this one."""

    def get(self, incarnation: str, /) -> Member | None:
        """Returns what is known of a hub, even of one that is gone."""

    def on_change(self, listener: Callable[[Any, Any], None], /) -> None:
        """Has ``listener`` called with a hub that has joined, changed, or is closed, and which of these."""


class PeerLink:
    """The link to another hub that this one has dialled.

    Args:
        hub: The other hub.
        endpoint: The way to it.
        serves: Answers the other hub's calls of this hub's tools.
        features: Announced to the other hub, besides HUB_FEATURE.
        on_linked: Called with each new link.

    Attributes:
        hub: As given.
        gone: Why there will be no further link; empty: there may be.
    """

    def __init__(
        self,
        hub: HubName,
        endpoint: PeerEndpoint,
        *,
        serves: object,
        features: Iterable[str],
        on_linked: Callable[["PeerLink"], None],
    ) -> None:
        self.hub = hub
        self.gone = ""
        announced = (HUB_FEATURE, ASK_PER_CALL_FEATURE, PRINCIPAL_FEATURE, *features)
        self._dialer = _PeerDialer(endpoint, serves, announced, lambda: on_linked(self))

    def __repr__(self) -> str:
        return f"<PeerLink to hub {self.hub.name} {self.hub.incarnation}>"

    @property
    def is_linked(self) -> bool:
        """Whether there is a link now."""
        return self._dialer.is_linked

    @property
    def failure(self) -> str:
        """Why there is no link; empty if there is one, or if none was dialled."""
        return self.gone or self._dialer.failure

    @property
    def dialer(self) -> Dialer:
        """What keeps the link up."""
        return self._dialer

    async def connect(self, seconds: float) -> None:
        """Waits for the link, and keeps it up from now on.

        Raises:
            ToolBridgeError: There is none after ``seconds``.
        """
        await self._dialer.connect(seconds)

    # --------------------------------------------------------------------------------------------------- calling

    def start(self, call: PeerCall, payload: Payload, *, waits: bool = True) -> PeerCall:
        """Sends a call, whose answer or messages are then awaited.

        Args:
            call: The call.
            payload: The serialized request.
            waits: Whether it waits for a link, within its timeout, if there is none after a dial has failed.

        Returns:
            The call.

        Raises:
            MessageTooLargeError: The request is larger than a link carries.
        """
        call.why_gone = self._why_gone
        if self.gone:
            call.fail(PeerLostError(self.gone, began=False))
        elif not (isinstance(payload, bytes) and self._dialer.try_send_bytes(call, payload)):
            call.waits = waits
            left = call.time_remaining()
            if left is not None:
                # Nobody else looks at it while it waits for a link.
                call.limit(left)
            self._dialer.send_request(call, Serialized(payload))
        return call

    async def call(
        self,
        method: str,
        payload: Payload,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        on_event: OnEvent | None = None,
        on_ask: OnAsk | None = None,
        waits: bool = True,
    ) -> Payload:
        """Makes a unary call; cancelling the wait cancels the call.

        Args:
            method: Such as "ExecuteTool".
            payload: The serialized request.
            timeout: Its seconds; None: as the request says.
            metadata: Of the call.
            on_event: Called with what its tool reports.
            on_ask: Called with what its tool asks, and what takes the answer.
            waits: See ``start``.

        Returns:
            The serialized answer.

        Raises:
            PeerLostError: There is no link, or it was lost.
            DeadlineExceededError: There was no answer in time.
            ToolBridgeError: The other hub's error.
        """
        call = PeerCall(method, metadata=metadata, timeout=timeout, on_event=on_event, on_ask=on_ask)
        return await self.start(call, payload, waits=waits).answer()

    async def stream(
        self,
        method: str,
        payload: Payload,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        on_event: OnEvent | None = None,
        on_ask: OnAsk | None = None,
        waits: bool = True,
    ) -> AsyncGenerator[Payload, None]:
        """Makes a call with a stream of answers; closing the generator cancels it.

        Args:
            method: Such as "StreamTool".
            payload: The serialized request.
            timeout: Its seconds; None: as the request says.
            metadata: Of the call.
            on_event: Called with what its tool reports.
            on_ask: Called with what its tool asks, and what takes the answer.
            waits: See ``start``.

        Yields:
            Each serialized message; more are sent once it was taken.

        Raises:
            ToolBridgeError: See ``call``.
        """
        call = PeerCall(method, metadata=metadata, timeout=timeout, streaming=True, on_event=on_event, on_ask=on_ask)
        self.start(call, payload, waits=waits)
        try:
            while (message := await call.read()) is not None:
                yield message
                call.took(message)
        finally:
            # Does nothing if it has ended.
            call.cancel()

    async def register(self, request: RegisterToolsRequest) -> RegisterToolsResponse:
        """Offers tools of this hub to the other; raises as ``call`` does."""
        answer = await self.call("RegisterTools", request.SerializeToString(), timeout=REGISTER_SECONDS)
        return RegisterToolsResponse.FromString(bytes(answer))

    async def unregister(self, request: UnregisterToolsRequest) -> StatusResponse:
        """Withdraws tools of this hub from the other; raises as ``call`` does."""
        answer = await self.call("UnregisterTools", request.SerializeToString(), timeout=REGISTER_SECONDS)
        return StatusResponse.FromString(bytes(answer))

    async def drain(self, grace: float) -> None:
        """Tells the other hub to make no new calls, and waits at most ``grace`` seconds for those that it has made.

        Raises:
            ExpiredError: They have not ended in time.
        """
        await self._dialer.drain(grace)

    async def aclose(self, why: str) -> None:
        """Ends the link; its calls fail.

        Args:
            why: The reason, for those who wait for answers.
        """
        self.gone = why
        await self._dialer.close()

    def _why_gone(self) -> str:
        return self.gone


class _PeerDialer(Dialer):
    """Dials another hub again and again, whatever the error.

    Args:
        on_linked: Called with each link.
    """

    def __init__(
        self, endpoint: PeerEndpoint, serves: object, features: Iterable[str], on_linked: Callable[[], None]
    ) -> None:
        super().__init__(endpoint, dial_again=lambda _: True, serves=serves, features=features)
        self._on_linked = on_linked

    async def _take_up(self, link: DialledLink, way: Dialable) -> None:
        await super()._take_up(link, way)
        if self.is_linked:
            self._on_linked()


class Peers:
    """The links of a hub with all others: those that it dials, and those that it accepts.

    Args:
        bus: The connection to NATS; it is open before ``begin``.
        members: The book of leases.
        serve: Serves the links that others dial, as ``LinkServer.serve`` of a hub for peers does.
        secret: The setting ``cluster_secret``; empty: none is set.
        serves: An object with methods that answer the calls of the hubs that this one dials; None: there are none.
        features: Announced to the hubs that are dialled, besides HUB_FEATURE.

    Attributes:
        mailbox: What is received and sent, with what it counts; None between two lives.
    """

    def __init__(
        self,
        bus: Bus,
        members: Members,
        *,
        serve: Serve,
        secret: bytes = b"",
        serves: object = None,
        features: Iterable[str] = (),
    ) -> None:
        self.mailbox: Mailbox | None = None
        self._bus = bus
        self._members = members
        self._serve = serve
        self._secret = secret
        self._serves = serves
        self._features = tuple(features)
        self._key: ClusterKey | None = None
        self._life: _Life | None = None
        self._callbacks: list[Callable[[PeerLink], None]] = []
        bus.on_state(self._on_state)
        members.on_change(self._changed)

    async def begin(self, own: HubName) -> None:
        """Begins a life: accepts the links of other hubs, and dials them.

        Args:
            own: Which hub this is from now on.

        Raises:
            StoreError: The secret of the cluster cannot be read.
            ToolBridgeError: NATS cannot be reached.
        """
        if self._key is None:
            self._key = ClusterKey(await shared_secret(self._bus), self._secret)
        mailbox = Mailbox(self._bus.nc, self._bus.names, own.incarnation)
        life = _Life(mailbox, self._key, own, self._make_link)
        life.listener = PeerListener(mailbox, self._key, own, self._serve, refusal=self._refusal)
        await mailbox.open()
        self._life, self.mailbox = life, mailbox
        for member in self._members.hubs():
            self._changed(member, None)

    async def end(self, why: str = "this hub is shutting down") -> None:
        """Ends this life and all its links.

        Args:
            why: The reason, for those who wait for answers.
        """
        life, self._life, self.mailbox = self._life, None, None
        if life is not None:
            await life.aclose(why)

    def get(self, incarnation: str) -> PeerLink | None:
        """Returns the link to a hub; None if the hub is not known, or gone. It may not be up."""
        return None if self._life is None else self._life.links.get(incarnation)

    def links(self) -> list[PeerLink]:
        """Returns the links to all live hubs."""
        return [] if self._life is None else list(self._life.links.values())

    def on_linked(self, callback: Callable[[PeerLink], None]) -> None:
        """Calls back with each new link, and now with those that are up."""
        self._callbacks.append(callback)
        for link in self.links():
            if link.is_linked:
                callback(link)

    def stop_listening(self) -> None:
        """Accepts no further links: the hub is shutting down."""
        if self._life is not None and self._life.listener is not None:
            self._life.listener.stop_listening()

    # ------------------------------------------------------------------------------------------------ its members

    def _on_state(self, is_connected: bool) -> None:
        if self.mailbox is not None:
            self.mailbox.on_state(is_connected)

    def _refusal(self, incarnation: str) -> str | None:
        member = self._members.get(incarnation)
        return "its lease is closed; it begins anew with another one" if member is not None and member.closed else None

    def _changed(self, member: Member, _: object) -> None:
        life = self._life
        if life is None or member.incarnation == life.own.incarnation:
            return
        hub = HubName(member.incarnation, member.name)
        if member.closed:
            life.leave(hub, member.closed)
        else:
            life.dial(hub)

    def _make_link(self, hub: HubName, endpoint: PeerEndpoint) -> PeerLink:
        return PeerLink(hub, endpoint, serves=self._serves, features=self._features, on_linked=self._linked)

    def _linked(self, link: PeerLink) -> None:
        _log.info("linked to hub %s", link.hub.name)
        for callback in self._callbacks:
            callback(link)


class _Life:
    """What belongs to one incarnation of a hub.

    Attributes:
        links: By incarnation.
        listener: Accepts the others' links.
    """

    def __init__(
        self, mailbox: Mailbox, key: ClusterKey, own: HubName, make: Callable[[HubName, PeerEndpoint], PeerLink]
    ) -> None:
        self.own = own
        self.links: dict[str, PeerLink] = {}
        self.listener: PeerListener | None = None
        self._mailbox = mailbox
        self._key = key
        self._make = make
        self._tasks = TaskSet()

    def dial(self, hub: HubName) -> None:
        """Keeps a link to another hub, unless there is one."""
        if hub.incarnation not in self.links:
            endpoint = PeerEndpoint(self._mailbox, self._key, self.own, hub)
            link = self.links[hub.incarnation] = self._make(hub, endpoint)
            self._tasks.spawn(_keep(link), f"dial hub {hub.name}")

    def leave(self, hub: HubName, closed: str) -> None:
        """Ends all links with a hub whose lease was closed, and why."""
        why = f"hub {hub.name} is gone: {closed}"
        link = self.links.pop(hub.incarnation, None)
        if link is not None:
            link.gone = why
        self._mailbox.end_links(hub.incarnation, why)
        if link is not None:
            self._tasks.spawn(link.aclose(why), f"leave hub {hub.name}")

    async def aclose(self, why: str) -> None:
        """Ends all links."""
        links, self.links = list(self.links.values()), {}
        await asyncio.gather(*(link.aclose(why) for link in links))
        if self.listener is not None:
            await self.listener.aclose()
        await self._tasks.aclose()
        await self._mailbox.aclose()


async def _keep(link: PeerLink) -> None:
    """Dials for the first time; from then on the dialer keeps the link up by itself."""
    try:
        await link.connect(0)
    except ToolBridgeError as error:
        _log.debug("no link to hub %s yet: %s", link.hub.name, error.message)
