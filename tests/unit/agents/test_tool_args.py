"""A tool's arguments, as a model is told of them."""

import json
from typing import Any

import pytest

from grpc_tool_bridge.agents.tool_args import tool_args
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec


def args_of(**schema: Any) -> dict[str, Any]:
    return tool_args(ToolSpec(input_schema=json.dumps(schema)))


def test_what_a_schema_refers_to_stands_where_it_does_so() -> None:
    place = {"type": "object", "properties": {"x": {"type": "number"}}}
    args = args_of(
        properties={
            "at": {"$ref": "#/$defs/Place", "description": "Where."},
            "via": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
        },
        **{"$defs": {"Place": place}},
    )
    assert args == {"at": {**place, "description": "Where."}, "via": {"type": "array", "items": place}}


def test_a_schema_that_refers_to_itself_ends_after_one_turn() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}}}
    args = args_of(properties={"tree": {"$ref": "#/$defs/Tree"}}, **{"$defs": {"Tree": tree}})
    assert args == {"tree": {"type": "object", "properties": {"left": {"title": "Tree"}}}}


@pytest.mark.parametrize("schema", ["", "no JSON", "[]", '{"properties": 1}', "null"])
def test_a_schema_that_cannot_be_read_has_no_arguments(schema: str) -> None:
    assert tool_args(ToolSpec(input_schema=schema)) == {}


def test_a_schema_that_grows_by_its_references_is_cut() -> None:
    doubling = {
        f"d{number}": {"properties": {side: {"$ref": f"#/$defs/d{number + 1}"} for side in ("left", "right")}}
        for number in range(40)
    }
    assert len(str(args_of(properties={"a": {"$ref": "#/$defs/d0"}}, **{"$defs": doubling}))) < 200_000
    long = {"big": {"default": "z" * 50_000}}
    args = args_of(properties={f"p{number}": {"$ref": "#/$defs/big"} for number in range(500)}, **{"$defs": long})
    assert args["p0"]["default"] == "z" * 50_000
    assert len(str(args)) < 300_000
