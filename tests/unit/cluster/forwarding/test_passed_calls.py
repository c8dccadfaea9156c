"""One request that is passed on: its deadline, its questions, and its end."""

import asyncio
import time
from typing import Any

import pytest

from grpc_tool_bridge.cluster.forwarding.passed_calls import pass_call, pass_stream
from grpc_tool_bridge.errors import DeadlineExceededError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask
from grpc_tool_bridge.rpc.asks import Answered, OpenAsks
from grpc_tool_bridge.rpc.context import RequestContext
from support.waiting import soon, turns


class Peer:
    """The link to another hub; what is sent waits for the test."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, bytes]] = []

    def start(self, call: Any, payload: bytes, *, waits: bool) -> Any:
        assert not waits
        self.sent.append((call, payload))
        return call


class Caller:
    """Who answers the questions of a tool; an ``Asker``."""

    can_ask = True

    def __init__(self) -> None:
        self.asks = OpenAsks()
        self.asked: list[Ask] = []

    def ask(self, ask: Ask, answered: Answered) -> Any:
        asked = self.asks.add(ask, answered)
        self.asked.append(asked)
        return lambda: self.asks.withdraw(asked.id)


@pytest.fixture
def peer() -> Any:
    return Peer()


async def test_an_answer_comes_back_as_it_is(peer: Any) -> None:
    passing = asyncio.ensure_future(pass_call(peer, "Heartbeat", b"asked", RequestContext()))
    await turns()
    [(call, payload)] = peer.sent
    assert payload == b"asked"
    call.on_reply(b"answered")
    assert await soon(passing) == b"answered"


async def test_a_request_whose_time_is_over_is_not_sent(peer: Any) -> None:
    with pytest.raises(DeadlineExceededError, match="was not passed on in time"):
        await pass_call(peer, "ExecuteTool", b"", RequestContext(deadline=time.monotonic() - 1))
    assert peer.sent == []


async def test_the_time_that_is_left_is_passed_on(peer: Any) -> None:
    passing = asyncio.ensure_future(
        pass_call(peer, "ExecuteTool", b"", RequestContext(deadline=time.monotonic() + 100))
    )
    await turns()
    assert 0 < peer.sent[0][0].time_remaining() <= 100
    passing.cancel()
    await asyncio.wait([passing])


async def test_a_question_goes_to_the_caller_and_its_answer_back(peer: Any) -> None:
    caller = Caller()
    passing = asyncio.ensure_future(pass_call(peer, "ExecuteTool", b"", RequestContext(asker=caller)))
    await turns()
    call = peer.sent[0][0]
    given: list[Answer] = []
    call.on_ask(Ask(id="7", message="How many?"), given.append)
    caller.asks.take(Answer(id=caller.asked[0].id, action="accept"))
    assert [(answer.id, answer.action) for answer in given] == [("7", "accept")]
    call.on_ask(Ask(id="8", message="And now?"), given.append)
    call.on_reply(b"")
    await soon(passing)
    # What nobody has answered is withdrawn.
    caller.asks.take(Answer(id=caller.asked[1].id, action="accept"))
    assert len(given) == 1


async def test_a_question_that_cannot_be_passed_on_ends_the_call(peer: Any) -> None:
    passing = asyncio.ensure_future(pass_call(peer, "ExecuteTool", b"", RequestContext(asker=Caller())))
    await turns()
    peer.sent[0][0].on_ask(Ask(id="7", message="?" * 5_000), lambda _: None)
    with pytest.raises(Exception, match="the limit is 4,096"):
        await soon(passing)


async def test_a_stream_is_cancelled_there_when_its_reader_stops(peer: Any) -> None:
    messages = pass_stream(peer, "StreamTool", b"", RequestContext())
    reading = asyncio.ensure_future(anext(messages))
    await turns()
    call = peer.sent[0][0]
    call.on_message(b"first")
    assert await soon(reading) == b"first"
    await messages.aclose()
    assert call.is_over
