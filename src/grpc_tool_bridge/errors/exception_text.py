"""What an exception of a tool says to its caller: its own text, and below it what it holds and what led to it.

::

    two rows failed (2 sub-exceptions)
    note: while reading prices.csv
    - ValueError: 'x' is no price
    - KeyError: 'currency'
    caused by FileNotFoundError: [Errno 2] No such file or directory: 'prices.csv'

The first lines are the exception's own text, then come its notes (``add_note``), the members of a group, and its
cause (``raise … from …``) or, where it was raised while another one was handled, that one. What belongs to one of
those is indented below it.

An exception is the tool's own code: its ``__str__``, its notes and each attribute may run anything. Nothing here lets
out what such code raises. How long it takes is another matter: ``runner/telling.py`` asks outside of the event loop.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from grpc_tool_bridge.errors.class_facts import ABSENT, bases_of, class_name, exact_text, static_attribute
from grpc_tool_bridge.errors.clipped_repr import clipped, clipped_repr

# All that is said beside the exception's own text; of one text in it; of one group; and of exceptions in exceptions.
MAX_FURTHER_CHARS = 4_096
MAX_TEXT_CHARS = 1_024
MAX_MEMBERS = 20
MAX_NESTING = 8
# Of what an exception holds in its ``args``, more is not put into words.
MAX_SHOWN_CHARS = 65_536
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset, bytes, bytearray})
# Frames of a traceback that are compared.
_MAX_FRAMES = 10_000

NO_MESSAGE = "raised without a message"
REMOTE_NOTE = "Remote traceback:\n"

# What a subclass may have replaced by a property is read from Python's own.
read_cause = BaseException.__dict__["__cause__"].__get__
read_context = BaseException.__dict__["__context__"].__get__
read_suppressed = BaseException.__dict__["__suppress_context__"].__get__
read_traceback = BaseException.__dict__["__traceback__"].__get__
read_args = BaseException.__dict__["args"].__get__
read_members = BaseExceptionGroup.__dict__["exceptions"].__get__

# The texts of the RuntimeError that Python puts in the place of one of these two.
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
    """Returns the text of an exception; where it has none, a text that says so."""
    try:
        text = _text(error)
        return text if text[:MAX_SHOWN_CHARS].strip() else NO_MESSAGE
    except BaseException as failure:  # noqa: BLE001 - a broken __str__ must not hide the error that it belongs to
        return no_text(failure)


def text_of(value: object) -> str:
    """Returns the ``str`` of what may be anything; where that fails, a text that says so."""
    try:
        # Python writes all of a container at once, and lets no other thread run meanwhile.
        return clipped_repr(value, MAX_SHOWN_CHARS) if type(value) in _CONTAINERS else exact_text(str(value))
    except BaseException as failure:  # noqa: BLE001 - as of an exception's own text
        return no_text(failure)


def no_text(failure: BaseException) -> str:
    """Says that a ``__str__`` failed."""
    return f"<no text: its __str__ raised {class_name(type(failure))}>"


def further_text(error: BaseException) -> str:
    """Returns the lines below the text of an exception, each with a line break before it; mostly none."""
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
    """Returns what led to an exception, as far as that is told: its cause, else what was being handled."""
    cause, context = read_cause(error), read_context(error)
    if cause is not None:
        return None if _is_transport(error, cause) else cause
    told = context is not None and not read_suppressed(error) and _was_handled(error, context)
    return context if told else None


def notes_of(error: BaseException) -> list[str]:
    """Returns the notes of an exception, but for the one that is a traceback of another process."""
    told: list[str] = []
    try:
        notes: Any = getattr(error, "__notes__", None)
        # Anybody may set it to anything.
        if issubclass(type(notes), Sequence) and not issubclass(type(notes), str | bytes):
            texts = map(text_of, islice(notes, MAX_MEMBERS))
            told.extend(text for text in texts if not text.startswith(REMOTE_NOTE))
    except BaseException as failure:  # noqa: BLE001 - as of an exception's own text
        told.append(f"<no notes: {class_name(type(failure))} was raised>")
    return told


def _text(error: BaseException) -> str:
    """Returns the ``str`` of an exception, of its args only as much as anybody reads."""
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
            yield from _told("- ", member, seen, level)
        if len(members) > MAX_MEMBERS:
            yield f"- … and {len(members) - MAX_MEMBERS:,} more"
    before = led_from(error)
    if before is not None:
        yield from _told("caused by " if read_cause(error) is before else "raised while handling ", before, seen, level)


def _told(before: str, error: BaseException, seen: set[int], level: int) -> Iterator[str]:
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
    """Tells whether an error of the bridge was made of gRPC's own, which says nothing more."""
    if static_attribute(type(error), "remote_traceback") is ABSENT:
        return False
    modules: list[Any] = [static_attribute(base, "__module__") for base in bases_of(type(cause))[:1]]
    return all(type(module) is str and module.startswith("grpc.") for module in modules)


def _was_handled(error: BaseException, context: BaseException) -> bool:
    """Tells whether the code that raised ``error`` was itself handling ``context``.

    A call within the process runs on its caller's stack: what the caller is handling just then becomes the context of
    what the tool raises, and is none of the tool's business.
    """
    caught, trace = read_traceback(context), read_traceback(error)
    for _ in range(_MAX_FRAMES):
        if caught is None or trace is None:
            return False
        if trace.tb_frame is caught.tb_frame:
            return True
        trace = trace.tb_next
    return False
