"""The calls that the peer of a link makes, at whichever end they are served."""

import asyncio
import gc
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2

from grpc_tool_bridge.aio.deferred import Deferred
from grpc_tool_bridge.aio.eager import Done
from grpc_tool_bridge.errors import CallCancelledError, NotFoundError
from grpc_tool_bridge.link.asks import LinkAsker
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.events import CallReceived, Cancelled, Ended, MessageReceived, Replied
from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.link.outbox import INITIAL_CREDIT, OutgoingCall
from grpc_tool_bridge.link.protocol import HIGH_WATER_BYTES, Link
from grpc_tool_bridge.link.server import YIELD_BYTES, CallServer, served_methods
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.buffers import joined
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY, caller_text, read_caller
from grpc_tool_bridge.rpc.context import RequestContext
from support.waiting import soon, turns, until


def known(context: RequestContext) -> dict[str, Any]:
    return {name: getattr(context, name) for name in ("deadline", "payload", "parent")}


class Served:
    """What is served: a little of what a hub or a worker has."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.go_on = asyncio.Event()
        self.running = 0
        self.size = 1
        self.error: Exception | None = None

    async def heartbeat(self, request: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
        del request
        return pb.HeartbeatResponse(session_valid=True)

    async def cleanup_session(self, request: pb.CleanupSessionRequest) -> pb.StatusResponse:
        if self.error is not None:
            raise self.error
        return pb.StatusResponse(message=request.session_id)

    async def initialize_session(self, request: pb.InitializeSessionRequest) -> pb.InitializeSessionResponse:
        return pb.InitializeSessionResponse(success=True, session_id=request.session_id)

    async def register_tools(
        self, request: pb.RegisterToolsRequest, context: RequestContext
    ) -> pb.RegisterToolsResponse:
        self.seen.append({"link": context.peer, "principal": context.principal})
        return pb.RegisterToolsResponse(success=not request.tools)

    async def execute_tool(self, request: pb.ToolCallRequest, context: RequestContext) -> Any:
        self.seen.append({"tool": request.tool_id, **known(context)})
        self.running += 1
        try:
            await self.go_on.wait()
        finally:
            self.running -= 1
        return pb.ToolCallResponse(success=True).SerializeToString()

    async def stream_tool(self, request: pb.ToolStreamRequest, context: RequestContext) -> AsyncGenerator[Any, None]:
        self.seen.append(known(context))
        self.running += 1
        try:
            for sequence in range(self.size):
                chunk = pb.ToolStreamChunk(sequence=sequence, stream_id=request.stream_id)
                yield chunk.SerializeToString() if sequence % 2 else chunk
        finally:
            self.running -= 1


class Relaying(Served):
    """Passes calls on."""

    def __init__(self) -> None:
        super().__init__()
        self.relayed: list[Callable[[Any, BaseException | None], None]] = []
        self.cancelled = 0
        self.takes = True

    def begin_tool(self, request: pb.ToolCallRequest, context: RequestContext, done: Any) -> Any:
        if not self.takes:
            return self.execute_tool(request, context)
        assert request.tool_id == "t"
        self.relayed.append(done)
        return self

    def cancel(self) -> None:
        self.cancelled += 1
        self.relayed.pop()(None, asyncio.CancelledError())


class Trying(Relaying):
    """Takes usual calls from their bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[dict[str, Any]] = []
        self.usual = True

    def try_begin_tool(self, context: RequestContext, done: Any) -> Any:
        asks = context.asker is not None
        self.tried.append({**known(context), "asks": asks, "principal": context.principal, "via": context.via})
        if not self.usual:
            return None
        if context.payload == b"relay":
            self.relayed.append(done)
            return self
        return self.wait()

    async def wait(self) -> bytes:
        self.running += 1
        try:
            await self.go_on.wait()
        finally:
            self.running -= 1
        return b"usual"


class Later(Deferred[Any]):
    """An answer that comes when it is given."""

    def __init__(self) -> None:
        self.given: Any = None
        self.done: Done | None = None
        self.is_closed = False

    @property
    def is_over(self) -> bool:
        return self.given is not None

    def on_end(self, done: Done) -> None:
        self.done = done
        if self.given is not None:
            done(self.given, None)

    def give(self, answer: Any) -> None:
        self.given = answer
        if self.done is not None:
            self.done(answer, None)

    def cancel(self) -> None:
        assert self.done is not None
        self.done(None, asyncio.CancelledError())

    def close(self) -> None:
        self.is_closed = True

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        return self.given


