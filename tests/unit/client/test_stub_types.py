"""The types of a module of stubs, from schemas and from the names of types."""

import json
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Optional, TypedDict, Union
from uuid import UUID

import pytest

from grpc_tool_bridge.client.stub_names import Names
from grpc_tool_bridge.client.stub_schemas import Schema
from grpc_tool_bridge.client.stub_types import Annotation, Types
from grpc_tool_bridge.tools.tool import tool


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Point(TypedDict):
    x: float


@dataclass
class Line:
    start: Point
    width: float = 1


def read(annotation: Any, *, is_result: bool = False, shadowed: tuple[str, ...] = ()) -> tuple[str, Types]:
    """Returns the type of an argument or a result of a tool with this annotation."""

    def function(value: Any) -> Any:
        return value

    function.__annotations__ = {"value": annotation, "return": annotation}
    spec = tool(function).spec
    types = Types(Names(shadowed), shadowed)
    schema = json.loads(spec.output_schema if is_result else spec.input_schema)
    part = schema if is_result else schema["properties"]["value"]
    name = spec.return_type.python_type if is_result else spec.arguments[0].python_type
    whole = Schema(part, schema.get("$defs", {}), "function value", is_python=True, is_result=is_result)
    return types.text(types.read(whole, name)), types


BOTH: list[tuple[Any, str]] = [
    (int, "int"),
    (float, "float"),
    (str, "str"),
    (bool, "bool"),
    (bytes, "bytes"),
    (bytearray, "bytes"),
    (complex, "complex"),
    (None, "None"),
    (Any, "Any"),
    (object, "Any"),
    (datetime, "datetime"),
    (date, "date"),
    (time, "time"),
    (timedelta, "timedelta"),
    (Decimal, "Decimal"),
    (UUID, "UUID"),
    (Path, "str"),
    (list, "list[Any]"),
    (dict, "dict[str, Any]"),
    (set, "set[Any]"),
    (tuple, "tuple[Any, ...]"),
    (list[int], "list[int]"),
    (deque[int], "list[int]"),
    (MutableSequence[int], "list[int]"),
    (list[list[Decimal]], "list[list[Decimal]]"),
    (set[int], "set[int]"),
    (frozenset[str], "frozenset[str]"),
    (AbstractSet[str], "set[str]"),
    (tuple[int, str], "tuple[int, str]"),
    (tuple[int, ...], "tuple[int, ...]"),
    (dict[str, int], "dict[str, int]"),
    (dict[int, list[date]], "dict[int, list[date]]"),
    (defaultdict[str, int], "dict[str, int]"),
    (Counter[str], "dict[str, int]"),
    (int | str, "int | str"),
    (Optional[int], "int | None"),  # noqa: UP045 - as a user may write it
    (Union[None, list[int], str], "list[int] | str | None"),  # noqa: UP007 - likewise
    (list[int | None], "list[int | None]"),
    (Literal["a", 1, True] | None, 'Literal["a", 1, True] | None'),
    (Literal["a"] | int, 'Literal["a"] | int'),
    (Color, 'Literal["red", "blue"]'),
    (Color | None, 'Literal["red", "blue"] | None'),
    (list[Color], 'list[Literal["red", "blue"]]'),
    (Literal[Color.RED], 'Literal["red"]'),
    (Point, "Point"),
    (list[Point | None], "list[Point | None]"),
    (dict[str, Point], "dict[str, Point]"),
    (tuple[Point, int], "tuple[Point, int]"),
]


@pytest.mark.parametrize(("annotation", "text"), BOTH, ids=[text for _, text in BOTH])
@pytest.mark.parametrize("is_result", [False, True], ids=["argument", "result"])
def test_a_type_of_python_is_written_as_it_arrives(annotation: Any, text: str, is_result: bool) -> None:
    assert read(annotation, is_result=is_result)[0] == text


@pytest.mark.parametrize(
    ("annotation", "argument", "result"),
    [
        (Sequence[int], "Sequence[int]", "list[int]"),
        (Iterable[int], "Sequence[int]", "list[int]"),
        (Collection[int], "Sequence[int]", "list[int]"),
        (Mapping[str, int], "Mapping[str, int]", "dict[str, int]"),
    ],
)
def test_an_argument_takes_what_its_tool_takes_and_a_result_is_what_arrives(
    annotation: Any, argument: str, result: str
) -> None:
    assert read(annotation)[0] == argument
    assert read(annotation, is_result=True)[0] == result


def test_an_object_is_defined_once_and_a_result_has_the_keys_with_a_default() -> None:
    text, types = read(Line, is_result=True)
    assert text == "Line"
    assert types.definition_lines() == [
        ["class Line(TypedDict):", "    start: Point", "    width: float"],
        ["class Point(TypedDict):", "    x: float"],
    ]
    text, types = read(Line)
    assert types.definition_lines()[0][2] == "    width: NotRequired[ReadOnly[float]]"


def test_a_long_type_has_a_name_and_may_take_many_lines() -> None:
    text, types = read(Literal[tuple(f"value-{number}" for number in range(20))])
    assert text == "FunctionValue"
    lines = types.definition_lines()[0]
    assert lines[0] == "FunctionValue: TypeAlias = Literal["
    assert lines[1:3] == ['    "value-0",', '    "value-1",']


