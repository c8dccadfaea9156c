"""Where a type is declared, look-alikes are read as it, and classes of one's own are made of the row that arrives."""

import array
import collections
import contextlib
import dataclasses as dc
import sqlite3
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Self, TypedDict, cast

import attrs
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel

from grpc_tool_bridge.tools.checks import compile_check
from grpc_tool_bridge.tools.results import fitted


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


class Typed(TypedDict):
    a: int
    b: str


@dc.dataclass
class Made:
    a: int
    b: str


class Modelled(BaseModel):
    a: int
    b: str


@attrs.define
class Attr:
    a: int
    b: str


class Struct(msgspec.Struct):
    a: int
    b: str


class Keyed(BaseModel):
    """A model that can be unpacked with ``**``."""

    a: int

    def keys(self) -> list[str]:
        raise AssertionError("it is a model")

    def __getitem__(self, key: str) -> Any:
        raise AssertionError("it is a model")


FRAME = pd.DataFrame({"a": [1], "b": ["x"]})


def row_of_sqlite() -> sqlite3.Row:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        return cast("sqlite3.Row", connection.execute("select 1 a, 'x' b").fetchone())


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
        *[(kind, FRAME, "valid") for kind in (list, list[str], tuple, tuple[str, ...], set[str], frozenset[str])],
        *[(kind, FRAME, "valid list") for kind in (Sequence[str], Collection[str], Iterable[str], Collection)],
        *[(list, frame, "valid list") for frame in (pl.DataFrame(FRAME), pa.table(FRAME), pa.record_batch(FRAME))],
        (list, pa.table(FRAME).schema, "valid list"),
        (list, collections.UserString("ab"), "valid list"),
        (list[int] | dict[str, int], FRAME, "valid list or a valid dictionary"),
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
        (list[int], pa.scalar([1]), [1]),
        (bytes, np.bytes_(b"a"), b"a"),
        (list[bytes], [np.bytes_(b"a")], [b"a"]),
        (complex, np.complex128(1j), 1j),
        (list[complex], np.array([1j]), [1j]),
        (str, np.str_("a"), "a"),
        (float, np.float64(1.5), 1.5),
        (list[tuple[str, Any]], (("x", 1) for _ in "a"), [("x", 1)]),
        (datetime | None, np.datetime64("NaT", "s"), None),
        (timedelta | None, np.timedelta64("NaT", "s"), None),
        (np.datetime64 | None, np.datetime64("NaT", "s"), np.datetime64("NaT", "s")),
        (list[datetime | None], [np.datetime64("NaT", "s"), pd.NaT], [None, None]),
    ],
)
def test_a_look_alike_is_read_as_what_is_declared(annotation: Any, value: Any, wanted: Any) -> None:
    made = read(annotation, value)
    assert type(made) is type(wanted)
    assert repr(made) == repr(wanted)


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        (dict, {"a": 1, "b": "x"}),
        (dict[str, Any], {"a": 1, "b": "x"}),
        (Mapping[str, Any], {"a": 1, "b": "x"}),
        (dict[str, Any] | None, {"a": 1, "b": "x"}),
        (Typed, {"a": 1, "b": "x"}),
        (Made, Made(1, "x")),
        (Modelled, Modelled(a=1, b="x")),
        (Attr, Attr(1, "x")),
        (Struct, Struct(1, "x")),
        (tuple[int, str], (1, "x")),
    ],
    ids=str,
)
def test_a_row_of_a_database_is_read_as_what_is_declared(annotation: Any, wanted: Any) -> None:
    row = row_of_sqlite()
    assert read(annotation, row) == wanted
    assert read(list[annotation], iter([row])) == [wanted]


def test_a_model_that_can_be_unpacked_is_a_model() -> None:
    value = Keyed(a=1)
    assert read(Keyed, value) is value


def test_groups_are_a_list_of_pairs_where_one_is_declared() -> None:
    [(key, group)] = read(list[tuple[str, pd.DataFrame]], FRAME.groupby("b"))
    assert key == "x"
    assert group.equals(FRAME)


class Lists(BaseModel):
    """A model, which keeps its own rules."""

    texts: list[str] = []
    parts: tuple[str, ...] = ()
    names: set[str] = set()
    either: list[str] | set[str] | None = None


@pytest.mark.parametrize("field", Lists.model_fields)
def test_a_frame_in_a_field_of_a_model_is_refused_as_well(field: str) -> None:
    with pytest.raises(TypeError, match="valid"):
        read(Lists, {field: FRAME})
    for given in (["x"], {"x"}, ("x",), FRAME["b"], FRAME["b"].unique(), pl.Series(["x"])):
        assert list(getattr(read(Lists, {field: given}), field)) == ["x"]
    assert type(read(Lists, {"either": {"x"}}).either) is set
