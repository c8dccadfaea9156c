"""What a hub tells of itself, over every transport."""

from datetime import UTC, datetime, timedelta

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from grpc_tool_bridge import BridgeServer, ToolExecutionError, tool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import GetMetricsRequest, HealthCheckRequest, HealthCheckResponse
from integration.connections import Connect

SERVICE = "dspex.bridge.SnakepitBridge"
ADMIN = "dspex.bridge.ToolBridgeAdmin"


async def add(a: int, b: int) -> int:
    return a + b


def divide(a: float, b: float) -> float:
    return a / b


async def test_metrics_count_calls_errors_and_durations_of_each_tool(connect: Connect) -> None:
    world = await connect(add, divide)
    for number in range(3):
        await world.tools["add"](number, 1)
    with pytest.raises(ToolExecutionError):
        await world.tools["divide"](1.0, 0.0)
    with pytest.raises(ToolExecutionError):
        await world.tools["add"]("x", 1)
    metrics = await world.bridge.client.get_metrics()
    assert metrics["tool.add.calls"].integer_value == 4
    assert metrics["tool.add.errors"].integer_value == 1
    assert metrics["tool.divide.errors"].integer_value == 1
    assert metrics["tool.add.active"].integer_value == 0
    histogram = metrics["tool.add.duration_ms"].histogram
    assert histogram.count == 4 == sum(bucket.count for bucket in histogram.buckets)
    assert histogram.sum > 0
    bounds = [bucket.upper_bound for bucket in histogram.buckets]
    assert bounds == sorted(bounds)
    assert bounds[-1] == float("inf")


async def test_metrics_count_streams_and_items_of_batches(connect: Connect) -> None:
    world = await connect(add)
    assert [value async for value in world.tools["add"].stream(1, 2)] == [3]
    await world.bridge.execute_batch([{"tool_id": "add", "args": [1, i]} for i in range(5)])
    metrics = await world.bridge.client.get_metrics("tool.add.calls")
    assert metrics["tool.add.calls"].integer_value == 6


async def test_a_running_call_is_counted_as_active(connect: Connect) -> None:
    seen: list[int] = []

    async def look() -> None:
        metrics = await world.bridge.client.get_metrics("tool.look.active", "hub.active_calls")
        seen.extend(value.integer_value for _, value in sorted(metrics.items()))

    world = await connect(look)
    await world.tools["look"]()
    assert seen == [1, 1]


async def test_metrics_of_the_hub_tell_sessions_and_threads(connect: Connect) -> None:
    world = await connect(add)
    await world.attach()
    metrics = await world.bridge.client.get_metrics("hub.*")
    assert metrics["hub.sessions"].integer_value == 2
    assert metrics["hub.threads_busy"].integer_value == 0
    assert metrics["hub.uptime_seconds"].double_value > 0
    assert metrics["hub.epoch"].string_value


async def test_metrics_are_chosen_by_name_and_by_beginning(connect: Connect) -> None:
    world = await connect(add, divide)
    client = world.bridge.client
    assert set(await client.get_metrics("hub.sessions")) == {"hub.sessions"}
    assert set(await client.get_metrics("tool.add.*")) == {
        f"tool.add.{field}" for field in ("calls", "errors", "active", "duration_ms")
    }
    assert await client.get_metrics("no.such") == {}


async def test_a_range_without_the_present_has_no_metrics(connect: Connect) -> None:
    world = await connect(add)
    for field, day in (("start_time", 1), ("end_time", -1)):
        request = GetMetricsRequest()
        getattr(request, field).FromDatetime(datetime.now(UTC) + timedelta(days=day))
        assert not (await world.bridge.client.call("GetMetrics", request)).metrics


async def test_tools_with_the_name_of_another_s_metric_are_counted_apart(connect: Connect) -> None:
    world = await connect(tool(name="add.calls")(add), add)
    await world.tools["add"](1, 2)
    metrics = await world.bridge.client.get_metrics("tool.add.calls", "tool.add.calls.calls")
    assert metrics["tool.add.calls"].integer_value == 1
    assert metrics["tool.add.calls.calls"].integer_value == 0


async def test_health_says_serving_and_knows_no_other_service(connect: Connect) -> None:
    world = await connect(add)
    client = world.bridge.client
    assert await client.health_check() is True
    named = await client.call("HealthCheck", HealthCheckRequest(service=SERVICE))
    other = await client.call("HealthCheck", HealthCheckRequest(service="other"))
    assert (named.status, other.status) == (HealthCheckResponse.SERVING, HealthCheckResponse.UNKNOWN)


async def test_the_standard_health_service_answers_for_the_hub() -> None:
    async with BridgeServer(tools=[add]) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", SERVICE, ADMIN):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_bridge_s_services_and_health() -> None:
    async with BridgeServer(tools=[add]) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answer = await anext(aiter(call))
        names = {service.name for service in answer.list_services_response.service}
        call.cancel()
    assert {SERVICE, ADMIN, "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize(
    ("symbol", "is_known"),
    [
        (SERVICE, True),
        (f"{SERVICE}.ExecuteTool", True),
        (f"{SERVICE}.NoMethod", False),
        ("dspex.bridge.NoService.ExecuteTool", False),
        ("ExecuteTool", False),
    ],
)
async def test_reflection_finds_services_and_methods_by_name(symbol: str, is_known: bool) -> None:
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    async with BridgeServer(tools=[add]) as server, grpc.aio.insecure_channel(server.address) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
        answer = await anext(aiter(call))
        call.cancel()
    assert (answer.WhichOneof("message_response") == "file_descriptor_response") == is_known
    assert is_known or answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_a_method_that_the_hub_does_not_offer_is_unimplemented() -> None:
    async with BridgeServer(tools=[add]) as server, grpc.aio.insecure_channel(server.address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/NoMethod")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
