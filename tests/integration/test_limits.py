"""Limits: what happens at each of them, over every transport."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import (
    BridgeServer,
    LocalToolBridge,
    MessageTooLargeError,
    ResourceExhaustedError,
    SessionConfig,
    SessionExpiredError,
    SessionNotFoundError,
    Settings,
    ToolContext,
    ToolExecutionError,
    ToolTimeoutError,
    ValidationError,
    tool,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import GetSessionInfoRequest, ToolCallRequest, ToolStreamRequest
from grpc_tool_bridge.values.serialization import serialize_value
from integration.connections import Connect, RemoteBridge, World, read
from support.patience import PATIENCE
from support.waiting import soon, until


class Gate:
    """A tool whose calls wait until they are let go, and what was seen of them."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.order: list[int] = []
        self.go_on = asyncio.Event()

    async def work(self, number: int = 0) -> int:
        self.order.append(number)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go_on.wait()
            # Others that could run at once begin in this turn of the loop.
            await asyncio.sleep(0)
        finally:
            self.running -= 1
        return number


async def fine() -> str:
    return "fine"


def _waiting(world: World) -> int:
    return sum(session.limiter.waiting for session in world.hub.store.sessions() if session.limiter)


# ---------------------------------------------------------------------------------------------------- calls at once


async def test_calls_over_the_session_s_limit_wait_in_order(connect: Connect) -> None:
    gate = Gate()
    world = await connect(gate.work, max_session_calls=2)
    tasks = []
    for number in range(6):
        tasks.append(asyncio.create_task(world.tools["work"](number)))
        await until(lambda: len(gate.order) + _waiting(world) == len(tasks))
    assert gate.order == [0, 1]
    gate.go_on.set()
    assert await soon(asyncio.gather(*tasks)) == list(range(6))
    assert gate.order == list(range(6))
    assert gate.most == 2
    await world.quiet()


async def test_more_waiting_calls_than_the_limit_are_refused_and_the_others_run(connect: Connect) -> None:
    gate = Gate()
    world = await connect(gate.work, max_session_calls=1, max_session_waiting=2)
    tasks = [asyncio.create_task(world.tools["work"](number)) for number in range(3)]
    await until(lambda: _waiting(world) == 2)
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["work"](3)
    assert caught.value.error_type == "ResourceExhausted"
    assert caught.value.retryable
    assert caught.value.retry_after is not None
    assert "2 waiting" in caught.value.message
    gate.go_on.set()
    assert sorted(await soon(asyncio.gather(*tasks))) == [0, 1, 2]
    await world.quiet()


async def test_the_session_s_own_limit_rules_over_the_hub_s(connect: Connect) -> None:
    gate = Gate()
    world = await connect(gate.work, config=SessionConfig(max_concurrent_tools=1))
    tasks = [asyncio.create_task(world.tools["work"](number)) for number in range(3)]
    await until(lambda: _waiting(world) == 2)
    gate.go_on.set()
    await soon(asyncio.gather(*tasks))
    assert gate.most == 1


async def test_one_session_s_full_permits_do_not_hold_up_another(connect: Connect) -> None:
    gate = Gate()
    world = await connect(gate.work, fine, max_session_calls=1)
    task = asyncio.create_task(world.tools["work"]())
    await until(lambda: gate.running == 1)
    other = await world.attach()
    assert await soon(other.tools["fine"]()) == "fine"
    gate.go_on.set()
    await soon(task)


async def test_a_nested_call_uses_its_parent_s_place(connect: Connect) -> None:
    async def nest(ctx: ToolContext, depth: int) -> int:
        return depth if depth == 0 else int(await ctx.call_tool("nest", depth - 1)) + 1

    def nest_thread(ctx: ToolContext) -> int:
        return int(ctx.sync.call_tool("nest", 3))

    async def nest_stream(ctx: ToolContext) -> AsyncIterator[int]:
        yield int(await ctx.call_tool("nest", 2))

    tools = [tool(limits={"max_concurrent_calls": 1})(function) for function in (nest, nest_thread, nest_stream)]
    world = await connect(*tools, max_session_calls=1)
    assert await soon(world.tools["nest"](5)) == 5
    assert await soon(world.tools["nest_thread"]()) == 3
    assert await soon(world.tools["nest_stream"]()) == [2]
    await world.quiet()


