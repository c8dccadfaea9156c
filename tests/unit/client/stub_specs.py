"""Tools whose names, types and texts are hard to write as Python: each is checked by the checkers, too."""

import datetime as dt
import enum
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, Optional, Required, TypedDict, Union

from pydantic import BaseModel

from grpc_tool_bridge import ArgumentSpec, ToolSpec, serialize_value
from grpc_tool_bridge.tools.tool import Tool, tool


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"
    GREEN = "a green that is as long as a name of a color can be"


class Item(BaseModel):
    r"""An item with \ and \""" in its docstring."""

    id: int
    list: list[str]
    color: Color = Color.RED


class Order(TypedDict, total=False):
    items: Required[list[Item]]
    note: str


Odd = TypedDict("Odd", {"a-b": int, "class": str, "items": NotRequired[list[Item]]})


@dataclass
class Tree:
    value: float
    inner: "list[Tree]" = field(default_factory=list)


class Empty(BaseModel):
    pass


@tool(name="orders.create")
def create(items: list[Item], note: str | None = None, *, color: Color = Color.RED) -> Order:
    """Creates an order.

    A very long line, which must be wrapped because it takes far more than the columns that a line may have at most,
    doesn't it? And so it is.

    Args:
        items: What is ordered; "quoted".
        color: A very long line, which must be wrapped because it takes far more than the columns that a line has,
            and goes on here.
    """
    raise NotImplementedError


@tool(name="orders")
def orders(limit: int = 10, after: dt.date | None = None) -> list[Order]:
    raise NotImplementedError


@tool(name="orders.items.list")
def list_items(kind: Literal["a", "b"] = "a") -> Iterator[Item]:
    raise NotImplementedError


@tool(name="list")
def shadow_list(a: list[int], b: dict[str, float] = {}) -> list[list[int]]:  # noqa: B006 - a default like a user's
    raise NotImplementedError


@tool(name="datetime")
def shadow_datetime(when: dt.datetime, datetime: int = 1) -> dt.datetime:
    raise NotImplementedError


@tool(name="Any")
def shadow_any(x: Any) -> Any:
    raise NotImplementedError


@tool(name="class")
def keyword(self: int, lambda_: int, /, None_: str = 'it\'s "x"\n', *, _x: int = 3) -> None:
    """Ends with a quote\""""
    raise NotImplementedError


@tool(name="get-page")
def page(a, b=..., *rest: str, **more: int) -> Odd:  # type: ignore[no-untyped-def]  # as a user may write it
    raise NotImplementedError


@tool(name="get_page")
def other_page(  # noqa: PLR0917 - so many that they do not fit on a line
    c: Counter[str],
    s: Sequence[float],
    m: Mapping[str, int],
    t: tuple[int, str],
    fs: frozenset[int],
    o: Optional[Union[int, str]],  # noqa: UP007, UP045 - as a user may write it
    td: dt.timedelta = dt.timedelta(1),
    inf: float = float("inf"),
    neg: int = -5,
    flag: bool = True,
    whole: float = 1,
    wrong: int = "one",  # type: ignore[assignment]  # as a user may write it
    huge: int = 10**100,
) -> dict[int, set[str]]:
    raise NotImplementedError


@tool(name="tree")
def tree(root: Tree, empty: Empty) -> Tree:
    raise NotImplementedError


@tool(name="property", metadata={"deprecated": 'use "x"'})
async def shadow_property(color: Color, colors: list[Color]) -> AsyncIterator[Color | None]:
    raise NotImplementedError
    yield


@tool(name="many")
def many(
    aaaaaaaaaaaaaaaaaaaa: int,
    bbbbbbbbbbbbbbbbbbbbbbbbbbb: int,
    ccccccccccccccccccccccc: int,
    dddddddddddddddddddddddd: int,
    eeeeeeeeeeeeeeeeeeeeeee: int = 3,
) -> Literal["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", 3] | None:
    raise NotImplementedError


def nothing() -> None:
    raise NotImplementedError


NAMES = ["1x", "with_options", "_call", "__init__", "a..b", "x-", "x.-", "builtins", "self", "str", "OMITTED", "None"]

FOREIGN = ToolSpec(
    name="foreign",
    input_schema="""{"type": "object", "required": ["a-b"], "properties": {
        "a-b": {"type": "string", "format": "date-time", "description": "When."},
        "class": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
        "u": {"anyOf": [{"type": "string"}, {"type": ["integer", "null"]}]},
        "p": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
        "all": {"allOf": [{"type": "boolean"}]},
        "one": {"const": 1},
        "odd": {"enum": [1.5, null, "x"]},
        "much": {"enum": [{}]},
        "wrong": {"anyOf": 1, "type": 7, "enum": 3},
        "lost": {"$ref": "#/$defs/nowhere"},
        "true": true}}""",
    output_schema='{"type": "array", "uniqueItems": true, "items": {"type": "object", "properties": {"y z": {}}}}',
)
HOSTILE = ToolSpec(
    name="hostile",
    description='"""\nimport os\nos.system("x")\\',
    arguments=[
        ArgumentSpec(name='x: int = __import__("os")', python_type='__import__("os").system("x")', required=True),
        ArgumentSpec(name="y", python_type="(" * 500),
        ArgumentSpec(name="z", python_type="list[" * 80 + "int" + "]" * 80),
        ArgumentSpec(name="\u202eabc", python_type="str", default_value=serialize_value('"""\n')),
        ArgumentSpec(name="", python_type="int\nimport os"),
    ],
    input_schema="""{"type": "object", "properties": {"y": {"$ref": "#/$defs/\\"+__import__"}},
        "$defs": {"loop": {"$ref": "#/$defs/loop"}, "\\"+__import__": {
            "type": "object", "description": "\\"\\"\\"", "properties": {
            "\\"+x()+\\"": {"const": "\\"+y()"}, "__class__": {}, "l": {"$ref": "#/$defs/loop"}}}}}""",
    metadata={"deprecated": '")\nimport os'},
)
UNREADABLE = ToolSpec(name="unreadable", input_schema="[" * 100_000, output_schema='"text"')

TOOLS: list[Tool] = [
    create, orders, list_items, shadow_list, shadow_datetime, shadow_any, keyword, page, other_page, tree,
    shadow_property, many,
]  # fmt: skip
SPECS = [
    *(tool.spec for tool in TOOLS),
    *(tool(name=name)(nothing).spec for name in NAMES),
    FOREIGN,
    HOSTILE,
    UNREADABLE,
    ToolSpec(name="bare"),
]
