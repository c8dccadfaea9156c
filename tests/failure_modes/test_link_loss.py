"""A link that is lost: what was on its way fails at once and is ended at the hub, what is new waits for the next."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from failure_modes.links import Connect, Gate, echo
from grpc_tool_bridge import ToolCommunicationError, ToolContext
from integration.connections import read
from support.waiting import soon, until

MB = 1024 * 1024


def assert_unavailable(error: BaseException | None, address: str, why: str = "was lost") -> None:
    assert isinstance(error, ToolCommunicationError)
    assert error.code.name == "UNAVAILABLE"
    assert error.retryable
    assert address in str(error)
    assert why in str(error)


# ------------------------------------------------------------------------------------------------ calls in flight


async def test_calls_in_flight_fail_at_once_and_their_tools_are_cancelled(over_link: Connect) -> None:
    gate = Gate()
    world = await over_link(gate.work)
    calls = [asyncio.create_task(world.bridge.tools["work"](number)) for number in range(10)]
    await gate.running(10)
    world.lose()
    for call in calls:
        with pytest.raises(ToolCommunicationError) as caught:
            await soon(call)
        assert caught.value.tool_name == "work"
        assert_unavailable(caught.value, world.proxy.address)
    await until(lambda: gate.cancelled == 10)
    await world.quiet()
    assert not world.links()


async def test_a_stream_gives_what_came_and_then_the_error(over_link: Connect) -> None:
    gate = Gate()
    world = await over_link(gate.stream)
    values: list[int] = []
    stream = asyncio.create_task(read(world.bridge.tools["stream"].stream(3), values))
    await until(lambda: len(values) == 3)
    world.lose()
    with pytest.raises(ToolCommunicationError) as caught:
        await soon(stream)
    assert_unavailable(caught.value, world.proxy.address)
    assert values == [0, 1, 2]
    await until(lambda: gate.cancelled == 1)
    await world.quiet()


async def test_a_batch_and_a_call_that_is_no_tool_s_fail_alike(over_link: Connect) -> None:
    gate = Gate()
    world = await over_link(gate.work)
    batch = asyncio.create_task(world.bridge.execute_batch([{"tool_id": "work"}] * 3))
    leaving = asyncio.create_task(world.bridge.client.cleanup_session())
    await gate.running(3)
    world.lose()
    for task in (batch, leaving):
        with pytest.raises(ToolCommunicationError) as caught:
            await soon(task)
        assert_unavailable(caught.value, world.proxy.address)
    await until(lambda: gate.cancelled == 3)
    await world.quiet()


@pytest.mark.parametrize("direction", ["to_hub", "to_client"])
async def test_a_payload_that_broke_off_half_way_is_one_failed_call(over_link: Connect, direction: Any) -> None:
    world = await over_link(echo)
    large = b"x" * (9 * MB)
    world.proxy.cut_after(3 * MB, direction)
    with pytest.raises(ToolCommunicationError) as caught:
        await soon(world.bridge.tools["echo"](large))
    assert_unavailable(caught.value, world.proxy.address)
    assert await soon(world.bridge.tools["echo"](large)) == large
    await world.quiet()


async def test_a_silent_network_costs_a_call_its_time_and_the_link_nothing(over_link: Connect) -> None:
    world = await over_link(echo)
    world.proxy.stall()
    with pytest.raises(ToolCommunicationError) as caught:
        await soon(world.bridge.tools["echo"].with_options(timeout=0.05)("late"))
    assert caught.value.code.name == "DEADLINE_EXCEEDED"
    world.proxy.resume()
    assert await soon(world.bridge.tools["echo"]("again")) == "again"
    assert world.proxy.accepted == 1
    await world.quiet()


@pytest.mark.parametrize("trouble", ["delay", "limit"])
async def test_a_slow_network_loses_nothing(over_link: Connect, trouble: str) -> None:
    world = await over_link(echo)
    if trouble == "delay":
        world.proxy.delay(0.05)
    else:
        world.proxy.limit(5 * MB)
    large = b"x" * MB
    answers = await soon(asyncio.gather(*map(world.bridge.tools["echo"], [1, large, "two", large, 3.0])))
    assert answers == [1, large, "two", large, 3.0]
    await world.quiet()


# ------------------------------------------------------------------------------------------------ new calls


async def test_new_calls_wait_for_the_next_link_and_go_in_order(over_link: Connect) -> None:
    came: list[int] = []

    async def note(number: int) -> int:
        came.append(number)
        return number

    world = await over_link(note)
    await world.lost()
    calls = [asyncio.create_task(world.bridge.tools["note"](number)) for number in range(100)]
    refused = world.proxy.refused
    await until(lambda: world.proxy.refused > refused)
    assert not any(call.done() for call in calls)
    world.proxy.restore()
    assert await soon(asyncio.gather(*calls)) == list(range(100))
    assert came == list(range(100))
    assert world.proxy.accepted == 2


async def test_a_call_that_follows_a_failed_one_at_once_is_not_lost_with_the_old_link(over_link: Connect) -> None:
    gate = Gate()
    world = await over_link(gate.work, echo)

    async def insist() -> Any:
        with pytest.raises(ToolCommunicationError):
            await world.bridge.tools["work"]()
        return await world.bridge.tools["echo"]("at once")

    insisting = asyncio.create_task(insist())
    await gate.running()
    world.proxy.cut()
    assert await soon(insisting) == "at once"


async def test_a_stream_and_a_batch_wait_for_the_next_link_too(over_link: Connect) -> None:
    async def count(upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number

    world = await over_link(count, echo)
    await world.lost()
    values: list[int] = []
    stream = asyncio.create_task(read(world.bridge.tools["count"].stream(3), values))
    batch = asyncio.create_task(world.bridge.execute_batch([{"tool_id": "echo", "args": ["x"]}]))
    reading = asyncio.create_task(world.variables.get_variable("x", "none"))
    refused = world.proxy.refused
    await until(lambda: world.proxy.refused > refused)
    world.proxy.restore()
    await soon(stream)
    assert (values, await soon(batch), await soon(reading)) == ([0, 1, 2], ["x"], "none")


async def test_a_call_that_waits_in_vain_says_that_there_was_no_link_and_why(over_link: Connect) -> None:
    world = await over_link(echo)
    await world.lost()
    with pytest.raises(ToolCommunicationError) as caught:
        await soon(world.bridge.tools["echo"].with_options(timeout=0.3)("x"))
    assert_unavailable(caught.value, world.proxy.address, "there was no link within 0.3 s: ")
    values: list[Any] = []
    with pytest.raises(ToolCommunicationError) as caught:
        await soon(read(world.bridge.tools["echo"].with_options(timeout=0.05).stream("x"), values))
    assert_unavailable(caught.value, world.proxy.address, "there was no link within 0.05 s")
    world.proxy.restore()
    assert await soon(world.bridge.tools["echo"]("x")) == "x"


async def test_the_time_that_a_call_waited_is_taken_off_its_time(over_link: Connect) -> None:
    def left(ctx: ToolContext) -> float:
        return ctx.time_left()

    world = await over_link(left)
    loop = asyncio.get_running_loop()
    await world.lost()
    began = loop.time()
    call = asyncio.create_task(world.bridge.tools["left"].with_options(timeout=60)())
    refused = world.proxy.refused
    await until(lambda: world.proxy.refused > refused)
    waited = loop.time() - began
    world.proxy.restore()
    assert await soon(call) <= 60 - waited


async def test_a_call_that_is_cancelled_while_it_waits_never_reaches_the_hub(over_link: Connect) -> None:
    gate = Gate()
    world = await over_link(gate.work, echo)
    await world.lost()
    call = asyncio.create_task(world.bridge.tools["work"]())
    await asyncio.wait([call], timeout=0.01)
    call.cancel()
    await asyncio.wait([call])
    world.proxy.restore()
    assert await soon(world.bridge.tools["echo"](1)) == 1
    assert not gate.started


async def test_a_bridge_that_is_closed_without_a_link_leaves_no_call_waiting(over_link: Connect) -> None:
    world = await over_link(echo)
    await world.lost()
    calls = [asyncio.create_task(world.bridge.tools["echo"](number)) for number in range(3)]
    await asyncio.wait(calls, timeout=0.01)
    await soon(world.bridge.close())
    for call in calls:
        with pytest.raises(ToolCommunicationError, match="was closed"):
            await soon(call)


# ------------------------------------------------------------------------------------------------ retries


async def test_a_call_with_retries_gets_through(over_link: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.aio.backoff.RETRY_FIRST_SECONDS", 0.0)
    gate = Gate()
    world = await over_link(gate.work)
    call = asyncio.create_task(world.bridge.execute_with_retry("work", 7, max_retries=3))
    for tries in range(1, 4):
        await gate.running(tries)
        world.proxy.cut()
    await gate.running(4)
    gate.go_on.set()
    assert await soon(call) == 7
    assert gate.cancelled == 3
    await world.quiet()


async def test_many_calls_survive_a_link_that_is_lost_again_and_again(
    over_link: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_tool_bridge.aio.backoff.RETRY_FIRST_SECONDS", 0.01)
    world = await over_link(echo)
    done = 0

    async def ask(number: int) -> None:
        nonlocal done
        payload = [number, "x" * (number % 7) * 30_000]
        assert await world.bridge.execute_with_retry("echo", payload, max_retries=50) == payload
        done += 1

    asking = asyncio.gather(*(ask(number) for number in range(300)))
    for losses in range(1, 6):
        world.proxy.cut_after(300_000 * losses, "to_client" if losses % 2 else "to_hub")
        await until(partial(lambda before: world.proxy.accepted > before or done == 300, world.proxy.accepted))
    world.proxy.restore()
    await soon(asking)
    assert done == 300
    assert world.proxy.accepted > 2
    await world.quiet()
