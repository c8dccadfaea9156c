"""Calls over a link by themselves; how they behave beside gRPC's own is in test_link_stub.py."""

import asyncio
import gc
import time
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc.aio import AioRpcError

from grpc_tool_bridge.aio.timeouts import ExpiredError
from grpc_tool_bridge.errors import NotFoundError, UnimplementedError
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.outbox import INITIAL_CREDIT
from grpc_tool_bridge.link.status import link_status_of
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.rpc.session_defaults import METADATA_LOGGER
from grpc_tool_bridge.transport.link_stub import BytesCall, LinkStub, StreamCall, UnaryCall
from grpc_tool_bridge.transport.status import from_rpc_error, rpc_error

RESPONSE = pb.ToolCallResponse(success=True, request_id="r")
CHUNK = pb.ToolStreamChunk(sequence=1)


class Carrier:
    """Keeps what it is told."""

    enforces_timeouts = True

    def __init__(self) -> None:
        self.cancelled: list[LinkCall] = []
        self.granted: list[int] = []

    def cancel(self, call: LinkCall) -> None:
        self.cancelled.append(call)

    def grant(self, call: LinkCall, size: int) -> None:
        self.granted.append(size)


class Starter(Carrier):
    """Keeps the calls that a stub begins."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[LinkCall, Any]] = []

    def send_request(self, call: LinkCall, request: Any) -> None:
        call.carrier = self
        self.started.append((call, request))

    def try_send_bytes(self, call: LinkCall, payload: bytes) -> bool:
        del call, payload
        return False


@pytest.fixture
def starter() -> Starter:
    return Starter()


@pytest.fixture
def stub(starter: Starter) -> Any:
    return LinkStub(starter)


@pytest.fixture
def unary(stub: Any) -> Any:
    return stub.ExecuteTool(pb.ToolCallRequest())


@pytest.fixture
def stream(stub: Any) -> Any:
    return stub.StreamTool(pb.ToolStreamRequest())


def head_of(call: LinkCall) -> pb.LinkCall:
    """Reads what goes out before the payload."""
    return pb.LinkCall.FromString(call.prefix + b"\x00")


async def _answer(call: Any) -> Any:
    return await call


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------- calls as their bytes


class Sending(Starter):
    """Sends bytes, and notes what is known of the call then."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Any] = []

    def try_send_bytes(self, call: LinkCall, payload: bytes) -> bool:
        call.carrier = self
        assert isinstance(call, BytesCall)
        self.sent.append((call, payload, call.answerer, call.tool_id))
        return True


def test_bytes_are_not_sent_where_no_link_takes_them(stub: Any, starter: Starter) -> None:
    assert stub.ExecuteTool.try_send(b"request", "t", 5.0) is None
    assert not starter.started


async def test_bytes_are_sent_as_they_are_and_the_answer_comes_as_it_came() -> None:
    starter = Sending()
    call = LinkStub(starter).ExecuteTool.try_send(b"request", "t", 5.0)
    assert starter.sent == [(call, b"request", None, "")]
    assert head_of(call) == pb.LinkCall(method="ExecuteTool")
    call.on_reply(RESPONSE.SerializeToString())
    assert await call == RESPONSE.SerializeToString()
    assert call.parse(RESPONSE.SerializeToString()) == RESPONSE
    with pytest.raises(AioRpcError, match="the response cannot be read"):
        call.parse(b"\xff")


def test_who_answers_questions_is_known_before_the_bytes_are_sent() -> None:
    answerer: Any = object()
    answerers: Any = SimpleNamespace(here=lambda: answerer)
    starter = Sending()
    call = LinkStub(starter, answerers).ExecuteTool.try_send(b"request", "t", 5.0)
    assert starter.sent == [(call, b"request", answerer, "t")]


async def test_a_question_to_a_caller_that_cannot_answer_ends_the_call() -> None:
    starter = Sending()
    answerers: Any = SimpleNamespace(here=lambda: None)
    call = LinkStub(starter, answerers).ExecuteTool.try_send(b"request", "erase", 5.0)
    answers: list[Any] = []
    call.on_ask(pb.Ask(id="1", message="sure?"), answers.append)
    with pytest.raises(UnimplementedError, match="erase asked its caller, who cannot answer") as caught:
        await call
    assert caught.value.details == {"asked": "erase"}
    assert not answers
    assert starter.cancelled == [call]


