import enum
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
import typing_extensions
from pydantic import BaseModel, Field

from grpc_tool_bridge.tools.typespecs import allowed_values, elixir_type, public_name, python_type


class Color(enum.Enum):
    RED = "red"
    FIRST = 1


class Row(TypedDict):
    name: str


class Pair(NamedTuple):
    left: int
    right: str


class Tree(NamedTuple):
    n: int
    kids: "list[Tree]"


class NewRow(typing_extensions.TypedDict):
    name: str


class Rights(enum.Flag):
    READ = 1


class Model(BaseModel):
    pass


@dataclass
class Point:
    x: int


T = TypeVar("T")
B = TypeVar("B", bound=int)
Either = TypeVar("Either", int, str)
RecursiveAlias: Any = typing_extensions.TypeAliasType("RecursiveAlias", "list[RecursiveAlias] | int")
UserId = NewType("UserId", int)
Alias = typing_extensions.TypeAliasType("Alias", list[int])


@pytest.mark.parametrize(
    ("annotation", "python", "elixir"),
    [
        (int, "int", "integer()"),
        (float, "float", "float()"),
        (bool, "bool", "boolean()"),
        (str, "str", "String.t()"),
        (bytes, "bytes", "binary()"),
        (None, "None", "nil"),
        (Any, "Any", "any()"),
        (object, "object", "any()"),
        (list, "list", "list()"),
        (list[int], "list[int]", "list(integer())"),
        (typing.List[int], "list[int]", "list(integer())"),  # noqa: UP006 - an old form is the same type
        (Sequence[str], "Sequence[str]", "list(String.t())"),
        (Iterable[str], "Iterable[str]", "list(String.t())"),
        (deque[int], "deque[int]", "list(integer())"),
        (tuple, "tuple", "tuple()"),
        (tuple[int, str], "tuple[int, str]", "{integer(), String.t()}"),
        (tuple[int, ...], "tuple[int, ...]", "tuple()"),
        (set[int], "set[int]", "MapSet.t(integer())"),
        (frozenset, "frozenset", "MapSet.t()"),
        (dict, "dict", "map()"),
        (dict[str, list[int]], "dict[str, list[int]]", "%{optional(String.t()) => list(integer())}"),
        (Mapping[str, int], "Mapping[str, int]", "%{optional(String.t()) => integer()}"),
        (str | None, "str | None", "String.t() | nil"),
        (Optional[str], "str | None", "String.t() | nil"),  # noqa: UP045 - an old form is the same type
        (Union[int, str], "int | str", "integer() | String.t()"),  # noqa: UP007 - an old form is the same type
        (str | Path, "str | Path", "String.t()"),
        (Literal["a", 1, True] | None, "Literal['a', 1, True] | None", "String.t() | 1 | true | nil"),
        (Literal[Color.RED], "Literal[Color.RED]", "String.t()"),
        (Color, "Color", "String.t() | integer()"),
        (datetime, "datetime", "DateTime.t()"),
        (date, "date", "Date.t()"),
        (time, "time", "Time.t()"),
        (timedelta, "timedelta", "Duration.t()"),
        (Decimal, "Decimal", "Decimal.t()"),
        (UUID, "UUID", "String.t()"),
        (Row, "Row", "map()"),
        (Model, "Model", "map()"),
        (Point, "Point", "map()"),
        (Pair, "Pair", "{integer(), String.t()}"),
        (Annotated[int, Field(ge=0)], "int", "integer()"),
        (UserId, "int", "integer()"),
        (Alias, "list[int]", "list(integer())"),
        (T, "T", "any()"),
        (B, "B", "integer()"),
        (Either, "Either", "integer() | String.t()"),
        (Tree, "Tree", "{integer(), list(any())}"),
        (RecursiveAlias, "list[RecursiveAlias] | int", "any()"),
        (NewRow, "NewRow", "map()"),
        (NewRow | None, "NewRow | None", "map() | nil"),
        (Counter[str], "Counter[str]", "%{optional(String.t()) => integer()}"),
        (defaultdict[str, int], "defaultdict[str, int]", "%{optional(String.t()) => integer()}"),
        (OrderedDict, "OrderedDict", "map()"),
        (Collection[int], "Collection[int]", "list(integer())"),
        (Rights, "Rights", "integer()"),
        (Callable[[int], str], "Callable[[int], str]", "any()"),
        (typing.Callable, "Callable", "any()"),
        (np.ndarray, "ndarray", "any()"),
        (pd.DataFrame | None, "DataFrame | None", "any() | nil"),
        (complex, "complex", "any()"),
        (typing.ClassVar, "ClassVar", "any()"),
    ],
)
def test_types_are_named_in_both_languages(annotation: Any, python: str, elixir: str) -> None:
    assert (python_type(annotation), elixir_type(annotation)) == (python, elixir)


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (Literal["a", 1], ["a", "1"]),
        (Literal["a"] | None, ["a"]),
        (Literal[Color.RED], ["red"]),
        (Color, ["red", "1"]),
        (Annotated[Color | None, "x"], ["red", "1"]),
        (Color | int, []),
        (Rights, []),
        (int, []),
        (list[Color], []),
    ],
)
def test_literals_and_enums_list_their_values(annotation: Any, values: list[str]) -> None:
    assert allowed_values(annotation) == values


def test_a_class_has_the_shortest_name_that_is_public() -> None:
    assert public_name(pd.DataFrame) == "pandas.DataFrame"
    assert public_name(np.ndarray) == "numpy.ndarray"
    assert public_name(Point) == f"{__name__}.Point"
