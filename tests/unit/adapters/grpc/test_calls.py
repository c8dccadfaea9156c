"""Calls of the methods of a service; over real sockets they are tested with the rest."""

from typing import Any

import pytest

from grpc_tool_bridge.adapters.grpc.calls import is_large


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, False),
        ({"a": 1, "b": "x" * 1_000_000}, False),
        ({"a": list(range(3_000))}, False),
        ({"a": list(range(5_000))}, True),
        ({"a": [[1] * 100] * 100}, True),
        ({"a": {"b": {"c": (1,) * 5_000}}}, True),
        ({str(number): 1 for number in range(5_000)}, True),
    ],
)
def test_arguments_that_take_long_are_known(arguments: Any, expected: bool) -> None:
    assert is_large(arguments) is expected


def test_arguments_that_contain_themselves_are_large() -> None:
    arguments: dict[str, Any] = {}
    arguments["a"] = arguments
    assert is_large(arguments)
