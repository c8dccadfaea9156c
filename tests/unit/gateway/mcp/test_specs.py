"""Specs of tools as MCP clients read them."""

import json
from typing import Any

import pytest

from grpc_tool_bridge.gateway.mcp.specs import annotations_of, input_schema, tool_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

EMPTY = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": ["object"]},
        {"properties": []},
        {"properties": {"a": 5}},
        {"required": "a"},
        {"required": [1]},
        {"$schema": 5},
    ],
)
def test_a_schema_that_no_client_can_read_is_left_out(schema: Any) -> None:
    assert input_schema(ToolSpec(name="t", input_schema=json.dumps(schema))) == EMPTY


@pytest.mark.parametrize("text", ["", "not JSON", "[]", "[" * 10_000])
def test_a_tool_without_a_schema_takes_an_object(text: str) -> None:
    assert input_schema(ToolSpec(name="t", input_schema=text)) == EMPTY


def test_a_schema_keeps_all_that_it_says() -> None:
    schema = {"properties": {"a": True}, "x-more": [1], "additionalProperties": False, "$anchor": "a"}
    assert input_schema(ToolSpec(name="t", input_schema=json.dumps(schema))) == {"type": "object", **schema}


def test_each_tool_has_a_description() -> None:
    assert "t" in tool_of(ToolSpec(name="t"), "2025-11-25")["description"]


@pytest.mark.parametrize(
    ("metadata", "idempotent", "expected"),
    [
        ({}, False, {}),
        ({}, True, {"idempotentHint": True}),
        ({"mcp.readOnlyHint": "true"}, False, {"readOnlyHint": True}),
        ({"mcp.openWorldHint": "false"}, False, {"openWorldHint": False}),
        ({"mcp.readOnlyHint": "yes"}, False, {}),
        ({"mcp.annotations": '{"readOnlyHint": true, "x": 1}'}, False, {"readOnlyHint": True}),
        ({"mcp.annotations": '{"title": "T"}'}, False, {"title": "T"}),
        ({"mcp.annotations": '{"readOnlyHint": "true", "title": 1}'}, False, {}),
        ({"mcp.annotations": "[" * 10_000}, False, {}),
        ({"mcp.annotations": "5"}, False, {}),
        ({"mcp.annotations": '{"openWorldHint": true}', "mcp.openWorldHint": "false"}, False, {"openWorldHint": False}),
    ],
)  # fmt: skip
def test_hints_are_those_of_the_metadata(metadata: dict[str, str], idempotent: bool, expected: dict[str, Any]) -> None:
    assert annotations_of(ToolSpec(name="t", metadata=metadata, idempotent=idempotent)) == expected
