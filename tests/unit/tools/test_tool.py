import asyncio
import copy
import functools
import inspect
import json
import pickle
import types
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolType
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.tool import Tool, as_tool, tool


@tool
def add(a: int, b: int = 2) -> int:
    """Adds two numbers."""
    return a + b


class Service:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @tool
    def times(self, a: int) -> int:
        """Multiplies."""
        return a * self.factor

    @tool(idempotent=True)
    async def later(self, a: int, ctx: ToolContext | None = None) -> int:
        return a * self.factor

    @staticmethod
    @tool
    def twice(a: int) -> int:
        return 2 * a

    @classmethod
    @tool
    def name(cls, a: int) -> str:
        return f"{cls.__name__} {a}"

    def plain(self, a: int) -> int:
        return a + self.factor

    def __call__(self, a: int) -> int:
        """Subtracts."""
        return a - self.factor


class TestDecorated:
    def test_a_tool_is_still_the_function(self) -> None:
        assert add(1) == 3
        unchecked: Any = add
        assert unchecked("a", "b") == "ab"

    def test_it_keeps_name_docstring_and_signature(self) -> None:
        assert (add.__name__, add.__doc__) == ("add", "Adds two numbers.")
        assert add.__module__ == __name__
        assert str(inspect.signature(add)) == "(a: int, b: int = 2) -> int"
        assert add.__wrapped__ is add.function

    def test_its_spec_and_binding_come_from_the_signature(self) -> None:
        assert [item.name for item in add.spec.arguments] == ["a", "b"]
        assert add.bind((1,), {}) == ([1], {})
        with pytest.raises(ValidationError, match="add: argument 'a': should be a valid integer"):
            add.bind(("1",), {})

    def test_options_reach_the_spec(self) -> None:
        @tool(name="sum", tool_id="sum-1", version="2", idempotent=True, limits={"timeout_ms": 5})
        def f() -> None: ...

        assert isinstance(f, Tool)
        assert (f.spec.name, f.spec.tool_id, f.spec.version) == ("sum", "sum-1", "2")
        assert f.spec.idempotent
        assert f.spec.limits.timeout_ms == 5
        assert f.__name__ == "f"

    def test_empty_parentheses_are_allowed(self) -> None:
        @tool()
        def f() -> None: ...

        assert f.spec.name == "f"

    def test_the_four_kinds_say_how_they_run(self) -> None:
        async def coroutine() -> None: ...

        def generator() -> Iterator[int]:
            yield 1

        async def async_generator() -> AsyncIterator[int]:
            yield 1

        kinds = [
            (t.is_async, t.is_stream, t.executor, t.spec.type)
            for t in map(as_tool, (coroutine, generator, async_generator))
        ]
        assert kinds == [
            (True, False, "async", ToolType.STANDARD),
            (False, True, "thread", ToolType.STREAMING),
            (True, True, "async", ToolType.STREAMING),
        ]
        assert (add.is_async, add.is_stream, add.executor) == (False, False, "thread")

    def test_a_sync_function_may_ask_for_the_event_loop(self) -> None:
        assert tool(executor="async")(lambda_named).executor == "async"

    def test_the_context_parameter_is_known_and_not_in_the_schema(self) -> None:
        @tool
        def f(a: int, ctx: ToolContext) -> None: ...

        assert f.context_parameter == "ctx"
        assert list(json.loads(f.spec.input_schema)["properties"]) == ["a"]
        assert add.context_parameter is None

    def test_it_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError, match="tool 'add' is immutable"):
            add.executor = "async"
        with pytest.raises(AttributeError, match="tool 'add' is immutable"):
            del add.spec

    def test_its_repr_shows_the_signature(self) -> None:
        assert repr(add) == "<Tool add(a: int, b: int = 2) -> int>"


def lambda_named() -> None: ...


