"""Lifespans by themselves: entered once and left once, whichever task asks."""

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from grpc_tool_bridge import ArgumentTypeError, UnavailableError, ValidationError, tool
from grpc_tool_bridge.runner.functions import FunctionPath
from grpc_tool_bridge.runner.lifespans import Lifespans, check_lifespan, find_lifespan, lifespan_name, lifespans_of
from support.patience import PATIENCE
from support.waiting import soon

events: list[str] = []


@pytest.fixture(autouse=True)
def _no_events() -> None:
    events.clear()


@asynccontextmanager
async def first(given: Any) -> AsyncIterator[dict[str, Any]]:
    async with asyncio.TaskGroup():
        # Its scope can only be left by the task that has entered it.
        events.append(f"enter {given}")
        yield {"first": given}
    events.append("leave first")


class Second:
    """A class is a lifespan, too."""

    def __init__(self, given: Any) -> None:
        self.given = given

    async def __aenter__(self) -> None:
        events.append("enter second")

    async def __aexit__(self, *_: object) -> None:
        events.append("leave second")


def process_tool() -> int:
    return 1


async def test_they_are_entered_and_left_once_by_any_task() -> None:
    made = Lifespans([first, Second])
    assert len(made) == 2
    await asyncio.gather(made.start("server"), made.start("server"))
    assert dict(made.values) == {"first": "server"}
    await asyncio.create_task(made.aclose())
    await made.aclose()
    assert events == ["enter server", "enter second", "leave second", "leave first"]
    assert not made.values
    with pytest.raises(KeyError, match="there is no lifespan"):
        made.values["first"]


async def test_without_any_nothing_happens() -> None:
    made = lifespans_of(None)
    await made.start("server")
    await made.aclose()
    assert not made


async def test_a_start_that_failed_can_be_tried_again() -> None:
    tries: list[int] = []

    async def sometimes(_: Any) -> AsyncIterator[dict[str, int]]:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("not yet")
        yield {"n": 1}

    made = Lifespans([first, sometimes])
    with pytest.raises(OSError, match="not yet") as caught:
        await made.start("server")
    name = lifespan_name(sometimes)
    assert caught.value.__notes__ == [f"raised by the lifespan {name}"]
    assert made.failed == name
    assert events == ["enter server", "leave first"]
    await made.start("server")
    assert made.values["n"] == 1
    await made.aclose()


async def test_all_are_left_though_one_fails() -> None:
    async def failing(_: Any) -> AsyncIterator[None]:
        yield
        raise SystemExit(3)

    made = Lifespans([first, failing, Second])
    await made.start("server")
    with pytest.raises(SystemExit) as caught:
        await soon(made.aclose())
    assert events[-2:] == ["leave second", "leave first"]
    assert made.failed == lifespan_name(failing) in caught.value.__notes__[0]


def test_they_are_left_when_their_event_loop_ends() -> None:
    made = Lifespans([first])

    async def start() -> None:
        await made.start("server")

    asyncio.run(start())
    assert events == ["enter server", "leave first"]
    # In another loop there is nothing to leave.
    asyncio.run(made.aclose())


def test_what_cannot_be_one_is_refused() -> None:
    for wrong in (3, "first", [first, None]):
        with pytest.raises(ArgumentTypeError, match="an async context manager function"):
            lifespans_of(wrong)
    check_lifespan("lifespan", Second)
    check_lifespan("lifespan", dict)

    def two(one: Any, other: Any) -> None:
        """Takes too much."""

    with pytest.raises(ArgumentTypeError, match=r"two\(one: Any, other: Any\) -> None must take one argument"):
        check_lifespan("lifespan", two)


def test_processes_find_a_lifespan_by_its_name() -> None:
    made = Lifespans([first])
    (path,) = made.paths()
    assert (path.module, path.qualname) == ("unit.runner.test_lifespans", "first")
    assert find_lifespan(path) is first
    made.check_processes([tool(executor="process")(process_tool)])
    with pytest.raises(UnavailableError, match=r"lifespan x: unit.runner.test_lifespans has no lifespan nothing"):
        find_lifespan(FunctionPath("lifespan x", path.module, "nothing", path.file))


def test_one_that_processes_cannot_find_is_refused_if_there_is_a_tool_for_them() -> None:
    async def local(_: Any) -> AsyncIterator[None]:
        yield

    for hidden in (local, functools.partial(first)):
        made = Lifespans([hidden])
        made.check_processes([tool(process_tool)])
        with pytest.raises(ValidationError, match=r"tool 'process_tool' runs in a process: the lifespan .* top level"):
            made.check_processes([tool(executor="process")(process_tool)])


async def test_a_start_that_was_cancelled_may_be_tried_again() -> None:
    begun, waits = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def waiting(_: Any) -> AsyncIterator[dict[str, Any]]:
        events.append("enter")
        begun.set()
        await waits.wait()
        yield {"waited": True}
        events.append("leave")

    made = Lifespans([waiting])
    starting = asyncio.create_task(made.start("server"))
    await soon(begun.wait())
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    waits.set()
    await made.start("server")
    assert dict(made.values) == {"waited": True}
    await made.aclose()
    assert events == ["enter", "enter", "leave"]


async def test_a_lifespan_that_ignores_its_cancellation_is_left_at_once() -> None:
    begun = asyncio.Event()

    @asynccontextmanager
    async def deaf(_: Any) -> AsyncIterator[None]:
        events.append("enter")
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events.append("cancelled")
        yield
        events.append("leave")

    made = Lifespans([deaf])
    starting = asyncio.create_task(made.start("server"))
    await soon(begun.wait())
    starting.cancel()
    await asyncio.wait([starting], timeout=PATIENCE)
    assert starting.cancelled()
    assert events == ["enter", "cancelled", "leave"]
