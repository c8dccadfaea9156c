"""Reads the files of audit trails."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from grpc_tool_bridge.auth.audit.chain import Line, read_line

# A longer line is none of a trail.
MAX_LINE_BYTES = 1024 * 1024

# Where a line begins behind what syslog puts before it.
_BEGINNING = b'{"chain":"'
_EVENT = re.compile(rb'[^,]*,[^,]*,"time":"([0-9TZ:.-]{1,40})","event":"([a-z_]{1,20})"')


class ReadLine(NamedTuple):
    """A line of a file.

    Attributes:
        number: From 1.
        line: What it is; None: no line of a trail.
        data: Its bytes, without the newline.
        is_whole: Whether a newline ends it.
    """

    number: int
    line: Line | None
    data: bytes
    is_whole: bool


def read_file(path: Path, *, mixed: bool = False) -> Iterator[ReadLine]:
    """Reads the lines of a file.

    Args:
        path: The file.
        mixed: Whether it has other lines too, which are left out, and may have something before each line, as the files
            of syslog have.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        number = 0
        while data := file.readline(MAX_LINE_BYTES):
            number += 1
            is_whole = data.endswith(b"\n")
            text = data[:-1] if is_whole else data
            if mixed:
                before, found, rest = text.partition(_BEGINNING)
                if not found:
                    continue
                text = text[len(before) :].rstrip() if rest else text
            yield ReadLine(number, read_line(text), text, is_whole)


def event_of(line: Line) -> tuple[str, str]:
    """Returns when a line was written, and its event; empty texts if it does not say."""
    found = _EVENT.match(line.body)
    return (found[1].decode(), found[2].decode()) if found is not None else ("", "")


def fields_of(line: Line) -> dict[str, Any]:
    """Returns the fields of a line, without its code; empty if it is no JSON."""
    try:
        found = json.loads(line.body + b"}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
