"""Lifespans: what is set up before anything is served, and taken down after the last call has ended."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from grpc_tool_bridge.config.argument_checks import refuse_type
from grpc_tool_bridge.errors import ArgumentTypeError, UnavailableError, ValidationError
from grpc_tool_bridge.runner.functions import FunctionPath, import_named, path_of_named
from grpc_tool_bridge.tools.lifespan_values import NO_LIFESPAN, LifespanValues
from grpc_tool_bridge.tools.tool import Tool

# What a lifespan yields: values by name, or None.
Yielded = Mapping[str, Any] | None
# Takes the server or the worker, and returns what is entered.
Lifespan = Callable[[Any], contextlib.AbstractAsyncContextManager[Yielded] | AsyncIterator[Yielded]]

A_LIFESPAN = (
    "an async context manager function that takes the server or worker, such as an async generator function with "
    "@asynccontextmanager; or a list of them"
)


class Lifespans:
    """The lifespans of a hub, a worker, or a process that runs tools; entered once, in order, and left once.

    One task enters and leaves them all, whichever task starts and closes: a context manager of asyncio may depend on
    that.

    Args:
        functions: The lifespans, in order.

    Attributes:
        values: What they have yielded, by name; empty before they are entered, and after they were left.
        failed: Name of the one that could not be entered or left; empty if there is none.
    """

    def __init__(self, functions: Iterable[Lifespan]) -> None:
        self._functions = list(dict.fromkeys(functions))
        self.values: LifespanValues = NO_LIFESPAN
        self.failed = ""
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._lock = asyncio.Lock()
        self._end = asyncio.Event()

    def __len__(self) -> int:
        return len(self._functions)

    async def start(self, given: Any) -> None:
        """Enters all of them, if that was not done; if one fails, those before it are left.

        Args:
            given: Passed to each of them.

        Raises:
            ValidationError: One is not an async context manager function, or yields no dict; or two yield one name.
            BaseException: Whatever one raises, with a note that names it.
        """
        if not self._functions:
            return
        async with self._lock:
            if self._task is not None:
                return
            entered = asyncio.get_running_loop().create_future()
            self._end = asyncio.Event()
            self._task = asyncio.create_task(self._run(given, entered, self._end), name="lifespan")
            try:
                await asyncio.wait((entered, self._task), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                # One that ignores its cancellation is left as soon as it has been entered.
                self._end.set()
                task, self._task = self._task, None
                task.cancel()
                await asyncio.wait((task,))
                self._error = None
                raise
            if not entered.done():
                # It may be tried again.
                task, self._task = self._task, None
                await task
                self._raise()

    async def aclose(self) -> None:
        """Leaves all of them, in reverse order; does nothing if they were left, or were not entered.

        Raises:
            BaseException: What one raises, with a note that names it; the others were left.
        """
        task = self._task
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            # The event loop in which they were entered has ended, and with it their task.
            return
        self._end.set()
        if task.done():
            return
        await asyncio.wait((task,))
        self._raise()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def _run(self, given: Any, entered: "asyncio.Future[None]", end: asyncio.Event) -> None:
        try:
            await self._live(given, entered, end)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - raised where they are started or closed; SystemExit ends a loop
            self._error = error

    async def _live(self, given: Any, entered: "asyncio.Future[None]", end: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as stack:
            values: dict[str, Any] = {}
            for function in self._functions:
                await self._enter(function, given, stack, values)
            self.values = LifespanValues(values)
            entered.set_result(None)
            stack.callback(self._forget)
            await end.wait()

    async def _enter(
        self, function: Lifespan, given: Any, stack: contextlib.AsyncExitStack, values: dict[str, Any]
    ) -> None:
        name = lifespan_name(function)
        try:
            manager = _manager_of(function, given)
            yielded = await manager.__aenter__()
        except BaseException as error:
            self._note(error, name, "raised by")
            raise

        async def leave() -> None:
            # What another one raises is not its error, and must not keep it from taking down what it has set up.
            try:
                await manager.__aexit__(None, None, None)
            except BaseException as error:
                self._note(error, name, "raised at the end of")
                raise

        stack.push_async_callback(leave)
        try:
            _take(name, yielded, values)
        except BaseException:
            self.failed = name
            raise

    def _note(self, error: BaseException, name: str, what: str) -> None:
        if isinstance(error, asyncio.CancelledError):
            return
        self.failed = name
        error.add_note(f"{what} the lifespan {name}")

    def _forget(self) -> None:
        self.values = NO_LIFESPAN

    def paths(self) -> list[FunctionPath]:
        """Returns where they are defined, for other processes.

        Raises:
            UnavailableError: One cannot be found there by its name.
        """
        return [path_of_named(function, f"the lifespan {lifespan_name(function)}") for function in self._functions]

    def check_processes(self, tools: Iterable[Tool]) -> None:
        """Checks that the processes of tools can find the lifespans.

        Raises:
            ValidationError: One of the tools runs in a process, and a lifespan cannot be found there.
        """
        name = next((tool.spec.name for tool in tools if tool.executor == "process"), None)
        if name is None:
            return
        try:
            self.paths()
        except UnavailableError as error:
            raise ValidationError(f"tool {name!r} runs in a process: {error.message}") from None


def lifespans_of(given: Any) -> Lifespans:
    """Checks an argument that is a lifespan, several, or None.

    Raises:
        ArgumentTypeError: It is something else, or a function of another kind.
    """
    if given is None:
        return Lifespans(())
    found = list(given) if isinstance(given, list | tuple) else [given]
    for function in found:
        check_lifespan("lifespan", function)
    return Lifespans(found)


def check_lifespan(name: str, function: Any) -> None:
    """Refuses what cannot be a lifespan; ``name`` is that of the argument.

    Raises:
        ArgumentTypeError: It cannot be called with one argument, or is a function that cannot be entered.
    """
    if not callable(function):
        refuse_type(name, function, A_LIFESPAN)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        what = "an async function that yields nothing" if inspect.iscoroutinefunction(function) else "not async"
        raise ArgumentTypeError(
            f"{name} {lifespan_name(function)} is {what}; write 'async def' with a yield, and @asynccontextmanager"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None)
    except TypeError:
        raise ArgumentTypeError(
            f"{name} {lifespan_name(function)}{signature} must take one argument: the server or the worker"
        ) from None


def lifespan_name(function: Any) -> str:
    """Returns the name of a lifespan: its module and its name there."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', None) or type(function).__module__}:{name}"


