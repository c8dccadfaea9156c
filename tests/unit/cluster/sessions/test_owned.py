"""The sessions of a hub: those that it remembers, gives up, and takes one at a time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.journal import changes
from grpc_tool_bridge.cluster.journal.changes import KeptCall
from grpc_tool_bridge.cluster.journal.pending import PendingChange
from grpc_tool_bridge.cluster.sessions import owned as owned_module
from grpc_tool_bridge.cluster.sessions.owned import OwnedSessions
from grpc_tool_bridge.cluster.sessions.places import Ended, Mine, Missing, Orphan
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.errors import StoreError
from support.waiting import soon


@pytest.fixture
async def owned(bus: Bus) -> AsyncIterator[OwnedSessions]:
    found = OwnedSessions(bus, Settings(ended_sessions=2), {"name": "one"})
    await found.open()
    yield found
    await found.aclose()


async def begin(owned: OwnedSessions, session_id: str) -> None:
    change = PendingChange(changes.create(StoredSession(session_id, 1.0, {})))
    await soon(owned.begin(session_id).submit(change))


async def end(owned: OwnedSessions, session_id: str) -> None:
    chain = owned.chain(session_id)
    assert chain is not None
    await soon(chain.submit(PendingChange(changes.end(f"why {session_id}", 1.0))))


async def test_the_last_sessions_that_ended_are_remembered_here_and_all_in_nats(owned: OwnedSessions) -> None:
    for session_id in ("a", "b", "c"):
        await begin(owned, session_id)
        await end(owned, session_id)
    assert [(session_id, why) for session_id, (why, _) in owned.ended.items()] == [("b", "why b"), ("c", "why c")]
    assert [await owned.locate(session_id) for session_id in "ab"] == [Ended("why a"), Ended("why b")]
    await begin(owned, "a")
    await begin(owned, "b")
    assert [await owned.locate(session_id) for session_id in "abz"] == [Mine(), Mine(), Missing()]
    assert len(owned) == 2


async def test_a_session_is_taken_by_one_of_those_who_ask_at_once(owned: OwnedSessions) -> None:
    await begin(owned, "s")
    owned.forget("s")
    owned.forget("s")
    assert await owned.locate("s") == Orphan()
    found = await soon(asyncio.gather(*(owned.take("s") for _ in range(5))))
    assert len([chain for chain in found if chain is not None]) == 1
    assert await owned.take("s") is None


async def test_what_a_hub_forgot_it_no_longer_stores(owned: OwnedSessions) -> None:
    await begin(owned, "s")
    chain = owned.chain("s")
    assert chain is not None
    owned.forget("s")
    with pytest.raises(StoreError, match="moved to another hub"):
        await soon(chain.submit(PendingChange(changes.free_call("k"))))


async def test_all_is_stored_before_a_hub_gives_its_sessions_back(owned: OwnedSessions, bus: Bus) -> None:
    await begin(owned, "s")
    chain = owned.chain("s")
    assert chain is not None
    write = chain.submit(PendingChange(changes.begin_call("k", b"d")))
    assert not write.is_settled
    await owned.aclose()
    assert write.error is None
    assert write.is_settled
    other = OwnedSessions(bus, Settings(), {"name": "two"})
    await other.open()
    taken = await soon(other.take("s"))
    assert taken.image.call("k") is not None
    await other.aclose()


async def test_answers_of_a_session_that_nobody_writes_to_are_freed_once_they_are_over(owned: OwnedSessions) -> None:
    await begin(owned, "s")
    chain = owned.chain("s")
    assert chain is not None
    chain.image.set_call("k", KeptCall(b"d", 500.0, b"answer"))
    await owned.sweep(499.0)
    assert chain.image.call("k") is not None
    await owned.sweep(500.0)
    assert chain.image.call("k") is None


async def test_a_hub_that_ends_while_nats_is_away_says_that_nobody_knows(
    owned: OwnedSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(owned, "s")
    chain = owned.chain("s")
    assert chain is not None
    monkeypatch.setattr(owned_module, "CLOSE_SECONDS", 0.01)
    monkeypatch.setattr(owned.appender, "is_certain", lambda: False)
    write = chain.submit(PendingChange(changes.begin_call("k", b"d")))
    await soon(owned.aclose())
    with pytest.raises(StoreError, match="not known"):
        await soon(write)