class Deferring(Served):
    """Answers some calls later, without a task."""

    def __init__(self) -> None:
        super().__init__()
        self.later: list[Later] = []
        self.answer: Any = None

    def set_session_variable(self, request: pb.SetVariableRequest) -> Later:
        if request.variable_name == "wrong":
            raise RuntimeError("a fault")
        self.later.append(Later())
        if self.answer is not None:
            self.later[-1].give(self.answer)
        return self.later[-1]


class Desk:
    """A call server, and the peer that calls; what either sends is there at once."""

    names_calls = True
    peer_answers = False

    def __init__(self, served: Any, *, write_timeout: float = 60.0) -> None:
        self.link = Link(dialer=False, hello=pb.LinkHello())
        self.peer = Link(dialer=True, hello=pb.LinkHello())
        self.answers: list[Any] = []
        self.parent: Any = None
        self.principal: Any = None
        self.refusal: Exception | None = None
        self.replied: list[Any] = []
        self.blocked = False
        self.server = CallServer(self.link, self, served_methods(served), who="this desk", write_timeout=write_timeout)
        self.schedule_flush()
        self._feed()

    # As the owner:

    def schedule_flush(self) -> None:
        while not self.blocked and self.link.has_output:
            self.answers += self.peer.receive(self.link.next_frame())

    flush = schedule_flush

    def identify(self, call: IncomingCall) -> None:
        if PRINCIPAL_KEY in call.metadata:
            call.principal, call.via = read_caller(call.metadata[PRINCIPAL_KEY])

    def parent_of(self, call: IncomingCall) -> Any:
        if self.refusal is not None:
            raise self.refusal
        assert isinstance(call.metadata, Mapping)
        return self.parent

    def asker_of(self, call: IncomingCall) -> LinkAsker:
        return LinkAsker(lambda ask: self.link.tell(call, pb.LinkEvent(ask=ask)))

    def on_session(self, call: IncomingCall, response: Any) -> None:
        assert not call.answered
        self.replied.append(response)

    # As the peer:

    def call(self, method: str, request: Any, **options: Any) -> OutgoingCall:
        call = OutgoingCall(call_prefix(method, **options))
        if method == "StreamTool":
            call.open_window(0)
        self.peer.call(call, request if isinstance(request, bytes) else request.SerializeToString())
        self._feed()
        return call

    def cancel(self, call: OutgoingCall) -> None:
        self.peer.cancel(call)
        self._feed()

    def grant(self, call: OutgoingCall, size: int) -> None:
        self.peer.grant(call, size)
        self._feed()

    def _feed(self) -> None:
        while self.peer.has_output:
            for event in self.link.receive(self.peer.next_frame()):
                if isinstance(event, CallReceived):
                    self.server.take(event.call)
                elif isinstance(event, Cancelled):
                    self.server.cancel(event.call)
        self.schedule_flush()

    async def replies(self) -> Any:
        await until(lambda: any(isinstance(event, Replied) for event in self.answers))
        (event,) = [event for event in self.answers if isinstance(event, Replied)]
        return joined(event.payload)

    async def ended(self) -> pb.LinkStatus:
        await until(lambda: any(isinstance(event, Ended) for event in self.answers))
        (event,) = [event for event in self.answers if isinstance(event, Ended)]
        status: pb.LinkStatus = event.status
        return status


@pytest.fixture
async def served() -> Served:
    return Served()


@pytest.fixture
async def desk(served: Served) -> AsyncIterator[Desk]:
    desk = Desk(served)
    yield desk
    await soon(desk.server.aclose())
    assert not served.running


CALL = pb.ToolCallRequest(tool_id="t")


def code(name: str) -> int:
    return int(grpc.StatusCode[name].value[0])


def test_only_what_an_object_has_is_served(served: Served) -> None:
    assert set(served_methods(served)) == {
        "Heartbeat",
        "InitializeSession",
        "CleanupSession",
        "RegisterTools",
        "ExecuteTool",
        "StreamTool",
    }
    assert served_methods(None) == {}


