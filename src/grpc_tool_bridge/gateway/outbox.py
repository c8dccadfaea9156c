"""What a stream has written and its reader has not yet been sent."""

import asyncio
from typing import Any

# The stream goes on when less than this waits to be sent.
FULL_BYTES = 16 * 1024


class Outbox:
    """Parts of a response, between who writes them and who sends them.

    What is written is sent in the next turn of the loop, together with all that was written until then. The keep-alive
    is written whenever nothing else was for too long.

    Args:
        keep_alive: What is written then; it may be empty.
        opens_after: Seconds until the first, so that the reader knows that the stream is open.
        again_after: Seconds until each further one.

    Attributes:
        is_open: Whether something was written.
    """

    def __init__(self, keep_alive: bytes, *, opens_after: float, again_after: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._keep_alive = keep_alive
        self._again_after = again_after
        self._parts: list[bytes] = []
        self._size = 0
        self._closed = False
        self._sender: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._quiet = True
        self._timer = self._loop.call_later(opens_after, self._keep_open)
        self.is_open = False

    @property
    def is_full(self) -> bool:
        """Whether the writer should wait."""
        return self._size >= FULL_BYTES

    def put(self, part: bytes) -> None:
        """Writes a part."""
        self.is_open = True
        self._quiet = False
        self._parts.append(part)
        self._size += len(part)
        _wake(self._sender)

    async def taken(self) -> bool:
        """Waits until what was written is being sent; returns False if nothing more will be."""
        if self._parts and not self._closed:
            self._writer = self._loop.create_future()
            await self._writer
        return not self._closed

    async def wait(self) -> bool:
        """Waits for parts; returns whether there are any, or False if nothing more will come."""
        while not self._parts and not self._closed:
            self._sender = self._loop.create_future()
            await self._sender
        return bool(self._parts)

    def take(self) -> bytes:
        """Returns all that is to be sent."""
        data = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        _wake(self._writer)
        return data

    def close(self, _: Any = None) -> None:
        """Wakes who sends and who writes: there will be nothing more, or nobody who takes it."""
        self._closed = True
        self._timer.cancel()
        _wake(self._sender)
        _wake(self._writer)

    def _keep_open(self) -> None:
        if self._quiet:
            self.put(self._keep_alive)
        self._quiet = True
        self._timer = self._loop.call_later(self._again_after, self._keep_open)


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
