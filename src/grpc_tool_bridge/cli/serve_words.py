"""``doctor --security`` takes the options of ``serve``: it finds them in a command line, and reads them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.cli.failures import ArgumentError

if TYPE_CHECKING:
    from grpc_tool_bridge.cli.serve_options import ServeOptions

COMMAND = "doctor"
FLAG = "--security"
# What belongs to doctor, even then.
_OWN = frozenset({FLAG, "--json"})
_HELP = frozenset({"-h", "--help"})


def after_serve(words: Sequence[str]) -> Sequence[str]:
    """Puts what ``doctor --security`` is given for ``serve`` behind a ``--``; other command lines stay as they are."""
    if not words or words[0] != COMMAND or FLAG not in words or "--" in words or not _HELP.isdisjoint(words):
        return words
    own = [word for word in words[1:] if word in _OWN]
    rest = [word for word in words[1:] if word not in _OWN]
    return [COMMAND, *own, *(["--", *rest] if rest else [])]


def read_serve(words: Sequence[str]) -> "ServeOptions":
    """Reads words as ``serve`` would, and starts nothing.

    Raises:
        ArgumentError: They are not options of it.
    """
    from grpc_tool_bridge.cli.command import Command
    from grpc_tool_bridge.cli.grpc_options import GrpcOptions
    from grpc_tool_bridge.cli.plain_words import values_of
    from grpc_tool_bridge.cli.serve import ToolsOption
    from grpc_tool_bridge.cli.serve_options import ServeOptions

    found: list[ServeOptions] = []

    def serve(*, tools: ToolsOption = None, options: ServeOptions, services: GrpcOptions) -> int:
        del tools, services
        found.append(options)
        return 0

    command = Command(serve)
    values: dict[str, Any] | None = values_of(command, words)
    if values is not None:
        command.run(values)
    else:
        from grpc_tool_bridge.cli import typer_commands

        typer_commands.run_alone(command, words, "serve")
    if not found:
        raise ArgumentError(f"{FLAG}: give the options of serve that the hub has; see grpc-tool-bridge serve --help")
    return found[0]
