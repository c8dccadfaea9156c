"""Specs of tools as MCP has them."""

from typing import Any

from grpc_tool_bridge.gateway.mcp.output_schemas import output_schema
from grpc_tool_bridge.llm.annotations import annotations_of
from grpc_tool_bridge.llm.mcp_names import TAGS_META, TITLE_KEY
from grpc_tool_bridge.llm.tool_args import read_schema
from grpc_tool_bridge.llm.tool_marks import described, tags_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec


def tool_of(spec: ToolSpec, version: str, name: str = "") -> dict[str, Any]:
    """Returns a tool as a client of a protocol version reads it.

    Args:
        spec: The tool's.
        version: Of the protocol.
        name: What clients call it, if not by its own name, which is its title then unless it has one.
    """
    tool: dict[str, Any] = {
        "name": name or spec.name,
        "description": described(spec) or f"The tool {spec.name}. It has no description.",
        "inputSchema": input_schema(spec),
    }
    if title := spec.metadata.get(TITLE_KEY) or (spec.name if tool["name"] != spec.name else ""):
        tool["title"] = title
    if tags := tags_of(spec):
        tool["_meta"] = {TAGS_META: list(tags)}
    if annotations := annotations_of(spec):
        tool["annotations"] = annotations
    if (schema := output_schema(spec, version)) is not None:
        tool["outputSchema"] = schema
    return tool


def input_schema(spec: ToolSpec) -> dict[str, Any]:
    """Returns the JSON Schema of a tool's arguments as the tool has it; it is always one of an object.

    A schema that no client could read is left out: one such tool would hide all others.
    """
    schema = {"type": "object", "properties": {}, **read_schema(spec)}
    properties, required = schema["properties"], schema.get("required", [])
    is_readable = (
        schema["type"] == "object"
        and isinstance(properties, dict)
        and all(isinstance(part, dict | bool) for part in properties.values())
        and isinstance(required, list)
        and all(isinstance(name, str) for name in required)
        and isinstance(schema.get("$schema", ""), str)
    )
    return schema if is_readable else {"type": "object", "properties": {}}
