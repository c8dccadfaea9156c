"""Tools in other processes, as ordinary awaitable functions."""

from grpc_tool_bridge.client import GRPCToolBridge, ToolBridge, ToolBridgeClient
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.context import ToolContext
from grpc_tool_bridge.errors import (
    AccessError,
    AlreadyExistsError,
    CallCancelledError,
    ConflictError,
    DeadlineExceededError,
    InternalError,
    MessageTooLargeError,
    NotFoundError,
    ProtocolError,
    ResourceExhaustedError,
    SerializationError,
    SessionError,
    SessionExpiredError,
    SessionNotFoundError,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    ToolTimeoutError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ResourceLimits, SessionConfig, ToolSpec, ToolType
from grpc_tool_bridge.proxy import AsyncGRPCProxyTool, StreamingGRPCProxyTool
from grpc_tool_bridge.server import BridgeServer, LocalToolBridge
from grpc_tool_bridge.session_context import SessionContext, VariableChange
from grpc_tool_bridge.tools import Tool, tool
from grpc_tool_bridge.wire.values import deserialize_value, register_codec, serialize_value

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "AlreadyExistsError",
    "ArgumentSpec",
    "AsyncGRPCProxyTool",
    "BridgeServer",
    "CallCancelledError",
    "ConflictError",
    "DeadlineExceededError",
    "GRPCToolBridge",
    "InternalError",
    "LocalToolBridge",
    "MessageTooLargeError",
    "NotFoundError",
    "ProtocolError",
    "ResourceExhaustedError",
    "ResourceLimits",
    "SerializationError",
    "SessionConfig",
    "SessionContext",
    "SessionError",
    "SessionExpiredError",
    "SessionNotFoundError",
    "Settings",
    "StreamingGRPCProxyTool",
    "Tool",
    "ToolBridge",
    "ToolBridgeClient",
    "ToolBridgeError",
    "ToolCommunicationError",
    "ToolContext",
    "ToolExecutionError",
    "ToolSpec",
    "ToolTimeoutError",
    "ToolType",
    "UnavailableError",
    "ValidationError",
    "VariableChange",
    "deserialize_value",
    "register_codec",
    "serialize_value",
    "tool",
]
