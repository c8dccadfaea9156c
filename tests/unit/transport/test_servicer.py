"""The hub's methods as a gRPC service, over a real server and channel."""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from grpc_tool_bridge.errors import MAX_MESSAGE_CHARS, SessionNotFoundError, ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.rpc.authentication import BearerToken
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.transport.servicer import AuthenticationInterceptor, service_handler
from grpc_tool_bridge.transport.status import from_rpc_error
from grpc_tool_bridge.transport.stubs import HubStub
from support.hubs import SomeHub
from support.waiting import until

Serve = Callable[..., Awaitable[Any]]


class FailingHub(SomeHub):
    """A hub whose heartbeats fail."""

    async def heartbeat(self, request: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
        if request.session_id == "fault":
            raise RuntimeError("secret")
        if request.session_id == "long":
            raise ValidationError("ü" * MAX_MESSAGE_CHARS, details={"d": "ü" * 4_000}, remote_traceback="ü" * 60_000)
        raise SessionNotFoundError("there is no session 's'", details={"k": "v"})

    async def watch_session_tools(self, request: pb.WatchSessionToolsRequest) -> AsyncGenerator[pb.ToolUpdate, None]:
        yield pb.ToolUpdate(operation="reset")


@pytest.fixture
def hub() -> FailingHub:
    return FailingHub()


@pytest.fixture
async def serve(hub: FailingHub) -> AsyncIterator[Serve]:
    servers: list[grpc.aio.Server] = []
    channels: list[grpc.aio.Channel] = []

    async def serve(*, token: str | None = None, write_timeout: float = 60, raw: bool = False) -> Any:
        """Returns a stub, or where ``raw`` is asked for the channel itself."""
        server = grpc.aio.server(
            interceptors=[AuthenticationInterceptor(BearerToken(token))] if token is not None else []
        )
        server.add_generic_rpc_handlers((service_handler(hub, write_timeout=write_timeout),))
        port = server.add_insecure_port("localhost:0")
        await server.start()
        servers.append(server)
        channels.append(grpc.aio.insecure_channel(f"localhost:{port}"))
        return channels[-1] if raw else SnakepitBridgeStub(channels[-1])

    yield serve
    for channel in channels:
        await channel.close()
    for server in servers:
        await server.stop(0)


@pytest.fixture
async def stub(serve: Serve) -> Any:
    return await serve()


async def test_a_unary_method_answers(stub: Any) -> None:
    response = await stub.ExecuteTool(pb.ToolCallRequest(request_id="r"))
    assert (response.success, response.request_id) == (True, "r")


async def test_whoever_opens_a_session_is_told_how_long_it_may_idle(stub: Any) -> None:
    call = stub.InitializeSession(pb.InitializeSessionRequest(session_id="s"))
    assert (await call).session_id == "s"
    assert dict(await call.trailing_metadata())["tool-bridge-idle-timeout-ms"] == "1500"


async def test_the_transports_deadline_reaches_the_methods_that_run_tools(stub: Any, hub: FailingHub) -> None:
    now = time.monotonic()
    await stub.ExecuteTool(pb.ToolCallRequest(), timeout=50)
    await stub.ExecuteTool(pb.ToolCallRequest())
    assert [chunk.sequence async for chunk in stub.StreamTool(pb.ToolStreamRequest(), timeout=50)] == [0, 1, 2]
    first, second, third = hub.deadlines
    assert second is None
    for deadline in (first, third):
        assert deadline is not None
        assert now < deadline < now + 60


async def test_a_stream_without_a_deadline_parameter_is_served(stub: Any) -> None:
    updates = [update async for update in stub.WatchSessionTools(pb.WatchSessionToolsRequest())]
    assert [update.operation for update in updates] == ["reset"]


async def test_an_error_of_the_bridge_is_a_status_that_carries_it_whole(stub: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as got:
        await stub.Heartbeat(pb.HeartbeatRequest())
    assert got.value.code() is grpc.StatusCode.NOT_FOUND
    assert got.value.details() == "there is no session 's'"
    error = from_rpc_error(got.value)
    assert isinstance(error, SessionNotFoundError)
    assert error.details["k"] == "v"
    with pytest.raises(grpc.aio.AioRpcError) as got:
        await stub.ExecuteTool(pb.ToolCallRequest(tool_id="fail"))
    assert from_rpc_error(got.value).error_type == "ToolNotFound"


async def test_the_longest_error_still_arrives(stub: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as got:
        await stub.Heartbeat(pb.HeartbeatRequest(session_id="long"))
    assert got.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(got.value).message.startswith("üüü")


async def test_a_fault_is_internal_and_only_the_log_has_it(stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as got:
        await stub.Heartbeat(pb.HeartbeatRequest(session_id="fault"))
    assert got.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(got.value.details())
    assert "RuntimeError: secret" in caplog.text
    assert from_rpc_error(got.value).details["error_id"] in caplog.text


async def test_an_error_of_a_stream_comes_after_its_messages(stub: Any, hub: FailingHub) -> None:
    call = stub.StreamTool(pb.ToolStreamRequest(tool_id="fail"))
    assert [(await call.read()).sequence for _ in range(3)] == [0, 1, 2]
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call.read()
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    await until(lambda: hub.ended)


@pytest.mark.parametrize("tool_id", ["silent", "endless"])
async def test_a_reader_that_leaves_ends_the_stream_at_the_hub(
    stub: Any, hub: FailingHub, tool_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    # What other tests left to be collected is not this one's.
    gc.collect()
    caplog.clear()
    call = stub.StreamTool(pb.ToolStreamRequest(tool_id=tool_id))
    await call.read()
    call.cancel()
    await until(lambda: hub.ended)
    for _ in range(10):
        await asyncio.sleep(0)
    gc.collect()
    assert "exception" not in caplog.text.lower()


async def test_a_reader_that_stalls_holds_up_its_stream(stub: Any, hub: FailingHub) -> None:
    call = stub.StreamTool(pb.ToolStreamRequest(tool_id="endless", stream_id="x" * 100_000))
    await call.read()
    before = -1
    while before != hub.sent:
        before = hub.sent
        for _ in range(100):
            # A turn of the loop that lets gRPC's own thread have its turn, too.
            await asyncio.to_thread(time.monotonic)
    assert hub.sent < 1_000
    call.cancel()
    await until(lambda: hub.ended)


@pytest.mark.parametrize("name", ["Heartbeat", "ExecuteTool", "StreamTool"])
async def test_bytes_that_are_no_request_are_refused_as_the_peers_fault(
    serve: Serve, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    channel = await serve(raw=True)
    make = channel.unary_stream if METHODS[name].response_streaming else channel.unary_unary
    call: Any = make(METHODS[name].path)(b"\xff\xff\xff")
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await call.details()).startswith(f"the request of {name} cannot be read: ")
    assert caplog.text == ""


async def test_a_reader_that_takes_nothing_for_too_long_loses_its_stream(serve: Serve, hub: FailingHub) -> None:
    stub = await serve(write_timeout=0.05)
    call = stub.StreamTool(pb.ToolStreamRequest(tool_id="endless", stream_id="x" * 1_000_000))
    await call.read()
    await until(lambda: hub.ended)
    assert hub.sent < 1_000
    call.cancel()


async def test_what_the_hub_does_not_offer_is_unimplemented_whatever_its_shape(stub: Any) -> None:
    calls: dict[str, Any] = {
        "GetMetrics": stub.GetMetrics(pb.GetMetricsRequest()),
        "ExecuteAgent": stub.ExecuteAgent(pb.ExecuteAgentRequest()),
        "Link": stub.Link(),
    }
    for name, call in calls.items():
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await call.details() == f"this hub does not offer {name}"


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ((), "this hub requires a token; send it as 'authorization: Bearer …'"),
        ((("authorization", "Bearer wrong"),), "the token is wrong"),
        ((("authorization", "hush"),), "the token is wrong"),
        ((("authorization", "Bearer hushed"),), "the token is wrong"),
        ((("authorization", "Bearer hush"),), None),
    ],
)
async def test_only_those_who_send_the_token_are_let_in(serve: Serve, sent: Any, text: str | None) -> None:
    stub = await serve(token="hush")
    if text is None:
        assert (await stub.ExecuteTool(pb.ToolCallRequest(), metadata=sent)).success
        return
    with pytest.raises(grpc.aio.AioRpcError) as got:
        await stub.ExecuteTool(pb.ToolCallRequest(), metadata=sent)
    assert (got.value.code(), got.value.details()) == (grpc.StatusCode.UNAUTHENTICATED, text)
    assert from_rpc_error(got.value).error_type == "Unauthenticated"


async def test_every_shape_of_method_is_refused_without_the_token(serve: Serve, hub: FailingHub) -> None:
    stub = await serve(token="hush")
    for call in (stub.StreamTool(pb.ToolStreamRequest()), stub.Link(), stub.GetMetrics(pb.GetMetricsRequest())):
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    assert hub.deadlines == []


async def test_anybody_may_ask_for_health_and_an_unknown_method_stays_unknown() -> None:
    asked = []

    async def continuation(details: Any) -> Any:
        asked.append(details.method)

    class Details:
        invocation_metadata = ()

        def __init__(self, method: str) -> None:
            self.method = method

    interceptor = AuthenticationInterceptor(BearerToken("hush"))
    for method in ("/grpc.health.v1.Health/Check", "/no.such/Method"):
        assert await interceptor.intercept_service(continuation, Details(method)) is None
    assert asked == ["/grpc.health.v1.Health/Check", "/no.such/Method"]


async def test_methods_of_both_services_are_found_by_their_paths(serve: Serve, hub: Any) -> None:
    async def list_runs(request: pb.ListRunsRequest) -> pb.ListRunsResponse:
        return pb.ListRunsResponse(next_page_token=request.session_id)

    hub.list_runs = list_runs
    channel = await serve(raw=True)
    stub: Any = HubStub(channel)
    assert (await stub.ExecuteTool(pb.ToolCallRequest())).success
    assert (await stub.ListRuns(pb.ListRunsRequest(session_id="s"))).next_page_token == "s"
    for call in (
        stub.ListCalls(pb.ListCallsRequest()),
        channel.unary_unary("/dspex.bridge.SnakepitBridge/ListRuns")(b""),
        channel.unary_unary("/dspex.bridge.Other/ListRuns")(b""),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
