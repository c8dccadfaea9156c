"""Puts the lines of a recording in an order that does not depend on time: the same run gives the same bytes.

While a hub records, the lines are in the order of time. In the end, those of a session are together: what it is, its
tools by name, then its calls in the order of their start, each with what it has led to. Sessions that were open at the
same time are in the order of their contents; others, in the order of time.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from grpc_tool_bridge.testing.recording.entries import CHUNK, ENDED, MODEL, OPENED, TOOL
from grpc_tool_bridge.testing.recording.lines import (
    FORMAT,
    MAX_FILE_BYTES,
    MAX_LINE_BYTES,
    OWN_SESSION,
    VERSION,
    encode,
    header,
    read_call,
    read_session,
    times_of,
)

_MAX_TIME_CHARS = 100

# Characters of a session's calls by which it is compared with others, before its digest.
_COMPARED_CHARS = 4_096


class RecordingError(ValueError):
    """A recording cannot be read."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a recording.

    Attributes:
        place: Its number in the file, from 1.
        at: Microseconds since the recording began; None if that is not known.
        content: What it holds.
    """

    place: int
    at: int | None
    content: dict[str, Any]


@dataclass(slots=True)
class _Found:
    """A line by its place in the file, and in the order of the recording."""

    key: tuple[Any, ...]
    offset: int
    place: int


@dataclass(slots=True)
class _Block:
    """The lines of one session."""

    lines: list[_Found] = field(default_factory=list)
    first: int = 0
    last: int = 0
    ended: bool = False
    compared: tuple[str, str] = ("", "")


def read_lines(path: str) -> tuple[dict[str, Any], Iterator[Line]]:
    """Reads a recording, whether it was closed or its hub was killed.

    Args:
        path: The file.

    Returns:
        Its header, and its lines in the order of the recording.

    Raises:
        RecordingError: It is not a recording, or of another version; the text says which line is wrong.
        OSError: It cannot be read.
    """
    with Path(path).open("rb") as file:
        first = _header(path, file)
    return first, _ordered(path) if first.get("open") else _as_written(path)


def settle(path: str) -> None:
    """Replaces the file of a recording by one that is in order, and writes its times beside it."""
    first, lines = read_lines(path)
    began = datetime.fromtimestamp(float(first.get("began", 0)), UTC)
    partial, times = f"{path}.part", times_of(path)
    with (
        open(partial, "w", encoding="utf-8", opener=_private) as file,
        open(f"{times}.part", "w", encoding="ascii", opener=_private) as clock,
    ):
        file.write(encode(header(is_open=False)) + "\n")
        clock.write(began.isoformat() + "\n")
        for line in lines:
            file.write(encode(line.content) + "\n")
            clock.write(f"{(line.at or 0) / 1_000_000:.6f}\n")
    Path(f"{times}.part").replace(times)
    Path(partial).replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


# ---------------------------------------------------------------------------------------------------- as it is written


def _header(path: str, file: BinaryIO) -> dict[str, Any]:
    text = file.readline(MAX_LINE_BYTES)
    try:
        first = json.loads(text)
    except (ValueError, RecursionError):
        first = None
    if not isinstance(first, dict) or first.get("format") != FORMAT:
        raise RecordingError(f"{path} is not a recording: its first line does not say so")
    if first.get("version") != VERSION:
        raise RecordingError(
            f"{path} is a recording of version {first.get('version')!r:.20}, and this program reads version {VERSION}; "
            "record it again, or read it with the program that wrote it"
        )
    return first


def _raw(path: str, file: BinaryIO, *, cut: bool) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yields the place, the offset and the content of each line after the header.

    Args:
        path: The file, for errors.
        file: The file, after its header.
        cut: Whether the last line may be incomplete, because its hub was killed.
    """
    place, offset = 1, file.tell()
    while data := file.readline(MAX_LINE_BYTES + 1):
        place += 1
        if len(data) > MAX_LINE_BYTES:
            raise RecordingError(f"{path}, line {place}: it is longer than {MAX_LINE_BYTES:,} bytes")
        if not data.endswith(b"\n") and cut:
            return
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise RecordingError(f"{path}, line {place}: it is not JSON: {str(error)[:100]}") from None
        if not isinstance(content, dict):
            raise RecordingError(f"{path}, line {place}: it must be an object, not {type(content).__name__}")
        yield place, offset, content
        offset += len(data)
        if offset > MAX_FILE_BYTES:
            raise RecordingError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes")


