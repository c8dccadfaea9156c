"""How a command fails: one line on stderr, and an exit code."""

import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.cli.exit_codes import BAD_ARGUMENT, FAILED, INTERRUPTED, PIPE_CLOSED
from grpc_tool_bridge.cli.streams import OutputError, PipeClosedError, discard_output

if TYPE_CHECKING:
    from grpc_tool_bridge.errors import ToolBridgeError

# Letters and marks by their category, but invisible; the two variation selectors for text and emoji are not included.
# See Default_Ignorable_Code_Point of Unicode.
_INVISIBLE = frozenset(
    chr(code)
    for first, last in (
        (0x34F, 0x34F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0D),
        (0xFFA0, 0xFFA0),
        (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
)
# Spaces with a width are visible as such.
_SPACES = frozenset("\u00a0\u3000")
_SUSPECT = re.compile(r"[^\n\t\x20-\x7e]")
_HALVES = re.compile("[\ud800-\udfff]")


class CommandError(Exception):
    """A command failed.

    Args:
        message: What was wrong and what to do.
        code: The exit code.
        traceback: The traceback of the process where it happened; printed after the line.
        error_type: The type in the JSON output, if no error of the bridge is the cause.
    """

    def __init__(
        self, message: str, *, code: int = FAILED, traceback: str = "", error_type: str = "CommandError"
    ) -> None:
        super().__init__(message)
        self.code = code
        self.error_type = error_type
        self.traceback = traceback


class ArgumentError(CommandError):
    """An argument is not valid."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=BAD_ARGUMENT, error_type="ValidationError")


def wants_json(words: Sequence[str]) -> bool:
    """Returns whether a command line asks for JSON, even if the rest of it is wrong."""
    options = words[: words.index("--")] if "--" in words else words
    return any(word == "--json" or word.startswith("--json=") for word in options)


def report(error: BaseException, *, as_json: bool = False) -> int:
    """Prints an error as one line on stderr, as JSON if requested; returns its exit code."""
    if isinstance(error, OutputError | PipeClosedError | BrokenPipeError):
        discard_output()
        if not isinstance(error, OutputError):
            return PIPE_CLOSED
    text, code = _told(error)
    if as_json:
        facts = json.dumps({"error": _facts(error, text, code)}, ensure_ascii=False)
        # Lone surrogates are shown as for people, since strict parsers refuse them.
        whole = _HALVES.sub(lambda half: json.dumps(_escaped(half))[1:-1], facts)
        print(json.dumps(json.loads(whole)), file=sys.stderr)  # noqa: T201 - the place for errors
        return code
    print(f"error: {one_line(text)}", file=sys.stderr)  # noqa: T201 - as above
    if isinstance(error, CommandError) and error.traceback:
        print(visible(error.traceback.rstrip()), file=sys.stderr)  # noqa: T201 - as above
    return code


def _told(error: BaseException) -> tuple[str, int]:
    if _of_bridge(error) is not None:
        return str(error), FAILED
    match error:
        case CommandError():
            return str(error), error.code
        case KeyboardInterrupt():
            return "interrupted", INTERRUPTED
        case OutputError():
            return str(error), FAILED
        case OSError():
            named = "" if error.filename is None else f"{error.filename}: "
            return f"{named}{error.strerror or error}", FAILED
        case MemoryError():
            return "not enough memory", FAILED
    return f"{type(error).__name__}: {error}; this is a bug in the command line, please report it", FAILED


def _facts(error: BaseException, text: str, code: int) -> dict[str, Any]:
    """Describes an error for programs, as the hub does in its responses."""
    # A command rephrases errors of the hub or a tool.
    origin = error.__cause__ if isinstance(error, CommandError) else error
    facts: dict[str, Any] = {"type": _type_name(error), "message": text, "details": {}}
    of_bridge = _of_bridge(origin)
    if of_bridge is not None:
        from grpc_tool_bridge.errors import error_info

        info = error_info(of_bridge)
        facts |= {"type": info.type, "details": dict(info.details), "retryable": info.retryable}
    if isinstance(error, CommandError) and error.traceback:
        facts["traceback"] = error.traceback
    return facts | {"exit_code": code}


def _of_bridge(error: BaseException | None) -> "ToolBridgeError | None":
    """Returns an error of the bridge; None for any other."""
    if error is None or isinstance(error, CommandError | OutputError):
        return None
    from grpc_tool_bridge.errors import ToolBridgeError

    return error if isinstance(error, ToolBridgeError) else None


def _type_name(error: BaseException) -> str:
    if isinstance(error, CommandError):
        return error.error_type
    return "Cancelled" if isinstance(error, KeyboardInterrupt) else type(error).__name__


def say_warning(text: str) -> None:
    """Prints one line on stderr that begins with ``warning:``."""
    print(f"warning: {one_line(text)}", file=sys.stderr)  # noqa: T201 - the one place where warnings are printed


def one_line(text: str) -> str:
    """Puts a text on one line, and shows control characters and escape sequences instead of sending them."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """Escapes characters that a terminal would interpret or not show, except newlines and tabs.

    These are control characters, escape sequences, bidirectional controls, separators and zero-width characters, all of
    which can make a text look like another one.
    """
    return text if text.isascii() and text.isprintable() else _SUSPECT.sub(_escaped, text)


def _escaped(found: "re.Match[str]") -> str:
    character = found[0]
    if (character.isprintable() and character not in _INVISIBLE) or character in _SPACES:
        return character
    if "\udc80" <= character <= "\udcff":
        # A byte of an argument or a file's name that is not UTF-8.
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def file_error(error: OSError, path: object) -> ArgumentError:
    """Returns the error for a file that was named and cannot be read."""
    return ArgumentError(f"cannot read {path}: {error.strerror or error}")
