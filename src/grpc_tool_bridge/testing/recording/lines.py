"""The lines of a recording: JSON, one event each, after a first line with the version of the format."""

import json
import re
from typing import Any

FORMAT = "grpc-tool-bridge recording"
VERSION = 1

# Bytes of one line and of a whole recording that are read.
MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_FILE_BYTES = 1024 * 1024 * 1024

# Stands for the id of its own session in a line, until the sessions are numbered.
OWN_SESSION = "\ue000"

_TIMES = ".times"
_VALUES = ".values"

# What an editor or a review tool would not show, or show elsewhere, such as marks of the direction of text.
_HIDDEN = re.compile(r"[^\x20-\x7e]")


def times_of(path: str) -> str:
    """Returns the file with the times of a recording."""
    return path + _TIMES


def values_of(path: str) -> str:
    """Returns the directory with the large values of a recording."""
    return path + _VALUES


def header(*, is_open: bool) -> dict[str, Any]:
    """Returns the first line; ``is_open`` while the hub records, and the lines are in the order of time."""
    return {"format": FORMAT, "version": VERSION, **({"open": True} if is_open else {})}


def encode(line: dict[str, Any]) -> str:
    """Writes a line so that all of it can be seen."""
    text = json.dumps(line, ensure_ascii=False, allow_nan=False)
    return text if text.isascii() else _HIDDEN.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]


def number_text(number: tuple[int, ...]) -> str:
    """Returns the id of a call: the first is ``call-1``, the second one that it makes ``call-1.2``."""
    return "call-" + ".".join(map(str, number))


_CALL = re.compile(r"call-([1-9]\d{0,8}(?:\.[1-9]\d{0,8}){0,40})")
_SESSION = re.compile(r"session-([1-9]\d{0,8})")


def read_call(text: Any) -> tuple[int, ...] | None:
    """Reads the id of a call; None if it is not one."""
    found = _CALL.fullmatch(text) if isinstance(text, str) else None
    return tuple(map(int, found[1].split("."))) if found else None


def read_session(text: Any) -> int | None:
    """Reads the id of a session; None if it is not one."""
    found = _SESSION.fullmatch(text) if isinstance(text, str) else None
    return int(found[1]) if found else None
