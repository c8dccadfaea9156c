"""Where a type is declared, look-alikes are read as it, and classes of one's own are made of the row that arrives."""

import array
import collections
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from grpc_tool_bridge.tooling.checks import compile_check
from grpc_tool_bridge.tooling.results import fitted


class Text(str):
    __slots__ = ()


class Upper(str):
    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        return super().__new__(cls, text.upper())


class Even(int):
    def __new__(cls, number: int) -> Self:
        if number % 2:
            raise ValueError("odd")
        return super().__new__(cls, number)


class Rows(list[int]):
    pass


class Bag(dict[str, int]):
    pass


def read(annotation: Any, value: Any) -> Any:
    return fitted(compile_check(annotation, "here"), value, max_bytes=10_000_000)


@pytest.mark.parametrize(
    ("annotation", "row", "wanted"),
    [
        (types.MappingProxyType, {"a": 1}, types.MappingProxyType({"a": 1})),
        (collections.UserDict, {"a": 1}, collections.UserDict(a=1)),
        (collections.ChainMap, {"a": 1}, collections.ChainMap({"a": 1})),
        (collections.UserList, [1], collections.UserList([1])),
        (collections.UserString, "u", collections.UserString("u")),
        (Text, "t", Text("t")),
        (Upper, "t", Upper("T")),
        (Even, 4, Even(4)),
        (Rows, [1], Rows([1])),
        (Bag, {"a": 1}, Bag(a=1)),
    ],
)
def test_a_class_is_made_of_the_row_that_it_travels_as(annotation: Any, row: Any, wanted: Any) -> None:
    for given in (row, wanted):
        made = read(annotation, given)
        assert type(made) is annotation
        assert made == wanted


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (Even, 3, "ValueError: odd"),
        (Even, "4", "instance of Even"),
        (Text, 5, "instance of Text"),
        (Rows, {"a": 1}, "instance of Rows"),
        (types.MappingProxyType, [("a", 1)], "instance of mappingproxy"),
        (list[int], {1}, "valid list"),
        (list[str], "ab", "valid list"),
        (list[int], b"ab", "valid list"),
        (list[int], {1: 2}, "valid list"),
        (list[int], np.array([1.5]), "valid integer"),
        (float, pd.NA, "valid number"),
    ],
)
def test_anything_else_is_refused(annotation: Any, value: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        read(annotation, value)


@pytest.mark.parametrize(
    ("annotation", "value", "wanted"),
    [
        (list[float], np.array([1.5, 2]), [1.5, 2.0]),
        (list[list[int]], np.eye(2, dtype=int), [[1, 0], [0, 1]]),
        (list[str], pd.Series(["a", "b"]).unique(), ["a", "b"]),
        (list[int], pd.Series([1, 2]), [1, 2]),
        (list[int], pd.Index([1, 2]), [1, 2]),
        (list[str], pd.Categorical(["a"]), ["a"]),
        (list[int], pl.Series([1, 2]), [1, 2]),
        (list[int], pa.chunked_array([[1], [2]]), [1, 2]),
        (list[float], array.array("d", [1]), [1.0]),
        (list[int], collections.UserList([1]), [1]),
        (list[int], {"a": 1}.values(), [1]),
        (Sequence[int], np.array([1]), [1]),
        (Collection[int], np.array([1]), [1]),
        (Iterable[int], np.array([1]), [1]),
        (tuple[int, ...], np.array([1, 2]), (1, 2)),
        (set[int], np.array([1]), {1}),
        (dict[str, list[int]], {"a": np.array([1])}, {"a": [1]}),
        (dict[str, int], collections.Counter("a"), {"a": 1}),
        (Mapping[str, int], collections.ChainMap({"a": 1}), {"a": 1}),
        (int | None, pd.NA, None),
        (float | None, pd.NaT, None),
        (list[int | None], [1, pd.NA], [1, None]),
    ],
)
def test_a_look_alike_is_read_as_what_is_declared(annotation: Any, value: Any, wanted: Any) -> None:
    made = read(annotation, value)
    assert type(made) is type(wanted)
    assert repr(made) == repr(wanted)
