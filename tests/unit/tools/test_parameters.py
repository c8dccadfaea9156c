# ruff: noqa: E501, PYI061, UP007, UP044 - a line for a kind; forms of typing are what is tested
"""Types of parameters, with annotations postponed: what a tool of them takes, what its schema says, what reaches it."""

from __future__ import annotations

import importlib.metadata
import json
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Reversible, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntFlag
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import annotated_types
import jsonschema
import msgspec
import pydantic
import pytest
import typing_extensions
from pydantic import BaseModel, Discriminator, Field, Json, SkipValidation, Tag

from grpc_tool_bridge import ToolContext, ValidationError
from grpc_tool_bridge.tools.tool import Tool, tool

T = TypeVar("T")
Bounded = TypeVar("Bounded", bound=int)
Either = TypeVar("Either", int, str)
UserId = NewType("UserId", int)
JsonValue = typing_extensions.TypeAliasType(
    "JsonValue", "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"
)
Few = typing_extensions.TypeAliasType("Few", Annotated[list[int], Field(max_length=2)])


class Base(TypedDict):
    a: int


class Partly(Base, total=False):
    b: str
    c: typing.Required[Annotated[date, Field(ge=date(2000, 1, 1))]]


class Marked(TypedDict):
    a: int
    b: typing.NotRequired[str]
    c: typing_extensions.ReadOnly[int]


class NewBase(typing_extensions.TypedDict):
    a: int


class NewPartly(NewBase, total=False):
    b: str
    c: typing_extensions.Required[Annotated[date, Field(ge=date(2000, 1, 1))]]


class NewMarked(typing_extensions.TypedDict):
    a: int
    b: typing_extensions.NotRequired[str]
    c: typing_extensions.ReadOnly[int]


class Box(TypedDict, Generic[T]):
    item: T
    more: typing.NotRequired[list[T]]


class NewBox(typing_extensions.TypedDict, Generic[T]):
    item: T
    more: typing_extensions.NotRequired[list[T]]


class Tree(TypedDict):
    n: int
    kids: typing.NotRequired[list[Tree]]


class NewTree(typing_extensions.TypedDict):
    n: int
    kids: typing_extensions.NotRequired[list[NewTree]]


class Branch(NamedTuple):
    n: int
    kids: tuple[Branch, ...] = ()


@dataclass
class Node:
    n: int
    rows: list[Tree] = field(default_factory=list)
    next: Node | None = None


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Nested(NamedTuple):
    first: Pair
    rest: list[Pair] = []  # noqa: RUF012 - nobody changes it
    extra: int = None  # type: ignore[assignment] # what the test is about


@dataclass
class Limits:
    most: int = None  # type: ignore[assignment] # what the test is about
    name: str | None = None


class Color(Enum):
    RED = "red"


class Rights(Flag):
    READ = 1
    WRITE = 2


class Bits(IntFlag):
    ONE = 1


class Model(BaseModel):
    x: int


class Optionals(BaseModel):
    most: int = None  # type: ignore[assignment] # what the test is about


@pydantic.dataclasses.dataclass
class PydanticLimits:
    most: int = None  # type: ignore[assignment] # what the test is about


class Measured(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(gt=0)]


class Array(msgspec.Struct, array_like=True):
    x: int
    text: str = "t"


class Cat(TypedDict):
    kind: Literal["cat"]
    lives: int


class Dog(TypedDict):
    kind: Literal["dog"]


Pet = Annotated[Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator("kind")]
Even = Annotated[int, annotated_types.Predicate(lambda number: number % 2 == 0)]
Price = Annotated[Decimal, Field(max_digits=5, decimal_places=2, ge=Decimal("0.5"))]


def tool_of(annotation: Any, default: Any = ...) -> Tool:
    def f(value: Any) -> None: ...

    f.__annotations__["value"] = annotation
    if default is not ...:
        f.__defaults__ = (default,)
    made: Tool = tool(f)
    return made


