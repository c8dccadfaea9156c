"""A hub finds who has a session, and takes sessions whose hub is gone."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge.cluster.forwarding import owners
from grpc_tool_bridge.cluster.sessions.places import Place
from grpc_tool_bridge.errors import SessionNotFoundError, StoreError, UnavailableError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from support.memory_cluster import MemoryCluster
from support.waiting import soon, turns


@pytest.fixture
async def two() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster("ab") as cluster:
        await cluster["a"].front.initialize_session(pb.InitializeSessionRequest(session_id="s"))
        yield cluster


async def test_an_owner_that_was_found_is_remembered_until_it_is_dropped(two: MemoryCluster) -> None:
    of_b, store = two["b"].owners, two["b"].store
    for _ in range(3):
        found = await of_b.find("s")
        assert found is not None
        assert found.hub.name == "a"
    assert store.located == 1
    of_b.drop("s")
    await of_b.find("s")
    assert store.located == 2


async def test_owners_beyond_the_limit_are_read_again(two: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "MAX_KNOWN", 1)
    await two["a"].front.initialize_session(pb.InitializeSessionRequest(session_id="t"))
    of_b = two["b"].owners
    for session_id in ("s", "t", "s"):
        await of_b.find(session_id)
    assert two["b"].store.located == 3


async def test_a_request_waits_for_the_lease_of_a_hub_that_is_gone(two: MemoryCluster) -> None:
    await two["a"].die()
    finding = asyncio.ensure_future(two["b"].owners.find("s"))
    await turns(50)
    assert not finding.done()
    two.book.closed.add("a")
    assert await soon(finding) is None
    assert "s" in two["b"].hub.store
    assert two["b"].owners.taken == 1


async def test_an_owner_that_cannot_be_reached_is_an_error_that_can_be_retried(two: MemoryCluster) -> None:
    await two["a"].die()
    with pytest.raises(UnavailableError, match="at another hub, which this one cannot reach") as raised:
        await soon(two["b"].owners.find("s", time.monotonic() + 0.05))
    assert raised.value.retryable


async def test_of_many_who_need_a_session_one_takes_it(two: MemoryCluster) -> None:
    await two["a"].die()
    two.book.closed.add("a")
    assert await soon(asyncio.gather(*(two["b"].owners.find("s") for _ in range(20)))) == [None] * 20
    assert two["b"].owners.taken == 1


async def test_a_hub_that_shuts_down_takes_nothing(two: MemoryCluster) -> None:
    await two["a"].die()
    two.book.closed.add("a")
    two["b"].hub.admission.draining = True
    with pytest.raises(UnavailableError, match="could not be taken"):
        await soon(two["b"].owners.find("s", time.monotonic() + 0.05))
    assert "s" not in two["b"].hub.store


async def test_the_incarnation_of_an_owner_is_found_by_the_session(two: MemoryCluster) -> None:
    assert await two["b"].owners.incarnation_of("s") == "a"
    with pytest.raises(UnavailableError, match="at this hub"):
        await two["a"].owners.incarnation_of("s")
    with pytest.raises(SessionNotFoundError):
        await two["a"].owners.incarnation_of("none")


async def test_revisions_go_on_above_those_of_the_former_owner(two: MemoryCluster) -> None:
    reserved = two.book.reserved["a"]
    await two["a"].die()
    two.book.closed.add("a")
    await soon(two["b"].owners.find("s"))
    assert two["b"].hub.store.revisions.next() > reserved
    assert two.book.reserved["b"] > reserved


async def test_a_request_does_not_wait_beyond_its_deadline_for_a_store_that_does_not_answer(two: MemoryCluster) -> None:
    store, go = two["b"].store, asyncio.Event()
    located = store.locate

    async def locate(session_id: str) -> Place:
        await go.wait()
        return await located(session_id)

    store.locate = locate  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match="was not found out in time"):
        await soon(two["b"].owners.find("s", time.monotonic() + 0.05))
    # Others still wait for what is under way.
    finding = asyncio.ensure_future(two["b"].owners.find("s"))
    go.set()
    found = await soon(finding)
    assert found is not None
    assert found.hub.name == "a"


async def test_a_session_that_was_taken_and_cannot_be_read_can_be_taken_again(
    two: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two["a"].die()
    two.book.closed.add("a")
    hub = two["b"].hub
    with monkeypatch.context() as patched:
        patched.setattr(type(hub), "adopt", _fails)
        with pytest.raises(StoreError, match="cannot be read"):
            await soon(two["b"].owners.find("s"))
    assert await soon(two["b"].owners.find("s")) is None
    assert "s" in hub.store


def _fails(*_: object) -> None:
    raise StoreError("the session cannot be read")
