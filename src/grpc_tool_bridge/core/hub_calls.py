"""Calls as the hub has them."""

from typing import TYPE_CHECKING

from grpc_tool_bridge.errors import CallCancelledError, ToolBridgeError
from grpc_tool_bridge.running.calls import Call

if TYPE_CHECKING:
    from grpc_tool_bridge.core.registered import RegisteredTool
    from grpc_tool_bridge.core.sessions import Session
    from grpc_tool_bridge.core.workers import Worker


class HubCall(Call):
    """A call that the hub has let in.

    Attributes:
        session, tool: Whose call of what.
        root: The outermost call above it; None where it is that itself.
        below: Calls that run below it, of an outermost one.
        parent: The call whose tool made this one; None for a call from outside.
        worker: Who runs it now; None where that is the hub itself, or where it waits for a worker.
    """

    session: "Session"
    tool: "RegisteredTool"
    parent: "HubCall | None"
    root: "HubCall | None" = None
    below = 0
    worker: "Worker | None" = None


def session_ended(error: ToolBridgeError) -> CallCancelledError:
    """Makes the error for a call whose session ended while it ran."""
    return CallCancelledError(f"the call was cancelled: {error.message}")
