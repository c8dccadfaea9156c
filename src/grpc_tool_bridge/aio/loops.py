"""Event loops that may end before the objects that belong to them."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from grpc_tool_bridge.aio.loop_internals import never_ends
from grpc_tool_bridge.errors import ProtocolError

T = TypeVar("T")

# The running loop, or None; takes half the time of ``get_running_loop`` with the error caught.
running_loop = asyncio._get_running_loop  # noqa: SLF001 - public by its documentation

# Loops that gRPC may call after they were closed.
_used: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
# The last closed loops: gRPC may use them without a reference.
_closed: deque[asyncio.AbstractEventLoop] = deque(maxlen=100)


def note_use(loop: asyncio.AbstractEventLoop) -> None:
    """Notes that gRPC is used in a loop."""
    _used.add(loop)


def silence_closed() -> None:
    """Makes closed loops ignore gRPC's callbacks.

    Otherwise gRPC would raise in the loop that delivers them, which would log it and deliver no more in that turn.
    """
    for loop in list(_used):
        if loop.is_closed():
            _used.discard(loop)
            _closed.append(loop)
            for task in asyncio.all_tasks(loop):
                if _is_of_grpc(task):
                    never_ends(task)
            with suppress(AttributeError):
                loop.call_soon_threadsafe = _dropping(loop.call_soon_threadsafe)  # type: ignore[method-assign,assignment]  # of this one loop


def _dropping(original: Callable[..., Any]) -> Callable[..., Any]:
    def call_soon_threadsafe(callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if (getattr(callback, "__module__", None) or "").startswith("grpc."):
            return None
        return original(callback, *args, **kwargs)

    return call_soon_threadsafe


def has_ended(loop: asyncio.AbstractEventLoop) -> bool:
    """Returns whether a loop is closed, or is not running."""
    return loop.is_closed() or not loop.is_running()


def lives_elsewhere(what: str) -> ProtocolError:
    """Returns the error for using what belongs to another loop, which still runs."""
    return ProtocolError(
        f"{what} belongs to another event loop, which still runs: that of bridge.sync, or of another thread; call it "
        "through bridge.sync everywhere, or make one bridge for each event loop"
    )


def ended_with(what: str, instead: str) -> ProtocolError:
    """Returns the error for using what has ended together with its event loop."""
    return ProtocolError(f"{what} belonged to an event loop that has ended, and ended with it; {instead}")


def _is_of_grpc(task: "asyncio.Task[Any]") -> bool:
    coroutine = task.get_coro()
    code = getattr(coroutine, "cr_code", None)
    # Compiled coroutines have no code.
    return "grpc" in getattr(code, "co_filename", "grpc")


def end_tasks(tasks: "list[asyncio.Task[Any]]") -> None:
    """Ends tasks of a loop that does not run here: if it runs again, it cancels them."""
    for task in tasks:
        never_ends(task)
        with suppress(RuntimeError):
            task.get_loop().call_soon_threadsafe(task.cancel)


async def _nothing() -> AsyncGenerator[Any, None]:
    """Returns an empty stream."""
    return
    yield


class LoopStream(AsyncGenerator[T, None], Generic[T]):
    """A stream that may outlive the event loop that it is read in.

    A loop that ends closes the generators that it was reading; the next reader would mistake that for the end.

    Args:
        values: The stream.
        ended: Returns the error for a reader in another loop, if the first one has ended.
        what: The name of the stream in error texts.
        resume: Returns a stream that continues this one; None: it cannot be continued.
    """

    def __init__(
        self,
        values: AsyncGenerator[T, None],
        *,
        what: str,
        ended: Callable[[], Exception],
        resume: Callable[[], AsyncGenerator[T, None] | None] | None = None,
    ) -> None:
        self._values = values
        self._what = what
        self._ended = ended
        self._resume = resume
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = False

    def __aiter__(self) -> "LoopStream[T]":
        return self

    async def __anext__(self) -> T:
        if asyncio.get_running_loop() is not self._loop:
            self._enter()
        try:
            return await self._values.__anext__()
        except BaseException:
            self._over = True
            raise

    async def asend(self, value: None) -> T:
        """As of any generator."""
        del value
        return await self.__anext__()

    async def athrow(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> T:
        """As of any generator."""
        if asyncio.get_running_loop() is not self._loop:
            self._enter()
        error = kind if isinstance(kind, BaseException) else value if isinstance(value, BaseException) else kind()
        try:
            return await self._values.athrow(error.with_traceback(traceback))
        except BaseException:
            self._over = True
            raise

    async def aclose(self) -> None:
        """Closes the stream; does nothing if its loop has ended."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and loop is not self._loop:
            if not self._over and not has_ended(self._loop):
                raise lives_elsewhere(self._what)
            self._over, self._values = True, _nothing()
            return
        self._over = True
        await self._values.aclose()

    def _enter(self) -> None:
        before, self_loop = self._loop, asyncio.get_running_loop()
        if before is not None and not self._over:
            if not has_ended(before):
                raise lives_elsewhere(self._what)
            values = self._resume() if self._resume is not None else None
            if values is None:
                self._over, self._values = True, _nothing()
                raise self._ended()
            self._values = values
        self._loop = self_loop
