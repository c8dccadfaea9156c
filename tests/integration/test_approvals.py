"""Calls of tools that need approval, from the call to the decision and its answer."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import (
    AlreadyExistsError,
    BridgeServer,
    ConflictError,
    DeadlineExceededError,
    GRPCToolBridge,
    NotFoundError,
    Settings,
    ToolBridgeError,
    ToolContext,
    ToolExecutionError,
    ToolWorker,
    tool,
)
from grpc_tool_bridge.auth.approvals import pending as pending_module
from grpc_tool_bridge.errors import AccessError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ApprovalInfo, DecideApprovalRequest
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext
from support.patience import PATIENCE
from support.waiting import soon
from trust.hubs import server_with, told_apart

ran: list[int] = []


@tool(approval="required")
async def wipe(table: int, password: str = "") -> int:
    ran.append(table)
    return table


@tool(approval="required", limits={"timeout_ms": 200})
async def wipe_soon(table: int) -> int:
    ran.append(table)
    return table


@tool(approval="required")
async def wipes(most: int) -> Any:
    for number in range(most):
        ran.append(number)
        yield number


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


# ------------------------------------------------------------------------------------------------ what else may happen


async def all_pending(bridge: GRPCToolBridge, count: int) -> list[ApprovalInfo]:
    async with asyncio.timeout(PATIENCE):
        while True:
            found = [approval async for approval in bridge.admin.approvals(include_arguments=True)]
            if len(found) == count:
                return found
            await asyncio.sleep(0.01)


async def test_each_call_of_a_batch_and_a_stream_waits_for_a_decision_of_its_own() -> None:
    async with BridgeServer("127.0.0.1:0", tools=[wipe, wipes]) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        batch = asyncio.create_task(
            bridge.execute_batch([{"tool_id": "wipe", "args": [number]} for number in range(2)])
        )
        stream = asyncio.create_task(read(bridge.stream_tool("wipes", 2)))
        waiting = await all_pending(bridge, 3)
        assert len({approval.digest for approval in waiting}) == 3
        # The one's decision is none of another's.
        with pytest.raises(ConflictError, match="not that of the call that waits"):
            await bridge.admin.grant(waiting[0].approval_id, waiting[1].digest)
        for approval in waiting:
            if list(approval.args) == ["1"]:
                await bridge.admin.deny(approval.approval_id, approval.digest, "not this one")
            else:
                await bridge.admin.grant(approval.approval_id, approval.digest)
        first, second = await soon(batch)
        assert first == 0
        assert "not this one" in str(second)
        assert await soon(stream) == [0, 1]
    assert sorted(ran) == [0, 0, 1]


async def read(stream: Any) -> list[int]:
    return [value async for value in stream]


async def test_of_decisions_that_come_at_once_one_holds() -> None:
    async with BridgeServer("127.0.0.1:0", tools=[wipe]) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        call = asyncio.create_task(bridge.call_tool("wipe", 3))
        approval = await pending(bridge)
        decisions = [bridge.admin.grant(approval.approval_id, approval.digest) for _ in range(3)]
        decisions += [bridge.admin.deny(approval.approval_id, approval.digest) for _ in range(3)]
        outcomes = await asyncio.gather(*decisions, return_exceptions=True)
        assert [outcome for outcome in outcomes if outcome is None] == [None]
        assert all(isinstance(outcome, ConflictError | NotFoundError) for outcome in outcomes if outcome is not None)
        assert await soon(call) == 3
    assert ran == [3]


async def test_a_call_that_is_repeated_while_it_waits_is_asked_about_once() -> None:
    async with BridgeServer("127.0.0.1:0", tools=[wipe]) as server, GRPCToolBridge(server.address) as bridge:
        tools = await bridge.initialize()
        keyed = tools["wipe"].with_options(idempotency_key="once")
        calls = [asyncio.create_task(keyed(5)) for _ in range(3)]
        (approval,) = await all_pending(bridge, 1)
        await bridge.admin.grant(approval.approval_id, approval.digest)
        assert await soon(asyncio.gather(*calls)) == [5, 5, 5]
        assert await keyed(5) == 5
    assert ran == [5]


@pytest.mark.parametrize("end", ["cancel", "session", "hub"])
async def test_a_call_that_ends_while_it_waits_is_gone_and_has_not_run(end: str) -> None:
    async with AsyncExitStack() as stack:
        server = BridgeServer("127.0.0.1:0", tools=[wipe], settings=Settings(shutdown_grace=0.0))
        await stack.enter_async_context(server)
        admin = await stack.enter_async_context(GRPCToolBridge(server.address))
        bridge = await stack.enter_async_context(GRPCToolBridge(server.address))
        await admin.initialize("other")
        await bridge.initialize("mine")
        call = asyncio.create_task(bridge.call_tool("wipe", 3))
        approval = await pending(admin)
        if end == "cancel":
            call.cancel()
        elif end == "session":
            await bridge.client.cleanup_session(force=True)
        else:
            await server.stop()
        (outcome,) = await soon(asyncio.gather(call, return_exceptions=True))
        assert isinstance(outcome, ToolBridgeError | asyncio.CancelledError)
        if end != "hub":
            await all_pending(admin, 0)
            with pytest.raises(NotFoundError):
                await admin.admin.grant(approval.approval_id, approval.digest)
    assert not ran


async def test_calls_that_would_be_too_many_or_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_module, "MAX_PENDING", 2)
    async with BridgeServer("127.0.0.1:0", tools=[wipe]) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        with pytest.raises(ToolExecutionError, match="can be shown to whoever approves"):
            await bridge.call_tool("wipe", 3, password="x" * 100_000)
        calls = [asyncio.create_task(bridge.call_tool("wipe", number)) for number in range(2)]
        waiting = await all_pending(bridge, 2)
        with pytest.raises(ToolExecutionError, match="as many as the hub keeps"):
            await bridge.call_tool("wipe", 9)
        for approval in waiting:
            await bridge.admin.grant(approval.approval_id, approval.digest)
        assert await soon(asyncio.gather(*calls)) == [0, 1]


async def test_nobody_approves_a_call_of_its_own_and_only_who_has_the_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_apart(monkeypatch, {"ann": {"ops"}, "bob": {"ops"}, "eve": set()})
    policy = """
