"""Chooses the tools for a framework, and their names there."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from grpc_tool_bridge.client.found import CallTool, Searchable, SearchTool
from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool
from grpc_tool_bridge.config.argument_checks import check_flag
from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError, ProtocolError, ValidationError
from grpc_tool_bridge.errors.near_names import near_names
from grpc_tool_bridge.llm.found_tools import CALL_TOOL, SEARCH_TOOLS
from grpc_tool_bridge.llm.tool_args import read_schema
from grpc_tool_bridge.llm.tool_filter import ToolFilter, filter_of, for_models, nothing_passes, settled
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# Characters that model APIs do not allow in names; OpenAI's and Anthropic's are the strictest.
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME_CHARS = 64

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


# A tool as an adapter gives it to its framework.
AnyTool = AsyncGRPCProxyTool | SearchTool | CallTool


class Bridge(Searchable, Protocol):
    """What an adapter needs from a bridge."""

    @property
    def session_id(self) -> str | None:
        """The session's id; None before ``initialize``."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tools a framework is given.

    Attributes:
        names: Names of tools; none: all that models are given, or with ``search`` none but the two that stand for all.
        tool_filter: Only tools that pass it: a pattern such as ``"weather_*"``, a prefix that ends with a separator
            such as ``"weather_"``, a list of these, or a function that is called with each ``ToolSpec``.
        search: Also give ``search_tools`` and ``call_tool``, which find and call all tools that pass the filter.

    Raises:
        ValidationError: The filter is not valid.
    """

    names: tuple[str, ...] = ()
    tool_filter: ToolFilter | None = None
    search: bool = False

    def __post_init__(self) -> None:
        if self.tool_filter is not None:
            # What is iterated over once is read now.
            object.__setattr__(self, "tool_filter", settled(self.tool_filter))

    def tools(self, bridge: Bridge, *, may_be_empty: bool = False) -> list[AnyTool]:
        """Returns the tools: those named in their order, then the two of the search.

        Args:
            bridge: The bridge.
            may_be_empty: Whether the filter may leave none.

        Raises:
            NotFoundError: The session has no tool with one of the names (the text suggests similar names), or none that
                passes the filter.
            AlreadyExistsError: Two tools would have the same name in the framework.
            ValidationError: A name or the filter is not valid.
            ProtocolError: There is no session yet.
        """
        names, tools = self.names, bridge.tools
        if not all(isinstance(name, str) for name in names):
            raise ValidationError(
                f"tools are chosen by their names, each an argument: 'add', 'search'; not {names!r:.100}"
            )
        check_flag("search", self.search)
        passes = for_models(self.tool_filter) if not names else self._passes()
        if not bridge.session_id:
            raise ProtocolError("there is no session yet; await initialize() first")
        known = tools if not names else {name: found for name in names if (found := _named(tools, name)) is not None}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise unknown_tools(unknown, tools)
        searched: list[AnyTool] = (
            [SearchTool(bridge, self.tool_filter), CallTool(bridge, self.tool_filter)] if self.search else []
        )
        given = dict.fromkeys(names or ([] if self.search else tools))
        chosen = [known[name] for name in given if passes(known[name].spec)]
        if self.tool_filter is not None and not chosen and not searched and not may_be_empty:
            raise nothing_passes(self.tool_filter)
        _check_names([*chosen, *searched], tools)
        return [*chosen, *searched]

    def _passes(self) -> Callable[[ToolSpec], bool]:
        return (lambda _: True) if self.tool_filter is None else filter_of(self.tool_filter)

    def find(self, bridge: Bridge, name: str) -> AnyTool:
        """Finds a tool by its name, or by its name in a framework.

        Raises:
            NotFoundError: The session has no such tool, or it does not pass the filter.
        """
        if self.search and name in _SEARCHING:
            return _SEARCHING[name](bridge, self.tool_filter)
        tool = find_tool(bridge, name)
        if not self._passes()(tool.spec):
            raise unknown_tools([name], {})
        return tool


_SEARCHING: Mapping[str, type[SearchTool | CallTool]] = MappingProxyType(
    {SEARCH_TOOLS: SearchTool, CALL_TOOL: CallTool}
)


def framework_name(name: str) -> str:
    """Returns a tool's name in a framework: characters that APIs do not allow, as in ``files.read``, become ``_``."""
    return _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME_CHARS]


def find_tool(bridge: Bridge, name: str) -> AsyncGRPCProxyTool:
    """Finds a tool by its name, or by its name in a framework.

    Raises:
        NotFoundError: The session has no such tool.
    """
    tools = bridge.tools
    found = _named(tools, name)
    if found is not None:
        return found
    every: dict[str, AsyncGRPCProxyTool] = {**tools, **getattr(tools, "hidden", {})}
    meant = [tool for own_name, tool in every.items() if framework_name(own_name) == name]
    if len(meant) != 1:
        raise unknown_tools([name], tools)
    return meant[0]


def _named(tools: Mapping[str, AsyncGRPCProxyTool], name: str) -> AsyncGRPCProxyTool | None:
    """Returns a tool by its name, be it listed or not; None if there is none."""
    try:
        return tools[name]
    except KeyError:
        return None


def _check_names(chosen: Iterable[AnyTool], tools: Mapping[str, Any]) -> None:
    taken = {name: name for name in tools}
    for tool in chosen:
        name = framework_name(tool.name)
        if name in taken and name in _SEARCHING and not isinstance(tool, AsyncGRPCProxyTool):
            raise AlreadyExistsError(
                f"the session has a tool called {name!r}, as one of the two that search would add; rename that tool"
            )
        if taken.setdefault(name, tool.name) != tool.name:
            raise AlreadyExistsError(f"the tools {taken[name]!r} and {tool.name!r} would both be called {name!r}")


def unknown_tools(names: list[str], tools: Mapping[str, Any]) -> NotFoundError:
    """Returns the error for unknown names, with similar names."""
    texts = []
    for name in names:
        close = near_names(name, tools)
        hint = f"did you mean {' or '.join(close)}?" if close else ""
        if hint:
            hint = f"; {hint}" if len(names) == 1 else f" ({hint})"
        texts.append(f"{name[:100]!r}{hint}")
    return NotFoundError(f"the session has no tool {', '.join(texts)}", details={"names": ", ".join(names)})


def parameters(spec: ToolSpec) -> dict[str, Any]:
    """Returns the JSON Schema of a tool's arguments; a tool without one has no arguments."""
    return {**_NO_ARGUMENTS, **read_schema(spec)}
