"""Calls that were made for a link, and go as plain RPCs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from grpc.aio import AioRpcError

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.timeouts import ExpiredError
from grpc_tool_bridge.errors import NotFoundError
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.dialer import CLOSED
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import BearerToken
from grpc_tool_bridge.rpc.session_defaults import read_defaults
from grpc_tool_bridge.transport.channel import AuthorizedChannel, Connection
from grpc_tool_bridge.transport.link_stub import LinkStub
from grpc_tool_bridge.transport.plain_calls import PlainCalls
from grpc_tool_bridge.transport.servicer import AuthenticationInterceptor, service_handler
from grpc_tool_bridge.transport.status import from_rpc_error
from support.hubs import SomeHub
from support.patience import PATIENCE
from support.waiting import soon, until


class Recorder(grpc.aio.ServerInterceptor):
    """Remembers the metadata of each call."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, Any]] = []

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        self.metadata.append(dict(details.invocation_metadata))
        return await continuation(details)


class Way:
    """Sends the calls of a link's stub as plain RPCs, at once."""

    def __init__(self, plain: PlainCalls) -> None:
        self._plain = plain

    def send_request(self, call: LinkCall, request: Any) -> None:
        self._plain.send(call, request.SerializeToString())

    def try_send_bytes(self, call: LinkCall, payload: bytes) -> bool:
        del call, payload
        return False


class Desk:
    """A hub, and a link's stub whose calls go there as plain RPCs."""

    def __init__(self) -> None:
        self.hub = SomeHub()
        self.recorder = Recorder()
        self.tasks = TaskSet()

    async def open(self) -> None:
        self.server = grpc.aio.server(interceptors=[AuthenticationInterceptor(BearerToken("hush")), self.recorder])
        self.server.add_generic_rpc_handlers((service_handler(self.hub),))
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = Connection(address=f"127.0.0.1:{port}").open()
        self.plain = PlainCalls(AuthorizedChannel(self.channel, "hush"), self.tasks)
        self.stub: Any = LinkStub(Way(self.plain))

    async def close(self) -> None:
        await self.tasks.aclose()
        await self.channel.close()
        await self.server.stop(0)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    await desk.open()
    yield desk
    await desk.close()


async def test_a_call_is_answered(desk: Desk) -> None:
    assert (await soon(desk.stub.ExecuteTool(pb.ToolCallRequest(request_id="r")))).request_id == "r"
    assert desk.hub.deadlines == [None]


async def test_a_stream_is_answered(desk: Desk) -> None:
    stream = desk.stub.StreamTool(pb.ToolStreamRequest())
    async with asyncio.timeout(PATIENCE):
        assert [chunk.sequence async for chunk in stream] == [0, 1, 2]
    assert await stream.code() is grpc.StatusCode.OK


async def test_nothing_of_a_call_that_has_ended_is_kept(desk: Desk) -> None:
    await soon(desk.stub.ExecuteTool(pb.ToolCallRequest()))
    async with asyncio.timeout(PATIENCE):
        while desk.plain._rpcs or len(desk.tasks):  # noqa: ASYNC110 - what is looked at is no event
            await asyncio.sleep(0)


async def test_what_the_hub_tells_in_the_trailing_metadata_arrives(desk: Desk) -> None:
    call = desk.stub.InitializeSession(pb.InitializeSessionRequest(session_id="s"))
    await soon(call)
    assert read_defaults(await call.trailing_metadata()) == {"idle-timeout": 1.5}


async def test_the_time_that_is_left_and_the_metadata_go_along_with_the_token(desk: Desk) -> None:
    await soon(desk.stub.ExecuteTool(pb.ToolCallRequest(), timeout=PATIENCE, metadata=[("trace", "1")]))
    assert desk.hub.deadlines[0] is not None
    sent = desk.recorder.metadata[0]
    assert (sent["trace"], sent["authorization"]) == ("1", "Bearer hush")


async def test_an_error_arrives_whole(desk: Desk) -> None:
    with pytest.raises(AioRpcError) as caught:
        await soon(desk.stub.ExecuteTool(pb.ToolCallRequest(tool_id="fail")))
    assert type(from_rpc_error(caught.value)) is NotFoundError
    stream = desk.stub.StreamTool(pb.ToolStreamRequest(tool_id="fail"))
    assert [(await soon(stream.read())).sequence for _ in range(3)] == [0, 1, 2]
    with pytest.raises(AioRpcError) as caught:
        await soon(stream.read())
    assert type(from_rpc_error(caught.value)) is NotFoundError


async def test_cancelling_a_call_reaches_the_hub(desk: Desk) -> None:
    call = desk.stub.ExecuteTool(pb.ToolCallRequest(tool_id="wait"))
    await until(lambda: desk.hub.started)
    assert call.cancel()
    await until(lambda: desk.hub.ended)
    with pytest.raises(asyncio.CancelledError):
        await call
    # Once more, now that it is known no more.
    await asyncio.sleep(0)
    desk.plain.cancel(call)


async def test_breaking_off_a_stream_reaches_the_hub(desk: Desk) -> None:
    stream = desk.stub.StreamTool(pb.ToolStreamRequest(tool_id="wait"))
    assert (await soon(stream.read())).sequence == 0
    assert stream.cancel()
    await until(lambda: desk.hub.ended)


@pytest.mark.parametrize("name", ["ExecuteTool", "StreamTool"])
@pytest.mark.parametrize("begun", [False, True])
async def test_calls_in_flight_fail_when_their_owner_ends(desk: Desk, name: str, begun: bool) -> None:
    call = getattr(desk.stub, name)(pb.ToolCallRequest(tool_id="wait"))
    if begun:
        await until(lambda: desk.hub.started)
    await soon(desk.tasks.aclose())
    assert await soon(call.code()) is grpc.StatusCode.CANCELLED
    assert await call.details() == CLOSED
    assert not call.cancelled()
    if begun:
        await until(lambda: desk.hub.ended)


async def test_a_call_that_is_guarded_expires_and_reaches_the_hub(desk: Desk) -> None:
    call = desk.stub.ExecuteTool(pb.ToolCallRequest(tool_id="wait"))
    call.set_timeout(0.1)
    with pytest.raises(ExpiredError):
        await soon(call)
    await until(lambda: desk.hub.ended)
    call = desk.stub.ExecuteTool(pb.ToolCallRequest(request_id="r"))
    call.set_timeout(60)
    assert (await soon(call)).request_id == "r"
