"""The document names each route and each tool, and nothing that a tool says of itself can break it."""

import json
import sys
from itertools import product
from typing import Any

import pytest
from openapi_spec_validator import validate

from grpc_tool_bridge import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import ERROR_TABLE
from grpc_tool_bridge.gateway import openapi
from grpc_tool_bridge.gateway.app import Gateway
from grpc_tool_bridge.gateway.metrics import HttpCounts
from grpc_tool_bridge.gateway.openapi import OpenApi
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

TOOL = "/api/sessions/{session_id}/tools/"


def served() -> list[Any]:
    guard: Any = Gateway(Hub(Settings()), None, lambda: HttpCounts(0, 0)).app
    return [route for route in guard._app.routes if route.include_in_schema]


def document(*specs: ToolSpec, token: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(OpenApi(served(), needs_token=token).document(specs))
    return found


def spec(name: str = "add", input_schema: Any = None, output_schema: Any = None, **facts: Any) -> ToolSpec:
    texts = [json.dumps(schema) if schema is not None else "" for schema in (input_schema, output_schema)]
    return ToolSpec(tool_id=name, name=name, input_schema=texts[0], output_schema=texts[1], **facts)


@pytest.mark.parametrize("token", [False, True])
def test_it_is_valid_with_and_without_tools(token: bool) -> None:
    validate(document(token=token))
    validate(document(spec(input_schema={"type": "object"}), spec("b.c-d"), token=token))


def test_each_route_is_in_it_with_its_methods_and_what_it_is_for() -> None:
    paths = document()["paths"]
    for route in served():
        for method in route.methods - {"HEAD"}:
            operation = paths[route.path.replace("{sid}", "{session_id}")][method.lower()]
            assert operation["summary"]
            assert operation["responses"]


def test_a_route_without_a_description_is_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi, "route_docs", lambda _: {})
    with pytest.raises(KeyError, match="/api/sessions"):
        document()


def test_a_path_that_another_route_answers_too_has_its_methods() -> None:
    paths = document()["paths"]
    assert paths[f"{TOOL}batch"].keys() == {"get", "post"}
    assert {"$ref": "#/components/parameters/tool"} not in paths[f"{TOOL}batch"]["get"]["parameters"]


def test_each_status_of_the_table_of_errors_has_the_same_schema_and_the_names_of_its_errors() -> None:
    responses = document(token=True)["components"]["responses"]
    for name, rule in ERROR_TABLE.items():
        response = responses[str(rule.http)]
        assert name in response["description"]
        assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}
    assert "Retry-After" in responses["429"]["headers"]


def test_what_needs_a_token_says_so_and_nothing_does_where_there_is_none() -> None:
    closed, free = document(token=True), document()
    assert closed["security"] == [{"bearer": []}, {"cookie": []}]
    assert closed["paths"]["/healthz"]["get"]["security"] == []
    assert "401" in closed["paths"]["/api/sessions"]["get"]["responses"]
    assert free["security"] == [{}]
    assert "securitySchemes" not in free["components"]
    assert "401" not in free["paths"]["/api/sessions"]["get"]["responses"]


def test_a_tool_has_its_own_schemas_and_arguments_in_the_query_by_their_types() -> None:
    given = {
        "type": "object",
        "properties": {"text": {"type": "string"}, "a/b": {"type": "array"}, "at": {"$ref": "#/$defs/Place"}},
        "required": ["text"],
        "$defs": {"Place": {"type": "object"}},
    }
    found = document(spec("find", given, {"type": "string"}))
    validate(found)
    schemas = found["components"]["schemas"]
    assert schemas["tool.find.input"]["properties"]["at"] == {
        "$ref": "#/components/schemas/tool.find.input/$defs/Place"
    }
    assert schemas["tool.find.output"] == {"type": "string"}
    body = found["paths"][f"{TOOL}find/execute"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["kwargs"] == {"$ref": "#/components/schemas/tool.find.input"}
    assert body["required"] == ["kwargs"]
    parameters = {item.get("name"): item for item in found["paths"][f"{TOOL}find/stream"]["get"]["parameters"]}
    assert parameters["text"]["required"]
    assert parameters["text"]["schema"] == {"$ref": "#/components/schemas/tool.find.input/properties/text"}
    assert "application/json" in parameters["a/b"]["content"]


def test_an_argument_of_a_tool_takes_the_place_of_a_parameter_of_the_same_name() -> None:
    found = document(spec("t", {"type": "object", "properties": {"events": {"type": "integer"}}}))
    validate(found)
    parameters = found["paths"][f"{TOOL}t/stream"]["get"]["parameters"]
    assert {"$ref": "#/components/parameters/events"} not in parameters
    assert {"$ref": "#/components/parameters/timeout_ms"} in parameters


@pytest.mark.parametrize(
    "text",
    [
        "not JSON", "5", "null", '{"type": 5}', '{"type": "object", "properties": []}', '{"$ref": "http://a.example/b"}',
        '{"$ref": "#/$defs/missing"}', '{"$ref": "#"}', '{"$id": "http://a.example"}', '{"pattern": "("}',
        '{"minimum": NaN}', '{"$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}]}}}', '{"anyOf": []}',
        "[" * 100_000, '{"not":' * 90 + "{}" + "}" * 90, json.dumps({"title": "x" * 200_000}), '{"required": "a"}',
        '{"type": "integer", "default": "x"}', '{"discriminator": 5, "xml": 6, "example": {}, "nullable": "?"}',
        '{"properties": {"~/%{}": {"type": ["string", "null"]}, "": {}}}',
    ],
)  # fmt: skip
def test_a_broken_schema_leaves_the_document_valid_and_the_tool_in_it(text: str) -> None:
    found = document(ToolSpec(tool_id="odd", input_schema=text, output_schema=text), spec("even"))
    validate(found)
    assert {f"{TOOL}{name}/{what}" for name, what in product(("odd", "even"), ("execute", "stream"))} <= {
        *found["paths"]
    }


def test_a_document_of_many_tools_with_large_schemas_is_bounded_and_says_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openapi, "MAX_TOOLS", 20)
    monkeypatch.setattr(openapi, "MAX_SCHEMA_CHARS", 50_000)
    large = {"type": "object", "title": "x" * 10_000}
    specs = [spec(f"t{number}", large, description="y" * 16_000) for number in range(50)]
    found = document(*specs)
    validate(found)
    assert f"{TOOL}t19/execute" in found["paths"]
    assert f"{TOOL}t20/execute" not in found["paths"]
    assert "Of 50 tools" in found["info"]["description"]
    schemas = found["components"]["schemas"]
    assert "title" in schemas["tool.t0.input"]
    assert schemas["tool.t19.input"] == {"type": "object"}
    assert sys.getsizeof(json.dumps(found)) < 1_000_000


def test_of_a_tool_of_thousands_of_arguments_few_are_listed_as_parameters_of_a_query() -> None:
    found = document(spec("wide", {"type": "object", "properties": {f"a{number}": {} for number in range(4_000)}}))
    parameters = found["paths"][f"{TOOL}wide/stream"]["get"]["parameters"]
    assert [item["name"] for item in parameters if "name" in item] == [f"a{number}" for number in range(100)]
    assert len(found["components"]["schemas"]["tool.wide.input"]["properties"]) == 4_000
