"""The sessions of MCP clients at a hub in the same process."""

from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.client.local import LocalTransport
from grpc_tool_bridge.client.options import CallOptions
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.gateway.mcp.callers import present_caller
from grpc_tool_bridge.gateway.mcp.sessions import SHARED_SESSION, SessionClients, SessionKey


def sessions_of(hub: Hub) -> SessionClients:
    """Returns the open sessions of a hub's clients; none is open yet."""
    settings = hub.settings
    options = CallOptions(max_message_bytes=settings.max_message_bytes, max_message_nodes=settings.max_message_nodes)
    return SessionClients(
        lambda: ToolBridgeClient(LocalTransport(hub, present_caller), options=options),
        SessionKey(SHARED_SESSION),
        idle_timeout=settings.session_idle_timeout,
        most=settings.max_sessions,
        memory=hub.memory,
    )