def schema_takes(made: Tool, arguments: Mapping[str, Any]) -> bool:
    schema = json.loads(made.spec.input_schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    return bool(jsonschema.Draft202012Validator(schema).is_valid(arguments))


class Beyond(NamedTuple):
    """What a tool refuses by a rule for which JSON Schema has no word."""

    value: Any


MOMENT = datetime.fromisoformat("2024-01-02T03:04:05")
# An annotation, what JSON gives for it with what reaches the function, and what is refused.
KINDS: list[tuple[Any, list[tuple[Any, Any]], list[Any]]] = [
    (Base, [({"a": 1}, {"a": 1}), ({"a": 1.0}, {"a": 1})], [{}, {"a": "1"}, {"a": 1, "z": 1}, [], None]),
    (Partly, [({"a": 1, "c": "2024-01-02"}, {"a": 1, "c": date(2024, 1, 2)})], [{"a": 1}, {"c": "2024-01-02"}, Beyond({"a": 1, "c": "1999-01-01"})]),
    (Marked, [({"a": 1, "c": 2}, {"a": 1, "c": 2}), ({"a": 1, "b": "x", "c": 2},) * 2], [{"a": 1}, {"a": 1, "b": "x"}]),
    (NewPartly, [({"a": 1, "c": "2024-01-02"}, {"a": 1, "c": date(2024, 1, 2)})], [{"a": 1}, {"c": "2024-01-02"}, Beyond({"a": 1, "c": "1999-01-01"})]),
    (NewMarked, [({"a": 1, "c": 2}, {"a": 1, "c": 2}), ({"a": 1, "b": "x", "c": 2},) * 2], [{"a": 1}, {"a": 1, "b": "x"}]),
    (Box[int], [({"item": 1.0, "more": [2]}, {"item": 1, "more": [2]})], [{}, {"item": "x"}, {"item": 1, "more": ["x"]}]),
    (NewBox[int], [({"item": 1.0, "more": [2]}, {"item": 1, "more": [2]})], [{}, {"item": "x"}, {"item": 1, "more": ["x"]}]),
    (list[Base] | None, [([{"a": 1}],) * 2, (None, None)], [[{}], {"a": 1}]),
    (Tree, [({"n": 1, "kids": [{"n": 2, "kids": []}]},) * 2], [{"n": 1, "kids": [{"kids": []}]}]),
    (NewTree, [({"n": 1, "kids": [{"n": 2, "kids": []}]},) * 2], [{"n": 1, "kids": [{"kids": []}]}]),
    (Branch, [([1, [[2], [3, []]]], Branch(1, (Branch(2), Branch(3))))], [[1, [["x"]]], [], 5]),
    (Node, [({"n": 1, "next": {"n": 2, "rows": [{"n": 3}]}}, Node(1, [], Node(2, [{"n": 3}])))], [{"n": 1, "rows": [{}]}]),
    (JsonValue, [({"a": [1, 2.5, None, True, {}]},) * 2, (5, 5)], []),
    (Few, [([1, 2.0], [1, 2])], [[1, 2, 3], ["x"]]),
    (Pair, [([1, "a"], Pair(1, "a")), ([1], Pair(1))], [[], ["x"], [1, "a", "b"], "ab"]),
    (Nested, [([[1], [[2, "b"]], None], Nested(Pair(1), [Pair(2, "b")])), ([[1]], Nested(Pair(1)))], [[["x"]], [[1], [["x"]]]]),
    (Limits, [({"most": None}, Limits()), ({"most": 2.0}, Limits(2))], [{"most": "x"}]),
    (Optionals, [({"most": None}, Optionals()), ({"most": 2.0}, Optionals(most=2)), ({}, Optionals())], [{"most": "x"}]),
    (PydanticLimits, [({"most": None}, PydanticLimits()), ({}, PydanticLimits())], [{"most": "x"}]),
    (Price, [("1.10", Decimal("1.10")), (3, Decimal(3)), (3.0, Decimal(3))], [Beyond("1.123"), Beyond("1234.56"), Beyond("0.4"), Beyond("x"), 0, 0.25]),
    (Price | None, [("1.10", Decimal("1.10")), (None, None)], [Beyond("1.123")]),
    (list[Price], [(["1.10"], [Decimal("1.10")])], [Beyond(["1.123"])]),
    (pydantic.condecimal(max_digits=3), [("1.10", Decimal("1.10"))], [Beyond("12.34")]),
    (Annotated[Decimal, annotated_types.MultipleOf(Decimal("0.05"))], [("0.15", Decimal("0.15"))], [Beyond("0.16")]),
    (Annotated[Decimal, Field(allow_inf_nan=False)], [("0.15", Decimal("0.15"))], [Beyond("NaN"), Beyond("Infinity")]),
    (Annotated[datetime, Field(ge=MOMENT)], [("2024-01-02T03:04:05", MOMENT)], [Beyond("2023-01-02T03:04:05")]),
    (Annotated[timedelta, annotated_types.Le(timedelta(days=1))], [("P1D", timedelta(days=1))], [Beyond("P2D")]),
    (pydantic.UUID4, [("12345678-1234-4678-9234-567812345678", UUID("12345678-1234-4678-9234-567812345678"))], [Beyond("x"), 5]),
    (Annotated[list[int], annotated_types.Len(1, 2)], [([1], [1])], [[], [1, 2, 3]]),
    (Annotated[set[int], Field(min_length=1)], [([1], {1})], [[]]),
    (Annotated[dict[str, int], annotated_types.MinLen(1)], [({"a": 1}, {"a": 1})], [{}]),
    (list[Annotated[int, Field(ge=1)]], [([1.0], [1])], [[0]]),
    (dict[str, Annotated[str, Field(max_length=1)]], [({"a": "b"},) * 2], [{"a": "bc"}]),
    (pydantic.constr(min_length=2, pattern="^a"), [("ab", "ab")], ["a", "bc"]),
    (pydantic.conint(ge=1), [(1.0, 1)], [0]),
    (pydantic.conlist(int, min_length=1), [([1], [1])], [[]]),
    (Even, [(2.0, 2)], [Beyond(3), 2.5]),
    (Literal[1, "a", None, True], [(1, 1), (1.0, 1), ("a", "a"), (None, None), (True, True)], [2, "b", False]),
    (Color, [("red", Color.RED)], ["RED", 1]),
    (Rights, [(1, Rights.READ), (3, Rights.READ | Rights.WRITE)], [4, "READ", -1]),
    (Bits, [(3, Bits(3))], ["ONE"]),
    (typing.Union[None, int, str], [(None, None), (1.0, 1), ("a", "a")], [1.5]),
    (int | float, [(1, 1), (1.0, 1.0), (1.5, 1.5)], ["1"]),
    (Sequence[int], [([1.0], [1])], [["x"], 5]),
    (Mapping[str, int], [({"a": 1.0}, {"a": 1})], [{"a": "x"}, []]),
    (Iterable[int], [([1.0], [1])], [["x"], 5]),
    (Collection[int], [([1.0], [1])], [["x"], 5]),
    (typing.Collection, [([1.0], [1.0])], [5]),
    (Reversible[int], [([1.0], [1])], [["x"], 5]),
    (deque[int], [([1.0], deque([1]))], [["x"]]),
    (Counter[str], [({"a": 1.0}, Counter(a=1))], [{"a": "x"}]),
    (defaultdict[str, int], [({"a": 1.0}, defaultdict(int, a=1))], [{"a": "x"}]),
    (OrderedDict[str, int], [({"a": 1.0}, OrderedDict(a=1))], [{"a": "x"}]),
    (UserId, [(5.0, 5)], ["x"]),
    (Bounded, [(5.0, 5)], ["x"]),
    (Either, [(5, 5), ("a", "a")], [1.5]),
    (typing.LiteralString, [("a", "a")], [5]),
    (Json[list[int]], [("[1, 2]", [1, 2])], [Beyond("x"), 5]),
    (SkipValidation[int], [(5, 5)], []),
    (Pet, [({"kind": "cat", "lives": 9},) * 2, ({"kind": "dog"},) * 2], [{"kind": "cat"}, {"kind": "cow"}, {}]),
    (Annotated[int, msgspec.Meta(ge=1, description="how many")], [(1, 1)], [0]),
    (list[Annotated[str, msgspec.Meta(max_length=1)]], [(["a"], ["a"])], [["ab"]]),
    (Measured, [({"size": 1}, Measured(1))], [{"size": 0}]),
    (Array, [([1], Array(1)), ([1, "a"], Array(1, "a")), ({"x": 1}, Array(1))], [[], [1, "a", 2], ["x"], 5]),
    (list[Model], [([{"x": 1}], [Model(x=1)])], [[{}]]),
]  # fmt: skip


def kinds() -> list[Any]:
    return [pytest.param(*kind, id=str(kind[0])[:50]) for kind in KINDS]


@pytest.mark.parametrize(("annotation", "taken", "refused"), kinds())
def test_a_tool_takes_what_its_schema_says(annotation: Any, taken: list[Any], refused: list[Any]) -> None:
    made = tool_of(annotation)
    for given, reaches in taken:
        (value,), named = made.bind((given,), {})
        assert (type(value), value, named) == (type(reaches), reaches, {})
        assert schema_takes(made, {"value": given}), given
    for given in refused:
        is_beyond = isinstance(given, Beyond)
        wrong = given.value if is_beyond else given
        with pytest.raises(ValidationError, match=r"^f: argument 'value': "):
            made.bind((wrong,), {})
        assert schema_takes(made, {"value": wrong}) == is_beyond, wrong


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Iterator[int], Iterator), (typing.Iterator[int], Iterator), (Iterator[int] | None, Iterator),
        (Generator[int, None, None], Generator), (typing.Generator[int, None, None], Generator),
    ],
    ids=str,
)  # fmt: skip
def test_an_iterator_is_given_where_one_is_declared(annotation: Any, kind: Any) -> None:
    made = tool_of(annotation)
    for given in ([1, 2.0], (1, 2)):
        (value,), _ = made.bind((given,), {})
        assert isinstance(value, kind)
        assert [next(value), next(value), *value] == [1, 2]
    for wrong in (["x"], 5, "ab"):
        with pytest.raises(ValidationError, match=r"^f: argument 'value': "):
            made.bind((wrong,), {})
        assert not schema_takes(made, {"value": wrong})
    assert schema_takes(made, {"value": [1]})


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (int, None), (str, None), (list[int], None), (Base, None), (Pair, None), (Color, None), (Literal["a"], None),
        (Annotated[int, Field(ge=0, description="how many")], None), (int | str, None), (UserId, None), (Few, None),
        (JsonValue, None), (int | None, None), (Any, None), (object, None), (Model, None), (Price, None), (Bounded, None),
    ],
    ids=str,
)  # fmt: skip
def test_null_may_be_given_where_it_is_the_default(annotation: Any, default: Any) -> None:
    made = tool_of(annotation, default)
    assert made.bind((None,), {}) == ([None], {})
    assert made.bind((), {"value": None}) == ([], {"value": None})
    assert made.bind((), {}) == ([], {})
    assert schema_takes(made, {"value": None})
    schema = json.loads(made.spec.input_schema)
    assert schema["properties"]["value"]["default"] is None
    assert "required" not in schema
    assert not made.spec.arguments[0].required
    assert made.spec.arguments[0].python_type.endswith(("None", "Any", "object"))


