"""How a model reads results, and what its JSON stands for as arguments."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from grpc_tool_bridge.llm.values import (
    MAX_ITEMS,
    MAX_ROWS,
    frame_csv,
    from_json,
    plain_of,
    text_of,
    value_text,
    whole_of,
)
from grpc_tool_bridge.tools.tool import as_tool

NAN, INF = float("nan"), float("inf")


class Odd:
    def __str__(self) -> str:
        return "an odd one"


@dataclass
class Upload:
    """What a tool takes."""

    name: str
    content: bytes


FRAME = {"name": ["one", "two"], "size": [1, 2]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain text", "plain text"),
        (None, "null"),
        (1.5, "1.5"),
        ({"a": (1, "ö")}, '{"a":[1,"ö"]}'),
        (datetime(2024, 1, 2, tzinfo=UTC), '"2024-01-02T00:00:00Z"'),
        (b"\xff\x00", '"_wA="'),
        (Upload("a", b"b"), '{"name":"a","content":"Yg=="}'),
        ([Odd()], '["an odd one"]'),
        ([float("nan"), float("inf")], "[NaN,Infinity]"),
        (pd.DataFrame(FRAME), "name,size\none,1\ntwo,2\n"),
        (pd.DataFrame(FRAME).set_index("name"), "name,size\none,1\ntwo,2\n"),
        (pd.Series([1, 2], name="size"), "size\n1\n2\n"),
        (pl.DataFrame(FRAME), "name,size\none,1\ntwo,2\n"),
        (pl.DataFrame({"parts": [[1], [2, 3]]}), '[{"parts":[1]},{"parts":[2,3]}]'),
        (pa.table(FRAME), '[{"name":"one","size":1},{"name":"two","size":2}]'),
        (np.array([[1, 2], [3, 4]]), "[[1,2],[3,4]]"),
        (np.float64(1.5), "1.5"),
        ({"at": np.array([1, 2]), "of": pd.DataFrame(FRAME)}, '{"at":[1,2],"of":"name,size\\none,1\\ntwo,2\\n"}'),
    ],
)
def test_a_result_is_text_or_csv_or_json(value: Any, text: str) -> None:
    assert value_text(value) == text


def test_a_result_that_holds_itself_has_a_text() -> None:
    value: list[Any] = []
    value.append(value)
    assert value_text(value) == "[[...]]"


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_long_frame_says_how_many_rows_are_left_out(frame: Any) -> None:
    text = value_text(frame({"n": range(MAX_ROWS + 1_500)}))
    assert text.startswith("n\n0\n1\n2\n")
    assert text.endswith(f"{MAX_ROWS - 1}\n… (1,500 more rows)")


def test_a_large_array_says_its_shape() -> None:
    text = value_text(np.zeros((MAX_ITEMS, 2)))
    assert text.startswith("array of shape (1000, 2), float64: ")
    assert len(text) < 200


def test_a_long_text_is_cut_and_says_by_how_much() -> None:
    assert len(text_of(["x" * 5_000], 1_000)) < 1_100
    assert text_of(["x" * 5_000], 1_000).endswith("more characters)")


def keep(data: bytes, parts: list[bytes] | None = None, upload: Upload | None = None, note: str = "") -> None:
    """Takes bytes of every kind."""


@pytest.mark.parametrize("text", ["-_-_", "+/+/"])
def test_base64_is_read_where_a_tool_takes_bytes(text: str) -> None:
    given = {
        "data": text,
        "parts": [text, "YQ=="],
        "upload": {"name": text, "content": text},
        "note": text,
        "more": text,
    }
    data = b"\xfb\xff\xbf"
    assert from_json(as_tool(keep).spec, given) == {
        "data": data,
        "parts": [data, b"a"],
        "upload": {"name": text, "content": data},
        "note": text,
        "more": text,
    }


@pytest.mark.parametrize("value", ["no base64!", "YQ", 7, None, b"bytes", {"a": "YQ=="}])
def test_what_is_no_base64_is_left_to_the_hub_to_refuse(value: Any) -> None:
    assert from_json(as_tool(keep).spec, {"data": value, "parts": value}) == {"data": value, "parts": value}


def test_a_text_stays_a_text_where_a_tool_takes_both() -> None:
    def either(value: str | bytes) -> None:
        """Takes either."""

    assert from_json(as_tool(either).spec, {"value": "YQ=="}) == {"value": "YQ=="}


def test_a_tool_that_takes_no_bytes_gets_what_was_given() -> None:
    def plain(text: str) -> None:
        """Takes a text."""

    assert from_json(as_tool(plain).spec, {"text": "YQ=="}) == {"text": "YQ=="}


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


@pytest.mark.parametrize(
    ("frame", "first"),
    [
        (pd.DataFrame({"a": range(MAX_ROWS + 5)}), "a\n0\n1\n"),
        (pd.DataFrame({"a": range(MAX_ROWS + 5)}, index=[f"r{n}" for n in range(MAX_ROWS + 5)]), ",a\nr0,0\nr1,1\n"),
        (pd.Series(range(MAX_ROWS + 5), name="s"), "s\n0\n1\n"),
        (pl.DataFrame({"a": range(MAX_ROWS + 5)}), "a\n0\n1\n"),
        (pa.table({"a": list(range(MAX_ROWS + 5))}), '"a"\n0\n1\n'),
    ],
    ids=lambda value: type(value).__module__,
)
def test_all_rows_of_a_frame_are_written(frame: Any, first: str) -> None:
    rows = frame_csv(frame)
    assert rows is not None
    assert rows.startswith(first)
    assert rows.count("\n") == MAX_ROWS + 6


@pytest.mark.parametrize(
    "value", [None, "a", [1], np.array([1]), pl.DataFrame({"a": [[1]]}), pa.table({"a": [[1]]}), pd.Index([1])]
)
def test_what_is_no_frame_or_has_no_csv_is_none(value: Any) -> None:
    assert frame_csv(value) is None


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (np.arange(MAX_ITEMS + 5), list(range(MAX_ITEMS + 5))),
        (pl.DataFrame({"a": [[n] for n in range(MAX_ROWS + 5)]}), [{"a": [n]} for n in range(MAX_ROWS + 5)]),
        (pa.table({"a": [[n] for n in range(MAX_ROWS + 5)]}), [{"a": [n]} for n in range(MAX_ROWS + 5)]),
        ([1, 2], [1, 2]),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_nothing_of_an_array_or_a_frame_is_left_out(value: Any, whole: Any) -> None:
    assert whole_of(value) == whole
