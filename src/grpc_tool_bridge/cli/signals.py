"""The signals that end a command: the first lets it finish its work, the second stops it immediately."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from types import FrameType
from typing import Any

from grpc_tool_bridge.aio.forks import on_fork
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cli.exit_codes import INTERRUPTED

_log = logging.getLogger(__name__)

# The handlers that ``ending_signals`` replaces while it runs.
_replaced: dict[signal.Signals, Any] = {}


@contextlib.contextmanager
def ending_signals() -> Iterator["asyncio.Queue[int]"]:
    """Collects SIGINT and SIGTERM; after the second one, a signal has its default effect."""
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[int] = asyncio.Queue()
    seen = 0

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        loop.call_soon_threadsafe(signals.put_nowait, number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    _replaced.update(before)
    try:
        yield signals
    finally:
        _replaced.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def _give_back() -> None:
    """Lets signals end a process that a tool has forked: it has no work to finish.

    An exception such as KeyboardInterrupt would be caught by the tool's caller.
    """
    for number, handler in _replaced.items():
        signal.signal(number, signal.SIG_IGN if handler is signal.SIG_IGN else signal.SIG_DFL)
    _replaced.clear()
    _unblock()


def _block() -> None:
    """Blocks signals while a process is forked: one that came before ``_give_back`` would be lost."""
    if _replaced:
        signal.pthread_sigmask(signal.SIG_BLOCK, _replaced)


def _unblock() -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})


on_fork(_give_back, before=_block, in_parent=_unblock)


async def finish(
    ending: Coroutine[Any, Any, Any], signals: "asyncio.Queue[int]", hurry: Callable[[], Awaitable[object]]
) -> None:
    """Awaits a shutdown; calls ``hurry`` on the next signal."""
    tasks = TaskSet()

    async def hurry_at_next_signal() -> None:
        await signals.get()
        _log.warning("cancelling the calls in flight")
        await hurry()

    tasks.spawn(hurry_at_next_signal(), "second signal")
    try:
        await ending
    finally:
        await tasks.aclose()


def exit_code(number: int) -> int:
    """Returns the exit code of a command that ended on a signal."""
    return INTERRUPTED if number == signal.SIGINT else 0
