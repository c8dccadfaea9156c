"""Tools whose annotations name what is defined further down in the module."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import pytest
import typing_extensions
from pydantic import BaseModel

from grpc_tool_bridge import LocalToolBridge, tool
from grpc_tool_bridge.tools.tool import Tool, as_tool

LaterList = typing_extensions.TypeAliasType("LaterList", "list[Item]")


class Holder(BaseModel):
    item: "Item"


class Record(NamedTuple):
    item: "Item"


class Row(TypedDict):
    item: "Item"


@dataclass
class Node:
    item: "Item"


@tool
def parameter(value: "Item") -> Any:
    """Takes one."""
    return value


@tool
def inside(value: "dict[str, list[Item]] | None" = None) -> Any:
    return value


@tool
def result() -> "Item":
    return Item(3)


@tool
def alias(value: LaterList) -> Any:
    return value


@tool
def model(value: Holder) -> Any:
    return value


@tool
def named_tuple(value: Record) -> Any:
    return value


@tool
def typed_dict(value: Row) -> Any:
    return value


@tool
def data(value: Node) -> Any:
    return value


@tool(name="named")
async def coroutine(value: "Item") -> Any:
    return value


class Service:
    @tool
    def method(self, value: "Item") -> Any:
        return value


def plain(value: "Item") -> Any:
    return value


# Both are tools before there is an Item, and keep that this was so.
EARLY = {name: made for name, made in list(globals().items()) if isinstance(made, Tool)}
WAITING = {name for name, made in EARLY.items() if "spec" not in vars(made)}
NAMES = {name: (made.__name__, made.__doc__, repr(made)) for name, made in EARLY.items()}


@dataclass
class Item:
    n: int


def test_no_tool_was_read_before_its_names_were_there() -> None:
    assert set(EARLY) == WAITING
    assert len(WAITING) == 9


def test_a_tool_that_is_not_read_yet_has_its_name_and_docstring() -> None:
    name, doc, text = NAMES["parameter"]
    assert (name, doc) == ("parameter", "Takes one.")
    assert text.startswith("<Tool parameter(value: 'Item')")


@pytest.mark.parametrize(
    ("made", "given", "value"),
    [
        (parameter, {"n": 1.0}, lambda: Item(1)),
        (inside, {"a": [{"n": 1}]}, lambda: {"a": [Item(1)]}),
        (alias, [{"n": 1}], lambda: [Item(1)]),
        (model, {"item": {"n": 1}}, lambda: Holder(item=Item(1))),
        (named_tuple, [{"n": 1}], lambda: Record(Item(1))),
        (typed_dict, {"item": {"n": 1}}, lambda: {"item": Item(1)}),
        (data, {"item": {"n": 1}}, lambda: Node(Item(1))),
        (coroutine, {"n": 1}, lambda: Item(1)),
        (Service().method, {"n": 1}, lambda: Item(1)),
        (as_tool(plain), {"n": 1}, lambda: Item(1)),
    ],
    ids=str,
)
def test_it_is_read_when_it_is_first_asked_for(made: Tool, given: Any, value: Any) -> None:
    assert made.bind((given,), {}) == ([value()], {})
    assert made.spec.arguments[0].name == "value"
    with pytest.raises(AttributeError, match="is immutable"):
        made.spec = made.spec


def test_all_of_it_is_there_then() -> None:
    made = copy.copy(EARLY["coroutine"])
    assert (made.is_async, made.is_stream, made.executor, made.context_parameter) == (True, False, "async", None)
    assert made.spec.name == "named"
    assert "Item" in EARLY["result"].spec.output_schema
    with pytest.raises(AttributeError, match="nothing_else"):
        made.nothing_else  # noqa: B018


async def test_it_can_be_called_over_the_bridge() -> None:
    async with LocalToolBridge([parameter, result]) as bridge:
        tools = await bridge.initialize()
        assert await tools["parameter"]({"n": 2.0}) == {"n": 2}
        assert await tools["result"]() == {"n": 3}


@pytest.mark.parametrize("where", ["parameter", "inside", "result", "field"])
def test_a_name_that_never_comes_is_named_when_the_tool_is_registered(where: str) -> None:
    def parameter(value: "Nowhere") -> Any: ...  # type: ignore[name-defined] # noqa: F821

    def inside(value: "list[Nowhere]") -> Any: ...  # type: ignore[name-defined] # noqa: F821

    def result() -> "Nowhere": ...  # type: ignore[name-defined] # noqa: F821

    class Lost(TypedDict):
        value: "Nowhere"  # type: ignore[name-defined] # noqa: F821

    def field(value: Lost) -> Any: ...

    functions: dict[str, Callable[..., Any]] = {
        "parameter": parameter, "inside": inside, "result": result, "field": field,
    }  # fmt: skip
    function = functions[where]
    made = tool(function)
    place = "the result" if where == "result" else "parameter 'value'"
    for register in (as_tool, lambda item: item.spec):
        with pytest.raises(TypeError, match=rf"{where}: {place}.*'Nowhere' is not defined.*define what it names"):
            register(made)
    with pytest.raises(TypeError, match="'Nowhere' is not defined"):
        as_tool(function)


def test_other_faults_are_told_at_once() -> None:
    def f(value: 5) -> None: ...  # type: ignore[valid-type] # what the test is about

    with pytest.raises(TypeError, match="f: parameter 'value'"):
        tool(f)