@pytest.mark.parametrize("cls", [Limits, Optionals, PydanticLimits])
def test_a_result_may_be_null_where_its_default_is(cls: Any) -> None:
    def f() -> Any:
        return cls()

    f.__annotations__["return"] = cls
    schema = json.loads(tool(f).spec.output_schema)
    assert jsonschema.Draft202012Validator(schema).is_valid({"most": None, "name": None}), schema


def test_only_null_is_added_by_a_default_of_null() -> None:
    made = tool_of(Annotated[int, Field(ge=0)], None)
    for wrong in ("x", -1, True):
        with pytest.raises(ValidationError):
            made.bind((wrong,), {})
    assert json.loads(made.spec.input_schema)["properties"]["value"] == {
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}],
        "default": None,
    }
    assert (made.spec.arguments[0].python_type, made.spec.arguments[0].elixir_type) == ("int | None", "integer() | nil")


class TestDefaultsOfAnnotations:
    def test_what_is_left_out_is_given_by_the_bridge(self) -> None:
        def f(
            a: int,
            b: Annotated[int, Field(default=3, ge=0)],
            c: Annotated[list[int], Field(default_factory=list)],
            d: Annotated[int, Field(default=None)],
            e: int = 9,
        ) -> tuple[Any, ...]:
            return a, b, c, d, e

        made = tool(f)

        def call(*args: Any, **kwargs: Any) -> Any:
            ready, named = made.bind(args, kwargs)
            return f(*ready, **named)

        assert call(1) == (1, 3, [], None, 9)
        assert call(1, 2) == (1, 2, [], None, 9)
        assert call(a=1.0, c=[1], d=None, e=2) == (1, 3, [1], None, 2)
        first, second = call(1)[2], call(1)[2]
        assert first is not second
        with pytest.raises(ValidationError, match=r"argument 'a': missing; argument 'b': should be greater"):
            call(b=-1)
        schema = json.loads(made.spec.input_schema)
        assert schema["required"] == ["a"]
        assert schema["properties"]["b"] == {"type": "integer", "minimum": 0, "default": 3}
        assert schema["properties"]["c"] == {"type": "array", "items": {"type": "integer"}}
        assert schema["properties"]["d"] == {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}
        assert [item.required for item in made.spec.arguments] == [True, False, False, False, False]

    def test_a_default_that_can_be_changed_is_another_for_each_call(self) -> None:
        def f(a: Annotated[list[int], Field(default=[1])]) -> list[int]:
            a.append(2)
            return a

        made = tool(f)
        for _ in range(2):
            args, kwargs = made.bind((), {})
            assert f(*args, **kwargs) == [1, 2]

    @pytest.mark.parametrize(
        ("args", "kwargs", "result"),
        [
            ((), {}, (3, 4, 5, (), 6)),
            ((1,), {}, (1, 4, 5, (), 6)),
            ((1, 2, 7, 8), {}, (1, 2, 7, (8,), 6)),
            ((), {"b": 9}, (3, 9, 5, (), 6)),
            ((), {"rest": [1, 2]}, (3, 4, 5, (1, 2), 6)),
            ((), {"c": 1, "d": 2}, (3, 4, 1, (), 2)),
        ],
    )
    def test_they_go_where_python_wants_them(self, args: Any, kwargs: Any, result: Any) -> None:
        def f(
            a: Annotated[int, Field(default=3)],
            b: Annotated[int, Field(default_factory=lambda: 4)],
            /,
            c: Annotated[int, Field(default=5)],
            *rest: int,
            d: Annotated[int, Field(default=6)],
        ) -> tuple[Any, ...]:
            return a, b, c, rest, d

        ready, named = tool(f).bind(args, kwargs)
        assert f(*ready, **named) == result

    def test_a_default_of_the_function_wins(self) -> None:
        def f(a: Annotated[int, Field(default=3)] = 8) -> None: ...

        made = tool(f)
        assert made.bind((), {}) == ([], {})
        assert json.loads(made.spec.input_schema)["properties"]["a"]["default"] == 8

    def test_one_made_of_other_fields_is_refused(self) -> None:
        def f(a: Annotated[int, Field(default_factory=lambda data: data["b"])]) -> None: ...

        with pytest.raises(TypeError, match="f: parameter 'a': its default_factory takes other fields"):
            tool(f)

    def test_the_context_stays_out_of_the_way(self) -> None:
        def f(ctx: ToolContext, a: Annotated[int, Field(default=3)]) -> None: ...

        assert tool(f).bind((), {}) == ([], {"a": 3})
        assert tool(f).bind((1,), {}) == ([], {"a": 1})