class TestMethods:
    def test_a_decorated_method_binds_its_instance(self) -> None:
        service = Service(3)
        assert service.times(2) == 6
        assert service.times.bind((2,), {}) == ([2], {})
        assert service.times.function(2) == 6
        assert str(inspect.signature(service.times)) == "(a: int) -> int"
        assert as_tool(service.times).function(a=2) == 6

    def test_self_is_no_argument(self) -> None:
        assert [item.name for item in Service.times.spec.arguments] == ["a"]

    def test_two_instances_do_not_mix(self) -> None:
        one, two = Service(1).times, Service(2).times
        assert (one(5), two(5)) == (5, 10)
        assert one.spec is two.spec

    def test_an_async_method_keeps_its_options_and_context(self) -> None:
        later = as_tool(Service(3).later)
        assert (later.is_async, later.context_parameter, later.spec.idempotent) == (True, "ctx", True)
        assert asyncio.run(later.function(2)) == 6

    def test_a_method_without_its_instance_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"Service.times is a method without its instance"):
            as_tool(Service.times)
        with pytest.raises(TypeError, match=r"Service.plain is a method without its instance"):
            as_tool(Service.plain)

    def test_static_and_class_methods_work_below_their_decorators(self) -> None:
        assert as_tool(Service.twice).function(4) == 8
        assert as_tool(Service(1).twice).function(4) == 8
        assert as_tool(Service.name).function(4) == "Service 4"

    def test_a_tool_kept_in_a_class_is_not_bound(self) -> None:
        class Holder:
            kept = add
            bound = Service(3).times

        assert Holder().kept is add
        assert Holder().bound(2) == 6

    @pytest.mark.parametrize("kind", [staticmethod, classmethod])
    def test_the_wrong_order_of_decorators_is_refused(self, kind: Any) -> None:
        with pytest.raises(TypeError, match=f"put @{kind.__name__} above @tool"):
            tool(kind(lambda_named))


class TestAsTool:
    def test_a_tool_stays_itself(self) -> None:
        assert as_tool(add) is add

    def test_plain_functions_methods_objects_and_partials_are_taken(self) -> None:
        service = Service(10)
        made = [as_tool(item) for item in (lambda_named, service.plain, service, functools.partial(add.function, b=5))]
        assert [item.spec.name for item in made] == ["lambda_named", "plain", "Service", "add"]
        assert [item.function(1) for item in made[1:]] == [11, -9, 6]
        assert made[2].spec.description == "Subtracts."
        assert made[3].spec.description == "Adds two numbers."

    def test_a_partial_of_a_tool_keeps_its_options(self) -> None:
        @tool(name="sum", idempotent=True)
        async def f(a: int, b: int) -> int:
            return a + b

        part = as_tool(functools.partial(f, 1))
        assert (part.spec.name, part.spec.idempotent, part.is_async) == ("sum", True, True)
        assert [item.name for item in part.spec.arguments] == ["b"]
        assert asyncio.run(part.function(b=2)) == 3

    def test_a_method_object_around_a_tool_binds(self) -> None:
        assert as_tool(types.MethodType(Service.times, Service(4))).function(2) == 8

    def test_a_lambda_needs_a_name(self) -> None:
        with pytest.raises(ValueError, match="a lambda has no name"):
            as_tool(lambda: 1)
        assert tool(name="one")(lambda: 1).spec.name == "one"

    @pytest.mark.parametrize(
        ("thing", "text"),
        [(5, "a tool must be a function or another callable, not 5"), (Service, "Service is a class")],
    )
    def test_what_is_no_function_is_refused(self, thing: Any, text: Any) -> None:
        with pytest.raises(TypeError, match=text):
            as_tool(thing)

    def test_a_tool_cannot_be_made_again(self) -> None:
        with pytest.raises(TypeError, match="'add' is already a tool"):
            tool(name="other")(add)

    def test_a_type_that_cannot_be_checked_is_refused_by_function_and_parameter(self) -> None:
        def f(a: int, b: 5) -> None: ...  # type: ignore[valid-type]

        with pytest.raises(TypeError, match="f: parameter 'b': values cannot be checked against its annotation 5"):
            as_tool(f)


def test_arguments_in_their_json_form_reach_the_function_as_their_types() -> None:
    @dataclass
    class Point:
        x: int
        y: float

    @tool
    def area(corner: Point, sizes: tuple[float, float], tags: set[str]) -> tuple[Any, ...]:
        return corner, sizes, tags

    args, kwargs = area.bind(({"x": 1, "y": 2},), {"sizes": [1, 2], "tags": ["a"]})
    assert area(*args, **kwargs) == (Point(1, 2.0), (1.0, 2.0), {"a"})


