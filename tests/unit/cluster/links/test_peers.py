"""The links between hubs, as members come and go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from grpc_tool_bridge.cluster.links.endpoint import HubName
from grpc_tool_bridge.cluster.links.peer_calls import PeerCall, PeerLostError
from grpc_tool_bridge.cluster.links.peers import HUB_FEATURE, PeerLink, Peers
from grpc_tool_bridge.cluster.members.lease import Lease
from grpc_tool_bridge.cluster.members.leases import Leases
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import DeadlineExceededError, NotFoundError, ResourceExhaustedError
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.envelopes import call_prefix
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.outbox import INITIAL_CREDIT
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.buses import open_bus
from support.hubs import SomeHub
from support.nats_links import Book, LinkedHub, linked_hubs
from support.nats_nodes import NatsNode
from support.waiting import soon, until


def request(tool: str, request_id: str = "") -> bytes:
    return pb.ToolCallRequest(tool_id=tool, request_id=request_id).SerializeToString()


def streamed(tool: str) -> bytes:
    return pb.ToolStreamRequest(tool_id=tool).SerializeToString()


async def taken_all(stream: AsyncIterator[Any], into: list[Any]) -> None:
    async for each in stream:
        into.append(each)  # noqa: PERF401 - a comprehension would lose what came before the error


async def test_hubs_that_come_are_dialled_and_told_of(node: NatsNode) -> None:
    async with linked_hubs(node.url, [SomeHub(), SomeHub(), SomeHub()]) as (a, b, c):
        assert {link.hub.name for link in a.peers.links()} == {"hub-b", "hub-c"}
        assert a.peers.get("a") is None
        seen: list[PeerLink] = []
        b.peers.on_linked(seen.append)
        assert {link.hub.incarnation for link in seen} == {"a", "c"}
        d = LinkedHub("d", SomeHub(), a.book)
        await d.start(node.url, a.bus.names.cluster)
        a.book.join("d")
        await d.linked("a")
        await d.linked("b")
        await until(lambda: len(seen) == 3)
        assert repr(seen[-1]) == "<PeerLink to hub hub-d d>"
        assert seen[-1].dialer.linked_over == "NATS"
        assert all(HUB_FEATURE in link.features for link in b.serving._links)
        await d.stop()
        assert c.peers.get("d") is not None


async def test_calls_pass_their_answers_and_whole_errors(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, b):
        link = await a.linked("b")
        answer = await soon(link.call("ExecuteTool", request("t", request_id="7"), timeout=5))
        assert pb.ToolCallResponse.FromString(answer).request_id == "7"
        with pytest.raises(NotFoundError, match="no such tool"):
            await soon(link.call("ExecuteTool", request("fail")))
        large = await soon(link.call("ExecuteTool", request("large3000000")))
        assert len(large) > 3_000_000
        assert b.hub.deadlines[0] is not None
        assert b.hub.deadlines[1] is None
        with pytest.raises(ResourceExhaustedError):
            await soon(link.call("ExecuteTool", request("t", request_id="x" * (65 * 1024 * 1024))))


async def test_a_call_that_is_cancelled_is_cancelled_at_the_other_hub(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, b):
        link = await a.linked("b")
        waiting = asyncio.create_task(link.call("ExecuteTool", request("wait")))
        await until(lambda: b.hub.started == ["wait"])
        waiting.cancel()
        await until(lambda: b.hub.ended == ["wait"])


async def test_a_call_that_takes_too_long_ends_though_the_other_hub_says_nothing(
    node: NatsNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_tool_bridge.cluster.links.peer_calls.GRACE_SECONDS", 0.0)
    async with linked_hubs(node.url) as (a, b):
        link = await a.linked("b")
        with pytest.raises(DeadlineExceededError):
            await soon(link.call("ExecuteTool", request("wait"), timeout=0.1))
        await until(lambda: b.hub.ended == ["wait"])


async def test_streams_pass_on_what_is_taken_and_end_when_they_are_left(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, b):
        link = await a.linked("b")
        chunks = [pb.ToolStreamChunk.FromString(bytes(each)) async for each in link.stream("StreamTool", streamed("t"))]
        assert [chunk.sequence for chunk in chunks] == [0, 1, 2]
        got: list[Any] = []
        with pytest.raises(NotFoundError, match="no such tool"):
            await soon(taken_all(link.stream("StreamTool", streamed("fail"), timeout=5), got))
        assert len(got) == 3
        async with aclosing(link.stream("StreamTool", streamed("endless"))) as endless:
            for _ in range(100):
                await soon(anext(endless))
            # What was not taken has a bound: the credit, and what waits for it at the other hub.
            assert b.hub.sent < 100 + 3 * INITIAL_CREDIT // 50_000
        await until(lambda: b.hub.ended[-1:] == ["endless"])


class Telling(SomeHub):
    """A hub whose tool reports, and asks its caller."""

    async def execute_tool(self, request: pb.ToolCallRequest, context: Any) -> pb.ToolCallResponse:
        if request.tool_id != "tell":
            return await super().execute_tool(request, context)
        link = context.peer
        link._link.tell(context, pb.LinkEvent(progress=pb.Progress(current=0.5)))
        link.tell(context, pb.LogRecord(message="said"))
        answered = asyncio.get_running_loop().create_future()
        context.asker.ask(pb.Ask(message="which?"), answered.set_result)
        answer = await answered
        return pb.ToolCallResponse(success=True, request_id=answer.action)


async def test_what_a_tool_reports_and_asks_passes_both_ways(node: NatsNode) -> None:
    async with linked_hubs(node.url, [SomeHub(), Telling()]) as (a, _):
        link = await a.linked("b")
        events: list[pb.LinkEvent] = []
        answer = await soon(
            link.call(
                "ExecuteTool",
                request("tell"),
                on_event=events.append,
                on_ask=lambda ask, give: give(pb.Answer(id=ask.id, action="accept")),
            )
        )
        assert pb.ToolCallResponse.FromString(answer).request_id == "accept"
        assert [event.WhichOneof("kind") for event in events] == ["progress", "log"]


async def test_the_hub_that_was_dialled_calls_back_over_the_same_link(node: NatsNode) -> None:
    tools = SomeHub()
    async with linked_hubs(node.url, serves=tools) as (a, b):
        await a.linked("b")
        (accepted,) = b.serving._links
        assert accepted.principal is not None
        assert accepted.principal.name == "hub:hub-a"
        call = LinkCall(call_prefix("ExecuteTool"))
        accepted.send(call, request("t", request_id="9"))
        assert pb.ToolCallResponse.FromString(await soon(call.answer())).request_id == "9"
        assert tools.started == ["t"]


class Registering(SomeHub):
    """A hub at which tools are registered."""

    async def register_tools(self, request: pb.RegisterToolsRequest) -> pb.RegisterToolsResponse:
        return pb.RegisterToolsResponse(tool_ids={request.worker_id: "registered"})

    async def unregister_tools(self, request: pb.UnregisterToolsRequest) -> pb.StatusResponse:
        return pb.StatusResponse(success=True, message=request.worker_id)


async def test_tools_are_registered_at_the_other_hub(node: NatsNode) -> None:
    async with linked_hubs(node.url, [SomeHub(), Registering()]) as (a, _):
        link = await a.linked("b")
        registered = await soon(link.register(pb.RegisterToolsRequest(worker_id="hub:a")))
        assert dict(registered.tool_ids) == {"hub:a": "registered"}
        assert (await soon(link.unregister(pb.UnregisterToolsRequest(worker_id="hub:a")))).message == "hub:a"


async def test_a_closed_lease_ends_the_links_and_says_why_and_the_hub_is_not_let_in_again(node: NatsNode) -> None:
    book = Book("a", "b")
    a, b = LinkedHub("a", SomeHub(), book), LinkedHub("b", SomeHub(), Book("a", "b"))
    for each in (a, b):
        await each.start(node.url, "closing")
    link, back = await a.linked("b"), await b.linked("a")
    waiting = asyncio.create_task(link.call("ExecuteTool", request("wait")))
    await until(lambda: b.hub.started)
    book.close("b")
    with pytest.raises(PeerLostError, match="hub hub-b is gone: the test closed it") as caught:
        await soon(waiting)
    assert caught.value.began
    assert a.peers.get("b") is None
    with pytest.raises(PeerLostError, match="hub-b is gone") as caught:
        await soon(link.call("ExecuteTool", request("t")))
    assert not caught.value.began
    # What it dials is refused.
    await until(lambda: not back.is_linked)
    await until(lambda: "its lease is closed" in str(back.dialer._failure))
    for each in (a, b):
        await each.stop()


async def test_a_hub_s_lease_brings_its_links_and_ends_them(node: NatsNode) -> None:
    async with AsyncExitStack() as stack:
        hubs = []
        for name in ("one", "two"):
            bus = await open_bus(node.url, "leased")
            stack.push_async_callback(bus.aclose)
            lease = Lease(bus)
            book = Leases(bus, lease)
            record = await lease.begin(name=name)
            await book.open()
            stack.push_async_callback(book.aclose)
            stack.push_async_callback(lease.close)
            peers = Peers(bus, book, serve=LinkServer(SomeHub(), Settings()).serve)
            await peers.begin(HubName(record.incarnation, name))
            stack.push_async_callback(peers.end)
            hubs.append((lease, peers))
        (first, peers), (second, _) = hubs
        await until(lambda: peers.links() and peers.links()[0].is_linked)
        (link,) = peers.links()
        assert link.hub == HubName(second.incarnation, "two")
        assert await soon(link.call("ExecuteTool", request("t")))
        await soon(second.close("it was closed"))
        await until(lambda: not peers.links())
        with pytest.raises(PeerLostError, match="hub two is gone: it was closed"):
            await soon(link.call("ExecuteTool", request("t")))
        assert first.is_certain()


async def test_a_new_life_has_new_links_and_keeps_who_listens(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, b):
        seen: list[PeerLink] = []
        a.peers.on_linked(seen.append)
        first = await a.linked("b")
        await soon(a.peers.end("this hub lost its lease"))
        assert a.peers.links() == []
        assert a.peers.get("b") is None
        with pytest.raises(PeerLostError, match="lost its lease"):
            await soon(first.call("ExecuteTool", request("t")))
        await soon(a.peers.begin(HubName("a2", "hub-a")))
        b.book.join("a2")
        again = await a.linked("b")
        assert again is not first
        assert seen[-1] is again
        assert await soon(again.call("ExecuteTool", request("t")))
        await b.linked("a2")
        await soon(a.peers.end())


async def test_a_call_waits_for_a_link_or_fails_at_once_as_its_caller_says(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, _):
        a.book.join("late")
        link = a.peers.get("late")
        assert link is not None
        await until(lambda: link.dialer._failure)
        with pytest.raises(PeerLostError, match="nobody listens there") as caught:
            await soon(link.call("ExecuteTool", request("t"), timeout=30, waits=False))
        assert not caught.value.began
        waiting = asyncio.create_task(link.call("ExecuteTool", request("t"), timeout=30))
        late = LinkedHub("late", SomeHub(), a.book)
        await late.start(node.url, a.bus.names.cluster)
        assert await soon(waiting)
        await late.stop()
        with pytest.raises(PeerLostError, match="no link") as caught:
            await soon(link.call("ExecuteTool", request("t"), timeout=0.1))
        assert not caught.value.began


async def test_hubs_of_other_secrets_are_not_linked_until_they_have_one(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, _):
        other = LinkedHub("c", SomeHub(), a.book, secret=b"another")
        await other.start(node.url, a.bus.names.cluster)
        link = other.peers.get("a")
        assert link is not None
        await until(lambda: "another cluster_secret" in str(link.dialer._failure))
        await other.stop()


async def test_a_hub_that_does_not_listen_any_more_keeps_its_links(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, b):
        link = await a.linked("b")
        b.peers.stop_listening()
        assert await soon(link.call("ExecuteTool", request("t")))
        with pytest.raises(Exception, match="no answer in time"):
            await soon(link.dialer._endpoint.open().dial())


async def test_a_started_call_can_be_cancelled(node: NatsNode) -> None:
    async with linked_hubs(node.url) as (a, b):
        link = await a.linked("b")
        call = link.start(PeerCall("ExecuteTool"), request("wait"))
        await until(lambda: b.hub.started)
        assert call.cancel()
        await until(lambda: b.hub.ended == ["wait"])