def _as_written(path: str) -> Iterator[Line]:
    times = _times(path)
    with Path(path).open("rb") as file:
        file.readline(MAX_LINE_BYTES)
        for place, _, content in _raw(path, file, cut=False):
            yield Line(place, next(times, None), content)


def _times(path: str) -> Iterator[int | None]:
    try:
        clock = Path(times_of(path)).open(encoding="ascii", errors="replace")  # noqa: SIM115 - closed below
    except OSError:
        return
    with clock:
        clock.readline(_MAX_TIME_CHARS)
        while text := clock.readline(_MAX_TIME_CHARS):
            try:
                yield int(float(text) * 1_000_000)
            except (ValueError, OverflowError):
                raise RecordingError(f"{times_of(path)} does not hold the times of {path}: {text!r:.60}") from None


# ------------------------------------------------------------------------------------------------------------ in order


def _ordered(path: str) -> Iterator[Line]:
    blocks: dict[int, _Block] = {}
    with Path(path).open("rb") as file:
        file.readline(MAX_LINE_BYTES)
        for place, offset, content in _raw(path, file, cut=True):
            session = read_session(content.get("session"))
            if session is None:
                raise RecordingError(f"{path}, line {place}: it names no session")
            block = blocks.setdefault(session, _Block(first=place))
            block.last = place
            block.ended = block.ended or ENDED in content
            block.lines.append(_Found(_key(path, place, content), offset, place))
        for block in blocks.values():
            block.lines.sort(key=lambda found: found.key)
            block.compared = _compared(file, block)
        for number, block in enumerate(_in_order(list(blocks.values())), start=1):
            for found in block.lines:
                content = _read_at(file, found.offset)
                at = content.pop("at", None)
                content["session"] = f"session-{number}"
                yield Line(found.place, at if isinstance(at, int) else None, _named(content, content["session"]))


def _key(path: str, place: int, content: dict[str, Any]) -> tuple[Any, ...]:
    """Returns where a line belongs among those of its session."""
    if OPENED in content:
        return (0, "", place)
    if TOOL in content:
        tool = content[TOOL]
        return (1, str(tool.get("name", "")) if isinstance(tool, dict) else "", place)
    if ENDED in content:
        return (3, "", place)
    number = read_call(content.get("call"))
    if number is None:
        raise RecordingError(f"{path}, line {place}: it names no call")
    # Reports of the model overtake the chunks of their run on the way.
    return (2, "", number, MODEL in content, place)


def _compared(file: BinaryIO, block: _Block) -> tuple[str, str]:
    """Returns what orders sessions that were open at the same time: their calls, then a digest of everything."""
    text, digest = "", hashlib.sha256()
    for found in block.lines:
        content = _read_at(file, found.offset)
        content.pop("at", None)
        content.pop("session", None)
        written = encode(content)
        digest.update(written.encode("utf-8", "surrogatepass"))
        if "call" in content and CHUNK not in content and len(text) < _COMPARED_CHARS:
            text += written
    return text[:_COMPARED_CHARS], digest.hexdigest()


def _in_order(blocks: list[_Block]) -> list[_Block]:
    ordered: list[_Block] = []
    together: list[_Block] = []
    until = 0.0
    for block in sorted(blocks, key=lambda block: block.first):
        if together and block.first > until:
            ordered += sorted(together, key=lambda one: one.compared)
            together = []
        together.append(block)
        until = max(until, block.last if block.ended else float("inf"))
    return ordered + sorted(together, key=lambda one: one.compared)


def _read_at(file: BinaryIO, offset: int) -> dict[str, Any]:
    file.seek(offset)
    content: dict[str, Any] = json.loads(file.readline(MAX_LINE_BYTES))
    return content


def _named(value: Any, session: str) -> Any:
    """Puts the name of a session where its id was."""
    if isinstance(value, str):
        return value.replace(OWN_SESSION, session)
    if isinstance(value, list):
        return [_named(item, session) for item in value]
    if isinstance(value, dict):
        return {_named(key, session): _named(item, session) for key, item in value.items()}
    return value
