"""Requests that name much, of a hub that holds much: neither may hold it up, nor fill its memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from attacks.victims import MIB, PATIENCE, MakeVictim, Victim
from grpc_tool_bridge import GRPCToolBridge, serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub

NAME = "x" * 36


@asynccontextmanager
async def linked(hub: Victim) -> AsyncIterator[Any]:
    """Opens a link to the hub, over which tools can be registered."""
    async with GRPCToolBridge(hub.address, follow_tools=False) as bridge:
        await bridge.initialize("linked")
        yield bridge


def spec(number: int, description: str = "", arguments: int = 0) -> pb.ToolSpec:
    listed = [pb.ArgumentSpec(name=f"a{place}", python_type="int") for place in range(arguments)]
    return pb.ToolSpec(name=f"t{number:05}", description=description, arguments=listed)


async def refusal(call: Any) -> str:
    """Awaits a call that must be refused by a status; returns what that says."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(caught.value.details())


async def test_a_list_of_variables_by_many_tags_is_refused_at_once(attacked: MakeVictim) -> None:
    hub = await attacked()
    async with linked(hub) as bridge:
        variables = bridge.session_context
        setting = [variables.set_variable(f"v{number}", 1, {"tags": {"t": ""}}) for number in range(2_000)]
        await asyncio.gather(*setting)
        stub = await hub.stub()
        request = pb.ListVariablesRequest(session_id="linked", tags=["t"] * 100_000)
        assert await refusal(stub.ListSessionVariables(request)) == (
            "tags has at most 32 entries; this one has 100,000: send fewer at once"
        )
        wanted = pb.ListVariablesRequest(session_id="linked", tags=["t"] * 32)
        assert len((await stub.ListSessionVariables(wanted)).variables) == 2_000
    await hub.looks_unharmed()


async def test_questions_for_many_metrics_are_refused_at_once(attacked: MakeVictim) -> None:
    hub = await attacked()
    stub = await hub.stub()
    before = hub.memory()
    for names in ([f"hub.{number}" for number in range(50_000)], ["x" * 1_000_000]):
        assert (await refusal(stub.GetMetrics(pb.GetMetricsRequest(metric_names=names)))).startswith(
            ("metric_names has at most 1,000", "one of metric_names has at most 256")
        )
    await hub.looks_unharmed(max_bytes=before + 200 * MIB)


async def test_watches_of_many_names_are_not_kept(attacked: MakeVictim) -> None:
    hub = await attacked()
    stub = await hub.stub("s")
    before = hub.memory()
    request = pb.WatchVariablesRequest(session_id="s", variable_names=[NAME] * 20_000)
    for _ in range(20):
        text = await refusal(stub.WatchSessionVariables(request).read())
        assert text == "variable_names has at most 1,000 entries; this one has 20,000: send fewer at once"
    await hub.looks_unharmed(max_bytes=before + 300 * MIB)


async def test_many_tools_of_one_name_are_refused_before_any_is_looked_at(attacked: MakeVictim) -> None:
    hub = await attacked()
    before = hub.memory()
    async with linked(hub) as bridge:
        stub = bridge.client.stub
        answer = await stub.RegisterTools(pb.RegisterToolsRequest(tools=[spec(1)] * 50_000))
        assert answer.error.message == "tools has at most 10,000 entries; this one has 50,000: send fewer at once"
        answer = await stub.RegisterTools(pb.RegisterToolsRequest(tools=[spec(1, arguments=5)] * 9_000))
        assert answer.error.message == "9,000 of the tools have the name 't00001'; rename all but one"
        with pytest.raises(grpc.aio.AioRpcError, match="the request of RegisterTools has more than 250,000 nodes"):
            await stub.RegisterTools(pb.RegisterToolsRequest(tools=[spec(1, arguments=50)] * 5_000))
    await hub.looks_unharmed(max_bytes=before + 400 * MIB)


async def test_thousands_of_tools_with_hundreds_of_arguments_are_registered_beside_others(
    attacked: MakeVictim,
) -> None:
    hub = await attacked()
    async with linked(hub) as bridge:
        for first in range(0, 3_000, 300):
            specs = [spec(number, arguments=200) for number in range(first, first + 300)]
            answer = await bridge.client.stub.RegisterTools(pb.RegisterToolsRequest(tools=specs))
            assert len(answer.tool_ids) == 300
    await hub.looks_unharmed()


