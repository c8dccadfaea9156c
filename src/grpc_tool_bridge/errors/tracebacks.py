"""Tracebacks in Python's format, with bounded length and time.

``traceback.format_exception`` writes the whole chain of causes, with each frame, source line and ``str`` however long,
reads any file that a frame names, and fails if one of the exceptions cannot be formatted.
"""

import linecache
import stat
import sys
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from grpc_tool_bridge.errors.class_facts import class_path
from grpc_tool_bridge.errors.clipped_repr import clipped
from grpc_tool_bridge.errors.exception_text import (
    NO_MESSAGE,
    led_from,
    notes_of,
    own_text,
    read_cause,
    read_members,
    read_traceback,
)

# Exceptions in a chain, levels of nested groups, and members of a group.
MAX_CHAIN = 8
MAX_GROUPS = 3
MAX_MEMBERS = 10
# Frames of one exception: half from the start, half from the end.
MAX_FRAMES = 200
# Characters of a source line, of a file's or a function's name, and of the exception's text at the end.
MAX_LINE_CHARS = 1_000
MAX_NAME_CHARS = 1_000
MAX_TEXT_CHARS = 4_096
# Bytes of a source file that is read for its lines.
MAX_SOURCE_BYTES = 1024 * 1024
# Frames of an exception and its causes that are formatted in an event loop, at some 10 µs each.
_MAX_AT_ONCE = 16
# Maximum frames that are counted; the rest of a longer traceback is ignored.
_MAX_COUNTED = 100_000

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
_HEADER = "Traceback (most recent call last):\n"
_SYNTAX_ERRORS = (SyntaxError, IndentationError, TabError)


def format_error(error: BaseException, begin: TracebackType | None = None) -> str:
    """Formats an exception with its traceback and causes.

    Never raises. Code of the exception's class may run, and source files are read: call it outside of an event loop
    unless ``plain_errors.is_plain`` holds.

    Args:
        error: The exception.
        begin: Where its traceback begins; None: all of it.
    """
    try:
        return "".join(_chained(error, begin or read_traceback(error), MAX_GROUPS))
    except BaseException as failure:  # noqa: BLE001 - an exception that cannot be written must not hide itself
        return f"{class_path(type(error))}: <no traceback: {class_path(type(failure))} was raised>\n"


def has_common_traceback(error: BaseException) -> bool:
    """Returns whether formatting the frames of an exception is quick and runs only the standard library's code."""
    trace = read_traceback(error)
    if trace is None:
        return True
    few = next(islice(_steps(trace), MAX_FRAMES, None), None) is None
    return few and not issubclass(type(error), BaseExceptionGroup) and _can_show_source(trace, MAX_FRAMES)


def tools_part(error: BaseException) -> TracebackType | None:
    """Returns the traceback of a tool's exception without the bridge's own frames above the tool's."""
    first: TracebackType | None = read_traceback(error)
    for step in _steps(first):
        name = step.tb_frame.f_globals.get("__name__", "")
        if type(name) is not str or not name.startswith("grpc_tool_bridge."):
            return step
    return first


def is_at_hand(error: BaseException) -> bool:
    """Returns whether a traceback is formatted quickly: it has few frames, whose sources are cached."""
    left = _MAX_AT_ONCE
    each: BaseException | None = error
    while each is not None:
        if issubclass(type(each), BaseExceptionGroup):
            return False
        for step in _steps(tools_part(each) if each is error else read_traceback(each)):
            left -= 1
            if left < 0 or not _is_read(step.tb_frame.f_code.co_filename):
                return False
        left -= 1
        each = led_from(each)
    return True


def _is_read(name: str) -> bool:
    entry = linecache.cache.get(name)
    return entry is not None and len(entry) > 1 and int(entry[0]) <= MAX_SOURCE_BYTES


def _chained(error: BaseException, trace: TracebackType | None, groups: int) -> Iterator[str]:
    chain = [error]
    seen = {id(error)}
    before = led_from(error)
    while before is not None and id(before) not in seen and len(chain) < MAX_CHAIN:
        chain.append(before)
        seen.add(id(before))
        before = led_from(before)
    if before is not None and id(before) not in seen:
        yield "… (more exceptions led to this one)\n"
    for place in range(len(chain) - 1, -1, -1):
        yield from _one(chain[place], read_traceback(chain[place]) if place else trace, groups)
        if place:
            yield _CAUSE if read_cause(chain[place - 1]) is chain[place] else _CONTEXT


