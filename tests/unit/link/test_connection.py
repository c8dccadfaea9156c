"""One link as a client has it, over an RPC in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge.aio.timeouts import ExpiredError
from grpc_tool_bridge.errors import NotFoundError, ToolCommunicationError
from grpc_tool_bridge.link import connection
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.dialer import CLOSED, DialledLink
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.status import Code, code_of, link_error, link_status_of
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.session_defaults import METADATA_LOGGER
from support.loops import tells_whether_it_is_idle
from support.patience import PATIENCE
from support.waiting import soon
from unit.link.fakes import FakeStream, settle


class Desk:
    """A link and its stream.

    Attributes:
        turns: How often the link said that it may take calls.
        running: The link's task.
    """

    def __init__(self) -> None:
        self.stream = FakeStream()
        self.turns = 0
        self.link = DialledLink(self.stream, "the hub")
        self.link.on_writable = self.turn
        self.running = asyncio.create_task(self.link.run())

    def turn(self) -> None:
        self.turns += 1

    def feed(self, *envelopes: pb.Envelope) -> None:
        self.stream.feed(*envelopes)

    def end(self, code: Code, text: str) -> None:
        """Lets the hub end the link."""
        self.stream.end = link_error(code, text)
        self.stream.feed(None)

    async def greet(self, **hello: Any) -> None:
        self.feed(pb.Envelope(hello=pb.LinkHello(protocol=1, peer="hub", **hello)))
        assert await soon(self.link.greeted)
        self.stream.envelopes()

    def call(self, payload: bytes = b"") -> LinkCall:
        call = LinkCall(call_prefix("ExecuteTool"))
        self.link.send_or_fail(call, payload)
        return call

    def stream_call(self) -> LinkCall:
        call = LinkCall(call_prefix("StreamTool"))
        call.open_window(1_000)
        self.link.send_or_fail(call, b"")
        return call

    async def unsent(self) -> list[Any]:
        """Waits for the end of the link."""
        return list(await soon(self.running))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    await desk.greet()
    yield desk
    desk.running.cancel()
    await asyncio.wait([desk.running])


async def expiring(call: LinkCall) -> None:
    call.set_timeout(0.03)
    await call.answer()


async def error_of(call: LinkCall) -> ToolCommunicationError:
    with pytest.raises(ToolCommunicationError) as caught:
        await soon(call.answer())
    return caught.value


# ---------------------------------------------------------------------------------------------------------- calls


async def test_the_hub_is_told_who_dials_and_no_call_is_made_before_it_answers() -> None:
    desk = Desk()
    await settle()
    (hello,) = desk.stream.envelopes()
    assert (hello.hello.protocol, hello.hello.peer.split()[0]) == (1, "Python")
    assert not desk.link.takes_calls
    await desk.greet()
    assert desk.link.takes_calls
    desk.stream.feed(None)
    await desk.unsent()


async def test_a_call_is_sent_and_its_answer_comes_back(desk: Desk) -> None:
    call = desk.call(b"request")
    await settle()
    (sent,) = desk.stream.envelopes()
    assert (sent.call.method, sent.call.payload) == ("ExecuteTool", b"request")
    desk.feed(pb.Envelope(id=sent.id, reply=b"answer"))
    assert await soon(call.answer()) == b"answer"
    assert call.carrier is desk.link


async def test_a_call_that_is_alone_goes_at_once_and_the_others_of_its_turn_in_one_frame(desk: Desk) -> None:
    for _ in range(10):
        desk.call()
    await settle()
    assert len(desk.stream.written) == (2 if tells_whether_it_is_idle() else 1)
    assert len(desk.stream.envelopes()) == 10


async def test_calls_of_one_turn_go_in_one_frame_where_others_are_under_way(desk: Desk) -> None:
    desk.call()
    await settle()
    desk.stream.envelopes()
    written = len(desk.stream.written)
    for _ in range(10):
        desk.call()
    await settle()
    assert len(desk.stream.written) == written + 1
    assert len(desk.stream.envelopes()) == 10


async def test_what_the_hub_tells_and_ends_with_reaches_the_call(desk: Desk) -> None:
    class Listening(LinkCall):
        heard: tuple[pb.LinkEvent, ...] = ()

        def on_event(self, event: pb.LinkEvent) -> None:
            self.heard = (*self.heard, event)

    call = Listening(call_prefix("ExecuteTool"))
    desk.link.send_or_fail(call, b"")
    await settle()
    facts = pb.LogRecord(logger=METADATA_LOGGER, fields={"a": "1"})
    desk.feed(
        pb.Envelope(id=call.id, event=pb.LinkEvent(log=facts)),
        pb.Envelope(id=call.id, end=link_status_of(NotFoundError("no such tool"))),
    )
    with pytest.raises(NotFoundError, match="no such tool"):
        await soon(call.answer())
    assert call.heard == (pb.LinkEvent(log=facts),)


async def test_a_stream_arrives_and_what_was_read_is_granted(desk: Desk) -> None:
    stream = desk.stream_call()
    await settle()
    desk.stream.envelopes()
    payload = pb.ToolStreamChunk(stream_id="x" * 400).SerializeToString()
    desk.feed(pb.Envelope(id=stream.id, chunk=payload), pb.Envelope(id=stream.id, chunk=payload))
    await settle()
    assert desk.stream.envelopes() == []
    desk.link.grant(stream, len(await soon(stream.read())))
    await settle()
    # Not before half of the window was read.
    assert desk.stream.envelopes() == []
    desk.link.grant(stream, len(await soon(stream.read())))
    await settle()
    assert desk.stream.envelopes() == [pb.Envelope(id=stream.id, credit=2 * len(payload))]
    desk.feed(pb.Envelope(id=stream.id, end=pb.LinkStatus()))
    assert await soon(stream.read()) is None


async def test_a_cancel_is_sent(desk: Desk) -> None:
    call = desk.call()
    await settle()
    desk.stream.envelopes()
    call.cancel()
    await settle()
    (sent,) = desk.stream.envelopes()
    assert (sent.id, sent.WhichOneof("kind")) == (call.id, "cancel")


async def test_a_call_that_is_cancelled_before_it_was_sent_is_not_sent(desk: Desk) -> None:
    desk.call()
    await settle()
    desk.stream.envelopes()
    desk.call().cancel()
    await settle()
    assert desk.stream.envelopes() == []


async def test_a_request_that_no_link_carries_fails_alone(desk: Desk) -> None:
    error = await error_of(desk.call(bytes(65 * 1024 * 1024)))
    assert error.code == "RESOURCE_EXHAUSTED"
    assert "message too large" in str(error)
    assert not desk.running.done()


async def test_a_hub_that_calls_is_told_that_clients_answer_nothing(desk: Desk) -> None:
    desk.feed(pb.Envelope(id=2, call=pb.LinkCall(method="ExecuteTool")))
    await settle()
    (sent,) = desk.stream.envelopes()
    assert (sent.id, sent.end.error.type) == (2, "Unimplemented")
    assert sent.end.message == "a client does not offer ExecuteTool"


async def test_pongs_and_cancels_of_the_hub_are_passed_over(desk: Desk) -> None:
    desk.feed(
        pb.Envelope(pong=1), pb.Envelope(id=2, call=pb.LinkCall(method="x")), pb.Envelope(id=2, cancel=pb.LinkCancel())
    )
    await settle()
    assert not desk.running.done()


async def test_each_frame_is_a_turn(desk: Desk) -> None:
    before = desk.turns
    desk.feed(pb.Envelope(pong=1))
    await settle()
    assert desk.turns == before + 1


# ------------------------------------------------------------------------------------------------------- capacity


async def test_no_more_calls_are_taken_than_the_hub_takes_at_once() -> None:
    desk = Desk()
    await desk.greet(capacity=2)
    first = desk.call()
    assert desk.link.takes_calls
    desk.call()
    assert not desk.link.takes_calls
    await settle()
    desk.feed(pb.Envelope(id=first.id, reply=b""))
    await soon(first.answer())
    assert desk.link.takes_calls
    # Who wants this link alone waits for no room.
    for _ in range(3):
        desk.link.send_request(LinkCall(call_prefix("ExecuteTool")), pb.ToolCallRequest())
    await settle()
    assert len([sent for sent in desk.stream.envelopes() if sent.HasField("call")]) == 5
    desk.stream.feed(None)
    await desk.unsent()


async def test_a_link_that_drains_takes_no_calls_and_finishes_those_it_has(desk: Desk) -> None:
    call = desk.call()
    await settle()
    desk.feed(pb.Envelope(drain=pb.LinkDrain(grace_ms=1)))
    await soon(desk.link.unusable.wait())
    assert not desk.link.takes_calls
    desk.feed(pb.Envelope(id=call.id, reply=b""))
    await soon(call.answer())
    assert not desk.running.done()


# ------------------------------------------------------------------------------------------------ guarded calls


async def test_a_guarded_call_that_is_never_answered_expires_and_the_hub_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SWEEP_INTERVAL", 0.01)
    call, other = desk.call(), desk.call()
    with pytest.raises(ExpiredError):
        await soon(expiring(call))
    assert not other.is_over
    await settle()
    assert [sent.id for sent in desk.stream.envelopes() if sent.HasField("cancel")] == [call.id]


async def test_a_guarded_call_that_was_never_sent_expires_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SWEEP_INTERVAL", 0.01)
    desk.stream.open.clear()
    desk.call()
    await settle()
    small, large = desk.call(), desk.call(bytes(100_000))
    for call in (small, large):
        with pytest.raises(ExpiredError):
            await soon(expiring(call))
    desk.stream.open.set()
    await settle()
    assert not any(sent.id in (small.id, large.id) for sent in desk.stream.envelopes())


async def test_nobody_looks_after_calls_where_there_are_none(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SWEEP_INTERVAL", 0.001)
    call = desk.call()
    await settle()
    desk.feed(pb.Envelope(id=call.id, reply=b""))
    await soon(call.answer())
    async with asyncio.timeout(PATIENCE):
        while desk.link._sweep is not None:  # noqa: ASYNC110 - what is looked at is no event
            await asyncio.sleep(0.001)


# ------------------------------------------------------------------------------------------------------- the end


async def test_calls_in_flight_fail_when_the_link_is_lost(desk: Desk) -> None:
    calls = [desk.call(), desk.stream_call()]
    await settle()
    desk.end(Code.UNAVAILABLE, "Socket closed")
    assert await desk.unsent() == []
    for call in calls:
        error = await error_of(call)
        assert (error.code, error.details) == ("UNAVAILABLE", "the link to the hub was lost: Socket closed")
    assert desk.link.error is not None
    assert code_of(desk.link.error) is Code.UNAVAILABLE
    assert desk.link.unusable.is_set()
    assert desk.stream.closed


async def test_a_status_that_is_no_failure_is_a_loss_all_the_same(desk: Desk) -> None:
    call = desk.call()
    await settle()
    desk.stream.feed(None)
    assert (await error_of(call)).details == "the link to the hub was lost: the hub ended it"


@pytest.mark.parametrize("reading", [False, True])
async def test_an_error_of_the_stream_is_the_links(desk: Desk, reading: bool) -> None:
    call = desk.call()
    await settle()
    if reading:
        desk.stream.feed(OSError("torn"))
    else:
        desk.stream.write_failure = OSError("torn")
        call = desk.call()
    await desk.unsent()
    assert desk.link.error is not None
    assert (code_of(desk.link.error), desk.link.error.message) == (Code.UNAVAILABLE, "torn")
    assert (await error_of(call)).code == "UNAVAILABLE"


async def test_a_write_to_a_stream_that_has_ended_is_told_by_its_status(desk: Desk) -> None:
    desk.stream.end = link_error(Code.UNAVAILABLE, "gone away")
    desk.stream.write_failure = asyncio.InvalidStateError("done")
    call = desk.call()
    await desk.unsent()
    assert (await error_of(call)).details == "the link to the hub was lost: gone away"


async def test_a_hub_that_breaks_the_protocol_loses_the_link(desk: Desk) -> None:
    call = desk.call()
    await settle()
    desk.feed(pb.Envelope(id=99, reply=b""))
    assert "never made" in str((await error_of(call)).details)
    assert desk.stream.closed


async def test_what_was_not_sent_is_given_back_and_has_not_failed(desk: Desk) -> None:
    desk.stream.open.clear()
    sent = desk.call(b"sent")
    await settle()
    small, large, given_up = desk.call(b"small"), desk.call(bytes(100_000)), desk.call(b"given up")
    given_up.cancel()
    desk.end(Code.UNAVAILABLE, "Socket closed")
    assert await desk.unsent() == [(small, b"small"), (large, bytes(100_000))]
    assert sent.is_over
    assert not small.is_over
    assert not large.is_over


async def test_every_call_fails_when_the_link_is_closed_here_those_not_sent_as_well(desk: Desk) -> None:
    desk.stream.open.clear()
    sent = desk.call()
    await settle()
    calls = [sent, desk.call(), desk.call(bytes(100_000))]
    desk.running.cancel()
    await asyncio.wait([desk.running])
    assert desk.running.cancelled()
    for call in calls:
        error = await error_of(call)
        assert (error.code, error.details) == ("CANCELLED", CLOSED)
    assert desk.link.error is None
    assert desk.link.unusable.is_set()


async def test_a_hub_that_refuses_the_link_is_no_greeting() -> None:
    desk = Desk()
    desk.end(Code.UNAUTHENTICATED, "the token is wrong")
    assert await soon(desk.link.greeted) is False
    assert desk.link.error is not None
    assert desk.link.error.message == "the token is wrong"
    await desk.unsent()


async def test_a_call_over_a_link_that_has_ended_fails_at_once(desk: Desk) -> None:
    desk.stream.feed(None)
    await desk.unsent()
    call = LinkCall(call_prefix("GetSessionInfo"))
    desk.link.send_request(call, pb.GetSessionInfoRequest())
    error = await error_of(call)
    assert (error.code, error.details) == ("UNAVAILABLE", "the link to the hub was lost")


async def test_a_hub_that_says_nothing_is_given_up() -> None:
    desk = Desk()
    await settle()
    desk.link.abort("the hub said nothing")
    assert await soon(desk.link.greeted) is False
    assert await desk.unsent() == []
    assert desk.link.error is not None
    assert (code_of(desk.link.error), desk.link.error.message) == (Code.UNAVAILABLE, "the hub said nothing")


async def test_a_channel_that_is_closed_under_the_link_ends_it(desk: Desk) -> None:
    call = desk.call()
    await settle()
    desk.stream.feed(asyncio.CancelledError())
    await asyncio.wait([desk.running], timeout=PATIENCE)
    assert desk.running.cancelled()
    assert (await error_of(call)).details == CLOSED


async def test_a_greeting_that_nobody_waits_for_any_more_does_no_harm() -> None:
    desk = Desk()
    desk.link.greeted.cancel()
    desk.feed(pb.Envelope(hello=pb.LinkHello(protocol=1)))
    await settle()
    assert not desk.running.done()
    desk.stream.feed(None)
    assert await desk.unsent() == []
