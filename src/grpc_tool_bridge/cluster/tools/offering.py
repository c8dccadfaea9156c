"""Tells the other hubs which tools this hub runs itself, and how many calls of each; it is a worker of theirs.

What another hub offers is never offered on, so that a call makes one hop. Each hub is told all of it over each new
link, and from then on what has changed.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.workers.backend import backend_of, is_local
from grpc_tool_bridge.errors import ToolBridgeError, ToolCommunicationError, UnavailableError, error_from_info
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    RegisterToolsRequest,
    RegisterToolsResponse,
    StatusResponse,
    ToolSpec,
    UnregisterToolsRequest,
)
from grpc_tool_bridge.rpc.bounds import MAX_ITEMS, MAX_TEXTS, spec_pages
from grpc_tool_bridge.tools.tool_versions import exact_id, versioned

# Changes that come within this time are told together.
SETTLE_SECONDS = 0.02
# What could not be told is told again after this time, if nothing changes meanwhile.
RETRY_SECONDS = 2.0

_log = logging.getLogger(__name__)


class HubName(Protocol):
    """Which hub it is.

    Attributes:
        incarnation: Of this life of the hub.
        name: For people.
    """

    @property
    def incarnation(self) -> str:
        """Of this life of the hub."""

    @property
    def name(self) -> str:
        """For people."""


class Registrar(Protocol):
    """The link to another hub, over which tools are registered.

    Attributes:
        hub: The other hub.
    """

    @property
    def hub(self) -> HubName:
        """The other hub."""

    async def register(self, request: RegisterToolsRequest) -> RegisterToolsResponse:
        """Offers tools to the other hub; raises ToolBridgeError."""
        ...

    async def unregister(self, request: UnregisterToolsRequest) -> StatusResponse:
        """Withdraws tools from the other hub; raises ToolBridgeError."""
        ...


class Offer(NamedTuple):
    """A tool that this hub runs.

    Attributes:
        tool: The tool.
        limit: How many calls of another hub it takes.
    """

    tool: RegisteredTool
    limit: int


# A tool in the requests: the id of its session, or "", its id and its version.
Key = tuple[str, str, str]

Offers = Mapping[Key, Offer]


def worker_id_of(incarnation: str) -> str:
    """Returns the id by which a hub registers its tools at other hubs."""
    return f"hub:{incarnation}"


class Offering:
    """What this hub offers to the others.

    Args:
        hub: This hub.
        incarnation: Of this life of it; empty: see ``begin``.
    """

    def __init__(self, hub: Hub, incarnation: str = "") -> None:
        self._registry = hub.registry
        self._store = hub.store
        self._workers = hub.workers
        self._settings = hub.settings
        self._worker_id = worker_id_of(incarnation)
        self._peers: dict[str, _Peer] = {}
        # By session, the hub that owns it, for sessions that workers of this hub offer tools to.
        self._owners: dict[str, str] = {}
        self._tasks = TaskSet()
        self._changes = 0
        self._timer: asyncio.TimerHandle | None = None
        # What every hub is told; None: it has to be made.
        self._shared: dict[Key, Offer] | None = None
        # Called with each session whose owner was told that workers of this hub offer it no more tools.
        self.on_empty: Callable[[str], None] | None = None
        self._throttled = ThrottledLog(_log)
        self._registry.on_offers.append(self._changed)

    async def aclose(self) -> None:
        """Tells nothing more; what was told stays until the links end."""
        self._registry.on_offers.remove(self._changed)
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.aclose()

    def begin(self, incarnation: str) -> None:
        """Begins a life of the hub, before there are links of it."""
        self._worker_id = worker_id_of(incarnation)

    @property
    def room(self) -> int:
        """For how many further calls the workers of this hub have room, for the other hubs."""
        return sum(max(0, worker.capacity - worker.active) for worker in self._workers.workers() if not worker.gone)

    # ------------------------------------------------------------------------------------------- the other hubs

    def linked(self, link: Registrar) -> None:
        """Tells another hub everything over a new link, and from then on what changes."""
        incarnation = link.hub.incarnation
        peer = self._peers.get(incarnation)
        if peer is None:
            peer = self._peers[incarnation] = _Peer(link)
            self._tasks.spawn(self._keep_told(peer), f"offer tools to hub {link.hub.name}")
        peer.link = link
        peer.told.clear()
        peer.links += 1
        peer.wake.set()

    def gone(self, incarnation: str) -> None:
        """Forgets a hub whose lease is closed."""
        peer = self._peers.pop(incarnation, None)
        if peer is not None:
            peer.is_gone = True
            peer.wake.set()

    async def offer_session(self, session_id: str, owner: str) -> None:
        """Offers the tools that workers of this hub have for a session to the hub that owns it.

        Args:
            session_id: The session.
            owner: The incarnation of its owner.

        Raises:
            UnavailableError: There is no link to that hub now.
            ToolBridgeError: That hub refused a tool.
        """
        self._owners[session_id] = owner
        peer = self._peers.get(owner)
        if peer is None:
            raise UnavailableError(f"the hub that has session {session_id!r} cannot be reached; register again later")
        async with peer.lock:
            refused = await self._tell(peer)
        if session_id in refused:
            raise refused[session_id]

    def forget_session(self, session_id: str) -> None:
        """Offers nothing more for a session: it has ended or moved, and with it what its owner was told."""
        self._owners.pop(session_id, None)
        for peer in self._peers.values():
            for key in [key for key in peer.told if key[0] == session_id]:
                del peer.told[key]

    def sessions_of(self, incarnation: str) -> list[str]:
        """Returns the sessions that are offered tools at a hub."""
        return [session_id for session_id, owner in self._owners.items() if owner == incarnation]

    def tell_again(self, session_id: str, tool_id: str) -> None:
        """Tells the other hubs again of a tool that one of them has called in vain.

        Args:
            session_id: The session of the call.
            tool_id: As it was called.
        """
        for peer in self._peers.values():
            doubted = [key for key in peer.told if _is_called(key, session_id, tool_id)]
            if doubted:
                peer.doubted.update(doubted)
                peer.wake.set()

    # ------------------------------------------------------------------------------------------------ telling

    def _changed(self) -> None:
        self._shared = None
        self._changes += 1
        if self._timer is None and self._peers:
            self._timer = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._wake)

    def _wake(self) -> None:
        self._timer = None
        for peer in self._peers.values():
            peer.wake.set()

    async def _keep_told(self, peer: "_Peer") -> None:
        while True:
            await peer.wake.wait()
            if peer.is_gone:
                return
            peer.wake.clear()
            links = peer.links
            try:
                async with peer.lock:
                    await self._tell(peer)
            except ToolBridgeError as error:
                if isinstance(error, ToolCommunicationError | UnavailableError) and links != peer.links:
                    # All is told over the next link, which is there already.
                    continue
                name = peer.link.hub.name
                self._throttled.warning("hub %s was not told what this hub offers: %s; trying again", name, error)
                asyncio.get_running_loop().call_later(RETRY_SECONDS, peer.wake.set)

    async def _tell(self, peer: "_Peer") -> dict[str, ToolBridgeError]:
        """Tells a hub what has changed; returns the errors by the session of the tools that it refused.

        Raises:
            ToolBridgeError: The hub cannot be told, or refused tools of no session.
        """
        wanted, told, link, links = await self._wanted(peer), peer.told, peer.link, peer.links
        await self._withdraw(peer, wanted)
        new = {key: offer for key, offer in wanted.items() if told.get(key) != offer or key in peer.doubted}
        peer.doubted.clear()
        refused: dict[str, ToolBridgeError] = {}
        for request, keys in self._requests(new):
            response = await link.register(request)
            if response.HasField("error"):
                refused[request.session_id] = _error_of(response.error)
                if not request.session_id:
                    raise refused[""]
            if links == peer.links:
                # What was refused is tried again only when it has changed.
                told.update((key, new[key]) for key in keys)
        self._forget_empty(link.hub.incarnation)
        for session_id, error in refused.items():
            self._throttled.warning("hub %s refused tools of session %s: %s", link.hub.name, session_id, error)
        return refused

    async def _withdraw(self, peer: "_Peer", wanted: Offers) -> None:
        """Withdraws what a hub was told and is no longer offered, or is another tool now."""
        told, links = peer.told, peer.links
        gone = [key for key, offer in told.items() if key not in wanted or _is_another(offer, wanted[key])]
        for session_id, tool_ids in _by_session(gone):
            request = UnregisterToolsRequest(session_id=session_id, tool_ids=tool_ids, worker_id=self._worker_id)
            await peer.link.unregister(request)
        if links == peer.links:
            for key in gone:
                told.pop(key, None)

    def _forget_empty(self, incarnation: str) -> None:
        """Forgets the sessions of a hub for which there are no tools any more, now that it was told."""
        for session_id in self.sessions_of(incarnation):
            guest = self._store.guests.get(session_id)
            if guest is None or not (guest.tools and guest.tools.count):
                self._owners.pop(session_id)
                if self.on_empty is not None:
                    self.on_empty(session_id)

    async def _wanted(self, peer: "_Peer") -> dict[Key, Offer]:
        shared = self._shared
        if shared is None:
            changes, shared, turns = self._changes, {}, Turns()
            for tool in list(self._store.tools.all()):
                if is_local(tool):
                    shared[_key(tool)] = self._offer(tool)
                if turns.due:
                    await turns.give()
            if changes == self._changes:
                self._shared = shared
        wanted = dict(shared)
        for session_id in self.sessions_of(peer.link.hub.incarnation):
            guest = self._store.guests.get(session_id)
            for tool in guest.tools.all() if guest is not None and guest.tools else ():
                wanted[_key(tool)] = self._offer(tool)
        return wanted

    def _offer(self, tool: RegisteredTool) -> Offer:
        backend = backend_of(tool)
        limit = self._settings.max_link_calls
        if backend is not None:
            limit = min(limit, sum(worker.capacity for worker in backend.workers))
        if tool.limiter is not None:
            limit = min(limit, tool.limiter.capacity)
        return Offer(tool, limit)

    def _requests(self, new: Offers) -> Iterator[tuple[RegisterToolsRequest, list[Key]]]:
        """Yields the requests that register tools, and the tools in each of them."""
        groups: dict[tuple[str, int], list[ToolSpec]] = {}
        for (session_id, _, _), offer in new.items():
            groups.setdefault((session_id, offer.limit), []).append(offer.tool.spec)
        for (session_id, limit), specs in groups.items():
            for start in range(0, len(specs), MAX_ITEMS):
                for page in spec_pages(specs[start : start + MAX_ITEMS], self._settings.max_message_bytes):
                    request = RegisterToolsRequest(
                        session_id=session_id, tools=page, worker_id=self._worker_id, capacity=limit
                    )
                    yield request, [(session_id, spec.tool_id, spec.version) for spec in page]


class _Peer:
    """Another hub, and what it was told.

    Args:
        link: The link to it.
    """

    def __init__(self, link: Registrar) -> None:
        self.link = link
        self.links = 0
        self.told: dict[Key, Offer] = {}
        # What it may have forgotten.
        self.doubted: set[Key] = set()
        self.wake = asyncio.Event()
        self.lock = asyncio.Lock()
        self.is_gone = False


def _key(tool: RegisteredTool) -> Key:
    return tool.session_id, tool.id, tool.version


def _is_called(key: Key, session_id: str, tool_id: str) -> bool:
    return key[0] in ("", session_id) and tool_id in (key[1], versioned(key[1], key[2]))


def _is_another(told: Offer, wanted: Offer) -> bool:
    """Returns whether a tool has to be withdrawn before it is offered again: with another schema it is another."""
    return told.tool is not wanted.tool and told.tool.schema != wanted.tool.schema


def _by_session(keys: Iterable[Key]) -> Iterator[tuple[str, list[str]]]:
    """Yields the ids of tools by session, as many as a request may have."""
    groups: dict[str, list[str]] = {}
    for session_id, tool_id, version in keys:
        groups.setdefault(session_id, []).append(exact_id(tool_id, version))
    for session_id, tool_ids in groups.items():
        for start in range(0, len(tool_ids), MAX_TEXTS):
            yield session_id, tool_ids[start : start + MAX_TEXTS]


def _error_of(error: ErrorInfo) -> ToolBridgeError:
    return error_from_info(error)
