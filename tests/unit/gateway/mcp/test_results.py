"""Results as content, without a server."""

import asyncio
from typing import Any

import numpy as np
import pytest

from grpc_tool_bridge.errors import ToolExecutionError
from grpc_tool_bridge.gateway.mcp import results
from grpc_tool_bridge.gateway.mcp.results import error_result, is_small, result_of, text_result
from grpc_tool_bridge.llm.mcp_names import ERROR_META
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

SPEC = ToolSpec(name="t")


def _result(value: Any, spec: ToolSpec = SPEC, version: str = "2026-07-28") -> dict[str, Any]:
    return asyncio.run(result_of(spec, value, version))


@pytest.mark.parametrize(
    ("value", "small"),
    [
        (1, True),
        (None, True),
        ("x" * 1_000, True),
        ({"a": [1, {"b": 2}]}, True),
        ("x" * 100_000, False),
        (b"x" * 100_000, False),
        ([0] * 10_000, False),
        ([[0] * 100] * 100, False),
        ({"a": "x" * 100_000}, False),
        ({str(number): 0 for number in range(10_000)}, False),
        (np.zeros(3), False),
        ([np.zeros(3)], False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_takes_long_to_write_is_known(value: Any, small: bool) -> None:
    assert is_small(value) is small


def test_a_large_value_is_written_outside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []

    async def count(work: Any) -> Any:
        moved.append(1)
        return work()

    monkeypatch.setattr(results, "in_reader", count)
    assert _result("x" * 100_000)["content"][0]["text"] == "x" * 100_000
    assert moved == [1]
    _result("x")
    assert moved == [1]


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, ["\ud800"]])
def test_lone_surrogates_are_escaped(value: Any) -> None:
    result = _result(value)
    assert "\\ud800" in result["content"][0]["text"]
    str(result).encode()


def test_a_dict_without_a_schema_is_structured_and_other_values_are_not() -> None:
    assert _result({"a": 1})["structuredContent"] == {"a": 1}
    assert "structuredContent" not in _result([1])
    assert "structuredContent" not in _result({"a": {"type": "image", "data": b"x"}})


def test_what_is_not_what_the_schema_says_has_no_structured_content() -> None:
    spec = ToolSpec(name="t", output_schema='{"type": "object", "properties": {"a": {"type": "integer"}}}')
    assert _result({"a": 1}, spec)["structuredContent"] == {"a": 1}
    wrong = _result({"a": "x"}, spec)
    assert "structuredContent" not in wrong
    assert wrong["content"][0]["text"] == '{"a":"x"}'


def test_a_value_nested_too_deep_is_a_text_at_least() -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"a": deep}
    assert _result(deep)["content"]


def test_an_error_keeps_type_details_and_whether_to_try_again() -> None:
    result = error_result("t", ToolExecutionError("t", "RateLimitExceeded", "t: slow down", {"retry_after": "2"}))
    assert result["isError"]
    assert result["content"][0]["text"] == "t: RateLimitExceeded: slow down (retry_after: 2)"
    assert result["_meta"][ERROR_META]["details"] == {"retry_after": "2"}
    assert result["_meta"][ERROR_META]["retryable"] is True


def test_a_text_is_a_result() -> None:
    assert text_result("a")["content"] == [{"type": "text", "text": "a"}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_is_a_text_where_the_schema_has_it(value: float) -> None:
    part = '{"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}'
    properties = f'"n": {part}, "by_number": {{"type": "object", "additionalProperties": {part}}}'
    spec = ToolSpec(name="t", output_schema=f'{{"type": "object", "properties": {{{properties}}}, "required": ["n"]}}')
    found = _result({"n": value, "by_number": {1: value, 2: 1.5}}, spec)["structuredContent"]
    name = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    assert found == {"n": name, "by_number": {"1": name, "2": 1.5}}
    strict = ToolSpec(name="t", output_schema='{"type": "object", "properties": {"n": {"type": "number"}}}')
    assert "structuredContent" not in _result({"n": value}, strict)
