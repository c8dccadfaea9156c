"""Test kit for programs that use the bridge."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grpc_tool_bridge.testing.call_recorder import record_calls
    from grpc_tool_bridge.testing.mock_server import MockBridgeServer
    from grpc_tool_bridge.testing.model_server import ModelServer
    from grpc_tool_bridge.testing.recording.comparing import assert_plays
    from grpc_tool_bridge.testing.recording.recorder import Recorder
    from grpc_tool_bridge.testing.recording.recording import Recording
    from grpc_tool_bridge.testing.recording.settling import RecordingError
    from grpc_tool_bridge.testing.scripted_lm import ScriptedLM
    from grpc_tool_bridge.testing.toxic_proxy import ToxicProxy
    from grpc_tool_bridge.tools.tool_calls import ToolCalls

__all__ = [
    "MockBridgeServer",
    "ModelServer",
    "Recorder",
    "Recording",
    "RecordingError",
    "ScriptedLM",
    "ToolCalls",
    "ToxicProxy",
    "assert_plays",
    "record_calls",
]

# Imported on first use, because pytest imports this package with its plugin in every run.
_MODULES = {
    "MockBridgeServer": "mock_server",
    "ModelServer": "model_server",
    "Recorder": "recording.recorder",
    "Recording": "recording.recording",
    "RecordingError": "recording.settling",
    "ScriptedLM": "scripted_lm",
    "ToxicProxy": "toxic_proxy",
    "assert_plays": "recording.comparing",
    "record_calls": "call_recorder",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name == "ToolCalls":
            return importlib.import_module("grpc_tool_bridge.tools.tool_calls").ToolCalls
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
