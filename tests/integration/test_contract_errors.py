"""What a tool raises, and what a call is told whose time is over: over every transport, at the hub and at a worker."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from grpc_tool_bridge import Settings, ToolContext, ToolExecutionError, ToolTimeoutError, ToolWorker, tool
from grpc_tool_bridge.errors import MAX_MESSAGE_CHARS
from integration import error_tools
from integration.connections import Connect, World
from support.patience import PATIENCE
from support.waiting import soon, until

# Class and text of what arrives, by what was raised.
TOLD = {
    "StopIteration": ("StopIteration", "s"),
    "StopAsyncIteration": ("StopAsyncIteration", "s"),
    "asyncio.CancelledError": ("CancelledError", "c"),
    "concurrent.futures.CancelledError": ("CancelledError", "c"),
    "TimeoutError": ("TimeoutError", "t"),
    "SystemExit": ("SystemExit", "3"),
    "KeyboardInterrupt": ("KeyboardInterrupt", "k"),
    "GeneratorExit": ("GeneratorExit", "g"),
    "KeyError": ("KeyError", "'x'"),
    "OSError": ("FileNotFoundError", "[Errno 2] No such file: 'f.csv'"),
    "UnicodeDecodeError": (
        "UnicodeDecodeError",
        "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
    "without a text": ("ValueError", "raised without a message"),
    "Broken": ("Broken", "<no text: its __str__ raised KeyError>"),
    "Huge": ("Huge", "h" * 100),
    "group": (
        "ExceptionGroup",
        """\
outer (2 sub-exceptions)
- ValueError: v
- ExceptionGroup: inner (2 sub-exceptions)
  note: of the inner one
  - KeyError: 'k'
  - FileNotFoundError: [Errno 2] No such file: 'f.csv'""",
    ),
    "base group": ("BaseExceptionGroup", "outer (2 sub-exceptions)\n- SystemExit: 3\n- ValueError"),
    "noted": ("ValueError", "v\nnote: while reading row 3\nnote: of two\n  lines"),
    "caused": ("ValueError", "no price\ncaused by KeyError: 'price'"),
    "handling": ("ValueError", "no price\nraised while handling KeyError: 'price'"),
    "suppressed": ("ValueError", "no price"),
}


@asynccontextmanager
async def offered(connect: Connect, where: str, *tools: Any, **settings: Any) -> AsyncIterator[World]:
    """A world whose hub or whose worker runs the tools."""
    if where == "hub":
        yield await connect(*tools, **settings)
        return
    world = await connect()
    async with ToolWorker(world.server.address, tools=tools, settings=Settings(shutdown_grace=0.0, **settings)):
        await world.bridge.client.refresh_tools()
        yield world


def _told(error: BaseException) -> tuple[Any, ...]:
    if not isinstance(error, ToolExecutionError):
        return (type(error), str(error))
    first = error.message if len(error.message) < MAX_MESSAGE_CHARS else error.message[:100]
    return (type(error), error.error_type, first, error.details["origin"], error.retryable)


async def failure(call: Awaitable[Any]) -> BaseException:
    """What a call fails with, whatever it is; fails where it does not fail."""
    try:
        result = await soon(call)
    except Exception as error:
        return error
    raise AssertionError(f"it gave {result!r}")


@pytest.mark.parametrize("where", ["hub", "worker"])
async def test_whatever_a_tool_raises_keeps_its_name_and_text_wherever_it_runs(connect: Connect, where: str) -> None:
    assert TOLD.keys() == error_tools.RAISE.keys()
    async with offered(connect, where, *error_tools.PLACES) as world:
        told = {
            (place.spec.name, what): _told(await failure(world.tools[place.spec.name](what)))
            for place in error_tools.PLACES
            for what in TOLD
        }
    expected = {
        (place.spec.name, what): (ToolExecutionError, kind, text, "tool", False)
        for place in error_tools.PLACES
        for what, (kind, text) in TOLD.items()
    }
    assert told == expected


async def test_the_text_of_the_error_has_the_tool_the_class_and_all_that_led_to_it(connect: Connect) -> None:
    world = await connect(error_tools.in_thread)
    error = await failure(world.tools["in_thread"]("caused"))
    assert str(error) == "in_thread: ValueError: no price\ncaused by KeyError: 'price'"
    assert repr(error) == r"""ToolExecutionError('in_thread', 'ValueError', "no price\ncaused by KeyError: 'price'")"""


async def test_what_its_caller_is_handling_is_no_cause_of_a_tool_s_error(connect: Connect) -> None:
    world = await connect(error_tools.in_coroutine, error_tools.on_loop)
    try:
        error_tools.PRICES["of the caller"]
    except KeyError:
        for name in ("in_coroutine", "on_loop"):
            assert str(await failure(world.tools[name]("KeyError"))) == f"{name}: KeyError: 'x'"


async def test_a_stream_with_events_and_a_batch_tell_the_same(connect: Connect) -> None:
    world = await connect(*error_tools.PLACES)
    names = [place.spec.name for place in error_tools.PLACES if place.executor != "process"]
    items = [{"tool_id": name, "args": ["StopIteration"]} for name in names]
    told = [_told(error) for error in await soon(world.bridge.execute_batch(items))]
    for name in names:
        proxy = world.tools[name].with_options(on_progress=lambda progress: None)
        told.append(_told(await failure(proxy("StopIteration"))))
    assert set(told) == {(ToolExecutionError, "StopIteration", "s", "tool", False)}


# ---------------------------------------------------------------------------------------------------------- deadlines


class Held:
    """Tools that run until they are let go, and what has run."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.let_go = threading.Event()
        self.tools = [
            tool(name="thread")(self.in_thread),
            tool(name="short", limits={"timeout_ms": 250})(self.in_thread),
            tool(name="thread_stream")(self.in_thread_stream),
            tool(name="coroutine")(self.in_coroutine),
            tool(name="limited", limits={"max_concurrent_calls": 1})(self.in_coroutine),
            error_tools.sleep_in_process,
            error_tools.sleep_in_process_stream,
        ]

    def in_thread(self, who: str) -> None:
        self.ran.append(who)
        self.let_go.wait(PATIENCE)

    def in_thread_stream(self, who: str) -> Any:
        self.ran.append(who)
        yield who
        self.let_go.wait(PATIENCE)

    async def in_coroutine(self, who: str) -> None:
        self.ran.append(who)
        await asyncio.Event().wait()


