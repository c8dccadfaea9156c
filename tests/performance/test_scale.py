"""A hub with very many sessions, tools, watchers and workers, all of which come and go."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from operator import eq
from typing import Any

import pytest

from attacks.victims import Victim, victim
from grpc_tool_bridge import (
    GRPCToolBridge,
    Settings,
    ToolBridgeClient,
    ToolWorker,
    deserialize_value,
    serialize_value,
    tool,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.patience import PATIENCE
from support.soak import IS_SOAK
from support.waiting import until

# `make soak` takes all of them.
SCALE = 1.0 if IS_SOAK else 0.04
SESSIONS, WORKERS, WATCHERS = (int(SCALE * number) for number in (10_000, 200, 1_000))
# With the one that all workers offer: 1,000 tools.
TOOLS_OF_A_WORKER = 5
# Of which so many leave and are replaced.
CHURN = 0.2
LINKS = 10
AT_ONCE = 50
LIMIT = 3_600 if IS_SOAK else 5 * PATIENCE


async def everywhere() -> str:
    """Every worker offers it."""
    return "here"


class Crowd:
    """All who are connected to one hub.

    Args:
        hub: The hub.
        stack: Closes what is opened.

    Attributes:
        sessions: The ids of the sessions.
        links: The bridges over whose links all sessions are used.
        workers: The workers by their ids.
        told: The tools that each watcher of tools knows, by its session.
        values: The value of a variable that each watcher of variables knows, by its session.
    """

    def __init__(self, hub: Victim, stack: AsyncExitStack) -> None:
        self.hub = hub
        self.sessions: dict[str, None] = {}
        self.workers: dict[str, ToolWorker] = {}
        self.told: dict[str, set[str]] = {}
        self.values: dict[str, int] = {}
        self._stack = stack
        self.links: list[GRPCToolBridge] = []
        self._numbers = itertools.count()
        self._watches: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        """Opens the links over which all sessions are used."""
        self._stack.push_async_callback(self._close)
        for _ in range(LINKS):
            bridge = GRPCToolBridge(self.hub.address, follow_tools=False)
            self.links.append(await self._stack.enter_async_context(bridge))
            await bridge.initialize()

    async def _close(self) -> None:
        """Ends what a test that failed has left."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(
            *self._watches, *(worker.close() for worker in self.workers.values()), return_exceptions=True
        )

    def client_of(self, session_id: str) -> ToolBridgeClient:
        """Returns the client that uses a session."""
        return self.links[int(session_id[1:]) % LINKS].client

    async def open_sessions(self, count: int) -> None:
        """Opens sessions, of which every tenth has a tool of its own."""

        async def open_session(number: int) -> None:
            session_id = f"s{number}"
            client = self.client_of(session_id)
            response = await client.call("InitializeSession", pb.InitializeSessionRequest(session_id=session_id))
            assert response.session_id == session_id
            if number % 10 == 0:
                own = pb.ToolSpec(name="own", tool_id="own", description="What only this session has.")
                await client.call("RegisterTools", pb.RegisterToolsRequest(session_id=session_id, tools=[own]))
            self.sessions[session_id] = None

        await some_at_once(open_session, list(itertools.islice(self._numbers, count)))

    async def end_sessions(self, session_ids: Iterable[str]) -> None:
        """Ends sessions."""

        async def end_session(session_id: str) -> None:
            request = pb.CleanupSessionRequest(session_id=session_id)
            await self.client_of(session_id).call("CleanupSession", request)
            del self.sessions[session_id]

        await some_at_once(end_session, list(session_ids))

    async def start_workers(self, count: int) -> None:
        """Starts workers, each with tools of its own and one that all have."""

        async def start(number: int) -> None:
            tools = [_named(f"w{number}_{index}") for index in range(TOOLS_OF_A_WORKER - 1)]
            settings = Settings(shutdown_grace=PATIENCE)
            worker = ToolWorker(self.hub.address, tools=[*tools, everywhere], worker_id=f"w{number}", settings=settings)
            await worker.start(connect_timeout=PATIENCE)
            self.workers[worker.worker_id] = worker

        await some_at_once(start, list(itertools.islice(self._numbers, count)))

    async def drain_workers(self, worker_ids: Iterable[str]) -> None:
        """Lets workers leave."""
        await some_at_once(lambda worker_id: self.workers.pop(worker_id).drain(), list(worker_ids))

    async def watch(self, session_ids: Sequence[str]) -> None:
        """Watches the tools of half of some sessions, and a variable of the others."""
        await some_at_once(self._begin_to_watch_tools, session_ids[::2])
        self.values = dict.fromkeys(session_ids[1::2], 0)
        # Only what is there can be watched by name.
        await self.set_variables(0)
        for session_id in self.values:
            self._watches.append(asyncio.create_task(self._watch_variable(session_id)))

    async def _begin_to_watch_tools(self, session_id: str) -> None:
        """Reads the tools, and watches them from there on, as clients do."""
        request = pb.GetSessionToolsRequest(session_id=session_id)
        response = await self.client_of(session_id).call("GetSessionTools", request)
        self.told[session_id] = {spec.name for spec in response.tools}
        self._watches.append(asyncio.create_task(self._watch_tools(session_id, response.revision)))

    async def _watch_tools(self, session_id: str, revision: int) -> None:
        request = pb.WatchSessionToolsRequest(session_id=session_id, from_revision=revision)
        updates = self.client_of(session_id).caller.stream("WatchSessionTools", request)
        told = self.told[session_id]
        async with aclosing(updates):
            async for update in updates:
                if update.operation == "reset":
                    told.clear()
                elif update.operation == "removed":
                    told.remove(update.tool.name)
                else:
                    told.add(update.tool.name)

    async def _watch_variable(self, session_id: str) -> None:
        request = pb.WatchVariablesRequest(session_id=session_id, variable_names=["n"], include_initial=True)
        updates = self.client_of(session_id).caller.stream("WatchSessionVariables", request)
        async with aclosing(updates):
            async for update in updates:
                if update.operation != "reset":
                    self.values[session_id] = deserialize_value(update.value)

    async def set_variables(self, number: int) -> None:
        """Sets the variable of every session that is watched."""

        async def set_it(session_id: str) -> None:
            request = pb.SetVariableRequest(session_id=session_id, variable_name="n", create_if_missing=True)
            request.value.CopyFrom(serialize_value(number))
            await self.client_of(session_id).call("SetSessionVariable", request)

        await some_at_once(set_it, list(self.values))

    async def leave(self) -> None:
        """Ends the watches, and lets all sessions and workers leave."""
        await end(self._watches)
        await self.end_sessions(list(self.sessions))
        await self.drain_workers(list(self.workers))


