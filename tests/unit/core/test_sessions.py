"""Sessions: their lives, their bounds, and what belongs to them."""

import asyncio

import pytest
from google.protobuf import any_pb2

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import sessions as module
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.limits import ConcurrencyLimiter
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.errors import (
    AlreadyExistsError,
    NotFoundError,
    ResourceExhaustedError,
    SessionExpiredError,
    SessionNotFoundError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2 import SessionConfig, VariableMetadata
from grpc_tool_bridge.values.serialization import serialize_value
from support.clock import Clock


def add(a: int, b: int) -> int:
    return a + b


async def test_a_session_that_was_created_is_found_with_what_it_was_given() -> None:
    store = SessionStore()
    config = SessionConfig(default_timeout_ms=1_500, max_concurrent_tools=7)
    session = await store.create_session("s", {"k": "v"}, config)
    assert await store.get_session("s") is session
    assert (session.metadata, session.call_timeout, session.max_calls) == ({"k": "v"}, 1.5, 7)
    assert store.sessions() == [session]
    assert len(store) == 1


async def test_results_are_kept_in_a_session_that_asks_for_it_and_in_no_other() -> None:
    store = SessionStore()
    asks = await store.create_session("asks", config=SessionConfig(enable_caching=True))
    other = await store.create_session("other", config=SessionConfig(default_timeout_ms=1))
    bare = await store.create_session("bare")
    assert [session.caching for session in (asks, other, bare)] == [True, False, False]
    assert asks.cache is None


async def test_a_session_without_a_config_has_the_hubs_defaults() -> None:
    session = await SessionStore().create_session("s")
    assert (session.metadata, session.call_timeout, session.max_calls, session.active) == ({}, None, 0, 0)
    assert session.variable_count == 0


async def test_an_empty_id_is_made_up_anew_each_time() -> None:
    store = SessionStore()
    ids = {(await store.create_session()).id for _ in range(3)}
    assert len(ids) == 3
    assert all(ids)


async def test_a_second_session_of_the_same_id_is_refused() -> None:
    store = SessionStore()
    await store.create_session("s")
    with pytest.raises(AlreadyExistsError, match="session 's' exists already; attach to it, or choose another id"):
        await store.create_session("s")


@pytest.mark.parametrize("session_id", ["x" * 10_000, "a\nb", "\x00", "\x1b[31m"])
async def test_an_id_that_cannot_be_used_is_refused_shortly(session_id: str) -> None:
    with pytest.raises(ValidationError, match="a session id must have") as got:
        await SessionStore().create_session(session_id)
    assert len(got.value.message) < 300
    assert got.value.message.isprintable()


@pytest.mark.parametrize("config", [SessionConfig(max_concurrent_tools=-1), SessionConfig(default_timeout_ms=-1)])
async def test_a_negative_limit_is_refused(config: SessionConfig) -> None:
    store = SessionStore()
    with pytest.raises(ValidationError, match="must be 0 or more"):
        await store.create_session("s", config=config)
    assert len(store) == 0


async def test_one_session_too_many_is_refused_until_another_ends() -> None:
    store = SessionStore(Settings(max_sessions=2))
    await store.create_session("a")
    await store.create_session("b")
    with pytest.raises(ResourceExhaustedError, match=r"has 2 sessions, which is its limit \(max_sessions\)") as got:
        await store.create_session("c")
    assert got.value.retry_after == 1
    await store.cleanup_session("a")
    await store.create_session("c")


async def test_an_unknown_session_is_not_found_and_says_what_to_call() -> None:
    store = SessionStore()
    for ask in (store.find, store.peek, store.variables):
        with pytest.raises(SessionNotFoundError, match="there is no session 's'; call InitializeSession first"):
            ask("s")
    with pytest.raises(SessionNotFoundError) as got:
        store.find("x" * 10_000)
    assert len(got.value.message) < 200


async def test_a_removed_session_has_ended_and_is_known_to() -> None:
    store = SessionStore()
    await store.create_session("s")
    await store.cleanup_session("s")
    for ask in (store.find, store.peek):
        with pytest.raises(SessionExpiredError, match="'s' has ended: it was removed; start a new one"):
            ask("s")
    with pytest.raises(SessionExpiredError):
        await store.cleanup_session("s")


async def test_who_looks_for_a_session_that_has_just_moved_is_told_to_ask_again_and_not_that_there_is_none() -> None:
    hub = Hub()
    await hub.store.create_session("s")
    hub.store.forget("s", UnavailableError("session 's' moves to another hub; call again"))
    for ask in (hub.store.find, hub.store.peek):
        with pytest.raises(UnavailableError, match="moves to another hub"):
            ask("s")
    with pytest.raises(UnavailableError, match="moves to another hub"):
        await hub.get_session_info(pb.GetSessionInfoRequest(session_id="s"))
    with pytest.raises(UnavailableError, match="moves to another hub"):
        await hub.heartbeat(pb.HeartbeatRequest(session_id="s"))
    assert hub.session_defaults("s") == {}
    # Another hub has ended it.
    hub.store.remember_ended("s", "it was removed")
    with pytest.raises(SessionExpiredError, match="it was removed"):
        hub.store.peek("s")


async def test_an_ended_id_can_begin_anew_and_is_then_empty() -> None:
    store = SessionStore()
    await store.create_session("s", {"k": "v"})
    await store.set_variable("s", "x", 1)
    await store.register_tools("s", [add])
    await store.cleanup_session("s")
    session = await store.create_session("s")
    assert (session.metadata, session.variable_count, session.tools) == ({}, 0, None)


async def test_only_so_many_ended_sessions_are_remembered() -> None:
    store = SessionStore(Settings(ended_sessions=2))
    for name in "abc":
        await store.create_session(name)
        await store.cleanup_session(name)
    with pytest.raises(SessionNotFoundError):
        store.find("a")
    for name in "bc":
        with pytest.raises(SessionExpiredError):
            store.find(name)


async def test_of_ended_sessions_those_that_ended_last_are_remembered() -> None:
    store = SessionStore(Settings(ended_sessions=2))
    for name in ("a", "b", "a", "c"):
        await store.create_session(name)
        await store.cleanup_session(name)
    with pytest.raises(SessionNotFoundError):
        store.find("b")
    with pytest.raises(SessionExpiredError):
        store.find("a")


async def test_the_end_is_told_with_the_error_that_callers_get() -> None:
    told: list[tuple[Session, ToolBridgeError]] = []
    store = SessionStore(on_end=lambda session, error: told.append((session, error)))
    session = await store.create_session("s")
    await store.cleanup_session("s")
    assert told[0][0] is session
    assert isinstance(told[0][1], SessionExpiredError)


async def test_idle_sessions_end_and_active_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, module)
    store = SessionStore(Settings(session_idle_timeout=10))
    for name in "abc":
        await store.create_session(name)
    clock.now += 6
    store.find("b")
    store.peek("c")
    clock.now += 6
    assert store.expire_idle() == 2
    assert [session.id for session in store.sessions()] == ["b"]
    with pytest.raises(SessionExpiredError, match="it was idle for 10 s"):
        store.find("a")


