"""The bridge as an MCP server."""

from typing import Any

from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions

from grpc_tool_bridge.gateway.mcp.sessions import SessionClients
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers

NAME = "grpc-tool-bridge"


def make_server(sessions: SessionClients, version: str) -> Server[Any]:
    """Makes the server that answers clients over any transport.

    Args:
        sessions: The sessions that the clients use.
        version: The package's.
    """
    tools = ToolHandlers(sessions)
    server: Server[Any] = Server(
        NAME, version=version, title="gRPC tool bridge", on_list_tools=tools.list_tools, on_call_tool=tools.call_tool
    )
    make_options = server.create_initialization_options

    def options(*_: Any, **__: Any) -> InitializationOptions:
        return make_options(NotificationOptions(tools_changed=True))

    server.create_initialization_options = options  # type: ignore[method-assign]
    return server