def _one(error: BaseException, trace: TracebackType | None, groups: int) -> Iterator[str]:
    if trace is not None:
        yield _HEADER
        yield from _frames(trace)
    yield from _last_lines(error)
    if issubclass(type(error), BaseExceptionGroup):
        yield from _members(read_members(error), groups)


def _members(members: tuple[BaseException, ...], groups: int) -> Iterator[str]:
    if not groups:
        yield "  | … (groups in groups)\n"
        return
    for number, member in enumerate(islice(members, MAX_MEMBERS), 1):
        yield f"  +---------------- {number} ----------------\n"
        for text in _chained(member, read_traceback(member), groups - 1):
            for line in text.splitlines(keepends=True):
                yield f"  | {line}"
    if len(members) > MAX_MEMBERS:
        yield f"  +-- … and {len(members) - MAX_MEMBERS:,} more\n"
    yield "  +------------------------------------\n"


# --------------------------------------------------------------------------------------------------------- the frames


def _frames(trace: TracebackType) -> Iterator[str]:
    count = sum(1 for _ in islice(_steps(trace), _MAX_COUNTED))
    if count <= MAX_FRAMES:
        yield from _written(trace, MAX_FRAMES)
        return
    half = MAX_FRAMES // 2
    yield from _written(trace, half)
    yield f"  … ({count - MAX_FRAMES:,} frames between)\n"
    yield from _written(next(islice(_steps(trace), count - half, None)), half)


def _steps(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _written(trace: TracebackType, limit: int) -> list[str]:
    """Formats the first frames of a traceback, with their source if its file has a common size."""
    if _can_show_source(trace, limit):
        # An exception without a chain, so that only the frames are read.
        stack = traceback.TracebackException(Exception, Exception(), trace, limit=limit).stack
        if all(len(frame.line or "") <= MAX_LINE_CHARS for frame in stack):
            return stack.format()
    lines = []
    for step in islice(_steps(trace), limit):
        code = step.tb_frame.f_code
        file, name = code.co_filename[:MAX_NAME_CHARS], code.co_name[:MAX_NAME_CHARS]
        lines.append(f'  File "{file}", line {step.tb_lineno}, in {name}\n')
    return lines


def _can_show_source(trace: TracebackType, limit: int) -> bool:
    known: set[str] = set()
    for step in islice(_steps(trace), limit):
        code = step.tb_frame.f_code
        if len(code.co_filename) > MAX_NAME_CHARS or len(code.co_name) > MAX_NAME_CHARS:
            return False
        if code.co_filename not in known and not _is_common_file(code.co_filename, step.tb_frame.f_globals):
            return False
        known.add(code.co_filename)
    return True


def _is_common_file(name: str, module: dict[str, Any]) -> bool:
    """Returns whether reading a source file is quick and runs only the standard library's code."""
    if _is_read(name):
        # Notebooks put their cells there.
        return True
    try:
        found = Path(name).stat()
    except (OSError, ValueError):
        # Python asks the module's loader for it, which may be the program's own code.
        loader = module.get("__loader__")
        home = class_path(type(loader)).partition(".")[0]
        return loader is None or home in sys.stdlib_module_names or type(loader) is type
    return stat.S_ISREG(found.st_mode) and found.st_size <= MAX_SOURCE_BYTES


# ----------------------------------------------------------------------------------------------------- the exception


def _last_lines(error: BaseException) -> Iterator[str]:
    kind = type(error)
    if kind in _SYNTAX_ERRORS:
        shown = _syntax_error(error)
        if shown:
            yield from shown
            yield from _note_lines(error)
            return
    text = clipped(own_text(error), MAX_TEXT_CHARS)
    yield class_path(kind) + ("\n" if text == NO_MESSAGE else f": {text}\n")
    yield from _note_lines(error)


def _note_lines(error: BaseException) -> Iterator[str]:
    for note in notes_of(error):
        yield f"{note[:MAX_TEXT_CHARS]}\n"


def _syntax_error(error: Any) -> list[str]:
    """Formats a SyntaxError with its line, if its attributes are as Python sets them; else returns nothing."""
    texts = [error.msg, error.filename, error.text]
    places = [error.lineno, error.offset, error.end_lineno, error.end_offset]
    if not all(text is None or (type(text) is str and len(text) <= MAX_LINE_CHARS) for text in texts):
        return []
    if not all(place is None or type(place) is int for place in places):
        return []
    kind = type(error)
    filename, lineno, offset, line = error.filename, error.lineno, error.offset, error.text
    made = kind(error.msg, (filename, lineno, offset, line, error.end_lineno, error.end_offset))
    try:
        return traceback.format_exception_only(kind, made)
    except Exception:  # noqa: BLE001 - the library's own code fails for some of them
        return []
