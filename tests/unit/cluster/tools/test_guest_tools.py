"""Tools that workers of one hub offer for the sessions of another."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from grpc_tool_bridge import ToolContext, ToolWorker
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RegisterToolsRequest, UnregisterToolsRequest
from grpc_tool_bridge.tools.tool import as_tool
from support.joined_hubs import JoinedHub, joined_hubs
from support.waiting import soon, until


async def mine(ctx: ToolContext) -> str:
    return f"for {ctx.session_id}"


async def other(a: int) -> int:
    return a


class Worker:
    """A worker that registers tools when the test says so.

    Args:
        hub: Its hub.
        functions: What it can run.
    """

    def __init__(self, hub: JoinedHub, *functions: Any) -> None:
        self._worker = ToolWorker(hub.server.address, functions, worker_id="w")

    async def __aenter__(self) -> Self:
        await self._worker._client.connect(5)
        self.stub = self._worker._transport.stub
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._worker.close()

    async def register(self, session_id: str, *functions: Any, capacity: int = 2) -> Any:
        specs = [as_tool(function).spec for function in functions]
        request = RegisterToolsRequest(session_id=session_id, tools=specs, worker_id="w", capacity=capacity)
        return await soon(self.stub.RegisterTools(request))

    async def unregister(self, session_id: str, *tool_ids: str) -> Any:
        return await soon(self.stub.UnregisterTools(UnregisterToolsRequest(session_id=session_id, tool_ids=tool_ids)))


@asynccontextmanager
async def session_at_a(*names: str) -> AsyncIterator[list[JoinedHub]]:
    """Joins hubs; the session "s" is at the first."""
    async with joined_hubs(**{name: [] for name in names}) as hubs:
        await hubs[0].hub.store.create_session("s")
        yield hubs


def seen(hub: JoinedHub) -> list[str]:
    """The session's own tools, as a hub knows them."""
    return sorted(hub.hub.registry.own("s"))


async def called(hub: JoinedHub) -> Any:
    async with hub.open_bridge() as bridge:
        await bridge.initialize("s")
        return await soon(bridge.tools["mine"]())


async def test_tools_come_and_go_at_the_owner_of_the_session() -> None:
    async with session_at_a("a", "b") as (a, b), Worker(b, mine, other) as worker:
        answer = await worker.register("s", mine, other)
        assert sorted(answer.tool_ids) == ["mine", "other"]
        assert seen(a) == ["mine", "other"]
        assert (await worker.unregister("s", "other")).success
        await until(lambda: seen(a) == ["mine"])
        assert await called(a) == "for s"
        # The worker's room is its room here, too.
        assert (await worker.register("s", mine, capacity=5)).success
        assert b.hub.workers.workers()[0].capacity == 5


async def test_tools_of_a_worker_that_is_gone_go_at_the_owner() -> None:
    async with joined_hubs(a={"worker_grace_period": 0.0}, b={"worker_grace_period": 0.0}) as (a, b):
        await a.hub.store.create_session("s")
        async with Worker(b, mine) as worker:
            await worker.register("s", mine)
        await until(lambda: seen(a) == [])
        # Nothing is remembered of the session.
        await until(lambda: not b.hub.store.guests)
        assert b.offering.sessions_of("a") == []


async def test_a_refusal_leaves_nothing_behind() -> None:
    async with session_at_a("a", "b") as (a, b), Worker(a, other) as first, Worker(b, mine) as second:

        async def clash(a: str) -> None: ...

        clash.__name__ = "other"
        await first.register("s", other)
        answer = await second.register("s", clash)
        assert answer.error.type == "AlreadyExists"
        assert not b.hub.store.guests
        assert b.offering.sessions_of("a") == []
        assert (await second.register("s", mine)).success
        # An update that is refused leaves what was there.
        assert (await second.register("s", clash)).error.type == "AlreadyExists"
        await until(lambda: seen(a) == ["mine", "other"])


async def test_a_session_that_is_nowhere_is_said_so() -> None:
    async with joined_hubs(a=[], b=[]) as (_, b), Worker(b, mine) as worker:
        assert (await worker.register("unknown", mine)).error.type == "SessionNotFound"


async def test_tools_of_a_session_that_has_ended_are_removed_here() -> None:
    async with session_at_a("a", "b") as (_, b), Worker(b, mine) as worker:
        await worker.register("s", mine)
        size = b.hub.store.tool_bytes
        b.guest_tools.session_ended("s")
        b.guest_tools.session_ended("s")
        assert not b.hub.store.guests
        assert b.hub.store.tool_bytes < size
        assert not b.hub.workers.workers()[0].tools


async def test_tools_move_to_a_session_that_comes_here_and_stay_when_it_goes() -> None:
    async with session_at_a("a", "b") as (a, b), Worker(b, mine) as worker:
        await worker.register("s", mine)
        (tool,) = b.hub.registry.own("s")
        del a.hub.store._sessions["s"]
        session = await b.hub.store.create_session("s")
        b.guest_tools.adopted(session)
        b.guest_tools.adopted(session)
        assert seen(b) == [tool]
        assert await called(b) == "for s"
        # It goes back.
        b.guest_tools.forgot(session)
        del b.hub.store._sessions["s"]
        await a.hub.store.create_session("s")
        await until(lambda: seen(a) == ["mine"])
        assert await called(a) == "for s"


async def test_tools_follow_a_session_to_its_next_owner() -> None:
    async with session_at_a("a", "b", "c") as (a, b, c), Worker(b, mine) as worker:
        await worker.register("s", mine)
        del a.hub.store._sessions["s"]
        missing = b.guest_tools._owner_of
        tries: list[str] = []

        async def owner_of(session_id: str) -> str:
            tries.append(session_id)
            if len(tries) == 1:
                # Nobody has it yet.
                return "nobody"
            return await missing(session_id)

        b.guest_tools._owner_of = owner_of
        await c.hub.store.create_session("s")
        b.guest_tools.owner_gone("a")
        await until(lambda: seen(c) == ["mine"])
        assert await called(c) == "for s"
        assert len(tries) == 2


async def test_tools_of_a_session_that_has_ended_with_its_owner_are_removed() -> None:
    async with session_at_a("a", "b") as (a, b), Worker(b, mine) as worker:
        await worker.register("s", mine)
        del a.hub.store._sessions["s"]
        b.guest_tools.owner_gone("a")
        await until(lambda: not b.hub.store.guests)


async def test_two_hubs_offer_one_tool_of_a_session() -> None:
    async with session_at_a("a", "b", "c") as (a, b, c), Worker(b, mine) as one, Worker(c, mine) as two:
        assert (await one.register("s", mine)).success
        assert (await two.register("s", mine)).success
        assert sorted(await asyncio.gather(called(a), called(a))) == ["for s", "for s"]
        await one.unregister("s", "mine")
        await until(lambda: not a.peer("b").tools)
        assert await called(a) == "for s"
