import enum
import re
from collections.abc import AsyncIterator, Iterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import annotated_types
import pytest
from pydantic import AfterValidator, Field, PlainValidator, PositiveInt

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec, ToolType, ValidationRules
from grpc_tool_bridge.tools.checks import compile_check
from grpc_tool_bridge.tools.specs import validation_rules
from grpc_tool_bridge.tools.tool import as_tool
from grpc_tool_bridge.values.serialization import deserialize_value


class Color(enum.Enum):
    RED = "red"


def arguments(spec: ToolSpec) -> dict[str, ArgumentSpec]:
    return {item.name: item for item in spec.arguments}


def rules(annotation: Any) -> ValidationRules:
    return validation_rules(compile_check(annotation, "here").schema)


class TestSpec:
    def test_tells_what_the_function_takes_and_returns(self) -> None:
        def search(query: str, *, limit: int | None = 10) -> list[str]:
            """Searches the index.

            Slowly.

            Args:
                query: what to look for
                limit: how many

            Returns:
                the titles
            """
            return []

        spec = as_tool(search).spec
        assert (spec.tool_id, spec.name, spec.type) == ("search", "search", ToolType.STANDARD)
        assert spec.description == "Searches the index.\n\nSlowly."
        query, limit = spec.arguments
        assert query == ArgumentSpec(
            name="query", python_type="str", elixir_type="String.t()", required=True, description="what to look for"
        )
        assert (limit.python_type, limit.elixir_type, limit.required) == ("int | None", "integer() | nil", False)
        assert deserialize_value(limit.default_value) == 10
        assert spec.return_type == ArgumentSpec(
            name="return", python_type="list[str]", elixir_type="list(String.t())", description="the titles"
        )
        assert spec.output_schema == '{"type": "array", "items": {"type": "string"}, "description": "the titles"}'

    def test_of_a_function_without_annotations_says_any(self) -> None:
        def loose(a):  # type: ignore[no-untyped-def]  # what the test is about
            return a

        spec = as_tool(loose).spec
        assert (spec.arguments[0].python_type, spec.arguments[0].elixir_type) == ("Any", "any()")
        assert (spec.return_type.python_type, spec.return_type.elixir_type) == ("Any", "any()")
        assert spec.output_schema == ""

    def test_of_a_stream_tells_one_item(self) -> None:
        def count() -> Iterator[int]:
            yield 1

        async def lines() -> AsyncIterator[str]:
            yield ""

        for function, python, schema in ((count, "int", "integer"), (lines, "str", "string")):
            spec = as_tool(function).spec
            assert spec.type == ToolType.STREAMING
            assert spec.return_type.python_type == python
            assert spec.output_schema == f'{{"type": "{schema}"}}'

    def test_is_the_same_text_each_time(self) -> None:
        def f(b: Color, a: dict[str, Color], *, c: int = 1) -> Color: ...  # type: ignore[empty-body]

        assert as_tool(f).spec.SerializeToString(deterministic=True) == as_tool(f).spec.SerializeToString(
            deterministic=True
        )


class TestArguments:
    def test_say_how_they_are_given_where_not_both_ways(self) -> None:
        def f(a: int, /, b: int, *c: int, d: int, **e: int) -> None: ...

        kinds = {item.name: list(item.validation.custom_rules) for item in as_tool(f).spec.arguments}
        assert kinds == {
            "a": ["positional-only"], "b": [], "c": ["var-positional"], "d": ["keyword-only"], "e": ["var-keyword"],
        }  # fmt: skip

    def test_list_the_values_of_literals_and_enums(self) -> None:
        def f(a: Literal["x", 1], b: Color | None) -> None: ...

        told = arguments(as_tool(f).spec)
        assert list(told["a"].allowed_values) == ["x", "1"]
        assert list(told["b"].allowed_values) == ["red"]

    def test_carry_a_default_that_the_wire_can_represent(self) -> None:
        def f(a: Any = None, b: Any = (1, "x"), c: Any = object(), d: Any = date(2024, 1, 2)) -> None: ...  # noqa: B008 - never called

        told = arguments(as_tool(f).spec)
        assert deserialize_value(told["a"].default_value) is None
        assert deserialize_value(told["b"].default_value) == (1, "x")
        assert not told["c"].HasField("default_value")
        assert deserialize_value(told["d"].default_value) == date(2024, 1, 2)
        assert not told["c"].required


class TestRules:
    @pytest.mark.parametrize(
        ("annotation", "expected"),
        [
            (int, ValidationRules()),
            (Annotated[int, Field(ge=1, le=5)], ValidationRules(min_value=1, max_value=5)),
            (Annotated[int, Field(gt=1, lt=5)], ValidationRules(min_value=2, max_value=4)),
            (PositiveInt, ValidationRules(min_value=1)),
            (Annotated[float, Field(gt=0)], ValidationRules(min_value=0, custom_rules=["gt 0"])),
            (Annotated[float, Field(multiple_of=0.5)], ValidationRules(custom_rules=["multiple of 0.5"])),
            (Annotated[Decimal, Field(le=Decimal("1.5"))], ValidationRules(max_value=1.5)),
            (
                Annotated[Decimal, Field(max_digits=5, decimal_places=2)],
                ValidationRules(custom_rules=["max_digits 5", "decimal_places 2"]),
            ),
            (Annotated[date, Field(ge=date(2024, 1, 2))], ValidationRules(custom_rules=["ge 2024-01-02"])),
            (Annotated[list[int], annotated_types.Len(1, 3)], ValidationRules(min_length=1, max_length=3)),
            (Annotated[str, Field(min_length=2)] | None, ValidationRules(min_length=2)),
            (Annotated[str, Field(pattern="^a+$")], ValidationRules(pattern="^a+$")),
            (Annotated[Annotated[int, Field(ge=1)], AfterValidator(abs)], ValidationRules(min_value=1)),
            (Annotated[int, PlainValidator(abs)], ValidationRules()),
        ],
    )
    def test_are_read_from_the_annotation(self, annotation: Any, expected: ValidationRules) -> None:
        assert rules(annotation) == expected

    @pytest.mark.parametrize("pattern", ["a", "^a", "a$", "a|b"])
    def test_a_pattern_that_is_searched_for_is_made_to_match_the_whole(self, pattern: str) -> None:
        whole = rules(Annotated[str, Field(pattern=pattern)]).pattern
        for text in ("a", "xa", "ax", "b", "x\na"):
            assert bool(re.fullmatch(whole, text)) == bool(re.search(pattern, text))

    def test_a_compiled_pattern_is_told_as_text(self) -> None:
        assert rules(Annotated[str, Field(pattern=re.compile("^a$"))]).pattern == "^a$"
