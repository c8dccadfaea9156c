"""The async API for callers without an event loop."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from grpc_tool_bridge.aio.forks import is_fork, refusal
from grpc_tool_bridge.aio.loop_internals import note_thread, thread_of
from grpc_tool_bridge.aio.loops import running_loop

T = TypeVar("T")


class LoopCall(Generic[T]):
    """A coroutine that an event loop runs for a caller in another thread.

    ``asyncio.run_coroutine_threadsafe`` always makes the coroutine's first step, even if it was cancelled before. This
    one either starts or is withdrawn, never both.

    Args:
        loop: The event loop.
        make: Returns the coroutine; called in the loop when the call starts.

    Attributes:
        future: Its outcome; ``concurrent.futures.CancelledError`` if the loop cancelled it.

    Raises:
        RuntimeError: The loop is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.future: Future[T] = Future()
        self._loop = loop
        self._make = make
        self._task: asyncio.Task[Any] | None = None
        self._error: BaseException | None = None
        loop.call_soon_threadsafe(self._schedule)

    def withdraw(self) -> bool:
        """Withdraws the call, from any thread; cancels it if it has started.

        Returns:
            Whether it had not started, and so never will.
        """
        if self.future.cancel():
            return True
        if not self.future.done():
            # The loop may be closed.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cancel)
        return False

    def _schedule(self) -> None:
        if not self.future.cancelled():
            self._task = asyncio.ensure_future(self._run())
            self._task.add_done_callback(self._end)

    async def _run(self) -> T | None:
        # This decides: from here on, withdraw() finds that the call has started.
        if not self.future.set_running_or_notify_cancel():
            raise asyncio.CancelledError
        try:
            return await self._make()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - handed to who waits; a task that raises SystemExit ends the loop
            self._error = error
            return None

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            # It is still pending if the loop ended before it started.
            if not self.future.cancel() and not self.future.done():
                self.future.set_exception(CancelledError())
        elif self._error is not None:
            self.future.set_exception(self._error)
            self._error = None
        else:
            self.future.set_result(task.result())


# How often a thread that waits for a loop checks that it still runs.
LOOK_SECONDS = 1.0


class AsyncApi:
    """Marks a class whose instances synchronous callers get as a SyncView."""


class InstanceDocstring(Generic[T]):
    """The docstring of a class whose instances each have another one, which is made when it is read.

    Args:
        of_class: The docstring of the class.
        of_instance: Returns the docstring of an instance; None: it has that of the class.
    """

    def __init__(self, of_class: str | None, of_instance: Callable[[T], str | None]) -> None:
        self._of_class = of_class
        self._of_instance = of_instance

    def __get__(self, instance: T | None, owner: type) -> str | None:
        own = None if instance is None else self._of_instance(instance)
        return own or self._of_class


