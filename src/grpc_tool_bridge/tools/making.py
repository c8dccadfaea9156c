"""Makes the dependencies of one call, and closes them after it: in an event loop, or in the thread of the tool.

Both ways do the same. A tool of the event loop has its blocking providers called in a thread. A tool of a thread has
them called in its own thread, where it can use what they make, and its asynchronous ones in the event loop, all of one
call in one task, as context managers of asyncio need it.
"""

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Protocol

from grpc_tool_bridge.aio.portal import SyncView
from grpc_tool_bridge.aio.threads import ToolThreads
from grpc_tool_bridge.errors import CallCancelledError
from grpc_tool_bridge.tools.depends import Overrides
from grpc_tool_bridge.tools.providers import Dependencies, Making

Work = Callable[[], Awaitable[Any]]
Manager = contextlib.AbstractContextManager[Any]
AsyncManager = contextlib.AbstractAsyncContextManager[Any]


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def _nothing_async() -> AsyncIterator[None]:
    yield


# What functions with these decorators return. Other context managers, such as a connection, are values themselves.
_MANAGER: Any = type(_nothing())
_ASYNC_MANAGER: Any = type(_nothing_async())


class Caller(Protocol):
    """The call that the dependencies are made for; a ToolContext is one."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the call."""
        ...

    @property
    def dependency_overrides(self) -> Overrides:
        """Providers that replace others."""
        ...

    def on_cancelled(self, callback: Callable[[], None]) -> None:
        """Calls ``callback``, from any thread, when the call is cancelled; at once if it was."""


class LoopMaking:
    """Makes the dependencies of a call in its event loop: ``async with`` gives their values by parameter.

    Args:
        dependencies: What to make.
        caller: The call.
        threads: Threads for providers that block; None: they do not, and are called in the loop.
    """

    def __init__(self, dependencies: Dependencies, caller: Caller, threads: ToolThreads | None) -> None:
        self._dependencies = dependencies
        self._caller = caller
        self._threads = threads
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> dict[str, Any]:
        steps = self._dependencies.steps(self._caller, self._caller.dependency_overrides)
        value: Any = None
        try:
            while True:
                try:
                    step = steps.send(value)
                except StopIteration as made:
                    values: dict[str, Any] = made.value
                    return values
                value = await self._made(step)
        except BaseException as error:
            await self._stack.__aexit__(type(error), error, error.__traceback__)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A provider that handles an error of the tool does not undo it: there is no result.
        await self._stack.__aexit__(kind, error, trace)

    async def _made(self, step: Making) -> Any:
        try:
            opening = _Opening(step)
            if step.provider.is_async or self._threads is None:
                value = opening.open()
            else:
                value = await self._open_in_thread(opening, self._threads)
            if opening.manager is not None:
                self._stack.push_async_exit(_Closing(step, self._exit_of(opening.manager)))
                return value
            entered, manager = await _awaited(value)
            if manager is not None:
                self._stack.push_async_exit(_Closing(step, manager.__aexit__))
        except BaseException as error:
            _note(error, step, "raised by")
            raise
        return entered

    async def _open_in_thread(self, opening: "_Opening", threads: ToolThreads) -> Any:
        try:
            return await threads.run(opening.open)
        except asyncio.CancelledError:
            # The thread may go on: what it makes is closed there, unless it was made already.
            manager = opening.leave()
            if manager is not None:
                await threads.run(lambda: manager.__exit__(None, None, None))
            raise

    def _exit_of(self, manager: Manager) -> Callable[..., Awaitable[Any]]:
        threads = self._threads

        async def close(*error: Any) -> Any:
            if threads is None:
                return manager.__exit__(*error)
            return await threads.run(lambda: manager.__exit__(*error))

        return close