async def test_a_call_is_answered(desk: Desk) -> None:
    desk.call("Heartbeat", pb.HeartbeatRequest())
    assert pb.HeartbeatResponse.FromString(await desk.replies()).session_valid
    assert not desk.replied


async def test_the_answer_that_opens_a_session_is_seen_by_the_owner_first(desk: Desk) -> None:
    desk.call("InitializeSession", pb.InitializeSessionRequest())
    assert pb.InitializeSessionResponse.FromString(await desk.replies()).success
    (response,) = desk.replied
    assert response.success


async def test_a_method_that_is_not_served_is_unimplemented(desk: Desk) -> None:
    desk.call("GetMetrics", b"")
    status = await desk.ended()
    assert status.code == code("UNIMPLEMENTED")
    assert "this desk does not offer GetMetrics" in status.message


class TestUsualCalls:
    @pytest.fixture
    def trying(self) -> Trying:
        return Trying()

    @pytest.fixture
    async def desk(self, trying: Trying) -> AsyncIterator[Desk]:
        desk = Desk(trying)
        yield desk
        await soon(desk.server.aclose())
        assert not trying.running

    async def test_one_is_answered_as_it_is_without_the_general_way(self, desk: Desk, trying: Trying) -> None:
        desk.peer_answers = True
        desk.call("ExecuteTool", b"any bytes", timeout_ms=60_000)
        trying.go_on.set()
        assert await desk.replies() == b"usual"
        [tried] = trying.tried
        assert (tried["payload"], tried["parent"], tried["asks"]) == (b"any bytes", None, True)
        assert tried["deadline"] > time.monotonic()
        assert not trying.seen

    async def test_one_that_is_passed_on_is_answered_by_its_callback(self, desk: Desk, trying: Trying) -> None:
        desk.call("ExecuteTool", b"relay")
        trying.relayed.pop()(b"passed on", None)
        assert await desk.replies() == b"passed on"

    async def test_either_is_cancelled(self, desk: Desk, trying: Trying) -> None:
        for call in (desk.call("ExecuteTool", b"relay"), desk.call("ExecuteTool", b"run")):
            desk.cancel(call)
        assert trying.cancelled == 1
        await until(lambda: not trying.running)
        assert not trying.relayed

    async def test_what_is_no_usual_call_is_begun_as_any_other(self, desk: Desk, trying: Trying) -> None:
        trying.usual = trying.takes = False
        trying.go_on.set()
        desk.call("ExecuteTool", CALL, timeout_ms=60_000)
        assert pb.ToolCallResponse.FromString(await desk.replies()).success
        assert [(item["tool"], item["payload"]) for item in trying.seen] == [("t", CALL.SerializeToString())]
        assert len(trying.tried) == 1

    @pytest.mark.parametrize("metadata", [{"depth": "1"}, {"tool-bridge-asks": "true"}])
    async def test_a_call_with_metadata_is_none(self, desk: Desk, trying: Trying, metadata: dict[str, str]) -> None:
        trying.takes = False
        trying.go_on.set()
        desk.call("ExecuteTool", CALL, metadata=metadata)
        assert pb.ToolCallResponse.FromString(await desk.replies()).success
        assert not trying.tried

    async def test_one_whose_metadata_says_only_for_whom_it_is_made_is_one(self, desk: Desk, trying: Trying) -> None:
        desk.principal = Principal("a hub")
        trying.go_on.set()
        desk.call("ExecuteTool", b"any", metadata={PRINCIPAL_KEY: caller_text(Principal("ada"), ("tool:x",))})
        assert await desk.replies() == b"usual"
        assert (trying.tried[0]["principal"], trying.tried[0]["via"]) == (Principal("ada"), ("tool:x",))

    async def test_the_principal_of_the_link_makes_all_others(self, desk: Desk, trying: Trying) -> None:
        desk.principal = Principal("ada")
        trying.go_on.set()
        desk.call("ExecuteTool", b"any")
        assert await desk.replies() == b"usual"
        assert trying.tried[0]["principal"] is desk.principal

    async def test_one_that_says_so_in_a_way_that_cannot_be_read_fails(self, desk: Desk, trying: Trying) -> None:
        desk.call("ExecuteTool", CALL, metadata={PRINCIPAL_KEY: "ada"})
        status = await desk.ended()
        assert "tool-bridge-principal" in status.message
        assert not trying.tried
        assert not trying.seen

    async def test_other_methods_are_not_tried(self, desk: Desk, trying: Trying) -> None:
        desk.call("Heartbeat", pb.HeartbeatRequest())
        assert pb.HeartbeatResponse.FromString(await desk.replies()).session_valid
        assert not trying.tried


