"""Toolsets: which methods of an object, and which functions of a module, are tools, and under which names."""

import functools
import sys
import types
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolType
from grpc_tool_bridge.tools.tool import Tool, tool
from grpc_tool_bridge.tools.toolset import Toolset, check_prefix, flat, prefixed


class Marked:
    def __init__(self, shop: str = "here") -> None:
        self.shop = shop

    @tool(tags=["db"], idempotent=True, name="fetch")
    def get(self, number: int) -> str:
        """Gets one."""
        return f"{self.shop} {number}"

    def helper(self) -> int:
        return 1

    @staticmethod
    @tool
    def half(number: int) -> float:
        return number / 2

    @classmethod
    @tool(hidden=True)
    def kind(cls) -> str:
        return cls.__name__


class Plain:
    """No method is marked."""

    limit = 3

    def __init__(self) -> None:
        self.called = 0

    def get(self, number: int) -> int:
        self.called += 1
        return number

    async def later(self) -> int:
        return 1

    def each(self, to: int) -> Iterator[int]:
        yield from range(to)

    @staticmethod
    def half(number: int) -> float:
        return number / 2

    @classmethod
    def kind(cls) -> str:
        return cls.__name__

    @property
    def broken(self) -> int:
        raise AssertionError("a property is not read")

    def _own(self) -> int:
        return 1

    def __call__(self) -> int:
        return 1


def names(toolset: Toolset) -> list[str]:
    return [item.spec.name for item in toolset]


def named(toolset: Toolset, name: str) -> Tool:
    return next(item for item in toolset if item.spec.name == name)


def test_marked_methods_are_its_tools_with_their_options() -> None:
    toolset = Toolset(Marked("a"), "orders.")
    assert names(toolset) == ["orders.fetch", "orders.half", "orders.kind"]
    fetch = named(toolset, "orders.fetch")
    assert (fetch.spec.tool_id, fetch.spec.idempotent, fetch.spec.metadata["tags"]) == ("orders.fetch", True, "db")
    assert fetch.spec.description == "Gets one."
    assert fetch(3) == "a 3"
    assert (named(toolset, "orders.half")(3), named(toolset, "orders.kind")()) == (1.5, "Marked")
    assert named(toolset, "orders.kind").spec.metadata["hidden"] == "true"
    assert len(toolset) == 3
    assert repr(toolset) == "<Toolset of Marked: orders.fetch, orders.half, orders.kind>"


def test_two_objects_of_a_class_are_told_apart() -> None:
    both = [named(Toolset(Marked(shop), f"{shop}."), f"{shop}.fetch") for shop in ("a", "b")]
    assert [one(1) for one in both] == ["a 1", "b 1"]
    assert Marked.__dict__["get"].spec.name == "fetch"


def test_without_marked_methods_all_public_ones_are_its_tools() -> None:
    source = Plain()
    toolset = Toolset(source)
    assert names(toolset) == ["get", "later", "each", "half", "kind"]
    assert named(toolset, "each").spec.type == ToolType.STREAMING
    assert named(toolset, "later").is_async
    assert named(toolset, "get")(2) == 2
    assert source.called == 1
    with pytest.raises(ValidationError, match=r"^get: argument 'number'"):
        named(toolset, "get").bind(["x"], {})


def test_errors_name_a_tool_as_it_is_called() -> None:
    with pytest.raises(ValidationError, match=r"^orders\.get: argument 'number'"):
        named(Toolset(Plain(), "orders."), "orders.get").bind(["x"], {})


class Inherits(Marked):
    """It overrides one marked method, hides one, and brings one."""

    def get(self, number: int) -> str:  # type: ignore[override]  # a method for a tool
        """Gets one from here."""
        return f"my {number}"

    half = None  # type: ignore[assignment]  # what a class does that does not want the method

    @tool
    def more(self) -> int:
        return 2


def test_a_method_that_overrides_a_marked_one_is_a_tool_with_the_same_options() -> None:
    toolset = Toolset(Inherits("a"), "i.")
    assert names(toolset) == ["i.fetch", "i.kind", "i.more"]
    fetch = named(toolset, "i.fetch")
    assert (fetch(1), fetch.spec.metadata["tags"], fetch.spec.description) == ("my 1", "db", "Gets one from here.")
    assert named(toolset, "i.kind")() == "Inherits"


class Base(ABC):
    @abstractmethod
    def get(self) -> int: ...

    def shared(self) -> int:
        return 5


class Other(Base):
    def get(self) -> int:
        return 4


class OfLibrary(types.SimpleNamespace, Base):
    def get(self) -> int:
        return 3


def test_methods_of_base_classes_of_the_same_package_are_tools_too() -> None:
    assert names(Toolset(Other())) == ["get", "shared"]
    assert [item() for item in Toolset(Other())] == [4, 5]
    assert names(Toolset(OfLibrary())) == ["get", "shared"]


def test_methods_of_base_classes_of_other_packages_are_none() -> None:
    class Model(dict[str, int]):
        def get_all(self) -> list[int]:
            return list(self.values())

    assert names(Toolset(Model())) == ["get_all"]

    @dataclass
    class Data:
        number: int

        def twice(self) -> int:
            return 2 * self.number

    assert names(Toolset(Data(1))) == ["twice"]


