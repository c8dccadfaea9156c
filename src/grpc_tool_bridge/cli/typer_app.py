"""The commands as an application of typer: help, and the errors of wrong command lines.

Typer takes longer to import than most commands take to run; ``direct`` does without it where nothing is wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from grpc_tool_bridge.cli.commands import COMMANDS, GROUPS, PANELS
from grpc_tool_bridge.cli.program_name import PROGRAM, print_version
from grpc_tool_bridge.cli.typer_commands import HELP_OPTION, FlagHelp, add_command, run_app

_PANEL_OF = {name: title for title, names in PANELS.items() for name in names}


def run(words: Sequence[str]) -> int:
    """Runs a command line, without the program's name; returns its exit code.

    Raises:
        ArgumentError: The command line is not valid.
        Exception: The command failed.
    """
    return run_app(make_app(), words, PROGRAM)


def make_app() -> typer.Typer:
    """Makes the application with all its commands."""
    app = typer.Typer(
        cls=_Group, help="Tools in other processes, as functions.", context_settings=HELP_OPTION, add_completion=False
    )
    app.callback(invoke_without_command=True)(_root)
    return app


def _root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", metavar="", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if show_version:
        print_version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


class _OwnGroup(FlagHelp, TyperGroup):
    """A group of commands."""


class _Group(_OwnGroup):
    """The group of all commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Commands()


class _Commands(dict[str, Any]):
    """The commands by name, each made when it is first looked up."""

    def __init__(self) -> None:
        super().__init__(COMMANDS)
        self._left = set(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        if name in self._left:
            self._left.remove(name)
            command: Any = typer.main.get_command(_app_of(name))
            command.name = name
            command.rich_help_panel = _PANEL_OF.get(name)
            self[name] = command
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - get is what is defined here

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]


def _app_of(name: str) -> typer.Typer:
    made = COMMANDS[name]()
    app = typer.Typer(cls=_OwnGroup, help=GROUPS.get(name), add_completion=False, context_settings=HELP_OPTION)
    for own, command in made.items() if isinstance(made, Mapping) else [(name, made)]:
        add_command(app, own, command)
    return app
