"""An answer that comes without a task: what gives it runs already, and says when it is there."""

import asyncio
from collections.abc import Generator
from typing import Any, Generic, TypeVar

from grpc_tool_bridge.aio.eager import Done

T = TypeVar("T")


class Deferred(Generic[T]):
    """The answer of a method that has begun. It is awaited like a coroutine's, or told, which takes no task.

    Attributes:
        is_over: Whether the answer is there.
    """

    __slots__ = ("_done", "_error", "_result", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self._done: Done | None = None
        self._result: T | None = None
        self._error: BaseException | None = None

    def end(self, result: T | None, error: BaseException | None = None) -> None:
        """Gives the answer, or the error; a second time does nothing."""
        if self.is_over:
            return
        self.is_over, self._result, self._error = True, result, error
        done, self._done = self._done, None
        if done is not None:
            done(result, error)

    def on_end(self, done: Done) -> None:
        """Has ``done`` called with the answer, at once if it is there; instead of what was given before."""
        if self.is_over:
            done(self._result, self._error)
        else:
            self._done = done

    def cancel(self) -> None:
        """Ends the wait; what has begun goes on."""
        self.end(None, asyncio.CancelledError())

    def close(self) -> None:
        """Tells nobody, as the ``close`` of a coroutine that is not awaited."""
        self._done = None

    def __await__(self) -> Generator[Any, None, T]:
        if not self.is_over:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def wake(*_: Any) -> None:
                if not waiter.done():
                    waiter.set_result(None)

            self.on_end(wake)
            yield from waiter
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # given with the end
