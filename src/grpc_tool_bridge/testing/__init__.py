"""For tests of programs that use the bridge."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grpc_tool_bridge.testing.mock_server import MockBridgeServer
    from grpc_tool_bridge.testing.model_server import ModelServer
    from grpc_tool_bridge.testing.scripted_lm import ScriptedLM
    from grpc_tool_bridge.testing.toxic_proxy import ToxicProxy

__all__ = ["MockBridgeServer", "ModelServer", "ScriptedLM", "ToxicProxy"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # Imported when it is used: pytest imports this package with its plugin, also where no test needs a hub.
        if name == "MockBridgeServer":
            from grpc_tool_bridge.testing.mock_server import MockBridgeServer  # noqa: PLC0415

            return MockBridgeServer
        if name == "ModelServer":
            from grpc_tool_bridge.testing.model_server import ModelServer  # noqa: PLC0415

            return ModelServer
        if name == "ScriptedLM":
            from grpc_tool_bridge.testing.scripted_lm import ScriptedLM  # noqa: PLC0415

            return ScriptedLM
        if name == "ToxicProxy":
            from grpc_tool_bridge.testing.toxic_proxy import ToxicProxy  # noqa: PLC0415

            return ToxicProxy
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