async def test_ids_of_thousands_of_tools_are_taken_back_as_one_change(attacked: MakeVictim) -> None:
    hub = await attacked()
    async with linked(hub) as bridge:
        stub = bridge.client.stub
        specs = [spec(number) for number in range(5_000)]
        assert (await stub.RegisterTools(pb.RegisterToolsRequest(tools=specs))).success
        before = await stub.GetSessionTools(pb.GetSessionToolsRequest(session_id="linked"))
        ids = [one.name for one in specs]
        assert (await stub.UnregisterTools(pb.UnregisterToolsRequest(tool_ids=ids))).message == "5000 tools removed"
        after = await stub.GetSessionTools(pb.GetSessionToolsRequest(session_id="linked"))
        assert (len(before.tools), len(after.tools)) == (5_001, 1)
        assert after.revision == before.revision + 1
        answer = await stub.UnregisterTools(pb.UnregisterToolsRequest(tool_ids=ids * 10))
        assert answer.error.message.startswith("tool_ids has at most 10,000 entries; this one has 50,000")
    await hub.looks_unharmed()


async def test_wrong_names_that_are_like_hundreds_of_right_ones_hold_up_nobody(attacked: MakeVictim) -> None:
    hub = await attacked("attacks.many_tools:ALIKE")
    stub = await hub.stub("s")
    items = [pb.ToolCallItem(tool_id=f"{'a' * 63}{letter}") for letter in "bcdefghijk" * 10]
    async with asyncio.timeout(PATIENCE):
        answer = await stub.BatchExecuteTools(pb.BatchToolCallRequest(session_id="s", items=items))
    assert {result.error.type for result in answer.results} == {"ToolNotFound"}
    assert "did you mean aaaa" in answer.results[0].error.message
    await hub.looks_unharmed()


async def test_an_agent_with_many_tools_by_name_is_refused_at_once(attacked: MakeVictim) -> None:
    hub = await attacked()
    stub = await hub.stub("s")
    request = pb.CreateReActAgentRequest(session_id="s", signature="q -> a", tool_names=["add"] * 100_000)
    answer = await stub.CreateReActAgent(request)
    assert answer.error.message == "tool_names has at most 1,000 entries; this one has 100,000: send fewer at once"
    await hub.looks_unharmed()


async def test_a_tool_with_a_schema_of_megabytes_is_refused_by_its_name(attacked: MakeVictim) -> None:
    hub = await attacked()
    async with linked(hub) as bridge:
        for large in (
            spec(1, description="x" * 2 * MIB),
            pb.ToolSpec(name="t00001", input_schema='{"properties": {"a": ' + "[" * 700_000 + "]" * 700_000 + "}}"),
            pb.ToolSpec(name="t00001", arguments=[pb.ArgumentSpec(name="a", allowed_values=["x" * 20] * 100_000)]),
        ):
            answer = await bridge.client.stub.RegisterTools(pb.RegisterToolsRequest(tools=[large]))
            assert answer.error.type == "ValidationError"
            assert answer.error.message.startswith(f"tool 't00001': its spec has {large.ByteSize():,} bytes, the limit")
    await hub.looks_unharmed()


async def test_tools_of_48_megabytes_lock_no_client_of_plain_rpc_out(attacked: MakeVictim) -> None:
    hub = await attacked()
    async with linked(hub) as bridge:
        for part in range(6):
            specs = [spec(part * 16 + number, description="x" * (MIB // 2)) for number in range(16)]
            assert (await bridge.client.stub.RegisterTools(pb.RegisterToolsRequest(tools=specs))).success
        # With gRPC's own limits: 4 MiB.
        async with grpc.aio.insecure_channel(hub.address) as channel:
            stub: Any = SnakepitBridgeStub(channel)
            opened = await stub.InitializeSession(pb.InitializeSessionRequest(session_id="plain"))
            assert opened.success
            assert opened.more_tools
            assert opened.tool_count == 97
            assert 1 < len(opened.tools) < 97
            names: list[str] = []
            request = pb.GetSessionToolsRequest(session_id="plain")
            while not names or request.page_token:
                page = await stub.GetSessionTools(request)
                names += [tool.name for tool in page.tools]
                request.page_token = page.next_page_token
            assert names == ["add", *(f"t{number:05}" for number in range(96))]
            call = pb.ToolCallRequest(session_id="plain", tool_id="add", args=[serialize_value(2), serialize_value(3)])
            assert (await stub.ExecuteTool(call)).success
        async with GRPCToolBridge(hub.address, transport="rpc") as plain:
            assert len(await plain.initialize()) == 97
    await hub.looks_unharmed()
