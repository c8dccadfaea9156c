"""The one call path: every way in and every way out, and that each way out gives back what the call took."""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from typing import Any

import pytest
from google.protobuf import any_pb2

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.errors import CallCancelledError, ToolExecutionError, UnavailableError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    LogRecord,
    Progress,
    ResourceLimits,
    SessionConfig,
    StreamConfig,
    ToolCallRequest,
    ToolCallResponse,
    ToolSpec,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.runner import calls
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.tool import tool
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.patience import PATIENCE
from support.waiting import turns, until


class Bench:
    """An executor with one session, whose accounts must be even at the end."""

    def __init__(self, *tools: Any, **settings: Any) -> None:
        self.store = SessionStore(Settings(**settings))
        self.registry = ToolRegistry(self.store)
        self.registry.register_batch("", tools)
        self.executor = Executor(self.store, self.registry)

    async def open(self, config: SessionConfig | None = None) -> Session:
        return await self.store.create_session("s", config=config)

    async def call(self, tool_id: str, *args: Any, deadline: float | None = None, **fields: Any) -> ToolCallResponse:
        request = ToolCallRequest(
            session_id="s", tool_id=tool_id, args=[serialize_value(value) for value in args], request_id="r", **fields
        )
        response = await self.executor.execute(request, RequestContext(deadline=deadline))
        assert isinstance(response, ToolCallResponse)
        return response

    def stream(self, tool_id: str, *args: Any, **fields: Any) -> AsyncGenerator[ToolStreamChunk, None]:
        request = ToolStreamRequest(
            session_id="s", tool_id=tool_id, args=[serialize_value(value) for value in args], stream_id="st", **fields
        )
        return self.executor.stream(request)

    def assert_even(self) -> None:
        session = self.store.peek("s")
        assert self.executor.admission.active == 0
        assert session.active == 0
        assert not session.calls
        for registered in self.registry.visible(session):
            assert registered.metrics.active == 0
            assert registered.limiter is None or (registered.limiter.used, registered.limiter.waiting) == (0, 0)


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def bench(*tools: Any, **settings: Any) -> Bench:
        benches.append(Bench(*tools, **settings))
        return benches[-1]

    yield bench
    for one in benches:
        await one.executor.aclose()


def add(a: int, b: int = 0) -> int:
    return a + b


@tool(executor="async")
def quick(a: int) -> int:
    return a


async def double(a: int) -> int:
    await asyncio.sleep(0)
    return 2 * a


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def value_of(response: ToolCallResponse) -> Any:
    assert response.success, response.error
    return deserialize_value(response.result)


# ----------------------------------------------------------------------------------------------------- good calls


async def test_sync_async_and_in_place_tools_answer(make: Callable[..., Bench]) -> None:
    bench = make(add, double, quick)
    await bench.open()
    assert value_of(await bench.call("add", 2, 3)) == 5
    assert value_of(await bench.call("add", 2, kwargs={"b": serialize_value(5)})) == 7
    assert value_of(await bench.call("double", 4)) == 8
    response = await bench.call("quick", 6)
    assert value_of(response) == 6
    assert response.request_id == "r"
    assert response.metrics.duration_ms >= 1
    bench.assert_even()


async def test_a_sync_tool_that_gives_a_coroutine_is_awaited(make: Callable[..., Bench]) -> None:
    def indirect(a: int) -> Any:
        return double(a)

    bench = make(indirect)
    await bench.open()
    assert value_of(await bench.call("indirect", 4)) == 8


async def test_a_call_of_a_streaming_tool_gives_the_list_of_its_values(make: Callable[..., Bench]) -> None:
    async def one(n: int) -> AsyncGenerator[int, None]:
        for number in range(n):
            yield number

    def two(n: int) -> Generator[int, None, None]:
        yield from range(n)

    bench = make(one, two, tool(name="three", executor="async")(two))
    await bench.open()
    for name in ("one", "two", "three"):
        assert value_of(await bench.call(name, 3)) == [0, 1, 2]
    bench.assert_even()


