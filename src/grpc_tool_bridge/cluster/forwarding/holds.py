"""The sessions that links of this hub use, wherever they are: none of them becomes idle while its client is linked."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.session import SessionHold
from grpc_tool_bridge.errors import SessionError, ToolBridgeError

# A third: one heartbeat may be lost.
_BEATS_PER_TIMEOUT = 3

# One hub that does not answer must not keep the sessions of the others from theirs.
_BEAT_SECONDS = 2.0


class ClusterHold:
    """Keeps one session from becoming idle for one link, at whichever hub it is.

    Attributes:
        here: The hold at this hub; None while the session is elsewhere.
        has_ended: Whether another hub has said that the session is no more.
    """

    __slots__ = ("_holds", "has_ended", "here", "session_id")

    def __init__(self, holds: "Holds", session_id: str) -> None:
        self._holds = holds
        self.session_id = session_id
        self.here: SessionHold | None = None
        self.has_ended = False

    @property
    def is_needed(self) -> bool:
        """Whether the session may still exist."""
        return not self.has_ended and (self.here is None or self.here.is_needed)

    def release(self) -> None:
        """Releases it."""
        if self.here is not None:
            self.here.release()
            self.here = None
        self._holds.released(self)


class Holds:
    """The holds of all links of a hub.

    Args:
        hub: The hub.
        beat: Sends a heartbeat for a session to the hub that has it; returns whether the session exists.
    """

    def __init__(self, hub: Hub, beat: Callable[[str], Awaitable[bool]]) -> None:
        self._hub = hub
        self._beat = beat
        self._of: dict[str, set[ClusterHold]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def hold(self, session_id: str) -> ClusterHold:
        """Holds a session that was just opened over a link."""
        hold = ClusterHold(self, session_id)
        self._of.setdefault(session_id, set()).add(hold)
        if session_id in self._hub.store:
            hold.here = self._hub.hold_session(session_id)
        return hold

    def released(self, hold: ClusterHold) -> None:
        """Forgets a hold."""
        of_session = self._of.get(hold.session_id)
        if of_session is not None:
            of_session.discard(hold)
            if not of_session:
                del self._of[hold.session_id]

    def adopted(self, session_id: str) -> None:
        """Holds a session here that came from another hub."""
        for hold in self._of.get(session_id, ()):
            with contextlib.suppress(SessionError):
                hold.here = self._hub.hold_session(session_id)

    def forgotten(self, session_id: str) -> None:
        """Notes that a session is no longer here."""
        for hold in self._of.get(session_id, ()):
            hold.here = None

    async def beat_forever(self) -> None:
        """Keeps the held sessions that are at other hubs alive, evenly over the time that they may be idle."""
        interval = self._hub.settings.session_idle_timeout / _BEATS_PER_TIMEOUT
        while True:
            elsewhere = [session_id for session_id in self._of if session_id not in self._hub.store]
            if not elsewhere:
                await asyncio.sleep(min(interval, 1.0))
                continue
            for session_id in elsewhere:
                await asyncio.sleep(interval / len(elsewhere) / 2)
                if session_id in self._of and session_id not in self._hub.store:
                    await self._keep(session_id)

    async def _keep(self, session_id: str) -> None:
        try:
            async with asyncio.timeout(_BEAT_SECONDS):
                exists = await self._beat(session_id)
        except (ToolBridgeError, TimeoutError):
            # Its hub may be gone; whoever takes it lets it be idle from then on.
            return
        for hold in () if exists else self._of.get(session_id, ()):
            hold.has_ended = True
        if not exists:
            self._of.pop(session_id, None)
