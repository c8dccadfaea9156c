"""What goes on over the next connection: when it does, how long it waits, and when it is given up."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from grpc_tool_bridge.client import resume
from grpc_tool_bridge.client.caller import CLIENT_SLACK, Caller
from grpc_tool_bridge.client.resume import is_lost, reach, resumed
from grpc_tool_bridge.errors import NotFoundError, ToolBridgeError, ToolCommunicationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import GetMetricsRequest
from unit.client.fakes import FakeTransport, Streams, rpc_error

LOST = rpc_error(grpc.StatusCode.UNAVAILABLE, "lost")


class Reading:
    """Reads numbers, of which the odd ones have come before."""

    method = "Watch"

    def __init__(self, *, keeps_trying: bool = False) -> None:
        self.keeps_trying = keeps_trying
        self.asked: list[bool] = []
        self.limit = 1_000
        self.progress = False

    async def request(self, *, again: bool) -> GetMetricsRequest | None:
        self.asked.append(again)
        return GetMetricsRequest() if len(self.asked) <= self.limit else None

    async def take(self, message: int) -> int | None:
        return None if message % 2 else message

    def resumes_after(self, error: ToolBridgeError) -> bool:
        return is_lost(error)

    def has_progressed(self, seconds: float) -> bool:
        return self.progress


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the waits of each series, and waits none of them."""
    series: list[int] = []

    def back_off() -> Any:
        series.append(0)
        for _ in itertools.count():
            series[-1] += 1
            yield 0.0

    monkeypatch.setattr(resume, "back_off", back_off)
    return series


async def read(reading: Reading, *streams: list[Any], again: bool = False) -> list[int]:
    caller = Caller(FakeTransport(Watch=Streams(*streams)))
    return [number async for number in resumed(caller, reading, again=again)]


async def test_it_goes_on_after_a_loss_until_a_stream_ends(waits: list[int]) -> None:
    reading = Reading()
    assert await read(reading, [2, LOST], [LOST], [1, 4]) == [2, 4]
    assert reading.asked == [False, True, True]
    assert waits == [2]


async def test_what_was_lost_before_is_asked_for_as_such() -> None:
    reading = Reading()
    assert await read(reading, [2], again=True) == [2]
    assert reading.asked == [True]


async def test_after_a_good_stream_it_waits_as_after_the_first(waits: list[int]) -> None:
    reading = Reading()
    reading.progress = True
    await read(reading, [LOST], [LOST], [])
    assert waits[-2:] == [1, 1]


async def test_it_ends_where_nothing_is_left_to_ask_for() -> None:
    reading = Reading()
    reading.limit = 1
    assert await read(reading, [2, LOST]) == [2]


async def test_another_error_is_raised_at_once() -> None:
    reading = Reading()
    with pytest.raises(ToolCommunicationError, match="INTERNAL"):
        await read(reading, [rpc_error(grpc.StatusCode.INTERNAL)])
    assert reading.asked == [False]


async def test_a_bridge_that_is_closed_while_it_waits_is_not_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = FakeTransport()
    caller = Caller(transport)

    async def lose(request: Any) -> AsyncIterator[None]:
        asyncio.get_running_loop().call_soon(caller.close)
        raise LOST
        yield

    transport.answer("Watch", lose)
    monkeypatch.setattr(resume, "back_off", lambda: itertools.repeat(3_600.0))
    with pytest.raises(ToolCommunicationError, match="Watch: CANCELLED: the bridge was closed"):
        [number async for number in resumed(caller, Reading())]
    assert transport.count("Watch") == 1


@pytest.mark.parametrize("keeps_trying", [False, True])
async def test_what_does_not_get_on_in_time_is_given_up_unless_it_is_to_go_on(
    keeps_trying: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "CALL_TIMEOUT", -1.0)
    reading = Reading(keeps_trying=keeps_trying)
    streams: list[list[Any]] = [[LOST], [LOST], [LOST], [2]]
    if keeps_trying:
        assert await read(reading, *streams) == [2]
    else:
        with pytest.raises(ToolCommunicationError, match="lost"):
            await read(reading, *streams)
        assert reading.asked == [False, True]


async def test_a_loss_is_raised_where_no_time_is_left_to_resume() -> None:
    reading = Reading()
    caller = Caller(FakeTransport(Watch=Streams([2, LOST], [4])))
    with pytest.raises(ToolCommunicationError, match="lost"):
        [number async for number in resumed(caller, reading, timeout=0.0)]
    assert reading.asked == [False]


async def test_a_stream_that_says_nothing_ends_when_its_time_is_over() -> None:
    transport = FakeTransport()
    caller = Caller(transport)

    async def say_nothing(request: Any) -> AsyncIterator[None]:
        await asyncio.get_running_loop().create_future()
        yield

    transport.answer("Watch", say_nothing)
    with pytest.raises(ToolCommunicationError, match="Watch: DEADLINE_EXCEEDED: no answer"):
        # The slack of the client is added to it.
        [number async for number in resumed(caller, Reading(), timeout=0.05 - CLIENT_SLACK)]


async def test_a_hub_is_reached_when_it_is_there() -> None:
    left: list[float] = []

    async def attempt(seconds: float) -> str:
        left.append(seconds)
        if len(left) < 3:
            raise ToolCommunicationError("Link", grpc.StatusCode.UNAVAILABLE)
        return "there"

    assert await reach(attempt, 60.0) == "there"
    assert 60.0 >= left[0] >= left[1] >= left[2] > 0


@pytest.mark.parametrize(
    "error", [NotFoundError("no"), ToolCommunicationError("Link", grpc.StatusCode.UNAUTHENTICATED)], ids=["not", "who"]
)
async def test_a_hub_that_refuses_is_not_asked_again(error: ToolBridgeError, waits: list[int]) -> None:
    async def attempt(seconds: float) -> None:
        raise error

    with pytest.raises(type(error)):
        await reach(attempt, 60.0)
    assert waits == [1]
