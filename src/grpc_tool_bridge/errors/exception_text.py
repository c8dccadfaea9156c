"""The text of a tool's exception for its caller: its own text, followed by its members and causes.

::

    two rows failed (2 sub-exceptions)
    note: while reading prices.csv
    - ValueError: 'x' is no price
    - KeyError: 'currency'
    caused by FileNotFoundError: [Errno 2] No such file or directory: 'prices.csv'

The exception's own text is followed by its notes (``add_note``), the members of a group, and its cause (``raise … from
…``) or the exception that was being handled. Their own notes, members and causes are indented below them.

An exception may run the tool's own code: in its ``__str__``, its notes and each attribute. Nothing here lets an
exception of such code out. Because it may take any time, ``runner/error_formatter.py`` runs it outside of the event
loop.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from grpc_tool_bridge.errors.class_facts import ABSENT, bases_of, class_name, exact_text, static_attribute
from grpc_tool_bridge.errors.clipped_repr import clipped, clipped_repr

# Characters below the exception's own text and of each text there, members of one group, and levels of nesting.
MAX_FURTHER_CHARS = 4_096
MAX_TEXT_CHARS = 1_024
MAX_MEMBERS = 20
MAX_NESTING = 8
# Maximum characters written of an exception's ``args``.
MAX_SHOWN_CHARS = 65_536
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset, bytes, bytearray})
# Maximum frames of a traceback that are compared.
_MAX_FRAMES = 10_000

NO_MESSAGE = "raised without a message"
REMOTE_NOTE = "Remote traceback:\n"

# Python's own descriptors, since a subclass may replace these attributes by properties.
read_cause = BaseException.__dict__["__cause__"].__get__
read_context = BaseException.__dict__["__context__"].__get__
read_suppressed = BaseException.__dict__["__suppress_context__"].__get__
read_traceback = BaseException.__dict__["__traceback__"].__get__
read_args = BaseException.__dict__["args"].__get__
read_members = BaseExceptionGroup.__dict__["exceptions"].__get__

# The texts of the RuntimeError that Python raises in place of StopIteration and StopAsyncIteration.
_REPLACED = frozenset(
    f"{what} raised {name}"
    for what in ("coroutine", "generator", "async generator")
    for name in ("StopIteration", "StopAsyncIteration")
)


def as_raised(error: BaseException) -> BaseException:
    """Returns the StopIteration or StopAsyncIteration behind the RuntimeError that Python makes of it."""
    if type(error) is not RuntimeError:
        return error
    cause, args = read_cause(error), read_args(error)
    replaced = issubclass(type(cause), StopIteration | StopAsyncIteration) and len(args) == 1
    return cause if replaced and type(args[0]) is str and args[0] in _REPLACED else error


def own_text(error: BaseException) -> str:
    """Returns the text of an exception, or a text that says it has none."""
    try:
        text = _text(error)
        return text if text[:MAX_SHOWN_CHARS].strip() else NO_MESSAGE
    except BaseException as failure:  # noqa: BLE001 - a broken __str__ must not hide the error that it belongs to
        return no_text(failure)


def text_of(value: object) -> str:
    """Returns the ``str`` of any value, or a text that says it failed."""
    try:
        # Python's own repr of a container holds the GIL until all of it is written.
        return clipped_repr(value, MAX_SHOWN_CHARS) if type(value) in _CONTAINERS else exact_text(str(value))
    except BaseException as failure:  # noqa: BLE001 - as for an exception's own text
        return no_text(failure)


def no_text(failure: BaseException) -> str:
    """Returns a text that says that a ``__str__`` failed."""
    return f"<no text: its __str__ raised {class_name(type(failure))}>"


def further_text(error: BaseException) -> str:
    """Returns the lines below an exception's text, each after a line break; usually empty."""
    lines: list[str] = []
    room = MAX_FURTHER_CHARS
    for line in _below(error, {id(error)}, 0):
        room -= len(line) + 1
        if room < 0:
            lines.append("…")
            break
        lines.append(line)
    return "".join(f"\n{line}" for line in lines)


