"""The generated stubs over a channel."""

from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio
import pytest

from grpc_tool_bridge.errors import ProtocolError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub, ToolBridgeAdminStub
from grpc_tool_bridge.transport import stubs as client_stub
from grpc_tool_bridge.transport.channel import AuthorizedChannel, Connection
from grpc_tool_bridge.transport.stubs import RpcTransport, close_stream


async def test_a_stub_over_a_connection_is_made_when_it_is_first_used_and_kept() -> None:
    transport = RpcTransport(Connection(address="localhost:1"))
    assert transport.where == "localhost:1"
    assert transport._channel is None
    stub = transport.stub
    assert isinstance(stub, SnakepitBridgeStub)
    assert isinstance(stub, ToolBridgeAdminStub)
    assert transport.stub is stub
    await transport.close()


async def test_a_transport_that_was_closed_opens_anew() -> None:
    transport = RpcTransport(Connection(address="localhost:1"))
    first = transport.stub
    await transport.close()
    await transport.close()
    assert transport.stub is not first
    await transport.close()


async def test_a_channel_that_was_given_stays_open() -> None:
    async with grpc.aio.insecure_channel("localhost:1") as channel:
        transport = RpcTransport(channel)
        assert transport.where == "the given channel"
        assert isinstance(transport.stub, SnakepitBridgeStub)
        await transport.close()
        assert channel.get_state() is not grpc.ChannelConnectivity.SHUTDOWN


async def test_a_channel_that_is_closed_already_is_refused() -> None:
    channel = grpc.aio.insecure_channel("localhost:1")
    await channel.close()
    with pytest.raises(ProtocolError, match="the given channel is closed"):
        _ = RpcTransport(channel).stub


def test_a_stub_can_be_replaced_before_there_is_a_channel() -> None:
    transport, stub = RpcTransport(Connection(address="localhost:1")), object()
    transport.stub = stub
    assert transport.stub is stub


async def test_a_token_is_bound_to_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(client_stub, "HubStub", given.append)
    transport = RpcTransport(Connection(address="localhost:1", token="hush"))
    assert transport.stub is None
    assert isinstance(given[0], AuthorizedChannel)
    await transport.close()


async def test_closing_a_stream_ends_a_generator_and_cancels_a_call() -> None:
    closed = []

    async def values() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            closed.append("closed")

    stream = values()
    await anext(stream)
    await close_stream(stream)
    assert closed == ["closed"]
    async with grpc.aio.insecure_channel("localhost:1") as channel:
        call: Any = SnakepitBridgeStub(channel).StreamTool(pb.ToolStreamRequest())
        await close_stream(call)
        assert call.cancelled()
    await close_stream(iter([1]))
