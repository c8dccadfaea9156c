"""Which tools a session sees, and how it is told of changes."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from grpc_tool_bridge.core.metrics import Metrics
from grpc_tool_bridge.core.registry import ToolChange, ToolRegistry
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.errors import (
    AlreadyExistsError,
    NotFoundError,
    SessionExpiredError,
    SessionNotFoundError,
    UnavailableError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec


def spec(name: str, *, version: str = "") -> ToolSpec:
    return ToolSpec(name=name, version=version)


async def make(*names: str) -> tuple[ToolRegistry, Session]:
    """Makes a registry with the hub's tools ``names`` and a session."""
    registry = ToolRegistry()
    registry.register_batch("", [spec(name) for name in names])
    return registry, await registry.store.create_session("s")


async def next_told(watch: AsyncGenerator[ToolChange, None]) -> tuple[str, str]:
    change = await anext(watch)
    return change.operation, change.tool.name if change.tool else ""


async def reader(watch: AsyncGenerator[ToolChange, None]) -> "asyncio.Task[tuple[str, str]]":
    task = asyncio.create_task(next_told(watch))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_session_sees_the_hubs_tools_and_its_own_by_name() -> None:
    registry, session = await make("b", "a")
    registry.register_batch("s", [spec("ab")])
    assert [tool.name for tool in registry.visible(session)] == ["a", "ab", "b"]
    assert [tool.name for tool in registry.visible(None)] == ["a", "b"]
    assert registry.count(session) == 3
    other = await registry.store.create_session("other")
    assert registry.count(other) == 2
    with pytest.raises(NotFoundError, match="session 'other' sees no tool 'ab'"):
        registry.find(other, "ab")


async def test_a_sessions_tool_shadows_the_hubs_until_it_is_removed() -> None:
    registry, session = await make("a")
    (own,) = registry.register_batch("s", [spec("a", version="2")])
    assert registry.find(session, "a") is own
    assert [tool.spec.version for tool in registry.visible(session)] == ["2"]
    registry.unregister("s", ["a"])
    assert registry.find(session, "a").spec.version == ""


async def test_two_tools_of_a_name_in_one_scope_are_refused() -> None:
    registry, _ = await make("a")
    with pytest.raises(AlreadyExistsError, match="the hub has a tool named 'a' already"):
        registry.register_batch("", [spec("new"), spec("a")])
    assert [tool.name for tool in registry.visible(None)] == ["a"]


async def test_tools_of_an_unknown_session_are_refused() -> None:
    registry, _ = await make()
    for action in (registry.register_batch, registry.unregister):
        with pytest.raises(SessionNotFoundError):
            action("nobody", [])


async def test_an_empty_store_is_used_all_the_same() -> None:
    store = SessionStore()
    assert ToolRegistry(store).store is store


async def test_tools_of_one_name_share_their_counts() -> None:
    metrics = Metrics()
    registry = ToolRegistry(metrics=metrics)
    await registry.store.create_session("s")
    (first,) = registry.register_batch("", [spec("a")])
    (second,) = registry.register_batch("s", [spec("a")])
    assert first.metrics is second.metrics is metrics.of_tool("a")


async def test_removing_tells_what_was_there() -> None:
    registry, session = await make("a", "b")
    before = registry.revision(session)
    assert registry.unregister("", ["a", "a", "c"]) == ["a"]
    assert registry.revision(session) > before
    assert registry.unregister("s", ["a"]) == []
    assert [tool.name for tool in registry.visible(session)] == ["b"]


async def test_a_watch_tells_what_is_added_changed_and_removed() -> None:
    registry, session = await make("a")
    watch = registry.watch(session)
    pending = await reader(watch)
    registry.register_batch("", [spec("b")])
    assert await pending == ("added", "b")
    pending = await reader(watch)
    registry.register_batch("s", [spec("a", version="2")])
    assert await pending == ("changed", "a")
    pending = await reader(watch)
    registry.unregister("", ["b"])
    assert await pending == ("removed", "b")
    pending = await reader(watch)
    registry.register_batch("", [spec("c")])
    assert await pending == ("added", "c")


async def test_revisions_of_a_watch_rise() -> None:
    registry, session = await make()
    watch = registry.watch(session)
    revisions = []
    for name in "abc":
        pending = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        registry.register_batch("", [spec(name)])
        revisions.append((await pending).revision)
    assert revisions == sorted(set(revisions))


async def test_a_slow_reader_is_told_the_last_of_several_changes() -> None:
    registry, session = await make("a", "b")
    watch = registry.watch(session)
    pending = await reader(watch)
    registry.register_batch("", [spec("c")])
    assert await pending == ("added", "c")
    registry.unregister("", ["a", "b", "c"])
    registry.register_batch("", [spec("a", version="2"), spec("d")])
    told = [await next_told(watch) for _ in range(4)]
    assert sorted(told) == [("added", "d"), ("changed", "a"), ("removed", "b"), ("removed", "c")]
    await reader(watch)


async def test_a_change_between_two_changes_is_not_missed() -> None:
    registry, session = await make()
    watch = registry.watch(session)
    pending = await reader(watch)
    registry.register_batch("", [spec("a"), spec("b")])
    assert await pending == ("added", "a")
    registry.unregister("", ["b"])
    registry.register_batch("", [spec("c")])
    assert await next_told(watch) == ("added", "b")
    assert [await next_told(watch) for _ in range(2)] == [("removed", "b"), ("added", "c")]


