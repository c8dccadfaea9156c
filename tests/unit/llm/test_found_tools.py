"""What a model reads of the tools that were found."""

import json

from grpc_tool_bridge.llm.found_tools import call_spec, describe_found, found_facts, search_spec
from grpc_tool_bridge.llm.tool_args import read_schema
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def spec(name: str, description: str = "", schema: object = None) -> ToolSpec:
    return ToolSpec(name=name, description=description, input_schema="" if schema is None else json.dumps(schema))


def test_each_tool_has_its_name_its_description_and_its_arguments() -> None:
    text = describe_found([spec("weather", " Says how it is.\n\nEverywhere. ", CITY), spec("now")])
    assert text == (
        "2 tools, the best match first:\n\n"
        "weather\nSays how it is.\n\nEverywhere.\n"
        'arguments: {"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}\n\n'
        "now\narguments: none"
    )
    assert describe_found([spec("now")]).startswith("1 tool, ")


def test_nothing_found_says_what_to_do() -> None:
    assert describe_found([]).startswith("No tool matches. Search again")


def test_programs_get_the_same() -> None:
    facts = found_facts([spec("weather", "Says.", CITY), spec("now", schema=[])])
    assert facts == [
        {"name": "weather", "description": "Says.", "input_schema": CITY},
        {"name": "now", "description": "", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert found_facts([spec("a", schema={"properties": 1})])[0]["input_schema"]["properties"] == {}


def test_a_long_schema_is_reduced_to_names_and_types() -> None:
    part = {"type": "string", "description": "y" * 500, "enum": ["x" * 4_000]}
    (facts,) = found_facts([spec("a", schema={"properties": {"b": part, "c": 5}, "required": ["b", "d"]})])
    schema = facts["input_schema"]
    assert schema["properties"]["b"]["type"] == "string"
    assert len(schema["properties"]["b"]["description"]) < 300
    assert (schema["properties"]["c"], schema["required"], schema["description"]) == ({}, ["b"], "shortened")


def test_many_long_tools_fit_into_what_a_model_is_shown() -> None:
    schema = {"properties": {f"argument{number}": {"type": "string"} for number in range(1_000)}}
    for count in (1, 8, 100):
        text = describe_found(spec(f"tool{number}", "x" * 10_000, schema) for number in range(count))
        assert len(text) < 20_000
        assert text.count("argument0") == count


def test_the_two_tools_say_what_they_take() -> None:
    search, call = search_spec(), call_spec()
    assert (search.name, call.name) == ("search_tools", "call_tool")
    for described in (search, call):
        schema = read_schema(described)
        assert list(schema["properties"]) == [argument.name for argument in described.arguments]
        assert schema["required"] == [argument.name for argument in described.arguments if argument.required]
    assert "call_tool" in search.description
    assert search_spec("call it").description.endswith("; call it.")