async def test_bytes_that_nobody_waits_for_any_more_are_cancelled() -> None:
    starter = Sending()
    call = LinkStub(starter).ExecuteTool.try_send(b"request", "t", 5.0)
    waiting = asyncio.ensure_future(_answer(call))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert starter.cancelled == [call]


@pytest.mark.parametrize("before", [True, False])
async def test_errors_of_bytes_are_those_of_any_call(before: bool) -> None:
    call = LinkStub(Sending()).ExecuteTool.try_send(b"request", "t", 5.0)
    late = LinkStub(Sending()).ExecuteTool.try_send(b"request", "t", 5.0)
    waiting = [] if before else [asyncio.ensure_future(_answer(each)) for each in (call, late)]
    await settle()
    call.on_end(link_status_of(NotFoundError("no such session")))
    late.expire()
    waiting = waiting or [asyncio.ensure_future(_answer(each)) for each in (call, late)]
    with pytest.raises(AioRpcError) as caught:
        await waiting[0]
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(ExpiredError):
        await waiting[1]


# -------------------------------------------------------------------------------------------------- what is sent of it


def test_a_call_names_its_method_and_nothing_else(starter: Starter, stub: Any) -> None:
    request = pb.ToolCallRequest(tool_id="t")
    call = stub.ExecuteTool(request)
    assert starter.started == [(call, request)]
    assert head_of(call) == pb.LinkCall(method="ExecuteTool")
    assert (call.waits, call.metadata, call.streaming) == (True, (), False)
    assert head_of(stub.StreamTool(request)) == pb.LinkCall(method="StreamTool")


def test_every_method_that_a_link_carries_is_there(stub: Any) -> None:
    for name, method in METHODS.items():
        if method.request_streaming:
            assert not hasattr(stub, name)
        else:
            call = getattr(stub, name)(method.request())
            assert head_of(call).method == name
            assert isinstance(call, StreamCall if method.response_streaming else UnaryCall)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(1, 1000), (0.0001, 1), (0, 1), (-1, 1), (1.0005, 1001), (1e9, 2**32 - 1)]
)
@pytest.mark.parametrize("name", ["ExecuteTool", "StreamTool"])
async def test_the_time_that_it_has_is_told_in_whole_milliseconds(
    stub: Any, name: str, seconds: float, milliseconds: int
) -> None:
    call = getattr(stub, name)(pb.ToolCallRequest(), timeout=seconds)
    assert head_of(call).timeout_ms == milliseconds
    call.cancel()


@pytest.mark.parametrize("name", ["ExecuteTool", "StreamTool"])
def test_metadata_goes_along_as_text(stub: Any, name: str) -> None:
    call = getattr(stub, name)(pb.ToolCallRequest(), metadata=iter([("a", "1"), ("b-bin", b"\xff")]))
    assert head_of(call).metadata == {"a": "1", "b-bin": "\xff"}
    assert call.metadata == (("a", "1"), ("b-bin", b"\xff"))


@pytest.mark.parametrize("name", ["ExecuteTool", "StreamTool"])
def test_a_call_that_is_not_to_wait_says_so(stub: Any, name: str) -> None:
    begin = getattr(stub, name)
    assert not begin(pb.ToolCallRequest(), wait_for_ready=False).waits
    assert begin(pb.ToolCallRequest(), wait_for_ready=True).waits


def test_the_time_that_is_left_takes_the_place_of_what_was_told(unary: Any) -> None:
    unary.shorten(7)
    assert head_of(unary).timeout_ms == 7
    unary.shorten(5)
    assert head_of(unary) == pb.LinkCall(method="ExecuteTool", timeout_ms=5)


def test_a_stream_begins_with_a_window(stream: Any) -> None:
    assert (stream.streaming, stream.window) == (True, INITIAL_CREDIT)


# ------------------------------------------------------------------------------------------------------ unary calls


async def test_an_answer_that_is_there_is_returned_at_once(unary: Any) -> None:
    unary.on_reply(RESPONSE.SerializeToString())
    steps = unary.__await__()
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == RESPONSE


async def test_an_answer_wakes_who_awaits_it(unary: Any) -> None:
    waiting = asyncio.ensure_future(unary)
    await settle()
    assert not unary.done()
    unary.on_reply(RESPONSE.SerializeToString())
    assert await waiting == RESPONSE


async def test_a_second_answer_changes_nothing(unary: Any) -> None:
    unary.on_reply(RESPONSE.SerializeToString())
    unary.on_reply(b"")
    unary.fail(rpc_error(grpc.StatusCode.UNAVAILABLE, "gone"))
    unary.on_end(pb.LinkStatus())
    assert await unary == RESPONSE
    assert await unary.code() is grpc.StatusCode.OK


