"""The settings of a hub, and the defaults that both ends know.

The settings are a model of pydantic, which is imported when they are first used: a client needs only the defaults.
"""

from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.config.defaults import (
    BATCH_TIMEOUT,
    CALL_TIMEOUT,
    DEFAULT_ADDRESS,
    DEFAULT_CAPACITY,
    MAX_HUB_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_NODES,
    MAX_PEER_BYTES,
    MAX_SESSION_BYTES,
    REQUEST_TIMEOUT,
    STREAM_TIMEOUT,
)
from grpc_tool_bridge.config.secret_files import read_token

if TYPE_CHECKING:
    from grpc_tool_bridge.config.settings import Count, Names, Patterns, Seconds, Settings, load_settings

__all__ = [
    "BATCH_TIMEOUT",
    "CALL_TIMEOUT",
    "DEFAULT_ADDRESS",
    "DEFAULT_CAPACITY",
    "MAX_HUB_BYTES",
    "MAX_MESSAGE_BYTES",
    "MAX_MESSAGE_NODES",
    "MAX_PEER_BYTES",
    "MAX_SESSION_BYTES",
    "REQUEST_TIMEOUT",
    "STREAM_TIMEOUT",
    "Count",
    "Names",
    "Patterns",
    "Seconds",
    "Settings",
    "load_settings",
    "read_token",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from grpc_tool_bridge.config import settings  # noqa: PLC0415 - imports pydantic

        # All at once, so that they are ordinary names from here on.
        globals().update({found: getattr(settings, found) for found in __all__ if hasattr(settings, found)})
        return globals()[name]
