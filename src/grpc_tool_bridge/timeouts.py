"""A time-out that costs nothing where there is nothing to wait for."""

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


@types.coroutine
def within(awaitable: Awaitable[Any], seconds: float) -> Generator[Any, Any, Any]:
    """Awaits ``awaitable`` for at most ``seconds``; ``asyncio.timeout`` for the path of every call.

    The clock starts when the awaitable first suspends: one that is done at its first step, as a call within the process
    mostly is, costs neither a timer nor a look at the running task.

    Raises:
        ExpiredError: It took longer; it has been cancelled.
    """
    steps: Any = awaitable.__await__()
    try:
        waits_for = steps.send(None)
    except StopIteration as result:
        return result.value
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - what suspends is run by a task
    cancelling = task.cancelling()
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
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
    except asyncio.CancelledError:
        if expired and task.uncancel() <= cancelling:
            raise ExpiredError from None
        raise
    finally:
        timer.cancel()
