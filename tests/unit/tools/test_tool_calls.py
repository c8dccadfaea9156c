"""What a test asserts of recorded calls."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from grpc_tool_bridge.tools.tool_calls import RecordedCall, ToolCalls


def calls(*items: RecordedCall) -> ToolCalls:
    return ToolCalls(list(items))


def add(*args: Any, **kwargs: Any) -> RecordedCall:
    return RecordedCall("add", args, kwargs, result=3, is_done=True, names=["a", "b"])


def test_calls_are_read_in_order_and_by_tool() -> None:
    made = calls(add(1, 2), RecordedCall("mul"), add(3, b=4))
    assert made.tools == ["add", "mul", "add"]
    assert [call.arguments for call in made.of("add")] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert (len(made), len(made.of("mul")), len(made.of("none"))) == (3, 1, 0)
    assert made[-1].args == (3,)
    assert made.of("add")[:1][0].args == (1, 2)


def test_new_calls_are_seen_and_old_ones_forgotten() -> None:
    made = calls(add(1, 2))
    adds = made.of("add")
    made.add(RecordedCall("mul"))
    made.add(add(5, 6))
    assert len(adds) == 2
    adds.clear()
    assert made.tools == ["mul"]
    made.clear()
    assert not made


def test_arguments_are_compared_by_position_or_by_name() -> None:
    made = calls(add(2, b=3)).of("add")
    made.assert_called_once_with(2, 3)
    made.assert_called_once_with(a=2, b=3)
    made.assert_called_with(2, b=3)
    made.assert_any_call(2, 3)
    assert not add(1).has([1, 2], {})
    assert not RecordedCall("x", (1, 2)).has([1, 3], {})
    assert RecordedCall("x", (1, 2)).has([1, 2], {})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (np.array([1, 2]), np.array([1, 2]), True),
        (np.array([1, 2]), np.array([1, 3]), False),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}), True),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]}), False),
        (1, "1", False),
    ],
)
def test_arrays_and_frames_are_compared_as_a_whole(one: Any, other: Any, same: bool) -> None:
    assert add(one).has([other], {}) is same


def test_what_cannot_be_compared_is_not_the_same() -> None:
    class Bad:
        def __eq__(self, other: object) -> bool:
            raise ValueError

        __hash__ = None  # type: ignore[assignment]  # that is the point

    assert not add(Bad()).has([Bad()], {})


def fails(text: str) -> Any:
    return pytest.raises(AssertionError, match=f"^{re.escape(text)}$")


def test_a_failed_assertion_says_what_was_called() -> None:
    failed = RecordedCall("add", (1,), {"b": "x" * 500}, error=ValueError("no"), is_done=True)
    made = calls(add(1, 2), failed, RecordedCall("mul"))
    with fails("sub was not called; called: add, mul"):
        made.of("sub").assert_called()
    with fails("sub was not called, nor was any other tool"):
        calls().of("sub").assert_called_once()
    with fails("mul was called\n  mul() still runs"):
        made.of("mul").assert_not_called()
    with fails("mul was called with other arguments\nexpected: (3, x=4)\ncalls:\n  mul() still runs"):
        made.of("mul").assert_called_once_with(3, x=4)
    with pytest.raises(
        AssertionError, match="add was called 2 times, not once\n  add\\(1, 2\\) -> 3\n  add\\(1, b='xxx"
    ):
        made.of("add").assert_called_once_with(1, 2)
    with pytest.raises(AssertionError, match="add was last called with other arguments"):
        made.of("add").assert_called_with(1, 2)
    with pytest.raises(AssertionError, match="add was never called with these arguments"):
        made.of("add").assert_any_call(9)
    made.of("sub").assert_not_called()
    assert "raised ValueError('no')" in str(made)


def test_many_calls_are_not_all_listed() -> None:
    with pytest.raises(AssertionError, match=r"and 5 more$"):
        calls(*[add(1, 2)] * 25).of("add").assert_called_once()
