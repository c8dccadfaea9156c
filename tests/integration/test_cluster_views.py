"""What people see of hubs that are one bridge over NATS, asked at any of them."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import httpx
import nats
import pytest
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolWorker, tool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import HubInfo
from support.nats_nodes import NatsNode, one_node
from support.patience import PATIENCE


@tool
def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    with one_node() as started:
        yield started


class Hubs:
    def __init__(self, node: NatsNode, stack: AsyncExitStack) -> None:
        self.node = node
        self.cluster = f"t{secrets.token_hex(4)}"
        self._stack = stack

    async def start(self, name: str, *, http_address: str | None = None, secret: str | None = None) -> BridgeServer:
        settings = Settings(hub_name=name, cluster_secret=None if secret is None else SecretStr(secret))
        server = BridgeServer(store=f"{self.node.url}/{self.cluster}", settings=settings, http_address=http_address)
        return await self._stack.enter_async_context(server)

    async def bridge(self, server: BridgeServer, session_id: str) -> GRPCToolBridge:
        bridge = await self._stack.enter_async_context(GRPCToolBridge(server.address))
        await bridge.initialize(session_id)
        return bridge


@pytest.fixture
async def hubs(node: NatsNode) -> AsyncIterator[Hubs]:
    async with AsyncExitStack() as stack:
        yield Hubs(node, stack)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - what is looked at is another hub
            await asyncio.sleep(0.01)


async def _rows(bridge: GRPCToolBridge) -> dict[str, HubInfo]:
    return {row.name: row for row in await bridge.client.admin.hubs()}


async def _linked(bridge: GRPCToolBridge, name: str) -> HubInfo:
    """Waits until the hub of a bridge is linked to another, and returns its row."""

    async def is_linked() -> bool:
        rows = await _rows(bridge)
        return name in rows and rows[name].link == "linked"

    await _until(is_linked)
    return (await _rows(bridge))[name]


async def test_each_hub_lists_all_of_them_with_what_they_have(hubs: Hubs) -> None:
    north, south = await hubs.start("north"), await hubs.start("south")
    here, there = await hubs.bridge(north, "of-north"), await hubs.bridge(south, "of-south")
    row = await _linked(here, "south")
    assert (row.state, row.address, row.is_self) == ("serving", south.address, False)
    assert (await _linked(there, "north")).address == north.address
    assert (await _rows(here))["north"].is_self
    for bridge in (here, there):
        assert {found.session_id: found.hub async for found in bridge.client.admin.sessions()} == {
            "of-north": "north",
            "of-south": "south",
        }


async def test_workers_and_tools_are_listed_with_their_hub(hubs: Hubs) -> None:
    north, south = await hubs.start("north"), await hubs.start("south")
    bridge = await hubs.bridge(north, "s")
    async with ToolWorker(south.address, [add], worker_id="w1"):
        await _linked(bridge, "south")

        async def is_listed() -> bool:
            return [(found.worker_id, found.hub) async for found in bridge.client.admin.workers()] == [("w1", "south")]

        await _until(is_listed)
        assert [(found.hub, found.worker_id) async for found in bridge.client.admin.offers("add")] == [("south", "w1")]


async def test_hubs_with_different_secrets_say_so(hubs: Hubs) -> None:
    north = await hubs.start("north", secret="the secret of the one")
    await hubs.start("south", secret="the secret of the other")
    bridge = await hubs.bridge(north, "s")

    async def is_refused() -> bool:
        rows = await _rows(bridge)
        return "south" in rows and rows["south"].link == "refused"

    await _until(is_refused)
    assert "cluster_secret" in (await _rows(bridge))["south"].link_error


async def test_a_hub_counts_what_it_does_for_the_cluster(hubs: Hubs) -> None:
    north, south = await hubs.start("north", http_address="127.0.0.1:0"), await hubs.start("south")
    owner = await hubs.bridge(south, "s")
    visitor = await hubs.bridge(north, "s")
    await owner.session_context.set_variable("x", 1)
    assert await visitor.session_context.get_variable("x") == 1
    figures: dict[str, str] = {}

    async def are_served() -> bool:
        async with httpx.AsyncClient(base_url=f"http://{north.http_address}") as client:
            text = (await client.get("/metrics")).text
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            figures[name] = value
        return figures['tool_bridge_cluster_hubs{state="serving"}'] == "2.0"

    # A hub that a busy machine keeps from its lease is cut off for that moment.
    await _until(are_served)
    assert float(figures["tool_bridge_cluster_links"]) == 1
    assert float(figures["tool_bridge_cluster_forwarded_requests_total"]) >= 2
    assert float(figures['tool_bridge_cluster_frames_total{direction="sent"}']) > 0


async def test_tools_for_nats_micro_see_every_hub(hubs: Hubs) -> None:
    await hubs.start("north")
    await hubs.start("south")
    client = await nats.connect(hubs.node.url)
    try:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        await client.publish(f"$SRV.INFO.{hubs.cluster}", b"", reply=inbox)
        found = [json.loads((await answers.next_msg(timeout=30)).data) for _ in range(2)]
    finally:
        await client.close()
    assert {answer["name"] for answer in found} == {hubs.cluster}
    assert {answer["metadata"]["hub"] for answer in found} == {"north", "south"}
