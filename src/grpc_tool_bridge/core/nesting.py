"""The calls that tools make, and how many of them there may be."""

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.errors import CallCancelledError, ResourceExhaustedError, ValidationError

# Each nested call takes some ten frames of Python's stack, which has a thousand.
MAX_NESTED_CALLS = 32
# Nested calls take no permit of their session. This limits those that one call from outside has running.
MAX_DESCENDANTS = 10_000


def check_parent(parent: HubCall, session: Session, tool: RegisteredTool) -> None:
    """Refuses a call that the tool of another one may not make; raises ToolBridgeError."""
    if parent.over:
        raise CallCancelledError(f"{parent.tool.name} was cancelled or timed out, and cannot call further tools")
    if parent.session is not session:
        raise ValidationError(
            f"{tool.name}: a nested call must use the session {parent.session.id!r} of the call that makes it"
        )
    if parent.depth >= MAX_NESTED_CALLS:
        raise ValidationError(
            f"{tool.name}: calls are nested {MAX_NESTED_CALLS} deep, which is the limit; "
            "check whether a tool calls itself endlessly"
        )


def count_descendant(call: HubCall, root: HubCall) -> None:
    """Counts a call below its outermost one; raises ResourceExhaustedError if too many run there."""
    if root.descendants >= MAX_DESCENDANTS:
        call.uncharge()
        raise ResourceExhaustedError(
            f"{root.tool.name} has {root.descendants:,} nested calls running, which is the limit; "
            "check whether a tool calls itself many times"
        )
    root.descendants += 1
    call.root = root


def is_called_above(call: HubCall) -> bool:
    """Returns whether a call above one is of the same tool, and so has its permit."""
    above: HubCall | None = call.parent
    while above is not None:
        # Of a tool that has a limiter: whatever name it is called by, it is the same.
        if above.tool.limiter is call.tool.limiter:
            return True
        above = above.parent
    return False
