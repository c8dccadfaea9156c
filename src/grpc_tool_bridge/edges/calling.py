"""Calls of a bridge's tools from where its event loop may not run."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Any, TypeVar

from grpc_tool_bridge.errors import ProtocolError
from grpc_tool_bridge.timeouts import was_cancelled

T = TypeVar("T")

_END = object()

# A loop that does not turn for so long most likely waits for the thread that waits for it.
TURN_SECONDS = 10.0


class HomeLoop:
    """The event loop that a bridge lives in.

    Frameworks call tools from threads and from event loops of their own; each call is made in the bridge's.

    Raises:
        ProtocolError: It is made where no event loop runs.
    """

    def __init__(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ProtocolError(
                "tools for a framework are made in the bridge's event loop; "
                "a program without one uses the same method of bridge.sync"
            ) from None

    async def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Awaits what ``make`` gives, in the bridge's loop whichever loop runs here."""
        if asyncio.get_running_loop() is self._loop:
            return await make()
        try:
            return await asyncio.wrap_future(self._elsewhere(make))
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            raise _ended() from None

    async def iterate(self, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Iterates over what is made in the bridge's loop; closed early, it closes the source."""
        waiting = True

        async def step() -> Any:
            return await anext(source, _END)

        async def close() -> None:
            await source.aclose()

        try:
            while (value := await self.run(step)) is not _END:
                waiting = False
                yield value
                waiting = True
        finally:
            # A step that failed or was cancelled has ended the source itself.
            if not waiting:
                await self.run(close)

    def block(self, name: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Waits in this thread for what ``make`` gives.

        Raises:
            RuntimeError: This thread is the one that the bridge's loop runs in, which would wait for itself; or that
                one waits for this.
            ProtocolError: The loop has ended.
        """
        if self._is_here():
            raise _waits_for_itself(name)
        future = self._elsewhere(make)
        try:
            while not wait((future,), TURN_SECONDS).done:
                self._check_turns(name, future)
            return future.result()
        except CancelledError:
            raise _ended() from None
        except BaseException:
            future.cancel()
            raise

    def _check_turns(self, name: str, future: Future[Any]) -> None:
        turned: Future[Any] = Future()
        try:
            self._loop.call_soon_threadsafe(turned.set_result, None)
        except RuntimeError:
            raise _ended() from None
        if not wait((future, turned), TURN_SECONDS, return_when=FIRST_COMPLETED).done:
            raise _waits_for_itself(name)

    def _is_here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _elsewhere(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        if not self._loop.is_running():
            raise _ended()
        return asyncio.run_coroutine_threadsafe(make(), self._loop)


def _waits_for_itself(name: str) -> RuntimeError:
    return RuntimeError(
        f"{name} was called synchronously while the event loop of its bridge waits, so both would wait for ever; await "
        "the asynchronous call, or make the synchronous one where that loop does not wait for it (asyncio.to_thread)"
    )


def _ended() -> ProtocolError:
    return ProtocolError("the event loop of the bridge has ended, or does not run now; make its tools anew")
