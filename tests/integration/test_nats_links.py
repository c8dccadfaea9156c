"""Hubs linked over real NATS servers: what happens when messages, servers or hubs are lost, with calls in flight."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from grpc_tool_bridge.client.bridge import ToolBridge
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.cluster.links.endpoint import HubName, PeerEndpoint
from grpc_tool_bridge.cluster.links.peer_calls import PeerLostError
from grpc_tool_bridge.cluster.links.peers import PeerLink
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import ToolExecutionError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.transport.link_stub import LinkTransport
from support.nats_links import LinkedHub, linked_hubs
from support.nats_nodes import NatsNode, one_node, three_nodes
from support.waiting import soon, until


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    with one_node() as node:
        yield node


def request(tool: str) -> bytes:
    return pb.ToolCallRequest(tool_id=tool).SerializeToString()


async def lost_calls(link: PeerLink, hub: LinkedHub, count: int) -> "list[asyncio.Task[object]]":
    """Makes calls that wait at the other hub."""
    before = len(hub.hub.started)
    calls = [asyncio.create_task(link.call("ExecuteTool", request("wait"))) for _ in range(count)]
    await until(lambda: len(hub.hub.started) == before + count)
    return [asyncio.ensure_future(call) for call in calls]


def connected(hub: LinkedHub) -> str:
    """The host and port of the node that a hub is connected to."""
    url = hub.bus.nc.connected_url
    assert url is not None
    return str(url.netloc)


async def all_lost(calls: "list[asyncio.Task[object]]") -> None:
    """Each call has ended with one typed error that says that it may have acted."""
    for outcome in await soon(asyncio.gather(*calls, return_exceptions=True)):
        assert isinstance(outcome, PeerLostError)
        assert outcome.began


async def test_a_server_that_is_killed_ends_each_call_with_one_error_and_the_next_links_work() -> None:
    with one_node() as node:
        async with linked_hubs(node.url) as (a, b):
            link, back = await a.linked("b"), await b.linked("a")
            calls = await lost_calls(link, b, 20)
            node.kill()
            await all_lost(calls)
            await until(lambda: len(b.hub.ended) == 20)
            node.start()
            await node.ready()
            for each in (link, back):
                assert await soon(each.call("ExecuteTool", request("t"), timeout=60))
            assert len(a.mailbox) == len(b.mailbox) == 2


async def test_the_node_that_both_are_connected_to_is_killed_and_they_link_over_another() -> None:
    with three_nodes() as nodes:
        async with linked_hubs(nodes.url) as (a, b):
            link = await a.linked("b")
            calls = await lost_calls(link, b, 5)
            urls = {connected(hub) for hub in (a, b)}
            for node in nodes:
                if node.url.removeprefix("nats://") in urls:
                    node.kill()
                    break
            await all_lost(calls)
            assert await soon(link.call("ExecuteTool", request("t"), timeout=60))


async def test_a_node_that_one_of_them_is_connected_to_is_lost_and_the_other_hub_learns_of_it() -> None:
    with three_nodes() as nodes:
        async with linked_hubs([nodes[0].url + "," + nodes[1].url.removeprefix("nats://"), nodes[2].url]) as (a, b):
            link = await b.linked("a")
            calls = await lost_calls(link, a, 5)
            gone = connected(a)
            next(node for node in nodes if node.url.endswith(gone)).kill()
            # Only "a" has lost its connection; it tells "b" once it has another.
            await all_lost(calls)
            assert await soon(link.call("ExecuteTool", request("t"), timeout=60))


async def test_a_message_that_is_lost_ends_the_link_and_the_next_one_works(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, b):
        link = await a.linked("b")
        calls = await lost_calls(link, b, 3)
        lose_next(a)
        lost = asyncio.create_task(link.call("ExecuteTool", request("t")))
        await until(lambda: a.bus.nc.post.__name__ != "lossy")
        other = asyncio.create_task(link.call("ExecuteTool", request("t")))
        await all_lost([*calls, lost, other])
        assert b.mailbox.counts["gaps"] == 1
        assert await soon(link.call("ExecuteTool", request("t"), timeout=60))


def lose_next(hub: LinkedHub) -> None:
    """Loses the next message that a hub sends, as NATS may."""
    nc = hub.bus.nc
    post = nc.post

    def lossy(subject: bytes, data: bytes) -> None:
        nc.post = post  # type: ignore[method-assign]

    nc.post = lossy  # type: ignore[method-assign]


async def test_a_last_message_that_is_lost_is_noticed_though_nothing_follows(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, b):
        link = await a.linked("b")
        lose_next(a)
        lost = asyncio.create_task(link.call("ExecuteTool", request("t")))
        with pytest.raises(PeerLostError, match=r"the other hub was not heard|messages did not arrive"):
            await soon(lost)
        assert not b.hub.started
        assert await soon(link.call("ExecuteTool", request("t"), timeout=60))


async def test_who_publishes_at_a_link_without_its_key_can_neither_call_nor_disturb(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, b):
        link = await a.linked("b")
        seen: list[tuple[str, bytes]] = []
        spy = a.bus.nc

        async def listen(message: object) -> None:
            seen.append((message.subject, message.data))  # type: ignore[attr-defined]

        await spy.subscribe(a.bus.names.link("b", "*"), cb=listen)
        await spy.flush()
        assert await soon(link.call("ExecuteTool", request("t")))
        await until(lambda: seen)
        subject, message = seen[-1]
        await spy.publish(subject, message)
        await spy.publish(subject, message[:-1] + bytes([message[-1] ^ 1]))
        await spy.publish(subject, b"x" * 1000)
        await until(lambda: b.mailbox.counts["forged"] == 2)
        assert b.mailbox.counts == {"forged": 2, "repeated": 1}
        assert b.hub.started == ["t"]
        assert await soon(link.call("ExecuteTool", request("t")))


async def test_a_hub_that_stops_reading_stops_the_sender_and_nothing_is_lost(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, b):
        link = await a.linked("b")
        (stream,) = (each for each in b.mailbox._streams.values() if not each.speaks_first)
        stream.pause()
        payload = pb.ToolCallRequest(tool_id="t", request_id="x" * 100_000).SerializeToString()
        calls = [asyncio.create_task(link.call("ExecuteTool", payload, timeout=60)) for _ in range(100)]
        ours = next(each for each in a.mailbox._streams.values() if each.speaks_first)
        await until(lambda: not ours.is_writable)
        assert ours._unacked_bytes < 4 * 1024 * 1024
        assert not b.hub.started
        stream.resume()
        assert len(await soon(asyncio.gather(*calls))) == 100


async def test_messages_of_64_kib_carry_all_calls() -> None:
    with one_node("max_payload: 64KB") as node:
        async with linked_hubs(node.url) as (a, b):
            link = await a.linked("b")
            large = pb.ToolCallRequest(tool_id="large3000000", request_id="x" * 3_000_000).SerializeToString()
            answers = await soon(asyncio.gather(*(link.call("ExecuteTool", large) for _ in range(4))))
            assert all(len(answer) > 3_000_000 for answer in answers)
            got = [each async for each in link.stream("StreamTool", pb.ToolStreamRequest().SerializeToString())]
            assert len(got) == 3
            assert not a.mailbox.counts
            assert not b.mailbox.counts


# ------------------------------------------------------------------------------ a whole hub and a bridge over it


class Tools:
    """Tools of a hub; see test_frame_streams.py."""

    def __init__(self) -> None:
        self.started, self.cancelled = asyncio.Event(), asyncio.Event()

    async def add(self, a: int, b: int) -> int:
        return a + b

    async def fail(self) -> None:
        raise LookupError("it")

    async def count(self, until: int) -> AsyncIterator[str]:
        for number in range(until):
            yield str(number % 10) * 50_000

    async def wait(self) -> None:
        self.started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled.set()


@contextlib.asynccontextmanager
async def bridge_over_nats(node: NatsNode, tools: Tools) -> AsyncIterator[tuple[ToolBridge, LinkedHub]]:
    hub = Hub(Settings(), [tools.add, tools.fail, tools.count, tools.wait])
    async with linked_hubs(node.url, [Hub(Settings(), []), hub]) as (a, _):
        assert a.peers._key is not None
        endpoint = PeerEndpoint(a.mailbox, a.peers._key, HubName("a", "client"), HubName("b", "hub-b"))
        # Its dial takes the place of that of hub "a".
        await soon(a.peers.get("b").aclose("the test has its place"))  # type: ignore[union-attr]
        async with ToolBridge(ToolBridgeClient(LinkTransport(endpoint))) as bridge:
            await soon(bridge.initialize())
            yield bridge, a


async def test_a_whole_bridge_runs_over_it(node: NatsNode) -> None:
    tools = Tools()
    async with bridge_over_nats(node, tools) as (bridge, hub):
        added = await soon(asyncio.gather(*(bridge.tools["add"](n, n) for n in range(100))))
        assert added == [2 * n for n in range(100)]
        with pytest.raises(ToolExecutionError, match="LookupError: it"):
            await soon(bridge.tools["fail"]())
        async with asyncio.timeout(60), contextlib.aclosing(bridge.tools["count"].stream(50)) as values:
            assert [value[:1] async for value in values] == [str(n % 10) for n in range(50)]
        waiting = asyncio.create_task(bridge.tools["wait"]())
        await soon(tools.started.wait())
        waiting.cancel()
        await soon(tools.cancelled.wait())
        await soon(bridge.session_context.set_variable("v", 1))
        # The session is resumed over the next link.
        (stream,) = (each for each in hub.mailbox._streams.values() if each.speaks_first)
        stream.lose(ConnectionResetError("on purpose"))
        await until(lambda: any(each.speaks_first for each in hub.mailbox._streams.values()))
        assert await soon(bridge.session_context.get_variable("v")) == 1
        assert await soon(bridge.tools["add"](1, 2)) == 3
