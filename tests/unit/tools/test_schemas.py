import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import attrs
import jsonschema
import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from pydantic import BaseModel, ConfigDict, Field, Secret
from pydantic_core import to_jsonable_python

from grpc_tool_bridge import deserialize_value, serialize_value, tool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest
from grpc_tool_bridge.tools.checks import compile_check
from grpc_tool_bridge.tools.results import fitted, result_writing
from grpc_tool_bridge.tools.schemas import input_schema, output_schema
from grpc_tool_bridge.tools.signatures import read_signature
from grpc_tool_bridge.tools.spec_checks import SpecCheck
from grpc_tool_bridge.values.arguments import pack_argument
from grpc_tool_bridge.values.foreign import ForeignCodeError
from grpc_tool_bridge.values.serialization import pack_value


@dataclass
class Point:
    x: int
    y: float = 0.0


def schema(function: Callable[..., Any]) -> dict[str, Any]:
    return json.loads(schema_text(function))  # type: ignore[no-any-return]  # an object by what the test says


def schema_text(function: Callable[..., Any]) -> str:
    signature = read_signature(function, "f")
    return input_schema(signature, {p.name: compile_check(p.annotation, p.name) for p in signature.parameters})


def of(annotation: Any) -> Any:
    return json.loads(output_schema(compile_check(annotation, "f")))


class TestInput:
    def test_is_an_object_of_the_parameters_in_their_order(self) -> None:
        def f(z: int, /, a: str, *, m: float = 1.5) -> None:
            """F.

            Args:
                a: what it is
            """

        assert schema_text(f) == json.dumps(
            {
                "type": "object",
                "properties": {
                    "z": {"type": "integer"},
                    "a": {"type": "string", "description": "what it is"},
                    "m": {"type": "number", "default": 1.5},
                },
                "required": ["z", "a"],
                "additionalProperties": False,
            }
        )

    def test_without_parameters_nothing_is_allowed(self) -> None:
        assert schema(lambda: None) == {"type": "object", "properties": {}, "additionalProperties": False}

    def test_an_unannotated_parameter_may_be_anything(self) -> None:
        assert schema(lambda a: a)["properties"] == {"a": {}}

    def test_starred_parameters_are_an_array_and_further_properties(self) -> None:
        def many(*values: int) -> None: ...

        def named(**options: float) -> None: ...

        def both(*values: int, **options: Any) -> None: ...

        assert schema(many)["properties"] == {"values": {"type": "array", "items": {"type": "integer"}}}
        assert schema(named)["additionalProperties"] == {"type": "number"}
        assert schema(both) == {"type": "object", "properties": {}, "additionalProperties": True}

    def test_classes_are_defined_once(self) -> None:
        def f(a: Point, b: list[Point]) -> None: ...

        made = schema(f)
        assert made["properties"] == {
            "a": {"$ref": "#/$defs/Point"},
            "b": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
        }
        assert made["$defs"]["Point"]["required"] == ["x"]
        assert made["$defs"]["Point"]["additionalProperties"] is False

    def test_arbitrary_classes_are_named(self) -> None:
        def f(a: np.ndarray[Any, Any], b: pd.DataFrame | None, c: Callable[[], None]) -> None: ...

        assert schema(f)["properties"] == {
            "a": {"x-python-type": "numpy.ndarray"},
            "b": {"anyOf": [{"x-python-type": "pandas.DataFrame"}, {"type": "null"}]},
            "c": {"x-python-type": "callable"},
        }

    def test_a_decimal_is_no_number_with_a_fraction(self) -> None:
        def f(a: Decimal) -> None: ...

        kinds = [choice["type"] for choice in schema(f)["properties"]["a"]["anyOf"]]
        assert kinds == ["integer", "string"]

    def test_bounds_are_told(self) -> None:
        def f(a: Annotated[int, Field(ge=0, description="how many")]) -> None: ...

        assert schema(f)["properties"]["a"] == {"type": "integer", "minimum": 0, "description": "how many"}

    @pytest.mark.parametrize(
        ("default", "told"), [(None, None), (date(2024, 1, 2), "2024-01-02"), (Point(1), {"x": 1, "y": 0.0})]
    )
    def test_a_default_is_told_in_its_json_form(self, default: Any, told: Any) -> None:
        assert schema(lambda a=default: a)["properties"]["a"] == {"default": told}

    @pytest.mark.parametrize("default", [object(), float("nan")])
    def test_a_default_that_json_cannot_carry_is_left_out(self, default: Any) -> None:
        assert schema(lambda a=default: a)["properties"]["a"] == {}


