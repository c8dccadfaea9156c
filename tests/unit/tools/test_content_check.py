from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.tools.content_check import ContentCheck, content_check

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


def test_parts_that_name_a_dialect_keep_the_bounds() -> None:
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    parts: dict[str, Any] = {"p0": {**named, "type": "integer", "pattern": "^(a+)+$"}}
    assert content_check({"$ref": "#/$defs/p0", "$defs": parts})(1) == ""
    assert "integer" in content_check({"$ref": "#/$defs/p0", "$defs": parts})("a" * 60 + "!")
    for level in range(1, 40):
        lower = {"$ref": f"#/$defs/p{level - 1}"}
        parts[f"p{level}"] = {**named, "allOf": [lower, lower]}
    check = content_check({"$ref": "#/$defs/p39", "$defs": parts})
    assert check.quick(1) is None
    assert "steps" in check(1)


def test_a_property_of_the_value_may_be_called_as_a_dialect_is_named() -> None:
    schema = {"properties": {"$schema": {"type": "string"}}, "const": {"$schema": "x"}}
    assert content_check({"items": schema})([{"$schema": "x"}]) == ""
    assert content_check({"items": schema})([{"$schema": 1}])


@pytest.mark.parametrize(
    "schema",
    [{"items": {"allOf": [{}] * 60_000}}, {"anyOf": [{"type": "string"}] * 8_000}],
    ids=["parts", "choices"],
)
def test_a_schema_that_takes_long_to_be_checked_itself_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="too large to be checked"):
        content_check(schema)


def test_rules_of_ones_own_take_the_place_of_those_of_the_dialect() -> None:
    assert ContentCheck({"uniqueItems": True})([1, 1]) == ""
    check = ContentCheck({"uniqueItems": True}, ())
    assert "non-unique" in check([1, 1])
    assert check(["a", "b", 1]) == ""
    # Items that cannot be sorted are compared each with each.
    assert check.quick([{"a": number} for number in range(1_000)]) is None
    assert check.quick([str(number) for number in range(1_000)]) == ""


def test_one_check_may_be_used_by_several_threads() -> None:
    check = content_check({"items": {"type": "integer"}})
    values = [[*range(10_000)], [*range(9_999), "x"]] * 8
    with ThreadPoolExecutor(4) as pool:
        problems = list(pool.map(check, values))
    assert [bool(problem) for problem in problems] == [False, True] * 8


def test_a_schema_that_refers_to_itself_or_to_others_is_no_trap() -> None:
    assert content_check({"$ref": "#"})(1) in ("it is too deep to be checked", "checking it takes over 500,000 steps")
    assert "leads nowhere" in content_check({"$ref": "https://example.com/schema"})(1)
    assert "leads nowhere" in content_check({"$ref": "#/$defs/none"})(1)


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="not a JSON Schema"):
        content_check({"type": "no-such-type"})
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"items": deep}
    with pytest.raises(ValidationError, match="over 128 levels"):
        content_check(deep)


def test_a_pattern_behind_a_reference_is_not_checked_either() -> None:
    hidden = {"type": "string", "pattern": "^(a+)+$", "patternProperties": {"^(a+)+$": False}}
    check = content_check({"$ref": "#/x-hidden", "x-hidden": hidden})
    assert check("a" * 60 + "!") == ""


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"enum": list(range(40_000))}}, [39_999] * 100_000),
        ({"items": {"const": [0] * 40_000}}, [[0] * 40_000] * 100_000),
        ({"items": {"properties": {f"p{number}": {} for number in range(8_000)}}}, [{}] * 100_000),
        ({"items": {"allOf": [{}] * 60_000}}, [1] * 100_000),
        ({"allOf": [{"items": {}}] * 8_000}, [1] * 100_000),
        ({"anyOf": [{"type": "string"}] * 8_000}, {"x": "a" * 1_000_000}),
    ],
    ids=["choices", "constant", "properties", "parts", "items", "texts of errors"],
)
def test_large_rules_and_values_take_many_steps(schema: dict[str, Any], value: Any) -> None:
    check = ContentCheck(schema)
    assert check(value) == "checking it takes over 500,000 steps"
    assert check.quick(value) is None


def test_what_was_found_is_told_when_the_steps_are_used_up() -> None:
    value = ["a" * 1_000_000] * 100
    assert content_check({"type": "object", "items": {"type": "integer"}})(value).startswith("should be of the type")


def test_unevaluated_properties_are_not_checked() -> None:
    schema: dict[str, Any] = {"unevaluatedProperties": False}
    for _ in range(40):
        schema = {"anyOf": [schema], "unevaluatedProperties": False}
    assert content_check(schema)({f"key{number}": 1 for number in range(1_000)}) == ""


def test_numbers_that_cannot_be_divided_are_a_problem_of_the_result() -> None:
    assert "cannot be checked: OverflowError" in content_check({"multipleOf": 0.5})(10**400)


@pytest.mark.parametrize("named", [{}, [], "http://["], ids=repr)
def test_a_schema_of_no_kind_is_refused(named: Any) -> None:
    with pytest.raises(ValidationError, match="has a \\$schema that is no address"):
        content_check({"$schema": named})


def test_an_address_that_is_none_is_a_problem() -> None:
    assert "ValueError" in content_check({"$id": "http://[", "$ref": "x"})(1)