class ThreadMaking:
    """Makes the dependencies of a call in the thread of its tool: ``with`` gives their values by parameter.

    Args:
        dependencies: What to make; None: nothing.
        caller: The call. Its event loop runs in another thread.
    """

    def __init__(self, dependencies: Dependencies | None, caller: Caller) -> None:
        self._dependencies = dependencies
        self._caller = caller
        self._stack = contextlib.ExitStack()
        self._keeper: _Keeper | None = None

    def __enter__(self) -> dict[str, Any]:
        if self._dependencies is None:
            return {}
        steps = self._dependencies.steps(self._caller, self._caller.dependency_overrides)
        value: Any = None
        try:
            while True:
                try:
                    step = steps.send(value)
                except StopIteration as made:
                    values: dict[str, Any] = made.value
                    return values
                value = self._made(step)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.__exit__(kind, error, trace)
        finally:
            if self._keeper is not None:
                self._keeper.end()

    def settled(self, value: Any) -> Any:
        """Awaits what a tool returned, as long as that is awaitable; makes a plain iterator of an asynchronous one."""
        while issubclass(type(value), Awaitable):
            value = self._in_loop(functools.partial(_plain_await, value))
        return self.iterate(value) if issubclass(type(value), AsyncIterator) else value

    def iterate(self, values: AsyncIterable[Any]) -> Iterator[Any]:
        """Iterates over what is asynchronous."""
        end = object()
        items = aiter(values)
        try:
            while (item := self._in_loop(lambda: _next_of(items, end))) is not end:
                yield item
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                self._in_loop(close, may_end=False)

    def _made(self, step: Making) -> Any:
        try:
            opening = _Opening(step)
            if step.provider.is_async:
                entered, manager = self._in_loop(lambda: _opened(opening))
            else:
                value = opening.open()
                if opening.manager is not None:
                    self._stack.push(_closing(step, opening.manager.__exit__))
                    return value
                entered, manager = self._in_loop(lambda: _awaited(value)) if _is_async(value) else (value, None)
            if manager is not None:
                self._stack.push(_closing(step, self._exit_of(manager)))
        except BaseException as error:
            _note(error, step, "raised by")
            raise
        return entered

    def _exit_of(self, manager: AsyncManager) -> Callable[..., Any]:
        return lambda *error: self._in_loop(lambda: manager.__aexit__(*error), may_end=False)

    def _in_loop(self, work: Work, *, may_end: bool = True) -> Any:
        """Runs a coroutine in the loop; with ``may_end``, the end of the call cancels it."""
        if self._keeper is None:
            self._keeper = _Keeper(self._caller)
        return self._keeper.run(work, may_end=may_end)


class _Opening:
    """Calls a provider and enters what it returns, in any thread, unless that has to be awaited.

    Attributes:
        manager: What closes the value; None if nothing does, or if the value has to be awaited.
    """

    def __init__(self, step: Making) -> None:
        self.manager: Manager | None = None
        self._step = step
        self._lock = threading.Lock()
        self._left = False

    def open(self) -> Any:
        result = self._step.provider.function(**self._step.kwargs)
        manager: Manager | None = None
        if inspect.isgenerator(result):
            manager = contextlib.contextmanager(lambda: result)()
        elif type(result) is _MANAGER:
            manager = result
        if manager is None:
            return result
        value = manager.__enter__()
        with self._lock:
            if not self._left:
                self.manager = manager
                return value
        manager.__exit__(None, None, None)
        return None

    def leave(self) -> Manager | None:
        """Has the value closed where it is made; returns what closes it if it was made."""
        with self._lock:
            self._left = True
            return self.manager


