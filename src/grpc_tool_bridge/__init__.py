"""Tools in other processes, as ordinary awaitable functions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grpc_tool_bridge.client.admin import CallStatus, HubEvent
    from grpc_tool_bridge.client.bridge import GRPCToolBridge, ToolBridge
    from grpc_tool_bridge.client.client import ToolBridgeClient
    from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool, StreamingGRPCProxyTool
    from grpc_tool_bridge.client.variables import SessionContext, VariableChange
    from grpc_tool_bridge.config import Settings
    from grpc_tool_bridge.errors import (
        AccessError,
        AlreadyExistsError,
        ArgumentTypeError,
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
        UnimplementedError,
        ValidationError,
    )
    from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ResourceLimits, SessionConfig, ToolSpec, ToolType
    from grpc_tool_bridge.rpc.authentication import Principal
    from grpc_tool_bridge.server import BridgeServer, LocalToolBridge
    from grpc_tool_bridge.tools.context import ToolContext
    from grpc_tool_bridge.tools.depends import Depends
    from grpc_tool_bridge.tools.media import Audio, Image, Resource, ResourceLink
    from grpc_tool_bridge.tools.middleware import CallNext, Middleware, ToolCall
    from grpc_tool_bridge.tools.pipelines import pipeline
    from grpc_tool_bridge.tools.questions import Answer, Question
    from grpc_tool_bridge.tools.steps import each, parallel, step
    from grpc_tool_bridge.tools.tool import Tool, tool
    from grpc_tool_bridge.tools.toolset import Toolset
    from grpc_tool_bridge.tools.variable import Variable
    from grpc_tool_bridge.values.serialization import deserialize_value, register_codec, serialize_value
    from grpc_tool_bridge.worker.worker import ToolWorker

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "AlreadyExistsError",
    "Answer",
    "ArgumentSpec",
    "ArgumentTypeError",
    "AsyncGRPCProxyTool",
    "Audio",
    "BridgeServer",
    "CallCancelledError",
    "CallNext",
    "CallStatus",
    "ConflictError",
    "DeadlineExceededError",
    "Depends",
    "GRPCToolBridge",
    "HubEvent",
    "Image",
    "InternalError",
    "LocalToolBridge",
    "MessageTooLargeError",
    "Middleware",
    "NotFoundError",
    "Principal",
    "ProtocolError",
    "Question",
    "Resource",
    "ResourceExhaustedError",
    "ResourceLimits",
    "ResourceLink",
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
    "ToolCall",
    "ToolCommunicationError",
    "ToolContext",
    "ToolExecutionError",
    "ToolSpec",
    "ToolTimeoutError",
    "ToolType",
    "ToolWorker",
    "Toolset",
    "UnavailableError",
    "UnimplementedError",
    "ValidationError",
    "Variable",
    "VariableChange",
    "deserialize_value",
    "each",
    "parallel",
    "pipeline",
    "register_codec",
    "serialize_value",
    "step",
    "tool",
]

if not TYPE_CHECKING:
    # Where each name is. It is imported when it is first used, because importing all takes a second, and pytest loads
    # the plugin of every installed package.
    _NAMES = {
        "client.admin": "CallStatus HubEvent",
        "client.bridge": "GRPCToolBridge ToolBridge",
        "client.client": "ToolBridgeClient",
        "client.proxy": "AsyncGRPCProxyTool StreamingGRPCProxyTool",
        "client.variables": "SessionContext VariableChange",
        "config": "Settings",
        "errors": """
            AccessError AlreadyExistsError ArgumentTypeError CallCancelledError ConflictError
            DeadlineExceededError InternalError MessageTooLargeError NotFoundError ProtocolError
            ResourceExhaustedError SerializationError SessionError SessionExpiredError SessionNotFoundError
            ToolBridgeError ToolCommunicationError ToolExecutionError ToolTimeoutError UnavailableError
            UnimplementedError ValidationError
        """,
        "proto.dspex_bridge_pb2": "ArgumentSpec ResourceLimits SessionConfig ToolSpec ToolType",
        "rpc.authentication": "Principal",
        "server": "BridgeServer LocalToolBridge",
        "tools.context": "ToolContext",
        "tools.depends": "Depends",
        "tools.media": "Audio Image Resource ResourceLink",
        "tools.middleware": "CallNext Middleware ToolCall",
        "tools.pipelines": "pipeline",
        "tools.questions": "Answer Question",
        "tools.steps": "each parallel step",
        "tools.tool": "Tool tool",
        "tools.toolset": "Toolset",
        "tools.variable": "Variable",
        "values.serialization": "deserialize_value register_codec serialize_value",
        "worker.worker": "ToolWorker",
    }
    _HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
