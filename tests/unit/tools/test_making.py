"""Dependencies are made and closed alike, in an event loop and in a thread."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from grpc_tool_bridge import CallCancelledError, Depends, ToolContext
from grpc_tool_bridge.aio.threads import ToolThreads
from grpc_tool_bridge.tools.making import LoopMaking, ThreadMaking
from grpc_tool_bridge.tools.providers import Dependencies
from support.waiting import soon, until

WAYS = ("loop", "loop without threads", "thread")
events: list[str] = []


@pytest.fixture(autouse=True)
def _no_events() -> None:
    events.clear()


def plain() -> str:
    return "plain"


async def coroutine() -> str:
    await asyncio.sleep(0)
    return "coroutine"


def generator() -> Iterator[str]:
    events.append("open generator")
    try:
        yield "generator"
    finally:
        events.append("close generator")


async def async_generator() -> AsyncIterator[str]:
    events.append("open async")
    try:
        yield "async generator"
    finally:
        await asyncio.sleep(0)
        events.append("close async")


@contextmanager
def manager() -> Iterator[str]:
    yield from generator()


@asynccontextmanager
async def async_manager() -> AsyncIterator[str]:
    async for item in async_generator():
        yield item


def later() -> Any:
    """Only its result tells that it is asynchronous."""
    return coroutine()


def later_generator() -> Any:
    return async_generator()


class Connection:
    """A context manager that is the value itself."""

    def __enter__(self) -> str:
        raise AssertionError

    def __exit__(self, *_: object) -> None:
        """Is never left."""


async def make(
    way: str,
    *providers: Callable[..., Any],
    body: Callable[[dict[str, Any]], Any] = dict,
    ctx: ToolContext | None = None,
) -> Any:
    """Makes the values of providers, and returns what ``body`` makes of them before they are closed."""
    dependencies = Dependencies({f"p{number}": Depends(each) for number, each in enumerate(providers)}, "f")
    context = ctx or ToolContext.for_test()
    if way == "thread":

        def run() -> Any:
            with ThreadMaking(dependencies, context) as made:
                return body(made)

        return await ToolThreads(1).run(run)
    async with LoopMaking(dependencies, context, ToolThreads(2) if way == "loop" else None) as values:
        return body(values)


@pytest.mark.parametrize("way", WAYS)
async def test_every_kind_of_provider_gives_its_value(way: str) -> None:
    kinds = [plain, coroutine, generator, async_generator, manager, async_manager, later, later_generator]
    made = await soon(make(way, *kinds))
    names = ["plain", "coroutine", "generator", "async generator"]
    assert list(made.values()) == [*names, *names[2:], "coroutine", "async generator"]
    assert events == [
        *("open generator", "open async") * 2,
        "open async",
        "close async",
        *("close async", "close generator") * 2,
    ]


@pytest.mark.parametrize("way", WAYS)
async def test_a_context_manager_that_is_returned_is_the_value(way: str) -> None:
    assert isinstance((await soon(make(way, Connection)))["p0"], Connection)


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_provider_raises_closes_those_before_it_and_is_noted(way: str) -> None:
    def broken() -> None:
        raise OSError("no disk")

    async def broken_async() -> None:
        raise OSError("no disk")

    for provider in (broken, broken_async):
        events.clear()
        with pytest.raises(OSError, match="no disk") as caught:
            await soon(make(way, generator, async_generator, provider))
        assert caught.value.__notes__ == [f"raised by the dependency 'p2' ({provider.__name__})"]
        assert events == ["open generator", "open async", "close async", "close generator"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_stop_iteration_of_a_provider_is_an_error(way: str) -> None:
    def stops() -> None:
        raise StopIteration(7)

    with pytest.raises((RuntimeError, StopIteration)):
        await soon(make(way, generator, stops))
    assert events == ["open generator", "close generator"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_generator_that_yields_nothing_is_an_error(way: str) -> None:
    def nothing() -> Iterator[int]:
        yield from ()

    with pytest.raises(RuntimeError, match="didn't yield"):
        await soon(make(way, nothing))


@pytest.mark.parametrize("way", WAYS)
async def test_an_error_of_the_body_reaches_every_provider_and_its_caller(way: str) -> None:
    seen: list[str] = []

    def watching() -> Iterator[int]:
        try:
            yield 1
        except ValueError as error:
            seen.append(str(error))

    async def watching_async() -> AsyncIterator[int]:
        try:
            yield 1
        except ValueError as error:
            seen.append(str(error))
            raise

    def fail(_: Any) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as caught:
        await soon(make(way, watching, watching_async, body=fail))
    assert seen == ["mine", "mine"]
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_provider_raises_at_its_end_is_noted_and_the_others_are_closed(way: str) -> None:
    def late() -> Iterator[int]:
        yield 1
        raise OSError("late")

    async def late_async() -> AsyncIterator[int]:
        yield 1
        raise OSError("late")

    for provider in (late, late_async):
        events.clear()
        with pytest.raises(OSError, match="late") as caught:
            await soon(make(way, generator, provider))
        assert caught.value.__notes__ == [f"raised while closing the dependency 'p1' ({provider.__name__})"]
        assert events == ["open generator", "close generator"]


async def test_blocking_providers_of_the_loop_run_in_other_threads_and_those_of_a_thread_in_it() -> None:
    def ident() -> Iterator[int]:
        yield threading.get_ident()

    here = threading.get_ident()
    assert (await soon(make("loop without threads", ident)))["p0"] == here
    assert (await soon(make("loop", ident)))["p0"] != here
    made, thread = await soon(make("thread", ident, body=lambda made: (made["p0"], threading.get_ident())))
    assert made == thread != here


async def test_asynchronous_providers_of_a_thread_are_cancelled_with_their_call() -> None:
    began, context = asyncio.Event(), ToolContext.for_test()

    async def endless() -> int:
        began.set()
        await asyncio.get_running_loop().create_future()
        return 1

    making = asyncio.ensure_future(make("thread", async_generator, endless, ctx=context))
    await soon(began.wait())
    context.mark_cancelled()
    with pytest.raises(CallCancelledError, match="while its dependencies were made"):
        await soon(making)
    assert events == ["open async", "close async"]
    # Of a call that is over, nothing more is made.
    with pytest.raises(CallCancelledError):
        await soon(make("thread", coroutine, ctx=context))


async def test_a_provider_of_a_thread_that_cancels_itself_fails() -> None:
    async def cancels() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await soon(make("thread", async_generator, cancels))
    assert events == ["open async", "close async"]


async def test_a_thread_awaits_what_its_tool_returned_and_reads_what_is_asynchronous() -> None:
    making = ThreadMaking(None, ToolContext.for_test())

    def run() -> tuple[Any, Any]:
        with making as made:
            assert made == {}
            return making.settled(later()), list(making.settled(async_generator()))

    assert await soon(asyncio.to_thread(run)) == ("coroutine", ["async generator"])
    assert events == ["open async", "close async"]


async def test_an_exception_that_is_raised_again_and_again_is_noted_once() -> None:
    error = OSError("always")

    def broken() -> None:
        raise error

    for _ in range(3):
        with pytest.raises(OSError, match="always"):
            await soon(make("loop without threads", broken))
    assert len(error.__notes__) == 1


async def test_a_wait_for_a_thread_that_is_cancelled_has_the_value_closed() -> None:
    entered, go, closed = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        entered.set()
        assert go.wait(60)
        try:
            yield 1
        finally:
            closed.set()

    making = asyncio.ensure_future(make("loop", slow))
    await until(entered.is_set)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(making)
    assert not closed.is_set()
    go.set()
    await until(closed.is_set)
