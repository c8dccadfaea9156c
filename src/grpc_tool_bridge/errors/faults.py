"""Logs exceptions without blocking an event loop, and without running their own code there.

``logging`` formats an exception when the line is written, in the event loop: the whole chain, whatever its ``__str__``
does, and a SystemExit raised there ends the program.
"""

import logging
import threading
from typing import Any

from grpc_tool_bridge.errors import MAX_STACKTRACE_CHARS, wire_text
from grpc_tool_bridge.errors.exception_text import led_from
from grpc_tool_bridge.errors.plain_errors import is_plain
from grpc_tool_bridge.errors.tracebacks import format_error, has_common_traceback

# Threads that format exceptions; while all are busy, further exceptions are logged without a traceback.
MAX_THREADS = 4
_places = threading.BoundedSemaphore(MAX_THREADS)


def log_fault(log: logging.Logger, message: str, *args: Any, error: BaseException, level: int = logging.ERROR) -> None:
    """Logs an exception; never raises and never waits.

    Args:
        log: The logger.
        message: The format string for ``args``, as for ``logging``.
        *args: Arguments of the message: only the bridge's own texts and numbers.
        error: The exception; one that runs its own code when it is formatted is formatted in a thread.
        level: The level of the line.
    """
    if not log.isEnabledFor(level):
        return
    if is_plain(error) and led_from(error) is None and has_common_traceback(error):
        log.log(level, message, *args, exc_info=(type(error), error, error.__traceback__))
        return
    said = message % args
    if not _places.acquire(blocking=False):
        log.log(level, "%s (an exception that is not written: %d others are being written)", said, MAX_THREADS)
        return
    try:
        threading.Thread(target=_write, args=(log, level, said, error), name="fault", daemon=True).start()
    except RuntimeError:
        # The system refuses another thread, or the interpreter is shutting down.
        _places.release()
        log.log(level, "%s (an exception that cannot be written)", said)


def _write(log: logging.Logger, level: int, said: str, error: BaseException) -> None:
    try:
        text = wire_text(format_error(error), MAX_STACKTRACE_CHARS)
        # No exc_info: formatters and handlers would run the exception's code again.
        log.log(level, "%s\n%s", said, text.rstrip())
    finally:
        _places.release()
