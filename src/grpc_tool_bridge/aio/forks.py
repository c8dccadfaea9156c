"""What holds in a process that was forked from one that uses gRPC.

The threads of gRPC are not there in a forked process, and what it inherits of gRPC answers nothing and may end it. So
whatever is open is told of the fork in the new process, and refuses from then on.
"""

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from grpc_tool_bridge.errors import ProtocolError

_WHAT_TO_DO = "or start the process by spawn and not by fork"


# gRPC would start threads of its own in every forked process, which end it by signal 11 where its asyncio was at work.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


# How the threads of gRPC's core are called, and how long a fork waits for them to end.
_THREADS = ("event_engine", "grpc_", "lifeguard", "timer_manager", "default-execut", "resolver-execut")
_THREADS_SECONDS = 2.0


class Inherited(Protocol):
    """What is told of a fork."""

    def forked(self) -> None:
        """Called in the new process, which must not use what the other one has open."""


class _Process:
    """This process.

    Attributes:
        watched: What is told when it is found to be a fork.
        closed: Whether something was closed since gRPC was last seen to be at rest.
        ending: Whether the threads of gRPC's core may not have ended yet.
        polling: Whether gRPC was at work when this process was forked from last.
        is_fork: Whether it was forked from one that had the bridge imported.
        broken: Whether gRPC does not work here, since it was at work where this process was forked from.
        ends: Whether it was forked by a tool in the event loop, and has only the rest of that step to live for.
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
            # What was closed may still be held by a circle that nobody has collected.
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
    """Has ``function`` called in each process that is forked from this one, and the others here around that."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before or _nothing, after_in_parent=in_parent or _nothing, after_in_child=function)


def watch(thing: Inherited) -> None:
    """Has something told when this process is found to be a fork of the one that made it."""
    process.watched.add(thing)


def keep(*things: object) -> None:
    """Keeps for good what must not be freed: what was inherited of gRPC, or lived in an event loop that has ended.

    To free it at the end of the process would wait for threads that are not there, or for that loop.
    """
    import ctypes  # noqa: PLC0415 - few processes need it

    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def note_closed() -> None:
    """Notes that something of gRPC's was closed; what is left of it must not be there when the process is forked."""
    process.closed = process.ending = True


def check_usable() -> None:
    """Refuses to open anything where gRPC does not work.

    Raises:
        ProtocolError: This process was forked while gRPC was at work.
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
    """Returns the error for the use of what was opened before the fork."""
    return ProtocolError(
        f"{what} was opened before this process was forked, and belongs to the process that opened it; close it before "
        f"the fork and make another one here, {_WHAT_TO_DO}"
    )


def end_with_step(loop: asyncio.AbstractEventLoop | None) -> None:
    """Ends this process where what has forked in ``loop`` gives it a turn: it must not serve beside the other one.

    Args:
        loop: In which tools run; None, or one of another thread: nothing is to be done.
    """
    if loop is None or getattr(loop, "_thread_id", None) != threading.get_ident():
        return
    process.ends = True
    loop.call_soon(os._exit, 1)
    # Before what else is to be done in this turn, which is for the other process.
    ready = getattr(loop, "_ready", None)
    if isinstance(ready, deque):
        ready.rotate(1)


def end() -> None:
    """Ends this process, where ``process.ends``: the tool has given the loop back in which it forked.

    What would be done in the rest of the step, such as to send an answer, may have gRPC end it by a signal.
    """
    os._exit(1)


def drop_sockets(address: str) -> None:
    """Gives up the sockets of a server that this process has inherited, or whose event loop has ended.

    They would keep its address taken, and its clients waiting, for as long as this process lives. What gRPC takes for
    them leads nowhere afterwards.
    """
    for name in _descriptors():
        try:
            inherited = socket.socket(fileno=os.dup(name))
        except OSError:
            continue
        with inherited:
            if not _is_at(inherited, address):
                continue
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, name, inheritable=False)
        os.close(nowhere)


def _descriptors() -> list[int]:
    for listing in (Path("/proc/self/fd"), Path("/dev/fd")):
        with contextlib.suppress(OSError):
            return [int(path.name) for path in listing.iterdir()]
    return []


def _is_at(inherited: socket.socket, address: str) -> bool:
    """Returns whether a socket is that of a server, or one of its connections."""
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
    """Returns whether gRPC's asyncio has its thread, as it does while a channel, a server or a call is there."""
    return any("PollerCompletionQueue" in repr(getattr(thread, "_target", None)) for thread in threading.enumerate())


def _wait_for_threads() -> None:
    """Waits until the threads of gRPC's core have ended, as they do some milliseconds after the last thing was closed.

    A process that is forked before that inherits their locks, which nobody gives back.
    """
    end = time.monotonic() + _THREADS_SECONDS
    while _has_threads() and time.monotonic() < end:
        time.sleep(0.001)


def _has_threads() -> bool:
    """Returns whether a thread has a name of gRPC's core; where the system does not tell names, none has."""
    for task in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):
            if task.read_text().startswith(_THREADS):
                return True
    return False


def _nothing() -> None:
    """Is done before a fork where nothing else is."""


on_fork(process.after_fork, before=process.before_fork)
