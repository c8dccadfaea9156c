"""Tries again where that may help, and only there, over every transport; and the API for synchronous callers."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    LocalToolBridge,
    ResourceExhaustedError,
    ToolBridgeError,
    ToolContext,
    ToolExecutionError,
    UnavailableError,
    ValidationError,
    tool,
)
from grpc_tool_bridge.client.bridge import is_retryable
from integration.connections import Connect, loop_threads
from support.patience import PATIENCE
from support.waiting import soon, until
from support.waits import waits as waits  # noqa: PLC0414 - a fixture


class Flaky:
    """Fails so many times, then works."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return self.calls


class BusyError(Exception):
    retryable = True


pytestmark = pytest.mark.usefixtures("waits")


async def test_a_call_with_an_idempotency_key_runs_once(connect: Connect) -> None:
    runs: list[int] = []

    def note(number: int) -> int:
        runs.append(number)
        return len(runs)

    world = await connect(note)
    once = world.bridge.tools["note"].with_options(idempotency_key="k")
    assert [await once(7), await once(7)] == [1, 1]
    assert runs == [7]
    with pytest.raises(ToolExecutionError) as caught:
        await once(8)
    assert caught.value.error_type == "IdempotencyConflict"


async def test_a_second_call_while_the_first_one_runs_gets_its_result(connect: Connect) -> None:
    runs = 0
    started, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        nonlocal runs
        runs += 1
        started.set()
        await go_on.wait()
        return runs

    world = await connect(work)
    other = await world.attach(world.session_id)
    tasks = [
        asyncio.create_task(bridge.tools["work"].with_options(idempotency_key="k")())
        for bridge in (world.bridge, other)
    ]
    await soon(started.wait())
    keyed = world.hub.store.find(world.session_id).keyed
    await until(lambda: keyed is not None and keyed._waiting)
    go_on.set()
    assert await soon(asyncio.gather(*tasks)) == [1, 1]
    await world.quiet()


async def test_a_try_whose_answer_was_lost_does_not_run_the_tool_twice(connect: Connect, waits: list[float]) -> None:
    runs: list[int] = []

    def note(number: int) -> int:
        runs.append(number)
        return len(runs)

    world = await connect(note)
    stub = world.bridge.client.stub
    execute, answers = stub.ExecuteTool, 0

    async def lossy(request: Any) -> Any:
        nonlocal answers
        answer = await execute(request)
        answers += 1
        if answers <= 2:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "lost")
        return answer

    world.bridge.client.stub = SimpleNamespace(ExecuteTool=lossy)
    assert await world.bridge.execute_with_retry("note", 7) == 1
    world.bridge.client.stub = stub
    assert (len(waits), answers, runs) == (2, 3, [7])
    assert await world.bridge.execute_with_retry("note", 7) == 2


async def test_a_key_of_the_caller_holds_for_more_than_one_call_with_retries(connect: Connect) -> None:
    flaky = Flaky(1, BusyError("not now"))
    world = await connect(tool(name="flaky")(flaky))
    once = world.tools["flaky"].with_options(idempotency_key="order-17")
    assert [await world.bridge.execute_with_retry(once) for _ in range(2)] == [2, 2]
    assert flaky.calls == 2


async def test_a_streaming_tool_is_tried_again_too(connect: Connect) -> None:
    flaky = Flaky(1, BusyError("not now"))

    async def values() -> AsyncIterator[int]:
        yield await flaky()

    world = await connect(values)
    assert await world.bridge.execute_with_retry("values") == [2]


async def test_an_error_marked_retryable_is_tried_again_until_it_works(connect: Connect, waits: list[float]) -> None:
    flaky = Flaky(2, BusyError("not now"))
    world = await connect(tool(name="flaky")(flaky))
    assert await world.bridge.execute_with_retry("flaky") == 3
    assert len(waits) == 2
    assert 0 < waits[0] <= 0.1 < waits[1] * 2 <= 0.4


async def test_max_retries_counts_the_further_tries_and_the_last_error_is_raised(connect: Connect) -> None:
    flaky = Flaky(99, BusyError("not now"))
    world = await connect(tool(name="flaky")(flaky))
    with pytest.raises(ToolExecutionError, match="not now"):
        await world.bridge.execute_with_retry("flaky", max_retries=2)
    assert flaky.calls == 3
    with pytest.raises(ToolExecutionError, match="not now"):
        await world.bridge.execute_with_retry("flaky", max_retries=0)
    assert flaky.calls == 4


async def test_an_error_of_the_tool_is_not_tried_again(connect: Connect) -> None:
    flaky = Flaky(1, ValueError("no"))
    world = await connect(tool(name="flaky")(flaky))
    with pytest.raises(ToolExecutionError, match="no"):
        await world.bridge.execute_with_retry("flaky")
    assert flaky.calls == 1


