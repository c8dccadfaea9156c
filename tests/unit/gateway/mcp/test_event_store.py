"""The events kept for clients whose connections break."""

import asyncio
from typing import Any

import pytest
from mcp.server.streamable_http import EventMessage
from mcp_types import JSONRPCNotification, JSONRPCResponse

from grpc_tool_bridge.gateway.mcp import event_store
from grpc_tool_bridge.gateway.mcp.event_store import EventStores, SessionEvents
from grpc_tool_bridge.rpc.budgets import Budget
from support.waiting import soon, turns, until

MIB = 1024 * 1024


class Clock:
    """A clock that stands still."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def memory() -> Budget:
    return Budget(64 * MIB, owner="the hub", setting="max_hub_bytes")


def _note(text: str = "") -> Any:
    return JSONRPCNotification(jsonrpc="2.0", method="notifications/message", params={"data": text})


def _answer(text: str = "") -> Any:
    content = [{"type": "text", "text": text}]
    return JSONRPCResponse(jsonrpc="2.0", id=1, result={"content": content, "structuredContent": {"result": text}})


async def _replayed(events: SessionEvents, after: str) -> list[EventMessage]:
    found: list[EventMessage] = []

    async def take(event: EventMessage) -> None:
        found.append(event)

    assert await soon(events.replay_events_after(after, take)) is None
    return found


async def test_a_stream_is_sent_again_after_an_event_and_no_other_one(memory: Budget) -> None:
    events = EventStores(memory, Clock()).open()
    first = await events.store_event("1", None)
    await events.store_event("2", _note("other"))
    second = await events.store_event("1", _note("a"))
    await events.store_event("1", _answer())
    assert [event.message.method for event in (await _replayed(events, first))[:1]] == ["notifications/message"]  # type: ignore[union-attr]
    assert len(await _replayed(events, first)) == 2
    assert len(await _replayed(events, second)) == 1


async def test_what_comes_while_it_is_read_is_sent_too(memory: Budget) -> None:
    events = EventStores(memory, Clock()).open()
    first = await events.store_event("1", None)
    reading = asyncio.create_task(_replayed(events, first))
    await turns()
    await events.store_event("1", _note("a"))
    await turns()
    await events.store_event("1", _answer())
    assert len(await soon(reading)) == 2


async def test_closing_ends_what_is_read_and_gives_all_back(memory: Budget) -> None:
    events = EventStores(memory, Clock()).open()
    first = await events.store_event("1", None)
    reading = asyncio.create_task(_replayed(events, first))
    await turns()
    events.close()
    assert await soon(reading) == []
    assert memory.used == 0
    await events.store_event("1", _answer())
    assert memory.used == 0


async def test_events_are_forgotten_after_a_time(memory: Budget) -> None:
    clock = Clock()
    stores = EventStores(memory, clock)
    events = stores.open()
    first = await events.store_event("1", None)
    clock.now = event_store.KEEP_SECONDS + 1
    await events.store_event("1", _answer())
    assert await _replayed(events, first) == []
    stores.close()
    assert memory.used == 0


async def test_a_timer_forgets_the_last_ones(memory: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "KEEP_SECONDS", 0.05)
    events = EventStores(memory, asyncio.get_running_loop().time).open()
    await events.store_event("1", _answer())
    assert memory.used
    await until(lambda: not memory.used)


async def test_events_are_bounded_in_number_and_in_bytes(memory: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "MAX_CLIENT_EVENTS", 3)
    monkeypatch.setattr(event_store, "MAX_EVENTS", 4)
    stores = EventStores(memory, Clock())
    one, other = stores.open(), stores.open()
    ids = [await one.store_event("1", _note()) for _ in range(5)]
    assert await _replayed(one, ids[1]) == []
    await one.store_event("1", _answer())
    assert len(await _replayed(one, ids[3])) == 2
    for _ in range(3):
        await other.store_event("1", _note())
    # The oldest of all have gone.
    assert await _replayed(one, ids[3]) == []
    limit = memory.limit // event_store.MEMORY_PART
    assert stores.size <= limit
    large = await one.store_event("2", None)
    await one.store_event("2", _answer("x" * (limit // 2)))
    # Twice its text is more than all may take: only that it was sent is kept.
    assert await _replayed(one, large) == []
    assert len(await _replayed(other, "1")) == 0
    assert stores.size <= limit


async def test_an_event_that_the_hub_has_no_room_for_is_not_kept() -> None:
    memory = Budget(MIB, owner="the hub", setting="max_hub_bytes")
    memory.charge(MIB)
    events = EventStores(memory, Clock()).open()
    first = await events.store_event("1", _answer())
    assert first == "1"
    assert memory.used == MIB


@pytest.mark.parametrize("last", ["9" * 5_000, "x", "-1", "²", ""])
async def test_an_id_that_is_none_has_no_events(memory: Budget, last: str) -> None:
    events = EventStores(memory, Clock()).open()
    await events.store_event("1", _answer())
    assert await _replayed(events, last) == []
