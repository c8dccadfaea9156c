"""All commands, each of which is imported when it is first looked up.

A command's module declares its options and its help, and imports what runs it when it runs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from grpc_tool_bridge.cli.commands import add_client_command, add_command
from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.program_name import PROGRAM, print_version

# The class of errors in a command line, which has no public name.
_UsageError: Any = typer.BadParameter.__base__

_HELP = {"help_option_names": ["-h", "--help"]}


def run(words: Sequence[str]) -> int:
    """Runs a command line, without the program's name; returns its exit code.

    Raises:
        ArgumentError: The command line is not valid.
        Exception: The command failed.
    """
    command: Callable[..., Any] = typer.main.get_command(make_app())
    try:
        code = command(args=words, prog_name=PROGRAM, standalone_mode=False)
    except _UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else PROGRAM
        text = _usage_text(error)
        text = f"{text} See {path} --help" if text.endswith("?") else f"{text}; see {path} --help"
        raise ArgumentError(text) from None
    except typer.Abort:
        raise KeyboardInterrupt from None
    return code if isinstance(code, int) else 0


def make_app() -> typer.Typer:
    """Makes the application with all its commands."""
    app = typer.Typer(
        cls=_Group, help="Tools in other processes, as functions.", context_settings=_HELP, add_completion=True
    )
    app.callback(invoke_without_command=True)(_root)
    return app


def _root(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if show_version:
        print_version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


class _Group(TyperGroup):
    """The group of all commands, in the order of the help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Commands(_COMMANDS)


class _Commands(dict[str, Any]):
    """Commands by name, each made when it is first looked up.

    Args:
        makers: Functions that make them, by name.
    """

    def __init__(self, makers: Mapping[str, Callable[[], typer.Typer]]) -> None:
        super().__init__(makers)
        self._makers = dict(makers)

    def __getitem__(self, name: str) -> Any:
        if name in self._makers:
            command = typer.main.get_command(self._makers.pop(name)())
            command.name = name
            self[name] = command
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - get is what is defined here

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]


def _one(**settings: Any) -> typer.Typer:
    return typer.Typer(add_completion=False, context_settings=_HELP, **settings)


def _serve() -> typer.Typer:
    from grpc_tool_bridge.cli import serve

    return add_command(_one(), "serve", serve.serve)


def _worker() -> typer.Typer:
    import math

    from grpc_tool_bridge.cli import worker

    # Hub and workers may be started together, in any order.
    return add_command(_one(), "worker", worker.worker, connect_timeout=math.inf)


def _tools() -> typer.Typer:
    from grpc_tool_bridge.cli import tools

    return add_client_command(_one(), "tools", tools.tools)


def _call() -> typer.Typer:
    from grpc_tool_bridge.cli import call

    return add_client_command(_one(), "call", call.call)


def _stream() -> typer.Typer:
    from grpc_tool_bridge.cli import call

    return add_client_command(_one(), "stream", call.stream)


def _variables() -> typer.Typer:
    from grpc_tool_bridge.cli import variables

    app = _one(help="List, read, write and watch the variables of a session.")
    add_client_command(app, "list", variables.list_variables)
    add_client_command(app, "get", variables.get_variable)
    add_client_command(app, "set", variables.set_variable)
    add_client_command(app, "delete", variables.delete_variable)
    return add_client_command(app, "watch", variables.watch_variables)


def _agent() -> typer.Typer:
    from grpc_tool_bridge.cli import agent

    return add_client_command(_one(), "agent", agent.agent, cls=agent.AgentCommand)


def _admin() -> typer.Typer:
    from grpc_tool_bridge.cli import admin

    app = _one(help="See what is going on in the hub, and cancel calls.")
    add_client_command(app, "sessions", admin.list_sessions)
    add_client_command(app, "workers", admin.list_workers)
    add_client_command(app, "calls", admin.list_calls)
    add_client_command(app, "runs", admin.list_runs)
    add_client_command(app, "cancel", admin.cancel_call)
    return add_client_command(app, "events", admin.watch_events)


def _bench() -> typer.Typer:
    from grpc_tool_bridge.cli import bench

    return add_client_command(_one(), "bench", bench.bench)


def _doctor() -> typer.Typer:
    from grpc_tool_bridge.cli import doctor

    return add_client_command(_one(), "doctor", doctor.doctor)


def _replay() -> typer.Typer:
    from grpc_tool_bridge.cli import replay

    return add_command(_one(), "replay", replay.replay)


def _chaos_proxy() -> typer.Typer:
    from grpc_tool_bridge.cli import chaos_proxy

    return add_command(_one(), "chaos-proxy", chaos_proxy.chaos_proxy)


_COMMANDS: Mapping[str, Callable[[], typer.Typer]] = {
    "serve": _serve,
    "worker": _worker,
    "tools": _tools,
    "call": _call,
    "stream": _stream,
    "vars": _variables,
    "agent": _agent,
    "admin": _admin,
    "bench": _bench,
    "doctor": _doctor,
    "replay": _replay,
    "chaos-proxy": _chaos_proxy,
}


def _usage_text(error: Any) -> str:
    text = error.format_message().rstrip(".").replace("Value error, ", "")
    return f"{text[:1].lower()}{text[1:]}"
