"""Approvals where hubs share their tools: the hub of the session asks, and any hub lists and decides."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, ConflictError, GRPCToolBridge, Settings, ToolWorker, tool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ApprovalInfo
from support.nats_nodes import NatsNode, one_node
from support.patience import PATIENCE
from support.waiting import soon, until

ran: list[int] = []


@tool(approval="required")
async def wipe(table: int) -> int:
    ran.append(table)
    return table


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    with one_node() as started:
        yield started


# One token for all tells callers no more apart than none does.
@pytest.fixture(params=[None, "one-for-all"], ids=["no token", "one token"])
def token(request: pytest.FixtureRequest) -> str | None:
    found: str | None = request.param
    return found


@pytest.fixture
async def hubs(node: NatsNode, token: str | None) -> AsyncIterator[list[BridgeServer]]:
    ran.clear()
    store = f"{node.url}/a-{secrets.token_hex(4)}"
    secret = None if token is None else SecretStr(token)
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                BridgeServer(store=store, settings=Settings(hub_name=name, token=secret, shutdown_grace=0.0))
            )
            for name in ("north", "south")
        ]
        await until(lambda: all(_links(server) == 1 for server in servers))
        yield servers


def _links(server: BridgeServer) -> object:
    directory = server.hub.directory
    assert directory is not None
    return dict(directory.counts())["cluster_links"]


async def _waiting(bridge: GRPCToolBridge) -> ApprovalInfo:
    async with asyncio.timeout(PATIENCE):
        while True:
            found = [approval async for approval in bridge.admin.approvals(include_arguments=True)]
            if found:
                (approval,) = found
                return approval
            await asyncio.sleep(0.01)


async def test_a_call_is_asked_about_once_and_decided_at_any_hub(hubs: list[BridgeServer], token: str | None) -> None:
    north, south = hubs
    async with (
        ToolWorker(south.address, [wipe], token=token),
        GRPCToolBridge(north.address, token=token) as owner,
        GRPCToolBridge(south.address, token=token) as other,
    ):
        await until(lambda: bool(north.hub.registry.by_name(None)))
        await owner.initialize("orders")
        await other.initialize("else")
        for number, (decider, names_hub) in enumerate([(other, False), (other, True), (owner, False)]):
            call = asyncio.create_task(owner.call_tool("wipe", number))
            approval = await _waiting(decider)
            assert (approval.hub, approval.session_id, list(approval.args)) == ("north", "orders", [str(number)])
            hub = approval.hub if names_hub else None
            with pytest.raises(ConflictError):
                await decider.admin.grant(approval.approval_id, "0" * 64, hub=hub)
            assert number not in ran
            await decider.admin.grant(approval.approval_id, approval.digest, hub=hub)
            # The hub of the worker does not ask again.
            assert await soon(call) == number
    assert ran == [0, 1, 2]
