"""The stub over a link beside the generated one: one body for both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, Literal
from unittest.mock import AsyncMock

import grpc
import grpc.aio
import pytest
from grpc.aio import AioRpcError

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolContext
from grpc_tool_bridge.client.arguments import pack_arguments, put_arguments
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.rpc.session_defaults import read_defaults
from grpc_tool_bridge.testing import MockBridgeServer
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.link_stub import LinkTransport
from grpc_tool_bridge.transport.status import from_rpc_error
from grpc_tool_bridge.transport.stubs import RpcTransport
from grpc_tool_bridge.values.serialization import deserialize_value, pack_value
from support.patience import PATIENCE
from support.waiting import soon

# Nothing here takes long, unless it is broken.

SESSION = "s"


class Desk:
    """A hub with tools, and a stub to it.

    Attributes:
        stub: What is tested.
        link: Whether it goes over a link.
        server: The hub's.
        started, go, ended: Events of the tools.
        yielded: What a stream has made so far.
    """

    def __init__(self, transport_name: str, settings: dict[str, Any]) -> None:
        tools = (add, fail, metadata_of, self.wait, self.count)
        self.server = BridgeServer(tools=tools, settings=Settings(shutdown_grace=0, **settings))
        self.link = transport_name == "link"
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = asyncio.Event()
        self.yielded = 0

    async def wait(self) -> str:
        """Waits until the test says so."""
        self.started.set()
        try:
            await self.go.wait()
        finally:
            self.ended.set()
        return "gone"

    async def count(self, until: int, size: int = 1, pause_at: int = -1) -> AsyncIterator[str]:
        """Yields texts of ``size`` characters."""
        self.started.set()
        try:
            for number in range(until):
                if number == pause_at:
                    await self.go.wait()
                self.yielded += 1
                yield str(number % 10) * size
        finally:
            self.ended.set()

    async def open(self) -> None:
        address = self.server.address
        connection = Connection(address=address, max_message_bytes=self.server.settings.max_message_bytes)
        self.transport = LinkTransport(connection) if self.link else RpcTransport(connection)
        await self.transport.connect(PATIENCE)
        self.stub: Any = self.transport.stub
        await self.stub.InitializeSession(pb.InitializeSessionRequest(session_id=SESSION))

    def call(self, tool: str, *args: Any, timeout_ms: int = 0, **options: Any) -> Any:
        """Begins a call of a tool."""
        request = pb.ToolCallRequest(session_id=SESSION, tool_id=tool, timeout_ms=timeout_ms)
        put_arguments(request, pack_arguments(args, {}, str))
        return self.stub.ExecuteTool(request, **options)

    def stream(self, tool: str, *args: Any, timeout_ms: int = 0, **options: Any) -> Any:
        """Begins a stream of a tool."""
        request = pb.ToolStreamRequest(session_id=SESSION, tool_id=tool, timeout_ms=timeout_ms)
        put_arguments(request, pack_arguments(args, {}, str))
        return self.stub.StreamTool(request, **options)

    def busy(self) -> int:
        """Counts the calls that run at the hub."""
        return self.server.hub.admission.active

    async def quiet(self) -> None:
        """Waits until no call runs at the hub any more."""
        async with asyncio.timeout(PATIENCE):
            while self.busy():  # noqa: ASYNC110 - what is looked at is no event
                await asyncio.sleep(0.002)


async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


async def fail() -> None:
    """Fails."""
    raise LookupError("it")


async def metadata_of(context: ToolContext) -> dict[str, str]:
    """Returns the metadata of its call."""
    return dict(context.metadata)


MakeDesk = Callable[..., Any]


@pytest.fixture(params=["rpc", "link"])
async def make_desk(request: pytest.FixtureRequest) -> AsyncIterator[MakeDesk]:
    """Starts hubs and makes stubs to them; afterwards no call may be left at a hub."""
    async with AsyncExitStack() as stack:

        async def make(**settings: Any) -> Desk:
            desk = Desk(request.param, settings)
            await stack.enter_async_context(desk.server)
            await desk.open()
            stack.push_async_callback(desk.transport.close)
            stack.push_async_callback(desk.quiet)
            return desk

        yield make


@pytest.fixture
async def desk(make_desk: MakeDesk) -> Desk:
    made: Desk = await make_desk()
    return made


def value_of(response: Any) -> Any:
    assert response.success
    return deserialize_value(response.result)


async def values_of(stream: Any) -> list[Any]:
    return [deserialize_value(chunk.data) async for chunk in stream if chunk.HasField("data")]


# ------------------------------------------------------------------------------------------------- calls that go well


async def test_a_call_is_awaited(desk: Desk) -> None:
    call = desk.call("add", 1, 2)
    assert isinstance(call, grpc.aio.UnaryUnaryCall)
    assert value_of(await soon(call)) == 3
    assert call.done()
    assert not call.cancelled()
    assert await call.code() is grpc.StatusCode.OK
    assert await call.details() == ""
    assert call.time_remaining() is None


async def test_a_call_may_be_awaited_twice_and_after_it_has_ended(desk: Desk) -> None:
    call = desk.call("add", 1, 2)
    assert value_of(await soon(call)) == value_of(await soon(call)) == 3


async def test_a_call_may_be_awaited_by_many(desk: Desk) -> None:
    call = desk.call("wait")
    await soon(desk.started.wait())

    async def waits() -> Any:
        return value_of(await call)

    waiting = [asyncio.create_task(waits()) for _ in range(3)]
    await asyncio.sleep(0)
    desk.go.set()
    assert await soon(asyncio.gather(*waiting)) == ["gone"] * 3


async def test_a_call_runs_though_nobody_awaits_it(desk: Desk) -> None:
    call = desk.call("wait")
    await soon(desk.started.wait())
    assert not call.done()
    desk.go.set()
    assert await soon(call.code()) is grpc.StatusCode.OK
    assert call.done()


async def test_calls_run_side_by_side(desk: Desk) -> None:
    waiting = desk.call("wait")
    assert value_of(await soon(desk.call("add", 1, 2))) == 3
    desk.go.set()
    assert value_of(await soon(waiting)) == "gone"


async def test_every_unary_method_is_there(desk: Desk) -> None:
    for name, method in METHODS.items():
        if not method.request_streaming:
            assert callable(getattr(desk.stub, name))
    with pytest.raises(AttributeError):
        _ = desk.stub.Nothing


async def test_an_error_of_the_tool_is_in_the_response(desk: Desk) -> None:
    call = desk.call("fail")
    response = await soon(call)
    assert (response.success, response.error.type) == (False, "LookupError")
    assert await call.code() is grpc.StatusCode.OK


async def test_the_hubs_facts_are_in_the_trailing_metadata(desk: Desk) -> None:
    call = desk.stub.InitializeSession(pb.InitializeSessionRequest(session_id=SESSION))
    await soon(call)
    assert read_defaults(await call.trailing_metadata())["idle-timeout"] == 300
    assert len(await desk.call("add", 1, 2).trailing_metadata()) == 0


async def test_metadata_is_taken_and_changes_nothing(desk: Desk) -> None:
    for metadata in (
        [("trace", "1"), ("raw-bin", b"\xff\x00")],
        grpc.aio.Metadata(("trace", "1")),
        (),
        iter((("trace", "1"),)),
    ):
        given = metadata if desk.link else tuple(metadata)
        assert value_of(await soon(desk.call("add", 1, 2, metadata=given))) == 3
        given = metadata if desk.link else tuple(metadata)
        assert await soon(values_of(desk.stream("count", 2, metadata=given))) == ["0", "1"]


@pytest.mark.parametrize("wait", [None, True, False])
async def test_wait_for_ready_changes_nothing_where_there_is_a_connection(desk: Desk, wait: bool | None) -> None:
    assert value_of(await soon(desk.call("add", 1, 2, wait_for_ready=wait, timeout=PATIENCE))) == 3
    stream = desk.stream("count", 1, wait_for_ready=wait, compression=None, credentials=None)
    assert await soon(values_of(stream)) == ["0"]


async def test_initial_metadata_and_the_connection_may_be_waited_for(desk: Desk) -> None:
    call = desk.call("add", 1, 2)
    await soon(call.wait_for_connection())
    assert isinstance(await soon(call.initial_metadata()), grpc.aio.Metadata)
    assert value_of(await soon(call)) == 3


# ---------------------------------------------------------------------------------------------------- calls that fail


async def test_an_error_of_the_hub_has_the_whole_error_in_its_trailing_metadata(desk: Desk) -> None:
    call = desk.stub.GetSessionInfo(pb.GetSessionInfoRequest(session_id="other"))
    with pytest.raises(AioRpcError) as caught:
        await soon(call)
    assert caught.value.code() is await call.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == await call.details()
    assert list(caught.value.trailing_metadata()) == list(await call.trailing_metadata())
    error = from_rpc_error(caught.value)
    assert (error.error_type, str(error)) == ("SessionNotFound", str(caught.value.details()))
    assert call.done()
    assert not call.cancelled()
    with pytest.raises(AioRpcError):
        await call


async def test_a_stream_that_the_hub_refuses_raises_with_the_whole_error(desk: Desk) -> None:
    stream = desk.stub.WatchSessionVariables(pb.WatchVariablesRequest(session_id="other"))
    with pytest.raises(AioRpcError) as caught:
        await soon(values_of(stream))
    assert isinstance(from_rpc_error(caught.value), ToolBridgeError)
    assert from_rpc_error(caught.value).error_type == "SessionNotFound"
    assert await stream.code() is grpc.StatusCode.NOT_FOUND
    other = desk.stub.WatchSessionVariables(pb.WatchVariablesRequest(session_id="other"))
    with pytest.raises(AioRpcError):
        await soon(other.read())


async def test_a_status_is_known_to_who_never_awaits_the_call(desk: Desk) -> None:
    call = desk.stub.GetSessionInfo(pb.GetSessionInfoRequest(session_id="other"))
    assert await soon(call.code()) is grpc.StatusCode.NOT_FOUND
    assert "other" in await call.details()
    assert not call.cancel()
    assert not call.cancelled()


async def test_a_request_that_no_transport_carries_is_refused_with_resource_exhausted(desk: Desk) -> None:
    call = desk.call("count", "x" * (65 * 1024 * 1024))
    with pytest.raises(AioRpcError) as caught:
        await soon(call)
    assert caught.value.code() is await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    error = from_rpc_error(caught.value)
    assert (error.error_type, "message too large" in str(error)) == ("MessageTooLarge", True)
    assert value_of(await soon(desk.call("add", 1, 2))) == 3


async def test_a_request_over_the_hubs_limit_is_refused_by_the_hub(make_desk: MakeDesk) -> None:
    desk = await make_desk(max_message_bytes=500_000)
    response = await soon(desk.call("count", "x" * 600_000))
    assert (response.success, response.error.type) == (False, "MessageTooLarge")
    assert value_of(await soon(desk.call("add", 1, 2))) == 3


async def test_a_hub_of_small_messages_takes_many_at_once(make_desk: MakeDesk) -> None:
    desk = await make_desk(max_message_bytes=1_000)
    calls = [desk.call("add", number, 1) for number in range(500)]
    assert [value_of(await soon(call)) for call in calls] == list(range(1, 501))


# ------------------------------------------------------------------------------------------------------- cancelling


async def test_a_call_that_is_cancelled_reaches_the_tool(desk: Desk) -> None:
    call = desk.call("wait")
    await soon(desk.started.wait())
    assert call.cancel()
    await soon(desk.ended.wait())
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.done()
    assert call.cancelled()
    assert not call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert await call.details() == "Locally cancelled by application!"
    assert len(await call.trailing_metadata()) == 0


async def test_a_call_that_is_cancelled_at_once_never_runs(desk: Desk) -> None:
    # A call that is alone would be on its way already.
    other = desk.call("add", 1, 2)
    call = desk.call("wait")
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(call)
    assert value_of(await soon(other)) == 3
    assert value_of(await soon(desk.call("add", 1, 2))) == 3
    assert not desk.started.is_set()


async def test_a_call_that_has_ended_is_not_cancelled(desk: Desk) -> None:
    call = desk.call("add", 1, 2)
    await soon(call)
    assert not call.cancel()
    assert not call.cancelled()
    assert value_of(await call) == 3


async def test_cancelling_the_task_that_awaits_a_call_reaches_the_tool(desk: Desk) -> None:
    call = desk.call("wait")

    async def waits() -> None:
        await call

    task = asyncio.create_task(waits())
    await soon(desk.started.wait())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert call.cancelled()
    await soon(desk.ended.wait())


async def test_cancelling_a_task_that_reads_a_stream_reaches_the_tool(desk: Desk) -> None:
    stream = desk.stream("count", 10, 1, 1)

    async def reads() -> None:
        async for _ in stream:
            pass

    task = asyncio.create_task(reads())
    await soon(desk.started.wait())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert stream.cancelled()
    await soon(desk.ended.wait())


async def test_who_waits_for_the_status_in_vain_does_not_cancel_the_call(desk: Desk) -> None:
    call = desk.call("wait")
    await soon(desk.started.wait())
    for waited in (call.code, call.details, call.trailing_metadata):
        waiting = asyncio.create_task(waited())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
    assert not call.done()
    desk.go.set()
    assert value_of(await soon(call)) == "gone"


async def test_a_time_limit_around_the_await_cancels_the_call(desk: Desk) -> None:
    call = desk.call("wait")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await call
    assert call.cancelled()


# ---------------------------------------------------------------------------------------------------------- deadlines


async def test_a_call_past_its_timeout_gives_deadline_exceeded(desk: Desk) -> None:
    running = desk.call("wait")
    await soon(desk.started.wait())
    # It waits for the end of the other call, and knows of no time-out at the hub.
    call = desk.stub.CleanupSession(pb.CleanupSessionRequest(session_id=SESSION), timeout=0.1)
    assert 0 < call.time_remaining() <= 0.1
    with pytest.raises(AioRpcError) as caught:
        await soon(call)
    assert caught.value.code() is await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "Deadline Exceeded" in str(caught.value.details())
    assert call.time_remaining() == 0
    assert call.done()
    assert not call.cancelled()
    assert not call.cancel()
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_timeout_of_nothing_is_over_at_once(desk: Desk, seconds: float) -> None:
    running = desk.call("wait")
    await soon(desk.started.wait())
    call = desk.stub.CleanupSession(pb.CleanupSessionRequest(session_id=SESSION), timeout=seconds)
    with pytest.raises(AioRpcError) as caught:
        await soon(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    running.cancel()


async def test_a_stream_past_its_timeout_gives_deadline_exceeded(desk: Desk) -> None:
    stream = desk.stub.WatchSessionVariables(pb.WatchVariablesRequest(session_id=SESSION), timeout=0.1)
    with pytest.raises(AioRpcError) as caught:
        await soon(values_of(stream))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_tool_past_the_timeout_of_its_call_is_cancelled(desk: Desk) -> None:
    call = desk.call("wait", timeout=0.1)
    await soon(desk.ended.wait())
    # The hub knows of the time-out as well; whichever is the first says so.
    try:
        assert (await soon(call)).error.type == "TimeoutError"
    except AioRpcError as error:
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # noqa: PT017 - one of two outcomes
    assert not desk.go.is_set()


async def test_a_call_within_its_timeout_is_answered(desk: Desk) -> None:
    assert value_of(await soon(desk.call("add", 1, 2, timeout=10 * 365 * 86_400))) == 3


async def test_the_time_out_of_the_request_is_answered_by_the_hub(desk: Desk) -> None:
    response = await soon(desk.call("wait", timeout_ms=50))
    assert (response.success, response.error.type) == (False, "TimeoutError")


# ------------------------------------------------------------------------------------------------------ done callbacks


async def test_who_asked_is_told_of_the_end_with_the_call(desk: Desk) -> None:
    told: list[Any] = []
    call = desk.call("wait")
    call.add_done_callback(told.append)
    call.add_done_callback(told.append)
    await soon(desk.started.wait())
    assert told == []
    desk.go.set()
    await soon(call)
    await asyncio.sleep(0)
    assert told == [call, call]
    call.add_done_callback(told.append)
    await asyncio.sleep(0)
    assert told == [call] * 3


async def test_who_asked_is_told_of_a_cancelled_call(desk: Desk) -> None:
    told: list[Any] = []
    call = desk.call("wait")
    call.add_done_callback(told.append)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(call)
    await asyncio.sleep(0)
    assert told == [call]


# ------------------------------------------------------------------------------------------------------------- streams


async def test_a_stream_is_iterated_over(desk: Desk) -> None:
    stream = desk.stream("count", 3)
    assert isinstance(stream, grpc.aio.UnaryStreamCall)
    assert await soon(values_of(stream)) == ["0", "1", "2"]
    assert stream.done()
    assert await stream.code() is grpc.StatusCode.OK
    assert await stream.details() == ""
    assert not stream.cancel()


async def test_a_stream_is_read_to_its_end(desk: Desk) -> None:
    stream = desk.stream("count", 2)
    chunks = [await soon(stream.read()) for _ in range(3)]
    assert [chunk.WhichOneof("content") for chunk in chunks] == ["data", "data", "complete"]
    assert await soon(stream.read()) is grpc.aio.EOF
    assert await soon(stream.read()) is grpc.aio.EOF


async def test_a_stream_that_was_left_may_be_gone_on_with(desk: Desk) -> None:
    stream = desk.stream("count", 4)
    async for _ in stream:
        break
    assert await soon(values_of(stream)) == ["1", "2", "3"]


async def test_a_stream_of_much_arrives_whole_and_in_order(desk: Desk) -> None:
    values = await soon(values_of(desk.stream("count", 100, 50_000)))
    assert values == [str(number % 10) * 50_000 for number in range(100)]


async def test_a_stream_that_nobody_reads_makes_its_maker_wait(desk: Desk) -> None:
    stream = desk.stream("count", 10_000, 50_000)
    await soon(stream.__aiter__().__anext__())
    # Another call's answer comes after whatever the stream could send.
    for _ in range(20):
        await soon(desk.call("add", 1, 2))
    assert desk.yielded < 1_000
    assert stream.cancel()
    await soon(desk.ended.wait())


async def test_a_stream_that_is_broken_off_ends_the_tool(desk: Desk) -> None:
    stream = desk.stream("count", 10, 1, 5)
    async for chunk in stream:
        assert deserialize_value(chunk.data) == "0"
        break
    assert stream.cancel()
    assert stream.cancelled()
    await soon(desk.ended.wait())
    assert await stream.code() is grpc.StatusCode.CANCELLED
    with pytest.raises(asyncio.CancelledError):
        await soon(values_of(stream))


async def test_a_stream_that_is_cancelled_while_it_is_read_raises_there(desk: Desk) -> None:
    stream = desk.stream("count", 10, 1, 0)
    reading = asyncio.create_task(values_of(stream))
    await soon(desk.started.wait())
    stream.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()


async def test_a_stream_that_is_cancelled_before_it_is_read_raises(desk: Desk) -> None:
    stream = desk.stream("count", 10)
    assert stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(stream.read())


async def test_an_empty_request_is_a_request(desk: Desk) -> None:
    response = await soon(desk.stub.HealthCheck(pb.HealthCheckRequest()))
    assert response.status == pb.HealthCheckResponse.SERVING


# ---------------------------------------------------------------------------------------------- stubs that are replaced


async def test_a_method_of_the_stub_may_be_replaced(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = AsyncMock(return_value=pb.ToolCallResponse(success=True))
    monkeypatch.setattr(desk.stub, "ExecuteTool", fake)
    assert (await desk.call("wait")).success
    fake.assert_awaited_once()
    monkeypatch.undo()
    assert value_of(await soon(desk.call("add", 1, 2))) == 3


TRANSPORTS: tuple[Literal["rpc", "link"], ...] = ("rpc", "link")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_bridge_uses_methods_that_were_replaced_and_needs_no_hub(transport: Literal["rpc", "link"]) -> None:
    async def chunks(_: Any) -> AsyncIterator[pb.ToolStreamChunk]:
        chunk = pb.ToolStreamChunk()
        chunk.data.type_url, chunk.data.value = pack_value("streamed")
        yield chunk
        yield pb.ToolStreamChunk(sequence=1, complete=pb.CompleteSignal())

    response = pb.ToolCallResponse(success=True)
    response.result.type_url, response.result.value = pack_value("called")
    opened = pb.InitializeSessionResponse(success=True, session_id=SESSION)
    async with GRPCToolBridge("127.0.0.1:1", transport=transport, keep_session=True) as bridge:
        stub = bridge.client.stub
        stub.InitializeSession = AsyncMock(return_value=opened)
        stub.ExecuteTool = AsyncMock(return_value=response)
        stub.StreamTool = chunks
        await soon(bridge.initialize(SESSION))
        assert await soon(bridge.call_tool("any")) == "called"
        assert [value async for value in bridge.stream_tool("any")] == ["streamed"]
        stub.ExecuteTool.assert_awaited_once()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_bridge_uses_a_method_that_was_replaced_before_it_was_connected(
    transport: Literal["rpc", "link"],
) -> None:
    response = pb.ToolCallResponse(success=True)
    response.result.type_url, response.result.value = pack_value("called")
    with MockBridgeServer() as server:
        server.set_response("InitializeSession", pb.InitializeSessionResponse(success=True, session_id=SESSION))
        async with GRPCToolBridge(server.address, transport=transport, keep_session=True) as bridge:
            bridge.client.stub.ExecuteTool = AsyncMock(return_value=response)
            # The mock server does not support Link: the calls go as plain RPCs.
            await soon(bridge.initialize(SESSION))
            assert await soon(bridge.call_tool("any")) == "called"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_whole_stub_may_be_replaced(transport: Literal["rpc", "link"]) -> None:
    bridge = GRPCToolBridge("127.0.0.1:1", transport=transport, keep_session=True)
    stub = AsyncMock()
    stub.InitializeSession.return_value = pb.InitializeSessionResponse(success=True, session_id=SESSION)
    bridge.client.stub = stub
    await soon(bridge.initialize())
    assert bridge.session_id == SESSION
    assert not bridge.client.resumes
    await bridge.close()