class _Keeper:
    """Runs coroutines in the event loop of a call, one after another in one task, for a thread that waits for each."""

    def __init__(self, caller: Caller) -> None:
        self._loop = caller.loop
        self._jobs: asyncio.Queue[tuple[Work, bool, asyncio.Future[Any]] | None] = asyncio.Queue()
        self._view = SyncView(self, self._loop)
        self._task: asyncio.Task[None] | None = None
        # Whether the job that runs may be cancelled, and whether it was.
        self._may_end = self._ends = False
        self._is_over = False
        caller.on_cancelled(self._tell)

    def run(self, work: Work, *, may_end: bool) -> Any:
        """Runs a coroutine and returns its result; called by the thread."""
        value, error = self._view.do(work, may_end)
        if error is not None:
            raise error
        return value

    def end(self) -> None:
        """Ends the task; called by the thread."""
        # The loop may have ended before.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._jobs.put_nowait, None)

    async def do(self, work: Work, may_end: bool) -> tuple[Any, BaseException | None]:
        """Has the task run a coroutine; returns its result and its error."""
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name="dependencies of a tool")
        done: asyncio.Future[tuple[Any, BaseException | None]] = self._loop.create_future()
        self._jobs.put_nowait((work, may_end, done))
        await asyncio.wait((done, self._task), return_when=asyncio.FIRST_COMPLETED)
        return done.result() if done.done() else (None, CallCancelledError("the event loop of the call has ended"))

    async def _serve(self) -> None:
        while (job := await self._jobs.get()) is not None:
            work, self._may_end, done = job
            value, error = await self._outcome(work)
            self._may_end = False
            if not done.done():
                done.set_result((value, error))

    async def _outcome(self, work: Work) -> tuple[Any, BaseException | None]:
        """Runs a coroutine; its exception is a value, since it is raised in the thread that waits."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is this one
        if self._may_end and self._is_over:
            return None, _call_is_over()
        try:
            return await work(), None
        except asyncio.CancelledError as error:
            if task.cancelling() > self._ends:
                # The event loop ends.
                raise
            return None, _call_is_over() if self._ends else error
        except BaseException as error:  # noqa: BLE001 - see above
            return None, error
        finally:
            if self._ends:
                self._ends = False
                task.uncancel()

    def _tell(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        self._is_over = True
        if self._may_end and self._task is not None and not self._ends:
            self._ends = True
            self._task.cancel()


class _Closing:
    """Closes a value at the end of an ``AsyncExitStack``, and notes what it raises."""

    def __init__(self, step: Making, close: Callable[..., Awaitable[Any]]) -> None:
        self._step, self._close = step, close

    async def __call__(self, kind: Any, error: BaseException | None, trace: Any) -> Any:
        try:
            return await self._close(kind, error, trace)
        except BaseException as failure:
            if failure is not error:
                _note(failure, self._step, "raised while closing")
            raise


def _closing(step: Making, close: Callable[..., Any]) -> Callable[..., Any]:
    """As ``_Closing``, for an ``ExitStack``."""

    def exit_(kind: Any, error: BaseException | None, trace: Any) -> Any:
        try:
            return close(kind, error, trace)
        except BaseException as failure:
            if failure is not error:
                _note(failure, step, "raised while closing")
            raise

    return exit_


def _note(error: BaseException, step: Making, what: str) -> None:
    """Says in an exception of a provider where it comes from."""
    if issubclass(type(error), asyncio.CancelledError | GeneratorExit):
        return
    note = f"{what} the dependency '{step.parameter}' ({step.provider.name})"
    # Its attributes may be the provider's own; and an exception may be raised again and again.
    with contextlib.suppress(Exception):
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def _is_async(value: Any) -> bool:
    return inspect.isasyncgen(value) or type(value) is _ASYNC_MANAGER or issubclass(type(value), Awaitable)


async def _opened(opening: _Opening) -> tuple[Any, AsyncManager | None]:
    return await _awaited(opening.open())


async def _awaited(value: Any) -> tuple[Any, AsyncManager | None]:
    """Awaits or enters what a provider has returned; returns the value, and what closes it if something does."""
    manager: AsyncManager | None = None
    if inspect.isasyncgen(value):
        manager = contextlib.asynccontextmanager(lambda: value)()
    elif type(value) is _ASYNC_MANAGER:
        manager = value
    if manager is not None:
        return await manager.__aenter__(), manager
    return (await value if issubclass(type(value), Awaitable) else value), None


async def _plain_await(value: Awaitable[Any]) -> Any:
    return await value


async def _next_of(items: AsyncIterator[Any], end: object) -> Any:
    return await anext(items, end)


def _call_is_over() -> CallCancelledError:
    return CallCancelledError("the call was cancelled or timed out while its dependencies were made")
