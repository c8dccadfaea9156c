"""Sessions whose beginning or end is on its way into a durable store."""

import contextlib
from collections.abc import Callable
from functools import partial

from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.core.writes import Write
from grpc_tool_bridge.errors import ToolBridgeError

# Called with the session, and None if it is stored, or the error.
Outcome = Callable[[Session, ToolBridgeError | None], None]


class SessionWrites:
    """The beginnings and ends of sessions that a durable store does not have yet.

    A session is there for others once it is stored, and until its end is: nobody sees what a crash could take back.

    Attributes:
        beginning: The sessions that are being stored, by id; nobody sees them.
        ending: The sessions whose end is being stored, by id; they are listed still, and take nothing more.
    """

    __slots__ = ("_writes", "beginning", "ending")

    def __init__(self) -> None:
        self.beginning: dict[str, Session] = {}
        self.ending: dict[str, Session] = {}
        self._writes: dict[str, Write] = {}

    def __len__(self) -> int:
        return len(self.beginning) + len(self.ending)

    def begin(self, durable: DurableStore, session: Session, stored: StoredSession, outcome: Outcome) -> Write:
        """Stores a new session; ``outcome`` is called once it is or cannot be, before any who wait continue."""
        self.beginning[session.id] = session
        try:
            write = durable.create_session(stored, partial(self._settled, self.beginning, session, outcome))
        except BaseException:
            # It has metadata that cannot be written.
            del self.beginning[session.id]
            raise
        return self._follow(self.beginning, session, write)

    def end(self, durable: DurableStore, session: Session, why: str, outcome: Outcome) -> Write:
        """Stores the end of a session; arguments as for ``begin``."""
        self.ending[session.id] = session
        write = durable.end_session(session.id, why, partial(self._settled, self.ending, session, outcome))
        return self._follow(self.ending, session, write)

    async def settle(self, session_id: str) -> None:
        """Waits until nothing of a session is on its way."""
        while (write := self._writes.get(session_id)) is not None:
            with contextlib.suppress(ToolBridgeError):
                await write

    def _follow(self, among: dict[str, Session], session: Session, write: Write) -> Write:
        # A store that is closed says so at once.
        if session.id in among:
            self._writes[session.id] = write
        return write

    def _settled(
        self, among: dict[str, Session], session: Session, outcome: Outcome, error: ToolBridgeError | None
    ) -> None:
        del among[session.id]
        self._writes.pop(session.id, None)
        outcome(session, error)
