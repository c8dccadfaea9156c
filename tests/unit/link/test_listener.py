"""The hub's end of a link, with a hub that does what the test says and a peer in memory."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import (
    DeadlineExceededError,
    MessageTooLargeError,
    NotFoundError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.events import Draining, Ended, Event, EventReceived, MessageReceived, Replied
from grpc_tool_bridge.link.flushing import FlushPolicy
from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.link.io import TaskIO
from grpc_tool_bridge.link.listener import MIN_PRUNED, AcceptedLink, LinkServer
from grpc_tool_bridge.link.outbox import OutgoingCall
from grpc_tool_bridge.link.protocol import HIGH_WATER_BYTES, Link
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.buffers import joined
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY, caller_text
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.rpc.methods import METHODS, ORIGIN_KEY
from grpc_tool_bridge.rpc.session_defaults import METADATA_LOGGER
from support.hubs import SomeHub
from support.patience import PATIENCE
from support.waiting import until
from unit.link.fakes import Frames, PipeStream


class Peer:
    """Dials the hub, and keeps what it is told.

    Attributes:
        reading: Set while it reads.
        grants: Whether it takes what streams bring.
        serving: The hub's task for its link.
    """

    def __init__(self, server: LinkServer) -> None:
        there, back = Frames(), Frames()
        self.reading = back.open
        self._stream = PipeStream(back, there)
        self.link = Link(dialer=True, hello=pb.LinkHello(peer="a test"))
        self.events: list[Event] = []
        self.grants = True
        self.serving = asyncio.create_task(server.serve(PipeStream(there, back)))
        self.io = TaskIO(self.link, self._stream, on_event=self.take, on_writable=lambda: None, write_timeout=60)
        self.running = asyncio.create_task(self.io.run())
        self._news = asyncio.Event()

    def take(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()
        if isinstance(event, MessageReceived) and self.grants:
            self.link.grant(event.call, len(event.payload))

    def call(self, method: str, request: Any, *, timeout_ms: int = 0, window: int = 0) -> OutgoingCall:
        """Begins a call."""
        call = OutgoingCall(call_prefix(method, timeout_ms=timeout_ms, initial_credit=window))
        if method in ("StreamTool", "WatchSessionTools"):
            call.open_window(window or call.window)
        payload = request if isinstance(request, bytes) else request.SerializeToString()
        self.link.call(call, payload)
        self.io.schedule_flush()
        return call

    def tool(self, name: str, **options: Any) -> OutgoingCall:
        return self.call("ExecuteTool", pb.ToolCallRequest(tool_id=name, request_id="r"), **options)

    def stream(self, name: str, *, limit_ms: int = 0, **options: Any) -> OutgoingCall:
        return self.call("StreamTool", pb.ToolStreamRequest(tool_id=name, timeout_ms=limit_ms), **options)

    def cancel(self, call: OutgoingCall) -> None:
        self.link.cancel(call)
        self.io.schedule_flush()

    async def outcome(self, call: OutgoingCall) -> Any:
        """Waits for the answer or the end of a call: the payload, or the status."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.events:
                    if isinstance(event, Replied) and event.call is call:
                        return joined(event.payload)
                    if isinstance(event, Ended) and event.call is call:
                        return event.status
                self._news.clear()
                await self._news.wait()

    async def until_idle(self) -> None:
        """Waits until the hub has answered all, what was cancelled as well."""
        async with asyncio.timeout(PATIENCE):
            while self.link.calls:  # noqa: ASYNC110 - what is looked at is no event
                await asyncio.sleep(0)

    async def error(self, call: OutgoingCall) -> tuple[int, str]:
        status = await self.outcome(call)
        assert isinstance(status, pb.LinkStatus)
        return status.code, status.error.type

    def told(self, call: OutgoingCall) -> list[pb.LinkEvent]:
        return [event.event for event in self.events if isinstance(event, EventReceived) and event.call is call]

    def arrived(self, call: OutgoingCall) -> list[pb.ToolStreamChunk]:
        return [
            pb.ToolStreamChunk.FromString(joined(event.payload))
            for event in self.events
            if isinstance(event, MessageReceived) and event.call is call
        ]

    async def hang_up(self) -> None:
        """Sends no more."""
        await self._stream.write(None)

    async def vanish(self) -> None:
        """Goes as gRPC tells it of a client that vanished: by cancelling who serves it."""
        self.serving.cancel()
        await asyncio.wait([self.serving])

    async def served(self) -> None:
        """Waits for the end at the hub's side."""
        async with asyncio.timeout(PATIENCE):
            await self.serving

    async def close(self) -> None:
        for task in (self.running, self.serving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


class Desk:
    """A hub, its link server, and peers."""

    def __init__(self, **settings: Any) -> None:
        self.hub = SomeHub()
        self.server = LinkServer(self.hub, Settings(**settings))
        self.peers: list[Peer] = []

    def dial(self) -> Peer:
        self.peers.append(Peer(self.server))
        return self.peers[-1]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await end(desk)


@pytest.fixture
async def peer(desk: Desk) -> Peer:
    return desk.dial()


async def end(desk: Desk) -> None:
    for peer in desk.peers:
        await peer.close()
    assert len(desk.server) == 0


def code(status: grpc.StatusCode) -> int:
    number: int = status.value[0]
    return number


# ---------------------------------------------------------------------------------------------------------- calls


async def test_a_call_is_answered(peer: Peer) -> None:
    response = pb.ToolCallResponse.FromString(await peer.outcome(peer.tool("any")))
    assert response == pb.ToolCallResponse(success=True, request_id="r")


async def test_a_call_of_a_method_that_takes_no_deadline_is_answered(peer: Peer) -> None:
    answer = await peer.outcome(peer.call("Heartbeat", pb.HeartbeatRequest(), timeout_ms=5))
    assert pb.HeartbeatResponse.FromString(answer).session_valid


async def test_calls_that_wait_do_not_hold_up_others(desk: Desk, peer: Peer) -> None:
    waiting = [peer.tool("wait") for _ in range(3)]
    await peer.outcome(peer.tool("any"))
    desk.hub.go.set()
    for call in waiting:
        assert isinstance(await peer.outcome(call), bytes)


async def test_the_time_that_is_left_is_the_deadline_of_a_tool(desk: Desk, peer: Peer) -> None:
    await peer.outcome(peer.tool("any"))
    await peer.outcome(peer.tool("any", timeout_ms=5_000))
    await peer.outcome(peer.stream("any", timeout_ms=5_000))
    assert desk.hub.deadlines[0] is None
    assert all(deadline is not None for deadline in desk.hub.deadlines[1:])


async def test_a_stream_is_answered_in_order_and_ends(desk: Desk, peer: Peer) -> None:
    call = peer.stream("any")
    assert await peer.outcome(call) == pb.LinkStatus()
    assert [chunk.sequence for chunk in peer.arrived(call)] == [0, 1, 2]
    assert desk.hub.ended == ["any"]


async def test_a_method_that_the_hub_does_not_have_is_unimplemented(peer: Peer) -> None:
    for method in ("ExecuteAgent", "NoMethod", "Link", "x" * 1_000, ""):
        status = await peer.outcome(peer.call(method, b""))
        assert (status.code, status.error.type) == (code(grpc.StatusCode.UNIMPLEMENTED), "Unimplemented")
        assert status.message == f"this hub does not offer {method[:100]}"
    assert isinstance(await peer.outcome(peer.tool("any")), bytes)


@pytest.mark.parametrize("method", ["ExecuteTool", "StreamTool", "Heartbeat"])
async def test_a_request_that_cannot_be_read_fails_alone(desk: Desk, peer: Peer, method: str) -> None:
    status = await peer.outcome(peer.call(method, b"\xff\xff"))
    assert status.error.type == "SerializationError"
    assert status.message.startswith(f"the request of {method} cannot be read")
    assert desk.hub.started == []
    assert isinstance(await peer.outcome(peer.tool("any")), bytes)


@pytest.mark.parametrize("begin", [Peer.tool, Peer.stream])
async def test_an_error_of_the_hub_ends_the_call_with_it(peer: Peer, begin: Any) -> None:
    status = await peer.outcome(begin(peer, "fail"))
    assert (status.code, status.message) == (code(grpc.StatusCode.NOT_FOUND), "no such tool")
    assert status.error.type == NotFoundError("").error_type


async def test_a_fault_of_the_hub_is_logged_and_internal(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    assert (await peer.error(peer.tool("fault")))[0] == code(grpc.StatusCode.INTERNAL)
    assert "fault in ExecuteTool" in caplog.text
    assert "LookupError: it" in caplog.text


async def test_an_answer_that_no_link_carries_is_an_error_of_the_call(peer: Peer) -> None:
    size = 65 * 1024 * 1024
    assert await peer.error(peer.tool(f"large{size}")) == (
        code(grpc.StatusCode.RESOURCE_EXHAUSTED),
        MessageTooLargeError("").error_type,
    )
    assert (await peer.error(peer.stream("large")))[1] == MessageTooLargeError("").error_type
    assert isinstance(await peer.outcome(peer.tool("any")), bytes)


async def test_calls_past_the_capacity_are_refused(desk: Desk) -> None:
    desk = Desk(max_link_calls=2)
    peer = desk.dial()
    waiting = [peer.tool("wait") for _ in range(3)]
    assert (await peer.error(waiting[2]))[0] == code(grpc.StatusCode.RESOURCE_EXHAUSTED)
    desk.hub.go.set()
    for call in waiting[:2]:
        assert isinstance(await peer.outcome(call), bytes)
    assert peer.link.peer is not None
    assert peer.link.peer.capacity == 2
    await end(desk)


async def test_requests_past_the_bytes_are_refused() -> None:
    desk = Desk(max_link_bytes=100_000)
    peer = desk.dial()
    waiting = peer.call("ExecuteTool", pb.ToolCallRequest(tool_id="wait", request_id="x" * 90_000))
    await until(lambda: desk.hub.started)
    refused = peer.call("ExecuteTool", pb.ToolCallRequest(tool_id="any", request_id="x" * 90_000))
    assert (await peer.error(refused))[0] == code(grpc.StatusCode.RESOURCE_EXHAUSTED)
    desk.hub.go.set()
    assert isinstance(await peer.outcome(waiting), bytes)
    await end(desk)


# ------------------------------------------------------------------------------------------------------- cancelling


@pytest.mark.parametrize("begin", [Peer.tool, Peer.stream])
async def test_a_cancel_reaches_what_runs_and_the_call_ends(desk: Desk, peer: Peer, begin: Any) -> None:
    call = begin(peer, "wait")
    await until(lambda: desk.hub.started)
    peer.cancel(call)
    await until(lambda: desk.hub.ended)
    await peer.until_idle()
    assert not any(isinstance(event, Replied | Ended) for event in peer.events)


@pytest.mark.parametrize("begin", [Peer.tool, Peer.stream])
async def test_a_cancel_in_the_frame_of_the_call_ends_it(desk: Desk, peer: Peer, begin: Any) -> None:
    await peer.outcome(peer.tool("any"))
    call = begin(peer, "wait")
    await asyncio.sleep(0)
    peer.cancel(call)
    await peer.until_idle()
    assert desk.hub.started.count("wait") == desk.hub.ended.count("wait")


async def test_a_cancel_of_what_was_answered_at_once_changes_nothing(peer: Peer) -> None:
    await peer.outcome(peer.tool("any"))
    for _ in range(3):
        call = peer.tool("any")
        peer.io.schedule_flush()
        await asyncio.sleep(0)
        peer.cancel(call)
    await peer.until_idle()
    assert isinstance(await peer.outcome(peer.tool("any")), bytes)


async def test_calls_of_a_peer_that_vanishes_are_cancelled(desk: Desk, peer: Peer) -> None:
    peer.tool("wait")
    peer.stream("wait")
    await until(lambda: len(desk.hub.started) == 2)
    await peer.vanish()
    assert desk.hub.ended == ["wait", "wait"]
    assert len(desk.server) == 0


async def test_calls_of_a_peer_that_sends_no_more_are_cancelled(desk: Desk, peer: Peer) -> None:
    peer.tool("wait")
    await until(lambda: desk.hub.started)
    await peer.hang_up()
    await peer.served()
    assert desk.hub.ended == ["wait"]


# ------------------------------------------------------------------------------------------------- who does not read


async def test_calls_of_a_peer_that_does_not_read_are_held_and_go_on_when_it_does(desk: Desk, peer: Peer) -> None:
    await peer.outcome(peer.tool("any"))
    peer.reading.clear()
    large = [peer.tool(f"large{HIGH_WATER_BYTES}") for _ in range(3)]
    await until(lambda: len(desk.hub.started) > 1)
    calls = [peer.tool("any") for _ in range(100)]
    for _ in range(300):
        await asyncio.sleep(0)
    # What was begun before the answers piled up was answered; the others are not begun.
    begun = len(desk.hub.started)
    assert begun < 1 + len(large) + len(calls)
    cancelled = calls.pop()
    peer.cancel(cancelled)
    peer.reading.set()
    for call in (*large, *calls):
        assert isinstance(await peer.outcome(call), bytes)
    await peer.until_idle()
    assert len(desk.hub.started) == 1 + len(large) + len(calls)


async def test_a_held_call_that_is_cancelled_never_runs(desk: Desk, peer: Peer) -> None:
    await peer.outcome(peer.tool("any"))
    peer.reading.clear()
    peer.tool(f"large{3 * HIGH_WATER_BYTES}")
    await until(lambda: len(desk.hub.started) == 2)
    held = peer.tool("held")
    for _ in range(50):
        await asyncio.sleep(0)
    assert held.id
    peer.cancel(held)
    for _ in range(50):
        await asyncio.sleep(0)
    peer.reading.set()
    await peer.until_idle()
    assert "held" not in desk.hub.started


async def test_a_stream_waits_for_its_reader_and_other_calls_do_not(desk: Desk, peer: Peer) -> None:
    peer.grants = False
    call = peer.stream("endless", window=200_000)
    await until(lambda: len(peer.arrived(call)) >= 4)
    assert isinstance(await peer.outcome(peer.tool("any")), bytes)
    assert len(peer.arrived(call)) <= 5
    assert desk.hub.ended == ["any"]
    peer.cancel(call)
    await peer.until_idle()
    assert desk.hub.ended == ["any", "endless"]


async def test_a_stream_whose_reader_grants_goes_on(desk: Desk, peer: Peer) -> None:
    call = peer.stream("endless", window=200_000)
    await until(lambda: len(peer.arrived(call)) >= 50)
    assert [chunk.sequence for chunk in peer.arrived(call)][:50] == list(range(50))
    peer.cancel(call)
    await until(lambda: desk.hub.ended)


async def test_a_stream_whose_reader_stalls_ends() -> None:
    desk = Desk(stream_timeout=60)
    peer = desk.dial()
    peer.grants = False
    call = peer.stream("endless", window=200_000, limit_ms=20)
    await until(lambda: desk.hub.ended)
    # The status comes after what was on its way.
    assert call.id in peer.link.calls
    peer.link.grant(call, 10_000_000)
    peer.io.schedule_flush()
    status = await peer.outcome(call)
    assert [chunk.sequence for chunk in peer.arrived(call)] == list(range(len(peer.arrived(call))))
    assert status.code == code(grpc.StatusCode.DEADLINE_EXCEEDED)
    assert status.message == "the stream was ended: its reader took nothing for 0.02 s"
    assert desk.hub.ended == ["endless"]
    await end(desk)


async def test_a_peer_that_reads_nothing_at_all_loses_its_link() -> None:
    desk = Desk(stream_timeout=0.02)
    peer = desk.dial()
    peer.reading.clear()
    peer.tool(f"large{HIGH_WATER_BYTES}")
    with pytest.raises(DeadlineExceededError, match=r"its peer read nothing for 0\.02 s"):
        await peer.served()
    await end(desk)


# -------------------------------------------------------------------------------------------------------- sessions


async def test_the_defaults_of_a_session_come_before_the_answer(peer: Peer) -> None:
    call = peer.call("InitializeSession", pb.InitializeSessionRequest(session_id="s"))
    await peer.outcome(call)
    (event,) = peer.told(call)
    assert event.log.logger == METADATA_LOGGER
    assert dict(event.log.fields) == {"tool-bridge-idle-timeout-ms": "1500"}
    kinds = [type(event) for event in peer.events]
    assert kinds.index(EventReceived) < kinds.index(Replied)


async def test_a_session_is_held_until_the_link_ends(desk: Desk, peer: Peer) -> None:
    await peer.outcome(peer.call("InitializeSession", pb.InitializeSessionRequest(session_id="s")))
    await peer.outcome(peer.call("InitializeSession", pb.InitializeSessionRequest(session_id="t")))
    assert [(hold.session_id, hold.released) for hold in desk.hub.holds] == [("s", 0), ("t", 0)]
    await peer.hang_up()
    await peer.served()
    assert [hold.released for hold in desk.hub.holds] == [1, 1]


async def test_sessions_are_released_though_the_link_is_cancelled_twice(desk: Desk, peer: Peer) -> None:
    async def stubborn(request: Any, context: RequestContext) -> Any:
        desk.hub.started.append("stubborn")
        try:
            await desk.hub.go.wait()
        finally:
            await asyncio.get_running_loop().create_future()

    desk.server._methods["ExecuteTool"] = type(desk.server._methods["ExecuteTool"])(METHODS["ExecuteTool"], stubborn)
    await peer.outcome(peer.call("InitializeSession", pb.InitializeSessionRequest(session_id="s")))
    peer.tool("any")
    await until(lambda: desk.hub.started)
    peer.serving.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not peer.serving.done()
    assert desk.hub.holds[0].released == 0
    await peer.vanish()
    assert desk.hub.holds[0].released == 1


async def test_a_session_that_was_not_opened_is_not_held(desk: Desk, peer: Peer) -> None:
    call = peer.call("InitializeSession", pb.InitializeSessionRequest(session_id="refused"))
    await peer.outcome(call)
    assert desk.hub.holds == []
    assert peer.told(call) == []


async def test_a_session_that_is_opened_again_is_held_once(desk: Desk, peer: Peer) -> None:
    for _ in range(2):
        await peer.outcome(peer.call("InitializeSession", pb.InitializeSessionRequest(session_id="s")))
    assert [hold.released for hold in desk.hub.holds] == [1, 0]


async def test_a_link_forgets_sessions_that_have_ended(desk: Desk, peer: Peer) -> None:
    for number in range(MIN_PRUNED + 1):
        if number == MIN_PRUNED:
            for hold in desk.hub.holds[1:]:
                hold.is_needed = False
        await peer.outcome(peer.call("InitializeSession", pb.InitializeSessionRequest(session_id=str(number))))
    (link,) = desk.server._links
    assert set(link._sessions) == {"0", str(MIN_PRUNED)}
    assert link._prune_at == MIN_PRUNED


# ------------------------------------------------------------------------------------------------- who breaks the rules


async def test_a_peer_that_breaks_the_protocol_loses_its_link_alone(
    desk: Desk, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    other = desk.dial()
    await other.outcome(other.tool("any"))
    await peer.outcome(peer.tool("any"))
    await peer._stream.write(b"\xff")
    with pytest.raises(ValidationError, match="the link was ended: a frame of 1 bytes cannot be read"):
        await peer.served()
    assert "the link of a test was ended" in caplog.text
    assert isinstance(await other.outcome(other.tool("any")), bytes)
    assert len(desk.server) == 1


async def test_a_peer_that_says_no_hello_is_told_so(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    there, back = Frames(), Frames()
    serving = asyncio.create_task(desk.server.serve(PipeStream(there, back)))
    await there.write(pb.LinkFrame(envelopes=[pb.Envelope(ping=1)]).SerializeToString())
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ValidationError, match="it must be the peer's hello"):
            await serving
    assert "the link of an unknown peer was ended" in caplog.text


async def test_a_vanished_peer_is_no_news(desk: Desk, peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    peer.tool("wait")
    await until(lambda: desk.hub.started)
    await peer.vanish()
    assert caplog.text == ""


# ------------------------------------------------------------------------------------------------------- the end


async def test_a_hub_that_drains_tells_its_peers_and_finishes_their_calls(desk: Desk, peer: Peer) -> None:
    call = peer.tool("wait")
    await until(lambda: desk.hub.started)
    desk.server.drain(2.5)
    await until(lambda: any(isinstance(event, Draining) for event in peer.events))
    assert peer.events[-1] == Draining(2500)
    assert not peer.serving.done()
    desk.hub.go.set()
    assert isinstance(await peer.outcome(call), bytes)
    await desk.server.close(PATIENCE)
    with pytest.raises(UnavailableError, match="the hub is shutting down"):
        await peer.served()
    assert len(desk.server) == 0


async def test_a_hub_that_drains_takes_no_new_links(desk: Desk) -> None:
    desk.server.drain(0)
    with pytest.raises(UnavailableError, match="connect again when it is back"):
        await desk.dial().served()
    assert len(desk.server) == 0


async def test_closing_sends_what_waits_and_ends_every_link(desk: Desk) -> None:
    peers = [desk.dial() for _ in range(3)]
    for peer in peers:
        await peer.outcome(peer.tool("any"))
    call = peers[0].tool(f"large{HIGH_WATER_BYTES}")
    await until(lambda: len(desk.hub.ended) == 4)
    await desk.server.close(PATIENCE)
    for peer in peers:
        await peer.served()
    assert isinstance(await peers[0].outcome(call), bytes)


async def test_closing_waits_no_longer_than_the_grace_for_a_peer_that_does_not_read(desk: Desk, peer: Peer) -> None:
    await peer.outcome(peer.tool("any"))
    peer.reading.clear()
    peer.tool(f"large{3 * HIGH_WATER_BYTES}")
    await until(lambda: len(desk.hub.ended) == 2)
    await desk.server.close(0.01)
    assert len(desk.server) == 1


async def test_closing_where_there_is_no_link_is_nothing(desk: Desk) -> None:
    await desk.server.close(PATIENCE)
    assert len(desk.server) == 0


async def test_a_paused_server_sends_its_peers_away_and_takes_no_links_until_it_goes_on() -> None:
    server = LinkServer(SomeHub(), Settings())
    peer = Peer(server)
    await until(lambda: peer.link.peer is not None)
    server.pause("this hub is cut off", 1.0)
    await until(lambda: any(isinstance(event, Draining) for event in peer.events))
    refused = Peer(server)
    with pytest.raises(UnavailableError, match="this hub is cut off"):
        await refused.serving
    server.resume()
    again = Peer(server)
    await until(lambda: again.link.peer is not None)
    for one in (peer, refused, again):
        one.serving.cancel()
        one.running.cancel()
    await asyncio.wait([task for one in (peer, refused, again) for task in (one.serving, one.running)])


async def test_a_server_has_settled_once_its_peers_know_that_it_drains() -> None:
    server = LinkServer(SomeHub(), Settings())
    peer = Peer(server)
    await until(lambda: peer.link.peer is not None)
    async with asyncio.timeout(PATIENCE):
        await server.settle(PATIENCE)
    assert any(isinstance(event, Draining) for event in peer.events)
    peer.serving.cancel()
    peer.running.cancel()
    await asyncio.wait([peer.serving, peer.running])


# ------------------------------------------------------------------------------------------------ for whom it is


ADA, EVE = Principal("ada"), Principal("eve")
SAYS_EVE = {PRINCIPAL_KEY: caller_text(EVE, ("tool:x",))}


def accepted(principal: Principal | None) -> AcceptedLink:
    link = AcceptedLink(SomeHub(), {}, Settings(), PipeStream(Frames(), Frames()), FlushPolicy())
    link.principal = principal
    made_for: Any = SimpleNamespace(owner=SimpleNamespace(principal=ADA, delegation=("tool:report",)), given_up=False)
    link._link.calls[4] = made_for
    return link


@pytest.mark.parametrize("own", [None, Principal("worker", method="token"), Principal("hub:b", method="hub")])
async def test_a_nested_call_is_for_the_caller_of_the_call_that_made_it_whatever_it_says(own: Principal | None) -> None:
    call = IncomingCall(1, "ExecuteTool", b"", 0, {**SAYS_EVE, ORIGIN_KEY: "4"}, 0)
    accepted(own).identify(call)
    assert (call.principal, call.via) == (ADA, ("tool:report",))


@pytest.mark.parametrize("number", ["5", "-4", "four", "4" * 100, ""])
async def test_a_call_that_names_no_call_of_its_link_is_its_own(number: str) -> None:
    call = IncomingCall(1, "SetSessionVariable", b"", 0, {**SAYS_EVE, ORIGIN_KEY: number}, 0)
    call.principal = own = Principal("hub:b", method="hub")
    accepted(own).identify(call)
    assert (call.principal, call.via) == (own, ())


async def test_only_another_hub_says_for_whom_it_calls() -> None:
    for own, expected in ((None, None), (ADA, ADA), (Principal("hub:b", method="hub"), EVE)):
        call = IncomingCall(1, "ExecuteTool", b"", 0, SAYS_EVE, 0)
        call.principal = own
        accepted(own).identify(call)
        assert call.principal == expected
        assert call.via == (("tool:x",) if expected == EVE else ())
