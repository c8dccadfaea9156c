"""Tools that raise what they are told to, from wherever a tool can run."""

import asyncio
import concurrent.futures
import time
from collections.abc import AsyncIterator, Callable, Iterator

from grpc_tool_bridge import Tool, ToolContext, tool


class Broken(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise KeyError


class Huge(Exception):
    """Has more text than an answer takes."""

    def __str__(self) -> str:
        return "h" * 1_000_000


def _undecodable() -> UnicodeDecodeError:
    return UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


def _group() -> ExceptionGroup[Exception]:
    inner = ExceptionGroup("inner", [KeyError("k"), OSError(2, "No such file", "f.csv")])
    inner.add_note("of the inner one")
    return ExceptionGroup("outer", [ValueError("v"), inner])


def _base_group() -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("outer", [SystemExit(3), ValueError()])


def _noted() -> ValueError:
    error = ValueError("v")
    error.add_note("while reading row 3")
    error.add_note("of two\nlines")
    return error


PRICES: dict[str, float] = {}

# What is raised, by a name.
MAKERS: dict[str, Callable[[], BaseException]] = {
    "StopIteration": lambda: StopIteration("s"),
    "StopAsyncIteration": lambda: StopAsyncIteration("s"),
    "asyncio.CancelledError": lambda: asyncio.CancelledError("c"),
    "concurrent.futures.CancelledError": lambda: concurrent.futures.CancelledError("c"),
    "TimeoutError": lambda: TimeoutError("t"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("k"),
    "GeneratorExit": lambda: GeneratorExit("g"),
    "KeyError": lambda: KeyError("x"),
    "OSError": lambda: OSError(2, "No such file", "f.csv"),
    "UnicodeDecodeError": _undecodable,
    "without a text": ValueError,
    "Broken": Broken,
    "Huge": Huge,
    "group": _group,
    "base group": _base_group,
    "noted": _noted,
}


def _raise(make: Callable[[], BaseException]) -> Callable[[], None]:
    def fail() -> None:
        raise make()

    return fail


def _caused() -> float:
    try:
        return PRICES["price"]
    except KeyError as error:
        raise ValueError("no price") from error


def _handling() -> float:
    try:
        return PRICES["price"]
    except KeyError:
        raise ValueError("no price")  # noqa: B904 - as people write it


def _suppressed() -> float:
    try:
        return PRICES["price"]
    except KeyError:
        raise ValueError("no price") from None


RAISE: dict[str, Callable[[], object]] = {
    **{what: _raise(make) for what, make in MAKERS.items()},
    "caused": _caused,
    "handling": _handling,
    "suppressed": _suppressed,
}


def _fail(what: str) -> None:
    RAISE[what]()


@tool
async def in_coroutine(what: str) -> None:
    """Raises in an async function."""
    _fail(what)


@tool
async def in_coroutine_later(what: str) -> None:
    """Raises in an async function that has waited."""
    await asyncio.sleep(0)
    _fail(what)


@tool
async def in_nested_coroutine(what: str) -> None:
    """Raises in a coroutine that an async function awaits."""

    async def inner() -> None:
        await asyncio.sleep(0)
        _fail(what)

    await inner()


@tool(executor="async")
def on_loop(what: str) -> None:
    """Raises in a function on the event loop."""
    _fail(what)


@tool
def in_thread(what: str) -> None:
    """Raises in a thread."""
    _fail(what)


@tool(executor="process")
def in_process(what: str) -> None:
    """Raises in a process."""
    _fail(what)


@tool
async def in_async_generator(what: str) -> AsyncIterator[int]:
    """Raises in an async generator."""
    yield 1
    _fail(what)


@tool
def in_generator(what: str) -> Iterator[int]:
    """Raises in a generator in a thread."""
    yield 1
    _fail(what)


@tool(executor="async")
def in_generator_on_loop(what: str) -> Iterator[int]:
    """Raises in a generator on the event loop."""
    yield 1
    _fail(what)


@tool(executor="process")
def in_generator_in_process(what: str) -> Iterator[int]:
    """Raises in a generator in a process."""
    yield 1
    _fail(what)


@tool
async def in_called_tool(what: str, ctx: ToolContext) -> None:
    """Raises in a tool that a tool calls."""
    await ctx.call_tool("in_thread", what)


@tool(executor="process")
def sleep_in_process(who: str) -> str:
    """Runs for longer than anybody waits."""
    time.sleep(30)
    return who


@tool(executor="process")
def sleep_in_process_stream(who: str) -> Iterator[str]:
    """Yields once, and runs for longer than anybody waits."""
    yield who
    time.sleep(30)


PLACES: list[Tool] = [
    in_coroutine,
    in_coroutine_later,
    in_nested_coroutine,
    on_loop,
    in_thread,
    in_process,
    in_async_generator,
    in_generator,
    in_generator_on_loop,
    in_generator_in_process,
    in_called_tool,
]