async def some_at_once(doing: Callable[[Any], Awaitable[object]], items: Sequence[Any]) -> None:
    """Does something with each item, with some of them at the same time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(item: Any) -> None:
        async with turns:
            await doing(item)

    await asyncio.gather(*map(one, items))


def _named(name: str) -> Any:
    @tool(name=name)
    async def one() -> str:
        return name

    return one


@pytest.mark.seeded
@pytest.mark.timeout(LIMIT)
async def test_very_many_of_everything_come_and_go_and_nobody_misses_anything() -> None:
    settings = {
        "max_sessions": 2 * SESSIONS + LINKS + 10,
        "session_idle_timeout": 3_600.0,
        "worker_grace_period": 0.2,
        # All workers share one process, with everybody else.
        "worker_suspect_after": PATIENCE,
        "worker_lost_after": 2 * PATIENCE,
    }
    async with victim(**settings) as hub, AsyncExitStack() as stack:
        crowd = Crowd(hub, stack)
        await crowd.connect()
        await crowd.start_workers(WORKERS)
        await crowd.open_sessions(SESSIONS)
        watched = list(crowd.sessions)[:WATCHERS]
        await crowd.watch(watched)
        bridge = crowd.links[0]
        calling = [asyncio.create_task(call_until_cancelled(bridge))]
        for turn in range(1, 3):
            await asyncio.gather(
                crowd.set_variables(turn),
                crowd.end_sessions(list(crowd.sessions)[WATCHERS : WATCHERS + int(CHURN * SESSIONS)]),
                crowd.open_sessions(int(CHURN * SESSIONS)),
                crowd.drain_workers(list(crowd.workers)[: int(CHURN * WORKERS)]),
                crowd.start_workers(int(CHURN * WORKERS)),
            )
        await end(calling)
        await everybody_knows(crowd)
        await lists_are_whole(crowd, bridge)
        await crowd.leave()
        await until_gone(bridge)
        sight = await hub.look()
        # On a busy machine, the hub may take a request that it had no time to read for one that does not arrive.
        assert len(sight.failures) <= len(sight.waits) / 20, sight.failures[:3]


async def end(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    """Cancels tasks; fails with the error of one that has ended already."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert [task.exception() for task in tasks if not task.cancelled()] == []


async def call_until_cancelled(bridge: GRPCToolBridge) -> None:
    """Calls the tool that every worker offers; each call is answered."""
    while True:
        assert await asyncio.gather(*(bridge.call_tool("everywhere") for _ in range(20))) == ["here"] * 20


async def everybody_knows(crowd: Crowd) -> None:
    """Waits until each watcher knows the tools that its session has, and the last value."""
    for session_id in crowd.told:
        client = crowd.client_of(session_id)
        response = await client.call("GetSessionTools", pb.GetSessionToolsRequest(session_id=session_id))
        present = {spec.name for spec in response.tools}
        assert len(present) >= WORKERS * (TOOLS_OF_A_WORKER - 1) + 1
        await until(partial(eq, crowd.told[session_id], present), f"for the watch of {session_id}")
    await until(lambda: set(crowd.values.values()) == {2}, "for the last value")


async def lists_are_whole(crowd: Crowd, bridge: GRPCToolBridge) -> None:
    """Fails unless the operator's lists have each session and each worker once."""
    sessions = [session.session_id async for session in bridge.admin.sessions()]
    assert len(sessions) == len(set(sessions))
    assert set(crowd.sessions) <= set(sessions)
    assert len(sessions) == len(crowd.sessions) + LINKS
    assert sorted(await workers_at(bridge)) == sorted(crowd.workers)
    metrics = await bridge.client.get_metrics("tool.everywhere.*", f"tool.{min(crowd.workers)}_0.*")
    assert len(metrics) == 8
    assert metrics["tool.everywhere.calls"].integer_value > 0


async def until_gone(bridge: GRPCToolBridge) -> None:
    """Waits until only the links' own sessions are left, and no tool but the hub's own."""
    async with asyncio.timeout(PATIENCE):
        while list(await bridge.client.refresh_tools()) != ["add"]:  # noqa: ASYNC110 - only the hub knows
            await asyncio.sleep(0.05)
    assert len([session async for session in bridge.admin.sessions()]) == LINKS
    assert await workers_at(bridge) == []


async def workers_at(bridge: GRPCToolBridge) -> list[str]:
    """Lists the hub's workers, without the links over which sessions have tools of their own."""
    return [worker.worker_id async for worker in bridge.admin.workers() if worker.worker_id.startswith("w")]