@pytest.mark.parametrize("by_setting", [False, True])
async def test_a_tool_s_limit_holds_over_all_sessions(connect: Connect, by_setting: bool) -> None:
    gate = Gate()
    settings: dict[str, Any] = {"max_tool_calls": 2} if by_setting else {}
    world = await connect(tool(limits=None if by_setting else {"max_concurrent_calls": 2})(gate.work), **settings)
    other = await world.attach()
    tasks = [asyncio.create_task(bridge.tools["work"]()) for bridge in (world.bridge, other) for _ in range(4)]
    await until(lambda: gate.running == 2)
    gate.go_on.set()
    await soon(asyncio.gather(*tasks))
    assert gate.most == 2
    await world.quiet()


@pytest.mark.parametrize("by_setting", [False, True])
async def test_a_rate_limit_refuses_with_the_time_to_wait(connect: Connect, by_setting: bool) -> None:
    settings: dict[str, Any] = {"rate_limit_per_minute": 3} if by_setting else {}
    world = await connect(tool(limits=None if by_setting else {"rate_limit_per_minute": 3})(fine), **settings)
    for _ in range(3):
        assert await world.tools["fine"]() == "fine"
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["fine"]()
    assert caught.value.error_type == "RateLimitExceeded"
    assert caught.value.retryable
    assert 0 < (caught.value.retry_after or 0) <= 20
    assert "3 times a minute" in caught.value.message
    stream = world.tools["fine"].stream()
    with pytest.raises(ToolExecutionError, match="3 times a minute"):
        await anext(stream)


# --------------------------------------------------------------------------------------------------------- time-outs


async def hang() -> None:
    await asyncio.Event().wait()


async def hang_stream() -> AsyncIterator[int]:
    yield 1
    await asyncio.Event().wait()


@pytest.mark.parametrize("setter", ["request", "tool", "session", "hub"])
async def test_a_call_s_time_out_is_set_by_request_tool_session_or_hub(connect: Connect, setter: str) -> None:
    limited = tool(limits={"timeout_ms": 50})(hang) if setter == "tool" else hang
    config = SessionConfig(default_timeout_ms=50) if setter == "session" else None
    settings: dict[str, Any] = {"call_timeout": 0.05} if setter == "hub" else {}
    world = await connect(limited, fine, config=config, **settings)
    request = ToolCallRequest(session_id=world.session_id, tool_id="hang")
    request.timeout_ms = 50 if setter == "request" else 0
    response = await soon(world.bridge.client.stub.ExecuteTool(request))
    assert not response.success
    assert response.error.type == "TimeoutError"
    assert response.error.retryable
    assert "hang" in response.error.message
    assert await world.tools["fine"]() == "fine"
    await world.quiet()


async def test_a_caller_cannot_lengthen_a_tool_s_limit(connect: Connect) -> None:
    world = await connect(tool(limits={"timeout_ms": 50})(hang))
    with pytest.raises(ToolTimeoutError):
        await soon(world.tools["hang"].with_options(timeout=20)())


async def test_a_stream_s_time_out_is_set_by_request_or_hub(connect: Connect) -> None:
    world = await connect(hang_stream, stream_timeout=0.1)
    for timeout_ms in (0, 50):
        request = ToolStreamRequest(session_id=world.session_id, tool_id="hang_stream", timeout_ms=timeout_ms)
        async with asyncio.timeout(PATIENCE):
            chunks = [chunk async for chunk in world.bridge.client.stub.StreamTool(request)]
        assert [chunk.WhichOneof("content") for chunk in chunks] == ["data", "error"]
        assert chunks[-1].error.type == "TimeoutError"
    await world.quiet()


async def test_a_negative_time_out_is_refused(connect: Connect) -> None:
    world = await connect(fine)
    request = ToolCallRequest(session_id=world.session_id, tool_id="fine", timeout_ms=-1)
    response = await world.bridge.client.stub.ExecuteTool(request)
    assert response.error.type == "ValidationError"
    assert "timeout_ms" in response.error.message


# ------------------------------------------------------------------------------------------------- sizes and counts


async def test_a_batch_of_as_many_items_as_allowed_runs_and_one_more_is_refused(connect: Connect) -> None:
    world = await connect(fine)
    items = [{"tool_id": "fine"}] * 100
    assert await world.bridge.execute_batch(items) == ["fine"] * 100
    with pytest.raises(ValidationError) as caught:
        await world.bridge.execute_batch([*items, {"tool_id": "fine"}])
    assert "100" in caught.value.message
    assert "101" in caught.value.message
    assert "split" in caught.value.message


async def test_the_size_of_a_batch_can_be_set(connect: Connect) -> None:
    world = await connect(fine, max_batch_items=2)
    with pytest.raises(ValidationError, match="at most 2"):
        await world.bridge.execute_batch([{"tool_id": "fine"}] * 3)


