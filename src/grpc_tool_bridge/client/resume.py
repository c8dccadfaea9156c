"""Streams that resume over the next connection when one is lost."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.client.caller import Caller
from grpc_tool_bridge.config import CALL_TIMEOUT
from grpc_tool_bridge.errors import ToolBridgeError, ToolCommunicationError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Resumable(Protocol):
    """A stream that can be resumed, and how far it has been read.

    Attributes:
        method: The streaming method.
        keeps_trying: Whether to retry forever; otherwise a loss is raised after ``CALL_TIMEOUT`` without progress.
    """

    method: str
    keeps_trying: bool

    async def request(self, *, again: bool) -> Any:
        """Returns the first request, or the request ``again`` after a loss; None ends the stream."""

    async def take(self, message: Any) -> Any:
        """Returns what the reader gets for a message; None if the message is a repetition."""

    def resumes_after(self, error: ToolBridgeError) -> bool:
        """Returns whether the stream can be resumed after this error."""

    def has_progressed(self, seconds: float) -> bool:
        """Returns whether the last stream, which lasted ``seconds``, made progress."""


async def resumed(
    caller: Caller, reading: Resumable, *, again: bool = False, timeout: float | None = None
) -> AsyncGenerator[Any, None]:
    """Iterates over a stream, and resumes it over another one when it is lost.

    It backs off before each retry, until a stream has made progress.

    Args:
        caller: Makes the calls.
        reading: The stream; its requests make sure that nothing is missed or repeated.
        again: Whether the stream was lost before.
        timeout: Seconds for all streams together, as for ``Caller.stream``; None: no limit.

    Raises:
        ToolBridgeError: The error of the stream, if it cannot be resumed.
    """
    loop = asyncio.get_running_loop()
    end = math.inf if timeout is None else loop.time() + timeout
    waits, pause = back_off(), caller.pauses(reading.method)
    give_up_at: float | None = None
    while True:
        began: float | None = None
        try:
            request = await reading.request(again=again)
            if request is None:
                return
            began = loop.time()
            async with aclosing(caller.stream(reading.method, request, timeout=timeout)) as messages:
                async for message in messages:
                    taken = await reading.take(message)
                    if taken is not None:
                        yield taken
            return  # noqa: TRY300 - it is the body of the loop that ends here
        except ToolBridgeError as error:
            now = loop.time()
            if began is not None and reading.has_progressed(now - began):
                waits, give_up_at = back_off(), None
            wait = next(waits)
            if not reading.resumes_after(error) or now + wait >= end:
                raise
            if give_up_at is None:
                give_up_at = now + CALL_TIMEOUT
            elif now > give_up_at and not reading.keeps_trying:
                raise
            _log.debug("%s will be resumed: %s", reading.method, error)
        await pause(wait)
        again, timeout = True, None if timeout is None else end - loop.time()


async def reach(
    attempt: Callable[[float], Awaitable[T]],
    seconds: float,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    move_on: Callable[[ToolBridgeError], bool] = lambda _: False,
) -> T:
    """Repeats an attempt until the hub is reachable.

    Args:
        attempt: Called with the seconds that are left.
        seconds: How long to keep trying.
        pause: Sleeps for the given seconds between attempts.
        move_on: Called with a hub's own error; returns whether the next attempt is at another hub.

    Raises:
        ToolBridgeError: The attempt failed for another reason, or the time is over.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    for wait in back_off():
        try:
            return await attempt(max(0.0, end - loop.time()))
        except ToolBridgeError as error:
            left = end - loop.time()
            if left <= 0 or not (is_lost(error) or move_on(error)):
                raise
            _log.debug("%s; trying again in %.1f s", error, wait)
            await pause(min(wait, left))
    raise AssertionError("back_off() never ends")


def is_lost(error: ToolBridgeError) -> bool:
    """Returns whether the hub was not reached, or the connection was lost."""
    return isinstance(error, ToolCommunicationError) and error.code_name == "UNAVAILABLE"
