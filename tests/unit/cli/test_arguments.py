"""Words of a command line become a tool's arguments."""

import json
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from typer.testing import CliRunner

from grpc_tool_bridge import ToolSpec, tool
from grpc_tool_bridge.cli.arguments import parse_arguments, read_value
from grpc_tool_bridge.cli.command import Command
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.typer_commands import add_command


@tool
def everything(
    text: str,
    maybe: str | None = None,
    number: float = 0,
    either: int | str = 0,
    choice: Literal["1", "2"] = "1",
    uuid: UUID | None = None,
    anything: Any = None,
    *more: int,
    last: list[str] | None = None,
    **others: bool,
) -> None: ...


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("text=5", "5"),
        ('text="x"', '"x"'),
        ("text=a=b", "a=b"),
        ("maybe=5", "5"),
        ("maybe=null", None),
        ("maybe={", "{"),
        ("number=5", 5),
        ("number=1e3", 1000.0),
        ("either=5", 5),
        ("either=five", "five"),
        ("choice=2", "2"),
        ("anything=[1]", [1]),
        ("anything=NaN", "NaN"),
        ('last=["a"]', ["a"]),
        ("unheard_of=true", True),
    ],
)
def test_a_word_is_read_as_its_parameter_takes_it(pair: str, value: Any) -> None:
    args, kwargs = parse_arguments(everything.spec, [], [pair])
    assert (args, kwargs) == ([], {pair.partition("=")[0]: value})


def test_words_by_position_go_to_the_parameters_in_their_order() -> None:
    words = ["1", "2", "3", "4", "1", "null", "[]", "8", "9"]
    assert parse_arguments(everything.spec, words, [])[0] == ["1", "2", 3, 4, "1", None, [], 8, 9]


def test_surplus_words_are_left_to_the_hub_to_refuse() -> None:
    @tool
    def one(text: str, *, flag: bool = False) -> None: ...

    assert parse_arguments(one.spec, ["1", "2", "x"], [])[0] == ["1", 2, "x"]


@pytest.mark.parametrize(
    "schema", ["", "{", "[]", '{"properties": []}', '{"properties": {"a": {"$ref": "#/$defs/b"}}}']
)
def test_any_schema_of_a_peer_leaves_words_readable(schema: str) -> None:
    spec = ToolSpec(name="t", input_schema=schema)
    spec.arguments.add(name="a")
    assert parse_arguments(spec, ["5"], ["b=x"]) == ([5], {"b": "x"})


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}
    spec = ToolSpec(name="t", input_schema=json.dumps(schema))
    assert parse_arguments(spec, [], ["a=5"])[1] == {"a": 5}


@pytest.mark.parametrize(
    ("kind", "word", "value"), [({"const": 1}, "1", 1), ({"enum": ["a", 1]}, "1", 1), ({"type": ["string"]}, "1", "1")]
)
def test_a_schema_may_say_its_types_in_other_ways(kind: dict[str, Any], word: str, value: Any) -> None:
    spec = ToolSpec(name="t", input_schema=json.dumps({"properties": {"a": kind}}))
    assert parse_arguments(spec, [], [f"a={word}"])[1] == {"a": value}


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        ("number=x", "argument number takes a number, not 'x'"),
        (f"last={'[' * 100_000}", "argument last takes a JSON array or null, not '[[["),
        ("flag", "--kwarg 'flag' is not valid"),
    ],
)
def test_a_word_that_cannot_be_is_named(pair: str, text: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_arguments(everything.spec, [], [pair])
    assert text in str(caught.value)


def test_a_value_without_a_schema_is_json_or_text() -> None:
    assert (read_value("[1]", "it"), read_value("one", "it")) == ([1], "one")


def test_numbers_below_zero_are_arguments_and_other_minuses_options() -> None:
    import typer

    app = typer.Typer()
    seen: list[Any] = []

    def command(
        words: Annotated[list[str], Argument("WORDS", "Words.")],
        size: Annotated[int, Option(help="A size.")] = 0,
        flag: Annotated[bool, Option("--flag", help="A flag.")] = False,
    ) -> None:
        seen.extend([words, size, flag])

    add_command(app, "it", Command(command))
    runner = CliRunner()
    assert runner.invoke(app, ["a", "-1", "--size", "-2", "--flag", "-.5", "-", "--", "--x"]).exit_code == 0
    assert seen == [["a", "-1", "-.5", "-", "--x"], -2, True]
    assert runner.invoke(app, ["a", "-x"]).exit_code == 2
    assert runner.invoke(app, ["a", "--size"]).exit_code == 2
