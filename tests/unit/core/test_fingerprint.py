"""The digest of a call or a spec: the same for the same, and another for every other."""

import itertools
from typing import Any

import pytest
from google.protobuf import any_pb2

from grpc_tool_bridge.core.fingerprint import fingerprint, spec_digest
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ArgumentSpec,
    ResourceLimits,
    ToolCallItem,
    ToolCallRequest,
    ToolSpec,
)
from grpc_tool_bridge.values.serialization import serialize_value


def request(tool_id: str = "t", *args: Any, **kwargs: Any) -> ToolCallRequest:
    message = ToolCallRequest(tool_id=tool_id, args=[serialize_value(value) for value in args])
    for name, value in kwargs.items():
        message.kwargs[name].CopyFrom(serialize_value(value))
    return message


def raw(type_url: str, value: bytes) -> any_pb2.Any:
    return any_pb2.Any(type_url=type_url, value=value)


def test_the_order_of_arguments_by_name_makes_no_difference() -> None:
    names = [f"name{number}" for number in range(50)]
    forward, backward = (dict.fromkeys(order, 1) for order in (names, names[::-1]))
    assert fingerprint(request("t", **forward)) == fingerprint(request("t", **backward))


def test_an_item_of_a_batch_is_the_same_call_as_one_by_itself() -> None:
    alone = request("t", 1, text="x")
    alone.session_id, alone.request_id, alone.timeout_ms = "s", "r", 5
    item = ToolCallItem(index=3, tool_id="t", args=alone.args, kwargs=alone.kwargs)
    assert fingerprint(alone) == fingerprint(item)


def test_no_two_different_calls_have_the_same_digest() -> None:
    typed = ToolCallRequest(tool_id="t", args=[raw("ab", b"c")])
    shifted = ToolCallRequest(tool_id="t", args=[raw("a", b"bc")])
    by_position = ToolCallRequest(tool_id="t", args=[raw("a", b"b"), raw("c", b"d"), raw("e", b"f")])
    by_name = ToolCallRequest(tool_id="t", kwargs={"a": raw("b", b"c"), "d": raw("e", b"f")})
    calls = [
        request("t"),
        request("u"),
        request("t", 1),
        request("t", 1.0),
        request("t", True),
        request("t", 1, 1),
        request("t", a=1),
        request("t", b=1),
        request("t", a=1, b=2),
        request("t", a=2, b=1),
        request("t", 1, a=2),
        request("t", "ab", "c"),
        request("t", "a", "bc"),
        request("t", ""),
        typed,
        shifted,
        by_position,
        by_name,
    ]
    for one, other in itertools.combinations(calls, 2):
        assert fingerprint(one) != fingerprint(other), (one, other)


SCHEMA = '{"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}'


def spec_of(input_schema: str, **fields: Any) -> ToolSpec:
    return ToolSpec(tool_id="t", name="t", input_schema=input_schema, **fields)


@pytest.mark.parametrize(
    "same",
    [
        '{"required":["title"],"properties":{"title":{"type":"string"}},"type":"object"}',
        """{
            "title": "T", "examples": [], "type": "object", "required": ["title"],
            "properties": {"title": {"description": "Its title.", "type": "string"}}
        }""",
    ],
)
def test_a_schema_in_other_words_is_the_same(same: str) -> None:
    assert spec_digest(spec_of(same)) == spec_digest(spec_of(SCHEMA))


@pytest.mark.parametrize(
    "other",
    [
        "",
        "{",
        "[" * 100_000,
        '{"type": "object", "properties": {"title": {"type": "integer"}}, "required": ["title"]}',
        '{"type": "object", "properties": {}, "required": ["title"]}',
        '{"type": "object", "properties": {"title": {"type": "string", "maxLength": 3}}, "required": ["title"]}',
    ],
)
def test_another_schema_is_another(other: str) -> None:
    assert spec_digest(spec_of(other)) != spec_digest(spec_of(SCHEMA))


def test_the_types_of_a_language_make_no_difference_and_names_do() -> None:
    python, elixir, renamed = (
        spec_of(SCHEMA, arguments=[argument])
        for argument in (
            ArgumentSpec(name="title", python_type="str", required=True),
            ArgumentSpec(name="title", elixir_type="String.t()", required=True, description="Its title."),
            ArgumentSpec(name="name", python_type="str", required=True),
        )
    )
    assert spec_digest(python) == spec_digest(elixir) != spec_digest(renamed)


def test_no_limits_are_the_same_whether_or_not_they_are_written() -> None:
    unlimited, limited = (spec_of(SCHEMA, limits=ResourceLimits(timeout_ms=ms)) for ms in (0, 1))
    assert spec_digest(unlimited) == spec_digest(spec_of(SCHEMA)) != spec_digest(limited)
