"""Specs of tools as MCP has them."""

import json
from typing import Any

from mcp_types import Tool, ToolAnnotations
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from grpc_tool_bridge.llm.tool_args import read_schema
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType

# Says that a value is wrapped because the protocol has only objects here; FastMCP's word for it.
WRAPPED = "x-fastmcp-wrap-result"
RESULT = "result"

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


def tool_of(spec: ToolSpec, version: str) -> Tool:
    """Returns a tool as a client of a protocol version sees it."""
    return Tool(
        name=spec.name,
        description=spec.description or None,
        input_schema={**_NO_ARGUMENTS, **read_schema(spec)},
        output_schema=output_schema(spec, version),
        annotations=ToolAnnotations(idempotent_hint=True) if spec.idempotent else None,
    )


def value_schema(spec: ToolSpec) -> dict[str, Any] | None:
    """Returns the JSON Schema of a tool's whole result; None: it is not known."""
    try:
        schema = json.loads(spec.output_schema)
    except (ValueError, RecursionError):
        return None
    if not isinstance(schema, dict) or not schema:
        return None
    if spec.type != ToolType.STREAMING:
        return schema
    return _around(schema, lambda item: {"type": "array", "items": item})


def output_schema(spec: ToolSpec, version: str) -> dict[str, Any] | None:
    """Returns the schema of the structured content; before 2026-07-28 it is one of an object."""
    schema = value_schema(spec)
    if schema is None or not is_wrapped(schema, version):
        return schema
    return _around(
        schema, lambda item: {"type": "object", "properties": {RESULT: item}, "required": [RESULT], WRAPPED: True}
    )


def is_wrapped(schema: dict[str, Any] | None, version: str) -> bool:
    """Returns whether a value of a schema is wrapped in an object, for a protocol version that has nothing else."""
    return version not in MODERN_PROTOCOL_VERSIONS and (schema is None or schema.get("type") != "object")


def _around(schema: dict[str, Any], wrap: Any) -> dict[str, Any]:
    """Puts a schema into another one; its definitions stay where references find them."""
    inner = dict(schema)
    definitions = inner.pop("$defs", None)
    outer: dict[str, Any] = wrap(inner)
    return outer if definitions is None else {**outer, "$defs": definitions}
