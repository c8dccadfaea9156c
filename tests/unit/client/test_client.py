"""The client over a fake transport: one method each of the service."""

from typing import Any
from unittest.mock import AsyncMock

import grpc
import pytest

from grpc_tool_bridge import (
    GRPCToolBridge,
    ProtocolError,
    ToolBridgeClient,
    ToolSpec,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    GetSessionToolsResponse,
    HealthCheckResponse,
    HeartbeatResponse,
    MetricsResponse,
    MetricValue,
    SessionInfo,
)
from unit.client.fakes import ENDED, OPENED, FakeTransport, answer, client_of


def test_nothing_needs_an_event_loop_before_the_first_call() -> None:
    for target in ("127.0.0.1:1", FakeTransport()):
        client = ToolBridgeClient(target)
        assert client.session_id is None
        assert client.tools == {}
    assert GRPCToolBridge("127.0.0.1:1").tools == {}


async def test_a_stub_replaced_before_initialize_is_the_one_that_is_called() -> None:
    bridge = GRPCToolBridge("127.0.0.1:1")
    transport = FakeTransport(InitializeSession=OPENED, CleanupSession=ENDED)
    bridge.client.stub = transport.stub

    assert list(await bridge.initialize("s")) == ["add"]

    assert transport.request("InitializeSession").session_id == "s"
    await bridge.close()


async def test_one_method_of_the_real_stub_can_be_replaced_before_initialize() -> None:
    async with GRPCToolBridge("127.0.0.1:1") as bridge:
        bridge.client.stub.ExecuteTool = AsyncMock(return_value=answer(3))
        bridge.client.session_id = "s"

        assert await bridge.call_tool("add", 1, 2) == 3


async def test_a_channel_that_was_given_stays_open() -> None:
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    client = ToolBridgeClient(channel)
    assert client.stub.ExecuteTool is not None

    await client.close()

    assert channel.get_state() is grpc.ChannelConnectivity.IDLE
    await channel.close()


async def test_a_call_without_a_session_says_what_to_do() -> None:
    client = client_of(FakeTransport(), session_id=None)

    for call in (client.session_info, client.heartbeat, client.refresh_tools, client.cleanup_session):
        with pytest.raises(ProtocolError, match="initialize"):
            await call()
    with pytest.raises(ProtocolError, match="initialize"):
        await client.execute_batch([{"tool_id": "add"}])


async def test_the_simple_methods_return_what_the_hub_says() -> None:
    transport = FakeTransport(
        GetSessionInfo=SessionInfo(session_id="s", tool_count=4),
        Heartbeat=HeartbeatResponse(session_valid=True),
        HealthCheck=HealthCheckResponse(status=HealthCheckResponse.SERVING),
        GetMetrics=MetricsResponse(metrics={"calls": MetricValue(integer_value=3)}),
        CleanupSession=ENDED,
    )
    client = client_of(transport)

    assert (await client.session_info()).tool_count == 4
    assert await client.heartbeat() is True
    assert transport.request("Heartbeat").HasField("client_time")
    assert await client.health_check() is True
    assert (await client.get_metrics("calls"))["calls"].integer_value == 3
    assert transport.request("GetMetrics").metric_names == ["calls"]
    await client.cleanup_session(force=True)
    assert transport.request("CleanupSession").force


@pytest.mark.parametrize("status", [HealthCheckResponse.NOT_SERVING, HealthCheckResponse.UNKNOWN])
async def test_a_hub_that_does_not_serve_is_not_healthy(status: Any) -> None:
    assert not await client_of(FakeTransport(HealthCheck=HealthCheckResponse(status=status))).health_check()


async def test_refreshed_tools_replace_the_known_ones() -> None:
    transport = FakeTransport(
        InitializeSession=OPENED, GetSessionTools=GetSessionToolsResponse(tools=[ToolSpec(name="new")])
    )
    client = client_of(transport)
    await client.initialize_session("s")

    assert list(await client.refresh_tools()) == ["new"]
    assert list(client.tools) == ["new"]


async def test_a_tool_is_found_by_name_by_id_or_left_to_the_hub() -> None:
    transport = FakeTransport(InitializeSession=OPENED, ExecuteTool=answer(1))
    client = client_of(transport)
    await client.initialize_session("s")

    for name in ("add", "id-1", "unknown"):
        assert await client.call_tool(name) == 1

    assert [transport.request("ExecuteTool", index).tool_id for index in range(3)] == ["id-1", "id-1", "unknown"]


def test_a_target_of_bytes_is_refused_without_what_may_be_secret_in_it() -> None:
    target: Any = b"user:s3cr3t@h:1"
    with pytest.raises(ValueError, match="is not a valid address") as caught:
        ToolBridgeClient(target)
    assert "s3cr3t" not in str(caught.value)