class TestDeferredAnswers:
    @pytest.fixture
    def deferring(self) -> Deferring:
        return Deferring()

    @pytest.fixture
    async def desk(self, deferring: Deferring) -> AsyncIterator[Desk]:
        desk = Desk(deferring)
        yield desk
        await soon(desk.server.aclose())

    def _set(self, desk: Desk, name: str = "x", size: int = 0) -> OutgoingCall:
        value = any_pb2.Any(value=b"v" * size)
        return desk.call("SetSessionVariable", pb.SetVariableRequest(variable_name=name, value=value))

    async def test_one_is_sent_when_it_is_given_without_a_task(self, desk: Desk, deferring: Deferring) -> None:
        before = asyncio.all_tasks()
        self._set(desk)
        assert asyncio.all_tasks() == before
        assert not desk.link.incoming[1].answered
        deferring.later.pop().give(pb.StatusResponse(message="5"))
        assert pb.StatusResponse.FromString(await desk.replies()).message == "5"

    async def test_one_that_is_there_at_once_is_sent_at_once(self, desk: Desk, deferring: Deferring) -> None:
        deferring.answer = pb.StatusResponse(message="6")
        self._set(desk)
        assert pb.StatusResponse.FromString(await desk.replies()).message == "6"

    async def test_it_is_never_sent_while_others_are_told(self, desk: Desk, deferring: Deferring) -> None:
        self._set(desk)
        scheduled: list[bool] = []
        desk.schedule_flush = lambda: scheduled.append(True)  # type: ignore[method-assign]
        desk.flush = lambda: pytest.fail("what flushes may begin another call")  # type: ignore[method-assign]
        deferring.later.pop().give(pb.StatusResponse())
        assert scheduled == [True]

    async def test_the_peer_can_cancel_the_call(self, desk: Desk, deferring: Deferring) -> None:
        desk.cancel(self._set(desk))
        assert not desk.link.incoming
        deferring.later.pop().give(pb.StatusResponse())
        assert not any(isinstance(event, Replied | Ended) for event in desk.answers)

    async def test_a_fault_at_the_beginning_ends_the_call_alone(self, desk: Desk) -> None:
        self._set(desk, "wrong")
        assert (await desk.ended()).code == code("INTERNAL")
        desk.call("Heartbeat", b"")
        await desk.replies()

    async def test_that_to_a_large_request_is_awaited(self, desk: Desk, deferring: Deferring) -> None:
        deferring.answer = pb.StatusResponse(message="7")
        self._set(desk, size=YIELD_BYTES)
        assert pb.StatusResponse.FromString(await desk.replies()).message == "7"
        assert deferring.later.pop().is_closed


async def test_every_method_that_takes_a_context_is_told_for_whom_it_is(desk: Desk, served: Served) -> None:
    desk.principal = Principal("worker")
    for metadata in ({}, {PRINCIPAL_KEY: caller_text(Principal("ada"))}):
        desk.call("RegisterTools", b"", metadata=metadata)
    await until(lambda: len(served.seen) == 2)
    assert [item["principal"] for item in served.seen] == [Principal("worker"), Principal("ada")]


@pytest.mark.parametrize("method", ["Heartbeat", "ExecuteTool", "StreamTool"])
async def test_a_request_that_cannot_be_read_fails_alone(desk: Desk, method: str) -> None:
    desk.call(method, b"\xff\xff")
    status = await desk.ended()
    assert status.code == code("INVALID_ARGUMENT")
    assert f"the request of {method} cannot be read" in status.message
    desk.call("Heartbeat", b"")
    await desk.replies()


