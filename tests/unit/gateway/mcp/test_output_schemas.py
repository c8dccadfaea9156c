"""What clients are told of structured content, and whether a content is that."""

import json
from typing import Any

import jsonschema
import pytest

from grpc_tool_bridge.gateway.mcp.output_schemas import UndecidedError, declared, output_schema
from grpc_tool_bridge.llm.mcp_names import RESULT
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType

OLD, NEW = "2025-11-25", "2026-07-28"


def _spec(schema: Any, kind: ToolType.ValueType = ToolType.STANDARD) -> ToolSpec:
    return ToolSpec(name="t", type=kind, output_schema=schema if isinstance(schema, str) else json.dumps(schema))


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "not JSON",
        "[]",
        "{}",
        {"type": "nonsense"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
        {"type": "object", "patternProperties": {"(a+)+$": {}}},
        {"type": "object", "properties": {"a": {"unevaluatedProperties": False}}},
        {"type": "array", "unevaluatedItems": False},
        {"type": "object", "properties": {"type": {"const": "image"}, "data": {"type": "string"}}},
        {"type": "array", "items": {"anyOf": [{"properties": {"type": {"const": "resource_link"}, "uri": {}}}]}},
        {"type": "string", "description": "x" * 70_000},
    ],
    ids=lambda schema: str(schema)[:40],
)
def test_a_schema_that_cannot_be_used_is_not_told(schema: Any) -> None:
    for version in (OLD, NEW):
        assert output_schema(_spec(schema), version) is None


def test_an_object_is_told_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    for version in (OLD, NEW):
        assert output_schema(_spec(schema), version) == schema


def test_other_values_are_wrapped_where_the_protocol_has_only_objects() -> None:
    schema = {"type": "integer"}
    assert output_schema(_spec(schema), NEW) == schema
    old = output_schema(_spec(schema), OLD)
    assert old is not None
    assert old["properties"] == {RESULT: schema}
    # Null would not be sent.
    new = output_schema(_spec({"anyOf": [schema, {"type": "null"}]}), NEW)
    assert new is not None
    assert new["type"] == "object"


def test_a_definition_that_a_schema_only_refers_to_takes_its_place() -> None:
    schema = {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"next": {"$ref": "#/$defs/A"}}}}}
    told = output_schema(_spec(schema), OLD)
    assert told is not None
    assert told["type"] == "object"
    jsonschema.validate({"next": {"next": {}}}, told)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"$ref": "#"}]}},
        {"$id": "https://example.com/a", "type": "array", "items": {"$ref": "#"}},
        {"type": "array", "items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"type": "array"}}},
    ],
)
def test_references_find_what_they_did_before_when_a_schema_is_wrapped(schema: Any) -> None:
    found = declared(_spec(schema), OLD)
    assert found is not None
    assert found.allows({RESULT: [[], []]})
    assert not found.allows({RESULT: ["x"]})


def test_the_list_of_what_a_tool_yields_has_a_schema_of_a_list() -> None:
    found = declared(_spec({"type": "integer"}, ToolType.STREAMING), NEW)
    assert found is not None
    assert found.allows([1, 2])
    assert not found.allows(1)


def test_nothing_is_fetched() -> None:
    found = declared(_spec({"type": "object", "properties": {"a": {"$ref": "https://example.com/s"}}}), OLD)
    assert found is not None
    assert not found.allows({"a": 1})


def test_a_pattern_is_matched_in_linear_time() -> None:
    found = declared(_spec({"type": "string", "pattern": "^(a+)+$"}), NEW)
    assert found is not None
    assert found.allows("a" * 50)
    assert not found.allows("a" * 50_000 + "!")
    strange = declared(_spec({"type": "string", "pattern": "(?<=a)b"}), NEW)
    assert strange is not None
    assert not strange.allows("ab")


def _doubling(levels: int, **last: Any) -> dict[str, Any]:
    """Returns a schema that checks its last part 2 ** levels times."""
    parts: dict[str, Any] = {f"p{levels}": last}
    for level in range(levels):
        lower = {"$ref": f"#/$defs/p{level + 1}"}
        parts[f"p{level}"] = {"allOf": [lower, lower]}
    return {"title": "Doubling", "$ref": "#/$defs/p0", "$defs": parts}


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_schema_that_doubles_itself_does_not_keep_the_hub_busy(version: str) -> None:
    found = declared(_spec(_doubling(40)), version)
    assert found is not None
    # It may be null, for all that can be found out.
    assert found.wraps
    with pytest.raises(UndecidedError):
        found.allows({RESULT: 1}, is_quick=True)
    assert not found.allows({RESULT: 1})
    assert declared(_spec(_doubling(3, type="integer")), version).allows({RESULT: 1} if version == OLD else 1)  # type: ignore[union-attr]


def test_a_schema_that_takes_long_to_be_checked_itself_is_not_told() -> None:
    assert declared(_spec({"items": {"allOf": [{}] * 20_000}}), NEW) is None


def test_items_that_must_differ_are_compared_within_bounds() -> None:
    found = declared(_spec({"type": "array", "uniqueItems": True}), NEW)
    assert found is not None
    assert found.allows(["a", "b"])
    assert not found.allows(["a", "a"])
    with pytest.raises(UndecidedError):
        found.allows([{"a": number} for number in range(1_000)], is_quick=True)
