"""Specs of tools as MCP clients read them."""

import json
from typing import Any

import pytest

from grpc_tool_bridge.gateway.mcp.specs import input_schema, tool_of
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