def find_lifespan(path: FunctionPath) -> Lifespan:
    """Imports a lifespan by its path.

    Raises:
        UnavailableError: Its module cannot be imported, or has none of its name.
    """
    found = import_named(path)
    if not callable(found):
        raise UnavailableError(f"{path.tool}: {path.module} has no lifespan {path.qualname}")
    return found  # type: ignore[no-any-return]  # checked when it is entered


def _manager_of(function: Lifespan, given: Any) -> Any:
    manager: Any = function(given)
    if inspect.isasyncgen(manager):
        values: AsyncIterator[Any] = manager
        return contextlib.asynccontextmanager(lambda: values)()
    if not hasattr(type(manager), "__aenter__") or not hasattr(type(manager), "__aexit__"):
        raise ValidationError(
            f"the lifespan {lifespan_name(function)} returned {type(manager).__name__}, which is no async context "
            "manager; write an async generator function with @asynccontextmanager"
        )
    return manager


def _take(name: str, yielded: Any, values: dict[str, Any]) -> None:
    """Adds what a lifespan has yielded."""
    if yielded is None:
        return
    if not isinstance(yielded, Mapping) or not all(isinstance(key, str) for key in yielded):
        raise ValidationError(
            f"the lifespan {name} yields {type(yielded).__name__}; it must yield a dict of values by name, such as "
            "{'db': db}, or nothing"
        )
    twice = next((key for key in yielded if key in values and values[key] is not yielded[key]), None)
    if twice is not None:
        raise ValidationError(f"the lifespan {name} yields {twice!r}, as one before it does; rename one of them")
    values.update(yielded)
