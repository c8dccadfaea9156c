"""Chooses the tools for a framework, and their names there."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from grpc_tool_bridge.client.proxy import AsyncGRPCProxyTool
from grpc_tool_bridge.errors import AlreadyExistsError, NotFoundError, ProtocolError, ValidationError
from grpc_tool_bridge.errors.near_names import near_names
from grpc_tool_bridge.llm.tool_args import read_schema
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

# Characters that model APIs do not allow in names; OpenAI's and Anthropic's are the strictest.
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME_CHARS = 64

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


class Bridge(Protocol):
    """What an adapter needs from a bridge."""

    @property
    def tools(self) -> dict[str, AsyncGRPCProxyTool]:
        """The session's tools by name."""

    @property
    def session_id(self) -> str | None:
        """The session's id; None before ``initialize``."""


def choose_tools(bridge: Bridge, names: tuple[str, ...]) -> list[AsyncGRPCProxyTool]:
    """Returns the tools with these names, in this order; without names, all tools of the session.

    Raises:
        NotFoundError: The session has no tool with one of the names; the text suggests similar names.
        AlreadyExistsError: Two tools would have the same name in the framework.
        ValidationError: A name is not a text.
        ProtocolError: There is no session yet.
    """
    if not all(isinstance(name, str) for name in names):
        raise ValidationError(f"tools are chosen by their names, each an argument: 'add', 'search'; not {names!r:.100}")
    if not bridge.session_id:
        raise ProtocolError("there is no session yet; await initialize() first")
    tools = bridge.tools
    unknown = [name for name in names if name not in tools]
    if unknown:
        raise unknown_tools(unknown, tools)
    chosen = [tools[name] for name in dict.fromkeys(names or tools)]
    _check_names(chosen, tools)
    return chosen


def framework_name(name: str) -> str:
    """Returns a tool's name in a framework: characters that APIs do not allow, as in ``files.read``, become ``_``."""
    return _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME_CHARS]


def find_tool(bridge: Bridge, name: str) -> AsyncGRPCProxyTool:
    """Finds a tool by its name, or by its name in a framework.

    Raises:
        NotFoundError: The session has no such tool.
    """
    tools = bridge.tools
    if name in tools:
        return tools[name]
    meant = [tool for own_name, tool in tools.items() if framework_name(own_name) == name]
    if len(meant) != 1:
        raise unknown_tools([name], tools)
    return meant[0]


def _check_names(chosen: Iterable[AsyncGRPCProxyTool], tools: Mapping[str, Any]) -> None:
    taken = {name: name for name in tools}
    for proxy in chosen:
        name = framework_name(proxy.name)
        if taken.setdefault(name, proxy.name) != proxy.name:
            raise AlreadyExistsError(f"the tools {taken[name]!r} and {proxy.name!r} would both be called {name!r}")


def unknown_tools(names: list[str], tools: Mapping[str, Any]) -> NotFoundError:
    """Returns the error for unknown names, with similar names."""
    texts = []
    for name in names:
        close = near_names(name, tools)
        hint = f", did you mean {' or '.join(repr(item) for item in close)}?" if close else ""
        texts.append(f"{name[:100]!r}{hint}")
    return NotFoundError(f"the session has no tool {'; '.join(texts)}", details={"names": ", ".join(names)})


def parameters(spec: ToolSpec) -> dict[str, Any]:
    """Returns the JSON Schema of a tool's arguments; a tool without one has no arguments."""
    return {**_NO_ARGUMENTS, **read_schema(spec)}
