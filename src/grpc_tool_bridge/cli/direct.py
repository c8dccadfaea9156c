"""Reads a command line without typer, which takes longer to import than most commands take to run.

Whatever is not plain here is left to typer, whose reading of a command line counts: help, what is wrong, and values
that are written in an unusual way.
"""

from collections.abc import Sequence
from typing import Any

from grpc_tool_bridge.cli.command import Command
from grpc_tool_bridge.cli.commands import COMMANDS
from grpc_tool_bridge.cli.plain_words import values_of


def read(words: Sequence[str]) -> tuple[Command, dict[str, Any]] | None:
    """Reads a command line, without the program's name.

    Returns:
        The command, and the values of its parameters by name; None: the command line is for typer to read.
    """
    if not words or words[0] not in COMMANDS:
        return None
    found, rest = COMMANDS[words[0]](), words[1:]
    if not isinstance(found, Command):
        if not rest or rest[0] not in found:
            return None
        found, rest = found[rest[0]], rest[1:]
    if found.takes_inputs:
        return None
    values = values_of(found, rest)
    return None if values is None else (found, values)
