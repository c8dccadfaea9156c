"""The output of commands: for people, for programs as JSON, one line per value."""

import os
import sys
from typing import IO, TYPE_CHECKING, Any

from grpc_tool_bridge.cli.streams import write

if TYPE_CHECKING:
    from rich.console import Console

# Longer ones are folded.
_MAX_PLAIN_CHARS = 200
# With these, rich takes a file or a pipe for a terminal.
_TERMINAL_VARIABLES = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


def print_json(value: Any, file: IO[str] | None = None) -> None:
    """Prints a value as one line of JSON on ``file``, or stdout."""
    from grpc_tool_bridge.values import tagged_json

    write(tagged_json.dumps(value) + "\n", file)


def print_value(value: Any, out: "Console | None" = None) -> None:
    """Prints a value for people, by default on stdout.

    Text and bytes are written to a file or a pipe unchanged; frames and lists of dicts become tables.
    """
    if out is None and not _may_be_terminal(sys.stdout):
        # Most results, without the time to import rich.
        if isinstance(value, str):
            write(value + "\n")
            return
        if (value is None or type(value) in (bool, int, float)) and len(text := repr(value)) <= _MAX_PLAIN_CHARS:
            write(text + "\n")
            return
    from grpc_tool_bridge.cli import consoles

    consoles.print_value(value, out or consoles.console())


def _may_be_terminal(file: IO[str]) -> bool:
    return file.isatty() or any(name in os.environ for name in _TERMINAL_VARIABLES)
