"""What stands before a hub and has its methods: it replaces some, and all others are the hub's own."""

from typing import Any

from grpc_tool_bridge.rpc.context import WithContext


class HubFront:
    """Stands before a hub, or before another front.

    Args:
        hub: The hub.

    Attributes:
        hub: As given.
        methods: Calls its methods, with the context of the request where they take one.
    """

    # See ``served_methods``.
    takes_large_calls = True

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self.methods = WithContext(hub)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.hub, name)

    @property
    def peer_memory(self) -> Any:
        """As in ``Hub``."""
        return self.hub.peer_memory

    @peer_memory.setter
    def peer_memory(self, memory: Any) -> None:
        self.hub.peer_memory = memory
