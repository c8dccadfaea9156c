from typing import Any

import pytest

from grpc_tool_bridge.adapters.mcp.schemas import content_check
from grpc_tool_bridge.errors import ValidationError

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": 0}, "kind": {"enum": ["a", "b"]}},
    "required": ["x"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"x": 1}, ""),
        ({"x": 1, "kind": "a"}, ""),
        ({"x": "1"}, "x: should be of the type integer, got '1'"),
        ({}, "'x' is a required property"),
        ({"x": -1}, "x: -1 is less than the minimum of 0"),
        ({"x": 1, "kind": "c"}, "kind: should be one of ['a', 'b'], got 'c'"),
        ({"x": 1, "y": 2}, "Additional properties are not allowed ('y' was unexpected)"),
        ([1], "should be of the type object, got [1]"),
    ],
)
def test_a_value_is_checked(value: Any, problem: str) -> None:
    assert content_check(POINT)(value) == problem


def test_a_pattern_cannot_keep_the_hub_busy() -> None:
    check = content_check({"type": "string", "pattern": "^(a+)+$"})
    assert check("a" * 60 + "!") == ""
    by_pattern = {
        "type": "object",
        "patternProperties": {"^(a+)+$": {"type": "integer"}},
        "additionalProperties": False,
    }
    assert content_check(by_pattern)({"a" * 60 + "!": "x"}) == ""


def test_a_property_may_be_called_as_a_rule() -> None:
    schema = {"type": "object", "properties": {"pattern": {"type": "integer"}, "format": {"type": "integer"}}}
    assert content_check(schema)({"pattern": "x"}) == "pattern: should be of the type integer, got 'x'"
    assert content_check({"const": {"pattern": 1}})({"pattern": 1}) == ""


def test_a_schema_that_doubles_itself_is_given_up() -> None:
    parts: dict[str, Any] = {"p0": {"type": "integer"}}
    for level in range(1, 40):
        parts[f"p{level}"] = {"allOf": [{"$ref": f"#/$defs/p{level - 1}"}, {"$ref": f"#/$defs/p{level - 1}"}]}
    check = content_check({"$ref": "#/$defs/p39", "$defs": parts})
    assert "steps" in check(1)
    # The next check has all its steps again.
    assert "steps" in check(1)


def test_a_schema_that_refers_to_itself_or_to_others_is_no_trap() -> None:
    assert content_check({"$ref": "#"})(1) in ("it is too deep to be checked", "checking it takes over 200,000 steps")
    assert "leads nowhere" in content_check({"$ref": "https://example.com/schema"})(1)
    assert "leads nowhere" in content_check({"$ref": "#/$defs/none"})(1)


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="not a JSON Schema"):
        content_check({"type": "no-such-type"})
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"items": deep}
    with pytest.raises(ValidationError, match="over 64 levels"):
        content_check(deep)
