"""A timeout that costs nothing if there is nothing to wait for."""

import asyncio
import math
import types
from collections.abc import Awaitable, Generator
from typing import Any

from grpc_tool_bridge.aio.shared_timers import SHARED_FROM, Expiring, expire_after


class ExpiredError(Exception):
    """A timeout of this module. Not a TimeoutError, so that it cannot be confused with one raised inside."""


def was_cancelled() -> bool:
    """Returns, after a CancelledError, whether the running task was cancelled.

    If not, it comes from gRPC, which raises it in calls whose channel was closed.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class TimeLimit:
    """A timeout that several consecutive awaits share, with one timer.

    The clock starts when one of them first suspends. A long timeout shares its timer with others, and may take half a
    second more.

    Args:
        seconds: For all of them in total; may be infinite.
    """

    __slots__ = ("_expired", "_seconds", "_timer", "_together", "_waiting")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        # Those that share a timer with this one.
        self._together: set[Expiring] | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._expired = False

    @types.coroutine
    def wait(self, awaitable: Awaitable[Any]) -> Generator[Any, Any, Any]:
        """Awaits ``awaitable`` for at most the remaining time.

        Raises:
            ExpiredError: The time is over; ``awaitable`` was cancelled.
        """
        steps: Any = awaitable.__await__()
        try:
            waits_for = steps.send(None)
        except StopIteration as result:
            return result.value
        return (yield from self._drive(steps, waits_for))

    def close(self) -> None:
        """Stops the clock."""
        if self._together is not None:
            self._together.discard(self)
        elif self._timer is not None:
            self._timer.cancel()

    def _drive(self, steps: Any, waits_for: Any) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - what suspends is run by a task
        cancelling = task.cancelling()
        if self._together is None and self._timer is None:
            self._start()
        self._waiting = task
        if self._expired:
            task.cancel()
        cancelled: tuple[Any, ...] = ()
        try:
            while True:
                try:
                    yield waits_for
                except GeneratorExit:
                    steps.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - whatever the loop throws in is the awaitable's to handle
                    waits_for = steps.throw(error)
                else:
                    # The interpreter does the rest as above, in less time.
                    return (yield from steps)
        except StopIteration as result:
            return result.value
        except asyncio.CancelledError as error:
            if self._expired and task.uncancel() <= cancelling:
                raise ExpiredError from None
            # A gRPC call keeps the error, whose traceback keeps the call, its channel and gRPC's threads alive.
            error.__traceback__, cancelled = None, error.args
        finally:
            self._waiting = None
            # A task keeps the error that it was cancelled with, and so this stack frame.
            del task, steps, waits_for
        raise asyncio.CancelledError(*cancelled)

    def _start(self) -> None:
        if SHARED_FROM <= self._seconds < math.inf:
            self._together = expire_after(self._seconds, self)
        else:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self.expire)

    def expire(self) -> None:
        """Ends the wait: its time is over."""
        self._expired = True
        if self._waiting is not None:
            self._waiting.cancel()


@types.coroutine
def within(awaitable: Awaitable[Any], seconds: float) -> Generator[Any, Any, Any]:
    """Awaits ``awaitable`` for at most ``seconds``; a faster ``asyncio.timeout``.

    If it is done in its first step, as most calls within the process are, this costs neither a timer nor a look-up of
    the running task.

    Raises:
        ExpiredError: It took longer, and was cancelled.
    """
    steps: Any = awaitable.__await__()
    try:
        waits_for = steps.send(None)
    except StopIteration as result:
        return result.value
    limit = TimeLimit(seconds)
    try:
        return (yield from limit._drive(steps, waits_for))  # noqa: SLF001 - its own module
    finally:
        limit.close()
