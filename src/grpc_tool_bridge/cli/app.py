"""The application with all commands, and its error handling."""

import math
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.console import Console

from grpc_tool_bridge.cli import admin, agent, bench, call, doctor, tools, variables
from grpc_tool_bridge.cli.chaos_proxy import chaos_proxy
from grpc_tool_bridge.cli.commands import add_client_command, add_command
from grpc_tool_bridge.cli.failures import ArgumentError, report, wants_json
from grpc_tool_bridge.cli.replay import replay
from grpc_tool_bridge.cli.serve import serve
from grpc_tool_bridge.cli.worker import worker

PROGRAM = "grpc-tool-bridge"

# The class of errors in a command line, which has no public name.
_UsageError: Any = typer.BadParameter.__base__


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line like ``cli.main``; default: the arguments of the process.

    A failure is printed on one line on stderr, with ``--json`` as JSON.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    as_json = wants_json(words)
    try:
        code = _command()(args=words, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else PROGRAM
        text = _usage_text(error)
        text = f"{text} See {path} --help" if text.endswith("?") else f"{text}; see {path} --help"
        return report(ArgumentError(text), as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return report(KeyboardInterrupt(), as_json=as_json)
    except Exception as error:  # noqa: BLE001 - every error becomes one line
        return report(error, as_json=as_json)
    return code if isinstance(code, int) else 0


def make_app() -> typer.Typer:
    """Makes the application with all its commands."""
    app = typer.Typer(help="Tools in other processes, as functions.", context_settings=_HELP, add_completion=True)
    app.callback(invoke_without_command=True)(_root)
    add_command(app, "serve", serve)
    # Hub and workers may be started together, in any order.
    add_command(app, "worker", worker, connect_timeout=math.inf)
    add_client_command(app, "tools", tools.tools)
    add_client_command(app, "call", call.call)
    add_client_command(app, "stream", call.stream)
    app.add_typer(_variables_app(), name="vars")
    add_client_command(app, "agent", agent.agent, cls=agent.AgentCommand)
    app.add_typer(_admin_app(), name="admin")
    add_client_command(app, "bench", bench.bench)
    add_client_command(app, "doctor", doctor.doctor)
    add_command(app, "replay", replay)
    add_command(app, "chaos-proxy", chaos_proxy)
    return app


def _variables_app() -> typer.Typer:
    app = typer.Typer(help="List, read, write and watch the variables of a session.", context_settings=_HELP)
    add_client_command(app, "list", variables.list_variables)
    add_client_command(app, "get", variables.get_variable)
    add_client_command(app, "set", variables.set_variable)
    add_client_command(app, "delete", variables.delete_variable)
    add_client_command(app, "watch", variables.watch_variables)
    return app


def _admin_app() -> typer.Typer:
    app = typer.Typer(help="See what is going on in the hub, and cancel calls.", context_settings=_HELP)
    add_client_command(app, "sessions", admin.list_sessions)
    add_client_command(app, "workers", admin.list_workers)
    add_client_command(app, "calls", admin.list_calls)
    add_client_command(app, "runs", admin.list_runs)
    add_client_command(app, "cancel", admin.cancel_call)
    add_client_command(app, "events", admin.watch_events)
    return app


_HELP = {"help_option_names": ["-h", "--help"]}


def _command() -> Callable[..., Any]:
    command: Callable[..., Any] = typer.main.get_command(make_app())
    return command


def _root(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if show_version:
        Console(highlight=False).print(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


def _usage_text(error: Any) -> str:
    text = error.format_message().rstrip(".").replace("Value error, ", "")
    return f"{text[:1].lower()}{text[1:]}"
