"""Which hub has a session, so that a request goes there, and sessions whose hub is gone are taken."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.forwarding.interfaces import Locator, PeerCalls
from grpc_tool_bridge.cluster.links.peers import PeerLink
from grpc_tool_bridge.cluster.members.certainty import Certainty
from grpc_tool_bridge.cluster.sessions.places import Ended, Mine, Missing, Orphan, Owned, Place
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.errors import ToolBridgeError, UnavailableError

# Owners that are remembered, at some hundred bytes each; beyond, the least recently used ones are read again.
MAX_KNOWN = 100_000

# A hub that is gone is known to be gone after its lease has run out and was closed, and a new link to one that is back
# takes as long; a request waits longer than that.
MAX_WAIT_SECONDS = 10.0

_FIRST_PAUSE, _LAST_PAUSE = 0.01, 0.25

_log = logging.getLogger(__name__)


class Owners:
    """Finds the owners of sessions.

    A session is looked for once at a time: others who need it wait for that.

    Args:
        hub: The hub of this process.
        locator: Reads who owns a session, and takes sessions.
        peers: The links to the other hubs.
        certainty: Says whether this hub owns what it has.

    Attributes:
        taken: How many sessions this hub has taken.
        on_adopted: Called with each of them once it is here.
    """

    def __init__(self, hub: Hub, locator: Locator, peers: PeerCalls, certainty: Certainty) -> None:
        self.taken = 0
        self.on_adopted: Callable[[Session], None] = lambda _: None
        self._hub = hub
        self._locator = locator
        self._peers = peers
        self._certainty = certainty
        # The incarnations of hubs, by session; the least recently used first.
        self._known: OrderedDict[str, str] = OrderedDict()
        self._finding: dict[str, asyncio.Task[Place | ToolBridgeError]] = {}
        self._tasks = TaskSet()

    async def aclose(self) -> None:
        """Stops looking."""
        await self._tasks.aclose()

    def is_here(self, session_id: str) -> bool:
        """Returns whether this hub has a session, and is certain that it owns it."""
        return session_id in self._hub.store and self._certainty.is_certain()

    def drop(self, session_id: str) -> None:
        """Forgets who owns a session: it is not there any more."""
        self._known.pop(session_id, None)

    async def find(self, session_id: str, deadline: float | None = None) -> PeerLink | None:
        """Finds the hub that has a session; takes the session if its owner is gone.

        Args:
            session_id: The session.
            deadline: When the caller stops waiting, on the monotonic clock; None: later than MAX_WAIT_SECONDS.

        Returns:
            The link to that hub; None if this hub has it, or if there is no such session.

        Raises:
            UnavailableError: Its owner cannot be reached, and may still have it; or this hub is cut off.
            StoreError: Who owns it cannot be read.
        """
        known = self._known.get(session_id)
        if known is not None:
            peer = self._linked(known)
            if peer is not None:
                self._known.move_to_end(session_id)
                return peer
            del self._known[session_id]
        end = time.monotonic() + MAX_WAIT_SECONDS
        end = end if deadline is None else min(end, deadline)
        for pause in _pauses():
            if session_id in self._hub.store:
                await self._certainty.wait(deadline)
                if session_id in self._hub.store:
                    return None
            place = await self._placed(session_id, end)
            if not isinstance(place, Owned):
                if not isinstance(place, Orphan):
                    return None
            elif (peer := self._linked(place.incarnation)) is not None:
                self._note(session_id, place.incarnation)
                return peer
            if time.monotonic() + pause >= end:
                raise self._unreachable(session_id, place)
            await asyncio.sleep(pause)
        raise AssertionError("_pauses() never ends")

    async def incarnation_of(self, session_id: str) -> str:
        """Returns the incarnation of the other hub that has a session.

        Raises:
            SessionError: There is no such session.
            UnavailableError: It is at this hub, or its hub cannot be reached.
        """
        peer = await self.find(session_id)
        if peer is not None:
            return peer.hub.incarnation
        self._hub.store.peek(session_id)
        raise UnavailableError(f"session {session_id[:256]!r} is at this hub now; register its tools again")

    def _linked(self, incarnation: str) -> PeerLink | None:
        peer = self._peers.get(incarnation)
        return peer if peer is not None and peer.is_linked else None

    def _note(self, session_id: str, incarnation: str) -> None:
        self._known[session_id] = incarnation
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _unreachable(self, session_id: str, place: Place) -> UnavailableError:
        if isinstance(place, Owned):
            why = "is at another hub, which this one cannot reach"
        else:
            why = "has no owner, and could not be taken"
        return UnavailableError(f"session {session_id[:256]!r} {why}; call again", details={"retry_after": "1"})

    async def _placed(self, session_id: str, end: float) -> Place:
        """Returns where a session is, after taking it if its owner is gone; Orphan: it could not be taken now."""
        finding = self._finding.get(session_id)
        if finding is None:
            finding = self._tasks.spawn(self._looked(session_id), "find a session")
            self._finding[session_id] = finding
            finding.add_done_callback(lambda _: self._finding.pop(session_id, None))
        # It goes on for the others, and for who calls again.
        await asyncio.wait([finding], timeout=max(0.0, end - time.monotonic()))
        if not finding.done():
            raise UnavailableError(
                f"who has session {session_id[:256]!r} was not found out in time; call again",
                details={"retry_after": "1"},
            )
        found = await finding
        if isinstance(found, ToolBridgeError):
            raise found
        return found

    async def _looked(self, session_id: str) -> Place | ToolBridgeError:
        """Returns where a session is, or the error for those who wait: it is no fault of this hub."""
        try:
            return await self._look(session_id)
        except ToolBridgeError as error:
            return error

    async def _look(self, session_id: str) -> Place:
        store = self._hub.store
        # Its beginning or its end may be on its way.
        await store.settle(session_id)
        if session_id in store:
            return Mine()
        place = await self._locator.locate(session_id)
        if isinstance(place, Ended):
            store.remember_ended(session_id, place.why)
            return place
        if isinstance(place, Missing):
            store.remember_ended(session_id, "")
        if isinstance(place, Owned | Missing):
            return place
        if session_id in store:
            return Mine()
        # What is this hub's and not in its memory was lost there.
        return await self._take(session_id)

    async def _take(self, session_id: str) -> Place:
        hub = self._hub
        if hub.admission.draining:
            return Orphan()
        await self._certainty.wait()
        stored = await self._locator.take(session_id)
        if stored is None:
            return Orphan()
        try:
            session = hub.adopt(stored)
        except BaseException:
            # Else this hub would own what it does not have, and nobody could take it.
            self._locator.forget(session_id)
            raise
        self.taken += 1
        # A hub that takes it next gives no revision again.
        await hub.store.revisions.reservation
        self.on_adopted(session)
        _log.debug("took session %s, whose hub is gone", session_id[:64])
        return Mine()


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LAST_PAUSE)
