"""The durable store in NATS: which hub has a session, and that never two act for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from grpc_tool_bridge.cluster.bus.facts import SharedRevisions
from grpc_tool_bridge.cluster.sessions.places import Ended, Mine, Missing, Orphan, Owned
from grpc_tool_bridge.cluster.sessions.store import NatsStore
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.errors import AlreadyExistsError, StoreError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallResponse
from support.nats_nodes import NatsNode, one_node, three_nodes
from support.nats_stores import HubStore, cluster_url
from support.waiting import soon, turns, until

Hubs = Callable[[str], HubStore]


@pytest.fixture
async def hubs(node: NatsNode) -> AsyncIterator[Hubs]:
    """Makes stores of hubs that share a cluster."""
    url = cluster_url(node.url)
    async with AsyncExitStack() as stack:

        def make(name: str) -> HubStore:
            hub = HubStore(url, name)
            stack.push_async_callback(hub.store.aclose)
            return hub

        yield make


@pytest.fixture
async def one(hubs: Hubs) -> HubStore:
    hub = hubs("one")
    await hub.open()
    return hub


@pytest.fixture
async def two(hubs: Hubs, one: HubStore) -> HubStore:
    hub = hubs("two")
    await hub.open()
    return hub


async def taken(hub: HubStore, session_id: str = "s") -> StoredSession:
    """Takes a session once its hub is known to be gone."""
    async with asyncio.timeout(20):
        while (found := await hub.store.take(session_id)) is None:  # noqa: ASYNC110 - another hub has no event
            await asyncio.sleep(0.01)
    return found


async def test_a_session_is_where_it_began_until_its_hub_ends_and_then_where_it_is_taken(
    one: HubStore, two: HubStore
) -> None:
    assert await two.store.locate("s") == Missing()
    await one.begin()
    await one.set(7)
    assert await one.store.locate("s") == Mine()
    assert await two.store.locate("s") == Owned(one.store.lease.incarnation)
    assert await two.store.take("s") is None
    assert [found async for found in two.store.orphans()] == []
    await one.store.aclose()
    await until(lambda: len(two.store.leases.hubs()) == 1)
    assert await two.store.locate("s") == Orphan()
    assert [found async for found in two.store.orphans()] == ["s"]
    stored = await two.store.take("s")
    assert stored is not None
    assert [variable.revision for variable in stored.variables] == [7]
    assert stored.above >= 7
    assert await two.store.locate("s") == Mine()
    assert [found async for found in two.store.orphans()] == []
    await soon(two.set(8, 7))
    await two.store.end_session("s", "it was removed")
    assert await two.store.locate("s") == Ended("it was removed")
    assert await two.store.take("s") is None


async def test_hubs_share_an_epoch_and_a_later_one_begins_above_what_is_reserved(
    hubs: Hubs, one: HubStore, two: HubStore
) -> None:
    await soon(one.store.reserve_revisions(1_000))
    await soon(two.store.reserve_revisions(500))
    third = hubs("three")
    first, state = await third.open(), await hubs("four").open()
    assert first.epoch == state.epoch
    assert (first.revision, state.revision) == (1_000, 1_000)
    assert list(first.sessions) == []


async def test_what_a_hub_gives_back_is_kept_where_another_has_reserved_since(one: HubStore, two: HubStore) -> None:
    await soon(one.store.reserve_revisions(100))
    await soon(two.store.reserve_revisions(200))
    await soon(one.store.reserve_revisions(50))
    await one.begin()
    await one.store.aclose()
    assert (await taken(two)).above == 200


async def test_a_session_that_another_hub_has_cannot_begin_here(one: HubStore, two: HubStore) -> None:
    await one.begin()
    with pytest.raises(AlreadyExistsError, match="'s' exists already"):
        await two.begin()
    assert await two.store.locate("s") == Owned(one.store.lease.incarnation)
    assert two.lost == []
    await soon(one.set(1))


async def test_a_session_that_this_hub_has_cannot_begin_again(one: HubStore) -> None:
    await one.begin()
    with pytest.raises(AlreadyExistsError, match="'s' exists already"):
        await one.begin()
    await soon(one.set(1))


async def test_of_hubs_that_begin_a_session_at_once_one_has_it(one: HubStore, two: HubStore) -> None:
    outcomes = await soon(asyncio.gather(one.begin(), two.begin(), return_exceptions=True))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AlreadyExistsError", "NoneType"]


async def test_a_hub_that_was_paused_stores_nothing_more_and_forgets_what_another_has_taken(
    one: HubStore, two: HubStore
) -> None:
    await one.begin()
    await one.begin("other")
    await one.set(1)
    former = one.store.lease.incarnation
    one.cut_off()
    write = one.set(2, 1)
    # Who waits for what comes behind it fails once those who use the session know that it has moved.
    lost_before: list[list[str]] = []
    await turns()
    one.set(3, 2).tell(lambda _: lost_before.append(sorted(one.lost)))
    stored = await taken(two)
    assert [variable.revision for variable in stored.variables] == [1]
    assert not one.store.is_certain()
    one.reach_again()
    with pytest.raises(StoreError):
        await soon(write)
    await until(lambda: one.lost)
    assert sorted(one.lost) == ["other", "s"]
    assert lost_before == [["other", "s"]]
    with pytest.raises(StoreError, match="does not own session 's'"):
        await soon(one.set(3, 1))
    await soon(two.set(4, 1))
    # It goes on with another life, which owns nothing, and may take what nobody has.
    await until(one.store.is_certain)
    assert one.store.lease.incarnation != former
    assert await one.store.locate("s") == Owned(two.store.lease.incarnation)
    assert (await taken(one, "other")).session_id == "other"
    await soon(one.set(5, session_id="other"))


async def test_a_hub_that_believes_to_own_what_another_has_taken_is_not_believed(one: HubStore, two: HubStore) -> None:
    await one.begin()
    await one.begin("other")
    # It is certain of its lease, as one whose clock stands still, and hears of nothing.
    one.store._owned.appender.is_certain = lambda: True  # type: ignore[union-attr]
    one.store.lease.note_closed = lambda record: None  # type: ignore[method-assign]
    one.cut_off()
    await taken(two)
    one.reach_again()
    with pytest.raises(StoreError, match="moved to another hub"):
        await soon(one.set(2))
    await soon(two.set(3))
    found = await two.store.changes_after("s", 0)
    assert [change.revision for change in found or ()] == [3]


async def test_of_many_who_take_a_session_at_once_one_has_it(hubs: Hubs, one: HubStore) -> None:
    others = [hubs(f"hub {number}") for number in range(4)]
    await asyncio.gather(*(hub.open() for hub in others))
    await one.begin()
    await one.store.aclose()
    await until(lambda: all(len(hub.store.leases.hubs()) == 4 for hub in others))
    found = await soon(asyncio.gather(*(hub.store.take("s") for hub in others for _ in range(2))))
    assert len([stored for stored in found if stored is not None]) >= 1
    writes = [hub.set(number + 1) for number, hub in enumerate(others)]
    outcomes = await soon(asyncio.gather(*writes, return_exceptions=True))
    assert outcomes.count(None) == 1
    places = [await hub.store.locate("s") for hub in others]
    assert places.count(Mine()) == 1


async def test_a_session_that_was_forgotten_is_an_orphan_that_its_hub_may_take_again(one: HubStore) -> None:
    await one.begin()
    await one.set(1)
    one.store.forget("s")
    assert one.lost == []
    assert await one.store.locate("s") == Orphan()
    assert [variable.revision for variable in (await taken(one)).variables] == [1]
    await soon(one.set(2, 1))


async def test_a_call_that_ran_when_its_hub_ended_is_not_known_and_its_answer_is(one: HubStore, two: HubStore) -> None:
    await one.begin()
    assert await one.store.begin_call("s", "running", b"d", again=False) is None
    assert await one.store.begin_call("s", "answered", b"d", again=False) is None
    await one.store.keep_answer("s", "answered", ToolCallResponse(success=True))
    await one.store.aclose()
    await taken(two)
    earlier = await two.store.begin_call("s", "running", b"d", again=False)
    assert earlier is not None
    assert earlier.answer is None
    earlier = await two.store.begin_call("s", "answered", b"d", again=True)
    assert earlier is not None
    assert earlier.answer is not None


async def test_it_says_when_it_cannot_store_and_when_it_can_again() -> None:
    told: list[bool] = []
    with one_node() as node:
        hub = HubStore(cluster_url(node.url))
        await hub.open()
        hub.store.watch_failure(lambda: told.append(hub.store.is_failing))
        await hub.begin()
        node.kill()
        await until(lambda: told == [True])
        assert "NATS" in hub.store.failure
        write = hub.set(1)
        node.start()
        await node.ready()
        await soon(write)
        await until(lambda: told == [True, False])
        assert hub.store.failure == ""
        assert hub.store.counts()["store_changes"] == 2
        await hub.store.aclose()


async def test_a_hub_that_stands_alone_has_all_sessions_when_it_begins(node: NatsNode) -> None:
    url = cluster_url(node.url)
    first = HubStore(url, adopt=True)
    await first.open()
    for number in range(200):
        await first.begin(f"s{number}")
    await first.store.end_session("s7", "it was removed")
    await first.store.aclose()
    second = HubStore(url, adopt=True)
    state = await second.open()
    assert len(state.sessions) == 199
    assert state.ended == {"s7": "it was removed"}
    with pytest.raises(StoreError, match="another hub has this store"):
        await NatsStore(url, adopt=True).open(second.store._settings)
    await soon(second.set(1, session_id="s0"))
    await second.store.aclose()


async def test_writes_wait_while_the_stream_has_no_leader_and_each_is_stored_once() -> None:
    with three_nodes() as nodes:
        hub = HubStore(cluster_url(nodes.url))
        await hub.open()
        sessions = [f"s{number}" for number in range(8)]
        for session_id in sessions:
            await hub.begin(session_id)
        incarnation = hub.store.lease.incarnation
        going = True

        async def write(session_id: str) -> int:
            revision = 0
            while going:
                await hub.set(revision + 1, revision, session_id=session_id)
                revision += 1
            return revision

        writers = [asyncio.create_task(write(session_id)) for session_id in sessions]
        await until(lambda: int(hub.store.counts()["store_changes"]) > 100)
        leader = await nodes.leader(hub.store.bus.names.stream)
        leader.kill()
        await until(lambda: not hub.store.is_certain())
        await until(hub.store.is_certain)
        before = int(hub.store.counts()["store_changes"])
        await until(lambda: int(hub.store.counts()["store_changes"]) > before + 100)
        going = False
        last = await asyncio.gather(*writers)
        assert (hub.lost, hub.store.lease.incarnation) == ([], incarnation)
        url = hub.store.address.shown
        await hub.store.aclose()
        again = HubStore(url, adopt=True)
        state = await again.open()
        for session_id, revision in zip(sessions, last, strict=True):
            changes = await again.store.changes_after(session_id, max(0, revision - 900))
            assert [change.revision for change in changes or ()] == list(
                range(max(0, revision - 900) + 1, revision + 1)
            )
        assert len(state.sessions) == len(sessions)
        await again.store.aclose()


async def test_a_session_that_was_taken_while_the_store_answers_no_more_can_be_taken_again(
    one: HubStore, two: HubStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one.begin()
    await one.store.aclose()

    async def fails(_: SharedRevisions) -> int:
        raise StoreError("NATS does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(SharedRevisions, "read", fails)
        with pytest.raises(StoreError, match="does not answer"):
            await taken(two)
    assert (await taken(two)).session_id == "s"
    assert await two.store.locate("s") == Mine()
