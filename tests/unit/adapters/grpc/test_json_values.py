import math
from typing import Any

import numpy as np
import pytest
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.adapters.grpc.json_values import (
    fill_list,
    fill_struct,
    fill_value,
    read_list,
    read_struct,
    read_value,
)
from grpc_tool_bridge.adapters.grpc.problems import MAX_LEVELS, TooDeepError, WrongError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(PLAIN)
def test_plain_data_is_written_and_read(value: Any) -> None:
    message = Value()
    fill_value(message, value, MAX_LEVELS)
    assert read_value(message, MAX_LEVELS) == value


def test_whole_numbers_are_integers_and_nothing_else_is() -> None:
    values = [3.0, -0.0, 2.0**53, 2.0**53 + 2, math.inf, 0.5]
    read = [read_value(Value(number_value=value), 1) for value in values]
    assert [(type(value), value) for value in read] == [
        (int, 3), (float, 0.0), (int, 2**53), (float, 2.0**53 + 2), (float, math.inf), (float, 0.5),
    ]  # fmt: skip
    assert math.copysign(1, read[1]) == -1


def test_a_value_without_any_is_none() -> None:
    assert read_value(Value(), 1) is None


def test_arrays_are_lists() -> None:
    message = Value()
    fill_value(message, np.array([1, 2]), 2)
    assert read_value(message, 1) == [1, 2]


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [
        (2**53 + 1, "", "should be an integer of at most 2^53"),
        ({"a": [1, b"x"]}, ".a[1]", "should be plain data"),
        ({1: 2}, ".1", "should be a dict with texts as keys"),
        ("\ud800", "", "has a lone surrogate"),
        ({"\ud800": 1}, ".\ud800", "has a lone surrogate"),
        (object(), "", "should be plain data"),
    ],
)
def test_what_has_no_exact_form_is_refused(value: Any, path: str, text: str) -> None:
    with pytest.raises(WrongError) as caught:
        fill_value(Value(), value, MAX_LEVELS)
    ((found, said),) = caught.value.problems
    assert found == path
    assert said.startswith(text)


def test_a_struct_is_a_dict_and_a_list_a_list() -> None:
    struct, items = Struct(), ListValue()
    fill_struct(struct, {"a": 1}, 1)
    fill_list(items, (1, "a"), 1)
    assert (read_struct(struct, 1), read_list(items, 1)) == ({"a": 1}, [1, "a"])
    for fill, message in ((fill_struct, struct), (fill_list, items)):
        with pytest.raises(WrongError):
            fill(message, 5, 1)


def test_what_is_nested_too_deep_is_refused() -> None:
    value: Any = []
    value.append(value)
    with pytest.raises(WrongError) as caught:
        fill_value(Value(), value, MAX_LEVELS)
    assert "contains itself" in caught.value.problems[0][1]
    deep = Value()
    inner = deep
    for _ in range(5):
        inner = inner.list_value.values.add()
    assert read_value(deep, 5) == [[[[[None]]]]]
    with pytest.raises(TooDeepError):
        read_value(deep, 4)
    with pytest.raises(TooDeepError):
        read_struct(Struct(fields={"a": deep}), 4)
