"""Changes on their way into a durable store."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

from grpc_tool_bridge.errors import ToolBridgeError

# Called in the loop when a change is stored, with None, or when it could not be stored, with the error.
Settled = Callable[[ToolBridgeError | None], None]


class Write:
    """One change on its way into a durable store. Awaiting it waits until it is stored.

    Args:
        settled: Called once, before any who wait for it are told; None: nobody is told.

    Raises (when it is awaited):
        ToolBridgeError: It could not be stored.
    """

    __slots__ = ("_listeners", "_settled", "_waiters", "error", "is_settled")

    def __init__(self, settled: Settled | None = None) -> None:
        self._settled = settled
        # Most writes have one who waits for them, or none.
        self._waiters: list[asyncio.Future[None]] | None = None
        self._listeners: list[Settled] | None = None
        self.is_settled = False
        self.error: ToolBridgeError | None = None

    def settle(self, error: ToolBridgeError | None) -> None:
        """Says that it is stored, or why it could not be; a second time does nothing."""
        if self.is_settled:
            return
        self.is_settled, self.error = True, error
        if self._settled is not None:
            self._settled(error)
        if self._waiters is not None:
            for waiter in self._waiters:
                if not waiter.done():
                    _end(waiter, error)
        if self._listeners is not None:
            for listener in self._listeners:
                listener(error)

    def tell(self, listener: Settled) -> None:
        """Has ``listener`` called after ``settled``, at once if that was.

        It must begin nothing: other changes that came with this one may not have been settled yet.
        """
        if self.is_settled:
            listener(self.error)
        elif self._listeners is None:
            self._listeners = [listener]
        else:
            self._listeners.append(listener)

    def __await__(self) -> Generator[Any, None, None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.is_settled:
            _end(waiter, self.error)
        elif self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters.append(waiter)
        return waiter.__await__()


def _end(waiter: asyncio.Future[None], error: ToolBridgeError | None) -> None:
    if error is None:
        waiter.set_result(None)
        return
    waiter.set_exception(error)
    # Who waits may have been cancelled meanwhile; that is no reason for asyncio to log the error.
    waiter.exception()


# For what is stored already, or need not be.
STORED = Write()
STORED.settle(None)
