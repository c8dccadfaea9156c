"""A client's calls over links that come and go: with links in memory, and with a real server where gRPC matters."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc.aio
import pytest
from grpc.aio import AioRpcError

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import NotFoundError, ToolBridgeError, ToolCommunicationError, UnavailableError
from grpc_tool_bridge.link import dialer
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.dialer import CLOSED
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.link.streams import Dialable
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import BearerToken
from grpc_tool_bridge.rpc.session_defaults import read_defaults
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.frames import link_behaviour
from grpc_tool_bridge.transport.link_stub import LinkStub, LinkTransport
from grpc_tool_bridge.transport.servicer import AuthenticationInterceptor, service_handler
from grpc_tool_bridge.transport.status import rpc_error
from support.hubs import SomeHub
from support.patience import PATIENCE
from support.waiting import soon, until
from unit.link.fakes import FakeStream, settle

DOWN = link_error(Code.UNAVAILABLE, "nobody listens")
WRONG_TOKEN = link_error(Code.UNAUTHENTICATED, "the token is wrong")


async def error_of(call: Any) -> AioRpcError:
    with pytest.raises(AioRpcError) as caught:
        await soon(call)
    return caught.value


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dials again without a wait."""

    def back_off() -> Iterator[float]:
        while True:
            yield 0.0

    monkeypatch.setattr(dialer, "back_off", back_off)


# ---------------------------------------------------------------------------------------------- links in memory


class FakeLink:
    """A link that does what the test says.

    Attributes:
        sent: The calls that it was given, with their payloads.
        room: How many calls more it takes.
    """

    enforces_timeouts = True
    over = "a test"
    where = "the hub"

    def __init__(self) -> None:
        self.greeted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.unusable = asyncio.Event()
        self.error: ToolBridgeError | None = None
        self.on_writable: Callable[[], None] | None = None
        self.overflow: Callable[[LinkCall, Any], None] | None = None
        self.room = 1_000
        self.sent: list[tuple[LinkCall, bytes]] = []
        self._end: asyncio.Future[list[tuple[LinkCall, bytes]]] = asyncio.get_running_loop().create_future()

    @property
    def takes_calls(self) -> bool:
        return self.room > 0

    @property
    def calls(self) -> list[LinkCall]:
        return [call for call, _ in self.sent]

    def try_send_bytes(self, call: LinkCall, payload: bytes) -> bool:
        if self.room > 0:
            self.send_or_fail(call, payload)
            return True
        return False

    def send_or_fail(self, call: LinkCall, payload: bytes) -> None:
        call.carrier = self
        self.room -= 1
        self.sent.append((call, payload))

    def send_request(self, call: LinkCall, request: Any) -> None:
        self.send_or_fail(call, request.SerializeToString())

    def try_send_request(self, call: LinkCall, request: Any) -> None:
        if self.takes_calls and not self._end.done():
            self.send_request(call, request)
        else:
            assert self.overflow is not None
            self.overflow(call, request)

    def turn(self) -> None:
        """Says that it may take further calls."""
        if self.on_writable is not None:
            self.on_writable()

    def cancel(self, call: LinkCall) -> None:
        """Nothing."""

    def grant(self, call: LinkCall, size: int) -> None:
        """Nothing."""

    async def run(self) -> list[tuple[LinkCall, bytes]]:
        try:
            return await self._end
        finally:
            self.unusable.set()
            if not self.greeted.done():
                self.greeted.set_result(False)

    async def greet(self) -> None:
        """Lets the hub take the link."""
        self.greeted.set_result(True)
        await settle()

    async def refuse(self, error: ToolBridgeError | None) -> None:
        """Lets the dial fail."""
        self.error = error
        self._end.set_result([])
        await settle()

    def abort(self, why: str) -> None:
        self.error = link_error(Code.UNAVAILABLE, why)
        self._end.set_result([])

    async def lose(self, unsent: tuple[tuple[LinkCall, bytes], ...] = ()) -> None:
        """Lets the link end."""
        self.error = link_error(Code.UNAVAILABLE, "lost")
        self._end.set_result(list(unsent))
        await settle()


class FakeWay(Dialable):
    """Dials nobody."""

    def __init__(self) -> None:
        self.closed = False

    async def dial(self) -> FakeStream:
        return FakeStream()

    async def close(self, *, stranded: bool = False) -> None:
        self.closed = True


