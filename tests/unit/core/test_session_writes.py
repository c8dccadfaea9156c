"""Sessions whose beginning or end is on its way into a durable store."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.session_writes import SessionWrites
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.errors import StoreError
from support.held_store import HeldStore
from support.waiting import soon, turns


class Outcomes:
    """What became of sessions."""

    def __init__(self) -> None:
        self.of: list[tuple[str, bool]] = []

    def __call__(self, session: Session, error: Any) -> None:
        self.of.append((session.id, error is None))


SESSION = Session("s", {}, None)
STORED = StoredSession("s", SESSION.created_at, {})


async def test_a_beginning_and_an_end_are_known_until_they_are_stored() -> None:
    store, writes, outcomes = HeldStore(), SessionWrites(), Outcomes()
    beginning = writes.begin(store, SESSION, STORED, outcomes)
    assert (writes.beginning, writes.ending, len(writes)) == ({"s": SESSION}, {}, 1)
    store.store()
    await soon(beginning)
    assert (outcomes.of, len(writes)) == ([("s", True)], 0)
    ending = writes.end(store, SESSION, "it was idle", outcomes)
    assert (writes.beginning, writes.ending) == ({}, {"s": SESSION})
    assert store.held[0][:2] == ("end_session", ("s", "it was idle"))
    store.fail()
    with pytest.raises(StoreError):
        await ending
    assert (outcomes.of, len(writes)) == ([("s", True), ("s", False)], 0)


async def test_who_settles_a_session_waits_for_it_alone_and_hears_of_no_error() -> None:
    store, writes, outcomes = HeldStore(), SessionWrites(), Outcomes()
    await writes.settle("s")
    writes.begin(store, SESSION, STORED, outcomes)
    await writes.settle("another")
    waiting = asyncio.ensure_future(writes.settle("s"))
    await turns()
    assert not waiting.done()
    store.fail()
    await soon(waiting)


async def test_who_settles_a_session_waits_for_what_began_meanwhile_too() -> None:
    store, writes, outcomes = HeldStore(), SessionWrites(), Outcomes()
    writes.begin(store, SESSION, STORED, outcomes)
    waiting = asyncio.ensure_future(writes.settle("s"))
    await turns()
    store.fail()
    writes.begin(store, SESSION, STORED, outcomes)
    await turns()
    assert not waiting.done()
    store.store()
    await soon(waiting)


async def test_a_store_that_answers_at_once_leaves_nothing_on_its_way() -> None:
    writes, outcomes = SessionWrites(), Outcomes()
    await writes.begin(HeldStore(is_quick=True), SESSION, STORED, outcomes)
    assert (outcomes.of, len(writes)) == ([("s", True)], 0)
    await writes.settle("s")


class Unwritable(HeldStore):
    """A store that cannot even write a session down."""

    def create_session(self, session: Any, settled: Any = None) -> Any:
        raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")


async def test_a_session_that_cannot_be_written_down_leaves_nothing_on_its_way() -> None:
    writes = SessionWrites()
    with pytest.raises(UnicodeEncodeError):
        writes.begin(Unwritable(), SESSION, STORED, Outcomes())
    assert len(writes) == 0
