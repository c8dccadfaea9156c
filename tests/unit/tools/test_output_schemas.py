"""What is sent of a result is what the output schema of its tool says, whatever the function returned."""

import collections
import dataclasses as dc
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import itertools
import json
import pathlib
import re
import types
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Required, TypedDict

import attrs
import jsonschema
import msgspec
import numpy as np
import pandas as pd
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, Json, SecretStr, computed_field, field_serializer
from pydantic_core import to_jsonable_python

from grpc_tool_bridge import Tool, deserialize_value, tool
from grpc_tool_bridge.tools.results import fitted, result_writing
from grpc_tool_bridge.values.serialization import pack_value


class Hit(NamedTuple):
    score: int
    text: str = "x"


class Keyed(TypedDict, total=False):
    a: Required[int]
    b: str


class Colour(enum.Enum):
    RED = "red"
    TWO = 2


class Base(BaseModel):
    name: str


class Sub(Base):
    more: int


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int = Field(alias="theX")
    y: "Model | None" = None
    hits: dict[str, Hit] = {}
    bases: list[Base] = []
    raw: Json[list[int]] = "[]"  # type: ignore[assignment]  # pydantic reads it
    key: str = Field("k", exclude=True)
    when: dt.date = dt.date(2026, 1, 2)

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's docs say
    @property
    def double(self) -> int:
        return self.x * 2

    @field_serializer("when")
    def _year(self, when: dt.date) -> int:
        return when.year


@dc.dataclass
class Point:
    x: int
    hits: list[Hit] = dc.field(default_factory=list)
    later: int = dc.field(init=False, default=4)


@dc.dataclass
class Point3(Point):
    z: int = 0


@attrs.define
class Attr:
    x: int
    point: Point | None = None


class Struct(msgspec.Struct, rename="camel"):
    first_name: str
    attr: Attr | None = None


MODEL: dict[str, Any] = {"theX": 1, "hits": {"k": (1, "a")}, "bases": [Sub(name="s", more=1)], "raw": "[1]"}
RESULTS: list[tuple[Any, Any]] = [
    (int, 5), (int, np.int64(5)), (int, 5.0), (float, 5), (float, float("nan")), (float, np.float32(0.1)), (str, "x"),
    (bool, np.bool_(True)), (bytes, b"\xff"), (None, None), (object, {"a": 1}), (Any, [1]), (int | str, "x"),
    (int | None, None), (Literal["a", 1], "a"), (Annotated[int, Field(ge=0)], 3), (Hit, Hit(1)), (Hit, (1, "y")),
    (Hit, {"score": 1}), (Keyed, {"a": 1}), (Colour, Colour.TWO), (Model, MODEL), (Model, Model.model_validate(MODEL)),
    (list[Base], [Sub(name="s", more=1)]), (Point, Point3(1, [Hit(2)])), (Point, {"x": 1, "hits": [[1, "a"]]}),
    (dict[str, Point], {"a": Point(1)}), (Attr, Attr(1, Point(2))), (Struct, Struct("a", Attr(1))), (list[int], (1, 2)),
    (list[float], np.array([1.5])), (list[str], pd.Series(["a"]).unique()), (set[int], {1}), (frozenset[str], {"a"}),
    (tuple[int, str], [1, "x"]), (tuple[int, ...], np.array([1])), (collections.deque[int], [1]),
    (Iterable[int], iter([1])),
    (Sequence[int], range(3)), (dict[str, int], collections.Counter("ab")), (dict[int, str], {1: "a"}),
    (Mapping[str, int], types.MappingProxyType({"a": 1})), (dt.datetime, pd.Timestamp("2026-01-02")),
    (dt.date, dt.date(2026, 1, 2)), (dt.time, dt.time(1)), (dt.timedelta, dt.timedelta(1)),
    (uuid.UUID, uuid.UUID(int=1)),
    (decimal.Decimal, decimal.Decimal("1.5")), (complex, 1 + 2j), (pathlib.Path, pathlib.Path("a")),
    (ipaddress.IPv4Address, ipaddress.ip_address("1.2.3.4")), (AnyUrl, AnyUrl("http://a.b/")),
    (re.Pattern[str], re.compile("a")),
    (fractions.Fraction, fractions.Fraction(1, 2)), (SecretStr, SecretStr("x")), (np.ndarray, np.array([1])),
    (pd.DataFrame, pd.DataFrame({"a": [1]})),
]  # fmt: skip


def sent(made: Tool, value: Any) -> Any:
    """Gives a result as its caller reads it."""
    assert made.result is not None
    how = result_writing(made.spec, max_depth=100, max_bytes=10_000_000)
    type_url, payload = pack_value(fitted(made.result, value, max_bytes=10_000_000), how)
    return deserialize_value(AnyMessage(type_url=type_url, value=payload))


def returning(annotation: Any) -> Tool:
    def made() -> None:
        """Never called."""

    made.__annotations__["return"] = annotation
    return tool(made)


def as_json(value: Any) -> Any:
    """Writes a value in the JSON form that the schema means."""
    listed = {"tolist", "to_dict"} & set(dir(value))
    plain = getattr(value, listed.pop())() if listed else value
    return to_jsonable_python(plain, bytes_mode="base64", inf_nan_mode="constants")


@pytest.mark.parametrize(("annotation", "value"), RESULTS, ids=[str(number) for number in range(len(RESULTS))])
def test_a_result_agrees_with_the_output_schema(annotation: Any, value: Any) -> None:
    made = returning(annotation)
    schema = json.loads(made.spec.output_schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(as_json(sent(made, value)), schema)


PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.builds(collections.Counter, st.text(max_size=3))
        | st.builds(iter, st.lists(inner, max_size=2))
    ),
    max_leaves=8,
)
ANNOTATIONS = [
    annotation
    for annotation, _ in RESULTS
    if annotation not in (object, Any, np.ndarray, pd.DataFrame, float, complex, decimal.Decimal)
]


@given(st.sampled_from(ANNOTATIONS), PLAIN)
def test_whatever_is_returned_agrees_or_is_an_error_of_the_tool(annotation: Any, value: Any) -> None:
    made = returning(annotation)
    try:
        read = sent(made, value)
    except TypeError:
        return
    jsonschema.validate(as_json(read), json.loads(made.spec.output_schema))


def test_an_endless_iterator_inside_is_no_result() -> None:
    with pytest.raises(Exception, match="message too large"):
        sent(returning(dict[str, list[int]]), {"a": itertools.count()})
