"""The session of a run, as its agent sees it."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Protocol

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec


class AgentSession(Protocol):
    """The tools that an agent may call."""

    async def tools(self) -> list[ToolSpec]:
        """Returns the tools that the session sees."""
        ...

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Calls a tool; raises ToolExecutionError."""
        ...

    def stream_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Streams a tool; raises ToolExecutionError."""
        ...


# Gives the session of a run: of its id, what the run's calls are made for, the run's deadline on the monotonic clock,
# and what its tools find in their context.
OpenSession = Callable[[str, Any, float, Mapping[str, str]], AgentSession]
