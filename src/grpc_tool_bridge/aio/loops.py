"""Event loops that things live in, and that may have ended before them."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from grpc_tool_bridge.errors import ProtocolError

T = TypeVar("T")

# The loop that runs here, None if none does; half of what asking and catching the error takes.
running_loop = asyncio._get_running_loop  # noqa: SLF001 - public by its documentation

# Loops that gRPC may have news for after they were closed.
_used: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
# The last of those that were closed: gRPC may name them without holding them.
_closed: deque[asyncio.AbstractEventLoop] = deque(maxlen=100)


def note_use(loop: asyncio.AbstractEventLoop) -> None:
    """Notes that gRPC is used in a loop."""
    _used.add(loop)


def silence_closed() -> None:
    """Lets gRPC drop what it has left to tell to loops that are closed.

    It would raise in whichever loop hands its news on, which would log it and hand on nothing more in that turn.
    """
    for loop in list(_used):
        if loop.is_closed():
            _used.discard(loop)
            _closed.append(loop)
            for task in asyncio.all_tasks(loop):
                if _is_of_grpc(task):
                    _forgive(task)
            with suppress(AttributeError):
                loop.call_soon_threadsafe = _dropping(loop.call_soon_threadsafe)  # type: ignore[method-assign,assignment]  # of this one loop


def _dropping(original: Callable[..., Any]) -> Callable[..., Any]:
    def call_soon_threadsafe(callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if (getattr(callback, "__module__", None) or "").startswith("grpc."):
            return None
        return original(callback, *args, **kwargs)

    return call_soon_threadsafe


def has_ended(loop: asyncio.AbstractEventLoop) -> bool:
    """Returns whether a loop is closed, or does not run now."""
    return loop.is_closed() or not loop.is_running()


def lives_elsewhere(what: str) -> ProtocolError:
    """Returns the error for the use of what lives in another loop, which still runs."""
    return ProtocolError(
        f"{what} lives in another event loop, which still runs: that of bridge.sync, or of another thread; call it "
        "through bridge.sync wherever it is used, or make a bridge of its own for each event loop"
    )


def ended_with(what: str, instead: str) -> ProtocolError:
    """Returns the error for the use of what ended with the event loop that it lived in."""
    return ProtocolError(f"{what} lived in an event loop that has ended, and ended with it; {instead}")


def _is_of_grpc(task: "asyncio.Task[Any]") -> bool:
    coroutine = task.get_coro()
    code = getattr(coroutine, "cr_code", None)
    # Those that were compiled have no code.
    return "grpc" in getattr(code, "co_filename", "grpc")


def _forgive(task: "asyncio.Task[Any]") -> None:
    """Lets a task that nobody will ever run again pass for no mistake of the program's."""
    with suppress(AttributeError):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way to say so


def end_tasks(tasks: "list[asyncio.Task[Any]]") -> None:
    """Ends tasks of a loop that does not run here: where it runs again, it cancels them."""
    for task in tasks:
        _forgive(task)
        with suppress(RuntimeError):
            task.get_loop().call_soon_threadsafe(task.cancel)


async def _nothing() -> AsyncGenerator[Any, None]:
    """Is a stream that is over."""
    return
    yield


class LoopStream(AsyncGenerator[T, None], Generic[T]):
    """A stream that may outlive the event loop that it is read in.

    A loop that ends closes the generators that it was reading; the next reader would take that for the end.

    Args:
        values: The stream.
        ended: Makes the error for a reader in another loop, where the first one has ended.
        what: Whose stream it is, for texts.
        resume: Makes the stream that goes on where this one was; None: it cannot.
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
        """Ends the stream; one whose loop has ended is over already."""
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
