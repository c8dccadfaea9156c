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
"""

from collections.abc import Iterator, Sequence
from itertools import islice

# All that is said beside the exception's own text; of one text in it; of one group; and of exceptions in exceptions.
MAX_FURTHER_CHARS = 4_096
MAX_TEXT_CHARS = 1_024
MAX_MEMBERS = 20
MAX_NESTING = 8

NO_MESSAGE = "raised without a message"
REMOTE_NOTE = "Remote traceback:\n"

# The texts of the RuntimeError that Python puts in the place of one of these two.
_REPLACED = frozenset(
    f"{what} raised {name}"
    for what in ("coroutine", "generator", "async generator")
    for name in ("StopIteration", "StopAsyncIteration")
)


def as_raised(error: BaseException) -> BaseException:
    """Returns the StopIteration or StopAsyncIteration behind the RuntimeError that Python makes of it."""
    cause = error.__cause__
    replaced = type(error) is RuntimeError and isinstance(cause, StopIteration | StopAsyncIteration)
    return cause if replaced and cause is not None and str(error) in _REPLACED else error


def own_text(error: BaseException) -> str:
    """Returns the text of an exception; where it has none, a text that says so."""
    try:
        text = str(error)
    except BaseException as failure:  # noqa: BLE001 - a broken __str__ must not hide the error that it belongs to
        return f"<no text: its __str__ raised {type(failure).__name__}>"
    return text if text.strip() else NO_MESSAGE


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


def _below(error: BaseException, seen: set[int], level: int) -> Iterator[str]:
    for note in _notes(error):
        yield from _indented("note: ", note)
    if isinstance(error, BaseExceptionGroup):
        for member in islice(error.exceptions, MAX_MEMBERS):
            yield from _told("- ", member, seen, level)
        if len(error.exceptions) > MAX_MEMBERS:
            yield f"- … and {len(error.exceptions) - MAX_MEMBERS:,} more"
    if error.__cause__ is not None:
        if not _is_transport(error, error.__cause__):
            yield from _told("caused by ", error.__cause__, seen, level)
    elif not error.__suppress_context__ and error.__context__ is not None and _was_handled(error, error.__context__):
        yield from _told("raised while handling ", error.__context__, seen, level)


def _told(before: str, error: BaseException, seen: set[int], level: int) -> Iterator[str]:
    error = as_raised(error)
    if id(error) in seen:
        return
    if level == MAX_NESTING:
        yield f"{before}…"
        return
    seen.add(id(error))
    name, text = type(error).__name__, own_text(error)
    yield from _indented(before, name if text == NO_MESSAGE else f"{name}: {text}")
    for line in _below(error, seen, level + 1):
        yield f"  {line}"


def _indented(before: str, text: str) -> Iterator[str]:
    if len(text) > MAX_TEXT_CHARS:
        text = f"{text[:MAX_TEXT_CHARS]}… ({len(text) - MAX_TEXT_CHARS:,} more characters)"
    first, *others = text.splitlines() or [""]
    yield before + first
    for line in others:
        yield f"  {line}"


def _notes(error: BaseException) -> Iterator[str]:
    notes = getattr(error, "__notes__", None)
    # Anybody may set it to anything.
    if isinstance(notes, Sequence) and not isinstance(notes, str | bytes):
        for note in islice(notes, MAX_MEMBERS):
            if not isinstance(note, str):
                yield _shown(note)
            elif not note.startswith(REMOTE_NOTE):
                yield note


def _shown(note: object) -> str:
    try:
        return str(note)
    except BaseException as failure:  # noqa: BLE001 - as of an exception's own text
        return f"<no text: its __str__ raised {type(failure).__name__}>"


def _is_transport(error: BaseException, cause: BaseException) -> bool:
    """Tells whether an error of the bridge was made of gRPC's own, which says nothing more."""
    return hasattr(error, "remote_traceback") and type(cause).__module__.startswith("grpc.")


def _was_handled(error: BaseException, context: BaseException) -> bool:
    """Tells whether the code that raised ``error`` was itself handling ``context``.

    A call within the process runs on its caller's stack: what the caller is handling just then becomes the context of
    what the tool raises, and is none of the tool's business.
    """
    caught = context.__traceback__
    trace = error.__traceback__
    while caught is not None and trace is not None:
        if trace.tb_frame is caught.tb_frame:
            return True
        trace = trace.tb_next
    return False