def led_from(error: BaseException) -> BaseException | None:
    """Returns the exception that led to another, if it is shown: its cause, else the one being handled."""
    cause, context = read_cause(error), read_context(error)
    if cause is not None:
        return None if _is_transport(error, cause) else cause
    is_shown = context is not None and not read_suppressed(error) and _was_handled(error, context)
    return context if is_shown else None


def notes_of(error: BaseException) -> list[str]:
    """Returns the notes of an exception, except the traceback of another process."""
    shown: list[str] = []
    try:
        notes: Any = getattr(error, "__notes__", None)
        # It can be set to any value.
        if issubclass(type(notes), Sequence) and not issubclass(type(notes), str | bytes):
            texts = map(text_of, islice(notes, MAX_MEMBERS))
            shown.extend(text for text in texts if not text.startswith(REMOTE_NOTE))
    except BaseException as failure:  # noqa: BLE001 - as for an exception's own text
        shown.append(f"<no notes: {class_name(type(failure))} was raised>")
    return shown


def _text(error: BaseException) -> str:
    """Returns the ``str`` of an exception, with its args clipped."""
    kind = type(error)
    writes, args = static_attribute(kind, "__str__"), read_args(error)
    if writes is KeyError.__str__ and len(args) == 1:
        return clipped_repr(args[0], MAX_SHOWN_CHARS)
    if writes is OSError.__str__ and any(type(item) in _CONTAINERS for item in args):
        return clipped_repr(args, MAX_SHOWN_CHARS)
    if writes is not BaseException.__str__ and writes is not KeyError.__str__:
        return exact_text(str(error))
    if len(args) > 1:
        return clipped_repr(args, MAX_SHOWN_CHARS)
    if not args:
        return ""
    if type(args[0]) in _CONTAINERS:
        return clipped_repr(args[0], MAX_SHOWN_CHARS)
    return exact_text(str(args[0]))


def _below(error: BaseException, seen: set[int], level: int) -> Iterator[str]:
    for note in notes_of(error):
        yield from _indented("note: ", note)
    if issubclass(type(error), BaseExceptionGroup):
        members = read_members(error)
        for member in islice(members, MAX_MEMBERS):
            yield from _described("- ", member, seen, level)
        if len(members) > MAX_MEMBERS:
            yield f"- … and {len(members) - MAX_MEMBERS:,} more"
    before = led_from(error)
    if before is not None:
        yield from _described(
            "caused by " if read_cause(error) is before else "raised while handling ", before, seen, level
        )


def _described(before: str, error: BaseException, seen: set[int], level: int) -> Iterator[str]:
    error = as_raised(error)
    if id(error) in seen:
        return
    if level == MAX_NESTING:
        yield f"{before}…"
        return
    seen.add(id(error))
    name, text = class_name(type(error)), own_text(error)
    yield from _indented(before, name if text == NO_MESSAGE else f"{name}: {text[:MAX_SHOWN_CHARS]}")
    for line in _below(error, seen, level + 1):
        yield f"  {line}"


def _indented(before: str, text: str) -> Iterator[str]:
    first, *others = clipped(text, MAX_TEXT_CHARS).splitlines() or [""]
    yield before + first
    for line in others:
        yield f"  {line}"


def _is_transport(error: BaseException, cause: BaseException) -> bool:
    """Returns whether an error of the bridge was made from a gRPC error, which adds nothing."""
    if static_attribute(type(error), "remote_traceback") is ABSENT:
        return False
    modules: list[Any] = [static_attribute(base, "__module__") for base in bases_of(type(cause))[:1]]
    return all(type(module) is str and module.startswith("grpc.") for module in modules)


def _was_handled(error: BaseException, context: BaseException) -> bool:
    """Returns whether the code that raised ``error`` was itself handling ``context``.

    A call within the process runs on its caller's stack: an exception that the caller is handling becomes the context
    of the tool's exception, although the tool has nothing to do with it.
    """
    caught, trace = read_traceback(context), read_traceback(error)
    for _ in range(_MAX_FRAMES):
        if caught is None or trace is None:
            return False
        if trace.tb_frame is caught.tb_frame:
            return True
        trace = trace.tb_next
    return False
