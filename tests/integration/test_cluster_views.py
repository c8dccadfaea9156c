"""What hubs over NATS tell of one another: their lists, their metrics, and NATS micro."""

import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import nats
import pytest
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolWorker, tool
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.nats_nodes import NatsNode, one_node
from support.patience import PATIENCE
from support.waiting import until


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    with one_node() as started:
        yield started


@pytest.fixture
def cluster_name() -> str:
    return f"v-{secrets.token_hex(4)}"


async def _start(stack: AsyncExitStack, url: str, name: str, secret: str | None = None) -> BridgeServer:
    settings = Settings(hub_name=name, cluster_secret=None if secret is None else SecretStr(secret), shutdown_grace=0.0)
    return await stack.enter_async_context(BridgeServer(store=url, settings=settings))


@pytest.fixture
async def hubs(node: NatsNode, cluster_name: str) -> AsyncIterator[list[BridgeServer]]:
    async with AsyncExitStack() as stack:
        servers = [await _start(stack, f"{node.url}/{cluster_name}", name) for name in ("north", "south")]
        await until(lambda: all(_counts(server)["cluster_links"] == 1 for server in servers))
        yield servers


def _counts(server: BridgeServer) -> dict[str, object]:
    directory = server.hub.directory
    assert directory is not None
    return dict(directory.counts())


def _frames_sent(server: BridgeServer) -> int:
    sent = _counts(server)["cluster_frames_sent"]
    assert isinstance(sent, int)
    return sent


async def test_each_hub_lists_both_and_says_whose_a_session_is(hubs: list[BridgeServer]) -> None:
    north, south = hubs
    async with GRPCToolBridge(north.address) as owner, GRPCToolBridge(south.address) as other:
        await owner.initialize("orders")
        assert [(hub.name, hub.state, hub.link) for hub in await other.admin.hubs()] == [
            ("north", "serving", "linked"),
            ("south", "serving", ""),
        ]
        assert [(row.session_id, row.hub) async for row in other.admin.sessions()] == [("orders", "north")]
        found = await other.client.call("GetSessionInfo", pb.GetSessionInfoRequest(session_id="orders"))
        assert found.hub == "north"


async def test_what_hubs_do_for_one_another_is_counted(hubs: list[BridgeServer]) -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    north, south = hubs
    async with ToolWorker(south.address, [add]), GRPCToolBridge(north.address) as owner:
        await until(lambda: bool(north.hub.registry.by_name(None)))
        tools = await owner.initialize("orders")
        assert await tools["add"](a=1, b=2) == 3
        async with GRPCToolBridge(south.address) as other:
            await other.initialize("orders")
            await other.session_context.set_variable("threshold", 0.95)
    counts = _counts(north), _counts(south)
    assert (counts[0]["cluster_peer_calls_sent"], counts[1]["cluster_peer_calls_run"]) == (1, 1)
    forwarded = counts[1]["cluster_forwarded_requests"]
    assert isinstance(forwarded, int)
    assert forwarded >= 2
    assert {count["cluster_frames_refused"] for count in counts} == {0}
    assert all(count["cluster_frames_sent"] and count["cluster_frames_received"] for count in counts)


async def test_a_hub_that_begins_anew_goes_on_counting_and_is_listed_once(hubs: list[BridgeServer]) -> None:
    north, south = hubs
    cluster = south._cluster
    before = _frames_sent(south)
    # As if another hub had closed the lease.
    await cluster.store.lease.close("a test closes it")
    await cluster.store.lease.begin()
    after = _frames_sent(south)
    assert after >= before
    await until(lambda: _counts(north)["cluster_links"] == _counts(south)["cluster_links"] == 1)
    await until(lambda: _frames_sent(south) > after)
    async with GRPCToolBridge(north.address) as bridge:
        assert [hub.name for hub in await bridge.admin.hubs()] == ["north", "south"]


async def test_a_hub_with_another_secret_is_listed_as_refused(node: NatsNode, cluster_name: str) -> None:
    async with AsyncExitStack() as stack:
        url = f"{node.url}/{cluster_name}"
        north = await _start(stack, url, "north", "a secret of the hubs")
        await _start(stack, url, "odd", "another secret than theirs")

        def state() -> tuple[str, str]:
            directory = north.hub.directory
            assert directory is not None
            return next(((row.link, row.link_error) for row in directory.hubs() if row.name == "odd"), ("", ""))

        await until(lambda: state() == ("refused", "it has another cluster_secret, or another store, than this hub"))


async def test_nats_micro_sees_the_hubs(node: NatsNode, cluster_name: str, hubs: list[BridgeServer]) -> None:
    client = await nats.connect(node.url)
    try:
        seen: set[str] = set()
        answers = await client.subscribe(inbox := client.new_inbox())
        await client.publish(f"$SRV.PING.{cluster_name}", b"", reply=inbox)
        while len(seen) < len(hubs):
            answer = await answers.next_msg(timeout=PATIENCE)
            seen.add(json.loads(answer.data)["metadata"]["hub"])
        assert seen == {"north", "south"}
    finally:
        await client.close()
