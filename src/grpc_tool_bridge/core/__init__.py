"""The hub without its transports: sessions, tools, variables, and how a call is executed."""

from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sessions import SessionStore

__all__ = ["SessionStore", "ToolRegistry"]