class TestOutput:
    def test_is_what_is_sent(self) -> None:
        assert of(int) == {"type": "integer"}
        assert of(None) == {"type": "null"}
        assert of(date) == {"type": "string", "format": "date"}
        assert of(pd.DataFrame) == {"x-python-type": "pandas.DataFrame"}
        assert of(Decimal)["type"] == "string"

    def test_has_its_definitions_and_description(self) -> None:
        made = json.loads(output_schema(compile_check(list[Point], "f"), "the corners"))
        assert made["description"] == "the corners"
        assert list(made["$defs"]) == ["Point"]


class Whole(BaseModel):
    @pydantic.model_serializer
    def _written(self):  # type: ignore[no-untyped-def]  # what it makes is not said
        return "text"


class Fields(BaseModel):
    model_config = ConfigDict(ser_json_timedelta="float")
    price: float
    days: Annotated[list[int], pydantic.WrapSerializer(lambda value, write: str(write(value)))]
    span: timedelta
    inner: list[Whole] = []

    @pydantic.field_serializer("price")
    def _written(self, price):  # type: ignore[no-untyped-def]  # likewise
        return f"{price:.2f}"


class Level(IntEnum):
    LOW = 1


class Key(NamedTuple):
    n: int


Euros = Annotated[float, pydantic.PlainSerializer(lambda euros: f"{euros:.2f}", return_type=str)]
Seconds = Annotated[
    timedelta, pydantic.PlainSerializer(lambda span: span.total_seconds(), return_type=float, when_used="json")
]


@dataclass
class Bill:
    total: Euros
    parts: list[Euros] | None = None


class Row(NamedTuple):
    total: Euros


class Entry(TypedDict):
    total: Euros


@attrs.define
class Order:
    total: Euros


class Item(msgspec.Struct, rename="upper"):
    total: Euros


class Tagged(msgspec.Struct, tag=True):
    n: int


class TaggedSub(Tagged, tag="sub"):
    more: int = 1


class Array(msgspec.Struct, array_like=True):
    n: int
    more: str = "m"


class Linked(TypedDict):
    total: Euros
    more: "list[Linked]"


# An annotation, what a tool returns, and how its result looks as JSON.
RESULTS: list[tuple[Any, Any, Any]] = [
    (Whole, Whole(), "text"),
    (Fields, Fields(price=1, days=[1], span=timedelta(1), inner=[Whole()]),
     {"price": "1.00", "days": "[1]", "span": "P1D", "inner": ["text"]}),
    (dict[Level, int], {Level.LOW: 2}, {"1": 2}),
    (dict[Literal[1, "a"], int], {1: 2, "a": 3}, {"1": 2, "a": 3}),
    (dict[Key, int], {Key(1): 2}, {"1": 2}),
    (list[dict[bool, int]], [{True: 2}], [{"true": 2}]),
    (complex, 1 + 2j, "1+2j"),
    (Euros, 1.5, "1.50"),
    (Euros, 1, "1.00"),
    (Annotated[float | None, pydantic.PlainSerializer(str, return_type=str)], None, "None"),
    (list[Euros | None], [1.5, None], ["1.50", None]),
    (dict[str, tuple[Euros, int]], {"a": (1.5, 1)}, {"a": ["1.50", 1]}),
    (Seconds, timedelta(minutes=1), 60.0),
    (Bill, Bill(1.5, [2.5]), {"total": "1.50", "parts": ["2.50"]}),
    (list[Bill], [{"total": 1.5}], [{"total": "1.50", "parts": None}]),
    (Row, Row(1.5), ["1.50"]),
    (Entry, {"total": 1.5}, {"total": "1.50"}),
    (Order, Order(1.5), {"total": "1.50"}),
    (Item, Item(1.5), {"TOTAL": "1.50"}),
    (Tagged, TaggedSub(1), {"type": "sub", "n": 1, "more": 1}),
    (Array, Array(1), [1, "m"]),
    (Linked, {"total": 1, "more": [{"total": 2, "more": []}]},
     {"total": "1.00", "more": [{"total": "2.00", "more": []}]}),
    (pydantic.Base64Str, "YWJj", "YWJj"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "written"), RESULTS, ids=str)
