"""The tools that stand for all others, ``search_tools`` and ``call_tool``, and what a model reads of found tools."""

import json
from collections.abc import Iterable
from typing import Any

from grpc_tool_bridge.errors import wire_text
from grpc_tool_bridge.llm.tool_args import read_schema
from grpc_tool_bridge.llm.tool_marks import described
from grpc_tool_bridge.llm.tool_search import DEFAULT_LIMIT, MAX_LIMIT
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec

SEARCH_TOOLS = "search_tools"
CALL_TOOL = "call_tool"

# Characters of the text of all found tools: an agent's model is shown 20,000 of a result. Where it would be longer, the
# descriptions and schemas are cut, to as much of each as lets all of them in.
_MAX_TEXT = 18_000
_ROOMS = (4_000, 2_000, 1_000, 500, 250, 100, 40)
_MAX_DESCRIPTION = 1_000
_MAX_SHORT = 200

_QUERY = "What the tool should do, in plain words, such as: weather in a city"
_LIMIT = f"Maximum number of tools, 1 to {MAX_LIMIT}"
_NAME = "The tool's name, as search_tools gives it"
_ARGUMENTS = "The arguments of the tool, by name"


def search_spec(how: str = f"call one with {CALL_TOOL}") -> ToolSpec:
    """Returns the spec of the tool that searches; ``how`` says how a found tool is called."""
    properties = {
        "query": {"type": "string", "description": _QUERY},
        "limit": {
            "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT, "description": _LIMIT,
        },
    }  # fmt: skip
    return ToolSpec(
        name=SEARCH_TOOLS,
        tool_id=SEARCH_TOOLS,
        description=(
            "Finds tools by what they do. Many more tools are available than those that you see: search before you say "
            f"that something cannot be done. The answer has the name, description and arguments of each tool; {how}."
        ),
        arguments=[
            ArgumentSpec(name="query", python_type="str", required=True, description=_QUERY),
            ArgumentSpec(name="limit", python_type="int", description=_LIMIT),
        ],
        return_type=ArgumentSpec(name="return", python_type="str"),
        input_schema=_schema(properties, ["query"]),
        idempotent=True,
    )


def call_spec() -> ToolSpec:
    """Returns the spec of the tool that calls a found tool."""
    properties = {
        "name": {"type": "string", "description": _NAME},
        "arguments": {"type": "object", "additionalProperties": True, "description": _ARGUMENTS},
    }
    return ToolSpec(
        name=CALL_TOOL,
        tool_id=CALL_TOOL,
        description=f"Calls a tool that {SEARCH_TOOLS} has found.",
        arguments=[
            ArgumentSpec(name="name", python_type="str", required=True, description=_NAME),
            ArgumentSpec(name="arguments", python_type="dict", description=_ARGUMENTS),
        ],
        return_type=ArgumentSpec(name="return", python_type="Any"),
        input_schema=_schema(properties, ["name"]),
    )


def describe_found(specs: Iterable[ToolSpec]) -> str:
    """Writes found tools for a model: of each its name, its description and the JSON Schema of its arguments.

    Long descriptions are cut. Of a schema that is too long, only names and types of the arguments are left.
    """
    parts = []
    for found in found_facts(specs):
        schema = found["input_schema"]
        told = json.dumps(schema, ensure_ascii=False, separators=(",", ":")) if schema["properties"] else "none"
        described = [found["description"]] if found["description"] else []
        parts.append("\n".join([found["name"], *described, f"arguments: {told}"]))
    if not parts:
        return "No tool matches. Search again with other words, such as what the tool takes or returns."
    count = "1 tool" if len(parts) == 1 else f"{len(parts)} tools"
    return "\n\n".join([f"{count}, the best match first:", *parts])


def found_facts(specs: Iterable[ToolSpec]) -> list[dict[str, Any]]:
    """Returns found tools for a program: of each ``name``, ``description`` and ``input_schema``, cut as the text is."""
    found = list(specs)
    facts: list[dict[str, Any]] = []
    for room in _ROOMS:
        facts = [_facts(spec, room) for spec in found]
        if len(json.dumps(facts, ensure_ascii=False)) <= _MAX_TEXT:
            break
    return facts


def _facts(spec: ToolSpec, room: int) -> dict[str, Any]:
    return {
        "name": spec.name,
        "description": wire_text(described(spec).strip(), min(_MAX_DESCRIPTION, room)),
        "input_schema": _arguments_of(spec, room),
    }


def _schema(properties: dict[str, Any], required: list[str]) -> str:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return json.dumps(schema)


def _arguments_of(spec: ToolSpec, room: int) -> dict[str, Any]:
    schema = {"type": "object", "properties": {}, **read_schema(spec)}
    properties = schema["properties"]
    if not isinstance(properties, dict):
        return {"type": "object", "properties": {}}
    if len(spec.input_schema) <= room:
        return schema
    short: dict[str, Any] = {}
    left = room
    for name, part in properties.items():
        short[name] = _short(part)
        left -= len(name) + len(json.dumps(short[name]))
        if left < 0:
            del short[name]
            break
    required = schema.get("required")
    known = [name for name in required if name in short] if isinstance(required, list) else []
    return {"type": "object", "properties": short, "required": known, "description": "shortened"}


def _short(part: Any) -> dict[str, Any]:
    """Returns the type and the beginning of the description of an argument."""
    if not isinstance(part, dict):
        return {}
    kind, told = part.get("type"), part.get("description")
    short: dict[str, Any] = {"type": kind} if isinstance(kind, str | list) else {}
    if isinstance(told, str):
        short["description"] = wire_text(told, _MAX_SHORT)
    return short
