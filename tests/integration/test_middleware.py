"""Middleware around real calls: at the hub, over tools of the hub, of a worker and in processes; and at the client."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from grpc_tool_bridge import (
    AccessError,
    BridgeServer,
    CallNext,
    GRPCToolBridge,
    InternalError,
    ProtocolError,
    Settings,
    ToolBridge,
    ToolCall,
    ToolContext,
    ToolExecutionError,
    ToolTimeoutError,
    ToolWorker,
    ValidationError,
    tool,
)
from support.waiting import soon, until

Open = Callable[..., Any]


@tool
async def add(a: int, b: int) -> int:
    return a + b


@tool
async def echo(value: Any) -> Any:
    return value


@tool
async def about(ctx: ToolContext) -> dict[str, Any]:
    return {"request_id": ctx.request_id, "metadata": dict(ctx.metadata)}


@tool
async def outer(ctx: ToolContext) -> Any:
    return {"own": ctx.request_id, "inner": await ctx.call_tool("about")}


@tool
async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@tool
async def reports(ctx: ToolContext) -> AsyncIterator[str]:
    for place in range(3):
        ctx.progress(place, 3)
        yield f"part {place}"


@tool
async def breaks() -> None:
    raise KeyError("no such row")


TOOLS = [add, echo, about, outer, numbers, reports, breaks]


@pytest.fixture(params=["hub", "worker"])
async def open_(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Starts a hub with middleware, whose tools it or a worker runs, and opens a bridge to it."""
    async with AsyncExitStack() as stack:

        async def start(
            *middleware: Any, tools: Any = TOOLS, client: dict[str, Any] | None = None, **settings: Any
        ) -> ToolBridge:
            made = Settings(shutdown_grace=0, **settings)
            offered = tools if request.param == "hub" else []
            server = BridgeServer(tools=offered, middleware=middleware, settings=made)
            await stack.enter_async_context(server)
            if request.param == "worker":
                await stack.enter_async_context(ToolWorker(server.address, tools=tools, settings=made))
            bridge = GRPCToolBridge(server.address, **client or {})
            stack.push_async_callback(bridge.close)
            await bridge.initialize("s", metadata={"tenant": "acme"})
            return bridge

        yield start


