"""Writes to a gRPC stream that are begun at once and awaited later, without a task."""

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

    def __await__(self) -> Generator[Any, None, None]:
        if self._error is not None:
            raise self._error
        if not self._done:
            try:
                yield from go_on(self._write, self._waits_for)
            finally:
                self._done = True
