"""What is used of asyncio beyond its documented interface, and what happens where it is missing.

An event loop may be any, such as uvloop's, and a new Python may lack any of these. Without them everything works; some
takes longer.

| private part | what it tells or does | without it |
| --- | --- | --- |
| ``asyncio.tasks._enter_task``, ``_leave_task`` | runs a step as another task | each coroutine gets a task of its own |
| ``Task._callbacks`` | whether somebody waits for a task's end | it is taken for granted |
| ``Task._log_destroy_pending`` | keeps asyncio from logging a task that never ends | asyncio logs it |
| ``loop._ready`` | whether a loop is about to run something, and what first | it is; in the order of the calls |
| ``transport._call_connection_lost`` | closes a connection whose loop is closed | it closes once nothing refers to it |
| ``loop._thread_id`` | the thread that runs a loop, in a forked process too | the thread of ``note_thread`` |

asyncio's own loops have all of these in Python 3.11 to 3.14. uvloop's have the same tasks, but no ``_ready`` and no
``_thread_id``.
"""

import asyncio
import os
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

try:
    from asyncio.tasks import _enter_task, _leave_task
except ImportError:  # pragma: no cover - no release of Python so far
    _enter_task = _leave_task = None  # type: ignore[assignment]  # read by ``can_switch_tasks``

_switches: Any = _enter_task
# Functions of C, and names of attributes that may be missing: they are used for each call, and a function of their own
# would cost more than what they do. ``enter`` and ``leave`` work if ``can_switch_tasks`` says so.
enter, leave = _enter_task, _leave_task
CALLBACKS, READY = "_callbacks", "_ready"

# By loop, the thread that runs it.
_threads: "WeakKeyDictionary[asyncio.AbstractEventLoop, int]" = WeakKeyDictionary()


def can_switch_tasks() -> bool:
    """Returns whether ``enter`` and ``leave`` work."""
    return _switches is not None


def never_ends(task: "asyncio.Task[Any]") -> None:
    """Stops asyncio from logging that a task, which will never run again, was destroyed."""
    with suppress(AttributeError):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way


def call_next(loop: asyncio.AbstractEventLoop, callback: Any, *args: Any) -> None:
    """Calls ``callback`` in a loop's next step: before all that waits already, if that can be done."""
    loop.call_soon(callback, *args)
    ready = getattr(loop, READY, None)
    if isinstance(ready, deque):
        ready.rotate(1)


def note_thread(loop: asyncio.AbstractEventLoop) -> None:
    """Notes that the current thread runs a loop, for ``thread_of``."""
    _threads[loop] = threading.get_ident()


def thread_of(loop: asyncio.AbstractEventLoop) -> int | None:
    """Returns the thread that runs a loop, or ran it when this process was forked; None if none does or is known."""
    thread: int | None = getattr(loop, "_thread_id", None)
    return _threads.get(loop) if thread is None and loop.is_running() else thread


def runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Returns whether the current thread runs a loop, even in a forked process, where asyncio knows of none."""
    return thread_of(loop) == threading.get_ident()


def close_stranded(transport: asyncio.BaseTransport) -> None:
    """Closes a connection whose event loop is closed: the peer sees its end."""
    with suppress(OSError), socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)
    lose: Any = getattr(transport, "_call_connection_lost", None)
    if lose is not None:
        # What it tells wants to run in the loop.
        with suppress(RuntimeError):
            lose(None)
