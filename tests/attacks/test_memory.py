"""What peers may make a hub hold: before they have shown who they are, by RPCs, and by sessions."""

import asyncio
from collections import Counter
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from attacks.raw_http2 import RawPeer
from attacks.victims import MIB, MakeVictim, Victim
from grpc_tool_bridge import serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.patience import PATIENCE

# They hold over 1 GB: two never run at once.
pytestmark = pytest.mark.xdist_group("memory")

TOOLS = "attacks.memory_tools:TOOLS"
EXECUTE = "/dspex.bridge.SnakepitBridge/ExecuteTool"
# Beside what the budget says: what a process holds while it copies, and what its allocator keeps.
MARGIN = 300 * MIB


def call_of(session_id: str, tool: str, *args: Any) -> pb.ToolCallRequest:
    return pb.ToolCallRequest(session_id=session_id, tool_id=tool, args=[serialize_value(arg) for arg in args])


async def codes(calls: Any) -> Counter[Any]:
    """Counts how calls ended."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return Counter(answer.code() if isinstance(answer, grpc.RpcError) else _type_of(answer) for answer in answers)


def _type_of(answer: Any) -> str:
    if isinstance(answer, BaseException):
        raise answer
    return answer.error.type if answer.HasField("error") else "ok"


async def shrinks(hub: Victim, limit: int) -> None:
    """Waits until the hub itself counts less than ``limit`` bytes."""
    stub: Any = await hub.stub()
    metadata = [("authorization", f"Bearer {hub.token}")] if hub.token else None
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await stub.GetMetrics(pb.GetMetricsRequest(metric_names=["hub.memory_bytes"]), metadata=metadata)
            if answer.metrics["hub.memory_bytes"].integer_value < limit:
                return


# ------------------------------------------------------------------------------------- before authentication


async def test_requests_without_a_token_are_refused_before_they_are_received(attacked: MakeVictim) -> None:
    hub = await attacked(token="secret", max_message_bytes=40 * MIB)
    before = hub.memory()
    call = hub.channel().unary_unary(EXECUTE)
    data = bytes(39 * MIB)
    for _ in range(4):
        assert await codes([call(data) for _ in range(15)]) == {grpc.StatusCode.UNAUTHENTICATED: 15}
    await hub.looks_unharmed(max_bytes=before + 100 * MIB)


async def test_large_requests_to_the_health_service_are_refused(attacked: MakeVictim) -> None:
    hub = await attacked(token="secret")
    before = hub.memory()
    calls = [hub.channel().unary_unary("/grpc.health.v1.Health/Check") for _ in range(4)]
    data = health_pb2.HealthCheckRequest(service="x" * (9 * MIB)).SerializeToString()
    for _ in range(3):
        found = await codes([call(data) for call in calls for _ in range(5)])
        assert found == {grpc.StatusCode.RESOURCE_EXHAUSTED: 20}
    await hub.looks_unharmed(max_bytes=before + 250 * MIB)


async def test_watches_of_health_are_bounded_in_number_and_names(attacked: MakeVictim) -> None:
    hub = await attacked(token="secret")
    before = hub.memory()
    refused = 0
    for number in range(5):
        stub = health_pb2_grpc.HealthStub(hub.channel())
        for length in (100, 100_000):
            request = health_pb2.HealthCheckRequest(service=f"{number}" * length)
            answers = await asyncio.gather(*(stub.Watch(request).read() for _ in range(1_000)), return_exceptions=True)
            lost = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
            assert {error.code() for error in lost} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            refused += len(lost)
    assert refused > 9_000
    await hub.looks_unharmed(max_bytes=before + 150 * MIB)


async def test_health_requests_that_do_not_arrive_hold_nothing_up(attacked: MakeVictim) -> None:
    hub = await attacked(token="secret")
    before = hub.memory()
    part = bytes(8 * MIB)
    for _ in range(3):
        async with RawPeer(hub.address) as peer:
            streams = [peer.begin("/grpc.health.v1.Health/Check") for _ in range(50)]
            sending = [asyncio.create_task(peer.send(stream, part, stated=9 * MIB)) for stream in streams]
            await peer.until_ended(50)
            await asyncio.wait(sending)
    await hub.looks_unharmed(max_bytes=before + 150 * MIB)


# ------------------------------------------------------------------------------------------------ plain RPCs


async def test_large_calls_that_wait_are_bounded_by_their_connection(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS, max_session_calls=1, call_timeout=600, request_timeout=5)
    before = hub.memory()
    stub = await hub.stub("s")
    request = call_of("s", "hold", bytes(9 * MIB))
    calls = [asyncio.ensure_future(stub.ExecuteTool(request)) for _ in range(200)]
    done: set[Any] = set()
    while len(done) < 180:
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        done = {call for call in calls if call.done()}
        await asyncio.wait([call for call in calls if not call.done()], timeout=0.1)
    sight = await hub.looks_unharmed(max_bytes=before + 128 * MIB + MARGIN)
    assert sight.waits
    # Another session's call, over the connection that is full, is small enough.
    await stub.InitializeSession(pb.InitializeSessionRequest(session_id="other"))
    assert (await stub.ExecuteTool(call_of("other", "let_go"))).success
    found = await codes(calls)
    assert found["ok"] + found[grpc.StatusCode.RESOURCE_EXHAUSTED] == 200
    assert 0 < found["ok"] < 20
    await shrinks(hub, MIB)
    assert (await stub.ExecuteTool(request)).success


async def test_requests_that_stall_lock_out_only_their_own_connection(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS, max_hub_bytes=200 * MIB, request_timeout=8)
    before = hub.memory()
    peers = [RawPeer(hub.address) for _ in range(10)]
    part = bytes(5 * MIB)
    async with peers[0], peers[1], peers[2], peers[3], peers[4], peers[5], peers[6], peers[7], peers[8], peers[9]:
        sending = [
            asyncio.create_task(peer.send(peer.begin(EXECUTE), part, stated=9 * MIB))
            for peer in peers
            for _ in range(20)
        ]
        # Some are ended for others, the rest once their time is over.
        stub = await hub.stub("s")
        data = bytes(9 * MIB)
        for _ in range(5):
            assert (await stub.ExecuteTool(call_of("s", "blob", 9 * MIB))).success
            answer = await stub.SetSessionVariable(
                pb.SetVariableRequest(
                    session_id="s", variable_name="v", value=serialize_value(data), create_if_missing=True
                )
            )
            assert answer.success, answer.message
        for peer in peers:
            await peer.until_ended(20)
        await asyncio.wait(sending)
    await shrinks(hub, 20 * MIB)
    await hub.looks_unharmed(max_bytes=before + 200 * MIB + MARGIN)


async def test_answers_that_nobody_reads_are_bounded_and_go_with_their_connection(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    before = hub.memory()
    stub = await hub.stub("s")
    request = call_of("s", "blob", 9 * MIB).SerializeToString()
    async with RawPeer(hub.address) as peer:
        for _ in range(300):
            await peer.send(peer.begin(EXECUTE), request)
        # All others are refused at once; of these the answers wait.
        await peer.until_ended(290)
        assert (await stub.ExecuteTool(call_of("s", "blob", 9 * MIB))).success
        await hub.looks_unharmed(max_bytes=before + 128 * MIB + MARGIN)
    await shrinks(hub, MIB)


async def test_large_batches_and_streams_are_bounded_like_calls(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS, max_session_calls=1, call_timeout=600, stream_timeout=600, request_timeout=5)
    before = hub.memory()
    stub = await hub.stub("s")
    value = serialize_value(bytes(9 * MIB))
    batch = pb.BatchToolCallRequest(session_id="s", items=[pb.ToolCallItem(tool_id="hold", args=[value])])
    stream = pb.ToolStreamRequest(session_id="s", tool_id="hold", args=[value])
    calls = [asyncio.ensure_future(stub.BatchExecuteTools(batch)) for _ in range(50)]
    calls += [asyncio.ensure_future(stub.StreamTool(stream).read()) for _ in range(50)]
    while sum(call.done() for call in calls) < 80:
        await asyncio.wait([call for call in calls if not call.done()], return_when=asyncio.FIRST_COMPLETED)
    await hub.looks_unharmed(max_bytes=before + 128 * MIB + MARGIN)
    await stub.InitializeSession(pb.InitializeSessionRequest(session_id="other"))
    assert (await stub.ExecuteTool(call_of("other", "let_go"))).success
    refused = await asyncio.gather(*calls, return_exceptions=True)
    errors = {error.code() for error in refused if isinstance(error, grpc.RpcError)}
    assert errors == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    await shrinks(hub, MIB)


async def test_streams_that_have_begun_keep_counting_what_they_were_given(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS, stream_timeout=600, request_timeout=3)
    before = hub.memory()
    stub = await hub.stub("s")
    value = serialize_value(bytes(9 * MIB))
    request = pb.ToolStreamRequest(session_id="s", tool_id="drip", args=[value])
    streams = [stub.StreamTool(request) for _ in range(100)]
    answers = await asyncio.gather(*(stream.read() for stream in streams), return_exceptions=True)
    begun = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert 2 < len(begun) < 14
    assert all(answer.HasField("data") for answer in begun)
    await hub.looks_unharmed(max_bytes=before + 128 * MIB + MARGIN)
    for stream in streams:
        stream.cancel()
    await shrinks(hub, MIB)


# -------------------------------------------------------------------------------------------------- sessions


async def test_variables_of_many_sessions_together_stay_within_the_hub_s_budget(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS, max_hub_bytes=256 * MIB)
    before = hub.memory()
    stub = await hub.stub()
    value = serialize_value(bytes(4 * MIB))
    kept = 0
    for number in range(100):
        name = f"s{number}"
        await stub.InitializeSession(pb.InitializeSessionRequest(session_id=name))
        request = pb.SetVariableRequest(session_id=name, variable_name="v", value=value, create_if_missing=True)
        answer: Any
        (answer,) = await asyncio.gather(stub.SetSessionVariable(request), return_exceptions=True)
        if isinstance(answer, grpc.aio.AioRpcError):
            # It was slow to arrive, so it was taken for the largest, and refused before it was read.
            assert answer.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "max_hub_bytes" in (answer.details() or "")
            continue
        kept += answer.success
        if not answer.success:
            assert answer.error.type == "ResourceExhausted"
            assert "max_hub_bytes" in answer.error.message
            assert answer.error.details["retry_after"]
    assert 50 < kept < 64
    # A full hub is managed still, and what is small is served.
    assert (await stub.Heartbeat(pb.HeartbeatRequest(session_id="s0"))).session_valid
    assert (await stub.ExecuteTool(call_of("s0", "blob", 10))).success
    await hub.looks_unharmed(max_bytes=before + 256 * MIB + MARGIN)
    for number in range(100):
        assert (await stub.CleanupSession(pb.CleanupSessionRequest(session_id=f"s{number}"))).success
    await shrinks(hub, MIB)


async def test_a_hub_that_is_full_of_variables_tells_which_budget_is_full(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS, max_session_bytes=20 * MIB)
    stub = await hub.stub("s")
    answer = pb.StatusResponse()
    for name in ("a", "b", "c"):
        answer = await stub.SetSessionVariable(
            pb.SetVariableRequest(
                session_id="s", variable_name=name, value=serialize_value(bytes(8 * MIB)), create_if_missing=True
            )
        )
    assert answer.error.type == "ResourceExhausted"
    assert "session 's' holds 16,779,380 of 20,971,520 bytes (max_session_bytes)" in answer.error.message
    metrics = (await stub.GetMetrics(pb.GetMetricsRequest(metric_names=["hub.*"]))).metrics
    assert metrics["hub.session_memory_limit_bytes"].integer_value == 20 * MIB
    assert metrics["hub.session_memory_most_bytes"].integer_value == 16_779_380
    assert metrics["hub.session_memory_refused"].integer_value == 1
    await hub.looks_unharmed()