class FakeEndpoint:
    """Opens ways that dial nobody."""

    where = "the hub"

    def __init__(self) -> None:
        self.ways: list[FakeWay] = []

    def open(self) -> FakeWay:
        self.ways.append(FakeWay())
        return self.ways[-1]


class Desk:
    """A transport whose links are the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.links: list[FakeLink] = []
        self.endpoint = FakeEndpoint()
        self.transport = LinkTransport(self.endpoint)
        monkeypatch.setattr(dialer, "DialledLink", self._dial)

    @property
    def stub(self) -> Any:
        return self.transport.stub

    @property
    def link(self) -> FakeLink:
        """The link that was dialled last."""
        return self.links[-1]

    def _dial(self, stream: object, where: str, *, methods: object, features: object) -> FakeLink:
        assert where == "the hub"
        self.links.append(FakeLink())
        return self.links[-1]

    def call(self, timeout_ms: int = 0, **options: Any) -> Any:
        return self.stub.ExecuteTool(pb.ToolCallRequest(timeout_ms=timeout_ms), **options)

    async def linked(self) -> FakeLink:
        """Dials, and lets the hub take the link."""
        self.transport._want()
        await settle()
        await self.link.greet()
        assert self.transport.is_linked
        return self.link


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    desk = Desk(monkeypatch)
    yield desk
    await soon(desk.transport.close())


async def test_nothing_is_dialled_before_the_first_call(desk: Desk) -> None:
    assert isinstance(desk.stub, LinkStub)
    assert desk.stub is desk.stub
    assert desk.transport.where == "the hub"
    assert not desk.transport.is_linked
    assert desk.transport.resumes
    await settle()
    assert (desk.links, desk.endpoint.ways) == ([], [])


async def test_calls_that_come_before_the_link_go_over_it_in_their_order(desk: Desk) -> None:
    calls = [desk.call() for _ in range(3)]
    await settle()
    assert len(desk.links) == 1
    assert desk.link.sent == []
    await desk.link.greet()
    assert desk.link.calls == calls
    assert desk.transport.is_linked


async def test_a_call_goes_at_once_where_there_is_a_link(desk: Desk) -> None:
    link = await desk.linked()
    call = desk.call(timeout_ms=7)
    assert link.sent == [(call, pb.ToolCallRequest(timeout_ms=7).SerializeToString())]


async def test_calls_past_the_links_room_wait_and_none_overtakes_them(desk: Desk) -> None:
    link = await desk.linked()
    link.room = 1
    calls = [desk.call() for _ in range(3)]
    assert link.calls == calls[:1]
    link.room = 1
    # There is room again, but others were first.
    calls.append(desk.call())
    link.turn()
    assert link.calls == calls[:2]
    link.room = 9
    link.turn()
    assert link.calls == calls


async def test_a_call_for_which_there_is_no_room_in_its_time_says_so(desk: Desk) -> None:
    link = await desk.linked()
    link.room = 0
    error = await error_of(desk.call(timeout_ms=10))
    assert (error.code(), error.details()) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "the link had no room for the call within 0.01 s",
    )


async def test_a_call_that_waits_in_vain_is_unavailable_and_says_why(desk: Desk) -> None:
    early = desk.call(timeout_ms=10)
    error = await error_of(early)
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "there was no link within 0.01 s")
    late = desk.call(timeout_ms=20)
    await settle()
    await desk.link.refuse(DOWN)
    assert (await error_of(late)).details() == "there was no link within 0.02 s: nobody listens"


async def test_a_dial_that_fails_is_made_again_and_the_calls_wait(desk: Desk) -> None:
    call = desk.call()
    await settle()
    for dials in range(1, 4):
        assert len(desk.links) == dials
        await desk.link.refuse(DOWN)
        assert not call.done()
    await desk.link.greet()
    assert desk.link.calls == [call]


async def test_a_hub_that_takes_the_link_and_says_nothing_is_dialled_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeStream, "greeting_seconds", 0.01)
    hasty, patient = desk.call(wait_for_ready=False), desk.call()
    assert (await error_of(hasty)).details() == "the hub said nothing for 0.01 s"
    await until(lambda: len(desk.links) == 2)
    await desk.link.greet()
    assert desk.link.calls == [patient]


async def test_a_dial_that_ends_without_an_error_is_made_again(desk: Desk) -> None:
    desk.call()
    await settle()
    await desk.link.refuse(None)
    assert len(desk.links) == 2


async def test_a_call_that_does_not_wait_fails_with_the_dial(desk: Desk) -> None:
    hasty, patient = desk.call(wait_for_ready=False), desk.call()
    await settle()
    assert not hasty.done()
    await desk.link.refuse(DOWN)
    assert (await error_of(hasty)).details() == "nobody listens"
    assert not patient.done()
    again = desk.call(wait_for_ready=False)
    assert again.done()
    first, second = await error_of(hasty), await error_of(again)
    # Raised again and again, one error would collect the tracebacks of all.
    assert first is not second


async def test_a_call_that_does_not_wait_goes_where_there_is_a_link(desk: Desk) -> None:
    link = await desk.linked()
    call = desk.call(wait_for_ready=False)
    assert link.calls == [call]


# ------------------------------------------------------------------------------------------- refused for good


async def test_a_refusal_that_lasts_fails_every_call_and_ends_the_dialling(desk: Desk) -> None:
    calls = [desk.call(), desk.call()]
    await settle()
    await desk.link.refuse(WRONG_TOKEN)
    for call in calls:
        assert (await error_of(call)).code() is grpc.StatusCode.UNAUTHENTICATED
    await settle()
    assert len(desk.links) == 1
    # The next call asks again.
    call = desk.call()
    await settle()
    assert len(desk.links) == 2
    await desk.link.greet()
    assert desk.link.calls == [call]


async def test_whether_to_dial_again_can_be_decided_otherwise(desk: Desk) -> None:
    desk.transport._dial_again = lambda error: False
    call = desk.call()
    await settle()
    await desk.link.refuse(DOWN)
    assert (await error_of(call)).details() == "nobody listens"
    assert len(desk.links) == 1


# -------------------------------------------------------------------------------------------------- connecting


async def test_connecting_waits_for_the_link(desk: Desk) -> None:
    connecting = [asyncio.create_task(desk.transport.connect(PATIENCE)) for _ in range(2)]
    await settle()
    await desk.link.refuse(DOWN)
    assert not any(task.done() for task in connecting)
    await desk.link.greet()
    await soon(asyncio.gather(*connecting))
    assert len(desk.links) == 2
    await soon(desk.transport.connect(0))
    assert len(desk.links) == 2


async def test_connecting_without_patience_fails_with_the_first_dial(desk: Desk) -> None:
    connecting = asyncio.create_task(desk.transport.connect(0))
    await settle()
    await desk.link.refuse(DOWN)
    assert (await error_of(connecting)).details() == "nobody listens"


async def test_connecting_fails_with_the_last_failure_when_its_time_is_over(desk: Desk) -> None:
    connecting = asyncio.create_task(desk.transport.connect(0.05))
    await settle()
    await desk.link.refuse(DOWN)
    error = await error_of(connecting)
    assert error.details() == "nobody listens"


@pytest.mark.parametrize("seconds", [0, 0.02])
async def test_connecting_to_who_says_nothing_is_given_up(
    desk: Desk, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialer, "FIRST_DIAL_SECONDS", 0.02)
    error = await error_of(desk.transport.connect(seconds))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "there was no link within 0.02 s")


async def test_connecting_fails_at_once_where_further_dials_would_not_help(desk: Desk) -> None:
    connecting = asyncio.create_task(desk.transport.connect(60))
    await settle()
    await desk.link.refuse(WRONG_TOKEN)
    assert (await error_of(connecting)).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_who_gives_up_connecting_stops_nobody_else(desk: Desk) -> None:
    given_up, other = (asyncio.create_task(desk.transport.connect(PATIENCE)) for _ in range(2))
    await settle()
    given_up.cancel()
    await settle()
    await desk.link.greet()
    await soon(other)


async def test_nothing_is_connected_for_a_stub_that_was_replaced(desk: Desk) -> None:
    desk.stub.InitializeSession = object()
    await soon(desk.transport.connect(PATIENCE))
    desk.transport.stub = stub = object()
    await soon(desk.transport.connect(PATIENCE))
    assert desk.transport.stub is stub
    assert desk.links == []
    assert not desk.transport.resumes


# ------------------------------------------------------------------------------------------------ links that are lost


async def test_a_link_that_is_lost_is_dialled_again_and_calls_wait_for_the_next(desk: Desk) -> None:
    link = await desk.linked()
    await link.lose()
    assert not desk.transport.is_linked
    assert len(desk.links) == 2
    call = desk.call()
    assert (link.sent, desk.link.sent) == ([], [])
    await desk.link.greet()
    assert desk.link.calls == [call]


async def test_what_a_lost_link_had_not_sent_goes_over_the_next_before_other_calls(desk: Desk) -> None:
    link = await desk.linked()
    link.room = 1
    unsent, waiting = desk.call(), desk.call()
    link.room = 9
    await link.lose(tuple(link.sent))
    assert link.calls == [unsent]
    assert not unsent.done()
    later = desk.call()
    await desk.link.greet()
    assert desk.link.calls == [unsent, waiting, later]


async def test_a_link_that_drains_goes_on_beside_the_next(desk: Desk) -> None:
    link = await desk.linked()
    old = desk.call()
    link.room = 0
    link.unusable.set()
    await settle()
    assert len(desk.links) == 2
    await desk.link.greet()
    new = desk.call()
    assert (link.calls, desk.link.calls) == ([old], [new])
    await link.lose()
    assert desk.transport.is_linked
    assert len(desk.links) == 2


async def test_what_a_draining_link_had_not_sent_is_dialled_for_though_nobody_dials_any_more(desk: Desk) -> None:
    link = await desk.linked()
    call = desk.call()
    link.room = 0
    link.unusable.set()
    await settle()
    await desk.link.refuse(WRONG_TOKEN)
    await link.lose(tuple(link.sent))
    assert len(desk.links) == 3
    await desk.link.refuse(WRONG_TOKEN)
    assert (await error_of(call)).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_who_wants_it_is_told_of_each_link_but_the_first_before_calls_go_over_it(desk: Desk) -> None:
    order: list[str] = []

    async def relinked(stub: Any) -> None:
        order.append("relinked")
        await stub.GetSessionInfo(pb.GetSessionInfoRequest())
        order.append("done")

    desk.transport.on_relinked = relinked
    link = await desk.linked()
    assert order == []
    await link.lose()
    waiting = desk.call()
    await desk.link.greet()
    # Only the call of the one who was told is on its way.
    (ours,) = desk.link.calls
    assert ours is not waiting
    assert not desk.transport.is_linked
    assert isinstance(ours, LinkCall)
    ours.on_reply(b"")
    await settle()
    assert order == ["relinked", "done"]
    assert desk.link.calls == [ours, waiting]


@pytest.mark.parametrize(
    "error", [NotFoundError("gone"), rpc_error(grpc.StatusCode.UNAVAILABLE, "down"), ValueError("of whoever was told")]
)
async def test_calls_go_over_a_link_though_who_was_told_of_it_failed(
    desk: Desk, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def relinked(stub: Any) -> None:
        raise error

    desk.transport.on_relinked = relinked
    await (await desk.linked()).lose()
    call = desk.call()
    await desk.link.greet()
    assert desk.link.calls == [call]
    assert "the session" in caplog.text
    assert "the hub" in caplog.text


async def test_a_link_that_is_lost_while_who_was_told_is_at_work_is_not_used(desk: Desk) -> None:
    go = asyncio.Event()

    async def relinked(stub: Any) -> None:
        await go.wait()

    desk.transport.on_relinked = relinked
    await (await desk.linked()).lose()
    call = desk.call()
    await desk.link.greet()
    await desk.link.lose()
    go.set()
    await settle()
    assert len(desk.links) == 3
    assert desk.links[1].sent == []
    await desk.link.greet()
    assert desk.link.calls == [call]


async def test_a_call_of_who_was_told_that_a_lost_link_has_not_sent_fails_and_another_link_is_dialled(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[AioRpcError] = []

    async def relinked(stub: Any) -> None:
        try:
            await stub.GetSessionInfo(pb.GetSessionInfoRequest())
        except AioRpcError as error:
            failures.append(error)
            raise

    desk.transport.on_relinked = relinked
    await (await desk.linked()).lose()
    call = desk.call()
    await desk.link.greet()
    # Over the next link it would wait for itself: that one is dialled when it is over.
    await desk.link.lose(tuple(desk.link.sent))
    assert [(error.code(), error.details()) for error in failures] == [
        (grpc.StatusCode.UNAVAILABLE, f"the link to {desk.transport.where} was lost")
    ]
    assert len(desk.links) == 3
    # Nothing is wrong yet.
    assert caplog.text == ""
    desk.transport.on_relinked = None
    await desk.link.greet()
    assert desk.link.calls == [call]


async def test_who_was_told_of_a_link_and_does_not_end_is_waited_for_no_longer_than_a_call(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def relinked(stub: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(dialer, "CALL_TIMEOUT", 0.01)
    desk.transport.on_relinked = relinked
    await (await desk.linked()).lose()
    await desk.link.greet()
    await until(lambda: desk.transport.is_linked)
    assert "could not be resumed at the hub: no answer within 0.01 s" in caplog.text


# ---------------------------------------------------------------------------------------------------------- closing


async def test_closing_ends_what_waits_and_closes_the_channel(desk: Desk) -> None:
    call = desk.call()
    await settle()
    await soon(desk.transport.close())
    error = await error_of(call)
    assert (error.code(), error.details()) == (grpc.StatusCode.CANCELLED, CLOSED)
    assert [way.closed for way in desk.endpoint.ways] == [True]
    await soon(desk.transport.close())


async def test_closing_ends_the_wait_for_a_link(desk: Desk) -> None:
    waiting = asyncio.create_task(desk.transport.connect(60))
    await settle()
    await soon(desk.transport.close())
    with pytest.raises(ToolCommunicationError) as caught:
        await soon(waiting)
    assert (caught.value.code_name, caught.value.message) == ("CANCELLED", CLOSED)
    assert len(desk.endpoint.ways) == 1


async def test_a_transport_that_was_closed_dials_anew_as_for_the_first_time(desk: Desk) -> None:
    told: list[Any] = []

    async def relinked(stub: Any) -> None:
        told.append(stub)

    desk.transport.on_relinked = relinked
    stub = desk.stub
    await desk.linked()
    await soon(desk.transport.close())
    assert not desk.transport.is_linked
    assert desk.stub is not stub
    call = desk.call()
    await settle()
    await desk.link.greet()
    assert desk.link.calls == [call]
    assert told == []
    assert len(desk.endpoint.ways) == 2


async def test_a_call_while_the_transport_is_closed_has_a_channel_of_its_own(desk: Desk) -> None:
    class Slow(FakeLink):
        async def run(self) -> list[tuple[LinkCall, bytes]]:
            try:
                return await super().run()
            finally:
                await settle()

    await settle()
    link = Slow()
    desk.transport._want()
    desk.transport._tasks.spawn(desk.transport._serve(link), "slow")  # type: ignore[arg-type]  # as good as a link
    await settle()
    closing = asyncio.create_task(desk.transport.close())
    await asyncio.sleep(0)
    desk.call()
    await soon(closing)
    assert [way.closed for way in desk.endpoint.ways] == [True, False]
    await soon(desk.transport.close())
    assert [way.closed for way in desk.endpoint.ways] == [True, True]


def test_a_transport_may_be_closed_from_another_loop_than_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(desk.linked())
    thread = threading.Thread(target=lambda: asyncio.run(desk.transport.close()))
    thread.start()
    thread.join()
    assert desk.endpoint.ways[0].closed
    # What it has left there ends when it runs again.
    loop.run_until_complete(until(lambda: not asyncio.all_tasks(loop) - {asyncio.current_task(loop)}))
    loop.close()


def test_closing_is_nothing_where_the_loop_of_the_link_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)

    async def link() -> None:
        await desk.linked()

    asyncio.run(link())
    asyncio.run(desk.transport.close())


# --------------------------------------------------------------------------------------------------- a real server


class Host:
    """A hub at a port of its own.

    Attributes:
        dials: How many links were asked for.
        refusal: What the next are refused with.
    """

    def __init__(self, *, links: bool = True, token: str | None = None) -> None:
        self.hub = SomeHub()
        self.dials = 0
        self.refusal: ToolBridgeError | None = None
        self._links = LinkServer(self.hub, Settings())
        self._cut = asyncio.Event()
        self.server = grpc.aio.server(interceptors=[AuthenticationInterceptor(BearerToken(token))] if token else [])
        handler = service_handler(self.hub, link=self._serve if links else None)
        self.server.add_generic_rpc_handlers((handler,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def connect(self, token: str | None = None) -> LinkTransport:
        return LinkTransport(Connection(address=f"127.0.0.1:{self.port}", token=token))

    async def cut(self) -> None:
        """Ends the links as if they were lost."""
        # One that is dialled meanwhile is not cut.
        cut, self._cut = self._cut, asyncio.Event()
        cut.set()

    async def drain(self) -> None:
        self._links.drain(PATIENCE)

    async def _serve(self, frames: Any, context: Any) -> None:
        self.dials += 1
        if self.refusal is not None:
            raise self.refusal
        serving = asyncio.ensure_future(link_behaviour(self._links.serve)(frames, context))
        cut = asyncio.ensure_future(self._cut.wait())
        try:
            await asyncio.wait({serving, cut}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                return serving.result()
            raise UnavailableError("the line was cut")
        finally:
            for task in (serving, cut):
                task.cancel()
            await asyncio.wait({serving, cut})


MakeHost = Callable[..., Any]


@pytest.fixture
async def make_host() -> AsyncIterator[MakeHost]:
    hosts: list[Host] = []

    async def make(**options: Any) -> Host:
        hosts.append(Host(**options))
        await hosts[-1].server.start()
        return hosts[-1]

    yield make
    for host in hosts:
        await host.server.stop(0)


@pytest.fixture
async def transports() -> AsyncIterator[list[LinkTransport]]:
    transports: list[LinkTransport] = []
    yield transports
    for transport in transports:
        await soon(transport.close())


async def test_calls_in_flight_fail_and_later_ones_go_over_the_next_link(
    make_host: MakeHost, transports: list[LinkTransport]
) -> None:
    host = await make_host()
    transports.append(host.connect())
    stub = transports[0].stub
    call = stub.ExecuteTool(pb.ToolCallRequest(tool_id="wait"))
    await until(lambda: host.hub.started)
    await host.cut()
    await until(lambda: host.hub.ended)
    error = await error_of(call)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "was lost" in str(error.details())
    assert (await soon(stub.ExecuteTool(pb.ToolCallRequest(request_id="r")))).request_id == "r"
    assert host.dials == 2


async def test_a_hub_that_is_not_there_yet_is_reached_when_it_is(
    make_host: MakeHost, transports: list[LinkTransport]
) -> None:
    host = await make_host()
    host.refusal = UnavailableError("not yet")
    transports.append(host.connect())
    call = transports[0].stub.ExecuteTool(pb.ToolCallRequest(request_id="r"))
    await until(lambda: host.dials >= 3)
    assert not call.done()
    host.refusal = None
    assert (await soon(call)).request_id == "r"


async def test_a_hub_that_knows_no_links_is_called_by_plain_rpcs_after_one_dial(
    make_host: MakeHost, transports: list[LinkTransport], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "grpc_tool_bridge")
    host = await make_host(links=False, token="hush")
    transport = host.connect("hush")
    transports.append(transport)
    before = transport.stub
    execute = before.ExecuteTool
    waiting = [execute(pb.ToolCallRequest(request_id=str(number)), metadata=[("a", "b")]) for number in range(3)]
    assert [(await soon(call)).request_id for call in waiting] == ["0", "1", "2"]
    assert not transport.resumes
    assert not transport.is_linked
    stub = transport.stub
    call = stub.InitializeSession(pb.InitializeSessionRequest(session_id="s"))
    await soon(call)
    assert read_defaults(await call.trailing_metadata()) == {"idle-timeout": 1.5}
    chunks = [chunk.sequence async for chunk in stub.StreamTool(pb.ToolStreamRequest())]
    assert chunks == [0, 1, 2]
    # Whoever holds a method from before goes the same way.
    assert (await soon(execute(pb.ToolCallRequest(request_id="r")))).request_id == "r"
    await soon(transport.connect(0))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"the hub at {transport.where} does not support Link; each call is an RPC of its own"]


async def test_a_method_that_was_replaced_stays_so_where_the_hub_knows_no_links(
    make_host: MakeHost, transports: list[LinkTransport]
) -> None:
    host = await make_host(links=False)
    transports.append(host.connect())
    stub = transports[0].stub
    stub.ExecuteTool = replaced = object()
    await soon(transports[0].connect(PATIENCE))
    assert transports[0].stub.ExecuteTool is replaced
    assert (await soon(transports[0].stub.GetSessionInfo(pb.GetSessionInfoRequest(session_id="s")))).session_id == "s"


async def test_a_stub_that_was_replaced_while_it_dialled_stays_so(
    make_host: MakeHost, transports: list[LinkTransport]
) -> None:
    host = await make_host(links=False)
    transports.append(host.connect())
    connecting = asyncio.create_task(transports[0].connect(PATIENCE))
    await asyncio.sleep(0)
    transports[0].stub = stub = object()
    await soon(connecting)
    assert transports[0].stub is stub


async def test_calls_by_plain_rpcs_fail_when_the_transport_is_closed(
    make_host: MakeHost, transports: list[LinkTransport]
) -> None:
    host = await make_host(links=False)
    transports.append(host.connect())
    call = transports[0].stub.ExecuteTool(pb.ToolCallRequest(tool_id="wait"))
    await until(lambda: host.hub.started)
    await soon(transports[0].close())
    assert await soon(call.code()) is grpc.StatusCode.CANCELLED
    await until(lambda: host.hub.ended)


@pytest.mark.parametrize("token", ["wrong", None])
async def test_a_wrong_token_fails_every_call_with_one_dial_each(
    make_host: MakeHost, transports: list[LinkTransport], token: str | None
) -> None:
    host = await make_host(token="hush")
    transports.append(host.connect(token))
    for _ in range(2):
        assert (await error_of(transports[0].stub.ExecuteTool(pb.ToolCallRequest()))).code() is (
            grpc.StatusCode.UNAUTHENTICATED
        )
    assert host.dials == 0
    assert (await error_of(transports[0].connect(60))).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_right_token_opens_the_link(make_host: MakeHost, transports: list[LinkTransport]) -> None:
    host = await make_host(token="hush")
    transports.append(host.connect("hush"))
    assert (await soon(transports[0].stub.ExecuteTool(pb.ToolCallRequest(request_id="r")))).request_id == "r"
    assert host.dials == 1


async def test_calls_in_flight_fail_when_the_transport_is_closed(
    make_host: MakeHost, transports: list[LinkTransport]
) -> None:
    host = await make_host()
    transports.append(host.connect())
    call = transports[0].stub.ExecuteTool(pb.ToolCallRequest(tool_id="wait"))
    await until(lambda: host.hub.started)
    await soon(transports[0].close())
    error = await error_of(call)
    assert (error.code(), error.details()) == (grpc.StatusCode.CANCELLED, CLOSED)
    await until(lambda: host.hub.ended)


async def test_a_hub_that_drains_finishes_its_calls(make_host: MakeHost, transports: list[LinkTransport]) -> None:
    host = await make_host()
    transports.append(host.connect())
    call = transports[0].stub.ExecuteTool(pb.ToolCallRequest(tool_id="wait", request_id="r"))
    await until(lambda: host.hub.started)
    await host.drain()
    await until(lambda: not transports[0].is_linked)
    host.hub.go.set()
    assert (await soon(call)).request_id == "r"


async def test_a_file_of_authorities_that_is_not_there_is_an_error_of_the_call(tmp_path: Any) -> None:
    transport = LinkTransport(Connection(address="127.0.0.1:1", tls_ca=tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        transport.stub.ExecuteTool(pb.ToolCallRequest())
    with pytest.raises(FileNotFoundError):
        await transport.connect(0)
    await transport.close()


async def test_a_close_ends_although_a_dial_swallows_its_cancellation(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answered_when_cancelled(_: FakeWay) -> FakeStream:
        # As wait_for of Python 3.11, where the answer comes with the cancellation.
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise DOWN from None
        raise AssertionError

    monkeypatch.setattr(FakeWay, "dial", answered_when_cancelled)
    desk.transport._want()
    await settle()
    async with asyncio.timeout(PATIENCE / 10):
        await desk.transport.close()
    assert desk.links == []