class Seen:
    """Middleware that remembers the calls."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.results: list[Any] = []
        self.errors: list[Exception] = []

    async def __call__(self, call: ToolCall, call_next: CallNext) -> Any:
        self.calls.append(call)
        try:
            result = await call_next(call)
        except Exception as error:
            self.errors.append(error)
            raise
        self.results.append(result)
        return result


async def test_middleware_sees_the_call_and_its_result(open_: Open) -> None:
    seen = Seen()
    bridge = await open_(seen)
    assert await bridge.tools["add"].with_options(metadata={"k": "v"}, timeout=7)(1, b=2) == 3
    (call,) = seen.calls
    assert (call.tool, call.session_id, call.kind, call.is_stream, call.side) == ("add", "s", "call", False, "hub")
    assert (call.args, call.kwargs) == ([1], {"b": 2})
    assert call.metadata == {"tenant": "acme", "k": "v"}
    assert 6 < call.timeout <= 7
    assert call.request_id
    assert call.parent_id == call.idempotency_key == ""
    assert seen.results == [3]


async def test_what_middleware_changes_is_what_the_tool_and_the_caller_get(open_: Open) -> None:
    async def redact(call: ToolCall, call_next: CallNext) -> Any:
        if "value" in call.kwargs:
            call.kwargs["value"] = {**call.kwargs["value"], "card": "***"}
        call.metadata["by"] = "redact"
        del call.metadata["tenant"]
        result = await call_next(call)
        if isinstance(result, dict) and "card" in result:
            result["seen"] = True
        return result

    bridge = await open_(redact)
    assert await bridge.tools["echo"](value={"card": "4111", "n": 1}) == {"card": "***", "n": 1, "seen": True}
    assert (await bridge.tools["about"]())["metadata"] == {"by": "redact"}


async def test_arguments_can_be_replaced_as_a_whole(open_: Open) -> None:
    async def swap(call: ToolCall, call_next: CallNext) -> Any:
        call.args = [40]
        call.kwargs = {"b": 2}
        return await call_next(call)

    bridge = await open_(swap)
    assert await bridge.tools["add"](1, 1) == 42


async def test_the_first_is_the_outermost_and_each_may_answer_at_once(open_: Open) -> None:
    order: list[str] = []

    async def first(call: ToolCall, call_next: CallNext) -> Any:
        order.append("first")
        result = await call_next(call)
        order.append("first again")
        return result

    async def second(call: ToolCall, call_next: CallNext) -> Any:
        order.append("second")
        return "answered" if call.tool == "add" else await call_next(call)

    bridge = await open_(first, second)
    assert await bridge.tools["add"](1, "this would be refused") == "answered"
    assert order == ["first", "second", "first again"]


async def test_an_error_of_the_bridge_becomes_the_call_s_and_any_other_is_a_fault(
    open_: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async def guard(call: ToolCall, call_next: CallNext) -> Any:
        if call.tool == "add":
            raise AccessError("only on weekdays")
        if call.tool == "echo":
            raise RuntimeError("a secret")
        return await call_next(call)

    bridge = await open_(guard)
    with pytest.raises(ToolExecutionError) as refused:
        await bridge.tools["add"](1, 2)
    assert (refused.value.error_type, refused.value.message) == ("PermissionDenied", "only on weekdays")
    with pytest.raises(ToolExecutionError) as fault:
        await bridge.tools["echo"](1)
    assert fault.value.error_type == "InternalError"
    assert "secret" not in fault.value.message
    assert fault.value.details["error_id"] in caplog.text
    assert "a secret" in caplog.text


async def test_middleware_sees_the_tool_s_error_as_its_caller_would(open_: Open) -> None:
    seen = Seen()
    bridge = await open_(seen)
    with pytest.raises(ToolExecutionError) as raised:
        await bridge.tools["breaks"]()
    with pytest.raises(ToolExecutionError) as invalid:
        await bridge.tools["add"](1, "two")
    inside, refused = seen.errors
    assert isinstance(inside, ToolExecutionError)
    assert isinstance(refused, ToolExecutionError)
    assert (inside.error_type, inside.details["origin"]) == ("KeyError", "tool")
    assert (raised.value.error_type, raised.value.message) == (inside.error_type, inside.message)
    assert raised.value.remote_traceback == inside.remote_traceback != ""
    assert raised.value.request_id == seen.calls[0].request_id
    assert refused.error_type == invalid.value.error_type == "ValidationError"


async def test_middleware_may_try_again(open_: Open) -> None:
    tries: list[int] = []

    @tool
    async def flaky() -> str:
        tries.append(len(tries))
        if len(tries) < 3:
            raise ConnectionError("not yet")
        return f"after {len(tries)}"

    async def again(call: ToolCall, call_next: CallNext) -> Any:
        for _ in range(2):
            try:
                return await call_next(call)
            except ToolExecutionError:
                continue
        return await call_next(call)

    bridge = await open_(again, tools=[flaky])
    assert await bridge.tools["flaky"]() == "after 3"
    info = await bridge.client.session_info()
    assert info.active_operations == 0


async def test_a_stream_s_values_can_be_changed_and_its_order_and_events_stay(open_: Open) -> None:
    async def louder(call: ToolCall, call_next: CallNext) -> Any:
        values = await call_next(call)
        if not call.is_stream:
            return values

        async def changed() -> AsyncIterator[Any]:
            async for value in values:
                if value != 1:
                    yield value * 10 if isinstance(value, int) else value.upper()

        return changed()

    bridge = await open_(louder)
    assert [value async for value in bridge.tools["numbers"].stream(4)] == [0, 20, 30]
    events: list[float] = []
    told = bridge.tools["reports"].with_options(on_progress=lambda event: events.append(event.current))
    assert [value async for value in told.stream()] == ["PART 0", "PART 1", "PART 2"]
    assert events == [0, 1, 2]


async def test_a_stream_that_fails_or_is_left_ends_middleware_too(open_: Open) -> None:
    ended: list[str] = []

    async def watch(call: ToolCall, call_next: CallNext) -> Any:
        values = await call_next(call)

        async def watched() -> AsyncIterator[Any]:
            try:
                async for value in values:
                    yield value
            except ToolExecutionError as error:
                ended.append(error.error_type)
                raise
            finally:
                ended.append(call.tool)

        return watched()

    @tool
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("in the middle")

    bridge = await open_(watch, tools=[broken, numbers])
    stream = bridge.tools["broken"].stream()
    assert await anext(stream) == 1
    with pytest.raises(ToolExecutionError, match="in the middle"):
        await anext(stream)
    async for value in bridge.tools["numbers"].stream(100_000):
        if value == 2:
            break
    await until(lambda: ended == ["ValueError", "broken", "numbers"], "for the end of both")


async def test_a_stream_answered_with_no_iterator_is_an_error_that_says_so(open_: Open) -> None:
    async def wrong(call: ToolCall, call_next: CallNext) -> Any:
        await call_next(call)
        return [1, 2]

    bridge = await open_(wrong)
    with pytest.raises(ToolExecutionError, match=r"answered a stream of numbers with list"):
        [value async for value in bridge.tools["numbers"].stream(1)]


async def test_nested_calls_and_items_of_batches_pass_through_it(open_: Open) -> None:
    seen = Seen()
    bridge = await open_(seen)
    said = await bridge.tools["outer"]()
    first, second = seen.calls
    assert (first.kind, second.kind) == ("call", "nested")
    assert second.parent_id == first.request_id == said["own"]
    assert second.request_id == said["inner"]["request_id"] != first.request_id
    assert await bridge.execute_batch([{"tool_id": "add", "args": [1, 2]}, {"tool_id": "about"}]) == [
        3,
        {"request_id": seen.calls[3].request_id, "metadata": {"tenant": "acme"}},
    ]
    assert [call.kind for call in seen.calls[2:]] == ["batch", "batch"]


async def test_the_deadline_ends_middleware_and_the_tool_inside_of_it(open_: Open) -> None:
    cancelled: list[str] = []

    async def slow(call: ToolCall, call_next: CallNext) -> Any:
        try:
            if call.tool == "add":
                await asyncio.Event().wait()
            return await call_next(call)
        except (asyncio.CancelledError, ToolTimeoutError) as error:
            cancelled.append(f"{call.tool}: {type(error).__name__}")
            raise

    @tool
    async def waits() -> None:
        await asyncio.Event().wait()

    bridge = await open_(slow, tools=[add, waits])
    for name, args in (("add", (1, 2)), ("waits", ())):
        with pytest.raises(ToolTimeoutError):
            await soon(bridge.tools[name].with_options(timeout=0.05)(*args))
    await until(lambda: len(cancelled) == 2, "for both")
    assert cancelled == ["add: CancelledError", "waits: ToolTimeoutError"]


async def test_middleware_after_the_tool_is_ended_by_the_deadline(open_: Open) -> None:
    async def lingers(call: ToolCall, call_next: CallNext) -> Any:
        await call_next(call)
        await asyncio.Event().wait()

    @tool
    async def later() -> int:
        await asyncio.sleep(0)
        return 1

    bridge = await open_(lingers, tools=[later])
    with pytest.raises(ToolTimeoutError):
        await soon(bridge.tools["later"].with_options(timeout=0.05)())


async def test_a_caller_that_leaves_cancels_middleware(open_: Open) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def holds(call: ToolCall, call_next: CallNext) -> Any:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    bridge = await open_(holds)
    calling = asyncio.ensure_future(bridge.tools["add"](1, 2))
    await soon(began.wait())
    calling.cancel()
    await soon(ended.wait())


async def test_large_arguments_and_results_pass_and_can_be_changed(open_: Open) -> None:
    lengths: list[int] = []

    async def cut(call: ToolCall, call_next: CallNext) -> Any:
        args, _ = await call.read_arguments()
        lengths.append(len(args[0]))
        call.args[0] = args[0][: len(args[0]) // 2]
        return await call_next(call)

    bridge = await open_(cut)
    text = "x" * 300_000
    assert await bridge.tools["echo"](text) == text[:150_000]
    whole = [{"row": number} for number in range(20_000)]
    assert await bridge.tools["echo"](whole) == whole[:10_000]
    assert lengths == [300_000, 20_000]


async def test_a_call_whose_arguments_nobody_reads_is_forwarded_as_it_came(open_: Open) -> None:
    seen = Seen()
    bridge = await open_(seen)
    value = {"a": [1, 2.5, None, "x", b"y"], "deep": {"er": {1, 2}}}
    assert await bridge.tools["echo"](value) == value
    assert seen.calls[0].__dict__["_given"] is None


async def test_a_key_runs_once_and_its_answer_is_kept_as_middleware_left_it(open_: Open) -> None:
    async def signed(call: ToolCall, call_next: CallNext) -> Any:
        return [await call_next(call), call.idempotency_key]

    bridge = await open_(signed)
    keyed = bridge.tools["add"].with_options(idempotency_key="k1")
    assert await keyed(1, 2) == await keyed(1, 2) == [3, "k1"]


@tool(executor="process")
def in_process(ctx: ToolContext, value: int) -> dict[str, Any]:
    return {"value": value, "metadata": dict(ctx.metadata), "request_id": ctx.request_id}


async def test_a_tool_in_a_process_has_the_changed_call(open_: Open) -> None:
    seen = Seen()

    async def changes(call: ToolCall, call_next: CallNext) -> Any:
        call.kwargs["value"] += 1
        call.metadata["by"] = "changes"
        return await call_next(call)

    bridge = await open_(seen, changes, tools=[in_process])
    said = await soon(bridge.tools["in_process"](value=1))
    assert said == {
        "value": 2,
        "metadata": {"tenant": "acme", "by": "changes"},
        "request_id": seen.calls[0].request_id,
    }


# ------------------------------------------------------------------------------------------------------ at the client


async def test_middleware_of_a_client_changes_what_is_sent_and_what_comes(open_: Open) -> None:
    seen = Seen()

    async def changes(call: ToolCall, call_next: CallNext) -> Any:
        if call.tool == "add":
            call.args[0] = 40
        call.metadata["who"] = "client"
        return await call_next(call)

    bridge = await open_(client={"middleware": [seen, changes], "metadata": {"app": "shop"}})
    assert await bridge.tools["add"](1, b=2) == 42
    said = await bridge.tools["about"].with_options(metadata={"k": "v"})()
    assert said["metadata"] == {"tenant": "acme", "app": "shop", "k": "v", "who": "client"}
    assert said["request_id"] == seen.calls[1].request_id
    call = seen.calls[0]
    assert (call.tool, call.session_id, call.side, call.kind) == ("add", "s", "client", "call")


async def test_middleware_of_a_client_wraps_streams_and_lists_of_them(open_: Open) -> None:
    async def tenfold(call: ToolCall, call_next: CallNext) -> Any:
        values = await call_next(call)

        async def changed() -> AsyncIterator[int]:
            async for value in values:
                yield value * 10

        return changed() if call.is_stream else values

    bridge = await open_(client={"middleware": [tenfold]})
    assert [value async for value in bridge.tools["numbers"].stream(3)] == [0, 10, 20]
    assert await bridge.tools["numbers"](3) == [0, 10, 20]


async def test_a_batch_of_a_client_with_middleware_or_metadata_is_made_of_calls(open_: Open) -> None:
    seen = Seen()
    bridge = await open_(client={"middleware": [seen], "metadata": {"app": "shop"}})
    results = await bridge.execute_batch(
        [{"tool_id": "add", "args": [1, 2]}, {"tool_id": "breaks"}, {"tool_id": "about"}]
    )
    assert results[0] == 3
    assert isinstance(results[1], ToolExecutionError)
    assert results[2]["metadata"] == {"tenant": "acme", "app": "shop"}
    assert {call.kind for call in seen.calls} == {"batch"}
    stopped = await bridge.execute_batch(
        [{"tool_id": "breaks"}, {"tool_id": "add", "args": [1, 2]}], parallel=False, stop_on_error=True
    )
    assert [error.error_type for error in stopped] == ["KeyError", "Cancelled"]


async def test_an_exception_of_a_client_s_middleware_is_a_fault_with_its_cause(
    open_: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(call: ToolCall, call_next: CallNext) -> Any:
        if call.tool == "add":
            raise LookupError("in middleware")
        raise AccessError("no")

    bridge = await open_(client={"middleware": [fails]})
    with caplog.at_level(logging.ERROR), pytest.raises(InternalError) as fault:
        await bridge.tools["add"](1, 2)
    assert isinstance(fault.value.__cause__, LookupError)
    assert fault.value.details["error_id"] in caplog.text
    with pytest.raises(AccessError, match="no"):
        await bridge.tools["echo"](1)


async def test_a_bridge_s_metadata_reaches_each_call(open_: Open) -> None:
    bridge = await open_(client={"metadata": {"app": "shop", "k": "default"}})
    assert (await bridge.tools["about"]())["metadata"] == {"tenant": "acme", "app": "shop", "k": "default"}
    own = bridge.tools["about"].with_options(metadata={"k": "own"})
    assert (await own())["metadata"] == {"tenant": "acme", "app": "shop", "k": "own"}
    (said,) = await bridge.execute_batch([{"tool_id": "about"}])
    assert said["metadata"] == {"tenant": "acme", "app": "shop", "k": "default"}


@tool(limits={"max_concurrent_calls": 1})
async def flaky_numbers(first_try: bool) -> AsyncIterator[int]:
    yield 0
    if first_try:
        raise KeyError("lost")
    yield 1


async def _tries_again(call: ToolCall, call_next: CallNext) -> Any:
    async def values() -> AsyncIterator[int]:
        try:
            async for value in await call_next(call):
                yield value
        except ToolExecutionError:
            call.args = [False]
            async for value in await call_next(call):
                yield value

    return values()


async def test_a_stream_that_failed_gives_its_permit_to_the_next_try(open_: Open) -> None:
    bridge = await open_(_tries_again, tools=[flaky_numbers])
    assert await soon(_collected(bridge.tools["flaky_numbers"].stream(True))) == [0, 0, 1]


async def _collected(values: Any) -> list[Any]:
    return [value async for value in values]


async def test_runs_at_once_are_refused_since_they_would_get_each_others_arguments(open_: Open) -> None:
    gate = asyncio.Event()

    @tool(limits={"max_concurrent_calls": 1})
    async def alone(value: int) -> int:
        await gate.wait()
        return value

    async def fanned(call: ToolCall, call_next: CallNext) -> Any:
        runs = []
        for value in range(3):
            call.args = [value]
            runs.append(asyncio.ensure_future(call_next(call)))
            await asyncio.sleep(0)
        gate.set()
        found = await asyncio.gather(*runs, return_exceptions=True)
        return [str(value) for value in found]

    bridge = await open_(fanned, tools=[alone])
    first, *others = await soon(bridge.tools["alone"](7))
    assert first == "0"
    assert len(others) == 2
    assert all("while it runs" in text for text in others)


async def test_a_second_iterator_is_refused_before_the_end_of_the_first(open_: Open) -> None:
    async def twice(call: ToolCall, call_next: CallNext) -> Any:
        first = await call_next(call)
        with pytest.raises(ProtocolError, match="aclose"):
            await call_next(call)
        await first.aclose()
        return await call_next(call)

    bridge = await open_(twice)
    assert await soon(_collected(bridge.tools["numbers"].stream(2))) == [0, 1]


async def test_what_middleware_leaves_running_is_cancelled() -> None:
    begun, ended, after = asyncio.Event(), asyncio.Event(), asyncio.Event()
    errors = []

    @tool
    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    runs: list[asyncio.Future[Any]] = []

    async def leaves(call: ToolCall, call_next: CallNext) -> Any:
        async def late() -> None:
            await after.wait()
            try:
                await call_next(call)
            except Exception as error:
                errors.append(str(error))

        runs.append(asyncio.ensure_future(call_next(call)))
        runs.append(asyncio.ensure_future(late()))
        await begun.wait()
        return "left"

    async with BridgeServer(tools=[endless], middleware=[leaves]) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        assert await soon(bridge.tools["endless"]()) == "left"
        await soon(ended.wait())
        after.set()
        await soon(asyncio.wait(runs))
        assert runs[0].cancelled()
        assert len(errors) == 1
        assert "answered already" in errors[0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda call: setattr(call, "args", "ab"), "call.args is 'ab'"),
        (lambda call: setattr(call, "args", None), "call.args is None"),
        (lambda call: setattr(call, "kwargs", [1]), "call.kwargs is"),
        (lambda call: call.kwargs.update({3: "x"}), "a key of call.kwargs is 3"),
        (lambda call: setattr(call, "metadata", None), "call.metadata is None"),
    ],
)
@pytest.mark.parametrize("side", ["hub", "client"])
async def test_what_is_no_argument_is_refused_by_its_name(side: str, change: Any, text: str) -> None:
    async def changes(call: ToolCall, call_next: CallNext) -> Any:
        change(call)
        return await call_next(call)

    at_hub, at_client = ([changes], []) if side == "hub" else ([], [changes])
    async with (
        BridgeServer(tools=[echo], middleware=at_hub) as server,
        GRPCToolBridge(server.address, middleware=at_client) as bridge,
    ):
        await bridge.initialize()
        with pytest.raises((ToolExecutionError, ValidationError), match=text):
            await soon(bridge.tools["echo"](1))


async def test_events_pass_by_middleware_that_reads_all_values_before_it_returns(open_: Open) -> None:
    async def collects(call: ToolCall, call_next: CallNext) -> Any:
        found = [value async for value in await call_next(call)]

        async def values() -> AsyncIterator[Any]:
            for value in found:
                yield value

        return values()

    bridge = await open_(collects)
    seen: list[float] = []
    told = bridge.tools["reports"].with_options(on_progress=lambda event: seen.append(event.current))
    assert await soon(_collected(told.stream())) == ["part 0", "part 1", "part 2"]
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("with_events", [False, True])
async def test_the_deadline_ends_middleware_that_waits_after_the_last_value(open_: Open, with_events: bool) -> None:
    async def goes_on(call: ToolCall, call_next: CallNext) -> Any:
        found = await call_next(call)

        async def values() -> AsyncIterator[Any]:
            async for value in found:
                yield value
            await asyncio.Event().wait()

        return values()

    @tool
    async def suspended(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number
            await asyncio.sleep(0)

    bridge = await open_(goes_on, tools=[suspended])
    options: dict[str, Any] = {"on_progress": lambda _: None} if with_events else {}
    with pytest.raises(ToolTimeoutError):
        await soon(_collected(bridge.tools["suspended"].with_options(timeout=0.3, **options).stream(2)))


@pytest.mark.parametrize("with_events", [False, True])
async def test_a_task_of_middleware_that_reads_the_values_ends_with_the_stream(with_events: bool) -> None:
    closed = asyncio.Event()

    @tool
    async def endless() -> AsyncIterator[int]:
        try:
            yield 0
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def pumps(call: ToolCall, call_next: CallNext) -> Any:
        found = await call_next(call)
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def pump() -> None:
            async for value in found:
                queue.put_nowait(value)

        pumping = asyncio.create_task(pump())

        async def values() -> AsyncIterator[Any]:
            while not pumping.done():
                yield await queue.get()

        return values()

    options: dict[str, Any] = {"on_progress": lambda _: None} if with_events else {}
    async with BridgeServer(tools=[endless], middleware=[pumps]) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        stream = bridge.tools["endless"].with_options(**options).stream()
        assert await soon(anext(stream)) == 0
        await stream.aclose()
        await soon(closed.wait())
