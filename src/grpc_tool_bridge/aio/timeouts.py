"""A timeout that costs nothing where there is nothing to wait for."""

import asyncio
import types
from collections.abc import Awaitable, Generator
from typing import Any


class ExpiredError(Exception):
    """What was awaited took too long. No TimeoutError, so that one from inside is not taken for it."""


def was_cancelled() -> bool:
    """Tells, on a CancelledError, whether somebody cancelled the running task.

    Otherwise it comes from the transport: gRPC ends so what waits on a channel that is closed.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class TimeLimit:
    """A time that several awaits in a row share; all of them cost one timer.

    The clock starts when one of them first suspends.

    Args:
        seconds: For all of them together.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._expired = False

    @types.coroutine
    def wait(self, awaitable: Awaitable[Any]) -> Generator[Any, Any, Any]:
        """Awaits ``awaitable`` in what is left of the time.

        Raises:
            ExpiredError: The time is over; what was awaited has been cancelled.
        """
        steps: Any = awaitable.__await__()
        try:
            waits_for = steps.send(None)
        except StopIteration as result:
            return result.value
        return (yield from self._drive(steps, waits_for))

    def close(self) -> None:
        """Stops the clock."""
        if self._timer is not None:
            self._timer.cancel()

    def _drive(self, steps: Any, waits_for: Any) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - what suspends is run by a task
        cancelling = task.cancelling()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)
        self._waiting = task
        if self._expired:
            task.cancel()
        cancelled: tuple[Any, ...] = ()
        try:
            while True:
                try:
                    sent = yield waits_for
                except GeneratorExit:
                    steps.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - whatever the loop throws in is the awaitable's to handle
                    waits_for = steps.throw(error)
                else:
                    waits_for = steps.send(sent)
        except StopIteration as result:
            return result.value
        except asyncio.CancelledError as error:
            if self._expired and task.uncancel() <= cancelling:
                raise ExpiredError from None
            # A call of gRPC keeps the error, and with its traceback itself, its channel and all of gRPC's threads.
            error.__traceback__, cancelled = None, error.args
        finally:
            self._waiting = None
            # A task keeps the error that it was cancelled with, and that this frame.
            del task, steps, waits_for
        raise asyncio.CancelledError(*cancelled)

    def _expire(self) -> None:
        self._expired = True
        if self._waiting is not None:
            self._waiting.cancel()


@types.coroutine
def within(awaitable: Awaitable[Any], seconds: float) -> Generator[Any, Any, Any]:
    """Awaits ``awaitable`` for at most ``seconds``; ``asyncio.timeout`` for the path of every call.

    What is done at its first step, as a call within the process mostly is, costs neither a timer nor a look at the
    running task.

    Raises:
        ExpiredError: It took longer; it has been cancelled.
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