class Style(TypedDict, total=False):
    color: typing.Required[Annotated[str, Field(description="the colour")]]
    size: Annotated[int, Field(ge=1)]


class NewStyle(typing_extensions.TypedDict, total=False):
    color: typing_extensions.Required[Annotated[str, Field(description="the colour")]]
    size: Annotated[int, Field(ge=1)]


class Open(typing_extensions.TypedDict, extra_items=int):  # type: ignore[call-arg] # mypy does not know it
    color: str


def old_style(name: str, **style: typing.Unpack[Style]) -> Any:
    """Draws.

    Args:
        name: What it is called.
        size: How large.
    """
    return name, style


def new_style(name: str, **style: typing_extensions.Unpack[NewStyle]) -> Any:
    """Draws.

    Args:
        name: What it is called.
        size: How large.
    """
    return name, style


class TestUnpack:
    @pytest.mark.parametrize("function", [old_style, new_style])
    def test_keys_are_arguments_as_others(self, function: Callable[..., Any]) -> None:
        made = tool(function)
        assert json.loads(made.spec.input_schema) == {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "What it is called."},
                "color": {"type": "string", "description": "the colour"},
                "size": {"type": "integer", "minimum": 1, "description": "How large."},
            },
            "required": ["name", "color"],
            "additionalProperties": False,
        }
        args, kwargs = made.bind(("x",), {"color": "red"})
        assert function(*args, **kwargs) == ("x", {"color": "red"})
        args, kwargs = made.bind((), {"name": "x", "color": "red", "size": 2.0})
        assert function(*args, **kwargs) == ("x", {"color": "red", "size": 2})
        with pytest.raises(ValidationError) as caught:
            made.bind((), {"size": 0, "colr": "red"})
        assert caught.value.details == {
            "name": "missing",
            "color": "missing",
            "size": "should be greater than or equal to 1, got 0 (int)",
            "colr": "unknown, did you mean 'color'?",
        }

    def test_type_arguments_and_further_items_are_checked(self) -> None:
        def generic(**values: typing.Unpack[Box[int]]) -> None: ...

        def further(**values: typing_extensions.Unpack[Open]) -> None: ...

        assert tool(generic).bind((), {"item": 1.0, "more": [2.0]}) == ([], {"item": 1, "more": [2]})
        with pytest.raises(ValidationError, match="argument 'item': should be a valid integer"):
            tool(generic).bind((), {"item": "x"})
        assert tool(further).bind((), {"color": "red", "z": 1.0}) == ([], {"color": "red", "z": 1})
        with pytest.raises(ValidationError, match="argument 'z': should be a valid integer"):
            tool(further).bind((), {"color": "red", "z": "x"})

    def test_a_tuple_of_one_type_is_what_starred_arguments_are(self) -> None:
        def f(*values: typing.Unpack[tuple[int, ...]]) -> None: ...

        assert tool(f).bind((1, 2.0), {}) == ([1, 2], {})

    def test_what_cannot_be_arguments_is_refused_with_a_reason(self) -> None:
        def twice(color: str, **style: typing.Unpack[Style]) -> None: ...  # type: ignore[misc] # what is tested

        def places(*values: typing.Unpack[tuple[int, str]]) -> None: ...

        with pytest.raises(TypeError, match="twice: 'color' is both a parameter and a key"):
            tool(twice)
        with pytest.raises(TypeError, match=r"places: parameter 'values': .*tuple\[int, str\]\]? cannot be read"):
            tool(places)


