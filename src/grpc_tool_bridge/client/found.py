"""``search_tools`` and ``call_tool`` as tools: they stand for all tools of a session, however many there are."""

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from copy import copy
from typing import Any, Protocol, Self

from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool
from grpc_tool_bridge.client.signature import signature_of
from grpc_tool_bridge.errors import ToolBridgeError, ToolExecutionError, ValidationError
from grpc_tool_bridge.errors.near_names import near_names
from grpc_tool_bridge.llm.found_tools import CALL_TOOL, SEARCH_TOOLS, call_spec, describe_found, search_spec
from grpc_tool_bridge.llm.tool_args import read_arguments
from grpc_tool_bridge.llm.tool_filter import ToolFilter, filter_of, for_models
from grpc_tool_bridge.llm.tool_search import DEFAULT_LIMIT
from grpc_tool_bridge.llm.values import from_json
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Progress, ToolSpec

# How many tools an error suggests.
_SUGGESTED = 3


class Searchable(Protocol):
    """What the tools need: a bridge, or a client."""

    @property
    def tools(self) -> dict[str, AsyncGRPCProxyTool]:
        """The session's tools by name."""

    async def search_tools(
        self, query: str, *, limit: int = ..., prefix: str = ..., tool_filter: ToolFilter | None = ...
    ) -> list[AsyncGRPCProxyTool]:
        """Finds tools."""


class _Given:
    """A tool that runs here, and looks like one of the session.

    Attributes:
        spec: Its spec.
        name: Its name.
    """

    def __init__(self, spec: ToolSpec) -> None:
        self.spec = spec
        self.name = self.__name__ = spec.name
        self.__doc__ = spec.description
        # Those of the calls that it makes, as for ``with_options`` of a proxy.
        self._options: Mapping[str, Any] = {}

    @property
    def __signature__(self) -> inspect.Signature:
        """The tool's signature, as ``inspect.signature`` reads it."""
        return signature_of(self.spec)

    async def __call__(self, /, **kwargs: Any) -> Any:
        """Calls the tool.

        Raises:
            ToolExecutionError: The arguments are not valid, or as for a proxy.
        """
        known = {argument.name: argument.required for argument in self.spec.arguments}
        wrong = {name: "is not known" for name in kwargs if name not in known}
        wrong |= {name: "is missing" for name, required in known.items() if required and name not in kwargs}
        if wrong:
            text = "; ".join(f"{name[:100]} {problem}" for name, problem in wrong.items())
            raise self._refusal(ValidationError(f"{self.name}: {text}", details=wrong))
        try:
            return await self._run(kwargs)
        except ToolExecutionError:
            raise
        except ValidationError as error:
            raise self._refusal(error) from None

    def with_options(
        self,
        *,
        metadata: Mapping[str, str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Self:
        """Returns the same tool with settings for the calls that it makes; those not given stay as they are."""
        given = {"metadata": metadata, "on_progress": on_progress}
        made = copy(self)
        changes = {name: value for name, value in given.items() if value is not None}
        made._options = {**self._options, **changes}  # noqa: SLF001 - of this class
        return made

    async def stream(self, /, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Iterates over the tool's result."""
        yield await self(**kwargs)

    async def _run(self, arguments: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def _refusal(self, error: ToolBridgeError) -> ToolExecutionError:
        # As the hub refuses the call of a tool.
        details = {**error.details, "origin": "bridge"}
        return ToolExecutionError(self.name, error.error_type, error.message, details)


class SearchTool(_Given):
    """Searches the tools of a session; its result is a text for a model.

    Args:
        bridge: A bridge or a client, with a session.
        tool_filter: Only tools that pass it; None: all.
    """

    def __init__(self, bridge: Searchable, tool_filter: ToolFilter | None = None) -> None:
        super().__init__(search_spec())
        self._bridge = bridge
        self._filter = for_models(tool_filter)

    async def _run(self, arguments: Mapping[str, Any]) -> str:
        limit = arguments.get("limit")
        found = await self._bridge.search_tools(
            arguments["query"], limit=DEFAULT_LIMIT if limit is None else limit, tool_filter=self._filter
        )
        return describe_found(proxy.spec for proxy in found)


class CallTool(_Given):
    """Calls a tool of a session by its name; its result and its errors are those of that tool.

    Args:
        bridge: A bridge or a client, with a session.
        tool_filter: Only tools that pass it; None: all.
    """

    def __init__(self, bridge: Searchable, tool_filter: ToolFilter | None = None) -> None:
        super().__init__(call_spec())
        self._bridge = bridge
        self._passes: Callable[[ToolSpec], bool] = (lambda _: True) if tool_filter is None else filter_of(tool_filter)

    async def _run(self, arguments: Mapping[str, Any]) -> Any:
        name = arguments["name"]
        proxy = self._bridge.tools.get(name) if isinstance(name, str) else None
        if proxy is None or not self._passes(proxy.spec):
            raise await self._unknown(name)
        if self._options:
            proxy = proxy.with_options(**self._options)
        return await proxy(**from_json(proxy.spec, read_arguments(proxy.name, arguments.get("arguments"))))

    async def _unknown(self, name: object) -> ToolBridgeError:
        """Returns the error for a name that no tool has, or none that passes the filter."""
        if not isinstance(name, str):
            return ValidationError(f"name is {name!r:.60}; it must be a tool's name, as {SEARCH_TOOLS} gives it")
        close = near_names(name, [known for known, proxy in self._bridge.tools.items() if self._passes(proxy.spec)])
        if not close and any(map(str.isalnum, name)):
            # Of thousands of names, those that share words with it.
            found = await self._bridge.search_tools(name, limit=_SUGGESTED, tool_filter=self._passes)
            close = [proxy.name for proxy in found]
        hint = f"did you mean {' or '.join(close)}?" if close else f"{SEARCH_TOOLS} finds the tools that there are"
        message = f"there is no tool {name[:100]!r}; {hint}"
        return ToolExecutionError(CALL_TOOL, "ToolNotFound", message, {"origin": "bridge"})
