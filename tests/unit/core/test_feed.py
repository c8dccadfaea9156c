"""What happens in a hub, as those are told who watch it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import feed as module
from grpc_tool_bridge.core import sample as sampling
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.gathered import Gathered
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.observers import Observers
from grpc_tool_bridge.core.watcher import MAX_EVENT_BYTES
from grpc_tool_bridge.errors import ResourceExhaustedError, UnavailableError, ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.values.call_bytes import arguments_of, request_head, request_tail
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.clock import Clock


async def add(a: int, b: int = 0) -> int:
    return a + b


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    # What is gathered for a sample is told in the next turn.
    monkeypatch.setattr(module, "GATHER_SECONDS", 0)
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
        assert hub.memory.used == used + MAX_EVENT_BYTES
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
        def follows(self, context: Any) -> bool:
            return True

        def begin(self, call: Any, context: Any) -> None:
            seen.append(call.tool.name)

        def end(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
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
    hub = Hub(Settings(max_hub_bytes=MAX_EVENT_BYTES // 2))
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


# -------------------------------------------------------------------------------------------------------- a sample

# At one call a second.
BURST = sampling.BURST_SECONDS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch, sampling)


def told(events: list[pb.AdminEvent]) -> list[tuple[str, str]]:
    return [(event.operation, event.call.tool_id) for event in events]


async def test_a_watcher_of_a_sample_is_told_of_some_calls_and_how_many_were_left_out(hub: Hub, clock: Clock) -> None:
    async with Watching(hub, kinds=["call"], calls_per_second=1) as watching:
        for _ in range(BURST + 30):
            await call(hub, 1)
        events = await watching.all()
        sampled = [("started", "add"), ("ended", "add")] * BURST
        # Among the slowest of the moment are some that are not in the sample.
        assert told(events)[: len(sampled)] == sampled
        assert set(told(events)[len(sampled) :]) <= {("ended", "add")}
        clock.now += 1
        await call(hub, 1)
        events += await watching.all()
    assert told(events)[-2:] == [("started", "add"), ("ended", "add")]
    assert sum(event.omitted_calls for event in events) == 30
    assert hub.admission.sample is None


async def test_who_watches_all_calls_is_told_of_all_beside_a_sample(hub: Hub, clock: Clock) -> None:
    async with (
        Watching(hub, kinds=["call"], calls_per_second=1) as some,
        Watching(hub, kinds=["call"]) as every,
    ):
        for _ in range(BURST):
            await call(hub, 1)
        await every.all()
        await some.all()
        await call(hub, "no number")
        every_end, some_end = await every.all(), await some.all()
    assert told(every_end) == [("started", "add"), ("ended", "add")]
    assert told(some_end) == [("ended", "add")]
    assert [event.omitted_calls for event in every_end] == [0, 0]
    assert some_end[0].omitted_calls == 1


async def test_calls_outside_a_sample_that_fail_or_are_slow_are_told_at_their_end(hub: Hub, clock: Clock) -> None:
    async with Watching(hub, kinds=["call"], calls_per_second=1, include_arguments=True) as watching:
        for _ in range(BURST):
            await call(hub, 1)
        await watching.all()
        await call(hub, "no number")
        (failed,) = await watching.all()
        # It is the slowest of a new half minute.
        hub.admission.notable.turns_at = 0
        await call(hub, 2)
        (slow,) = await watching.all()
    assert (failed.operation, failed.call.state, failed.call.error.type) == ("ended", "failed", "ValidationError")
    assert failed.call.call_id
    assert failed.call.error.message
    assert (slow.operation, slow.call.state) == ("ended", "done")
    assert deserialize_value(slow.result) == 2


async def test_the_ends_of_calls_outside_a_sample_are_bounded_too(hub: Hub, clock: Clock) -> None:
    async with Watching(hub, kinds=["call"], calls_per_second=1) as watching:
        for _ in range(BURST):
            await call(hub, 1)
        await watching.all()
        for _ in range(sampling.ENDS_AT_ONCE + 50):
            await call(hub, "no number")
        events = await watching.all()
        assert len(events) == sampling.ENDS_AT_ONCE
        clock.now += 1
        for _ in range(BURST + 50):
            await call(hub, "no number")
        later = await watching.all()
    # One call is in the sample.
    assert len([event for event in later if event.operation == "ended"]) == 1 + sampling.ENDS_PER_SECOND
    assert sum(event.omitted_calls for event in events) == sampling.ENDS_AT_ONCE + 50
    assert sum(event.omitted_calls for event in later) == BURST + 50 - 1


async def test_a_nested_call_is_in_the_sample_if_its_parent_is_and_a_run_always_is(hub: Hub, clock: Clock) -> None:
    session, tool = hub.store.find("s"), hub.store.tools["add"]

    def enter(run_id: str = "", parent: HubCall | None = None) -> HubCall:
        context = RequestContext(parent=parent)
        made = hub.admission.make(session, tool, context)
        made.run_id = run_id
        hub.admission.enter(made, context)
        return made

    before = enter()
    async with Watching(hub, kinds=["call"], calls_per_second=1) as watching:
        sampled = [enter() for _ in range(BURST)]
        omitted = enter()
        run = enter("r1")
        steps = [enter(parent=parent) for parent in (before, sampled[0], omitted, run)]
        assert [step.watched for step in steps] == [False, True, False, True]
        assert (omitted.watched, run.watched) == (False, True)
        await watching.all()
        for made in (*steps, run, omitted, before, *sampled):
            hub.admission.observer.ended(made, ok=True, duration_us=1, outcome=None)  # type: ignore[union-attr]
        ended = await watching.all()
        for made in (*steps, run, omitted, before, *sampled):
            hub.admission.end(made, (), ok=True)
    assert [event.call.call_id for event in ended] == [made.call_id for made in (steps[1], steps[3], run, *sampled)]


async def test_what_goes_on_when_somebody_begins_to_watch_a_sample_is_told_with_its_nested_calls(hub: Hub) -> None:
    session, tool = hub.store.find("s"), hub.store.tools["add"]

    def enter(run_id: str = "", parent: HubCall | None = None) -> HubCall:
        context = RequestContext(parent=parent)
        made = hub.admission.make(session, tool, context)
        made.run_id = run_id
        hub.admission.enter(made, context)
        return made

    run, call = enter("r1"), enter()
    nested = enter(parent=call)
    async with Watching(hub, kinds=["call"], calls_per_second=1) as watching:
        steps = [enter(parent=parent) for parent in (run, call, nested)]
        started = await watching.all()
        for made in (*steps, nested, call, run):
            hub.admission.end(made, (), ok=True)
    assert [event.call.call_id for event in started] == [made.call_id for made in steps]
    assert all(not event.omitted_calls for event in started)


async def test_a_sample_of_one_session_has_only_its_calls(hub: Hub, clock: Clock) -> None:
    await hub.store.create_session("other")
    async with Watching(hub, kinds=["call"], session_id="s", calls_per_second=1) as watching:
        for _ in range(BURST + 5):
            await call(hub, "no number", session="other")
        for _ in range(BURST):
            await call(hub, 1)
        assert told(await watching.all()) == [("started", "add"), ("ended", "add")] * BURST
        await call(hub, "no number")
        (end,) = await watching.all()
    assert end.omitted_calls == 1


async def test_what_a_tool_reports_is_told_to_a_watcher_of_a_sample_only_of_its_calls(hub: Hub, clock: Clock) -> None:
    async def report(ctx: ToolContext) -> None:
        ctx.log("here")
        ctx.progress(1)

    hub.registry.register_batch("", [report])
    async with Watching(hub, kinds=["log", "call"], calls_per_second=1) as some:
        await call(hub, tool="report")
        assert {event.operation or event.log.message for event in await some.all()} == {"started", "here", "ended"}
        for _ in range(BURST - 1):
            await call(hub, 1)
        await some.all()
        async with Watching(hub, kinds=["log"]) as every:
            await call(hub, tool="report")
            logging.getLogger("grpc_tool_bridge.here").warning("of the hub")
            assert [event.log.message for event in await every.all()] == ["here", "of the hub"]
            left = [event.log.message for event in await some.all() if event.HasField("log")]
    assert left == ["of the hub"]


async def test_only_where_all_watchers_want_a_sample_other_calls_stay_on_the_short_way(hub: Hub) -> None:
    async with Watching(hub, calls_per_second=5):
        assert hub.admission.is_plain
        async with Watching(hub, kinds=["log"]):
            assert not hub.admission.is_plain
        assert hub.admission.is_plain
        async with Watching(hub, kinds=["session"]):
            assert hub.admission.is_plain
        hub.observe(Observers())
        assert not hub.admission.is_plain
    assert not hub.admission.is_plain


def begin(hub: Hub, *args: Any, tool: str = "add") -> Any:
    """Begins a usual call, as it arrives over a link."""
    arguments = arguments_of(args, {})
    assert arguments is not None
    data = request_head("s", tool) + arguments + request_tail(30_000)
    begun = hub.try_begin_tool(RequestContext(payload=data), lambda answer, error: None)
    assert begun is not None
    return begun


def short(hub: Hub, *args: Any) -> None:
    """Makes a usual call that ends in its first step."""
    with pytest.raises(StopIteration):
        begin(hub, *args).send(None)


async def test_a_usual_call_that_starts_and_ends_at_once_is_told_by_its_end_with_its_arguments(hub: Hub) -> None:
    async with (
        Watching(hub, kinds=["call"], calls_per_second=50, include_arguments=True) as full,
        Watching(hub, kinds=["call"], calls_per_second=50) as bare,
    ):
        short(hub, 1)
        (event,), (other,) = await full.all(), await bare.all()
    assert (event.operation, event.call.state) == ("ended", "done")
    assert [deserialize_value(value) for value in (*event.call.args, event.result)] == [1, 1]
    assert not other.call.args
    assert not other.HasField("result")
    assert (event.sequence, other.sequence) == (1, 1)


async def test_the_start_of_a_usual_call_that_goes_on_is_told_as_it_was(hub: Hub) -> None:
    go_on = asyncio.Event()

    async def hold(number: int) -> int:
        await go_on.wait()
        return number

    async def run(begun: Any) -> Any:
        return await begun

    hub.registry.register_batch("", [hold])
    async with Watching(hub, kinds=["call"], calls_per_second=50, include_arguments=True) as watching:
        running = asyncio.ensure_future(run(begin(hub, 7, tool="hold")))
        (start,) = await watching.all()
        assert (start.operation, start.call.state, start.call.worker_id) == ("started", "running", "")
        assert deserialize_value(start.call.args[0]) == 7
        assert 0 < start.call.time_left_ms <= 30_000
        go_on.set()
        await running
        (end,) = await watching.all()
    assert (end.operation, end.call.call_id, list(end.call.args)) == ("ended", start.call.call_id, [])
    assert deserialize_value(end.result) == 7


async def test_a_usual_call_that_waits_is_told_in_order(hub: Hub) -> None:
    session = hub.store.find("s")
    session.max_calls = 1

    async def run(begun: Any) -> Any:
        return await begun

    (first_permit,) = hub.admission.enter_directly(session, hub.store.tools["add"], None) or ()
    async with Watching(hub, kinds=["call"], calls_per_second=50) as watching:
        waiting = asyncio.ensure_future(run(begin(hub, 1)))
        started, moved = await watching.all()
        assert [(event.operation, event.call.state) for event in (started, moved)] == [
            ("started", "running"),
            ("moved", "waiting"),
        ]
        first_permit.release()
        await waiting
        assert [event.operation for event in await watching.all()] == ["moved", "ended"]
        hub.admission.active -= 1


async def test_what_is_gathered_is_told_before_the_end_of_a_watch(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub._feed, "_gathered", Gathered(1e9))
    async with Watching(hub, kinds=["call"], calls_per_second=50) as watching:
        short(hub, 1)
        assert len(await watching.all()) == 1
        short(hub, 2)
        assert await watching.all() == []
        hub._feed.close(UnavailableError("gone"))
        assert (await watching.next()).operation == "ended"
        with pytest.raises(UnavailableError, match="gone"):
            await watching.next()
    hub.abandon()
    assert not hub._feed._starts


async def test_a_negative_number_of_calls_is_refused(hub: Hub) -> None:
    with pytest.raises(ValidationError, match=r"calls_per_second must be 0 \(every call\) or more, not -1"):
        await anext(hub.watch_events(pb.WatchEventsRequest(calls_per_second=-1)))
