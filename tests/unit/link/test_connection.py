"""One link as a client has it, over an RPC in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from grpc.aio import AioRpcError

from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.errors import NotFoundError
from grpc_tool_bridge.link import connection as client_link
from grpc_tool_bridge.link.connection import CLOSED, ClientLink
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.rpc.session_defaults import METADATA_LOGGER
from grpc_tool_bridge.transport.link_calls import LinkStreamCall, LinkUnaryCall
from grpc_tool_bridge.transport.link_stub import LinkStub
from grpc_tool_bridge.transport.status import from_rpc_error, link_status_of, rpc_error
from support.patience import PATIENCE


class Rpc:
    """The call of the method Link, whose other side is the test.

    Attributes:
        open: Set while writes are taken; else they wait.
        failure: Raised by writes.
        status: What it ends with.
    """

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.failure: BaseException | None = None
        self.status = (grpc.StatusCode.OK, "")
        self.cancelled = False
        self._written: list[bytes] = []
        self._frames: asyncio.Queue[Any] = asyncio.Queue()

    def feed(self, what: Any) -> None:
        self._frames.put_nowait(what)

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK, text: str = "") -> None:
        self.status = (code, text)
        self.feed(grpc.aio.EOF)

    def sent(self) -> list[pb.Envelope]:
        """Takes what was written."""
        envelopes = [envelope for frame in self._written for envelope in pb.LinkFrame.FromString(frame).envelopes]
        self._written.clear()
        return envelopes

    async def read(self) -> Any:
        frame = await self._frames.get()
        if isinstance(frame, BaseException):
            raise frame
        return frame

    async def write(self, frame: bytes) -> None:
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        self._written.append(frame)

    async def code(self) -> grpc.StatusCode:
        return self.status[0]

    async def details(self) -> str:
        return self.status[1]

    def cancel(self) -> None:
        self.cancelled = True
        # What gRPC raises in who reads.
        self.feed(asyncio.CancelledError())


class Desk:
    """A link and its RPC.

    Attributes:
        turns: How often the link said that it may take calls.
        running: The link's task.
    """

    def __init__(self) -> None:
        self.rpc = Rpc()
        self.turns = 0
        self.link = ClientLink(self.rpc, "the hub", on_turn=self.turn)
        self.running = asyncio.create_task(self.link.run())

    def turn(self) -> None:
        self.turns += 1

    def feed(self, *envelopes: pb.Envelope) -> None:
        self.rpc.feed(pb.LinkFrame(envelopes=envelopes).SerializeToString())

    async def greet(self, **hello: Any) -> None:
        self.feed(pb.Envelope(hello=pb.LinkHello(protocol=1, peer="hub", **hello)))
        assert await soon(self.link.greeted)
        self.rpc.sent()

    def call(self, payload: bytes = b"") -> LinkUnaryCall:
        call = LinkUnaryCall(METHODS["ExecuteTool"], call_prefix("ExecuteTool"))
        self.link.send(call, payload)
        return call

    def stream(self) -> LinkStreamCall:
        call = LinkStreamCall(METHODS["StreamTool"], call_prefix("StreamTool"), 1_000)
        self.link.send(call, b"")
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


async def soon(awaitable: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def error_of(call: LinkUnaryCall) -> AioRpcError:
    with pytest.raises(AioRpcError) as caught:
        await soon(call)
    return caught.value


# ---------------------------------------------------------------------------------------------------------- calls


async def test_the_hub_is_told_who_dials_and_no_call_is_made_before_it_answers() -> None:
    desk = Desk()
    await settle()
    (hello,) = desk.rpc.sent()
    assert (hello.hello.protocol, hello.hello.peer.split()[0]) == (1, "Python")
    assert not desk.link.takes_calls
    await desk.greet()
    assert desk.link.takes_calls
    desk.rpc.end()
    await desk.unsent()


async def test_a_call_is_sent_and_its_answer_comes_back(desk: Desk) -> None:
    call = desk.call(b"request")
    await settle()
    (sent,) = desk.rpc.sent()
    assert (sent.call.method, sent.call.payload) == ("ExecuteTool", b"request")
    response = pb.ToolCallResponse(success=True)
    desk.feed(pb.Envelope(id=sent.id, reply=response.SerializeToString()))
    assert await soon(call) == response
    assert call.carrier is desk.link


async def test_a_call_that_is_alone_goes_at_once_and_the_others_of_its_turn_in_one_frame(desk: Desk) -> None:
    for _ in range(10):
        desk.call()
    await settle()
    assert len(desk.rpc._written) == 2
    assert len(desk.rpc.sent()) == 10


async def test_calls_of_one_turn_go_in_one_frame_where_others_are_under_way(desk: Desk) -> None:
    desk.call()
    await settle()
    desk.rpc.sent()
    written = len(desk.rpc._written)
    for _ in range(10):
        desk.call()
    await settle()
    assert len(desk.rpc._written) == written + 1
    assert len(desk.rpc.sent()) == 10


async def test_what_the_hub_tells_and_ends_with_reaches_the_call(desk: Desk) -> None:
    call = desk.call()
    await settle()
    facts = pb.LogRecord(logger=METADATA_LOGGER, fields={"a": "1"})
    desk.feed(
        pb.Envelope(id=call.id, event=pb.LinkEvent(log=facts)),
        pb.Envelope(id=call.id, end=link_status_of(NotFoundError("no such tool"))),
    )
    assert type(from_rpc_error(await error_of(call))) is NotFoundError
    assert call._trailing == (("a", "1"),)


async def test_a_stream_arrives_and_what_was_read_is_granted(desk: Desk) -> None:
    stream = desk.stream()
    await settle()
    desk.rpc.sent()
    payload = pb.ToolStreamChunk(stream_id="x" * 400).SerializeToString()
    desk.feed(pb.Envelope(id=stream.id, chunk=payload), pb.Envelope(id=stream.id, chunk=payload))
    await settle()
    assert desk.rpc.sent() == []
    await soon(stream.read())
    await settle()
    # Not before half of the window was read.
    assert desk.rpc.sent() == []
    await soon(stream.read())
    await settle()
    assert desk.rpc.sent() == [pb.Envelope(id=stream.id, credit=2 * len(payload))]
    desk.feed(pb.Envelope(id=stream.id, end=pb.LinkStatus()))
    assert await soon(stream.read()) is grpc.aio.EOF


async def test_a_cancel_is_sent(desk: Desk) -> None:
    call = desk.call()
    await settle()
    desk.rpc.sent()
    call.cancel()
    await settle()
    (sent,) = desk.rpc.sent()
    assert (sent.id, sent.WhichOneof("kind")) == (call.id, "cancel")


async def test_a_call_that_is_cancelled_before_it_was_sent_is_not_sent(desk: Desk) -> None:
    desk.call()
    await settle()
    desk.rpc.sent()
    desk.call().cancel()
    await settle()
    assert desk.rpc.sent() == []


async def test_a_request_that_no_link_carries_fails_alone(desk: Desk) -> None:
    error = await error_of(desk.call(bytes(65 * 1024 * 1024)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "message too large" in str(from_rpc_error(error))
    assert not desk.running.done()


async def test_a_hub_that_calls_is_told_that_clients_answer_nothing(desk: Desk) -> None:
    desk.feed(pb.Envelope(id=2, call=pb.LinkCall(method="ExecuteTool")))
    await settle()
    (sent,) = desk.rpc.sent()
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
    await soon(first)
    assert desk.link.takes_calls
    # A stub for this link alone waits for no room.
    stub: Any = LinkStub(desk.link)
    for _ in range(3):
        stub.ExecuteTool(pb.ToolCallRequest())
    await settle()
    assert len([sent for sent in desk.rpc.sent() if sent.HasField("call")]) == 5
    desk.rpc.end()
    await desk.unsent()


async def test_a_link_that_drains_takes_no_calls_and_finishes_those_it_has(desk: Desk) -> None:
    call = desk.call()
    await settle()
    desk.feed(pb.Envelope(drain=pb.LinkDrain(grace_ms=1)))
    await soon(desk.link.unusable.wait())
    assert not desk.link.takes_calls
    desk.feed(pb.Envelope(id=call.id, reply=b""))
    await soon(call)
    assert not desk.running.done()


# ------------------------------------------------------------------------------------------------ guarded calls


async def test_a_guarded_call_that_is_never_answered_expires_and_the_hub_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_link, "LOOK_SECONDS", 0.01)
    call, other = desk.call(), desk.call()
    with pytest.raises(ExpiredError):
        await soon(within(call, 0.03))
    assert not other.done()
    await settle()
    assert [sent.id for sent in desk.rpc.sent() if sent.HasField("cancel")] == [call.id]


async def test_a_guarded_call_that_was_never_sent_expires_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_link, "LOOK_SECONDS", 0.01)
    desk.rpc.open.clear()
    desk.call()
    await settle()
    small, large = desk.call(), desk.call(bytes(100_000))
    for call in (small, large):
        with pytest.raises(ExpiredError):
            await soon(within(call, 0.03))
    desk.rpc.open.set()
    await settle()
    assert not any(sent.id in (small.id, large.id) for sent in desk.rpc.sent())


async def test_nobody_looks_after_calls_where_there_are_none(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_link, "LOOK_SECONDS", 0.001)
    call = desk.call()
    await settle()
    desk.feed(pb.Envelope(id=call.id, reply=b""))
    await soon(call)
    async with asyncio.timeout(PATIENCE):
        while desk.link._look is not None:  # noqa: ASYNC110 - what is looked at is no event
            await asyncio.sleep(0.001)


# ------------------------------------------------------------------------------------------------------- the end


async def test_calls_in_flight_fail_when_the_link_is_lost(desk: Desk) -> None:
    calls = [desk.call(), desk.stream()]
    await settle()
    desk.rpc.end(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    assert await desk.unsent() == []
    for call in calls:
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert await call.details() == "the link to the hub was lost: Socket closed"
    assert desk.link.error is not None
    assert desk.link.error.code() is grpc.StatusCode.UNAVAILABLE
    assert desk.link.unusable.is_set()
    assert desk.rpc.cancelled


async def test_a_status_that_is_no_failure_is_a_loss_all_the_same(desk: Desk) -> None:
    call = desk.call()
    await settle()
    desk.rpc.end()
    assert (await error_of(call)).details() == "the link to the hub was lost: the hub ended it"


@pytest.mark.parametrize("reading", [False, True])
async def test_an_error_of_the_stream_is_the_links(desk: Desk, reading: bool) -> None:
    call = desk.call()
    await settle()
    error = rpc_error(grpc.StatusCode.INTERNAL, "torn")
    if reading:
        desk.rpc.feed(error)
    else:
        desk.rpc.failure = error
        call = desk.call()
    await desk.unsent()
    assert desk.link.error is error
    assert (await error_of(call)).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_write_to_a_stream_that_has_ended_is_told_by_its_status(desk: Desk) -> None:
    desk.rpc.status = (grpc.StatusCode.UNAVAILABLE, "gone away")
    desk.rpc.failure = asyncio.InvalidStateError("done")
    call = desk.call()
    await desk.unsent()
    assert (await error_of(call)).details() == "the link to the hub was lost: gone away"


async def test_a_hub_that_breaks_the_protocol_loses_the_link(desk: Desk) -> None:
    call = desk.call()
    await settle()
    desk.feed(pb.Envelope(id=99, reply=b""))
    assert "never made" in str((await error_of(call)).details())
    assert desk.rpc.cancelled


async def test_what_was_not_sent_is_given_back_and_has_not_failed(desk: Desk) -> None:
    desk.rpc.open.clear()
    sent = desk.call(b"sent")
    await settle()
    small, large, given_up = desk.call(b"small"), desk.call(bytes(100_000)), desk.call(b"given up")
    given_up.cancel()
    desk.rpc.end(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    assert await desk.unsent() == [(small, b"small"), (large, bytes(100_000))]
    assert sent.done()
    assert not small.done()
    assert not large.done()


async def test_every_call_fails_when_the_link_is_closed_here_those_not_sent_as_well(desk: Desk) -> None:
    desk.rpc.open.clear()
    sent = desk.call()
    await settle()
    calls = [sent, desk.call(), desk.call(bytes(100_000))]
    desk.running.cancel()
    await asyncio.wait([desk.running])
    assert desk.running.cancelled()
    for call in calls:
        error = await error_of(call)
        assert (error.code(), error.details()) == (grpc.StatusCode.CANCELLED, CLOSED)
    assert desk.link.error is None
    assert desk.link.unusable.is_set()


async def test_a_hub_that_refuses_the_link_is_no_greeting() -> None:
    desk = Desk()
    desk.rpc.end(grpc.StatusCode.UNAUTHENTICATED, "the token is wrong")
    assert await soon(desk.link.greeted) is False
    assert desk.link.error is not None
    assert desk.link.error.details() == "the token is wrong"
    await desk.unsent()


async def test_a_call_over_a_link_that_has_ended_fails_at_once(desk: Desk) -> None:
    desk.rpc.end()
    await desk.unsent()
    stub: Any = LinkStub(desk.link)
    error = await error_of(stub.GetSessionInfo(pb.GetSessionInfoRequest()))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "the link to the hub was lost")


async def test_a_hub_that_says_nothing_is_given_up() -> None:
    desk = Desk()
    await settle()
    desk.link.give_up("the hub said nothing")
    assert await soon(desk.link.greeted) is False
    assert await desk.unsent() == []
    assert desk.link.error is not None
    assert (desk.link.error.code(), desk.link.error.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "the hub said nothing",
    )


async def test_a_channel_that_is_closed_under_the_link_ends_it(desk: Desk) -> None:
    call = desk.call()
    await settle()
    desk.rpc.feed(asyncio.CancelledError())
    await asyncio.wait([desk.running], timeout=PATIENCE)
    assert desk.running.cancelled()
    assert (await error_of(call)).details() == CLOSED


async def test_a_greeting_that_nobody_waits_for_any_more_does_no_harm() -> None:
    desk = Desk()
    desk.link.greeted.cancel()
    desk.feed(pb.Envelope(hello=pb.LinkHello(protocol=1)))
    await settle()
    assert not desk.running.done()
    desk.rpc.end()
    assert await desk.unsent() == []
