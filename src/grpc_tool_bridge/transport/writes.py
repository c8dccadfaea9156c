"""Writes to a gRPC stream that are begun at once and awaited later, without a task."""

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any


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
            self._step(partial(write.send, None))
        except Exception as error:  # noqa: BLE001 - kept for whoever waits
            self._error = error

    def __await__(self) -> Generator[Any, None, None]:
        if self._error is not None:
            raise self._error
        while not self._done:
            try:
                yield self._waits_for
            except BaseException as error:  # noqa: BLE001 - whatever the loop throws in is the write's to handle
                self._step(partial(self._write.throw, error))
            else:
                self._step(partial(self._write.send, None))

    def _step(self, resume: Callable[[], Any]) -> None:
        try:
            self._waits_for = resume()
        except StopIteration:
            self._done = True
        except BaseException:
            self._done = True
            raise
