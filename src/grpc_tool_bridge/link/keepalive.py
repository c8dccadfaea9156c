"""Ends a link whose peer says nothing, even when it is asked: it was stopped, it hangs, or the network lost it."""

import asyncio
from typing import NamedTuple, Protocol

# Each of the two waits is counted in so many steps: while this process itself hangs, one step passes and not all.
STEPS = 4


class KeepAlive(NamedTuple):
    """How long a peer may be silent.

    Attributes:
        time: Seconds without anything from the peer after which it is pinged.
        timeout: Seconds that it may then stay silent.
    """

    time: float
    timeout: float


class Watched(Protocol):
    """A link that is kept alive."""

    @property
    def received(self) -> int:
        """A number that changes whenever something was received."""

    def ping(self) -> None:
        """Asks the peer for a sign of life."""

    def abort(self, why: str) -> None:
        """Ends the link."""


class LinkWatch:
    """Pings a silent peer, and ends the link if it stays silent. It costs a timer, and nothing for each frame.

    Args:
        link: The link.
        keepalive: How long its peer may be silent; a quarter of ``time`` more, by the grain of the timer.
        loop: The event loop of the link.
    """

    def __init__(self, link: Watched, keepalive: KeepAlive, loop: asyncio.AbstractEventLoop) -> None:
        self._link = link
        self._keepalive = keepalive
        self._loop = loop
        self._received = link.received
        # Steps since something was received.
        self._silent = 0
        self._timer = loop.call_later(keepalive.time / STEPS, self._step)

    def close(self) -> None:
        """Stops to watch."""
        self._timer.cancel()

    def _step(self) -> None:
        link, (time, timeout) = self._link, self._keepalive
        received = link.received
        if received != self._received:
            self._received, self._silent = received, 0
        else:
            self._silent += 1
        if self._silent == 2 * STEPS:
            link.abort(f"the hub said nothing for {time + timeout:g} s")
            return
        if self._silent == STEPS:
            link.ping()
        wait = time if self._silent < STEPS else timeout
        self._timer = self._loop.call_later(wait / STEPS, self._step)