async def test_another_sessions_tools_are_not_told() -> None:
    registry, session = await make()
    await registry.store.create_session("other")
    pending = await reader(registry.watch(session))
    registry.register_batch("other", [spec("x")])
    for _ in range(3):
        await asyncio.sleep(0)
    assert not pending.done()
    registry.register_batch("", [spec("y")])
    assert await pending == ("added", "y")


async def test_a_watch_goes_on_after_a_revision() -> None:
    registry, session = await make("a")
    after = registry.revision(session)
    registry.register_batch("", [spec("b")])
    assert await next_told(registry.watch(session, after)) == ("added", "b")


@pytest.mark.parametrize("read", [1, 2, 3])
async def test_whoever_stops_between_changes_and_goes_on_from_there_misses_none(read: int) -> None:
    registry, session = await make("a", "b")
    watch = registry.watch(session)
    pending = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    registry.register_batch("", [spec("c"), spec("d"), spec("e")])
    changes = [await pending, *[await anext(watch) for _ in range(read - 1)]]
    await watch.aclose()
    told = {change.tool.name for change in changes if change.tool}
    registry.register_batch("", [spec("f")])
    watch = registry.watch(session, changes[-1].revision)
    while "f" not in told:
        told.add((await next_told(watch))[1])
    assert told == {"c", "d", "e", "f"}


async def test_a_watch_after_a_revision_of_the_future_or_before_a_removal_begins_anew() -> None:
    registry, session = await make("a", "b")
    after = registry.revision(session)
    registry.unregister("", ["a"])
    for revision in (after, 1_000):
        watch = registry.watch(session, revision)
        assert [await next_told(watch) for _ in range(2)] == [("reset", ""), ("added", "b")]


async def test_a_watch_ends_with_its_session() -> None:
    registry, session = await make()
    pending = await reader(registry.watch(session))
    await registry.store.cleanup_session("s")
    registry.session_ended(session)
    with pytest.raises(SessionExpiredError, match="it was removed"):
        await pending


async def test_a_watch_ends_with_its_session_though_another_of_its_id_began_at_once() -> None:
    registry, session = await make()
    pending = await reader(registry.watch(session))
    await registry.store.cleanup_session("s")
    registry.session_ended(session)
    await registry.store.create_session("s")
    with pytest.raises(SessionExpiredError, match="watch again"):
        await pending


async def test_a_watch_ends_with_the_hub() -> None:
    registry, session = await make()
    pending = await reader(registry.watch(session))
    registry.close(UnavailableError("the hub is shutting down"))
    with pytest.raises(UnavailableError):
        await pending


async def test_a_reader_that_leaves_is_not_waited_for_any_more() -> None:
    registry, session = await make()
    first, second = await reader(registry.watch(session)), await reader(registry.watch(session))
    first.cancel()
    await asyncio.wait([first])
    assert len(registry._waiters[session]) == 1
    second.cancel()
    registry.register_batch("", [spec("a")])
    await asyncio.wait([second])
    assert len(registry._waiters[session]) == 0


async def test_a_change_of_one_session_wakes_only_its_own_watches() -> None:
    registry, session = await make()
    other = await registry.store.create_session("other")
    mine, theirs = await reader(registry.watch(session)), await reader(registry.watch(other))
    registry.register_batch("s", [spec("own")])
    assert (len(registry._waiters[session]), len(registry._waiters[other])) == (0, 1)
    assert await mine == ("added", "own")
    registry.register_batch("", [spec("all")])
    assert await theirs == ("added", "all")


async def test_watches_of_sessions_without_tools_of_their_own_share_what_they_remember() -> None:
    registry, session = await make("a")
    other = await registry.store.create_session("other")
    assert registry.by_name(session) is registry.by_name(other)
    registry.register_batch("", [spec("b")])
    assert list(registry.by_name(session)) == ["a", "b"]
    registry.unregister("", ["a"])
    assert list(registry.by_name(other)) == ["b"]


async def test_a_change_of_the_hubs_tools_copies_nothing_for_a_session_with_tools_of_its_own() -> None:
    # Thousands of sessions would each sort thousands of tools.
    registry, session = await make("a")
    registry.register_batch("s", [spec("own")])
    before = registry._view(session)
    registry.register_batch("", [spec("b")])
    now = registry._view(session, before)
    assert now.own is before.own
    assert now.shared is registry.by_name(None)
    registry.register_batch("s", [spec("more")])
    assert list(registry._view(session, now).own) == ["own", "more"]


async def test_a_watch_of_a_session_with_tools_of_its_own_does_not_tell_of_what_they_hide() -> None:
    registry, session = await make("a")
    registry.register_batch("s", [spec("b")])
    watch = registry.watch(session)
    pending = await reader(watch)
    registry.register_batch("", [spec("b")])
    registry.register_batch("", [spec("c")])
    assert await pending == ("added", "c")
    pending = await reader(watch)
    registry.unregister("s", ["b"])
    assert await pending == ("changed", "b")


async def test_many_watches_with_much_to_tell_give_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.core.registry.WATCH_SECONDS", 0.0)
    registry, _ = await make("a")
    told = 0

    async def read(session: Session) -> None:
        nonlocal told
        async for _ in registry.watch(session):
            told += 1

    watches = [asyncio.create_task(read(await registry.store.create_session(f"w{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    registry.register_batch("", [spec(f"t{number}") for number in range(50)])
    most = before = 0
    while told < 20 * 50:
        await asyncio.sleep(0)
        most, before = max(most, told - before), told
    assert most <= 20
    for watch in watches:
        watch.cancel()
    await asyncio.wait(watches)