async def test_an_answer_that_cannot_be_read_is_an_internal_error(unary: Any) -> None:
    unary.on_reply(b"\xff\xff\xff")
    with pytest.raises(AioRpcError, match="the response cannot be read") as caught:
        await unary
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_a_status_is_raised_with_its_error(unary: Any) -> None:
    unary.on_end(link_status_of(NotFoundError("no such tool")))
    with pytest.raises(AioRpcError) as caught:
        await unary
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such tool")
    assert type(from_rpc_error(caught.value)) is NotFoundError
    assert list(await unary.trailing_metadata()) == list(caught.value.trailing_metadata())


async def test_who_awaits_in_another_task_is_told_of_the_failure(unary: Any) -> None:
    waiting = asyncio.ensure_future(unary)
    await settle()
    unary.fail(rpc_error(grpc.StatusCode.UNAVAILABLE, "gone"))
    with pytest.raises(AioRpcError, match="gone"):
        await waiting


async def test_a_failure_that_nobody_awaits_is_no_noise(stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    call = stub.ExecuteTool(pb.ToolCallRequest())
    call.fail(rpc_error(grpc.StatusCode.UNAVAILABLE, "gone"))
    del call
    gc.collect()
    await settle()
    assert caplog.text == ""


async def test_trailing_metadata_is_what_the_hub_told_before_the_answer(unary: Any) -> None:
    unary.on_event(pb.LinkEvent(progress=pb.Progress(current=1)))
    unary.on_event(pb.LinkEvent(log=pb.LogRecord(logger="a tool's", fields={"a": "1"})))
    unary.on_event(pb.LinkEvent(log=pb.LogRecord(logger=METADATA_LOGGER, fields={"tool-bridge-x": "1"})))
    unary.on_reply(b"")
    assert list(await unary.trailing_metadata()) == [("tool-bridge-x", "1")]


async def test_the_status_may_be_waited_for_by_many(unary: Any) -> None:
    waiting = asyncio.gather(unary.code(), unary.details(), unary.trailing_metadata())
    await settle()
    assert not waiting.done()
    unary.fail(rpc_error(grpc.StatusCode.UNAVAILABLE, "gone"))
    code, details, _ = await waiting
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "gone")


async def test_an_error_without_a_text_has_an_empty_one(unary: Any) -> None:
    unary.fail(AioRpcError(grpc.StatusCode.UNKNOWN, grpc.aio.Metadata(), grpc.aio.Metadata()))
    assert await unary.details() == ""


async def test_initial_metadata_is_empty_and_the_connection_is_there(unary: Any) -> None:
    assert len(await unary.initial_metadata()) == 0
    await unary.wait_for_connection()


# ----------------------------------------------------------------------------------------------- cancelling and time


async def test_cancelling_tells_the_carrier_once(starter: Starter, unary: Any) -> None:
    assert unary.cancel()
    assert not unary.cancel()
    assert starter.cancelled == [unary]
    with pytest.raises(asyncio.CancelledError):
        await unary


async def test_a_call_that_nobody_carries_yet_can_be_cancelled(unary: Any) -> None:
    unary.carrier = None
    assert unary.cancel()
    assert unary.cancelled()


async def test_an_answer_after_the_cancel_is_dropped(unary: Any) -> None:
    unary.cancel()
    unary.on_reply(RESPONSE.SerializeToString())
    with pytest.raises(asyncio.CancelledError):
        await unary


async def test_closing_a_coroutine_that_awaits_a_call_cancels_the_call(starter: Starter, unary: Any) -> None:
    steps = unary.__await__()
    next(steps)
    steps.close()
    assert unary.cancelled()
    assert starter.cancelled == [unary]


async def test_a_call_whose_time_is_over_tells_the_carrier(starter: Starter, stub: Any) -> None:
    call = stub.ExecuteTool(pb.ToolCallRequest(), timeout=0.01)
    with pytest.raises(AioRpcError, match="Deadline Exceeded"):
        await call
    assert starter.cancelled == [call]
    assert not call.cancelled()


async def test_the_time_of_a_call_that_has_ended_does_not_run_out(starter: Starter, stub: Any) -> None:
    call = stub.ExecuteTool(pb.ToolCallRequest(), timeout=60)
    call.on_reply(b"")
    assert call._timer.cancelled()
    # As where the timer was due in the same turn.
    call._end_late()
    assert await call.code() is grpc.StatusCode.OK
    assert starter.cancelled == []
    assert 0 < call.time_remaining() <= 60


