"""The schemas of messages are valid, and so are the values that are read, by them."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from grpc_tool_bridge.adapters.grpc.reading import reader_of
from grpc_tool_bridge.adapters.grpc.requests import takes_request
from grpc_tool_bridge.adapters.grpc.schemas import input_schema_of, output_schema_of, requests_schema_of
from grpc_tool_bridge.gateway.tool_schemas import whole_schema
from grpc_tool_bridge.tools.spec_arguments import MAX_SCHEMA_BYTES
from support.protos_corpus import FILES, corpus, googles, message, messages, types_in

TYPES = {item.full_name: item for item in types_in(corpus(), list(FILES))}
GOOGLES = {item.full_name: item for item in types_in(*googles())}
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
REFUSED_AT_TOP = {"oneOf", "anyOf", "allOf", "$ref", "not", "enum"}


def silent(_: Any) -> str:
    return ""


def with_texts(value: Any) -> Any:
    """Returns a value as JSON has it, as far as its schema can tell: bytes are their base64, whatever it is."""
    if isinstance(value, bytes):
        return "AAA="
    if isinstance(value, dict):
        return {
            json.dumps(name).strip('"') if name in (True, False) else str(name): with_texts(item)
            for name, item in value.items()
        }
    return [with_texts(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", sorted({**TYPES, **GOOGLES}))
def test_every_schema_is_valid_and_taken_over(name: str) -> None:
    descriptor = TYPES.get(name) or GOOGLES[name]
    for make in (input_schema_of, output_schema_of, requests_schema_of):
        schema = make(descriptor, silent)
        Draft202012Validator.check_schema(schema)
        if make is not output_schema_of:
            assert schema["type"] == "object"
            assert not REFUSED_AT_TOP & schema.keys()
        text = json.dumps(schema)
        assert len(text) <= MAX_SCHEMA_BYTES
        written = whole_schema(text)
        assert (written or {}).keys() >= schema.keys()


@pytest.mark.parametrize("name", sorted(TYPES))
@given(data=st.data())
@settings(max_examples=30, suppress_health_check=SLOW, deadline=None)
def test_what_is_read_is_valid_by_the_schema_of_the_result(name: str, data: Any) -> None:
    descriptor = TYPES[name]
    made = data.draw(messages(descriptor, corpus(), valid=True, nan=False))
    read = with_texts(reader_of(descriptor, corpus())(made))
    Draft202012Validator(output_schema_of(descriptor, silent)).validate(read)


@pytest.mark.parametrize("name", sorted(set(TYPES) - {item for item in TYPES if item.startswith("ruled")}))
@given(data=st.data())
@settings(max_examples=30, suppress_health_check=SLOW, deadline=None)
def test_what_is_read_is_valid_by_the_schema_of_the_arguments(name: str, data: Any) -> None:
    descriptor = TYPES[name]
    made = data.draw(messages(descriptor, corpus(), valid=True, nan=False))
    read = with_texts(reader_of(descriptor, corpus())(made))
    given = {"request": read} if takes_request(descriptor) else read
    # An Any without a type is read as an empty dict, which nobody need write.
    schema = json.loads(json.dumps(input_schema_of(descriptor, silent)).replace(', "required": ["@type"]', ""))
    Draft202012Validator(schema).validate(given)
    assert message(name) is descriptor
