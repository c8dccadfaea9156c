"""On whose behalf a request of an MCP client is made.

All requests of a session share a client of the hub, whoever sends them. So the task that answers a request says who has
sent it, and what the client asks of the hub in that task is asked on his behalf.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from grpc_tool_bridge.gateway.mcp.sessions import Context
from grpc_tool_bridge.rpc.authentication import Principal

_caller: ContextVar[Principal | None] = ContextVar("mcp_caller", default=None)


def present_caller() -> Principal | None:
    """Returns on whose behalf the running task acts; None: the hub does not authenticate, or nobody has said."""
    return _caller.get()


def principal_of(context: Context) -> Principal | None:
    """Returns who has sent a request over HTTP."""
    return None if context.request is None else context.request.scope.get("principal")


@contextlib.contextmanager
def acting_for(principal: Principal | None) -> Iterator[None]:
    """Says on whose behalf the running task acts in the block."""
    token = _caller.set(principal)
    try:
        yield
    finally:
        _caller.reset(token)