class TestMarks:
    def test_they_are_in_the_metadata_of_the_spec(self) -> None:
        made = tool(hidden=True, deprecated="use plus", tags=("db", "a", "db"), metadata={"own": "x"})(lambda_free)
        assert dict(made.spec.metadata) == {"hidden": "true", "deprecated": "use plus", "tags": "a,db", "own": "x"}
        assert dict(tool(lambda_free).spec.metadata) == {}

    @pytest.mark.parametrize(
        ("options", "error", "text"),
        [
            ({"hidden": "yes"}, TypeError, "lambda_free: hidden must be True or False, not 'yes'"),
            ({"deprecated": True}, TypeError, "lambda_free: deprecated must say what to use instead"),
            ({"tags": ["a b"]}, ValueError, "lambda_free: a tag is 1 to 64 letters"),
            ({"tags": "db"}, TypeError, "lambda_free: tags is 'db'; it must be a list of texts"),
            ({"name": "a@1"}, ValueError, "a tool's name must be 1 to 128 letters"),
        ],
    )
    def test_what_is_no_mark_is_refused(self, options: dict[str, Any], error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=text):
            tool(**options)(lambda_free)


def lambda_free() -> int:
    return 1


class TestRenaming:
    def test_it_is_the_same_tool_under_another_name(self) -> None:
        plus = tool(name="add", tool_id="sum", version="2", tags=["m"])(add.function).renamed("plus")
        assert (plus.spec.name, plus.spec.tool_id, plus.spec.version) == ("plus", "plus", "2")
        assert plus.spec.metadata["tags"] == "m"
        assert plus(1) == 3
        assert plus.bind([1, 5], {}) == ([1, 5], {})
        with pytest.raises(ValidationError, match=r"^plus: argument 'a'"):
            plus.bind(["x"], {})
        assert (add.spec.name, plus.renamed("again").spec.name) == ("add", "again")

    def test_a_method_is_renamed_before_or_after_it_has_its_instance(self) -> None:
        class Other(Service):
            multiply = Service.times.renamed("multiply")

        assert Other(3).multiply(2) == 6
        assert as_tool(Other(3).multiply).spec.name == "multiply"
        assert Service(3).times.renamed("t")(2) == 6

    def test_a_part_of_a_renamed_tool_has_its_name_and_marks(self) -> None:
        part = as_tool(functools.partial(tool(tags=["m"])(add.function).renamed("plus"), b=5))
        assert (part.spec.name, part.spec.metadata["tags"], part(1)) == ("plus", "m", 6)

    @pytest.mark.parametrize(
        ("name", "error"), [("a b", ValueError), ("a@1", ValueError), ("", ValueError), (None, TypeError)]
    )
    def test_a_name_that_cannot_be_is_refused(self, name: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match="a tool's name must be"):
            add.renamed(name)


@tool
def pickled(a: int, b: int) -> int:
    return a - b


class Pickled:
    def __init__(self, number: int) -> None:
        self.number = number

    @tool
    def more(self, by: int) -> int:
        return self.number + by

    def plain(self) -> int:
        return self.number

    @staticmethod
    @tool
    def half(number: int) -> float:
        return number / 2


def test_a_tool_is_pickled_by_its_name_as_a_function_is() -> None:
    assert pickle.loads(pickle.dumps(pickled)) is pickled
    assert pickle.loads(pickle.dumps(Pickled.half)) is Pickled.half
    assert pickle.loads(pickle.dumps(Pickled(3).more))(4) == 7
    assert pickle.loads(pickle.dumps(functools.partial(pickled, 5)))(2) == 3


def test_a_tool_that_no_module_has_cannot_be_pickled() -> None:
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pickle.dumps(pickled.renamed("minus"))
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pickle.dumps(as_tool(Pickled(3).plain))


def test_a_copy_of_a_tool_is_the_tool() -> None:
    assert copy.copy(pickled) is pickled
    assert copy.deepcopy({"tool": pickled})["tool"] is pickled
