"""Two hubs linked over a real NATS server: calls, streams, and what happens when messages or servers are lost."""

import asyncio
from collections.abc import Iterator

import pytest

from grpc_tool_bridge.cluster.peer_calls import PeerLostError
from grpc_tool_bridge.errors import NotFoundError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.nats_links import linked_hubs
from support.nats_nodes import NatsNode, one_node
from support.waiting import soon, until


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    with one_node() as node:
        yield node


def request(tool: str, **more: str) -> bytes:
    return pb.ToolCallRequest(tool_id=tool, **more).SerializeToString()


async def test_calls_and_their_errors_pass_as_they_are(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, _):
        link = a.peers.get("b")
        answers = await soon(
            asyncio.gather(*(link.call("ExecuteTool", request("t", request_id=str(n))) for n in range(100)))
        )
        assert [pb.ToolCallResponse.FromString(each).request_id for each in answers] == [str(n) for n in range(100)]
        with pytest.raises(NotFoundError, match="no such tool"):
            await soon(link.call("ExecuteTool", request("fail")))


async def test_the_links_are_lost_with_the_server_and_the_next_ones_work(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, b):
        link = a.peers.get("b")
        waiting = asyncio.create_task(link.call("ExecuteTool", request("wait")))
        await until(lambda: b.hub.started)
        node.kill()
        with pytest.raises(PeerLostError) as caught:
            await soon(waiting)
        assert caught.value.began
        node.start()
        await node.ready()
        assert await soon(link.call("ExecuteTool", request("t"), timeout=30))
