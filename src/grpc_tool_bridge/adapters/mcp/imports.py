"""Makes the tools of an MCP server tools of the bridge."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_types import Tool as McpTool

from grpc_tool_bridge.adapters.mcp.bounds import one_line, shown_name
from grpc_tool_bridge.adapters.mcp.results import Shape, is_wrapped, unwrapped
from grpc_tool_bridge.adapters.naming import Naming
from grpc_tool_bridge.errors import ValidationError, wire_text
from grpc_tool_bridge.llm.mcp_names import ANNOTATIONS_KEY, TAGS_META, TITLE_KEY
from grpc_tool_bridge.llm.tool_marks import TAGS_KEY, checked_tags
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.tools.content_check import content_check
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.external import external_tool
from grpc_tool_bridge.tools.sources import Refusal
from grpc_tool_bridge.tools.tool import Tool

# Keys of the metadata of an imported tool: the server, and the tool's name there.
SERVER_KEY = "mcp.server"
TOOL_KEY = "mcp.tool"

MAX_DESCRIPTION_CHARS = 65_536
MAX_SCHEMA_BYTES = 262_144
_MAX_TITLE_CHARS = 1_024

# Calls a tool by its name at the server.
Call = Callable[[Shape, dict[str, Any], ToolContext], Awaitable[Any]]


@dataclass(slots=True)
class Imported:
    """The tools of a server.

    Attributes:
        tools: Those that can be offered.
        refused: The others, by their names at the server.
    """

    tools: list[Tool] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


class Importer:
    """Makes tools; one that has not changed since the last time is the same object.

    Args:
        naming: Which ones, and as what.
        call: Calls a tool.
    """

    def __init__(self, naming: Naming, call: Call) -> None:
        self._naming = naming
        self._call = call
        self._made: dict[str, tuple[str, Tool]] = {}

    def read(self, listed: Iterable[McpTool]) -> Imported:
        """Makes the tools of a list."""
        found = Imported()
        made: dict[str, tuple[str, Tool]] = {}
        names: dict[str, str] = {}
        for tool in listed:
            if not self._naming.chooses(tool.name):
                continue
            try:
                name = self._naming.name_of(tool.name)
                _refuse_twice(name, names)
                text = tool.model_dump_json(by_alias=True)
                before = made.get(tool.name) or self._made.get(tool.name)
                one = before[1] if before is not None and before[0] == text else self._tool(name, tool)
            except Exception as error:  # noqa: BLE001 - what one tool says of itself must not cost the others
                found.refused.append(Refusal(shown_name(tool.name), one_line(_why(error))))
                continue
            names[name] = tool.name
            made[tool.name] = (text, one)
            found.tools.append(one)
        self._made = made
        return found

    def _tool(self, name: str, tool: McpTool) -> Tool:
        """Makes a tool; raises ValidationError."""
        for what, schema in (("input", tool.input_schema), ("output", tool.output_schema)):
            size = 0 if schema is None else len(json.dumps(schema))
            if size > MAX_SCHEMA_BYTES:
                raise ValidationError(f"its {what} schema has {size:,} bytes, the limit is {MAX_SCHEMA_BYTES:,}")
        if tool.execution is not None and tool.execution.task_support == "required":
            raise ValidationError("it can only be run as a task of MCP, which the bridge does not do")
        check = None if tool.output_schema is None else content_check(tool.output_schema)
        wrapped = is_wrapped(tool.output_schema)
        shape = Shape(tool.name, self._naming.server, check, wrapped)
        call = self._call

        async def run(arguments: dict[str, Any], context: ToolContext) -> Any:
            return await call(shape, arguments, context)

        schema = tool.output_schema
        return external_tool(
            name,
            wire_text(tool.description or tool.title or "", MAX_DESCRIPTION_CHARS),
            run,
            input_schema=tool.input_schema,
            output_schema=unwrapped(schema) if wrapped and schema is not None else schema,
            idempotent=tool.annotations is not None and tool.annotations.idempotent_hint is True,
            metadata=self._metadata(tool),
        )

    def _metadata(self, tool: McpTool) -> dict[str, str]:
        found = {SERVER_KEY: self._naming.server, TOOL_KEY: tool.name}
        if tool.title:
            found[TITLE_KEY] = wire_text(tool.title, _MAX_TITLE_CHARS)
        if tool.annotations is not None:
            hints = tool.annotations.model_dump(by_alias=True, exclude_none=True)
            text = json.dumps(hints, ensure_ascii=False)
            if len(text) > MAX_DESCRIPTION_CHARS:
                raise ValidationError(f"its annotations have {len(text):,} characters; that is too long")
            found[ANNOTATIONS_KEY] = text
        if tags := _tags_in(tool.meta or {}):
            found[TAGS_KEY] = ",".join(tags)
        return found


def _tags_in(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the tags of a tool, as this package and FastMCP write them; none if they are no valid tags."""
    of_fastmcp = meta.get("fastmcp") or meta.get("_fastmcp")
    given = meta.get(TAGS_META) or (of_fastmcp.get("tags") if isinstance(of_fastmcp, Mapping) else None)
    try:
        return checked_tags(given if isinstance(given, list) else ())
    except ValidationError:
        return ()


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return error.message
    return f"what the server says of it cannot be read: {type(error).__name__}: {str(error)[:200]}"


def _refuse_twice(name: str, names: Mapping[str, str]) -> None:
    if name in names:
        raise ValidationError(f"{shown(names[name])} of the same server is called {name}, too")