async def test_a_time_out_is_tried_again(connect: Connect) -> None:
    calls = 0

    async def slow_once() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.Event().wait()
        return calls

    world = await connect(tool(limits={"timeout_ms": 100})(slow_once))
    assert await world.bridge.execute_with_retry("slow_once") == 2


async def test_retry_after_rules_over_the_back_off(connect: Connect, waits: list[float]) -> None:
    world = await connect(tool(name="flaky", limits={"rate_limit_per_minute": 1})(Flaky(0, BusyError())))
    assert await world.tools["flaky"]() == 1
    with pytest.raises(ToolExecutionError) as caught:
        await world.bridge.execute_with_retry("flaky", max_retries=1)
    assert caught.value.error_type == "RateLimitExceeded"
    assert 50 < waits[0] <= 60


async def test_what_is_retried_can_be_replaced(connect: Connect) -> None:
    flaky = Flaky(2, ValueError("no"))
    world = await connect(tool(name="flaky")(flaky))

    def if_value_error(error: ToolBridgeError) -> bool:
        return error.error_type == "ValueError"

    bridge = await world.attach(retry_if=if_value_error)
    assert await bridge.execute_with_retry("flaky") == 3


async def test_a_number_of_retries_below_0_is_refused(connect: Connect) -> None:
    world = await connect()
    with pytest.raises(ValidationError, match="max_retries"):
        await world.bridge.execute_with_retry("any", max_retries=-1)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (UnavailableError("gone"), True),
        (ResourceExhaustedError("full"), True),
        (ValidationError("wrong"), False),
        (ToolExecutionError("t", "ValueError", "x", {"origin": "tool"}), False),
    ],
)
def test_the_rule_of_what_may_help_is_one_function(error: ToolBridgeError, retryable: bool) -> None:
    assert is_retryable(error) is retryable


def add(a: int, b: int) -> int:
    return a + b


async def count(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        yield number


def nested(ctx: ToolContext, value: int) -> int:
    return int(ctx.sync.call_tool("add", value, 1))


@pytest.fixture(params=["local", "rpc", "link"])
def blocking_bridge(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A bridge for a caller without an event loop; elsewhere its hub lives in a thread of its own."""
    tools = [add, count, nested]
    if request.param == "local":
        yield LocalToolBridge(tools).sync
        return
    started, done = threading.Event(), threading.Event()
    address = ""

    async def serve() -> None:
        nonlocal address
        async with BridgeServer(tools=tools) as server:
            address = server.address
            started.set()
            while not done.is_set():  # noqa: ASYNC110 - set from another thread
                await asyncio.sleep(0.005)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(PATIENCE)
    yield GRPCToolBridge(address, transport=request.param).sync
    done.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_synchronous_caller_has_the_whole_api(blocking_bridge: Any) -> None:
    with blocking_bridge as bridge:
        loops = loop_threads()
        tools = bridge.initialize("blocking")
        assert set(tools) == {"add", "count", "nested"}
        assert tools["add"](2, 3) == 5
        assert tools["add"].with_options(timeout=5)(2, 3) == 5
        assert tools["nested"](1) == 2
        assert list(tools["count"].stream(3)) == [0, 1, 2]
        assert bridge.call_tool("add", 1, 2) == 3
        assert bridge.execute_batch([{"tool_id": "add", "args": [1, i]} for i in range(3)]) == [1, 2, 3]
        assert bridge.execute_with_retry("add", 4, 4) == 8
        assert bridge.execute_with_retry(tools["add"].with_options(idempotency_key="k"), 4, 4) == 8
        bridge.session_context.set_variable("x", {"a": 1})
        assert bridge.session_context.get_variable("x") == {"a": 1}
        assert [info.name for info in bridge.session_context.list_variables()] == ["x"]
        changes = bridge.session_context.watch_variables("x")
        assert next(changes).value == {"a": 1}
        changes.close()
        with pytest.raises(ToolExecutionError, match="missing"):
            tools["add"](1)
        assert bridge.client.session_info().session_id == "blocking"
    assert len(loop_threads()) == len(loops) - 1


def test_a_synchronous_caller_may_leave_a_stream_early(blocking_bridge: Any) -> None:
    with blocking_bridge as bridge:
        bridge.initialize()
        stream = bridge.stream_tool("count", 1_000_000)
        assert next(stream) == 0
        stream.close()
        assert bridge.call_tool("add", 1, 1) == 2


async def test_the_blocking_view_can_be_used_from_a_thread_beside_a_running_loop() -> None:
    def use() -> int:
        with LocalToolBridge([add]).sync as bridge:
            bridge.initialize()
            return int(bridge.call_tool("add", 20, 22))

    assert await asyncio.to_thread(use) == 42
