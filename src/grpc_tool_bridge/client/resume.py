"""What goes on over the next connection when one is lost."""

import asyncio
import logging
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
    """What is read, and where its reader is.

    Attributes:
        method: The streaming method that gives it.
        keeps_trying: Whether it is asked for as long as it takes; else a loss is raised once nothing more has come for
            ``CALL_TIMEOUT``.
    """

    method: str
    keeps_trying: bool

    async def request(self, *, again: bool) -> Any:
        """Returns what to ask for, at first or ``again`` after a loss; None: nothing, it is over."""

    async def take(self, message: Any) -> Any:
        """Takes a message, and returns what its reader gets of it; None: nothing, it has come before."""

    def resumes_after(self, error: ToolBridgeError) -> bool:
        """Tells whether the hub may go on with it in a while."""

    def has_progressed(self, seconds: float) -> bool:
        """Tells whether the last stream, which lasted for so long, was a good one."""


async def resumed(caller: Caller, reading: Resumable, *, again: bool = False) -> AsyncGenerator[Any, None]:
    """Iterates over what is read, and goes on over another stream when one is lost.

    Before each further one it waits, longer each time until one has been good.

    Args:
        caller: Makes the calls.
        reading: What is read; it sees to it that nothing is missed and nothing comes twice.
        again: Whether it was lost before.

    Raises:
        ToolBridgeError: What the stream has ended with, where it is not resumed.
    """
    loop = asyncio.get_running_loop()
    waits = back_off()
    give_up_at: float | None = None
    while True:
        began: float | None = None
        try:
            request = await reading.request(again=again)
            if request is None:
                return
            began = loop.time()
            async with aclosing(caller.stream(reading.method, request)) as messages:
                async for message in messages:
                    taken = await reading.take(message)
                    if taken is not None:
                        yield taken
            return  # noqa: TRY300 - it is the body of the loop that ends here
        except ToolBridgeError as error:
            now = loop.time()
            if began is not None and reading.has_progressed(now - began):
                waits, give_up_at = back_off(), None
            if not reading.resumes_after(error):
                raise
            if give_up_at is None:
                give_up_at = now + CALL_TIMEOUT
            elif now > give_up_at and not reading.keeps_trying:
                raise
            _log.debug("%s goes on in a while: %s", reading.method, error)
        await caller.pause(next(waits), reading.method)
        again = True


async def reach(
    attempt: Callable[[float], Awaitable[T]], seconds: float, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> T:
    """Makes an attempt until the hub is there.

    Args:
        attempt: Is given the seconds that are left.
        seconds: How long further attempts are made.
        pause: Waits for so many seconds before each.

    Raises:
        ToolBridgeError: The attempt failed otherwise, or the time is over.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    for wait in back_off():
        try:
            return await attempt(max(0.0, end - loop.time()))
        except ToolCommunicationError as error:
            left = end - loop.time()
            if not is_lost(error) or left <= 0:
                raise
            _log.debug("%s; trying again in %.1f s", error, wait)
            await pause(min(wait, left))
    raise AssertionError("back_off() never ends")


def is_lost(error: ToolBridgeError) -> bool:
    """Tells whether the hub was not reached, or the connection was lost."""
    return isinstance(error, ToolCommunicationError) and error.code_name == "UNAVAILABLE"
