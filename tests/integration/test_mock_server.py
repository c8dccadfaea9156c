"""MockBridgeServer over a real socket: what it answers, keeps and refuses, and that it ends cleanly."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from grpc_tool_bridge import (
    GRPCToolBridge,
    ProtocolError,
    SessionContext,
    SessionExpiredError,
    ToolBridgeClient,
    ToolCommunicationError,
    ToolExecutionError,
    ToolSpec,
    UnavailableError,
    deserialize_value,
    serialize_value,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    CompleteSignal,
    Envelope,
    GetSessionInfoRequest,
    GetVariableRequest,
    InitializeSessionResponse,
    LinkFrame,
    LinkHello,
    ListSessionsResponse,
    SessionInfo,
    StatusResponse,
    ToolCallRequest,
    ToolCallResponse,
    ToolStreamChunk,
    VariableResponse,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.testing import MockBridgeServer


def answer(value: object) -> ToolCallResponse:
    return ToolCallResponse(success=True, result=serialize_value(value))


def chunks(*values: object) -> list[ToolStreamChunk]:
    data = [ToolStreamChunk(sequence=index, data=serialize_value(value)) for index, value in enumerate(values)]
    return [*data, ToolStreamChunk(sequence=len(values), complete=CompleteSignal(total_chunks=len(values)))]


@pytest.fixture
def server() -> Iterator[MockBridgeServer]:
    with MockBridgeServer() as running:
        yield running


@pytest.fixture
async def client(server: MockBridgeServer) -> AsyncIterator[ToolBridgeClient]:
    made = ToolBridgeClient(server.channel())
    made.session_id = "s"
    yield made
    await made.close()


async def test_an_answer_reaches_the_caller_and_the_request_is_kept(
    server: MockBridgeServer, client: ToolBridgeClient
) -> None:
    server.set_response("ExecuteTool", answer(42))

    assert await client.call_tool("add", 40, b=2) == 42

    (request,) = server.requests_for("ExecuteTool")
    assert request.tool_id == "add"
    assert [deserialize_value(arg) for arg in request.args] == [40]
    assert deserialize_value(request.kwargs["b"]) == 2


async def test_several_answers_are_given_in_turn_and_the_last_stays(
    server: MockBridgeServer, client: ToolBridgeClient
) -> None:
    server.set_response("ExecuteTool", answer(1), answer(2))

    assert [await client.call_tool("next") for _ in range(4)] == [1, 2, 2, 2]


async def test_a_later_answer_replaces_an_earlier_one(server: MockBridgeServer, client: ToolBridgeClient) -> None:
    server.set_response("ExecuteTool", answer(1), answer(2))
    server.set_response("ExecuteTool", answer(3))

    assert await client.call_tool("next") == 3


async def test_a_message_changed_after_it_was_set_changes_no_answer(
    server: MockBridgeServer, client: ToolBridgeClient
) -> None:
    message = answer("as set")
    server.set_response("ExecuteTool", message)
    message.result.CopyFrom(serialize_value("changed"))

    assert await client.call_tool("echo") == "as set"


async def test_a_stream_is_sent_in_order_to_every_call(server: MockBridgeServer, client: ToolBridgeClient) -> None:
    server.set_streaming_response("StreamTool", chunks("a", "b"))

    for _ in range(2):
        assert [value async for value in client.stream_tool("letters")] == ["a", "b"]
    assert [request.tool_id for request in server.requests_for("StreamTool")] == ["letters", "letters"]


async def test_an_error_in_a_stream_comes_after_the_messages_before_it(
    server: MockBridgeServer, client: ToolBridgeClient
) -> None:
    lost = ToolCommunicationError("letters", grpc.StatusCode.UNAVAILABLE, "lost")
    server.set_streaming_response("StreamTool", [*chunks("a", "b")[:2], lost])

    seen = []

    async def read() -> None:
        async for value in client.stream_tool("letters"):
            seen.append(value)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(ToolCommunicationError) as caught:
        await read()

    assert seen == ["a", "b"]
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert "lost" in caught.value.details


async def test_an_error_of_the_bridge_comes_back_as_itself(server: MockBridgeServer, client: ToolBridgeClient) -> None:
    server.set_response("GetSessionInfo", SessionExpiredError("session 's' has ended", details={"why": "idle"}))

    with pytest.raises(SessionExpiredError, match="has ended") as caught:
        await client.session_info()

    assert caught.value.details["why"] == "idle"


async def test_any_other_exception_tells_the_caller_nothing_of_itself(
    server: MockBridgeServer, client: ToolBridgeClient
) -> None:
    server.set_response("ExecuteTool", RuntimeError("a secret"))

    with pytest.raises(ToolExecutionError) as caught:
        await client.call_tool("add")

    assert caught.value.error_type == "InternalError"
    assert "a secret" not in str(caught.value)


async def test_grpc_s_own_error_keeps_its_status(server: MockBridgeServer, client: ToolBridgeClient) -> None:
    metadata = grpc.aio.Metadata()
    server.set_response("ExecuteTool", grpc.aio.AioRpcError(grpc.StatusCode.DATA_LOSS, metadata, metadata, "gone"))

    with pytest.raises(ToolCommunicationError, match="gone") as caught:
        await client.call_tool("add")

    assert caught.value.code is grpc.StatusCode.DATA_LOSS


async def test_set_error_without_a_type_is_a_connection_that_fails(
    server: MockBridgeServer, client: ToolBridgeClient
) -> None:
    server.set_error("ExecuteTool", grpc.StatusCode.UNAVAILABLE, "no route")

    with pytest.raises(ToolCommunicationError, match="no route") as caught:
        await client.call_tool("add")

    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


async def test_set_error_with_a_type_is_the_hub_s_own_error(server: MockBridgeServer, client: ToolBridgeClient) -> None:
    server.set_error("StreamTool", grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", error_type="RateLimitExceeded")

    with pytest.raises(ToolExecutionError, match="slow down") as caught:
        _ = [value async for value in client.stream_tool("letters")]

    assert caught.value.error_type == "RateLimitExceeded"
    assert caught.value.retryable


async def test_a_failure_followed_by_a_success_makes_a_retry_succeed(server: MockBridgeServer) -> None:
    server.set_response("InitializeSession", InitializeSessionResponse(success=True, tools=[ToolSpec(name="add")]))
    server.set_response("CleanupSession", StatusResponse(success=True))
    busy = UnavailableError("no worker yet", details={"retry_after": "0"})
    server.set_response("ExecuteTool", busy, answer("done"))

    async with GRPCToolBridge(server.address) as bridge:
        await bridge.initialize("s")
        assert await bridge.execute_with_retry("add", max_retries=1) == "done"

    assert len(server.requests_for("ExecuteTool")) == 2
    assert len(server.requests_for("CleanupSession")) == 1


@pytest.mark.parametrize(
    ("use", "call"),
    [
        (lambda context: context.get_variable("x"), "set_response('GetSessionVariable', VariableResponse(...))"),
        (
            lambda context: anext(context.watch_variables()),
            "set_streaming_response('WatchSessionVariables', [VariableUpdate(...)])",
        ),
    ],
)
async def test_a_method_without_an_answer_names_the_call_that_is_missing(
    client: ToolBridgeClient, use: Callable[[SessionContext], Awaitable[Any]], call: str
) -> None:
    with pytest.raises(ToolCommunicationError) as caught:
        await use(client.session_context)

    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
    assert call in caught.value.details


async def test_an_empty_stream_is_an_answer_too(server: MockBridgeServer, client: ToolBridgeClient) -> None:
    server.set_streaming_response("StreamTool", [])

    with pytest.raises(ProtocolError, match="ended without"):
        _ = [value async for value in client.stream_tool("letters")]


async def test_a_link_gets_the_frames_and_its_own_are_kept(server: MockBridgeServer) -> None:
    server.set_streaming_response("Link", [LinkFrame(envelopes=[Envelope(hello=LinkHello(protocol=1, peer="hub"))])])
    stub: Any = SnakepitBridgeStub(server.channel())
    link = stub.Link()

    assert (await link.read()).envelopes[0].hello.peer == "hub"
    await link.write(LinkFrame(envelopes=[Envelope(hello=LinkHello(protocol=1, peer="client"))]))
    await link.done_writing()
    assert await link.read() is grpc.aio.EOF

    (frame,) = server.requests_for("Link")
    assert frame.envelopes[0].hello.peer == "client"


async def test_requests_of_many_callers_are_all_kept(server: MockBridgeServer, client: ToolBridgeClient) -> None:
    server.set_response("ExecuteTool", answer(None))

    await asyncio.gather(*[client.call_tool("note", index) for index in range(200)])

    got = [deserialize_value(request.args[0]) for request in server.requests_for("ExecuteTool")]
    assert sorted(got) == list(range(200))


def test_answers_and_requests_may_be_used_from_any_thread(server: MockBridgeServer) -> None:
    server.set_response("GetSessionVariable", VariableResponse(exists=False))

    def one(index: int) -> None:
        server.set_response("GetSessionVariable", VariableResponse(exists=True, value=serialize_value(index)))
        with grpc.insecure_channel(server.address) as channel:
            response = SnakepitBridgeStub(channel).GetSessionVariable(GetVariableRequest(variable_name=str(index)))
        assert response.exists
        server.requests_for("GetSessionVariable")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(40)))

    names = [request.variable_name for request in server.requests_for("GetSessionVariable")]
    assert sorted(names, key=int) == [str(index) for index in range(40)]


# ---------------------------------------------------------------------------------------------------- lifetime


def test_it_serves_a_plain_test_without_an_event_loop() -> None:
    with MockBridgeServer() as server:
        server.set_response("ExecuteTool", answer("plain"))
        with grpc.insecure_channel(server.address) as channel:
            response = SnakepitBridgeStub(channel).ExecuteTool(ToolCallRequest(tool_id="t"))

    assert deserialize_value(response.result) == "plain"
    assert server.requests_for("ExecuteTool")[0].tool_id == "t"


@pytest.mark.parametrize("how", ["with", "async with"])
async def test_leaving_it_closes_its_channels(how: str) -> None:
    server = MockBridgeServer()
    # The stub is made while the channel is open: gRPC reads freed memory where one is made of a closed channel.
    stub: Any
    if how == "with":
        with server:
            stub = SnakepitBridgeStub(server.channel())
    else:
        async with server:
            stub = SnakepitBridgeStub(server.channel())

    with pytest.raises(grpc.aio.UsageError, match="closed"):
        await stub.ExecuteTool(ToolCallRequest())


async def test_leaving_it_ends_a_call_in_flight() -> None:
    async with MockBridgeServer() as server:
        server.set_streaming_response("Link", [LinkFrame()])
        with grpc.insecure_channel(server.address) as channel:
            link = SnakepitBridgeStub(channel).Link(iter(LinkFrame, None))
            next(link)
            await asyncio.to_thread(server.stop)
            with pytest.raises(grpc.RpcError):
                list(link)


def test_a_channel_of_a_loop_that_has_ended_is_closed_too() -> None:
    async def use(server: MockBridgeServer) -> Any:
        server.set_response("ExecuteTool", answer(1))
        client = ToolBridgeClient(server.channel())
        client.session_id = "s"
        return await client.call_tool("one")

    with MockBridgeServer() as server:
        assert asyncio.run(use(server)) == 1


def test_it_can_run_again_and_keeps_answers_and_requests() -> None:
    server = MockBridgeServer()
    server.set_response("ExecuteTool", answer(1))
    for _ in range(2):
        with server, grpc.insecure_channel(server.address) as channel:
            SnakepitBridgeStub(channel).ExecuteTool(ToolCallRequest())

    assert len(server.requests_for("ExecuteTool")) == 2


def test_two_servers_never_share_a_port(server: MockBridgeServer) -> None:
    with pytest.raises(RuntimeError, match="bind"):
        MockBridgeServer(server.address).start()


def test_two_servers_share_no_answers(server: MockBridgeServer) -> None:
    server.set_response("GetSessionInfo", SessionInfo(session_id="mine"))

    with MockBridgeServer() as other, grpc.insecure_channel(other.address) as channel, pytest.raises(grpc.RpcError):
        SnakepitBridgeStub(channel).GetSessionInfo(GetSessionInfoRequest())
    assert server.requests_for("GetSessionInfo") == []


async def test_it_answers_the_methods_of_the_admin_service() -> None:
    with MockBridgeServer() as server:
        server.set_response("ListSessions", ListSessionsResponse(sessions=[SessionInfo(session_id="s")]))
        async with GRPCToolBridge(server.address, transport="rpc") as bridge:
            assert [session.session_id async for session in bridge.admin.sessions()] == ["s"]
        assert server.requests_for("ListSessions")
