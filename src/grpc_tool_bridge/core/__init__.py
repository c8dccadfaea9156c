"""The hub without its transports: sessions, tools, variables and the one call path."""

from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sessions import SessionStore

__all__ = ["SessionStore", "ToolRegistry"]
