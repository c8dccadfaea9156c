"""Processes that were forked from one that uses gRPC.

A forked process has none of gRPC's threads, and the gRPC objects that it inherits hang or crash it. So everything open
is notified of the fork in the new process, and refuses to be used there.
"""

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from grpc_tool_bridge.aio.loop_internals import call_next, runs_here
from grpc_tool_bridge.errors import ProtocolError

_WHAT_TO_DO = "or start the process by spawn and not by fork"


# gRPC would start threads in every forked process, which crash it (signal 11) if gRPC's asyncio was active.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


# The names of the threads of gRPC's core, and how long a fork waits for them to end.
_THREADS = ("event_engine", "grpc_", "lifeguard", "timer_manager", "default-execut", "resolver-execut")
_THREADS_SECONDS = 2.0


class Inherited(Protocol):
    """What is notified of a fork."""

    def forked(self) -> None:
        """Called in the new process, which must not use what its parent has open."""


class _Process:
    """This process.

    Attributes:
        watched: What is notified in a forked process.
        closed: Whether something was closed since gRPC was last seen to be inactive.
        ending: Whether the threads of gRPC's core may not have ended yet.
        polling: Whether gRPC was active at the last fork from this process.
        is_fork: Whether it was forked from one that had the bridge imported.
        broken: Whether gRPC does not work here, because it was active in the parent at the fork.
        ends: Whether a tool forked it in the event loop, so that it ends after that tool's step.
    """

    def __init__(self) -> None:
        self.watched: WeakSet[Inherited] = WeakSet()
        self.closed = False
        self.ending = False
        self.polling = False
        self.broken = False
        self.is_fork = False
        self.ends = False

    def before_fork(self) -> None:
        self.polling = _is_polling()
        if self.polling and self.closed:
            # Reference cycles may still hold what was closed.
            gc.collect()
            self.closed = False
            self.polling = _is_polling()
        if not self.polling and self.ending:
            _wait_for_threads()
            self.ending = False

    def after_fork(self) -> None:
        self.is_fork = True
        self.broken |= self.polling
        for thing in list(self.watched):
            thing.forked()


process = _Process()


def on_fork(
    function: Callable[[], None],
    *,
    before: Callable[[], None] | None = None,
    in_parent: Callable[[], None] | None = None,
) -> None:
    """Calls ``function`` in each process forked from this one, and ``before`` and ``in_parent`` in this process."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before or _nothing, after_in_parent=in_parent or _nothing, after_in_child=function)


def watch(thing: Inherited) -> None:
    """Notifies ``thing`` in processes that are forked from this one."""
    process.watched.add(thing)


def keep(*things: object) -> None:
    """Keeps gRPC objects that must never be freed: inherited ones, and those of an event loop that has ended.

    Freeing them at the end of the process would wait for threads that do not exist, or for that loop.
    """
    import ctypes  # noqa: PLC0415 - few processes need it

    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def note_closed() -> None:
    """Notes that a gRPC object was closed; what is left of it must be gone before the process is forked."""
    process.closed = process.ending = True


def check_usable() -> None:
    """Checks that gRPC works in this process.

    Raises:
        ProtocolError: It does not: this process was forked while gRPC was active.
    """
    if process.broken:
        raise ProtocolError(
            "this process was forked while a bridge, a worker or a hub was open, so that gRPC does not work in it; "
            f"close them before the fork, {_WHAT_TO_DO}"
        )


def is_fork() -> bool:
    """Returns whether this process was forked from one that had the bridge imported."""
    return process.is_fork


def refusal(what: str) -> ProtocolError:
    """Returns the error for using what was opened before the fork."""
    return ProtocolError(
        f"{what} was opened before this process was forked, and belongs to the process that opened it; close it before "
        f"the fork and open a new one here, {_WHAT_TO_DO}"
    )


def end_with_step(loop: asyncio.AbstractEventLoop | None) -> None:
    """Ends this process once the tool that forked it gives ``loop`` a turn: it must not serve beside its parent.

    Args:
        loop: In which tools run; None, or a loop of another thread: does nothing.
    """
    if loop is None or not runs_here(loop):
        return
    process.ends = True
    # Before the other callbacks of this turn, which are for the parent process.
    call_next(loop, os._exit, 1)


def end() -> None:
    """Ends this process, if ``process.ends``: the tool that forked it has returned to the loop.

    The rest of the step, such as sending an answer, may crash in gRPC.
    """
    os._exit(1)


def drop_sockets(address: str) -> None:
    """Closes the sockets of a server that this process has inherited, or whose event loop has ended.

    Otherwise its address would stay in use, and its clients would wait, as long as this process lives. gRPC's file
    descriptors lead to the null device afterwards.
    """
    for name in _descriptors():
        try:
            inherited = socket.socket(fileno=os.dup(name))
        except OSError:
            continue
        with inherited:
            if not _is_at(inherited, address):
                continue
        drop_descriptor(name)


def drop_descriptor(descriptor: int) -> None:
    """Closes a file that this process has inherited; the descriptor leads to the null device afterwards."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor, inheritable=False)
    os.close(nowhere)


def _descriptors() -> list[int]:
    for listing in (Path("/proc/self/fd"), Path("/dev/fd")):
        with contextlib.suppress(OSError):
            return [int(path.name) for path in listing.iterdir()]
    return []


def _is_at(inherited: socket.socket, address: str) -> bool:
    """Returns whether a socket belongs to a server at ``address``, or to one of its connections."""
    try:
        name: object = inherited.getsockname()
    except OSError:
        return False
    if isinstance(name, tuple):
        return not address.startswith("unix") and address.rpartition(":")[2] == str(name[1])
    text = os.fsdecode(name) if isinstance(name, bytes | str) else ""
    return (
        bool(text) and address.startswith("unix") and address.partition(":")[2].removeprefix("//") == text.lstrip("\0")
    )


def _is_polling() -> bool:
    """Returns whether gRPC's asyncio has its thread, as it does while a channel, a server or a call exists."""
    return any("PollerCompletionQueue" in repr(getattr(thread, "_target", None)) for thread in threading.enumerate())


def _wait_for_threads() -> None:
    """Waits until the threads of gRPC's core have ended, some milliseconds after the last object was closed.

    A process that is forked earlier inherits their locks, which are never released.
    """
    end = time.monotonic() + _THREADS_SECONDS
    while _has_threads() and time.monotonic() < end:
        time.sleep(0.001)


def _has_threads() -> bool:
    """Returns whether a thread has a name of gRPC's core; False if the system does not provide names."""
    for task in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):
            if task.read_text().startswith(_THREADS):
                return True
    return False


def _nothing() -> None:
    """Does nothing: the default hook."""


on_fork(process.after_fork, before=process.before_fork)