class SyncView(Generic[T]):
    """A blocking view of an object with an async API, for other threads.

    It has the object's attributes and methods, their help and their signatures. Instead of returning an awaitable, a
    method blocks until it is done; async iterators become iterators; objects with an async API, and those in a list or
    a dict, become views.

    Args:
        target: The object.
        loop: The object's event loop, which runs in another thread.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__doc__ = _explained(cls.__doc__)  # type: ignore[assignment]  # what it gives is a text

    def __init__(self, target: T, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._blocking(value) if callable(value) and not isinstance(value, AsyncApi) else self._view(value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the object, if it is callable."""
        return self._blocking(self._target)(*args, **kwargs)  # type: ignore[arg-type]  # as callable as the object

    def __enter__(self) -> "SyncView[T]":
        return self._view(self._run(self._target.__aenter__))  # type: ignore[attr-defined,no-any-return]  # likewise

    def __exit__(self, *exception: object) -> Any:
        return self._run(self._target.__aexit__, *exception)  # type: ignore[attr-defined]  # as for __enter__

    def __dir__(self) -> list[str]:
        # What the view has of its own, and what callers need of the object.
        public = {name for name in dir(self._target) if not name.startswith("_")}
        return sorted(public.union(object.__dir__(self)))

    def __repr__(self) -> str:
        return f"<blocking view of {self._target!r}>"

    def _blocking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            given = [_behind(value) for value in args]
            return self._view(self._run(function, *given, **kwargs))

        # Some callables have no name.
        functools.update_wrapper(call, function, updated=())
        call.__name__ = getattr(function, "__name__", type(function).__name__)
        return call

    def _view(self, value: Any) -> Any:
        if isinstance(value, AsyncApi):
            return SyncView(value, self._loop)
        if isinstance(value, AsyncIterator):
            return self._iterate(value)
        mapped = getattr(value, "mapped", None)
        if mapped is not None and isinstance(value, dict):
            # Not all that such a mapping finds is among its items.
            return mapped(self._view)
        if isinstance(value, Mapping) and any(isinstance(item, AsyncApi) for item in value.values()):
            viewed = {key: self._view(item) for key, item in value.items()}
            # A subclass of dict may have a better error for a missing key.
            return type(value)(viewed) if isinstance(value, dict) else viewed
        if isinstance(value, list) and any(isinstance(item, AsyncApi) for item in value):
            return type(value)(self._view(item) for item in value)
        return value

    def _iterate(self, source: AsyncIterator[Any]) -> Iterator[Any]:
        try:
            while True:
                try:
                    item = self._run(source.__anext__)
                except StopAsyncIteration:
                    return
                yield item
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                self._run(close)

    def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls ``function`` in the loop's thread and waits for its result."""
        if running_loop() is self._loop:
            raise RuntimeError(
                "a blocking view was used inside its own event loop, where it would wait for itself; use await"
            )
        if is_fork():
            self._check_loop()
        try:
            call = LoopCall(self._loop, lambda: _invoke(function, args, kwargs))
        except RuntimeError:
            raise _closed() from None
        try:
            while True:
                try:
                    return call.future.result(LOOK_SECONDS)
                except TimeoutError:
                    # The call itself may have raised it.
                    if call.future.done():
                        return call.future.result()
                self._check_loop()
        except BaseException:
            # Such as KeyboardInterrupt; does nothing if the call has ended.
            call.withdraw()
            raise

    def _check_loop(self) -> None:
        """Raises an error if the loop will never run again, instead of waiting for ever."""
        if self._loop.is_closed():
            raise _closed()
        if not is_fork():
            return
        runs_in = thread_of(self._loop)
        others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
        if runs_in is not None and runs_in not in others:
            raise refusal(f"{self._target!r:.100}")


def _explained(of_class: str | None) -> InstanceDocstring[SyncView[Any]]:
    return InstanceDocstring(of_class, _own_docstring)


def _own_docstring(view: SyncView[Any]) -> str | None:
    target = _behind(view)
    own: str | None = target.__doc__
    return None if own == type(target).__doc__ else own


SyncView.__doc__ = _explained(SyncView.__doc__)  # type: ignore[assignment]  # as for its subclasses


def _closed() -> RuntimeError:
    return RuntimeError("this blocking view was closed, and its event loop with it; get a new one from .sync")


def _behind(value: Any) -> Any:
    """Returns the object behind a view; returns any other object as it is."""
    return value._target if isinstance(value, SyncView) else value  # noqa: SLF001 - the view is of this module


class Portal:
    """An event loop in a thread of its own.

    The thread is a daemon, so that a program that does not close its bridge can end. It is not anyio's portal, for
    which the interpreter may wait for ever at its end when it collects what was left open.
    """

    def __init__(self) -> None:
        # Without a factory, the runner would also set its loop as the current one of this thread.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.loop = self._runner.get_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="tool-bridge-sync", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the loop and its thread."""
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _serve(self) -> None:
        with self._runner:
            self._runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        note_thread(self.loop)
        await self._end.wait()


async def _invoke(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    result = function(*args, **kwargs)
    return await result if isinstance(result, Awaitable) else result
