"""Calls a bridge's tools from other threads and event loops."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Any, TypeVar

from grpc_tool_bridge.aio.loops import running_loop
from grpc_tool_bridge.aio.portal import LoopCall
from grpc_tool_bridge.aio.timeouts import was_cancelled
from grpc_tool_bridge.errors import ProtocolError

T = TypeVar("T")

_END = object()

# A loop that is blocked for this many seconds most likely waits for the thread that waits for it.
TURN_SECONDS = 10.0


class LoopWaitsError(RuntimeError):
    """A call was refused, because the event loop of its bridge waits for the caller.

    Args:
        name: The tool's.
        began: Whether the tool had started, and was cancelled. Otherwise it never runs.
    """

    def __init__(self, name: str, began: bool = False) -> None:
        # The arguments, so that it can be copied and pickled.
        super().__init__(name, began)
        self.name = name
        self.began = began

    def __str__(self) -> str:
        outcome = "It had started and was cancelled" if self.began else "The tool did not run"
        return (
            f"{self.name} was called synchronously while the event loop of its bridge waits, so both would wait "
            "forever; await the asynchronous call, or make the synchronous one in another thread "
            f"(asyncio.to_thread). {outcome}"
        )


class HomeLoop:
    """The event loop of a bridge.

    Frameworks call tools from their own threads and event loops; this runs each call in the bridge's loop.

    Raises:
        ProtocolError: It is created outside of an event loop.
    """

    def __init__(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ProtocolError(
                "tools for a framework must be created in the bridge's event loop; "
                "a program without one can use the same method of bridge.sync"
            ) from None

    async def run(self, make: Callable[[], Coroutine[Any, Any, T]], *, name: str = "a tool") -> T:
        """Awaits the coroutine from ``make`` in the bridge's loop, from any loop.

        Raises:
            LoopWaitsError: The bridge's loop waits for the running one.
            ProtocolError: The bridge's loop has ended.
        """
        if asyncio.get_running_loop() is self._loop:
            return await make()
        call = self._elsewhere(make)
        ended = asyncio.wrap_future(call.future)
        try:
            while not (await asyncio.wait((ended,), timeout=TURN_SECONDS))[0]:
                turned = asyncio.wrap_future(self._turn())
                await asyncio.wait((ended, turned), timeout=TURN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not turned.done() and not call.future.done():
                    self._refuse(name, call)
            return ended.result()
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            raise _ended() from None
        finally:
            if not ended.done():
                call.withdraw()
                ended.cancel()

    async def iterate(self, source: AsyncGenerator[T, None], *, name: str = "a tool") -> AsyncGenerator[T, None]:
        """Iterates over a generator of the bridge's loop; closing the iterator closes the generator."""
        waiting = True

        async def step() -> Any:
            return await anext(source, _END)

        async def close() -> None:
            await source.aclose()

        try:
            while (value := await self.run(step, name=name)) is not _END:
                waiting = False
                yield value
                waiting = True
        finally:
            # A step that failed or was cancelled has already ended the source.
            if not waiting:
                await self.run(close, name=name)

    def block(self, name: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs the coroutine from ``make`` in the bridge's loop, and blocks this thread until it ends.

        Raises:
            LoopWaitsError: The bridge's loop runs in this thread, or waits for it. A call that had not started never
                runs.
            ProtocolError: The loop has ended.
        """
        if running_loop() is self._loop:
            raise LoopWaitsError(name)
        call = self._elsewhere(make)
        try:
            while not wait((call.future,), TURN_SECONDS).done:
                self._check_turns(name, call)
            return call.future.result()
        except CancelledError:
            raise _ended() from None
        except LoopWaitsError:
            raise
        except BaseException as error:
            # Such as KeyboardInterrupt during the wait.
            if not call.future.done() and not call.withdraw():
                error.add_note(f"{name} had started and was cancelled")
            raise

    def _check_turns(self, name: str, call: LoopCall[Any]) -> None:
        turned = self._turn()
        if not wait((call.future, turned), TURN_SECONDS, return_when=FIRST_COMPLETED).done:
            self._refuse(name, call)

    def _turn(self) -> Future[None]:
        """Returns a future that is done after the loop's next iteration."""
        turned: Future[None] = Future()
        try:
            self._loop.call_soon_threadsafe(turned.set_result, None)
        except RuntimeError:
            raise _ended() from None
        return turned

    def _refuse(self, name: str, call: LoopCall[Any]) -> None:
        withdrawn = call.withdraw()
        if withdrawn or not call.future.done():
            raise LoopWaitsError(name, began=not withdrawn)

    def _elsewhere(self, make: Callable[[], Coroutine[Any, Any, T]]) -> LoopCall[T]:
        if not self._loop.is_running():
            raise _ended()
        try:
            return LoopCall(self._loop, make)
        except RuntimeError:
            raise _ended() from None


def _ended() -> ProtocolError:
    return ProtocolError("the event loop of the bridge has ended, or is not running; create the tools again")
