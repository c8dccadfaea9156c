"""Writes to a gRPC stream that are begun at once and awaited later, without a task."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from grpc_tool_bridge.eager import go_on


class Write:
    """A write that is under way; awaiting it waits for its end. Unlike a task it takes no turns of the loop.

    Args:
        write: What writes; its first step, which hands the message to gRPC, is done here. Should that fail, so does
            the wait.
    """

    def __init__(self, write: Coroutine[Any, Any, None]) -> None:
        self._write = write
        self._waits_for: Any = None
        self._done = False
        self._error: Exception | None = None
        try:
            self._waits_for = write.send(None)
        except StopIteration:
            self._done = True
        except Exception as error:  # noqa: BLE001 - kept for whoever waits
            self._error = error.with_traceback(None)

    def close(self) -> None:
        """Gives up the wait."""
        self._done = True
        self._write.close()

    def abandon(self) -> None:
        """Leaves it to itself: nobody will wait for its end, nor be told of its failure."""
        waits_for = self._waits_for
        if not self._done and isinstance(waits_for, asyncio.Future):
            waits_for.add_done_callback(_heed)

    def __await__(self) -> Generator[Any, None, None]:
        if self._error is not None:
            raise self._error
        if not self._done:
            try:
                yield from go_on(self._write, self._waits_for)
            finally:
                self._done = True


def _heed(write: asyncio.Future[None]) -> None:
    if not write.cancelled():
        write.exception()