[[rules]]
name = "all"
allow = ["open", "call"]
principals = ["*"]
resources = ["*"]

[[rules]]
name = "on duty"
allow = ["approve"]
groups = ["ops"]
resources = ["wipe"]
"""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(server_with(policy, tmp_path / "policy.toml", [wipe, wipe_soon]))
        ann, bob, eve = [
            await stack.enter_async_context(GRPCToolBridge(server.address, token=name))
            for name in ("ann", "bob", "eve")
        ]
        for bridge in (ann, bob, eve):
            await bridge.initialize()
        call = asyncio.create_task(ann.call_tool("wipe", 4))
        (approval,) = await all_pending(bob, 1)
        assert approval.caller == "ann"
        assert [each async for each in eve.admin.approvals()] == []
        for other in (ann, eve):
            with pytest.raises(AccessError):
                await other.admin.grant(approval.approval_id, approval.digest)
        assert not ran
        await bob.admin.grant(approval.approval_id, approval.digest)
        assert await soon(call) == 4
        # Who makes it may say no.
        call = asyncio.create_task(ann.call_tool("wipe", 5))
        (approval,) = await all_pending(bob, 1)
        await ann.admin.deny(approval.approval_id, approval.digest)
        with pytest.raises(ToolExecutionError, match="denied"):
            await soon(call)
    assert ran == [4]


async def test_a_hub_that_tells_callers_apart_takes_no_decision_of_another_hub_that_names_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_apart(monkeypatch, {"ann": set()})
    policy = '[[rules]]\nname = "all"\nallow = ["open", "call", "approve"]\nprincipals = ["*"]\nresources = ["*"]\n'
    async with (
        server_with(policy, tmp_path / "policy.toml", [wipe]) as server,
        GRPCToolBridge(server.address, token="ann") as ann,
    ):
        await ann.initialize()
        call = asyncio.create_task(ann.call_tool("wipe", 4))
        (approval,) = await all_pending(ann, 1)
        request = DecideApprovalRequest(approval_id=approval.approval_id, digest=approval.digest, grant=True)
        context = RequestContext(principal=Principal("north", method="hub"))
        answer = await server._served.decide_approval(request, context)
        assert not answer.success
        assert "another hub cannot decide for itself" in answer.error.message
        await ann.admin.deny(approval.approval_id, approval.digest)
        with pytest.raises(ToolExecutionError, match="denied"):
            await soon(call)
    assert not ran


@tool(name="wipe")
async def wipe_unmarked(table: int) -> int:
    ran.append(-table)
    return -table


async def test_a_worker_cannot_take_the_mark_off_a_name_that_has_it() -> None:
    async with BridgeServer("127.0.0.1:0") as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        async with ToolWorker(server.address, tools=[wipe_there]):
            with pytest.raises(AlreadyExistsError, match="another schema or version"):
                async with ToolWorker(server.address, tools=[wipe_unmarked]):
                    pass
            await granted(bridge)


async def test_a_waiting_call_does_not_go_to_a_worker_that_comes_without_the_mark() -> None:
    async with BridgeServer("127.0.0.1:0") as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize()
        async with ToolWorker(server.address, tools=[wipe_there], worker_id="w"):
            call = asyncio.create_task(bridge.call_tool("wipe", 3))
            approval = await pending(bridge)
        async with ToolWorker(server.address, tools=[wipe_unmarked], worker_id="w"):
            await bridge.admin.grant(approval.approval_id, approval.digest)
            with pytest.raises(ToolExecutionError, match="no worker runs wipe now"):
                await soon(call)
    assert not ran
