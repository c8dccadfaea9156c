"""Changes of variables are told to those who want to know, none is missed, and those of secrets are not told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.client.local import LocalTransport
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.gateway.mcp.sessions import OpenSession, SessionKey
from grpc_tool_bridge.gateway.mcp.variable_watches import VariableWatches
from support.waiting import soon, turns, until

KEY = SessionKey("mine")
LISTED = ResourcesListChanged()


def updated(name: str) -> ResourceUpdated:
    return ResourceUpdated(f"variable:///{name}")


class Sessions:
    """Opens the session of a client, and counts who uses it."""

    def __init__(self, client: ToolBridgeClient) -> None:
        self.client = client
        self.users = 0
        self.opened = 0
        self.error: Exception | None = None
        self.may_open = asyncio.Event()
        self.may_open.set()

    @asynccontextmanager
    async def use_key(self, key: SessionKey) -> AsyncIterator[OpenSession]:
        if self.error is not None:
            raise self.error
        await self.may_open.wait()
        await self.client.initialize_session(key.session_id)
        self.users += 1
        self.opened += 1
        try:
            yield OpenSession(key, self.client)
        finally:
            self.users -= 1


class World:
    """A hub, its variables, and the watches of them."""

    def __init__(self, hub: Hub, tasks: TaskSet) -> None:
        self.hub = hub
        self.client = ToolBridgeClient(LocalTransport(hub))
        self.variables = self.client.session_context
        self.sessions = Sessions(self.client)
        self.events: list[ServerEvent] = []
        self.watches = VariableWatches(self.sessions, lambda _, event: self.events.append(event), tasks)

    async def told(self, *events: ServerEvent) -> None:
        """Waits for events, in any order; no others may come before them."""
        await until(lambda: len(self.events) >= len(events), f"for {events}; there are {self.events}")
        assert set(self.events) == set(events)
        self.events.clear()

    async def quiet(self) -> None:
        """Sees that nothing is told, also once a later change is."""
        await self.variables.set_variable("marker", 1)
        await self.told(LISTED)
        await self.variables.delete_variable("marker")
        await self.told(LISTED)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    hub, tasks = Hub(Settings()), TaskSet()
    await hub.start()
    made = World(hub, tasks)
    await made.client.initialize_session(KEY.session_id)
    yield made
    await tasks.aclose()
    await hub.aclose()


async def test_changes_are_told_from_then_on(world: World) -> None:
    await world.variables.set_variable("note", "old")
    await soon(world.watches.hold(KEY, ["variable:///note"]))
    assert not world.events
    await world.variables.set_variable("note", "new")
    await world.told(updated("note"))
    await world.variables.delete_variable("note")
    await world.told(updated("note"), LISTED)
    await world.variables.set_variable("note", "again")
    await world.told(updated("note"), LISTED)


async def test_a_change_right_after_it_began_is_not_missed(world: World) -> None:
    # There is no revision to begin from yet.
    await soon(world.watches.hold(KEY, ["variable:///note"]))
    await world.variables.set_variable("note", 1)
    await world.told(updated("note"), LISTED)


async def test_only_what_is_wanted_is_told_of_an_update(world: World) -> None:
    await world.variables.set_variable("docs://a", 1)
    await world.variables.set_variable("other", 1)
    await soon(world.watches.hold(KEY, ["docs://a", "no address"]))
    await world.variables.set_variable("other", 2)
    await world.variables.set_variable("docs://a", 2)
    await world.told(ResourceUpdated("docs://a"))


async def test_there_is_one_watch_which_ends_with_the_last_reader(world: World) -> None:
    one, other = await soon(asyncio.gather(world.watches.hold(KEY, ["variable:///a"]), world.watches.hold(KEY)))
    assert (len(world.watches), world.sessions.opened, world.sessions.users) == (1, 1, 1)
    one()
    one()
    assert len(world.watches) == 1
    # Nobody wants this one any more, but the list.
    await world.variables.set_variable("a", 1)
    await world.told(LISTED)
    other()
    assert not len(world.watches)
    await until(lambda: not world.sessions.users)


async def test_a_reader_that_gives_up_before_the_watch_has_begun_leaves_nothing(world: World) -> None:
    world.sessions.may_open.clear()
    waiting = asyncio.create_task(world.watches.hold(KEY))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not len(world.watches)


async def test_nothing_is_told_of_a_secret(world: World) -> None:
    await world.variables.set_variable("old", 1, {"secret": True})
    await soon(world.watches.hold(KEY, ["variable:///old", "variable:///new"]))
    await world.variables.set_variable("old", 2)
    await world.variables.delete_variable("old")
    await world.variables.set_variable("new", 1, {"secret": True})
    await world.variables.set_variable("new", 2)
    await world.quiet()


async def test_a_variable_that_becomes_secret_leaves_the_list(world: World) -> None:
    await world.variables.set_variable("note", 1)
    await soon(world.watches.hold(KEY, ["variable:///note"]))
    await world.variables.set_variable("note", 2, {"secret": True})
    await world.told(updated("note"), LISTED)
    await world.variables.set_variable("note", 3)
    await world.quiet()


async def test_what_a_lost_watch_missed_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.gateway.mcp.variable_watches.back_off", lambda: iter([0.0] * 100))
    for name in ("same", "changes", "goes", "unwanted"):
        await world.variables.set_variable(name, 1)
    wanted = [f"variable:///{name}" for name in ("same", "changes", "goes", "comes")]
    await soon(world.watches.hold(KEY, wanted))
    working: Any = world.variables.watch_variables
    gate = asyncio.Event()

    async def fails(*_: object, **__: object) -> Any:
        await gate.wait()
        raise UnavailableError("away")
        yield

    monkeypatch.setattr(world.variables, "watch_variables", fails)
    # The session ends and is opened again, empty.
    await world.client.cleanup_session(force=True)
    await until(lambda: world.sessions.opened > 1)
    await turns()
    await world.told(updated("same"), updated("changes"), updated("goes"), LISTED)
    await world.variables.set_variable("comes", 1)
    await world.variables.set_variable("changes", 1)
    monkeypatch.setattr(world.variables, "watch_variables", working)
    gate.set()
    await world.told(updated("comes"), updated("changes"), LISTED)
    await world.variables.set_variable("comes", 2)
    await world.told(updated("comes"))


async def test_a_history_that_is_too_short_loses_nothing() -> None:
    hub, tasks = Hub(Settings(watch_history=2)), TaskSet()
    await hub.start()
    world = World(hub, tasks)
    await world.client.initialize_session(KEY.session_id)
    names = [f"n{number}" for number in range(20)]
    for name in names:
        await world.variables.set_variable(name, 0)
    await soon(world.watches.hold(KEY, [f"variable:///{name}" for name in names]))
    # More changes than the hub keeps, before the watch can read the first.
    store = hub.store.variables(KEY.session_id)
    for name in names:
        store.set(name, store.get(name).value)
    await world.told(*map(updated, names))
    await tasks.aclose()
    await hub.aclose()


async def test_a_session_that_cannot_be_opened_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.gateway.mcp.variable_watches.back_off", lambda: iter([0.0] * 1_000_000))
    world.sessions.error = UnavailableError("away")
    await soon(world.watches.hold(KEY, ["variable:///note"]))
    world.sessions.error = None
    await until(lambda: world.sessions.users == 1)
    await turns()
    await world.variables.set_variable("note", 1)
    await world.told(updated("note"), LISTED)


async def test_a_fault_ends_the_watch_and_the_next_reader_starts_another(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.sessions.error = RuntimeError("a fault")
    await soon(world.watches.hold(KEY))
    assert not len(world.watches)
    await until(lambda: "a fault" in caplog.text)
    world.sessions.error = None
    await soon(world.watches.hold(KEY))
    await world.variables.set_variable("note", 1)
    await world.told(LISTED)