async def test_calls_and_errors_are_counted(make: Callable[..., Bench]) -> None:
    during = []

    async def count(fail: bool) -> None:
        during.append(bench.registry.visible(None)[0].metrics.active)
        if fail:
            raise ValueError

    bench = make(count)
    await bench.open()
    await bench.call("count", False)
    await bench.call("count", True)
    counts = bench.registry.visible(None)[0].metrics
    assert (counts.calls, counts.errors, counts.active, during) == (2, 1, 0, [1, 1])


# -------------------------------------------------------------------------------------------------- refused calls


@pytest.mark.parametrize(
    ("tool_id", "args", "fields", "error_type", "text"),
    [
        ("nothing", (), {}, "ToolNotFound", "sees no tool 'nothing'"),
        ("add", ("x",), {}, "ValidationError", "a"),
        ("add", (), {}, "ValidationError", "missing"),
        ("add", (1,), {"timeout_ms": -1}, "ValidationError", r"add: timeout_ms must be 0 \(the default\) or .* -1"),
        ("far", (), {}, "WorkerUnavailable", "no worker runs far now"),
        ("add", ("x" * 3_000,), {}, "MessageTooLarge", "message too large: the call of add takes 3,"),
        ("big", (), {}, "MessageTooLarge", "message too large: the result of big takes 3,"),
        ("many", (), {}, "MessageTooLarge", "message too large: the result of many takes"),
        ("fail", (), {}, "LookupError", "it is not there"),
        ("leave", (), {}, "SystemExit", "3"),
        ("cancel_itself", (), {}, "CancelledError", ""),
        ("deep", (), {}, "SerializationError", "the result of deep: "),
    ],
)  # fmt: skip
async def test_a_call_that_cannot_be_answered_well_says_why_and_gives_back_what_it_took(
    make: Callable[..., Bench], tool_id: str, args: tuple[Any, ...], fields: dict[str, Any], error_type: str, text: str
) -> None:
    def big() -> str:
        return "x" * 3_000

    def many() -> Generator[str, None, None]:
        for _ in range(10):
            yield "x" * 500

    def fail() -> None:
        raise LookupError("it is not there")

    def leave() -> None:
        raise SystemExit(3)

    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    def deep() -> list[Any]:
        value: list[Any] = []
        for _ in range(20):
            value = [value]
        return value

    limits = ResourceLimits(max_concurrent_calls=5)
    tools = [tool(limits=limits)(function) for function in (add, big, many, fail, leave, cancel_itself, deep)]
    bench = make(*tools, ToolSpec(name="far"), max_message_bytes=2_000, max_depth=10)
    await bench.open()
    response = await bench.call(tool_id, *args, **fields)
    assert not response.success
    assert not response.HasField("result")
    assert response.error.type == error_type
    assert re.search(text, response.error.message)
    bench.assert_even()


async def test_an_argument_that_cannot_be_read_is_named(make: Callable[..., Bench]) -> None:
    bench = make(add)
    await bench.open()
    broken = any_pb2.Any(type_url="type.googleapis.com/no.Such", value=b"")
    request = ToolCallRequest(session_id="s", tool_id="add", args=[serialize_value(1), broken])
    error = (await bench.executor.execute(request)).error
    assert error.type == "SerializationError"
    assert error.message.startswith("add: argument 1: ")
    request = ToolCallRequest(session_id="s", tool_id="add", kwargs={"a": broken})
    assert (await bench.executor.execute(request)).error.message.startswith("add: argument 'a': ")


async def test_a_call_of_no_session_or_an_ended_one_is_refused(make: Callable[..., Bench]) -> None:
    bench = make(add)
    assert (await bench.call("add", 1)).error.type == "SessionNotFound"
    await bench.open()
    await bench.store.cleanup_session("s")
    assert (await bench.call("add", 1)).error.type == "SessionExpired"
    assert bench.executor.admission.active == 0


