"""The schema of each argument is whole in itself, and ends."""

import json
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm.tool_args import read_arguments, tool_args
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec


def arguments(schema: Any) -> dict[str, Any]:
    return tool_args(ToolSpec(input_schema=json.dumps(schema)))


def test_what_a_schema_refers_to_stands_where_it_does_so() -> None:
    schema = {
        "properties": {
            "at": {"$ref": "#/$defs/Place", "description": "Where."},
            "all": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
        },
        "$defs": {
            "Place": {"type": "object", "description": "A place.", "properties": {"of": {"$ref": "#/$defs/Kind"}}},
            "Kind": {"enum": ["a", "b"]},
        },
    }
    place = {"type": "object", "description": "A place.", "properties": {"of": {"enum": ["a", "b"]}}}
    assert arguments(schema) == {
        "at": {**place, "description": "Where."},
        "all": {"type": "array", "items": place},
    }


def test_a_schema_that_refers_to_itself_ends_after_one_turn() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node", "description": "Another."}}}
    assert arguments({"properties": {"first": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}) == {
        "first": {"type": "object", "properties": {"next": {"title": "Node", "description": "Another."}}}
    }


def test_two_schemas_that_refer_to_each_other_end() -> None:
    definitions = {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"items": {"$ref": "#/$defs/A"}}}
    assert arguments({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": definitions}) == {
        "a": {"items": {"items": {"title": "A"}}}
    }


@pytest.mark.parametrize("reference", ["#/$defs/None", "https://elsewhere.test/a.json", "#/properties/b", 3])
def test_what_cannot_be_looked_up_stays_without_a_definition(reference: Any) -> None:
    made = arguments({"properties": {"a": {"$ref": reference, "description": "A."}}, "$defs": {}})["a"]
    assert made["description"] == "A."
    assert made.get("title", "None") == "None"
    assert made.get("$ref", reference) == reference


def test_definitions_that_multiply_are_left_out_where_they_are_too_many() -> None:
    definitions: dict[str, Any] = {"D0": {"type": "string"}}
    for number in range(1, 20):
        part = {"$ref": f"#/$defs/D{number - 1}"}
        definitions[f"D{number}"] = {"anyOf": [part, part, part, part]}
    made = arguments({"properties": {"a": {"$ref": "#/$defs/D19"}}, "$defs": definitions})
    assert len(json.dumps(made)) < 500_000


def test_what_lies_too_deep_is_left_out() -> None:
    part: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        part = {"items": part}
    made, level = arguments({"properties": {"a": part}})["a"], 0
    while made:
        made, level = made["items"], level + 1
    assert level == 51


@pytest.mark.parametrize(
    "schema", ["", "{", "[1]", "3", '{"properties": [1]}', '{"type": "object"}'], ids=lambda text: text or "none"
)
def test_a_schema_that_cannot_be_read_tells_of_no_arguments(schema: str) -> None:
    assert tool_args(ToolSpec(input_schema=schema)) == {}


def test_definitions_that_are_none_are_not_looked_into() -> None:
    assert arguments({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": [1]}) == {"a": {"title": "A"}}


def test_long_texts_that_multiply_are_cut() -> None:
    properties = {f"p{number}": {"$ref": "#/$defs/Big"} for number in range(500)}
    made = arguments({"properties": properties, "$defs": {"Big": {"default": "z" * 50_000}}})
    assert made["p0"]["default"] == "z" * 50_000
    assert len(json.dumps(made)) < 300_000


@pytest.mark.parametrize(
    "sent", [None, "", " \n", b"", "null", " null ", '""', '" "', '"null"', "{}", '"{}"', {}, b"{}"], ids=repr
)
def test_what_says_nothing_is_no_argument(sent: Any) -> None:
    assert read_arguments("add", sent) == {}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"a": 1}, {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (OrderedDict(b=1, a=None), {"b": 1, "a": None}),
        ('{"a": 1}', {"a": 1}),
        (b'{"a": 1}', {"a": 1}),
        (' \n{"a": {"b": []}}\n', {"a": {"b": []}}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": "{\\"b\\": 1}"}', {"a": '{"b": 1}'}),
        ('{"a": null, "b": ""}', {"a": None, "b": ""}),
        ('{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
    ],
    ids=repr,
)
def test_an_object_is_read_from_itself_and_from_its_json(sent: Any, read: dict[str, Any]) -> None:
    assert read_arguments("add", sent) == read


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ('{"a": 1,', "are not valid JSON (Expecting property name"),
        ("a=1", "are not valid JSON (Expecting value"),
        ("{'a': 1}", "are not valid JSON (Expecting property name"),
        ('"a=1"', "are not valid JSON (Expecting value"),
        (b"\xff", "are not valid JSON ("),
        ("[" * 100_000, "are not valid JSON ("),
        ("[1]", "are list, not an object"),
        ('"[1]"', "are list, not an object"),
        ([1], "are list, not an object"),
        ("3", "are int, not an object"),
        (3.5, "are float, not an object"),
        (False, "are bool, not an object"),
        ('"\\"{}\\""', "are str, not an object"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_anything_else_is_refused_with_what_it_is(sent: Any, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read_arguments("add", sent)
    assert caught.value.message.startswith(f"add: the arguments {problem}")
    assert caught.value.message.endswith("give one JSON object with the arguments by name")
