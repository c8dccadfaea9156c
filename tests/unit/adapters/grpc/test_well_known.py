import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.adapters.grpc.problems import MAX_LEVELS, TooDeepError, WrongError
from grpc_tool_bridge.adapters.grpc.well_known import (
    duration,
    fill_list,
    fill_struct,
    fill_value,
    mask,
    moment,
    read_duration,
    read_list,
    read_mask,
    read_moment,
    read_struct,
    read_value,
)


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        ((0, 0), "1970-01-01T00:00:00Z"),
        ((-1, 1), "1969-12-31T23:59:59.000000001Z"),
        ((1, 20_000_000), "1970-01-01T00:00:01.020Z"),
        ((1, 20_000), "1970-01-01T00:00:01.000020Z"),
        ((-62_135_596_800, 0), "0001-01-01T00:00:00Z"),
        ((253_402_300_799, 999_999_999), "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_a_moment_is_a_text_to_the_nanosecond(pair: tuple[int, int], text: str) -> None:
    assert read_moment(*pair) == text
    assert moment(text) == pair


@pytest.mark.parametrize("pair", [(-62_135_596_801, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)])
def test_a_moment_that_is_not_valid_keeps_its_fields(pair: tuple[int, int]) -> None:
    read = read_moment(*pair)
    assert read == {"seconds": pair[0], "nanos": pair[1]}
    assert moment(read) == pair


@pytest.mark.parametrize(
    ("value", "pair"),
    [
        ("1970-01-01t01:00:00.5+01:00", (0, 500_000_000)),
        ("1970-01-01 00:00:00-00:30", (1_800, 0)),
        (datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC), (1, 5_000)),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), (-1, 999_999_000)),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2, microseconds=1))), (-1, 999_999_000)),
    ],
)
def test_other_forms_of_a_moment_are_taken(value: Any, pair: tuple[int, int]) -> None:
    assert moment(value) == pair


def test_the_nanoseconds_of_pandas_are_kept() -> None:
    pandas = pytest.importorskip("pandas")
    assert moment(pandas.Timestamp("1970-01-01T00:00:00.123456789Z")) == (0, 123_456_789)
    assert duration(pandas.Timedelta(nanoseconds=1_000_000_001)) == (1, 1)


@pytest.mark.parametrize(
    "value",
    [
        "1970-01-01", "1970-01-01T00:00:00", "1970-02-30T00:00:00Z", "1970-01-01T24:00:01Z",
        "0001-01-01T00:00:00+01:00",
        "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00.1234567890Z", "\uff19970-01-01T00:00:00Z", "", 5, None,
        datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), {"seconds": 2**63},
        {"nanos": True}, {"second": 1},
    ],
)  # fmt: skip
def test_what_is_no_moment_is_refused(value: Any) -> None:
    with pytest.raises(WrongError):
        moment(value)


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        ((0, 0), "0s"),
        ((1, 500_000_000), "1.500s"),
        ((0, -1), "-0.000000001s"),
        ((-2, -30_000), "-2.000030s"),
        ((315_576_000_000, 0), "315576000000s"),
    ],
)
def test_a_duration_is_a_text_of_seconds(pair: tuple[int, int], text: str) -> None:
    assert read_duration(*pair) == text
    assert duration(text) == pair


@pytest.mark.parametrize("pair", [(1, -1), (-1, 1), (315_576_000_001, 0), (0, 1_000_000_000)])
def test_a_duration_that_is_not_valid_keeps_its_fields(pair: tuple[int, int]) -> None:
    read = read_duration(*pair)
    assert read == {"seconds": pair[0], "nanos": pair[1]}
    assert duration(read) == pair


def test_a_timedelta_is_taken() -> None:
    assert duration(timedelta(seconds=-1, microseconds=-5)) == (-1, -5_000)
    assert duration(timedelta(days=1)) == (86_400, 0)


@pytest.mark.parametrize(
    "value", ["1", "1.5", "s", "1.s", "+1s", "1e3s", "315576000001s", 1.5, None, timedelta.max, {"nanos": 2**31}]
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(WrongError):
        duration(value)


@pytest.mark.parametrize(
    ("paths", "read"),
    [
        ([], ""),
        (["a"], "a"),
        (["display_name", "a.b_c"], "displayName,a.bC"),
        (["a_1"], "a_1"),
        (["a_b_1"], ["a_b_1"]),
        (["A"], ["A"]),
        ([""], [""]),
        (["a,b"], ["a,b"]),
        ([" "], [" "]),
    ],
)
def test_a_mask_is_a_text_where_that_says_all(paths: list[str], read: Any) -> None:
    assert read_mask(paths) == read
    assert mask(read) == paths


def test_names_of_the_proto_are_taken_in_a_text() -> None:
    assert mask("display_name, homeCity") == ["display_name", "home_city"]
    assert mask(("displayName",)) == ["displayName"]


@given(st.lists(st.text(alphabet="aB_1., ", max_size=5), max_size=3))
def test_any_paths_are_read_and_written(paths: list[str]) -> None:
    assert mask(read_mask(paths)) == paths


@pytest.mark.parametrize(("value", "path"), [(5, ""), (["a", 5], "[1]"), ({"a": 1}, ""), (["\ud800"], "[0]")])
def test_what_is_no_mask_is_refused(value: Any, path: str) -> None:
    with pytest.raises(WrongError) as caught:
        mask(value)
    assert [at for at, _ in caught.value.problems] == [path]


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
