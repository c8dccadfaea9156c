"""Which schemas a tool may ask by, and which contents fit them."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.tools.content_schemas import (
    check_schema,
    choices_of,
    fitting_content,
    read_schema,
    read_value,
    schema_text,
)

TITLED = [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]


def of(**rules: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": rules}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}, "title": "T", "description": "D", "additionalProperties": False},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"},
        of(type="string", title="A", description="D", minLength=1, maxLength=2, format="email", default="x"),
        of(type="string", enum=["x", "y"], enumNames=["X", "Y"], default="y"),
        of(type="integer", minimum=1, maximum=2, exclusiveMinimum=0, exclusiveMaximum=3, default=1),
        of(type="number", minimum=0.5, enum=[0.5, 1]),
        of(type="boolean", default=False),
        of(type="string", oneOf=TITLED, default="b"),
        of(type="array", items={"type": "string", "enum": ["a", "b"]}, minItems=1, maxItems=2, default=["a"]),
        of(type="array", title="A", description="D", items={"anyOf": TITLED}),
        of(type="array", items={"type": "string", "anyOf": TITLED}),
    ],
)
def test_a_flat_schema_of_plain_properties_goes_there_and_back(schema: dict[str, Any]) -> None:
    assert read_schema(schema_text(schema)) == schema


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ([], "must be a JSON Schema of an object"),
        ({}, "must be a JSON Schema of an object"),
        ({"type": ["object"]}, "must be a JSON Schema of an object"),
        ({"type": "object", "anyOf": []}, "the schema has 'anyOf', which a question does not support"),
        ({"type": "object", "properties": []}, "'properties' must be an object"),
        ({"type": "object", "additionalProperties": True}, "'additionalProperties' must be false or omitted"),
        ({"type": "object", "required": "a"}, "'required' must be a list of names"),
        ({"type": "object", "required": ["a"]}, "'required' must be a list of names"),
        ({"type": "object", "required": [[]]}, "'required' must be a list of names"),
        ({"type": "object", "title": 1}, "the schema: 'title' must be a string"),
        ({"type": "object", "properties": {"a": True}}, "property 'a' is not described by an object"),
        ({"type": "object", "properties": {1: {}}}, "property 1 is not described by an object"),
        (of(), "property 'a' has the type None; a question may ask for 'string'"),
        (of(type=["string", "null"]), "has the type ['string', 'null']"),
        (of(type="object"), "has the type 'object'"),
        (of(type="string", pattern="a+"), "property 'a' has 'pattern'"),
        (of(type="boolean", minimum=1), "property 'a' has 'minimum'"),
        (of(type="string", description=1), "'description' must be a string"),
        (of(type="string", minLength=1.5), "'minLength' must be a number"),
        (of(type="integer", minimum="1"), "'minimum' must be a number"),
        (of(type="integer", minimum=True), "'minimum' must be a number"),
        (of(type="number", maximum=float("nan")), "'maximum' must be a number"),
        (of(type="string", maxLength=10**5_000), "'maxLength' must be a number"),
        (of(type="string", enum=[]), "'enum' must be a list of at least one value"),
        (of(type="string", enum="ab"), "'enum' must be a list of at least one value"),
        (of(type="string", enum=["a", 1]), "'enum' has a value that is not a string, or is out of range"),
        (of(type="integer", enum=[1, 9], maximum=2), "'enum' has a value that is not an integer, or is out of range"),
        (of(type="string", enum=["a"], enumNames=[1]), "'enumNames' must be a list of strings"),
        (of(type="integer", default="1"), "'default' is '1', not an integer"),
        (of(type="string", enum=["a"], default="b"), "'default' is 'b', not one of 'a'"),
        (of(type="string", oneOf=TITLED, enum=["a"]), "property 'a' has 'enum' and 'oneOf'"),
        (of(type="string", oneOf=[]), "'oneOf' must be a list of at least one choice"),
        (of(type="string", oneOf={"const": "a", "title": "A"}), "'oneOf' must be a list of at least one choice"),
        (of(type="string", oneOf=["a"]), "'oneOf' must list objects with two strings, 'const' and 'title'"),
        (of(type="string", oneOf=[{"const": "a"}]), "'oneOf' must list objects with two strings"),
        (of(type="string", oneOf=[{"const": 1, "title": "A"}]), "'oneOf' must list objects with two strings"),
        (of(type="string", oneOf=TITLED, maxLength=0), "'oneOf' has a value that is not a string, or is out of range"),
        (of(type="string", oneOf=TITLED, default="c"), "'default' is 'c', not one of 'a', 'b'"),
        (of(type="integer", oneOf=TITLED), "property 'a' has 'oneOf'"),
        (of(type="array"), "'items' must be an object with either 'enum' or 'anyOf'"),
        (of(type="array", items={"type": "string"}), "'items' must be an object with either 'enum' or 'anyOf'"),
        (of(type="array", items={"enum": ["a"], "anyOf": TITLED}), "'items' must be an object with either"),
        (of(type="array", items={"type": "string", "enum": ["a"], "format": "email"}), "'items' has 'format'"),
        (of(type="array", items={"enum": ["a"]}), "'items' must have the type 'string'"),
        (of(type="array", items={"type": "integer", "enum": [1]}), "'items' must have the type 'string'"),
        (of(type="array", items={"type": "integer", "anyOf": TITLED}), "'items' must have the type 'string' or none"),
        (of(type="array", items={"type": "string", "enum": [1]}), "'enum' must be a list of at least one string"),
        (of(type="array", items={"type": "string", "enum": []}), "'enum' must be a list of at least one string"),
        (of(type="array", items={"anyOf": "a"}), "'anyOf' must be a list of at least one choice"),
        (of(type="array", items={"anyOf": TITLED}, minItems="1"), "'minItems' must be a number"),
        (of(type="array", items={"anyOf": TITLED}, default="a"), "'default' is 'a', not a list of strings"),
        (of(type="array", items={"anyOf": TITLED}, default=["c"]), "'default' has an item that is 'c', not one of"),
        (of(type="string", description="x" * 16_384), "characters as JSON; the limit is 16,384"),
    ],
)
def test_another_schema_is_refused_and_the_text_says_where(schema: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        schema_text(schema)
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("rules", "choices"),
    [
        ({"type": "string"}, {}),
        ({"type": "string", "enum": ["a", "b"], "enumNames": ["A"]}, {"a": "A", "b": ""}),
        ({"type": "string", "oneOf": TITLED}, {"a": "A", "b": "B"}),
        ({"type": "array", "items": {"anyOf": TITLED}}, {"a": "A", "b": "B"}),
        ({"type": "array", "items": {"type": "string", "enum": ["a"]}}, {"a": ""}),
    ],
)
def test_the_choices_of_a_property_come_with_their_titles(rules: dict[str, Any], choices: dict[str, str]) -> None:
    assert choices_of(rules) == choices


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "1", '{"type": "array"}'])
def test_a_text_that_is_no_such_schema_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        read_schema(text)


def test_no_schema_asks_for_no_content() -> None:
    assert read_schema("") is None
    assert fitting_content({}, None) == {}
    with pytest.raises(ValidationError, match="'a' is not asked for"):
        fitting_content({"a": 1}, None)


@pytest.mark.parametrize(
    ("rules", "value", "fits"),
    [
        ({"type": "integer"}, 3.0, 3),
        ({"type": "integer"}, 2**53, 2**53),
        ({"type": "number"}, 3, 3),
        ({"type": "number"}, -0.5, -0.5),
        ({"type": "boolean"}, False, False),
        ({"type": "string"}, "", ""),
        ({"type": "string", "maxLength": 1}, "ö", "ö"),
        ({"type": "string", "oneOf": TITLED}, "b", "b"),
        ({"type": "array", "items": {"anyOf": TITLED}}, ["b", "a"], ["b", "a"]),
        ({"type": "array", "items": {"type": "string", "enum": ["a"]}}, [], []),
    ],
)
def test_what_fits_comes_as_what_it_is(rules: dict[str, Any], value: Any, fits: Any) -> None:
    made = fitting_content({"a": value}, of(**rules))["a"]
    assert made == fits
    assert type(made) is type(fits)


@pytest.mark.parametrize(
    ("rules", "value", "text"),
    [
        ({"type": "integer"}, 1.5, "is 1.5, not an integer"),
        ({"type": "integer"}, True, "is True, not an integer"),
        ({"type": "integer"}, 2**53 + 1, "not an integer"),
        ({"type": "number"}, float("inf"), "is inf, not a finite number"),
        ({"type": "number"}, float("nan"), "is nan, not a finite number"),
        ({"type": "number"}, 10**400, "not a finite number"),
        ({"type": "number"}, False, "is False, not a finite number"),
        ({"type": "boolean"}, 1, "is 1, not true or false"),
        ({"type": "string"}, None, "is None, not a string"),
        ({"type": "string"}, "\ud800", "not a string"),
        ({"type": "string", "minLength": 2}, "x", "has 1 characters, not at least 2"),
        ({"type": "string", "maxLength": 2}, "xyz", "has 3 characters, not at most 2"),
        ({"type": "integer", "minimum": 2}, 1, "is 1, not at least 2"),
        ({"type": "integer", "maximum": 2}, 3, "is 3, not at most 2"),
        ({"type": "number", "exclusiveMinimum": 2}, 2, "is 2, not more than 2"),
        ({"type": "number", "exclusiveMaximum": 2}, 2, "is 2, not less than 2"),
        ({"type": "string", "enum": ["a", "b"]}, "c", "is 'c', not one of 'a', 'b'"),
        ({"type": "string", "oneOf": TITLED}, "A", "is 'A', not one of 'a', 'b'"),
        ({"type": "array", "items": {"anyOf": TITLED}}, "a", "is 'a', not a list of strings"),
        ({"type": "array", "items": {"anyOf": TITLED}}, [1], "is [1], not a list of strings"),
        ({"type": "array", "items": {"anyOf": TITLED}}, ["a", "c"], "has an item that is 'c', not one of 'a', 'b'"),
        ({"type": "array", "items": {"anyOf": TITLED}, "minItems": 1}, [], "has 0 items, not at least 1"),
        ({"type": "array", "items": {"anyOf": TITLED}, "maxItems": 1}, ["a", "b"], "has 2 items, not at most 1"),
    ],
)
def test_what_does_not_fit_is_named(rules: dict[str, Any], value: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        fitting_content({"a": value}, of(**rules))
    assert f"'a' {text}" in caught.value.message or text in caught.value.message
    assert text in caught.value.details["a"]


def test_everything_that_is_wrong_is_told_at_once_and_in_few_words() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["b"]}
    with pytest.raises(ValidationError) as caught:
        fitting_content({"a": 1, "c": 2}, schema)
    assert caught.value.message == (
        "the answer does not fit what was asked for: 'a' is 1, not a string; 'c' is not asked for; 'b' is missing"
    )
    with pytest.raises(ValidationError) as caught:
        fitting_content({"x" * 10_000 + str(number): number for number in range(1_000)}, schema)
    assert len(caught.value.message) < 1_000


RULES = st.sampled_from(
    [
        {"type": "string", "minLength": 1, "maxLength": 3},
        {"type": "string", "enum": ["a", "b"]},
        {"type": "integer", "minimum": -2, "exclusiveMaximum": 5},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 2.5},
        {"type": "boolean"},
        {"type": "string", "oneOf": TITLED},
        {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "minItems": 1},
        {"type": "array", "items": {"anyOf": TITLED}, "maxItems": 2},
    ]
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10),
    st.floats(-9, 9),
    st.sampled_from(["a", "b"]),
    st.text(max_size=5),
    st.lists(st.integers()),
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
)


@given(RULES, VALUES)
def test_it_says_the_same_as_a_checker_of_json_schema(rules: dict[str, Any], value: Any) -> None:
    schema = of(**rules)
    check_schema(schema)
    try:
        jsonschema.validate({"a": value}, schema)
    except jsonschema.ValidationError:
        with pytest.raises(ValidationError):
            fitting_content({"a": value}, schema)
    else:
        assert json.dumps(fitting_content({"a": value}, schema)["a"] == value)


@pytest.mark.parametrize(
    ("rules", "text", "value"),
    [
        ({"type": "string"}, " x", " x"),
        ({"type": "integer"}, "-3", -3),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "boolean"}, "YES", True),
        ({"type": "boolean"}, "n", False),
        ({"type": "boolean"}, "true", True),
        ({"type": "array", "items": {"anyOf": TITLED}}, "a, b", ["a", "b"]),
    ],
)
def test_what_is_typed_is_read_by_its_type(rules: dict[str, Any], text: str, value: Any) -> None:
    assert read_value(text, rules) == value


@pytest.mark.parametrize(
    ("rules", "text", "problem"),
    [
        ({"type": "integer"}, "1.0", "'1.0' is not an integer"),
        ({"type": "integer"}, "9" * 5_000, "is not an integer"),
        ({"type": "number"}, "nan", "it is nan, not a finite number"),
        ({"type": "boolean"}, "maybe", "'maybe' is not true or false"),
        ({"type": "integer", "minimum": 2}, "1", "it is 1, not at least 2"),
        ({"type": "array", "items": {"anyOf": TITLED}}, "a,c", "it has an item that is 'c', not one of 'a', 'b'"),
    ],
)
def test_what_is_typed_wrong_is_told(rules: dict[str, Any], text: str, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read_value(text, rules)
    assert problem in caught.value.message
