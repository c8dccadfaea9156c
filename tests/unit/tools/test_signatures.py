import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Annotated, Any

import pytest
from pydantic import Field

from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.signatures import EMPTY, docstring_of, implementation, read_signature


def names(function: Callable[..., Any]) -> list[str]:
    return [item.name for item in read_signature(function, "f").parameters]


class TestParameters:
    def test_annotations_written_as_text_are_resolved(self) -> None:
        def f(a: "int", b: "list[str] | None" = None) -> None: ...

        assert [item.annotation for item in read_signature(f, "f").parameters] == [int, list[str] | None]

    def test_an_unannotated_parameter_is_any(self) -> None:
        assert read_signature(lambda a: a, "f").parameters[0].annotation is Any

    def test_a_name_of_the_enclosing_function_is_resolved(self) -> None:
        class Local: ...

        def f(a: "Local") -> object:
            return Local

        assert read_signature(f, "f").parameters[0].annotation is Local

    def test_names_around_a_function_are_resolved_while_they_are_there(self) -> None:
        class Local: ...

        def f(a: "list[Local]") -> None: ...

        class Service:
            class Inner: ...

            def g(self, a: "Inner") -> None: ...

            read = read_signature(g, "g")

        assert read_signature(f, "f").parameters[0].annotation == list[Local]
        assert Service.read.parameters[0].annotation is Service.Inner

    def test_an_annotation_that_cannot_be_resolved_is_refused_by_function_and_parameter(self) -> None:
        def f(good: int, bad: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821 - what the test is about

        with pytest.raises(TypeError, match=r"f: parameter 'bad': its annotation 'Missing' cannot be resolved.*module"):
            read_signature(f, "f")

    def test_a_result_that_cannot_be_resolved_is_refused(self) -> None:
        def f() -> "Missing": ...  # type: ignore[name-defined]  # noqa: F821 - what the test is about

        with pytest.raises(TypeError, match="f: the result: its annotation 'Missing'"):
            read_signature(f, "f")

    def test_a_callable_without_signature_is_refused(self) -> None:
        with pytest.raises(TypeError, match="min: its signature cannot be read"):
            read_signature(min, "min")

    def test_a_builtin_with_a_signature_is_read(self) -> None:
        assert names(len) == ["obj"]

    def test_a_field_as_default_is_refused(self) -> None:
        def f(a: int = Field(3, ge=0)) -> None: ...

        with pytest.raises(TypeError, match=r"f: parameter 'a': its default is a Field.*Annotated"):
            read_signature(f, "f")

    def test_a_description_in_a_field_wins_over_the_docstring(self) -> None:
        def f(a: Annotated[int, Field(ge=0, description="from the field")], b: Annotated[int, Field(ge=0)]) -> None:
            """F.

            Args:
                a: from the docstring
                b: of b
            """

        assert [item.description for item in read_signature(f, "f").parameters] == ["from the field", "of b"]

    def test_kinds_are_told_apart(self) -> None:
        def f(a: Any, /, b: Any, *c: Any, d: Any, **e: Any) -> None: ...

        read = read_signature(f, "f").parameters
        assert [item.positional for item in read] == [True, True, False, False, False]
        assert [item.variadic for item in read] == [False, False, True, False, True]
        assert [item.required for item in read] == [True, True, False, True, False]


class TestWhatIsCalled:
    def test_a_bound_method_has_no_self(self) -> None:
        class Service:
            def search(self, query: str) -> None: ...

        signature = read_signature(Service().search, "f")
        assert [item.name for item in signature.parameters] == ["query"]
        assert not signature.needs_instance

    def test_a_method_of_a_class_needs_its_instance(self) -> None:
        class Service:
            def search(self, query: str) -> None: ...

        signature = read_signature(Service.search, "f")
        assert [item.name for item in signature.parameters] == ["query"]
        assert signature.needs_instance

    def test_a_plain_function_may_have_a_parameter_called_self(self) -> None:
        assert names(lambda self, a: (self, a)) == ["self", "a"]

    def test_an_async_callable_object_is_async(self) -> None:
        class Service:
            async def __call__(self, query: "int") -> int:
                """Searches."""
                return query

        signature = read_signature(Service(), "f")
        assert signature.is_async
        assert signature.parameters[0].annotation is int
        assert signature.description == "Searches."

    def test_a_partial_offers_what_is_left(self) -> None:
        async def f(a: int, b: int, c: int = 1) -> None:
            """Adds."""

        signature = read_signature(functools.partial(f, 1, c=3), "f")
        assert [(item.name, item.required) for item in signature.parameters] == [("b", True), ("c", False)]
        assert signature.is_async
        assert signature.description == "Adds."

    def test_a_wrapped_function_shows_the_signature_inside(self) -> None:
        def f(a: "int") -> None: ...

        @functools.wraps(f)
        def wrapper(*args: Any, **kwargs: Any) -> None:
            return f(*args, **kwargs)

        assert names(wrapper) == ["a"]

    def test_the_implementation_is_found_inside_partials_and_methods(self) -> None:
        class Service:
            def search(self) -> None: ...

            def __call__(self) -> None: ...

        assert implementation(functools.partial(Service().search)) is Service.search
        assert implementation(Service()) is Service.__call__
        assert implementation(len) is len


class TestStyles:
    def test_the_four_kinds_of_function(self) -> None:
        def plain() -> None: ...

        async def coroutine() -> None: ...

        def generator() -> Iterator[int]:
            yield 1

        async def async_generator() -> AsyncIterator[int]:
            yield 1

        styles = [
            (read.is_async, read.is_stream)
            for read in (read_signature(f, "f") for f in (plain, coroutine, generator, async_generator))
        ]
        assert styles == [(False, False), (True, False), (False, True), (True, True)]

    @pytest.mark.parametrize(
        ("result", "item"),
        [
            (Iterator[int], int),
            (Generator[str, None, None], str),
            (AsyncGenerator[bytes, None], bytes),
            (Annotated[AsyncIterator[int], "x"], int),
            (Iterator, Any),
            (Any, Any),
            (EMPTY, EMPTY),
        ],
    )
    def test_the_result_of_a_stream_is_one_item(self, result: Any, item: Any) -> None:
        def f() -> Any:
            yield 1

        f.__annotations__["return"] = result
        assert read_signature(f, "f").result is item

    def test_a_stream_annotated_with_one_value_is_refused(self) -> None:
        def f() -> int:  # type: ignore[misc]
            yield 1

        with pytest.raises(TypeError, match="f: it yields its values, so its return annotation must be"):
            read_signature(f, "f")


class OwnContext(ToolContext):
    pass


class TestContext:
    @pytest.mark.parametrize(
        "annotation",
        [ToolContext, ToolContext | None, Annotated[ToolContext, "x"], "ToolContext", OwnContext],
    )
    def test_is_found_and_is_no_parameter(self, annotation: Any) -> None:
        def f(a: Any, ctx: Any, b: Any) -> None: ...

        f.__annotations__["ctx"] = annotation
        signature = read_signature(f, "f")
        assert (signature.context, signature.own_index) == ("ctx", 1)
        assert [item.name for item in signature.parameters] == ["a", "b"]

    def test_a_keyword_context_stands_in_nobodys_way(self) -> None:
        def f(*args: Any, ctx: ToolContext) -> None: ...

        assert read_signature(f, "f").own_index is None

    @pytest.mark.parametrize("annotation", [ToolContext | int, int | None, "int"])
    def test_other_unions_are_no_context(self, annotation: Any) -> None:
        def f(ctx: Any) -> None: ...

        f.__annotations__["ctx"] = annotation
        assert read_signature(f, "f").context is None

    def test_two_are_refused(self) -> None:
        def f(one: ToolContext, two: ToolContext) -> None: ...

        with pytest.raises(TypeError, match="f: parameters 'one' and 'two' are both a ToolContext"):
            read_signature(f, "f")

    def test_one_that_cannot_be_given_by_name_is_refused(self) -> None:
        def positional(ctx: ToolContext, /) -> None: ...

        def starred(**ctx: ToolContext) -> None: ...

        for function in (positional, starred):
            with pytest.raises(TypeError, match="f: parameter 'ctx' is given by name"):
                read_signature(function, "f")

    def test_one_before_a_starred_parameter_is_refused(self) -> None:
        def f(ctx: ToolContext, *args: int) -> None: ...

        with pytest.raises(TypeError, match="f: parameter 'ctx' comes before the starred one"):
            read_signature(f, "f")


class TestDocstring:
    def test_what_it_says_of_further_arguments_by_name_stays(self) -> None:
        def f(a: int, **options: str) -> None:
            """Draws.

            Args:
                a: First.
                color: Of the line.
                **options: Others.
            """

        def closed(a: int) -> None:
            """Draws.

            Args:
                b: No argument.
            """

        read = read_signature(f, "f")
        assert read.description == "Draws.\n\ncolor: Of the line."
        assert [item.description for item in read.parameters] == ["First.", "Others."]
        assert read_signature(closed, "closed").description == "Draws."

    def test_of_a_callable_object_the_class_may_speak(self) -> None:
        class Adder:
            """Adds."""

            def __call__(self) -> None: ...

        assert docstring_of(Adder()) == "Adds."
        assert docstring_of(functools.partial(len)) == len.__doc__

    def test_yields_describe_the_result(self) -> None:
        def f() -> Iterator[int]:
            """Counts.

            Yields:
                the next number
            """
            yield 1

        assert read_signature(f, "f").result_description == "the next number"