async def test_a_tool_gets_its_deadline_its_bytes_and_its_parent(desk: Desk, served: Served) -> None:
    desk.parent = "the call above"
    desk.call("ExecuteTool", CALL, timeout_ms=5_000)
    await until(lambda: served.running == 1)
    (seen,) = served.seen
    assert (seen["payload"], seen["parent"]) == (CALL.SerializeToString(), "the call above")
    assert 0 < seen["deadline"] - time.monotonic() <= 5
    desk.call("ExecuteTool", CALL)
    await until(lambda: served.running == 2)
    assert served.seen[-1]["deadline"] is None


async def test_a_call_whose_parent_is_over_is_refused(desk: Desk, served: Served) -> None:
    desk.refusal = CallCancelledError("it is over")
    desk.call("ExecuteTool", CALL)
    assert (await desk.ended()).message == "it is over"
    assert not served.seen


async def test_tools_are_registered_with_their_link(desk: Desk, served: Served) -> None:
    desk.call("RegisterTools", pb.RegisterToolsRequest())
    await desk.replies()
    assert served.seen == [{"link": desk, "principal": None}]


async def test_what_is_answered_as_bytes_is_sent_as_it_is(desk: Desk, served: Served) -> None:
    desk.call("ExecuteTool", CALL)
    await until(lambda: served.running == 1)
    served.go_on.set()
    assert pb.ToolCallResponse.FromString(await desk.replies()).success
    assert not desk.replied


async def test_an_error_of_the_bridge_ends_the_call_with_it(desk: Desk, served: Served) -> None:
    served.error = NotFoundError("not here")
    desk.call("CleanupSession", pb.CleanupSessionRequest())
    status = await desk.ended()
    assert (status.code, status.message) == (code("NOT_FOUND"), "not here")