async def test_a_large_payload_passes_up_to_the_limit_and_fails_over_it_at_either_end(connect: Connect) -> None:
    async def grow(data: bytes, factor: int) -> bytes:
        return data * factor

    world = await connect(grow, fine)
    megabyte = 1024 * 1024
    assert len(await world.tools["grow"](b"x" * megabyte * 9, 1)) == 9 * megabyte
    with pytest.raises(ToolExecutionError) as sending:
        await world.tools["grow"](b"x" * megabyte * 11, 0)
    with pytest.raises(ToolExecutionError) as receiving:
        await world.tools["grow"](b"x" * megabyte, 11)
    for caught, what in ((sending, "the call of grow"), (receiving, "the result of grow")):
        assert caught.value.error_type == "MessageTooLarge"
        assert "message too large" in caught.value.message
        assert what in caught.value.message
        assert f"{10 * megabyte:,}" in caught.value.message
        assert not caught.value.retryable
    assert await world.tools["fine"]() == "fine"


async def test_a_request_over_the_hub_s_limit_alone_is_refused_by_the_hub(connect: Connect) -> None:
    async def size(data: bytes) -> int:
        return len(data)

    world = await connect(size, max_message_bytes=10_000)
    request = ToolCallRequest(session_id=world.session_id, tool_id="size", args=[serialize_value(b"x" * 20_000)])
    response = await world.bridge.client.stub.ExecuteTool(request)
    assert response.error.type == "MessageTooLarge"
    assert "10,000" in response.error.message
    assert await world.tools["size"](b"xx") == 2


async def test_a_value_of_a_stream_over_the_limit_ends_its_stream_only(connect: Connect) -> None:
    async def grow() -> AsyncIterator[bytes]:
        yield b"small"
        yield b"x" * 20_000

    world = await connect(grow, fine, max_message_bytes=10_000)
    seen: list[Any] = []
    with pytest.raises(ToolExecutionError, match="message too large"):
        await read(world.tools["grow"].stream(), into=seen)
    assert seen == [b"small"]
    assert await world.tools["fine"]() == "fine"


async def test_a_batch_s_answer_over_the_limit_keeps_the_results_that_fit(connect: Connect) -> None:
    async def make(size: int) -> bytes:
        return b"x" * size

    world = await connect(make, max_message_bytes=10_000)
    results = await world.bridge.execute_batch([{"tool_id": "make", "args": [size]} for size in (4_000, 8_000, 3_000)])
    assert [len(results[0]), len(results[2])] == [4_000, 3_000]
    assert results[1].error_type == "MessageTooLarge"


async def test_a_variable_over_the_limit_is_refused(connect: Connect) -> None:
    world = await connect(max_message_bytes=10_000)
    with pytest.raises(MessageTooLargeError, match="message too large"):
        await world.variables.set_variable("big", b"x" * 20_000)
    await world.variables.set_variable("big", b"x" * 1_000)


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


async def test_nesting_passes_up_to_the_limit_and_is_refused_over_it(connect: Connect) -> None:
    async def echo(value: Any) -> Any:
        return value

    world = await connect(echo, max_depth=50)
    assert await world.tools["echo"](_nested(40)) == _nested(40)
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["echo"](_nested(80))
    assert caught.value.error_type == "SerializationError"
    assert "max_depth" in caught.value.message
    assert await world.tools["echo"](1) == 1


# --------------------------------------------------------------------------------------------------------- sessions


async def test_a_hub_with_as_many_sessions_as_allowed_refuses_one_more_but_attaches(connect: Connect) -> None:
    world = await connect(fine, max_sessions=2)
    await world.attach("second")
    with pytest.raises(ResourceExhaustedError) as caught:
        await world.attach("third")
    assert caught.value.error_type == "ResourceExhausted"
    assert "max_sessions" in caught.value.message
    again = await world.attach("second")
    assert await again.tools["fine"]() == "fine"
    await world.bridge.close()
    assert await (await world.attach("third")).tools["fine"]() == "fine"


async def test_an_idle_session_expires_and_says_so(connect: Connect) -> None:
    world = await connect(fine, session_idle_timeout=0.1)
    bridge = world.bridge
    await world.leave_alone()
    await until(lambda: not len(world.hub.store))
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["fine"]()
    assert caught.value.error_type == "SessionExpired"
    assert "idle" in caught.value.message
    with pytest.raises(SessionExpiredError, match="idle"):
        await world.variables.get_variable("x")
    await bridge.initialize(bridge.session_id)
    assert await world.tools["fine"]() == "fine"


