"""Requests over NATS and their answers."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.bus.requests import STATUS, NoAnswerError, NotSentError, Requests
from support.waiting import soon


@pytest.fixture
async def requests(bus: Bus) -> Requests:
    made = Requests(bus.nc)
    await made.start()
    return made


async def test_each_of_many_requests_at_once_gets_its_own_answer(bus: Bus, requests: Requests) -> None:
    async def answer(message: Any) -> None:
        await message.respond(message.data * 2)

    await bus.nc.subscribe("echo", cb=answer)
    asked = (requests.ask("echo", b"%d" % number, None, 60) for number in range(100))
    answers = await asyncio.gather(*asked)
    assert [message.data for message in answers] == [b"%d%d" % (n, n) for n in range(100)]
    assert requests._waiting == {}


async def test_where_nobody_listens_it_is_not_sent(requests: Requests) -> None:
    with pytest.raises(NotSentError, match="nobody in NATS takes this"):
        await soon(requests.ask("nobody", b"", None, 60))


async def test_an_answer_that_does_not_come_in_time_leaves_it_open_and_nothing_behind(
    bus: Bus, requests: Requests
) -> None:
    await bus.nc.subscribe("silent", cb=_silent)
    with pytest.raises(NoAnswerError, match=r"did not answer within 0\.01 s"):
        await requests.ask("silent", b"", None, 0.01)
    with pytest.raises(NoAnswerError, match=r"did not answer within 0\.01 s"):
        [message async for message in requests.ask_many("silent", b"", 0.01)]
    assert requests._waiting == {}


async def _silent(_: object) -> None:
    return


async def test_many_answers_end_with_the_one_that_has_a_status(bus: Bus, requests: Requests) -> None:
    async def answer(message: Any) -> None:
        for number in range(3):
            await bus.nc.publish(message.reply, b"%d" % number)
        await bus.nc.publish(message.reply, b"", headers={STATUS: "204"})

    await bus.nc.subscribe("many", cb=answer)
    async with aclosing(requests.ask_many("many", b"", 60)) as answers:
        assert [message.data async for message in answers] == [b"0", b"1", b"2", b""]


async def test_all_that_wait_end_when_the_connection_is_lost(bus: Bus, requests: Requests) -> None:
    await bus.nc.subscribe("silent", cb=_silent)
    waiting = [asyncio.ensure_future(requests.ask("silent", b"", None, 1_000)) for _ in range(3)]
    await asyncio.sleep(0)
    requests.on_disconnect()
    for asked in waiting:
        with pytest.raises(NoAnswerError, match="was lost"):
            await soon(asked)