def test_what_a_method_hides_is_named_otherwise() -> None:
    text, types = read(list[datetime | int], shadowed=("list", "datetime", "int"))
    assert text == "builtins.list[datetime_type | builtins.int]"
    assert types.import_lines(()) == [["import builtins", "from datetime import datetime as datetime_type"]]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "string", "format": "date-time"}, "str"),
        ({"type": "string", "contentEncoding": "base64"}, "str"),
        ({"type": ["string", "null"]}, "str | None"),
        ({"type": "array", "uniqueItems": True, "items": {"type": "integer"}}, "list[int]"),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]}, "list[str | float]"),
        ({"type": "array"}, "list[Any]"),
        ({"oneOf": [{"type": "boolean"}, {"const": 1}]}, "Literal[1] | bool"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "dict[str, int]"),
        ({"type": "object"}, "dict[str, Any]"),
        ({"enum": [1.5, "x", None]}, 'Literal["x"] | float | None'),
        ({"enum": [[1]]}, "Any"),
        ({"enum": "x"}, "Any"),
        ({"allOf": [{"type": "integer"}]}, "int"),
        ({"allOf": [{"type": "integer"}, {}]}, "Any"),
        ({"allOf": []}, "Any"),
        ({"$ref": "#/$defs/missing"}, "Any"),
        ({"$ref": "#/$defs/loop"}, "Any"),
        ({"type": "no-such-type"}, "Any"),
        ({"type": {}}, "Any"),
        ({"anyOf": [{}, {"type": "integer"}]}, "Any"),
        (True, "Any"),
        (None, "Any"),
    ],
)
def test_a_schema_of_another_program_is_read_as_json(part: Any, text: str) -> None:
    types = Types(Names(), ())
    definitions = {"loop": {"$ref": "#/$defs/loop"}}
    schema = Schema(part, definitions, "a", is_python=False, is_result=True)
    assert types.text(types.read(schema, "")) == text


def test_two_types_of_one_name_are_told_apart_and_one_type_is_written_once() -> None:
    types = Types(Names(), ())
    integer = {"$defs": {"P": {"type": "object", "properties": {"x": {"type": "integer"}}}}}
    text = {"$defs": {"P": {"type": "object", "properties": {"x": {"type": "string"}}}}}
    read = [
        types.text(
            types.read(Schema({"$ref": "#/$defs/P"}, each["$defs"], about, is_python=True, is_result=is_result), "P")
        )
        for each, about, is_result in [
            (integer, "a b", True),
            (text, "c d", True),
            (integer, "e f", False),
            (text, "g h", False),
        ]
    ]
    assert read == ["P", "PResult", "P", "PResult"]


def test_keys_that_are_no_names_are_written_as_texts() -> None:
    part = {"type": "object", "properties": {"a-b": {"type": "integer"}, "class": {}}, "required": ["a-b"]}
    types = Types(Names(), ())
    types.read(Schema(part, {}, "odd value", is_python=True, is_result=True), "")
    (lines,) = types.definition_lines()
    assert lines == ['OddValue = TypedDict("OddValue", {"a-b": "int", "class": "NotRequired[Any]"})']


@pytest.mark.parametrize("python_type", ["(", "(" * 5_000, "int\nx", "__import__('os')", "a[", "\0", "1 + 2", "x.y[z]"])
def test_a_type_that_is_no_type_is_not_written_anywhere(python_type: str) -> None:
    types = Types(Names(), ())
    schema = Schema({"type": "integer"}, {}, "a", is_python=True, is_result=True)
    assert types.text(types.read(schema, python_type)) == "int"
    assert types.text(types.read(Schema(None, {}, "a", is_python=True, is_result=True), python_type)) == "Any"


def test_a_default_is_of_the_type_or_it_is_not() -> None:
    known = Annotation(("int", "None"), ("a", True), frozenset({"int", "None"}))
    assert [known.takes(value) for value in (1, None, "a", True, "b", 1.5, [1])] == [*[True] * 4, *[False] * 3]
    assert Annotation(("float",), (), frozenset({"float"})).takes(1)
    assert Annotation(("Any",), (), frozenset({"Any"})).takes("x")
    assert Annotation(("Color",), (), frozenset(), ("red",)).takes("red")
    assert not Annotation((), (1,)).takes(True)


def test_a_type_within_itself_ends() -> None:
    deep: Any = int
    for _ in range(30):
        deep = list[deep]
    text, types = read(deep)
    assert "Any" in "".join([text, *(line for lines in types.definition_lines() for line in lines)])
    iterator: Any = Iterator[int]
    assert read(iterator, is_result=False)[0] in ("list[int]", "Any")


@pytest.mark.parametrize("defined", [True, False])
def test_a_key_without_a_name_makes_a_dict_of_any_values(defined: bool) -> None:
    part = {
        "type": "object",
        "properties": {"": {"type": "integer"}, "x": {"type": "string"}},
        "additionalProperties": {"type": "integer"},
    }
    definitions = {"Odd": part} if defined else {}
    types = Types(Names(()), ())
    whole = Schema(
        {"$ref": "#/$defs/Odd"} if defined else part, definitions, "f value", is_python=False, is_result=True
    )
    assert types.text(types.read(whole, "")) == "dict[str, Any]"
    assert types.definition_lines() == []
