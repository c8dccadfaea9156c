"""Why sessions have ended, for those who come back to one."""

from collections import OrderedDict

from grpc_tool_bridge.errors import SessionExpiredError, SessionNotFoundError, ToolBridgeError, UnavailableError
from grpc_tool_bridge.rpc.bounds import shown


class EndedSessions:
    """The reasons of the last sessions that have ended.

    Args:
        most: How many are remembered.
    """

    __slots__ = ("_most", "_moved", "_why")

    def __init__(self, most: int) -> None:
        self._most = most
        # The earliest first.
        self._why: OrderedDict[str, str] = OrderedDict()
        # Sessions that another hub has now, and what whoever still looks for them here is told.
        self._moved: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._why)

    def remember(self, session_id: str, why: str) -> None:
        """Notes why a session has ended; empty: nothing is known of it."""
        self._moved.pop(session_id, None)
        if not why:
            self._why.pop(session_id, None)
            return
        self._why[session_id] = why
        while len(self._why) > self._most:
            self._why.popitem(last=False)

    def remember_moved(self, session_id: str, error: ToolBridgeError) -> None:
        """Notes that another hub has a session, for requests that were about to use it here."""
        self._moved[session_id] = error.message
        while len(self._moved) > self._most:
            self._moved.popitem(last=False)

    def forget(self, session_id: str) -> None:
        """Forgets that a session has ended or moved: there is one with its id again, or none anywhere."""
        self._why.pop(session_id, None)
        self._moved.pop(session_id, None)

    def moved_error(self, session_id: str) -> UnavailableError | None:
        """Returns the error for a request that was about to use a session here which has moved; None: it has not."""
        moved = self._moved.get(session_id)
        return None if moved is None else UnavailableError(moved)

    def error_of(self, session_id: str, *, is_ending: bool = False) -> ToolBridgeError:
        """Returns the error for a session that is not there.

        Args:
            session_id: The session.
            is_ending: Whether its end is on its way into the durable store.
        """
        if is_ending:
            return SessionExpiredError(
                f"session {session_id!r} is being removed and takes no new calls; start a new one"
            )
        why = self._why.get(session_id)
        if why is not None:
            return SessionExpiredError(f"session {session_id!r} has ended: {why}; start a new one")
        return no_session(session_id)


def no_session(session_id: str) -> SessionNotFoundError:
    """Returns the error for a session that is not there, or not for whoever asks."""
    return SessionNotFoundError(f"there is no session {shown(session_id)}; call InitializeSession first")
