"""An answer that comes without a task: what gives it runs already, and says when it is there."""

from collections.abc import Generator
from typing import Any, Generic, TypeVar

from grpc_tool_bridge.aio.eager import Done

T = TypeVar("T")


class Deferred(Generic[T]):
    """The answer of a method that has begun: it is awaited like a coroutine, or told to a callback, without a task."""

    __slots__ = ()

    @property
    def is_over(self) -> bool:
        """Whether the answer is there."""
        raise NotImplementedError

    def on_end(self, done: Done) -> None:
        """Has ``done`` called with the answer or the error, at once if it is there. For one caller, who does not await.

        ``done`` must begin nothing: what it is told may be one of several things that end together.
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """Tells a CancelledError if the answer is not there; what has begun goes on."""
        raise NotImplementedError

    def close(self) -> None:
        """Tells nothing, as the ``close`` of a coroutine that is not awaited."""
        raise NotImplementedError

    def __await__(self) -> Generator[Any, None, T]:
        raise NotImplementedError
