"""The error of a request that came to a hub that does not have its session, or never came there."""

from grpc_tool_bridge.errors import ToolBridgeError, UnavailableError

# A detail of the error of a request for a session that is not, or no longer, here: nothing of it has begun.
ELSEWHERE = "elsewhere"


def elsewhere(session_id: str, why: str) -> UnavailableError:
    """Returns the error for a request that another hub passed on for a session that this one does not have."""
    return UnavailableError(f"session {session_id[:256]!r} {why}; call again", details={ELSEWHERE: "true"})


def is_elsewhere(error: ToolBridgeError) -> bool:
    """Returns whether an error says that a hub does not have the session, and that nothing has begun."""
    return isinstance(error, UnavailableError) and ELSEWHERE in error.details
