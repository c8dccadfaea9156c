"""Plain RPCs to several hubs: over real channels, to servers that come and go."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from grpc.aio import AioRpcError

from grpc_tool_bridge.errors import UnavailableError, ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeServicer, add_SnakepitBridgeServicer_to_server
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.status import status_of
from grpc_tool_bridge.transport.stubs import RpcTransport
from support.waiting import soon, until

SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING


class Hub(SnakepitBridgeServicer):
    """A hub of three methods, whose tools do what their names say."""

    def __init__(self) -> None:
        self.health: Any = SERVING
        self.checks = 0
        self.calls: list[str] = []
        self.waits = asyncio.Event()
        self.address = ""
        self.server = grpc.aio.server()

    async def start(self) -> "Hub":
        add_SnakepitBridgeServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        await self.server.start()
        return self

    async def HealthCheck(self, request: Any, context: Any) -> pb.HealthCheckResponse:
        del request
        self.checks += 1
        if isinstance(self.health, grpc.StatusCode):
            await context.abort(self.health, "so it is")
        if self.health is None:
            await asyncio.Event().wait()
        return pb.HealthCheckResponse(status=self.health)

    async def ExecuteTool(self, request: pb.ToolCallRequest, context: Any) -> pb.ToolCallResponse:
        self.calls.append(request.tool_id)
        if request.tool_id == "wait":
            self.waits.set()
            await asyncio.Event().wait()
        if request.tool_id == "unavailable":
            code, text, trailing = status_of(UnavailableError("no worker"))
            await context.abort(code, text, trailing)
        await context.send_initial_metadata(())
        context.set_trailing_metadata((("k", "v"),))
        return pb.ToolCallResponse(success=True, request_id=self.address)

    async def StreamTool(self, request: pb.ToolStreamRequest, context: Any) -> AsyncIterator[pb.ToolStreamChunk]:
        del context
        for number in range(2):
            yield pb.ToolStreamChunk(sequence=number)
        if request.tool_id == "wait":
            self.waits.set()
            await asyncio.Event().wait()


@pytest.fixture
async def hubs() -> AsyncIterator[list[Hub]]:
    hubs = [await Hub().start() for _ in range(2)]  # type: ignore[abstract]  # gRPC answers UNIMPLEMENTED for the others
    yield hubs
    for hub in hubs:
        await hub.server.stop(None)


@pytest.fixture
async def transport(hubs: list[Hub]) -> AsyncIterator[RpcTransport]:
    addresses = ",".join(hub.address for hub in hubs)
    transport = RpcTransport(Connection(address=addresses, keepalive_timeout=1.0))
    yield transport
    await transport.close()


async def called(transport: RpcTransport, tool_id: str = "x") -> str:
    """Calls a tool; returns the address of the hub that answered."""
    response = await soon(transport.stub.ExecuteTool(pb.ToolCallRequest(tool_id=tool_id)))
    return str(response.request_id)


async def failed(transport: RpcTransport, tool_id: str = "x") -> tuple[grpc.StatusCode, str]:
    with pytest.raises(AioRpcError) as caught:
        await called(transport, tool_id)
    return caught.value.code(), caught.value.details() or ""


async def test_the_first_hub_that_serves_is_used_and_asked_for_its_health_once(
    hubs: list[Hub], transport: RpcTransport
) -> None:
    assert transport.where == f"{hubs[0].address}, {hubs[1].address}"
    assert await asyncio.gather(*(called(transport) for _ in range(5))) == [hubs[0].address] * 5
    assert (hubs[0].checks, hubs[1].checks) == (1, 0)
    assert transport.where == hubs[0].address


@pytest.mark.parametrize("health", [NOT_SERVING, None, grpc.StatusCode.UNAVAILABLE], ids=str)
async def test_a_hub_that_does_not_serve_is_passed_over(hubs: list[Hub], transport: RpcTransport, health: Any) -> None:
    hubs[0].health = health
    assert await called(transport) == hubs[1].address


async def test_a_hub_that_refuses_to_tell_its_health_is_used_and_the_call_says_why(
    hubs: list[Hub], transport: RpcTransport
) -> None:
    hubs[0].health = grpc.StatusCode.UNAUTHENTICATED
    assert await called(transport) == hubs[0].address


async def test_a_call_after_its_hub_has_gone_goes_to_the_next_one(hubs: list[Hub], transport: RpcTransport) -> None:
    assert await called(transport) == hubs[0].address
    await hubs[0].server.stop(None)
    # Until the client knows, a call is sent there, and is not sent again.
    await until(lambda: not transport.stub._is_connected(hubs[0].address))
    assert await called(transport) == hubs[1].address


async def test_a_call_in_flight_fails_as_its_hub_goes_and_is_not_sent_again(
    hubs: list[Hub], transport: RpcTransport
) -> None:
    call = asyncio.create_task(failed(transport, "wait"))
    await soon(hubs[0].waits.wait())
    await hubs[0].server.stop(None)
    assert (await soon(call))[0] is grpc.StatusCode.UNAVAILABLE
    assert hubs[1].calls == []
    assert await called(transport) == hubs[1].address


async def test_a_hub_that_answers_unavailable_is_asked_for_its_health_again(
    hubs: list[Hub], transport: RpcTransport
) -> None:
    assert (await failed(transport, "unavailable"))[1] == "no worker"
    assert await called(transport) == hubs[0].address
    hubs[0].health = NOT_SERVING
    await failed(transport, "unavailable")
    assert await called(transport) == hubs[1].address


async def test_where_no_hub_serves_the_error_says_why_each_does_not(hubs: list[Hub], transport: RpcTransport) -> None:
    hubs[0].health, hubs[1].health = NOT_SERVING, None
    first, second = hubs[0].address, hubs[1].address
    assert await failed(transport) == (
        grpc.StatusCode.UNAVAILABLE,
        (
            f"none of the 2 hubs serves: {first}: the hub is not serving: it starts, shuts down, or cannot use its "
            f"store; {second}: nobody answered within 1 s"
        ),
    )
    assert transport.where == f"{first}, {second}"


async def test_streams_go_where_calls_go(hubs: list[Hub], transport: RpcTransport) -> None:
    hubs[0].health = NOT_SERVING
    chunks = [chunk.sequence async for chunk in transport.stub.StreamTool(pb.ToolStreamRequest())]
    assert chunks == [0, 1]
    stream = transport.stub.StreamTool(pb.ToolStreamRequest(tool_id="wait"))
    assert [(await soon(anext(stream))).sequence for _ in range(2)] == [0, 1]
    await hubs[1].server.stop(None)
    hubs[0].health = SERVING
    with pytest.raises(AioRpcError) as caught:
        await soon(anext(stream))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert await called(transport) == hubs[0].address


async def test_a_stream_that_is_closed_ends_at_its_hub(hubs: list[Hub], transport: RpcTransport) -> None:
    stream = transport.stub.StreamTool(pb.ToolStreamRequest(tool_id="wait"))
    await soon(anext(stream))
    await stream.aclose()
    assert await called(transport) == hubs[0].address


async def test_an_answer_has_its_trailing_metadata(hubs: list[Hub], transport: RpcTransport) -> None:
    del hubs
    call = transport.stub.ExecuteTool(pb.ToolCallRequest())
    assert list(await call.trailing_metadata()) == []
    await soon(call)
    assert ("k", "v") in list(await call.trailing_metadata())


async def test_who_cannot_be_served_moves_on_if_the_hub_is_unavailable(
    hubs: list[Hub], transport: RpcTransport
) -> None:
    assert await called(transport) == hubs[0].address
    assert not transport.move_on(ValidationError("it is too long"))
    assert transport.move_on(UnavailableError("the hub is shutting down"))
    assert await called(transport) == hubs[1].address
    assert transport.move_on(UnavailableError("the hub is shutting down"))
    assert await called(transport) == hubs[0].address


async def test_a_method_that_there_is_not_is_missing(transport: RpcTransport) -> None:
    with pytest.raises(AttributeError):
        _ = transport.stub.NoSuchMethod