def _time_out(name: str, seconds: str, waited_for: str = "") -> tuple[Any, ...]:
    text = f"{name} did not end within its deadline of {seconds} s; "
    if waited_for:
        text += f"it never began, since it waited for {waited_for}, so that it is safe to call it again"
        return (ToolTimeoutError, text, "false", waited_for)
    return (ToolTimeoutError, text + "it had begun, and may have taken effect", "true", None)


def _facts(error: BaseException) -> tuple[Any, ...]:
    assert isinstance(error, ToolExecutionError), repr(error)
    return (type(error), error.message, error.details.get("started"), error.details.get("waited_for"))


@pytest.mark.parametrize("where", ["hub", "worker"])
@pytest.mark.parametrize(
    ("first", "second", "waited_for"),
    [
        ("thread", "thread", "a free thread (max_threads is 1)"),
        ("thread", "thread_stream", "a free thread (max_threads is 1)"),
        ("sleep_in_process", "sleep_in_process", "a process to be free and ready (max_processes is 1)"),
        ("sleep_in_process", "sleep_in_process_stream", "a process to be free and ready (max_processes is 1)"),
        ("limited", "limited", "a permit (tool 'limited' runs 1 at once)"),
    ],
)
async def test_a_call_that_waited_until_its_deadline_never_began_and_says_so(
    connect: Connect, where: str, first: str, second: str, waited_for: str
) -> None:
    held = Held()
    async with offered(connect, where, *held.tools, max_threads=1, max_processes=1) as world:
        running = asyncio.ensure_future(failure(world.tools[first].with_options(timeout=8.0)("first")))
        # Of a process nothing can be seen; it is taken in the order of the calls.
        await until(lambda: world.hub.admission.active if "process" in first else held.ran)
        error = await failure(world.tools[second].with_options(timeout=0.25)("second"))
        assert _facts(error) == _time_out(second, "0.25", waited_for)
        running.cancel()
        held.let_go.set()
    assert "second" not in held.ran


@pytest.mark.parametrize("where", ["hub", "worker"])
@pytest.mark.parametrize("name", ["thread", "thread_stream", "coroutine"])
async def test_a_call_that_ran_until_its_deadline_says_that_it_had_begun(
    connect: Connect, where: str, name: str
) -> None:
    held = Held()
    async with offered(connect, where, *held.tools) as world:
        error = await failure(world.tools[name].with_options(timeout=0.25)("only"))
        assert _facts(error) == _time_out(name, "0.25")
        assert held.ran == ["only"]
        held.let_go.set()


async def test_a_process_that_runs_a_tool_until_its_deadline_had_begun_it(connect: Connect) -> None:
    world = await connect(error_tools.sleep_in_process, error_tools.in_process, max_processes=1)
    # The process is there, then, and ready.
    await failure(world.tools["in_process"]("KeyError"))
    error = await failure(world.tools["sleep_in_process"].with_options(timeout=0.5)("only"))
    assert _facts(error) == _time_out("sleep_in_process", "0.5")


async def test_a_call_that_a_tool_makes_too_late_ends_with_its_caller_s_deadline(connect: Connect) -> None:
    held = Held()

    @tool
    async def outer(ctx: ToolContext) -> None:
        await ctx.call_tool("coroutine", "inner")

    world = await connect(outer, *held.tools)
    error = await failure(world.tools["outer"].with_options(timeout=0.25)())
    assert _facts(error) == _time_out("outer", "0.25")


async def test_a_setting_of_the_call_that_was_taken_for_an_argument_says_where_it_belongs(connect: Connect) -> None:
    world = await connect(error_tools.in_coroutine)
    error = await failure(world.tools["in_coroutine"]("KeyError", timeout=3, metadata={}))
    assert str(error).endswith("for a call's own settings use with_options(timeout=…, metadata=…)")
    assert error.details.keys() == {"timeout", "metadata", "origin"}  # type: ignore[attr-defined]


async def test_that_a_called_tool_never_began_is_not_said_of_its_caller(connect: Connect) -> None:
    held = Held()

    @tool
    async def outer(ctx: ToolContext) -> None:
        await ctx.call_tool("short", "second")

    @tool
    async def first(ctx: ToolContext) -> None:
        await ctx.call_tool("thread", "first")

    # Calls that tools make have threads of their own, of which there is one here.
    world = await connect(outer, first, *held.tools, max_threads=1)
    running = asyncio.ensure_future(failure(world.tools["first"]()))
    await until(lambda: held.ran)
    error = await failure(world.tools["outer"]())
    assert str(error).startswith("outer: TimeoutError: short did not end within its deadline of 0.25 s; it never began")
    assert error.details == {"origin": "tool"}  # type: ignore[attr-defined]
    running.cancel()
    held.let_go.set()