def test_methods_are_included_and_left_out_by_their_names() -> None:
    assert names(Toolset(Plain(), include=["kind", "get"])) == ["kind", "get"]
    assert names(Toolset(Plain(), include=["_own"])) == ["_own"]
    assert names(Toolset(Plain(), exclude=["get", "half", "each"])) == ["later", "kind"]
    assert names(Toolset(Marked(), include=["helper", "get"])) == ["helper", "fetch"]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"include": ["gett"]}, ValueError, "include: Plain has no method 'gett'; did you mean get"),
        ({"exclude": ["nothing"]}, ValueError, "exclude: Plain has no method 'nothing'"),
        ({"include": "get"}, TypeError, "include is 'get'; it must be a list of names"),
        ({"include": []}, ValueError, "Plain has no public methods that could be tools"),
        ({"prefix": "two words"}, ValueError, "prefix is 'two words'; it must be the beginning of names"),
        ({"prefix": None}, TypeError, "prefix is None"),
        ({"prefix": "x" * 127}, ValueError, "a tool's name must be 1 to 128"),
        ({"tags": ["a b"]}, ValueError, "a tag is 1 to 64 letters"),
        ({"tags": "db"}, TypeError, "tags is 'db'; it must be a list"),
        ({"hidden": 1}, TypeError, "hidden must be True or False"),
        ({"deprecated": True}, TypeError, "deprecated must say what to use instead"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Toolset(Plain(), **options)


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        (Plain, TypeError, r"Plain is a class, whose methods need an instance; write Toolset\(Plain\(…\)\)"),
        (Toolset(Plain()), TypeError, "is no object with methods"),
        (named(Toolset(Plain()), "get"), TypeError, "is no object with methods"),
        (3, ValueError, "int has no public methods"),
    ],
)
def test_what_has_no_methods_of_its_own_is_refused(source: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Toolset(source)


def test_options_are_for_all_tools_beside_their_own() -> None:
    toolset = Toolset(Marked(), tags=("new", "db"), hidden=True, deprecated="use others", version="2")
    fetch = named(toolset, "fetch")
    assert dict(fetch.spec.metadata) == {"tags": "db,new", "hidden": "true", "deprecated": "use others"}
    assert fetch.spec.version == "2"
    assert not Marked.__dict__["get"].spec.version
    assert dict(Marked.__dict__["get"].spec.metadata) == {"tags": "db"}


@pytest.fixture
def module(request: pytest.FixtureRequest) -> Iterator[types.ModuleType]:
    made = types.ModuleType("made_for_toolsets")
    sys.modules[made.__name__] = made
    exec(request.param, made.__dict__)
    yield made
    del sys.modules[made.__name__]


PLAIN = """
from os.path import join
def one() -> int: return 1
def two() -> int: return 2
def _own() -> int: return 3
number = 4
"""
MARKED = "from grpc_tool_bridge import tool\ndef one() -> int: return 1\n@tool\ndef two() -> int: return 2\n"


@pytest.mark.parametrize(
    ("module", "expected"),
    [(PLAIN, ["m.one", "m.two"]), (f"{PLAIN}__all__ = ['two', 'number']", ["m.two"]), (MARKED, ["m.two"])],
    indirect=["module"],
)
def test_a_module_s_tools_or_its_public_functions_are_its_tools(module: types.ModuleType, expected: list[str]) -> None:
    assert names(Toolset(module, "m.")) == expected


def test_lists_of_tools_have_those_of_toolsets_in_their_place() -> None:
    first, last = tool(len), tool(name="last")(lambda: 1)
    toolset = Toolset(Other())
    assert list(flat([first, toolset, last])) == [first, *toolset.tools, last]


def test_a_prefix_comes_before_all_names() -> None:
    made = prefixed(Toolset(Other(), "o."), "w.")
    assert [(item.spec.name, item.spec.tool_id) for item in made] == [("w.o.get",) * 2, ("w.o.shared",) * 2]
    same = Toolset(Other()).tools
    assert prefixed(same, check_prefix("")) == same


def test_the_lifespan_of_a_module_is_no_tool() -> None:
    module = types.ModuleType("orders")
    exec("async def lifespan(server): yield\ndef get(number: int) -> int: return number", vars(module))

    assert [tool.spec.name for tool in Toolset(module)] == ["get"]


def _logged(function: Any) -> Any:
    """A decorator that does not keep the name of what it wraps."""

    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class Decorated:
    @functools.cache  # noqa: B019 - kept as long as the test runs
    def cached(self, number: int) -> int:
        """Is kept."""
        return number + 1

    @_logged
    def logged(self, number: int) -> int:
        return number

    short = lambda self, number: number * 2  # noqa: E731 - such an attribute is what the test is about


def test_methods_in_decorators_are_tools_with_the_names_that_the_class_gives_them() -> None:
    made = {item.spec.name: item for item in Toolset(Decorated())}
    assert list(made) == ["cached", "logged", "short"]
    assert made["cached"](1) == 2
    assert made["cached"].spec.description == "Is kept."
    assert made["short"](2) == 4


def test_functions_of_a_module_have_the_names_that_it_gives_them() -> None:
    module = types.ModuleType("shop")

    def sell(number: int) -> int:
        return number

    sell.__module__ = "shop"
    module.__dict__.update(sell=sell, sell_again=sell)
    assert [item.spec.name for item in Toolset(module)] == ["sell", "sell_again"]


def test_a_version_that_is_no_text_is_refused() -> None:
    wrong: Any = 3
    with pytest.raises(ValidationError, match="version is 3"):
        Toolset(Marked(), version=wrong)