async def test_a_session_can_wait_for_weeks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, module)
    store = SessionStore(Settings(session_idle_timeout=30 * 86_400))
    await store.create_session("s")
    clock.now += 29 * 86_400
    assert store.expire_idle() == 0
    clock.now += 2 * 86_400
    assert store.expire_idle() == 1
    with pytest.raises(SessionExpiredError, match="it was idle for 2,592,000 s"):
        store.find("s")


async def test_calls_and_watches_count_as_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, module)
    store = SessionStore(Settings(session_idle_timeout=10))
    calling, watching = await store.create_session("calling"), await store.create_session("watching")
    calling.limiter = ConcurrencyLimiter(1, 1, "s")
    calling.limiter.try_acquire()
    watching.watches = 1
    clock.now += 11
    assert store.expire_idle() == 0
    calling.limiter.release()
    watching.watches = 0
    clock.now += 9
    assert store.expire_idle() == 0
    clock.now += 2
    assert store.expire_idle() == 2
    assert store.expire_idle() == 0


async def test_a_waiting_call_is_active() -> None:
    session = await SessionStore().create_session("s")
    session.limiter = ConcurrencyLimiter(1, 1, "s")
    session.limiter.try_acquire()
    waiting = asyncio.create_task(session.limiter.acquire())
    await asyncio.sleep(0)
    assert session.active == 2
    waiting.cancel()
    await asyncio.wait([waiting])
    assert session.active == 1


