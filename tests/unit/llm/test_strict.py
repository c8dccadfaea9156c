"""A schema is called strict where strict mode takes it as it is, and never else."""

from typing import Any

import pytest

from grpc_tool_bridge.llm.strict import is_strict

CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}


def closed(**properties: Any) -> dict[str, Any]:
    return {**CLOSED, "properties": properties, "required": list(properties)}


@pytest.mark.parametrize(
    "schema",
    [
        CLOSED,
        closed(a={"type": "integer", "description": "A number."}, b={"enum": ["x", "y"], "type": "string"}),
        closed(a={"anyOf": [{"type": "string"}, {"type": "null"}]}),
        closed(a={"type": "array", "items": closed(b={"type": "string", "format": "date-time"})}),
        {**closed(a={"$ref": "#/$defs/P"}), "$defs": {"P": closed(x={"type": "number"})}},
    ],
)
def test_a_closed_schema_with_every_argument_required_is_strict(schema: dict[str, Any]) -> None:
    assert is_strict(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {**closed(a={"type": "integer"}), "required": []},
        {**closed(a={"type": "integer"}), "additionalProperties": True},
        closed(a={"type": "integer", "default": 3}),
        closed(a={}),
        closed(a={"type": "array"}),
        closed(a={"anyOf": [{"type": "string"}, {"type": "object"}]}),
        closed(a={"type": "array", "items": {"type": "object", "additionalProperties": {"type": "integer"}}}),
        closed(a={"type": "string", "contentEncoding": "base64"}),
        closed(a={"type": ["object", "null"], "properties": {}}),
        closed(a={"type": ["null", "array"]}),
        closed(a={"x-python-type": "pandas.DataFrame"}),
        closed(a={"$ref": "#/$defs/P", "description": "A place."}),
        {**closed(a={"$ref": "#/$defs/P"}), "$defs": {"P": {"type": "object"}}},
    ],
)
def test_what_strict_mode_refuses_is_not_called_strict(schema: dict[str, Any]) -> None:
    assert not is_strict(schema)
