"""A parameter that is a group of options gives a command all of them."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from grpc_tool_bridge.cli.command import Command
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.options import OptionGroup
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.cli.typer_commands import add_command

Count = Annotated[int, Option("--count", help="How many.")]


@dataclass(frozen=True, kw_only=True)
class Sized(OptionGroup):
    count: Count = 1

    def check(self) -> None:
        if self.count < 0:
            raise ArgumentError("--count: it is 0 or more")


@dataclass(frozen=True, kw_only=True)
class Named(Sized):
    name: Annotated[str, Option("--name", help="Which.")] = "x"


def run(words: list[str], function: Any, **defaults: Any) -> Any:
    app = typer.Typer()
    add_command(app, "do", Command(function, **defaults))
    return CliRunner().invoke(app, words)


def test_a_paragraph_of_the_help_is_broken_where_the_terminal_ends_alone() -> None:
    def function() -> None:
        """Does it.

        A paragraph
        in two lines.

        Another one.
        """

    assert Command(function).help == "Does it.\n\nA paragraph in two lines.\n\nAnother one."


def test_a_command_gets_the_options_of_its_groups_as_objects() -> None:
    got: list[object] = []

    def do(what: Annotated[str, Argument("WHAT", "What.")], *, options: Named) -> None:
        got.extend((what, options))

    assert run(["this", "--count", "3"], do).exit_code == 0
    assert got == ["this", Named(count=3, name="x")]
    got.clear()
    assert run(["this"], do, count=5).exit_code == 0
    assert got == ["this", Named(count=5)]


def test_a_group_is_checked_before_the_command_runs() -> None:
    def do(*, options: Sized) -> None:
        pytest.fail(f"it ran with {options}")

    assert isinstance(run(["--count", "-1"], do).exception, ArgumentError)


def test_an_interrupt_in_a_command_is_an_error_with_its_exit_code() -> None:
    def do() -> None:
        raise KeyboardInterrupt

    error = run([], do).exception
    assert isinstance(error, CommandError)
    assert (str(error), error.code) == ("interrupted", 130)