@pytest.mark.parametrize("kind", ["call", "stream", "watch"])
async def test_a_session_at_work_does_not_expire(connect: Connect, kind: str) -> None:
    gate = Gate()

    async def stream() -> AsyncIterator[int]:
        yield await gate.work()

    world = await connect(gate.work, stream, session_idle_timeout=0.1)
    await world.bridge._tasks.aclose()
    task: asyncio.Future[Any]
    watch = world.variables.watch_variables("x")
    if kind == "watch":
        task = asyncio.ensure_future(anext(watch))
        await until(lambda: any(session.watches for session in world.hub.store.sessions()))
    else:
        task = asyncio.ensure_future(world.tools["work" if kind == "call" else "stream"]())
        await until(lambda: gate.running)
    # Another session that idles shows that the hub has looked.
    idle = await world.attach("idle")
    await world.leave_alone(idle)
    await until(lambda: "idle" not in {session.id for session in world.hub.store.sessions()})
    assert len(world.hub.store) == 1
    gate.go_on.set()
    if kind == "watch":
        await world.variables.set_variable("x", 1)
        assert (await soon(task)).value == 1
        await watch.aclose()
    else:
        assert await soon(task) in (0, [0])


async def test_heartbeats_keep_a_session_alive(connect: Connect) -> None:
    world = await connect(fine, session_idle_timeout=0.3)
    await world.leave_alone()
    beating = await world.attach("beating")
    await beating._tasks.aclose()
    beating.client.heartbeat_interval = 0.02
    beating._tasks.spawn(beating._heartbeat(), "heartbeat")
    idle = await world.attach("idle")
    await world.leave_alone(idle)
    await until(lambda: "idle" not in {session.id for session in world.hub.store.sessions()})
    assert "beating" in {session.id for session in world.hub.store.sessions()}


async def test_over_grpc_a_bridge_beats_as_often_as_its_hub_needs_it(remote_bridge: RemoteBridge) -> None:
    async with (
        BridgeServer(settings=Settings(session_idle_timeout=30)) as server,
        remote_bridge(server.address) as bridge,
    ):
        await bridge.initialize()
        assert bridge.client.heartbeat_interval == 10.0


async def test_in_one_process_a_bridge_beats_as_often_as_its_hub_needs_it() -> None:
    async with LocalToolBridge(settings=Settings(session_idle_timeout=30)) as bridge:
        await bridge.initialize()
        assert bridge.client.heartbeat_interval == 10.0


async def test_ended_sessions_are_remembered_in_bounded_memory(connect: Connect) -> None:
    world = await connect(fine, ended_sessions=3)
    for number in range(6):
        await (await world.attach(f"s{number}")).close()
    assert len(world.hub.store._ended) == 3
    stub = world.bridge.client
    with pytest.raises(SessionNotFoundError):
        await stub.call("GetSessionInfo", GetSessionInfoRequest(session_id="s0"))
    with pytest.raises(SessionExpiredError):
        await stub.call("GetSessionInfo", GetSessionInfoRequest(session_id="s5"))


async def test_variables_of_a_session_are_limited_in_number(connect: Connect) -> None:
    world = await connect(max_session_variables=2)
    await world.variables.set_variable("a", 1)
    await world.variables.set_variable("b", 2)
    with pytest.raises(ResourceExhaustedError, match="delete some"):
        await world.variables.set_variable("c", 3)
    await world.variables.set_variable("a", 10)
    await world.variables.delete_variable("b")
    await world.variables.set_variable("c", 3)


async def test_variables_of_a_session_are_limited_in_bytes(connect: Connect) -> None:
    world = await connect(max_session_variable_bytes=1_000)
    await world.variables.set_variable("a", b"x" * 600)
    with pytest.raises(ResourceExhaustedError, match="1,000"):
        await world.variables.set_variable("b", b"x" * 600)
    await world.variables.set_variable("a", b"x" * 900)
    await world.variables.delete_variable("a")
    await world.variables.set_variable("b", b"x" * 900)


async def test_watches_of_a_session_are_limited_and_given_back(connect: Connect) -> None:
    world = await connect(max_session_watches=2)
    await world.variables.set_variable("x", 1)
    watches = [world.variables.watch_variables("x") for _ in range(2)]
    for watch in watches:
        assert (await soon(anext(watch))).value == 1
    with pytest.raises(ResourceExhaustedError, match="watches"):
        await soon(anext(world.variables.watch_variables("x")))
    await watches[0].aclose()
    await until(lambda: sum(session.watches for session in world.hub.store.sessions()) == 1)
    again = world.variables.watch_variables("x")
    assert (await soon(anext(again))).value == 1
    await again.aclose()
    await watches[1].aclose()
    await world.quiet()
