"""A tool's schema is taken over whole, or not at all."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from grpc_tool_bridge.gateway.tool_schemas import MAX_SCHEMA_CHARS, local_schema, whole_schema

TAGGED = {"$ref": "#/components/schemas/Tagged"}


def local(schema: Any, *, answered: bool = False) -> Any:
    return local_schema(json.dumps(schema), "t", answered=answered)


def test_references_lead_to_the_schema_where_it_stands_in_the_document() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "top": {"$ref": "#"}}}
    found = local({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    there = "#/components/schemas/t"
    assert found["$ref"] == f"{there}/$defs/Node"
    assert found["$defs"]["Node"]["properties"] == {"next": {"$ref": f"{there}/$defs/Node"}, "top": {"$ref": there}}


def test_what_json_schema_does_not_know_is_left_out() -> None:
    schema = {"type": "string", "discriminator": {"mapping": {"a": "#/$defs/A"}}, "x-own": 1, "title": "T"}
    assert local(schema) == {"type": "string", "title": "T"}


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({"type": "integer", "default": 2}, True),
        ({"type": "integer", "default": 2.0}, True),
        ({"type": "integer", "default": True}, False),
        ({"type": ["integer", "null"], "default": None}, True),
        ({"enum": ["a"], "default": "b"}, False),
        ({"default": [1]}, True),
    ],
)
def test_a_default_that_its_own_schema_refuses_is_left_out(schema: dict[str, Any], kept: bool) -> None:
    assert ("default" in local(schema)) is kept


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer"},
        {"type": "array", "items": {}},
        {"type": "string", "format": "date"},
        {"type": "string", "contentEncoding": "base64"},
        {"type": "object", "additionalProperties": True},
        {"type": ["number", "null"]},
    ],
)
def test_what_a_tool_answers_may_be_tagged_where_json_may_have_no_form_for_it(schema: dict[str, Any]) -> None:
    assert local(schema, answered=True) == {"anyOf": [schema, TAGGED]}
    assert TAGGED not in local(schema).get("anyOf", [])


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", b"\xfb\xff\xfe"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_bytes_are_base64_and_no_other_text(data: bytes, encode: Callable[[bytes], bytes]) -> None:
    pattern = local({"type": "string", "contentEncoding": "base64"})["pattern"]
    assert re.search(pattern, encode(data).decode())
    for text in ("a", "ab", "ab=", "ab=c", "a b=", "abcd=", "äbcd", "abcd\n"):
        assert not re.fullmatch(pattern, text)


@pytest.mark.parametrize(
    "schema", [{"type": "string"}, {"type": "boolean"}, {"type": "object", "properties": {}}, {"enum": [1]}, {}]
)
def test_what_json_has_a_form_for_is_as_the_tool_says(schema: dict[str, Any]) -> None:
    assert local(schema, answered=True) == schema


@pytest.mark.parametrize("made_of", ["allOf", "anyOf", "oneOf"])
def test_a_definition_that_is_made_of_itself_is_refused_and_one_that_has_itself_in_it_is_not(made_of: str) -> None:
    circle = {"$defs": {"A": {made_of: [{"$ref": "#/$defs/B"}]}, "B": {"$ref": "#/$defs/A"}}}
    assert local(circle) is None
    assert local({"$defs": {"A": {"items": {made_of: [{"$ref": "#/$defs/A"}]}}}}) is not None


def test_a_schema_of_too_many_parts_is_refused() -> None:
    assert local({"anyOf": [{}] * 4_000}) is not None
    assert local({"anyOf": [{}] * 6_000}) is None


# ------------------------------------------------------------------------------------------- a schema that stands alone


def test_a_whole_schema_refers_to_what_is_in_it() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#"}},
        "required": ["a"],
        "$defs": {"A": {"type": "string", "title": "A name"}},
    }
    assert whole_schema(json.dumps(schema)) == schema


def test_a_schema_of_an_older_draft_is_whole_as_it_is() -> None:
    schema = {"$id": "urn:x", "properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": {"minimum": 0}}}
    assert whole_schema(json.dumps(schema)) == schema


@pytest.mark.parametrize(
    "text",
    ["", "{", "1", '"text"', "[]", '{"$id": "x", "default": NaN}', '{"$id": ' * 51 + "1" + "}" * 51, "[" * 100_000],
    ids=lambda text: text[:20],
)
def test_what_is_no_schema_or_too_deep_is_not_taken(text: str) -> None:
    assert whole_schema(text) is None


def test_a_schema_that_is_too_large_is_not_taken() -> None:
    text = json.dumps({"$id": "x", "description": "x" * MAX_SCHEMA_CHARS})
    assert whole_schema(text) is None


@pytest.mark.parametrize("default", [2**53, -(2**60), [1, 2**60], {"a": 2**60}], ids=str)
def test_a_default_that_not_every_reader_reads_exactly_is_left_out(default: object) -> None:
    assert whole_schema(json.dumps({"title": "A", "default": default})) == {"title": "A"}
    assert whole_schema(json.dumps({"title": "A", "default": 2**53 - 1})) == {"title": "A", "default": 2**53 - 1}
