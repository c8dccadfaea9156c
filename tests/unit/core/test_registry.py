"""Which tools a session sees, and how it is told of changes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grpc_tool_bridge.core.metrics import Metrics
from grpc_tool_bridge.core.registered_tool import RegisteredTool
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
from support.waiting import soon


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


# ------------------------------------------------------------------------------------------------------------ versions


def listing(registry: ToolRegistry, session: Session | None) -> list[tuple[str, str]]:
    return [(name, tool.version) for name, tool in registry.by_name(session).items()]


async def test_versions_are_listed_by_name_the_newest_by_the_plain_one() -> None:
    registry, session = await make("b")
    registry.register_batch("", [spec("a", version=version) for version in ("1", "3", "2")])
    assert listing(registry, session) == [("a", "3"), ("a@1", "1"), ("a@2", "2"), ("b", "")]
    assert registry.count(session) == 4
    assert registry.find(session, "a@3").base is registry.find(session, "a")
    assert registry.find(session, "a@2").spec.name == "a@2"
    for name in ("a@", "a@4", "b@1", "c@1"):
        with pytest.raises(NotFoundError):
            registry.find(session, name)


async def test_an_id_without_a_version_takes_the_newest_away() -> None:
    registry, session = await make()
    registry.register_batch("s", [spec("a", version=version) for version in ("1", "2", "3")])
    assert registry.unregister("s", ["a", "a@1", "a@7"]) == ["a", "a@1"]
    assert listing(registry, session) == [("a", "2")]


async def test_a_tool_and_its_name_with_the_version_are_gone_together() -> None:
    registry, session = await make()
    (tool,) = registry.register_batch("", [spec("a", version="1")])
    pinned = registry.find(session, "a@1")
    assert not registry.is_gone(pinned)
    registry.drop([tool])
    assert registry.is_gone(pinned)
    assert registry.is_gone(tool)


async def test_a_watch_that_resumes_after_another_version_has_replaced_the_newest_begins_anew() -> None:
    registry, session = await make()
    _, newest = registry.register_batch("", [spec("a", version=version) for version in ("2", "3")])
    before = registry.revision(session)
    registry.register_batch("", [spec("a", version="1")], replaced=[newest])
    watch = registry.watch(session, before)
    told = [await soon(next_told(watch)) for _ in range(3)]
    assert told == [("reset", ""), ("added", "a"), ("added", "a@1")]
    assert listing(registry, session) == [("a", "2"), ("a@1", "1")]
    await watch.aclose()


async def test_what_is_listed_is_without_hidden_tools_and_may_be_cut_to_tags() -> None:
    registry, session = await make("plain")
    marked = ToolSpec(name="marked", metadata={"tags": "a,b"})
    registry.register_batch("", [marked, ToolSpec(name="hidden", metadata={"hidden": "true", "tags": "a"})])
    assert list(registry.listed(session)) == ["marked", "plain"]
    assert list(registry.listed(None, ("a", "b"))) == ["marked"]
    assert list(registry.listed(session, ("a", "c"))) == []
    assert registry.find(session, "hidden").is_hidden


# Where, what is done, to which tool and version.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["", "s"]),
        st.sampled_from(["add", "remove", "remove the newest", "replace"]),
        st.sampled_from("ab"),
        st.sampled_from("123"),
        st.sampled_from(["look", "look on", "look anew", "wait"]),
    ),
    max_size=30,
)


class Follower:
    """A client that follows what a session sees by the changes that a watch tells."""

    def __init__(self, registry: ToolRegistry, session: Session) -> None:
        self._registry, self._session = registry, session
        self._watch: AsyncGenerator[ToolChange, None] | None = None
        self._next: asyncio.Task[ToolChange] | None = None
        self.seen: dict[str, RegisteredTool] = {}
        self._revision = 0

    async def look(self, how: str) -> None:
        if how == "look anew" or not self._revision:
            await self.close()
            self.seen = dict(self._registry.by_name(self._session))
            self._revision = self._registry.revision(self._session)
        elif how == "look on":
            await self.close()
        if self._watch is None:
            self._watch = self._registry.watch(self._session, self._revision)
        while True:
            # What it has to tell, it tells without waiting for anything.
            self._next = self._next or asyncio.ensure_future(anext(self._watch))
            for _ in range(5):
                await asyncio.sleep(0)
            if not self._next.done():
                return
            self._take(self._next.result())
            self._next = None

    def _take(self, change: ToolChange) -> None:
        if change.operation == "reset":
            self.seen.clear()
        elif change.tool is not None and change.operation == "removed":
            del self.seen[change.tool.name]
        elif change.tool is not None:
            self.seen[change.tool.name] = change.tool
        self._revision = change.revision

    async def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
            self._next = None
        if self._watch is not None:
            await self._watch.aclose()
            self._watch = None


def apply(registry: ToolRegistry, scope: str, action: str, name: str, version: str) -> None:
    if action == "add":
        with contextlib.suppress(AlreadyExistsError):
            registry.register_batch(scope, [spec(name, version=version)])
    elif action == "replace":
        newest = registry.own(scope).get(name)
        if newest is not None and newest.version != version:
            with contextlib.suppress(AlreadyExistsError):
                registry.register_batch(scope, [spec(name, version=version)], replaced=[newest])
    else:
        registry.unregister(scope, [name if action == "remove the newest" else f"{name}@{version}"])


async def follow(steps: list[tuple[str, str, str, str, str]]) -> None:
    registry, session = await make("other")
    follower = Follower(registry, session)
    await follower.look("look anew")
    for scope, action, name, version, look in steps:
        apply(registry, scope, action, name, version)
        if look != "wait":
            await follower.look(look)
            present = registry.by_name(session)
            assert {name: tool.spec for name, tool in follower.seen.items()} == {
                name: tool.spec for name, tool in present.items()
            }
            assert list(present) == sorted(present)
            assert registry.count(session) == len(present)
            for tool in present.values():
                assert registry.find(session, tool.id) is tool
                assert tool.name == tool.spec.name
    await follower.close()


# What hid tools of the hub then is listed under another name now.
@example([(scope, "add", "a", version, "look on") for scope, version in (("", "1"), ("", "2"), ("s", "2"), ("s", "3"))])
@example(
    [
        ("", "add", "a", "1", "wait"),
        ("", "add", "a", "2", "look"),
        ("s", "add", "a", "2", "look"),
        ("s", "replace", "a", "1", "look on"),
    ]
)
@given(STEPS)
def test_whoever_follows_the_changes_sees_what_there_is(steps: list[tuple[str, str, str, str, str]]) -> None:
    asyncio.run(follow(steps))
