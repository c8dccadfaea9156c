"""The beginning of a value's repr."""

from collections.abc import Callable
from typing import Any

import pytest

from grpc_tool_bridge.errors.clipped_repr import clipped_repr

CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [
        *("x", b"x", bytearray(b"x"), 1, 1.5, None, True, object),
        *([], (), {}, set(), frozenset()),
        *([1, "a"], (1,), (1, 2), {"a": [1], 2: ("b",)}, {3}, frozenset({3}), [[[]]], ({},)),
    ],
)
def test_what_is_short_is_written_as_python_writes_it(value: Any) -> None:
    assert clipped_repr(value, 1_000) == repr(value)


@pytest.mark.parametrize(
    ("make", "begins"),
    [
        (lambda: "x" * 10**8, "'xxx"),
        (lambda: b"x" * 10**8, "b'xxx"),
        (lambda: ["x" * 10**8], "['xxx"),
        (lambda: [0] * 10**7, "[0, 0, 0"),
        (lambda: {"k": "v" * 10**8}, "{'k': 'vvv"),
        (lambda: (["x" * 10**7] * 10,) * 10, "(['xxx"),
        (lambda: CYCLE, "[[[[["),
    ],
    ids=["text", "bytes", "text in a list", "many items", "dict", "nested", "cycle"],
)
def test_of_what_is_long_only_the_beginning_is_written(make: Callable[[], Any], begins: str) -> None:
    text = clipped_repr(make(), 1_000)
    assert text.startswith(begins)
    assert len(text) < 2_000


def test_what_is_none_of_pythons_is_asked_for_its_own_text() -> None:
    class Own:
        def __repr__(self) -> str:
            return "own"

    assert clipped_repr([Own()], 100) == "[own]"