@pytest.mark.parametrize(
    "annotation",
    [
        typing.Final[int], typing.ClassVar[int], typing.Required[int], typing.NotRequired[int],
        typing_extensions.ReadOnly[int], typing.Self, tuple[int, typing.Unpack[tuple[str, ...]]],
        typing.TypeGuard[int], "typing.Final[int]", "typing.ClassVar[int]",
    ],
    ids=str,
)  # fmt: skip
def test_what_says_nothing_of_a_value_is_refused_by_name(annotation: Any) -> None:
    with pytest.raises(
        TypeError, match=r"f: parameter 'value': .*(Final|ClassVar|Required|ReadOnly|Self|tuple|TypeGuard)"
    ):
        tool_of(annotation)


def test_a_type_that_needs_another_package_says_which() -> None:
    try:
        importlib.metadata.version("email-validator")
    except importlib.metadata.PackageNotFoundError:
        with pytest.raises(TypeError, match=r"f: parameter 'value': .*email-validator is not installed"):
            tool_of(pydantic.EmailStr)
    else:
        assert tool_of(pydantic.EmailStr).bind(("a@example.com",), {}) == (["a@example.com"], {})


def test_a_named_tuple_is_taken_in_each_of_its_forms_and_preferred_where_it_is_one() -> None:
    for given in (Pair(1, "a"), (1, "a"), [1, "a"], {"left": 1, "right": "a"}):
        (value,), _ = tool_of(Pair).bind((given,), {})
        assert (type(value), value) == (Pair, Pair(1, "a"))
    unions: list[tuple[Any, Any]] = [(Pair | dict, {"left": 1}), (dict | Pair, Pair(1)), (list | Pair, [1])]
    for union, own in [*unions, (tuple | Pair, Pair(1))]:
        (value,), _ = tool_of(union).bind((own,), {})
        assert (type(value), value) == (type(own), own)
    for wrong in ({1, 2}, iter([1]), {"left": 1, "rigth": "a"}):
        with pytest.raises(ValidationError):
            tool_of(Pair).bind((wrong,), {})


