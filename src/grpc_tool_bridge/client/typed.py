"""The base of modules that ``grpc-tool-bridge stubs`` writes: calls by a tool's name, to which they add the types."""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

from grpc_tool_bridge.client.bridge import SyncBridge, ToolBridge
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress


class _Omitted:
    """The default of an argument whose own default only the tool knows."""

    def __repr__(self) -> str:
        return "..."


# The default of an optional argument that is then not sent. Of any type, so that it is a default of every argument.
OMITTED: Any = _Omitted()

B = TypeVar("B", ToolBridge, SyncBridge)


class _Tools(Generic[B]):
    def __init__(self, bridge: B) -> None:
        self._bridge: B = bridge
        self._settings: Mapping[str, Any] = {}

    def with_options(
        self,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_log: Callable[[LogRecord], None] | None = None,
    ) -> Self:
        """Returns the same tools with other settings; those not given stay as they are.

        Args:
            timeout: Seconds for each call.
            metadata: Sent to the tools, which find it in ``ToolContext.metadata``.
            on_progress: Called with each Progress that a tool sends.
            on_log: Called with each LogRecord that a tool sends.
        """
        given = {"timeout": timeout, "metadata": metadata, "on_progress": on_progress, "on_log": on_log}
        made = type(self)(self._bridge)
        changes = {name: value for name, value in given.items() if value is not None}
        made._settings = {**self._settings, **changes}  # noqa: SLF001 - of this class
        return made

    def _nested(self, kind: "type[N]") -> "N":
        """Returns the tools of a namespace, with the same settings."""
        made = kind(self._bridge)
        made._settings = self._settings  # noqa: SLF001 - of this class
        return made

    def _tool(self, name: str) -> Any:
        tool = self._bridge.client.tool(name)
        return tool.with_options(**self._settings) if self._settings else tool


N = TypeVar("N", bound=_Tools[Any])


class TypedTools(_Tools[ToolBridge]):
    """The tools of a session as methods; each class that ``grpc-tool-bridge stubs`` writes is one.

    Args:
        bridge: An open bridge.
    """

    async def _call(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return await self._tool(name)(*_positional(name, args), **_named(kwargs))

    def _stream(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        stream: AsyncGenerator[Any, None] = self._tool(name).stream(*_positional(name, args), **_named(kwargs))
        return stream


class BlockingTools(_Tools[SyncBridge]):
    """The tools of a session as methods that block; what ``grpc-tool-bridge stubs --sync`` writes is based on it.

    Args:
        bridge: ``bridge.sync`` of an open bridge.
    """

    def _call(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self._tool(name)(*_positional(name, args), **_named(kwargs))

    def _stream(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
        stream: Iterator[Any] = self._tool(name).stream(*_positional(name, args), **_named(kwargs))
        return stream


def _positional(name: str, args: Sequence[Any]) -> Sequence[Any]:
    end = next((count for count in range(len(args), 0, -1) if args[count - 1] is not OMITTED), 0)
    for place, value in enumerate(args[:end], 1):
        if value is OMITTED:
            raise TypeError(f"{name}: argument {place} is missing; it has to be given for those after it")
    return args[:end]


def _named(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in kwargs.items() if value is not OMITTED}
