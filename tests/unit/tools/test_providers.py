"""What providers need, and in which order they are called."""

import functools
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

import pytest

from grpc_tool_bridge import Depends, ToolContext, tool
from grpc_tool_bridge.tools.depends import Dependency
from grpc_tool_bridge.tools.providers import Dependencies, read_provider


def need(function: Any, **options: Any) -> Dependency:
    made: Dependency = Depends(function, **options)
    return made


def run(dependencies: Dependencies, overrides: Any = None) -> tuple[list[str], dict[str, Any]]:
    """Makes values: each is the provider's name with what it got; returns the order, too."""
    steps = dependencies.steps("ctx", overrides or {})
    order: list[str] = []
    value: Any = None
    while True:
        try:
            made = steps.send(value)
        except StopIteration as end:
            return order, end.value
        order.append(made.provider.name)
        value = f"{made.provider.name}({', '.join(map(str, made.kwargs.values()))})"


def a(ctx: ToolContext) -> int:
    return 1


def b(x: Annotated[int, Depends(a)], y: int = 3) -> int:
    return x


def c(x: Annotated[int, Depends(a)], y: Annotated[int, Depends(b)]) -> int:
    return x + y


def test_each_provider_is_called_once_after_those_that_it_needs() -> None:
    order, values = run(Dependencies({"c": need(c), "b": need(b), "a": need(a)}, "f"))
    assert order == ["a", "b", "c"]
    assert values == {"c": "c(a(ctx), b(a(ctx)))", "b": "b(a(ctx))", "a": "a(ctx)"}


def test_without_the_cache_it_is_called_again() -> None:
    order, _ = run(Dependencies({"x": need(a), "y": need(a, use_cache=False), "z": need(a)}, "f"))
    assert order == ["a", "a"]


def test_a_provider_can_be_replaced_by_one_with_other_needs() -> None:
    def other(x: Annotated[int, Depends(a)], y: Annotated[int, Depends(a, use_cache=False)]) -> int:
        return x + y

    order, values = run(Dependencies({"b": need(b)}, "f"), {b: other})
    assert order == ["a", "a", "other"]
    assert values == {"b": "other(a(ctx), a(ctx))"}


def test_a_replacement_may_need_what_it_replaces() -> None:
    def wrapped(inner: Annotated[int, Depends(a)]) -> int:
        return inner

    assert run(Dependencies({"a": need(a), "b": need(b)}, "f"), {a: wrapped}) == (
        ["a", "wrapped", "b"],
        {"a": "wrapped(a(ctx))", "b": "b(wrapped(a(ctx)))"},
    )


def test_replacements_that_need_one_another_are_an_error() -> None:
    def first(x: Annotated[int, Depends(b)]) -> int:
        return x

    def second(x: Annotated[int, Depends(a)]) -> int:
        return x

    order, _ = run(Dependencies({"a": need(a)}, "f"), {a: first, b: second})
    assert order == ["a", "second", "first"]

    def itself(x: int) -> int:
        return x

    itself.__annotations__["x"] = Annotated[int, Depends(itself)]
    with pytest.raises(TypeError, match="its provider needs itself: itself → itself"):
        run(Dependencies({"a": need(a)}, "f"), {a: itself})


def test_a_provider_that_needs_itself_is_refused_where_the_tool_is_made() -> None:
    def first(x: int) -> int:
        return x

    def second(x: Annotated[int, Depends(first)]) -> int:
        return x

    first.__annotations__["x"] = Annotated[int, Depends(second)]

    def work(x: Annotated[int, Depends(first)]) -> int:
        return x

    with pytest.raises(TypeError, match="work: parameter 'x': its provider needs itself: first → second → first"):
        tool(work).spec  # noqa: B018 - read at the latest there


def test_what_the_bridge_cannot_fill_in_is_refused() -> None:
    def url(address: str) -> str:
        return address

    def only(ctx: ToolContext, /) -> None:
        """Positional only."""

    def both(one: ToolContext, other: ToolContext) -> None:
        """Two contexts."""

    for function, text in (
        (url, "f: its provider url: parameter 'address' is neither a ToolContext nor a Depends"),
        (only, "parameter 'ctx' is given by name"),
        (both, "its provider both has two parameters of type ToolContext"),
        (type, "has no signature that can be read"),
    ):
        with pytest.raises(TypeError, match=text):
            read_provider(function, "f")


def test_parameters_with_defaults_keep_them_even_if_their_types_are_unknown() -> None:
    def optional(x: "Unknown" = 3, *args: int, **kwargs: int) -> int:  # type: ignore[name-defined]  # noqa: F821
        return 1

    read = read_provider(optional, "f")
    assert (read.context, dict(read.needs)) == (None, {})

    def required(x: "Unknown") -> int:  # type: ignore[name-defined]  # noqa: F821 - that is the point
        return 1

    with pytest.raises(TypeError, match="'Unknown' cannot be resolved"):
        read_provider(required, "f")


class Service:
    def __init__(self, ctx: "ToolContext", db: "Annotated[int, Depends(a)]") -> None:
        self.db = db

    async def get(self) -> int:
        return 1

    def __call__(self) -> int:
        return 1


def test_classes_methods_partials_and_callable_objects_are_providers() -> None:
    service = Service(None, 1)  # type: ignore[arg-type]  # nobody uses it
    made = read_provider(Service, "f")
    assert (made.context, list(made.needs), made.is_async) == ("ctx", ["db"], False)
    assert read_provider(service.get, "f").is_async
    assert not read_provider(service, "f").is_async
    assert read_provider(functools.partial(service.get), "f").is_async
    order, _ = run(Dependencies({"x": need(service.get), "y": need(service.get)}, "f"))
    assert len(order) == 1


def test_a_provider_without_a_hash_is_one_by_its_identity() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]  # that is the point

        def __call__(self) -> int:
            return 1

    given = Unhashable()
    order, _ = run(Dependencies({"x": need(given), "y": need(given)}, "f"), {a: b})
    assert len(order) == 1


def test_what_is_asynchronous_is_known_below_its_decorators() -> None:
    @asynccontextmanager
    async def asynchronous() -> Any:
        yield

    @contextmanager
    def blocking() -> Any:
        yield

    async def coroutine() -> None:
        """Does nothing."""

    def generator() -> Any:
        yield

    expected: dict[Callable[..., Any], bool] = {asynchronous: True, blocking: False, coroutine: True, generator: False}
    assert {function: read_provider(function, "f").is_async for function in expected} == expected


def test_errors_name_a_renamed_tool_by_its_new_name() -> None:
    def needs_more(x: int) -> int:
        return x

    @tool
    def add(x: Annotated[int, Depends(a)]) -> int:
        return x

    renamed = add.renamed("plus").dependencies
    assert renamed is not None
    with pytest.raises(TypeError, match=r"^plus: "):
        run(renamed, {a: needs_more})
    assert add.dependencies is not None
    with pytest.raises(TypeError, match=r"^add: "):
        run(add.dependencies, {a: needs_more})
