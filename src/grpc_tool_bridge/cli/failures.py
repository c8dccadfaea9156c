"""What a failure looks like to whoever started a command: one line, and an exit code."""

import os
import sys

import pydantic

from grpc_tool_bridge.errors import ToolBridgeError

FAILED = 1
BAD_ARGUMENT = 2
INTERRUPTED = 130
# As of any program that a closed pipe ends: 128 and the number of SIGPIPE.
PIPE_CLOSED = 141

# The control characters, and those that turn the direction of what follows.
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_OBEYED = {code: ascii(chr(code))[1:-1] for code in _CONTROLS if chr(code) not in "\n\t"}


class CommandError(Exception):
    """A command failed.

    Args:
        message: What was wrong and what to do.
        code: The exit code.
        traceback: Of the process where it happened; printed after the line.
    """

    def __init__(self, message: str, *, code: int = FAILED, traceback: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.traceback = traceback


class ArgumentError(CommandError):
    """Something was given that cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=BAD_ARGUMENT)


class PipeClosedError(Exception):
    """Nobody reads the output any more."""


def report(error: Exception) -> int:
    """Prints an error as one line on stderr and returns the exit code that it stands for."""
    if isinstance(error, PipeClosedError | BrokenPipeError):
        _forget_output()
        return PIPE_CLOSED
    if isinstance(error, CommandError):
        say_error(str(error))
        if error.traceback:
            print(visible(error.traceback.rstrip()), file=sys.stderr)  # noqa: T201 - this is where it belongs
        return error.code
    if isinstance(error, ToolBridgeError):
        say_error(str(error))
    else:
        say_error(f"{type(error).__name__}: {error}; this is a fault of the command line, please report it")
    return FAILED


def say_error(text: str) -> None:
    """Prints one line on stderr that begins with ``error:``."""
    print(f"error: {one_line(text)}", file=sys.stderr)  # noqa: T201 - the one place where errors are printed


def say_warning(text: str) -> None:
    """Prints one line on stderr that begins with ``warning:``."""
    print(f"warning: {one_line(text)}", file=sys.stderr)  # noqa: T201 - the one place where warnings are printed


def one_line(text: str) -> str:
    """Puts a text on one line; what a terminal would obey, such as an escape sequence, is shown instead."""
    words = " ".join(text.split())
    return words if words.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)


def visible(text: str) -> str:
    """Shows what a terminal would obey, such as an escape sequence, and leaves lines and tabs as they are."""
    return text.translate(_OBEYED)


def file_error(error: OSError, path: object) -> ArgumentError:
    """Makes the error for a file that was named and cannot be read."""
    return ArgumentError(f"cannot read {path}: {error.strerror or error}")


def settings_error(error: pydantic.ValidationError) -> ArgumentError:
    """Makes the error for settings that cannot be; it names each, and never shows a value, which may be secret."""
    parts = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        text = item["msg"].removeprefix("Value error, ")
        name = ".".join(str(part) for part in item["loc"])
        origin = f"its flag, TOOL_BRIDGE_{name.upper()} or the TOML file"
        parts.append(f"setting {name}: {text[:1].lower()}{text[1:]} (from {origin})" if name else text)
    return ArgumentError("; ".join(parts))


def _forget_output() -> None:
    """Lets the interpreter flush at its end without a complaint."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, descriptor)
    os.close(devnull)
