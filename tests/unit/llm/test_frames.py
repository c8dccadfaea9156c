"""NaN, infinity and moments in frames and arrays, whatever library they are of."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from grpc_tool_bridge.llm.frames import MAX_ROWS, plain_of

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numbers_that_are_none_are_named_in_each_column_of_floats(dtype: str) -> None:
    frame = pd.DataFrame({"a": np.array([NAN, INF, -INF, 0.1], dtype), "b": [1, 2, 3, 4]})
    assert plain_of(frame) == "a,b\nNaN,1\nInfinity,2\n-Infinity,3\n0.1,4\n"
    assert frame["a"].dtype == dtype, "the frame itself is as it was"


def test_columns_without_such_numbers_are_written_as_pandas_does() -> None:
    frame = pd.DataFrame(
        {
            "on": pd.Series([pd.Timestamp("2024-01-02"), pd.NaT]),
            "text": ["a", None],
            "flag": [True, False],
            "x": [1.5, NAN],
        }
    )
    assert plain_of(frame) == "on,text,flag,x\n2024-01-02,a,True,1.5\n,,False,NaN\n"


@pytest.mark.parametrize("dtype", ["Float64", "Float32", "double[pyarrow]"])
def test_what_is_missing_in_pandas_own_columns_is_not_named_a_number(dtype: str) -> None:
    frame = pd.DataFrame({"a": pd.array([INF, None, 1.5], dtype=dtype), "b": [1, 2, 3]})  # type: ignore[call-overload]
    assert plain_of(frame) == "a,b\nInfinity,1\n,2\n1.5,3\n"


def test_columns_of_one_name_are_both_written() -> None:
    assert plain_of(pd.DataFrame([[NAN, INF]], columns=["a", "a"])) == "a,a\nNaN,Infinity\n"


def test_a_long_frame_is_cut_with_its_numbers_named() -> None:
    text = plain_of(pd.DataFrame({"a": [NAN] * (MAX_ROWS + 5)}))
    assert text == "a\n" + "NaN\n" * MAX_ROWS + "… (5 more rows)"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (pl.DataFrame({"a": [NAN, INF, -INF]}), "a\nNaN\nInfinity\n-Infinity\n"),
        (pl.DataFrame({"a": [1.5, None], "b": ["x", "y"]}), "a,b\n1.5,x\n,y\n"),
        (pl.DataFrame({"a": [[1.0]]}), [{"a": [1.0]}]),
        (pa.table({"a": [INF, None]}), [{"a": INF}, {"a": None}]),
        (pd.Series([INF], name="s"), "s\nInfinity\n"),
        (pd.Index([1.5, 2.0]), [1.5, 2.0]),
        (pd.Index(["a"]), ["a"]),
        (np.array([1, 2], "i2"), [1, 2]),
        (np.array([[0.1, 0.2]], "f4"), [[0.1, 0.2]]),
        (np.float16(0.1), 0.1),
        (np.array(5), 5),
        (np.array("2024-01-02", "M8[D]"), date(2024, 1, 2)),
        (np.array(["2024-01"], "M8[M]"), [date(2024, 1, 1)]),
        (np.array(["2024-01-02T03", "NaT"], "M8[h]"), [pd.Timestamp(2024, 1, 2, 3).to_pydatetime(), None]),
        (np.array(["2024-01-02T03:04:05.5"], "M8[ns]"), [pd.Timestamp("2024-01-02T03:04:05.5").to_pydatetime()]),
        (np.datetime64("2024-01-02T03:04:05.000000006"), "2024-01-02T03:04:05.000000006"),
        (np.array([5, "NaT"], "m8[s]"), [timedelta(seconds=5), None]),
        (np.timedelta64(5, "m"), timedelta(minutes=5)),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_value_is_made_of_pythons_own(value: Any, plain: Any) -> None:
    made = plain_of(value)
    assert made == plain
    assert type(made) is type(plain)


@pytest.mark.parametrize("value", [None, 1, "a", [NAN], {"a": 1}, b"x"])
def test_anything_else_is_given_back(value: Any) -> None:
    assert plain_of(value) is value