async def test_a_fault_is_logged_and_not_told(desk: Desk, served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.error = RuntimeError("a secret")
    desk.call("CleanupSession", pb.CleanupSessionRequest())
    status = await desk.ended()
    assert status.code == code("INTERNAL")
    assert "a secret" not in status.message
    assert "fault in CleanupSession" in caplog.text


async def test_a_large_request_is_read_in_a_turn_of_its_own(desk: Desk) -> None:
    desk.call("CleanupSession", pb.CleanupSessionRequest(session_id="x" * YIELD_BYTES))
    assert not any(isinstance(event, Replied) for event in desk.answers)
    assert len(pb.StatusResponse.FromString(await desk.replies()).message) == YIELD_BYTES


async def test_a_large_request_that_cannot_be_read_fails_alone(desk: Desk) -> None:
    desk.call("CleanupSession", b"\xff" * (YIELD_BYTES + 1))
    assert (await desk.ended()).code == code("INVALID_ARGUMENT")


@pytest.mark.parametrize("turn", range(6))
async def test_a_large_call_can_be_cancelled_in_each_turn_and_leaves_nothing(
    desk: Desk, served: Served, turn: int
) -> None:
    # From now on there is a task that waits for the next call.
    desk.call("CleanupSession", pb.CleanupSessionRequest(session_id="x"))
    await turns()
    call = desk.call("ExecuteTool", pb.ToolCallRequest(tool_id="t", request_id="x" * YIELD_BYTES))
    await turns(turn)
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        desk.cancel(call)
        await until(lambda: not desk.link.incoming)
        gc.collect()
    assert [str(warning.message) for warning in noticed] == []
    assert not served.running


class TestCancellation:
    async def test_it_reaches_what_runs_and_the_call_ends(self, desk: Desk, served: Served) -> None:
        call = desk.call("ExecuteTool", CALL)
        await until(lambda: served.running == 1)
        desk.cancel(call)
        await until(lambda: not desk.link.incoming)
        assert not served.running
        assert not desk.peer.open_calls

    async def test_the_end_of_the_link_ends_what_runs(self, desk: Desk, served: Served) -> None:
        desk.call("ExecuteTool", CALL)
        served.size = 10_000
        desk.call("StreamTool", pb.ToolStreamRequest(stream_id="x" * 1_000))
        await until(lambda: served.running == 2)
        await soon(desk.server.aclose())
        assert not served.running

    async def test_a_call_that_is_held_back_never_begins(self, desk: Desk, served: Served) -> None:
        desk.blocked = True
        blocker = OutgoingCall(b"")
        blocker.prefix = call_prefix("Heartbeat")
        desk.link.call(blocker, bytes(HIGH_WATER_BYTES))
        calls = [desk.call("ExecuteTool", CALL) for _ in range(2)]
        assert not served.seen
        desk.cancel(calls[0])
        assert not served.seen
        desk.blocked = False
        desk.schedule_flush()
        desk.server.resume_pending()
        await until(lambda: served.running == 1)
        assert len(served.seen) == 1
        assert len(desk.link.incoming) == 1


class TestStreams:
    async def test_messages_come_in_order_and_then_the_end(self, desk: Desk, served: Served) -> None:
        served.size = 4
        desk.call("StreamTool", pb.ToolStreamRequest(stream_id="s"))
        assert (await desk.ended()).code == 0
        chunks = [
            pb.ToolStreamChunk.FromString(joined(event.payload))
            for event in desk.answers
            if isinstance(event, MessageReceived)
        ]
        assert [(chunk.sequence, chunk.stream_id) for chunk in chunks] == [(n, "s") for n in range(4)]

    async def test_a_reader_that_stalls_holds_up_its_stream_and_no_other_call(self, desk: Desk, served: Served) -> None:
        served.size = 10_000
        call = desk.call("StreamTool", pb.ToolStreamRequest(stream_id="x" * 1_000))

        def arrived() -> int:
            return sum(len(event.payload) for event in desk.answers if isinstance(event, MessageReceived))

        await until(lambda: arrived() >= INITIAL_CREDIT)
        desk.call("Heartbeat", b"")
        await desk.replies()
        assert served.running == 1
        stalled_at = arrived()
        assert stalled_at < INITIAL_CREDIT + 2_000
        desk.grant(call, stalled_at)
        await until(lambda: arrived() > stalled_at)

    @pytest.mark.parametrize("timeout_ms", [0, 60_000])
    async def test_a_reader_that_takes_nothing_for_too_long_loses_its_stream(
        self, served: Served, timeout_ms: int
    ) -> None:
        desk = Desk(served, write_timeout=0.02)
        served.size = 10_000
        desk.call("StreamTool", pb.ToolStreamRequest(stream_id="x" * 1_000, timeout_ms=timeout_ms))
        await until(lambda: not served.running)
        await soon(desk.server.aclose())

    async def test_a_stream_that_gives_itself_less_time_waits_no_longer(self, desk: Desk, served: Served) -> None:
        served.size = 10_000
        desk.call("StreamTool", pb.ToolStreamRequest(stream_id="x" * 1_000, timeout_ms=20))
        await until(lambda: not served.running)


class TestRelays:
    async def test_a_call_that_is_passed_on_is_answered_by_whoever_took_it(self) -> None:
        served = Relaying()
        desk = Desk(served)
        desk.call("ExecuteTool", CALL)
        assert not served.seen
        served.relayed.pop()(pb.ToolCallResponse(success=True), None)
        assert pb.ToolCallResponse.FromString(await desk.replies()).success
        await desk.server.aclose()
        assert not served.cancelled

    async def test_one_that_is_not_taken_runs_here(self) -> None:
        served = Relaying()
        served.takes = False
        desk = Desk(served)
        desk.call("ExecuteTool", CALL)
        await until(lambda: served.running == 1)
        await desk.server.aclose()

    async def test_a_nested_or_a_large_call_is_not_passed_on(self) -> None:
        served = Relaying()
        desk = Desk(served)
        desk.parent = "the call above"
        desk.call("ExecuteTool", CALL)
        desk.parent = None
        desk.call("ExecuteTool", pb.ToolCallRequest(tool_id="t", request_id="x" * YIELD_BYTES))
        await until(lambda: served.running == 2)
        assert not served.relayed
        await desk.server.aclose()

    @pytest.mark.parametrize("end", ["cancel", "the link's end"])
    async def test_what_ends_a_call_is_told_to_whoever_took_it(self, end: str) -> None:
        served = Relaying()
        desk = Desk(served)
        call = desk.call("ExecuteTool", CALL)
        if end == "cancel":
            desk.cancel(call)
        else:
            await desk.server.aclose()
        assert served.cancelled == 1
        assert not desk.link.incoming
