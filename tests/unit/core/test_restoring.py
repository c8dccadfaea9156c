"""What a new hub takes over of an earlier life."""

import asyncio
from pathlib import Path

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.restoring import restore
from grpc_tool_bridge.core.stored import StoredRun, StoredSession, StoredState
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.errors import SessionExpiredError, StoreError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.stores.sqlite.store import SqliteStore
from grpc_tool_bridge.values.serialization import serialize_value
from support.held_store import HeldStore
from support.waiting import soon, turns


def _session(session_id: str, created_at: float, *variables: Variable) -> StoredSession:
    return StoredSession(
        session_id,
        created_at,
        {"k": "v" * 1_000},
        pb.SessionConfig(default_timeout_ms=1_500),
        list(variables),
        revision=max((variable.revision for variable in variables), default=0),
        agents={"a": pb.CreateReActAgentRequest(signature="a -> b")},
    )


def _variable(name: str, revision: int) -> Variable:
    return Variable(name, serialize_value(1), "int", 10, 1.0, 2.0, revision, 20)


async def test_sessions_variables_agents_and_the_epoch_are_taken_over() -> None:
    store = HeldStore()
    hub = Hub(durable=store)
    state = StoredState(
        "kept", 100, [_session("s", 1.5, _variable("x", 7)), _session("t", 2.5)], {"gone": "it was idle"}
    )
    restore(state, store, hub.store, hub.registry, hub.agents)
    assert hub.store.revisions.epoch == "kept"
    assert [session.id for session in hub.store.sessions()] == ["s", "t"]
    session = hub.store.peek("s")
    assert (session.created_at, session.call_timeout) == (1.5, 1.5)
    assert hub.store.variables("s").get("x").revision == 7
    assert list(hub.agents.definitions("t")) == ["a"]
    assert hub.store.revisions.next() > 100
    error = hub.store._missing("gone")
    assert isinstance(error, SessionExpiredError)
    assert "it was idle" in error.message


async def test_limits_that_were_lowered_refuse_nothing_of_what_is_there() -> None:
    settings = Settings(max_sessions=1, max_session_variables=1, max_session_variable_bytes=1, max_session_bytes=1)
    store = HeldStore(is_quick=True)
    hub = Hub(settings, durable=store)
    variables = [_variable("x", 1), _variable("y", 2)]
    restore(
        StoredState("e", 2, [_session("s", 1, *variables), _session("t", 2)], {}),
        store,
        hub.store,
        hub.registry,
        hub.agents,
    )
    assert len(hub.store) == 2
    assert len(hub.store.variables("s")) == 2
    held = hub.memory.used
    assert held > 0
    for name in ("s", "t"):
        await hub.store.cleanup_session(name)
    assert hub.memory.used == 0


async def test_what_ended_is_remembered_within_the_limit_and_not_of_an_id_that_is_there() -> None:
    store = HeldStore(is_quick=True)
    hub = Hub(Settings(ended_sessions=2), durable=store)
    ended = {"a": "1", "s": "2", "b": "3", "c": "4"}
    restore(StoredState("e", 0, [_session("s", 1)], ended), store, hub.store, hub.registry, hub.agents)
    assert list(hub.store._ended._why) == ["b", "c"]


async def test_who_followed_the_tools_of_an_earlier_life_is_told_all_of_them() -> None:
    store = HeldStore(is_quick=True)
    hub = Hub(tools=[add], durable=store)
    restore(StoredState("e", 50, [_session("s", 1)], {}), store, hub.store, hub.registry, hub.agents)
    watch = hub.watch_session_tools(pb.WatchSessionToolsRequest(session_id="s", from_revision=50))
    first, second = [await anext(watch), await anext(watch)]
    assert (first.operation, second.operation, second.tool.name) == ("reset", "added", "add")
    assert second.revision > 50
    await watch.aclose()


async def test_a_hub_changes_nothing_before_it_was_restored_and_is_restored_once() -> None:
    store = HeldStore(StoredState("e", 0, [_session("s", 1)], {}), is_quick=True)
    hub = Hub(durable=store)
    request = pb.InitializeSessionRequest(session_id="t")
    assert "start it first" in (await hub.initialize_session(request)).error.message
    assert (len(hub.store), store.done) == (0, [])
    for _ in range(2):
        await hub.restore()
    assert store.done == ["reserve_revisions"]
    assert (await hub.initialize_session(request)).success


async def test_a_store_that_takes_no_reservation_serves_what_it_has() -> None:
    store = HeldStore(StoredState("e", 0, [_session("s", 1)], {}))
    hub = Hub(durable=store)
    restoring = asyncio.ensure_future(hub.restore())
    await turns()
    assert (store.waiting, restoring.done()) == (["reserve_revisions"], False)
    store.fail()
    await soon(restoring)
    assert len(hub.store) == 1


async def test_a_hub_that_cannot_take_over_gives_the_store_back() -> None:
    store = HeldStore(StoredState("e", 0, [_session("s", 1), None], {}))  # type: ignore[list-item]  # that is the point
    hub = Hub(durable=store)
    with pytest.raises(AttributeError):
        await hub.restore()
    assert store.closed


async def test_a_hub_that_could_not_take_a_store_leaves_it_to_the_hub_that_has_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "hub.db")
    first, second = (Hub(durable=store) for _ in range(2))
    await first.restore()
    with pytest.raises(StoreError, match="serves a hub already"):
        await second.restore()
    await second.aclose()
    second.abandon()
    assert (await soon(first.initialize_session(pb.InitializeSessionRequest(session_id="s")))).success
    await first.aclose()


async def test_the_end_of_a_run_that_cannot_be_read_is_damage_of_the_store() -> None:
    damaged = StoredRun("r", "a", b"", 1.0, 0, [(b"\xff\xff", True)])
    state = StoredState("e", 0, [StoredSession("s", 1.0, {}, runs=[damaged])], {})
    store = HeldStore(state, is_quick=True)
    with pytest.raises(StoreError, match="is damaged"):
        await Hub(durable=store).restore()
    assert store.closed


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b