def test_a_collection_keeps_its_class() -> None:
    for given in ([1], (1,), {1}, frozenset({1})):
        (value,), _ = tool_of(Collection[int]).bind((given,), {})
        assert (type(value), value) == (type(given), given)
    with pytest.raises(ValidationError):
        tool_of(Collection[int]).bind(({"x"},), {})


def test_a_class_of_the_user_is_left_as_it_was() -> None:
    before = set(vars(Tree))
    tool_of(list[Tree])
    assert set(vars(Tree)) == before


def test_classes_inside_a_function_are_found_also_those_defined_after_the_tool() -> None:
    @tool
    def early(value: Order) -> None: ...  # type: ignore[misc] # of mypy: a recursive type may not be local

    class Line(TypedDict):
        n: int

    class NewLine(typing_extensions.TypedDict):
        n: int

    class Order(TypedDict):
        lines: list[Line]
        part: typing.NotRequired[Order]  # type: ignore[misc] # of mypy's: it may not be local

    @dataclass
    class Parcel:
        line: NewLine
        order: Order | None = None

    class Load(NamedTuple):
        parcel: Parcel
        more: tuple[Load, ...] = ()  # type: ignore[misc] # likewise

    def named(value: Load) -> None: ...

    def keys(**values: typing.Unpack[Order]) -> None: ...

    order = {"lines": [{"n": 1.0}], "part": {"lines": []}}
    read = {"lines": [{"n": 1}], "part": {"lines": []}}
    assert early.bind((order,), {}) == ([read], {})
    assert tool(keys).bind((), order) == ([], read)
    parcel = Parcel({"n": 1}, {"lines": []})
    assert tool(named).bind(([{"line": {"n": 1.0}, "order": {"lines": []}}, []],), {}) == ([Load(parcel)], {})
    assert tool(named).spec.arguments[0].elixir_type == "{map(), tuple()}"
    with pytest.raises(ValidationError, match=r"argument 'value': \.part\.lines\[0\]\.n is missing"):
        early.bind(({"lines": [], "part": {"lines": [{}]}},), {})
