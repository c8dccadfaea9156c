"""Calls of tools that need approval, from the call to the decision and its answer."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge import (
    BridgeServer,
    ConflictError,
    DeadlineExceededError,
    GRPCToolBridge,
    NotFoundError,
    ToolContext,
    ToolExecutionError,
    ToolWorker,
    tool,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ApprovalInfo

ran: list[int] = []


@tool(approval="required")
async def wipe(table: int, password: str = "") -> int:
    ran.append(table)
    return table


@tool(approval="required", limits={"timeout_ms": 200})
async def wipe_soon(table: int) -> int:
    ran.append(table)
    return table


@tool
async def nest(ctx: ToolContext) -> Any:
    return await ctx.call_tool("wipe", 7)


@tool(name="wipe", approval="required")
async def wipe_there(table: int) -> int:
    ran.append(table)
    return table


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


async def pending(bridge: GRPCToolBridge) -> ApprovalInfo:
    async with asyncio.timeout(20):
        while True:
            async for approval in bridge.admin.approvals(include_arguments=True):
                return approval
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("of_worker", [False, True])
async def test_a_call_runs_once_its_arguments_are_granted(*, of_worker: bool) -> None:
    tools = [] if of_worker else [wipe]
    async with BridgeServer("127.0.0.1:0", tools=tools) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        if of_worker:
            async with ToolWorker(server.address, tools=[wipe_there]):
                await granted(bridge)
        else:
            await granted(bridge)


async def granted(bridge: GRPCToolBridge) -> None:
    call = asyncio.create_task(bridge.call_tool("wipe", 3))
    approval = await pending(bridge)
    assert not ran
    assert [status.state async for status in bridge.admin.calls()] == ["waiting"]
    with pytest.raises(ConflictError):
        await bridge.admin.grant(approval.approval_id, "0" * 64)
    assert not ran
    await bridge.admin.grant(approval.approval_id, approval.digest)
    assert await call == 3
    assert ran == [3]
    with pytest.raises(NotFoundError):
        await bridge.admin.grant(approval.approval_id, approval.digest)


async def test_a_denied_call_fails_with_the_reason_and_does_not_run() -> None:
    async with BridgeServer("127.0.0.1:0", tools=[wipe]) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        call = asyncio.create_task(bridge.call_tool("wipe", 3, password="hush-hush"))
        approval = await pending(bridge)
        assert "hush-hush" not in str(approval)
        await bridge.admin.deny(approval.approval_id, approval.digest, "not today")
        with pytest.raises(ToolExecutionError, match="not today"):
            await call
    assert not ran


async def test_a_call_that_nobody_decides_ends_at_its_deadline() -> None:
    async with BridgeServer("127.0.0.1:0", tools=[wipe_soon]) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        with pytest.raises((DeadlineExceededError, ToolExecutionError), match="an approval"):
            await bridge.call_tool("wipe_soon", 3)
        assert [approval async for approval in bridge.admin.approvals()] == []
    assert not ran


async def test_nested_calls_wait_too() -> None:
    async with BridgeServer("127.0.0.1:0", tools=[wipe, nest]) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        call = asyncio.create_task(bridge.call_tool("nest"))
        approval = await pending(bridge)
        await bridge.admin.grant(approval.approval_id, approval.digest)
        assert await call == 7


async def test_a_hub_without_an_approver_refuses() -> None:
    async with BridgeServer("127.0.0.1:0", tools=[wipe]) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        server.hub.wrappers.approver = None
        with pytest.raises(ToolExecutionError, match="needs approval"):
            await bridge.call_tool("wipe", 3)
    assert not ran
