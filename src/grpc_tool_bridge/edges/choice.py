"""Which of a bridge's tools a framework gets."""

import difflib
import json
from collections.abc import Mapping
from typing import Any, Protocol

from grpc_tool_bridge.errors import NotFoundError, ProtocolError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.proxy import AsyncGRPCProxyTool

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


class Bridge(Protocol):
    """What an adapter needs of a bridge."""

    @property
    def tools(self) -> dict[str, AsyncGRPCProxyTool]:
        """The session's tools by name."""

    @property
    def session_id(self) -> str | None:
        """The session's id; None before ``initialize``."""


def choose_tools(bridge: Bridge, names: tuple[str, ...]) -> list[AsyncGRPCProxyTool]:
    """Returns the tools of these names, in their order; of no names, all that the session has now.

    Raises:
        NotFoundError: The session has no tool of a name; the text says which are like it.
        ProtocolError: There is no session yet.
    """
    if not bridge.session_id:
        raise ProtocolError("there is no session yet; await initialize() first")
    tools = bridge.tools
    unknown = [name for name in names if name not in tools]
    if unknown:
        raise unknown_tools(unknown, tools)
    return [tools[name] for name in dict.fromkeys(names or tools)]


def unknown_tools(names: list[str], tools: Mapping[str, Any]) -> NotFoundError:
    """Makes the error for names that no tool has, with those that are like them."""
    texts = []
    for name in names:
        close = difflib.get_close_matches(name[:100], tools, n=3)
        hint = f", did you mean {' or '.join(repr(item) for item in close)}?" if close else ""
        texts.append(f"{name[:100]!r}{hint}")
    return NotFoundError(f"the session has no tool {'; '.join(texts)}", details={"names": ", ".join(names)})


def parameters(spec: ToolSpec) -> dict[str, Any]:
    """Returns the JSON Schema of a tool's arguments; of a tool that gives none, of no arguments."""
    try:
        schema = json.loads(spec.input_schema or "{}")
    except ValueError:
        schema = {}
    return {**_NO_ARGUMENTS, **schema} if isinstance(schema, dict) else dict(_NO_ARGUMENTS)