async def test_new_calls_are_refused_while_draining_but_those_of_running_tools_are_not(
    make: Callable[..., Bench],
) -> None:
    inside, go = asyncio.Event(), asyncio.Event()

    async def outer(ctx: ToolContext) -> list[Any]:
        inside.set()
        await go.wait()
        return [await ctx.call_tool("add", 1, 2), [value async for value in ctx.stream_tool("add", 3)]]

    bench = make(outer, add)
    await bench.open()
    running = asyncio.create_task(bench.call("outer"))
    await inside.wait()
    bench.executor.admission.draining = True
    assert (await bench.call("add", 1)).error.type == "WorkerUnavailable"
    (refused,) = [chunk async for chunk in bench.stream("add", 1)]
    assert "shutting down" in refused.error.message
    go.set()
    assert value_of(await running) == [3, [3]]
    bench.assert_even()


async def test_a_session_that_is_being_removed_takes_no_new_calls(make: Callable[..., Bench]) -> None:
    bench = make(add)
    session = await bench.open()
    session.closing = True
    error = (await bench.call("add", 1)).error
    assert (error.type, "being removed" in error.message) == ("SessionExpired", True)


async def test_a_fault_of_the_bridge_is_told_by_an_id_only_and_logged(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make(add)
    await bench.open()

    def fault(*args: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(bench.store, "tool_of", fault)
    error = (await bench.call("add", 1)).error
    assert error.type == "InternalError"
    assert "secret" not in str(error)
    assert error.details["error_id"] in caplog.text
    assert "secret" in caplog.text
    assert bench.executor.admission.active == 0


async def test_a_tools_traceback_is_shown_where_the_hub_is_set_to(make: Callable[..., Bench]) -> None:
    def fail() -> None:
        raise LookupError("it")

    for show in (True, False):
        bench = make(fail, show_tracebacks=show)
        await bench.open()
        error = (await bench.call("fail")).error
        assert ("in fail" in error.stacktrace) is show
        assert error.details["origin"] == "tool"


# ------------------------------------------------------------------------------------------------------- deadlines


async def test_a_call_ends_at_its_own_deadline(make: Callable[..., Bench]) -> None:
    bench = make(forever)
    await bench.open()
    error = (await bench.call("forever", timeout_ms=1)).error
    assert (error.type, error.retryable) == ("TimeoutError", True)
    assert error.details["origin"] == "bridge"
    bench.assert_even()


async def test_a_call_whose_time_is_over_before_it_begins_is_never_run(make: Callable[..., Bench]) -> None:
    ran = []

    @tool(executor="async")
    def note() -> None:
        ran.append(1)

    bench = make(note)
    await bench.open()
    assert (await bench.call("note", deadline=time.monotonic() - 1)).error.type == "TimeoutError"
    assert ran == []
    bench.assert_even()


@pytest.mark.parametrize(
    ("tool_ms", "session_ms", "call_ms", "transport", "expected"),
    [
        (0, 0, 0, None, 30.0),
        (0, 5_000, 0, None, 5.0),
        (7_000, 5_000, 0, None, 7.0),
        (7_000, 0, 2_000, None, 2.0),
        (7_000, 0, 9_000, None, 7.0),
        (0, 5_000, 9_000, None, 9.0),
        (0, 0, 9_000, 3.0, 3.0),
        (0, 0, 1_000, 3.0, 1.0),
    ],
)
async def test_the_deadline_is_the_callers_else_the_tools_the_sessions_or_the_hubs_and_never_past_an_outer_one(
    make: Callable[..., Bench],
    tool_ms: int,
    session_ms: int,
    call_ms: int,
    transport: float | None,
    expected: float,
) -> None:
    @tool(limits={"timeout_ms": tool_ms}, executor="async")
    def left(ctx: ToolContext) -> float:
        return ctx.time_left()

    bench = make(left)
    await bench.open(SessionConfig(default_timeout_ms=session_ms))
    deadline = None if transport is None else time.monotonic() + transport
    got = value_of(await bench.call("left", timeout_ms=call_ms, deadline=deadline))
    assert expected - 0.9 < got <= expected


async def test_a_nested_call_can_only_shorten_the_deadline(make: Callable[..., Bench]) -> None:
    @tool(executor="async")
    def left(ctx: ToolContext) -> float:
        return ctx.time_left()

    async def outer(ctx: ToolContext) -> Any:
        return await ctx.call_tool("left")

    bench = make(outer, left)
    await bench.open()
    assert value_of(await bench.call("outer", timeout_ms=2_000)) <= 2


async def test_a_nested_call_that_notices_the_passed_deadline_first_is_answered_as_a_time_out(
    make: Callable[..., Bench],
) -> None:
    async def outer(ctx: ToolContext) -> None:
        await ctx.call_tool("forever")

    bench = make(outer, forever)
    await bench.open()
    error = (await bench.call("outer", timeout_ms=5)).error
    assert (error.type, error.details["origin"]) == ("TimeoutError", "bridge")
    bench.assert_even()


async def test_a_time_out_of_the_tools_own_is_the_tools(make: Callable[..., Bench]) -> None:
    def own() -> None:
        raise TimeoutError("mine")

    bench = make(own)
    await bench.open()
    error = (await bench.call("own")).error
    assert (error.type, error.details["origin"], error.retryable) == ("TimeoutError", "tool", False)


async def test_a_thread_tool_is_told_that_its_time_is_over_and_its_result_is_dropped(
    make: Callable[..., Bench],
) -> None:
    told = threading.Event()

    def slow(ctx: ToolContext) -> int:
        while not ctx.cancelled:
            threading.Event().wait(0.001)
        told.set()
        return 5

    bench = make(slow)
    await bench.open()
    assert (await bench.call("slow", timeout_ms=1_000)).error.type == "TimeoutError"
    assert await asyncio.to_thread(told.wait, PATIENCE)
    bench.assert_even()


# ---------------------------------------------------------------------------------------------------- cancellation


async def test_a_caller_that_goes_cancels_its_call(make: Callable[..., Bench]) -> None:
    bench = make(forever)
    await bench.open()
    task = asyncio.create_task(bench.call("forever"))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bench.assert_even()


async def test_a_cancelled_call_is_answered_with_its_cause(make: Callable[..., Bench]) -> None:
    bench = make(forever)
    session = await bench.open()
    task = asyncio.create_task(bench.call("forever"))
    await turns()
    for call in list(session.calls or ()):
        call.cancel(CallCancelledError("the hub is shutting down"))
    error = (await task).error
    assert (error.type, error.message) == ("Cancelled", "the hub is shutting down")
    bench.assert_even()


@pytest.mark.parametrize("answer", ["returns", "raises"])
async def test_a_tool_that_answers_its_cancellation_is_too_late(make: Callable[..., Bench], answer: str) -> None:
    async def late() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            if answer == "raises":
                raise LookupError("in the clean-up") from None
        return "late"

    bench = make(late)
    await bench.open()
    assert (await bench.call("late", timeout_ms=1)).error.type == "TimeoutError"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    bench.assert_even()


async def test_a_tool_that_is_over_may_call_no_further_tools_and_those_it_called_end(
    make: Callable[..., Bench],
) -> None:
    contexts: list[ToolContext] = []
    nested: list[asyncio.Task[Any]] = []

    async def outer(ctx: ToolContext) -> None:
        contexts.append(ctx)
        nested.append(asyncio.create_task(ctx.call_tool("forever")))
        await turns()

    bench = make(outer, forever, add)
    await bench.open()
    assert (await bench.call("outer")).success
    with pytest.raises(ToolExecutionError, match="outer, which made the call, was cancelled or timed out"):
        await nested[0]
    with pytest.raises(ToolExecutionError, match="outer was cancelled or timed out, and cannot call further tools"):
        await contexts[0].call_tool("add", 1)
    bench.assert_even()


async def test_a_tool_left_behind_does_not_hold_its_permits(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CLEANUP_SECONDS", 0)

    @tool(limits={"max_concurrent_calls": 1})
    async def stubborn() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await forever()

    bench = make(stubborn)
    await bench.open()
    for _ in range(2):
        assert (await bench.call("stubborn", timeout_ms=1)).error.type == "TimeoutError"
    bench.assert_even()


# ---------------------------------------------------------------------------------------------------------- limits


async def test_calls_of_a_session_beyond_its_permits_wait_in_order(make: Callable[..., Bench]) -> None:
    order: list[int] = []
    go = asyncio.Event()

    async def note(number: int) -> None:
        order.append(number)
        await go.wait()

    bench = make(note)
    session = await bench.open(SessionConfig(max_concurrent_tools=1))
    tasks = [asyncio.create_task(bench.call("note", number)) for number in range(3)]
    await turns()
    assert order == [0]
    assert session.active == 3
    go.set()
    assert all(response.success for response in await asyncio.gather(*tasks))
    assert order == [0, 1, 2]
    bench.assert_even()


async def test_a_waiting_call_ends_at_its_deadline_and_leaves_the_queue(make: Callable[..., Bench]) -> None:
    bench = make(forever, add)
    session = await bench.open(SessionConfig(max_concurrent_tools=1))
    running = asyncio.create_task(bench.call("forever"))
    await turns()
    assert (await bench.call("add", 1, timeout_ms=1)).error.type == "TimeoutError"
    assert session.active == 1
    running.cancel()
    await asyncio.wait([running])
    bench.assert_even()


async def test_too_many_waiting_calls_are_refused(make: Callable[..., Bench]) -> None:
    bench = make(forever, max_session_calls=1, max_session_waiting=1)
    await bench.open()
    tasks = [asyncio.create_task(bench.call("forever")) for _ in range(2)]
    await turns()
    error = (await bench.call("forever")).error
    assert (error.type, error.details["retry_after"]) == ("ResourceExhausted", "1")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    bench.assert_even()


async def test_a_call_that_waits_for_its_tool_gives_its_sessions_place_back_when_it_is_cancelled(
    make: Callable[..., Bench],
) -> None:
    bench = make(tool(limits={"max_concurrent_calls": 1})(forever))
    session = await bench.open()
    tasks = [asyncio.create_task(bench.call("forever")) for _ in range(2)]
    await turns()
    assert session.active == 2
    tasks[1].cancel()
    await asyncio.wait(tasks[1:])
    assert session.active == 1
    tasks[0].cancel()
    await asyncio.wait(tasks)
    bench.assert_even()


async def test_nested_calls_use_their_parents_place_and_never_wait_for_themselves(make: Callable[..., Bench]) -> None:
    @tool(limits={"max_concurrent_calls": 1})
    async def down(n: int, ctx: ToolContext) -> int:
        return n if n == 0 else await ctx.call_tool("between", n)

    async def between(n: int, ctx: ToolContext) -> Any:
        return await ctx.call_tool("down", n - 1)

    bench = make(down, between)
    await bench.open(SessionConfig(max_concurrent_tools=1))
    assert value_of(await bench.call("down", 3, timeout_ms=5_000)) == 0
    bench.assert_even()


async def test_tools_that_call_one_another_without_end_are_stopped(make: Callable[..., Bench]) -> None:
    async def again(ctx: ToolContext) -> None:
        await ctx.call_tool("again")

    bench = make(again)
    await bench.open()
    error = (await bench.call("again")).error
    assert error.type == "ValidationError"
    assert "calls are nested 32 deep, which is the limit" in error.message
    bench.assert_even()


async def test_a_rate_is_kept(make: Callable[..., Bench]) -> None:
    bench = make(tool(limits={"rate_limit_per_minute": 1})(add))
    await bench.open()
    assert (await bench.call("add", 1)).success
    error = (await bench.call("add", 1)).error
    assert (error.type, error.retryable) == ("RateLimitExceeded", True)
    bench.assert_even()


# --------------------------------------------------------------------------------------------------------- streams


async def kinds(chunks: AsyncGenerator[ToolStreamChunk, None]) -> list[Any]:
    found = []
    sequence = 0
    async for chunk in chunks:
        assert chunk.sequence == sequence
        assert chunk.stream_id == "st"
        sequence += 1
        kind = chunk.WhichOneof("content")
        found.append(deserialize_value(chunk.data) if kind == "data" else chunk.error.type if kind == "error" else kind)
    return found


async def test_a_stream_gives_each_value_and_one_complete(make: Callable[..., Bench]) -> None:
    async def one() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.sleep(0)
        yield 2

    def two() -> Generator[int, None, None]:
        yield 1
        yield 2

    bench = make(one, two, tool(name="three", executor="async")(two))
    await bench.open()
    for name in ("one", "two", "three"):
        assert await kinds(bench.stream(name)) == [1, 2, "complete"]
    last = [chunk async for chunk in bench.stream("one")][-1].complete
    assert last.total_chunks == 2
    assert last.metrics.duration_ms >= 1
    bench.assert_even()


async def test_a_stream_of_a_tool_that_returns_gives_its_result(make: Callable[..., Bench]) -> None:
    bench = make(add)
    await bench.open()
    assert await kinds(bench.stream("add", 1, 2)) == [3, "complete"]


async def test_a_stream_without_a_name_gets_one(make: Callable[..., Bench]) -> None:
    bench = make(add)
    await bench.open()
    request = ToolStreamRequest(session_id="s", tool_id="add", args=[serialize_value(1)])
    ids = {chunk.stream_id async for chunk in bench.executor.stream(request)}
    assert len(ids) == 1
    assert ids != {""}


@pytest.mark.parametrize("events", [False, True])
async def test_a_stream_that_fails_ends_with_one_error_after_its_values(
    make: Callable[..., Bench], events: bool
) -> None:
    async def one() -> AsyncGenerator[int, None]:
        yield 1
        raise LookupError("it")

    def two() -> Generator[int, None, None]:
        yield 1
        raise LookupError("it")

    async def three() -> AsyncGenerator[int, None]:
        yield 1
        await forever()

    async def four() -> AsyncGenerator[int, None]:
        yield 1
        raise asyncio.CancelledError

    bench = make(one, two, three, four)
    await bench.open()
    config = StreamConfig(include_events=events)
    assert await kinds(bench.stream("one", config=config)) == [1, "LookupError"]
    assert await kinds(bench.stream("two", config=config)) == [1, "LookupError"]
    assert await kinds(bench.stream("three", config=config, timeout_ms=5)) == [1, "TimeoutError"]
    assert await kinds(bench.stream("four", config=config)) == [1, "CancelledError"]
    assert await kinds(bench.stream("nothing", config=config)) == ["ToolNotFound"]
    assert await kinds(bench.stream("one", config=StreamConfig(buffer_size=-1, include_events=events))) == [
        "ValidationError"
    ]
    bench.assert_even()


async def test_events_are_sent_to_those_who_ask_for_them(make: Callable[..., Bench]) -> None:
    async def tell(ctx: ToolContext) -> AsyncGenerator[int, None]:
        ctx.progress(1, 2, "half")
        yield 1
        ctx.log("done", level="warning", rows=5)

    bench = make(tell)
    await bench.open()
    assert await kinds(bench.stream("tell")) == [1, "complete"]
    chunks = [chunk async for chunk in bench.stream("tell", config=StreamConfig(include_events=True))]
    assert [chunk.WhichOneof("content") for chunk in chunks] == ["metadata", "data", "metadata", "complete"]
    progress, log = Progress(), LogRecord()
    assert chunks[0].metadata.key == "progress"
    assert chunks[0].metadata.value.Unpack(progress)
    assert (progress.current, progress.total, progress.message) == (1, 2, "half")
    assert chunks[2].metadata.key == "log"
    assert chunks[2].metadata.value.Unpack(log)
    assert (log.level, log.logger, log.message, dict(log.fields)) == ("warning", "tell", "done", {"rows": "5"})
    assert chunks[-1].complete.total_chunks == 1
    bench.assert_even()


async def test_a_reader_asks_for_a_smaller_buffer_and_never_gets_a_larger_one(make: Callable[..., Bench]) -> None:
    made: list[int] = []

    def numbers() -> Generator[int, None, None]:
        for number in range(200):
            made.append(number)
            yield number

    bench = make(numbers, stream_buffer=4)
    await bench.open()
    for asked in (1, 1_000_000):
        made.clear()
        chunks = bench.stream("numbers", config=StreamConfig(buffer_size=asked))
        for _ in range(20):
            await anext(chunks)
            await asyncio.to_thread(time.monotonic)
        assert len(made) <= 20 + 1 + 4
        await chunks.aclose()
    bench.assert_even()


@pytest.mark.parametrize("events", [False, True])
async def test_a_reader_that_leaves_ends_the_tool_and_gives_back_what_the_stream_took(
    make: Callable[..., Bench], events: bool
) -> None:
    closed = []

    async def endless() -> AsyncGenerator[int, None]:
        try:
            while True:
                await asyncio.sleep(0)
                yield 1
        finally:
            closed.append("closed")

    bench = make(endless)
    await bench.open()
    chunks = bench.stream("endless", config=StreamConfig(include_events=events))
    await anext(chunks)
    await chunks.aclose()
    assert closed == ["closed"]
    bench.assert_even()


@pytest.mark.parametrize("events", [False, True])
async def test_a_cancelled_reader_cancels_the_tool(make: Callable[..., Bench], events: bool) -> None:
    async def silent() -> AsyncGenerator[int, None]:
        await forever()
        yield 1

    bench = make(silent)
    await bench.open()
    task = asyncio.ensure_future(anext(bench.stream("silent", config=StreamConfig(include_events=events))))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bench.assert_even()


async def test_a_stream_whose_time_is_over_while_its_reader_is_away_ends_with_a_time_out(
    make: Callable[..., Bench],
) -> None:
    @tool(executor="async")
    def endless() -> Generator[int, None, None]:
        while True:
            yield 1

    bench = make(endless)
    session = await bench.open()
    chunks = bench.stream("endless")
    await anext(chunks)
    await anext(chunks)
    for call in list(session.calls or ()):
        call.cancel(CallCancelledError("stop"))
    assert (await anext(chunks)).error.type == "Cancelled"
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)
    bench.assert_even()


async def test_a_clean_up_that_hangs_does_not_hold_the_place(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CLEANUP_SECONDS", 0)

    async def hang() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await forever()
        finally:
            await forever()

    bench = make(hang)
    await bench.open()
    assert await kinds(bench.stream("hang", timeout_ms=5)) == [1, "TimeoutError"]
    chunks = bench.stream("hang", timeout_ms=5)
    await anext(chunks)
    await chunks.aclose()
    bench.assert_even()


async def test_a_clean_up_that_fails_is_logged_and_the_stream_ends_as_it_would(
    make: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise LookupError("in the clean-up")

    bench = make(fails)
    await bench.open()
    chunks = bench.stream("fails")
    await anext(chunks)
    await chunks.aclose()
    # What it was raised while handling is told with it, by a thread.
    await until(lambda: "fails failed in its clean-up" in caplog.text)
    bench.assert_even()


# ------------------------------------------------------------------------------------------------------------ idle


async def test_idle_waits_for_every_call_and_session_idle_for_those_of_one_session(make: Callable[..., Bench]) -> None:
    go = asyncio.Event()

    async def wait() -> None:
        await go.wait()

    bench = make(wait)
    session = await bench.open()
    await bench.executor.admission.idle()
    running = asyncio.create_task(bench.call("wait"))
    await turns()
    waits = [
        asyncio.create_task(bench.executor.admission.idle()),
        asyncio.create_task(bench.executor.admission.session_idle(session)),
    ]
    gone = asyncio.create_task(bench.executor.admission.idle())
    await turns()
    assert not any(task.done() for task in waits)
    gone.cancel()
    go.set()
    await asyncio.gather(running, *waits)
    assert bench.executor.threads_busy == 0


async def test_the_message_of_a_draining_hub_is_an_unavailable_one(make: Callable[..., Bench]) -> None:
    bench = make(add)
    await bench.open()
    bench.executor.admission.draining = True
    with pytest.raises(UnavailableError, match="call again when it is back"):
        bench.executor.admission.require_session("s")