def test_a_result_is_what_its_schema_says(annotation: Any, value: Any, written: Any) -> None:
    def f() -> Any: ...

    f.__annotations__["return"] = annotation
    made = tool(f)
    assert made.result is not None
    result = fitted(made.result, value, max_bytes=1_000)
    type_url, payload = pack_value(result, result_writing(made.spec, max_depth=10, max_bytes=1_000))
    back = to_jsonable_python(deserialize_value(AnyMessage(type_url=type_url, value=payload)))
    assert back == written
    jsonschema.Draft202012Validator(json.loads(made.spec.output_schema)).validate(back)


@pytest.mark.parametrize(
    ("annotation", "given"),
    [(dict[Level, int], {"1": 2}), (dict[Key, int], {}), (complex, 1.5), (complex, 2), (complex, "1+2j")],
    ids=str,
)
def test_what_is_read_is_allowed_by_the_schema(annotation: Any, given: Any) -> None:
    def f(value: Any) -> None: ...

    f.__annotations__["value"] = annotation
    made = tool(f)
    made.bind((given,), {})
    jsonschema.Draft202012Validator(json.loads(made.spec.input_schema)).validate({"value": given})


def test_the_keys_of_a_dict_are_described_where_they_are_texts() -> None:
    assert "propertyNames" in of(dict[Literal["a", "b"], int])


def test_each_secret_is_marked_as_one() -> None:
    class Held(BaseModel):
        secret: Secret[int]

    def f(secret: Secret[int], many: list[Secret[str]], held: Held) -> None: ...

    made = schema(f)
    assert made["properties"]["secret"]["format"] == "password"
    assert made["properties"]["many"]["items"]["format"] == "password"
    assert made["$defs"]["Held"]["properties"]["secret"]["format"] == "password"
    for value, which in ((Secret[int](1), 0), ([Secret[str]("a")], 1), (Held(secret=Secret[int](1)), 2)):
        pack_argument(value, which, tool(f).spec)


class Computed(BaseModel):
    @pydantic.computed_field  # type: ignore[prop-decorator]  # as pydantic's docs say
    @property
    def answer(self) -> int:
        return 42


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Computed, Computed()),
        (list[Computed], [{}]),
        (Any, [Computed()]),
        (Whole, Whole()),
        (pydantic.RootModel[Euros], 1.5),
        (Fields, Fields(price=1, days=[1], span=timedelta(1))),
        (Bill, Bill(1.5)),
        (Order, Order(1.5)),
        (Item, Item(1.5)),
        (Euros, 1.5),
        (list[Euros], [1.5]),
        (Annotated[int, pydantic.AfterValidator(lambda number: number)], 1),
        (Annotated[int, pydantic.BeforeValidator(lambda number: number)], 1),
        (Annotated[int, pydantic.WrapValidator(lambda number, check: check(number))], 1),
        (Annotated[int, pydantic.PlainValidator(lambda number, info: number)], 1),
    ],
    ids=str,
)
def test_what_the_program_does_to_a_result_is_done_in_no_event_loop(annotation: Any, value: Any) -> None:
    def f() -> Any: ...

    f.__annotations__["return"] = annotation
    made = tool(f)

    def write() -> Any:
        assert made.result is not None
        result = fitted(made.result, value, max_bytes=1_000)
        return pack_value(result, result_writing(made.spec, max_depth=10, max_bytes=1_000))

    async def write_in_a_loop() -> None:
        with pytest.raises(ForeignCodeError):
            write()

    assert write()
    asyncio.run(write_in_a_loop())


def test_what_skips_validation_is_checked_by_nobody() -> None:
    def f(one: pydantic.SkipValidation[int], maybe: pydantic.SkipValidation[int | None], other: int) -> None: ...

    made = tool(f)
    for value in ("a", 1.5, None):
        made.bind((value, value, 1), {})
        SpecCheck(made.spec)(ToolCallRequest(args=[serialize_value(value), serialize_value(value), serialize_value(1)]))


@dataclass
class Held:
    raw: bytes = b"\xfb\xff"
    many: list[bytes] = field(default_factory=lambda: [b"hi"])
    text: str = "hi"


def test_defaults_of_bytes_are_base64_as_their_schema_says() -> None:
    def keep(raw: bytes = b"hi", many: tuple[bytes, ...] = (b"hi",), held: Held = Held()) -> None:  # noqa: B008
        """Keeps."""

    found = schema(keep)
    defaults = {name: part["default"] for name, part in found["properties"].items()}
    held = {"raw": "-_8=", "many": ["aGk="], "text": "hi"}
    assert defaults == {"raw": "aGk=", "many": ["aGk="], "held": held}
    properties = found["$defs"]["Held"]["properties"]
    assert (properties["raw"]["default"], properties["text"]["default"]) == ("-_8=", "hi")