async def test_tools_of_a_session_are_its_own() -> None:
    store = SessionStore()
    await store.create_session("s")
    await store.create_session("other")
    (registered,) = await store.register_tools("s", [add])
    assert await store.get_tool("s", "add") is registered
    assert (await store.get_session("s")).tools_revision == registered.revision
    with pytest.raises(NotFoundError, match="session 'other' has no tool 'add' of its own") as got:
        await store.get_tool("other", "add")
    assert got.value.error_type == "ToolNotFound"


async def test_a_second_tool_of_a_name_is_refused_and_nothing_is_added() -> None:
    store = SessionStore(Settings(max_session_tools=2))
    await store.create_session("s")
    await store.register_tools("s", [add])
    with pytest.raises(AlreadyExistsError, match="session 's' has a tool named 'add' already"):
        await store.register_tools("s", [add])
    assert await store.register_tools("s", []) == []
    assert list((await store.get_session("s")).tools or {}) == ["add"]


async def test_variables_are_set_and_read_with_their_metadata() -> None:
    store = SessionStore()
    await store.create_session("s")
    await store.set_variable("s", "x", [1, 2], {"tags": {"k": "v"}})
    assert await store.get_variable("s", "x") == [1, 2]
    value, metadata = await store.get_variable_with_metadata("s", "x")
    assert (value, metadata.type, dict(metadata.tags)) == ([1, 2], "list", {"k": "v"})
    await store.set_variable("s", "x", 5, VariableMetadata(type="number"))
    assert (await store.get_variable_with_metadata("s", "x"))[1].type == "number"
    assert (await store.get_session("s")).variable_count == 1
    with pytest.raises(NotFoundError):
        await store.get_variable("s", "y")


async def test_a_value_of_the_wire_is_copied_out_of_its_message() -> None:
    store = SessionStore()
    await store.create_session("s")
    message = serialize_value("text")
    variable = await store.set_encoded("s", "x", message)
    assert variable.value == message
    assert variable.value is not message
    assert isinstance(variable.value, any_pb2.Any)
    assert (variable.type, variable.size) == ("str", message.ByteSize())


async def test_closing_the_store_ends_the_watches_of_every_session() -> None:
    store = SessionStore()
    await store.create_session("without variables")
    await store.create_session("s")
    watch = store.variables("s").watch()
    pending = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    store.close(ToolBridgeError("the hub is shutting down"))
    with pytest.raises(ToolBridgeError, match="is shutting down"):
        await pending


async def test_the_end_of_a_session_ends_its_watches() -> None:
    store = SessionStore()
    await store.create_session("s")
    watch = store.variables("s").watch()
    pending = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    await store.cleanup_session("s")
    with pytest.raises(SessionExpiredError):
        await pending


async def test_very_many_sessions_end_one_at_a_time_while_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, module)
    store = SessionStore(Settings(session_idle_timeout=10))
    for name in "abc":
        await store.create_session(name)
    clock.now += 11
    expiring = store.expiring()
    assert next(expiring)
    assert len(store) == 2
    # Somebody calls while it is gone on with.
    store.find("b")
    assert list(expiring) == [True]
    assert [session.id for session in store.sessions()] == ["b"]


async def test_whoever_watches_is_told_of_sessions_that_start_and_end() -> None:
    store = SessionStore()
    seen: list[tuple[str, str, dict[str, str]]] = []
    store.on_change = lambda change, session: seen.append((change, session.id, dict(session.metadata)))
    await store.create_session("s", {"k": "v"})
    await store.cleanup_session("s")
    store.on_change = None
    await store.create_session("s")
    assert seen == [("started", "s", {"k": "v"}), ("ended", "s", {"k": "v"})]