async def test_a_call_that_is_guarded_is_left_to_a_link_that_looks_after_it(starter: Starter, unary: Any) -> None:
    unary.set_timeout(5)
    waiting = asyncio.ensure_future(_answer(unary))
    await settle()
    assert unary._timer is None
    assert unary.expires_at <= time.monotonic() + 5
    unary.expire()
    unary.expire()
    with pytest.raises(ExpiredError):
        await waiting
    assert starter.cancelled == [unary]
    assert await unary.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_that_is_guarded_has_a_timer_where_nobody_looks_after_it(starter: Starter, unary: Any) -> None:
    starter.enforces_timeouts = False
    unary.set_timeout(0.01)
    with pytest.raises(ExpiredError):
        await unary
    assert starter.cancelled == [unary]


async def test_a_call_that_is_guarded_and_answered_in_time_does_not_expire(starter: Starter, unary: Any) -> None:
    starter.enforces_timeouts = False
    unary.set_timeout(60)
    waiting = asyncio.ensure_future(_answer(unary))
    await settle()
    unary.on_reply(RESPONSE.SerializeToString())
    assert await waiting == RESPONSE
    assert unary._timer.cancelled()
    unary.expire()
    assert await unary.code() is grpc.StatusCode.OK


async def test_callbacks_are_called_once_and_never_within_the_answer(unary: Any) -> None:
    told: list[Any] = []
    unary.add_done_callback(told.append)
    unary.on_reply(b"")
    assert told == []
    unary.add_done_callback(told.append)
    assert told == []
    await settle()
    assert told == [unary, unary]


# ------------------------------------------------------------------------------------------------------------ streams


async def test_messages_are_read_in_order_and_what_was_read_is_granted(starter: Starter, stream: Any) -> None:
    sizes = []
    for number in range(3):
        payload = pb.ToolStreamChunk(sequence=number, stream_id="x" * number).SerializeToString()
        sizes.append(len(payload))
        stream.on_message(payload)
    assert [(await stream.read()).sequence for _ in range(3)] == [0, 1, 2]
    assert starter.granted == sizes
    stream.on_end(pb.LinkStatus())
    assert await stream.read() is grpc.aio.EOF


async def test_a_message_wakes_who_reads(stream: Any) -> None:
    reading = asyncio.create_task(stream.read())
    await settle()
    stream.on_message(CHUNK.SerializeToString())
    # A second one before the reader had its turn.
    stream.on_message(CHUNK.SerializeToString())
    assert await reading == CHUNK
    assert await stream.read() == CHUNK


async def test_what_came_before_the_end_is_read_first(starter: Starter, stream: Any) -> None:
    stream.on_message(CHUNK.SerializeToString())
    stream.on_end(link_status_of(NotFoundError("gone")))
    stream.on_message(CHUNK.SerializeToString())
    assert await stream.read() == CHUNK
    # The hub has forgotten the stream.
    assert starter.granted == []
    for _ in range(2):
        with pytest.raises(AioRpcError, match="gone"):
            await stream.read()


async def test_an_end_wakes_who_reads(stream: Any) -> None:
    reading = asyncio.create_task(stream.read())
    await settle()
    stream.succeed()
    stream.succeed()
    assert await reading is grpc.aio.EOF


async def test_a_message_that_cannot_be_read_is_an_internal_error(stream: Any) -> None:
    stream.on_message(b"\xff\xff\xff")
    with pytest.raises(AioRpcError, match="the response cannot be read") as caught:
        await stream.read()
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_a_stream_that_is_cancelled_forgets_what_was_not_read(starter: Starter, stream: Any) -> None:
    stream.on_message(CHUNK.SerializeToString())
    assert stream.cancel()
    assert starter.cancelled == [stream]
    with pytest.raises(asyncio.CancelledError):
        await stream.read()


async def test_a_stream_that_nobody_carries_can_be_read(stream: Any) -> None:
    stream.carrier = None
    stream.on_message(CHUNK.SerializeToString())
    assert await stream.read() == CHUNK


async def test_two_may_read_one_stream(stream: Any) -> None:
    readers = [asyncio.create_task(stream.read()) for _ in range(2)]
    await settle()
    stream.on_message(pb.ToolStreamChunk(sequence=1).SerializeToString())
    await settle()
    stream.on_message(pb.ToolStreamChunk(sequence=2).SerializeToString())
    assert sorted([(await reader).sequence for reader in readers]) == [1, 2]
