"""Arguments of a call, however a model sends them."""

from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm.arguments import read_arguments


@pytest.mark.parametrize(
    "sent", [None, "", " \n", b"", "null", " null ", '""', '" "', '"null"', "{}", '"{}"', {}, b"{}"], ids=repr
)
def test_what_says_nothing_is_no_argument(sent: Any) -> None:
    assert read_arguments("add", sent) == {}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"a": 1}, {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (OrderedDict(b=1, a=None), {"b": 1, "a": None}),
        ('{"a": 1}', {"a": 1}),
        (b'{"a": 1}', {"a": 1}),
        (' \n{"a": {"b": []}}\n', {"a": {"b": []}}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": "{\\"b\\": 1}"}', {"a": '{"b": 1}'}),
        ('{"a": null, "b": ""}', {"a": None, "b": ""}),
        ('{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
    ],
    ids=repr,
)
def test_an_object_is_read_from_itself_and_from_its_json(sent: Any, read: dict[str, Any]) -> None:
    assert read_arguments("add", sent) == read


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ('{"a": 1,', "are not valid JSON (Expecting property name"),
        ("a=1", "are not valid JSON (Expecting value"),
        ("{'a': 1}", "are not valid JSON (Expecting property name"),
        ('"a=1"', "are not valid JSON (Expecting value"),
        (b"\xff", "are not valid JSON ("),
        ("[" * 100_000, "are not valid JSON ("),
        ("[1]", "are list, not an object"),
        ('"[1]"', "are list, not an object"),
        ([1], "are list, not an object"),
        ("3", "are int, not an object"),
        (3.5, "are float, not an object"),
        (False, "are bool, not an object"),
        ('"\\"{}\\""', "are str, not an object"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_anything_else_is_refused_with_what_it_is(sent: Any, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read_arguments("add", sent)
    assert caught.value.message.startswith(f"add: the arguments {problem}")
    assert caught.value.message.endswith("give one JSON object with the arguments by name")
