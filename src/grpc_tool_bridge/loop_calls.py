"""Calls that one thread hands to the event loop of another, and can take back."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class LoopCall(Generic[T]):
    """A coroutine that an event loop runs for somebody who waits elsewhere.

    ``asyncio.run_coroutine_threadsafe`` always makes the first step of what it was given, even if that was cancelled
    before the loop came to it. This one begins, or it was withdrawn: never both.

    Args:
        loop: What runs it.
        make: Gives the coroutine; it is called in the loop, when the call begins.

    Attributes:
        future: Its outcome; a call that its loop cancelled ends with ``concurrent.futures.CancelledError``.

    Raises:
        RuntimeError: The loop is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.future: Future[T] = Future()
        self._loop = loop
        self._make = make
        self._task: asyncio.Task[Any] | None = None
        self._error: BaseException | None = None
        loop.call_soon_threadsafe(self._schedule)

    def withdraw(self) -> bool:
        """Takes the call back, from any thread; one that has begun is cancelled.

        Returns:
            Whether it had not begun, and so never will.
        """
        if self.future.cancel():
            return True
        if not self.future.done():
            # A loop that is closed runs nothing more.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cancel)
        return False

    def _schedule(self) -> None:
        if not self.future.cancelled():
            self._task = asyncio.ensure_future(self._run())
            self._task.add_done_callback(self._end)

    async def _run(self) -> T | None:
        # The one step that decides: from here on, withdraw() finds that it has begun.
        if not self.future.set_running_or_notify_cancel():
            raise asyncio.CancelledError
        try:
            return await self._make()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - handed to who waits; a task that raises SystemExit ends the loop
            self._error = error
            return None

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            # One whose loop ended before it began is still waiting.
            if not self.future.cancel() and not self.future.done():
                self.future.set_exception(CancelledError())
        elif self._error is not None:
            self.future.set_exception(self._error)
            self._error = None
        else:
            self.future.set_result(task.result())
