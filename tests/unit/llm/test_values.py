"""How a model reads results, and what its JSON stands for as arguments."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from grpc_tool_bridge.llm.frames import MAX_ITEMS, MAX_ROWS
from grpc_tool_bridge.llm.values import from_json, text_of, value_text
from grpc_tool_bridge.tools.tool import as_tool


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
