"""What happens in a hub, as those are told who watch it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import feed as module
from grpc_tool_bridge.core.feed import Watcher
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import ResourceExhaustedError, UnavailableError, ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value

GONE = UnavailableError("gone")


async def add(a: int, b: int = 0) -> int:
    return a + b


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub(Settings(), [add, numbers])
    await made.start()
    await made.store.create_session("s")
    yield made
    await made.drain(0)
    await made.aclose()


class Watching:
    """Watches a hub for the time of a block, and reads what it is told when the test says so."""

    def __init__(self, hub: Hub, **asked: Any) -> None:
        self._events = hub.watch_events(pb.WatchEventsRequest(**asked))

    async def __aenter__(self) -> Self:
        self._next = asyncio.ensure_future(anext(self._events))
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._next.cancel()
        await asyncio.gather(self._next, return_exceptions=True)
        await self._events.aclose()

    async def next(self) -> pb.AdminEvent:
        event = await self._next
        self._next = asyncio.ensure_future(anext(self._events))
        return event

    async def all(self) -> list[pb.AdminEvent]:
        """Reads all that it is told until now."""
        read = []
        for _ in range(10):
            await asyncio.sleep(0)
            while self._next.done():
                read.append(await self.next())
                await asyncio.sleep(0)
        return read


async def call(hub: Hub, *args: Any, tool: str = "add", session: str = "s", **fields: Any) -> Any:
    request = pb.ToolCallRequest(session_id=session, tool_id=tool, args=[*map(serialize_value, args)], **fields)
    return await hub.execute_tool(request)


# -------------------------------------------------------------------------------------------------- nobody watches


async def test_a_hub_that_nobody_watches_does_nothing_for_it(hub: Hub) -> None:
    def hooks() -> list[Any]:
        return [
            hub.admission.observer,
            hub.workers.dispatcher.observer,
            hub.workers.on_change,
            hub.store.on_change,
        ]

    used = hub.memory.used
    assert hooks() == [None] * 4
    async with Watching(hub):
        assert None not in hooks()
        assert hub.memory.used == used + module.MAX_EVENT_BYTES
    assert hooks() == [None] * 4
    assert hub.memory.used == used


def test_a_hub_whose_loop_has_ended_observes_nothing_more() -> None:
    hub = Hub(Settings())

    async def watch() -> None:
        watching = Watching(hub)
        await watching.__aenter__()
        hub.abandon()

    logger = logging.getLogger("grpc_tool_bridge")
    before = list(logger.handlers)
    asyncio.run(watch())
    assert logger.handlers == before
    assert hub.admission.observer is None


async def test_only_what_somebody_watches_is_observed(hub: Hub) -> None:
    async with Watching(hub, kinds=["worker"]):
        assert hub.admission.observer is None
        assert hub.store.on_change is None
        async with Watching(hub, kinds=["session"]):
            assert hub.store.on_change is not None
        assert hub.store.on_change is None
        assert hub.workers.on_change is not None


async def test_a_users_tracer_goes_on_beside_it(hub: Hub) -> None:
    seen: list[str] = []

    class Tracer:
        def begin(self, call: Any, context: Any) -> None:
            seen.append(call.tool.name)

        def end(self, call: Any, *, ok: bool, duration_us: int) -> None:
            seen.append(f"{ok}")

    hub.admission.tracer = Tracer()
    async with Watching(hub, kinds=["call"]) as watching:
        await call(hub, 1)
        assert len(await watching.all()) == 2
    await call(hub, 1)
    assert seen == ["add", "True"] * 2


# ----------------------------------------------------------------------------------------------- what is told to whom


async def test_events_are_numbered_and_timed(hub: Hub) -> None:
    async with Watching(hub) as watching:
        await call(hub, 1)
        await call(hub, 2)
        events = await watching.all()
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert all(event.timestamp.seconds > 0 and event.dropped == 0 for event in events)


async def test_each_watcher_is_told_what_it_asked_for(hub: Hub) -> None:
    await hub.store.create_session("other")
    async with (
        Watching(hub, kinds=["call"], session_id="s") as mine,
        Watching(hub, kinds=["call"], include_arguments=True) as full,
        Watching(hub, kinds=["session"]) as sessions,
    ):
        await call(hub, 1)
        await call(hub, 2, session="other")
        await hub.store.create_session("new")
        own, every, changed = await mine.all(), await full.all(), await sessions.all()
    assert [event.call.session_id for event in own] == ["s", "s"]
    assert not any(event.call.args or event.HasField("result") for event in own)
    assert [event.call.session_id for event in every] == ["s", "s", "other", "other"]
    assert deserialize_value(every[2].call.args[0]) == 2
    assert deserialize_value(every[1].result) == 1
    assert [(event.operation, event.session.session_id) for event in changed] == [("started", "new")]


async def test_the_text_of_an_error_is_told_to_whoever_asks_for_arguments(hub: Hub) -> None:
    async with (
        Watching(hub, kinds=["call"]) as bare,
        Watching(hub, kinds=["call"], include_arguments=True) as full,
    ):
        await call(hub, "secret")
        (_, bare_end), (_, full_end) = await bare.all(), await full.all()
    assert (bare_end.call.error.type, bare_end.call.error.message) == ("ValidationError", "")
    assert full_end.call.error.type == "ValidationError"
    assert full_end.call.error.message


async def test_a_stream_and_a_batch_are_told_as_calls(hub: Hub) -> None:
    async with Watching(hub, kinds=["call"]) as watching:
        request = pb.ToolStreamRequest(session_id="s", tool_id="numbers", args=[serialize_value(2)], stream_id="mine")
        _ = [chunk async for chunk in hub.stream_tool(request)]
        item = pb.ToolCallItem(tool_id="add", args=[serialize_value(1)])
        await hub.batch_execute_tools(pb.BatchToolCallRequest(session_id="s", items=[item, item]))
        events = await watching.all()
    told = [(event.operation, event.call.tool_id, event.call.state) for event in events]
    assert told[:2] == [("started", "numbers", "running"), ("ended", "numbers", "done")]
    assert told[2:] == [("started", "add", "running"), ("ended", "add", "done")] * 2
    assert events[0].call.request_id == "mine"


async def test_a_call_is_told_with_the_id_that_its_caller_gave_it(hub: Hub) -> None:
    async with Watching(hub, kinds=["call"]) as watching:
        await call(hub, 1, request_id="r1")
        await call(hub, 1, request_id="r2", idempotency_key="k")
        events = await watching.all()
    assert [event.call.request_id for event in events] == ["r1", "r1", "r2", "r2"]


# ---------------------------------------------------------------------------------------------------- slow watchers


def event(name: str) -> pb.AdminEvent:
    return pb.AdminEvent(call=pb.CallInfo(call_id=name))


async def test_a_slow_watcher_loses_the_oldest_and_is_told_how_many() -> None:
    watcher = Watcher(pb.WatchEventsRequest())
    for number in range(module.MAX_EVENTS + 3):
        watcher.put(event(str(number)), 1)
    first, second = await watcher.next(), await watcher.next()
    assert (first.call.call_id, first.sequence, first.dropped) == ("3", 4, 3)
    assert (second.call.call_id, second.sequence, second.dropped) == ("4", 5, 0)
    watcher.skip(2)
    watcher.put(event("late"), 1)
    while (last := await watcher.next()).call.call_id != "late":
        assert last.dropped == 0
    assert last.dropped == 2


async def test_large_events_give_way_by_their_bytes() -> None:
    watcher = Watcher(pb.WatchEventsRequest())
    for number in range(3):
        watcher.put(event(str(number)), module.MAX_EVENT_BYTES)
    last = await watcher.next()
    assert (last.call.call_id, last.dropped) == ("2", 2)
    assert watcher._bytes == 0


async def test_what_waits_is_told_before_the_end() -> None:
    watcher = Watcher(pb.WatchEventsRequest())
    watcher.put(event("1"), 1)
    watcher.close(GONE)
    assert (await watcher.next()).call.call_id == "1"
    with pytest.raises(UnavailableError, match="gone"):
        await watcher.next()


# -------------------------------------------------------------------------------------------------------- refusals


async def test_a_watch_that_cannot_be_is_refused(hub: Hub) -> None:
    with pytest.raises(
        ValidationError, match="'calls' is not a kind of event; the kinds are call, worker, session, log"
    ):
        await anext(hub.watch_events(pb.WatchEventsRequest(kinds=["call", "calls"])))
    with pytest.raises(ValidationError, match="session_id has at most"):
        await anext(hub.watch_events(pb.WatchEventsRequest(session_id="x" * 1_000)))


async def test_too_many_watches_are_refused() -> None:
    hub = Hub(Settings(max_admin_watches=1))
    async with Watching(hub):
        with pytest.raises(ResourceExhaustedError, match="the hub has 1 watches open"):
            await anext(hub.watch_events(pb.WatchEventsRequest()))
    hub = Hub(Settings(max_hub_bytes=module.MAX_EVENT_BYTES // 2))
    with pytest.raises(ResourceExhaustedError, match="a watch of events"):
        await anext(hub.watch_events(pb.WatchEventsRequest()))
    assert hub.memory.used == 0


async def test_a_hub_that_drains_ends_its_watches_and_takes_no_new_ones(hub: Hub) -> None:
    async with Watching(hub) as watching:
        await hub.drain(0)
        with pytest.raises(UnavailableError, match="the hub is shutting down"):
            await watching.all()
    with pytest.raises(UnavailableError, match="shutting down"):
        await anext(hub.watch_events(pb.WatchEventsRequest()))
