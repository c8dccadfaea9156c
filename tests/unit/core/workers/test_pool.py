"""Which worker gets a call, and what becomes of the calls of one that is lost."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.config import DEFAULT_CAPACITY, Settings
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.workers.backend import WorkerBackend, backend_of, workers_of
from grpc_tool_bridge.core.workers.dispatch import MAX_LOSSES
from grpc_tool_bridge.core.workers.pool import MAX_WORKER_TOOLS, WorkerPool
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import (
    AlreadyExistsError,
    MessageTooLargeError,
    NotFoundError,
    ResourceExhaustedError,
    SessionError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.link.calls import WorkerCall, WorkerLostError
from grpc_tool_bridge.link.connection import CallOrigin
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkStatus, RegisterToolsRequest, ToolSpec
from grpc_tool_bridge.rpc.buffers import Payload, joined
from support.waiting import soon, turns, until

# Pings come so seldom that a test sees the first one only.
CALM = {"worker_ping_interval": 3_600, "worker_suspect_after": 3_600, "worker_lost_after": 86_400}
QUICK = {"worker_ping_interval": 0.005, "worker_suspect_after": 0.015, "worker_lost_after": 60}


def crew_of(call: HubCall) -> WorkerBackend:
    crew = backend_of(call.tool)
    assert crew is not None
    return crew


class FakeLink:
    """A link whose worker does as the test says."""

    features: tuple[str, ...] = ()
    on_writable: Callable[[], None] | None = None
    peer = "fake"

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self.alive = True
        self.sends = True
        self.refusal: Exception | None = None
        self.pings = 0
        # Calls that were open when it was told that none are.
        self.released: list[int] = []
        self.given_up: list[str] = []
        # Calls that were given and have not come to their end, and those of them that somebody waits for.
        self.open: list[WorkerCall] = []
        self.waiting: list[WorkerCall] = []
        self.payloads: list[bytes] = []
        self.granted = 0

    @property
    def open_calls(self) -> int:
        return len(self.open)

    def calls(self) -> list[WorkerCall]:
        return list(self.waiting)

    def has_sent(self, call: WorkerCall) -> bool:
        assert call in self.open
        return self.sends

    def send(self, call: WorkerCall, payload: Payload) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.open.append(call)
        self.waiting.append(call)
        self.payloads.append(joined(payload))

    def cancel(self, call: WorkerCall) -> None:
        if call in self.waiting:
            self.waiting.remove(call)

    def grant(self, _: WorkerCall, size: int) -> None:
        self.granted += size

    def ping(self) -> None:
        self.pings += 1
        if self.alive:
            self._pool.on_pong(self)

    def release(self) -> None:
        self.released.append(len(self.open))

    def abort(self, why: str) -> None:
        self.given_up.append(why)

    # What the worker does:

    def reply(self, payload: bytes = b"done", *, index: int = 0) -> None:
        """Answers a call."""
        call = self._take(index)
        call.on_reply(payload)
        self._turn()

    def end(self, code: int = 0, message: str = "", *, index: int = 0) -> None:
        """Ends a call, or what is left of one that was cancelled."""
        call = self._take(index)
        call.on_end(LinkStatus(code=code, message=message))
        self._turn()

    def _turn(self) -> None:
        if self.on_writable is not None:
            self.on_writable()

    def _take(self, index: int) -> WorkerCall:
        call = self.open.pop(index)
        self.cancel(call)
        return call


class World:
    """A pool, a session, and what the test makes of them."""

    def __init__(self, **settings: Any) -> None:
        self.store = SessionStore(Settings(**{**CALM, "worker_grace_period": 0.0, **settings}))
        self.registry = ToolRegistry(self.store)
        self.pool = WorkerPool(self.registry)
        self.orphaned = TaskSet()
        self.tasks: list[asyncio.Task[Any]] = []
        self.session: Session

    async def open(self) -> None:
        self.session = await self.store.create_session("s")

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.pool.aclose()

    def worker(self, *specs: ToolSpec | str, capacity: int = 0, name: str = "", session_id: str = "") -> FakeLink:
        """Registers a worker; returns its link."""
        link = FakeLink(self.pool)
        self.offer(link, *specs, capacity=capacity, name=name, session_id=session_id)
        return link

    def offer(
        self, link: FakeLink, *specs: ToolSpec | str, capacity: int = 0, name: str = "", session_id: str = ""
    ) -> list[RegisteredTool]:
        tools = [spec if isinstance(spec, ToolSpec) else ToolSpec(name=spec) for spec in specs]
        request = RegisterToolsRequest(worker_id=name, tools=tools, capacity=capacity, session_id=session_id)
        return self.pool.register(link, request)

    def peer(self, name: str, *, capacity: int) -> FakeLink:
        """Registers another hub; returns its link."""
        link = FakeLink(self.pool)
        request = RegisterToolsRequest(worker_id=name, tools=[ToolSpec(name="t")], capacity=capacity)
        self.pool.register(link, request, is_peer=True)
        return link

    async def begin_guest(self, name: str) -> "asyncio.Task[Payload]":
        """Makes a call that came from another hub."""
        call = self.call(name)
        link: Any = FakeLink(self.pool)
        call.origin = CallOrigin(link, 1, 0)
        task = asyncio.create_task(self.execute(call, b"guest"))
        self.tasks.append(task)
        await turns()
        return task

    def known(self, link: FakeLink) -> Worker:
        (worker,) = [worker for worker in self.pool.workers() if worker.link is link]
        return worker

    def call(self, name: str, *, parent: HubCall | None = None) -> HubCall:
        tool = self.registry.find(self.session, name)
        return HubCall(self.session, tool, time.monotonic() + 60, parent=parent, orphaned=self.orphaned)

    def execute(self, call: HubCall, payload: bytes) -> Coroutine[Any, Any, Payload]:
        return self.pool.dispatcher.call(call, crew_of(call), payload)

    async def begin(self, name: str, *, parent: HubCall | None = None, payload: bytes = b"") -> "asyncio.Task[Payload]":
        """Makes a call, and lets it come as far as it can."""
        task = asyncio.create_task(self.execute(self.call(name, parent=parent), payload))
        self.tasks.append(task)
        await turns()
        return task

    def stream(self, name: str) -> AsyncGenerator[Payload, None]:
        call = self.call(name)
        return self.pool.dispatcher.stream(call, crew_of(call), b"")

    async def read(self, stream: AsyncGenerator[Payload, None]) -> "asyncio.Task[Payload]":
        async def read() -> Payload:
            return await anext(stream)

        task = asyncio.create_task(read())
        self.tasks.append(task)
        await turns()
        return task


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.open()
    yield world
    await world.close()


async def made(**settings: Any) -> World:
    world = World(**settings)
    await world.open()
    return world


IDEMPOTENT = ToolSpec(name="safe", idempotent=True)


class TestChoosing:
    async def test_a_call_goes_to_the_worker_as_it_came_and_brings_its_answer(self, world: World) -> None:
        link = world.worker("t")
        call = await world.begin("t", payload=b"request")
        assert link.payloads == [b"request"]
        assert world.known(link).active == 1
        link.reply(b"answer")
        assert await soon(call) == b"answer"
        assert world.known(link).active == 0

    async def test_the_one_with_the_fewest_in_flight_gets_it(self, world: World) -> None:
        links = [world.worker("t") for _ in range(3)]
        for _ in range(9):
            await world.begin("t")
        assert [len(link.open) for link in links] == [3, 3, 3]
        links[1].reply()
        links[1].reply()
        links[2].reply()
        await world.begin("t")
        assert [len(link.open) for link in links] == [3, 2, 2]

    async def test_of_those_with_as_few_it_is_the_one_that_had_its_last_call_longest_ago(self, world: World) -> None:
        links = [world.worker("t") for _ in range(3)]
        order = []
        for _ in range(6):
            call = await world.begin("t")
            (link,) = [link for link in links if link.open]
            order.append(links.index(link))
            link.reply()
            await soon(call)
        assert order == [0, 1, 2, 0, 1, 2]

    async def test_one_that_has_no_room_is_passed_over(self, world: World) -> None:
        small, large = world.worker("t", capacity=1), world.worker("t", capacity=3)
        for _ in range(4):
            await world.begin("t")
        assert [len(small.open), len(large.open)] == [1, 3]

    async def test_a_call_that_was_cancelled_takes_room_until_it_ends(self, world: World) -> None:
        link = world.worker("t", capacity=1)
        first = await world.begin("t")
        first.cancel()
        await turns()
        assert not link.waiting
        second = await world.begin("t")
        assert len(link.open) == 1
        link.end(1)
        await turns()
        assert len(link.waiting) == 1
        link.reply()
        assert await soon(second) == b"done"

    async def test_what_a_link_refuses_goes_back_to_the_caller_and_takes_no_room(self, world: World) -> None:
        link = world.worker("t")
        link.refusal = MessageTooLargeError("too large")
        with pytest.raises(MessageTooLargeError):
            await soon(await world.begin("t"))
        with pytest.raises(MessageTooLargeError):
            await soon(anext(world.stream("t")))
        assert world.known(link).active == 0

    async def test_what_a_worker_refuses_goes_back_to_the_caller(self, world: World) -> None:
        link = world.worker(IDEMPOTENT)
        world.worker(IDEMPOTENT)
        call = await world.begin("safe")
        link.end(14, "not now")
        with pytest.raises(UnavailableError, match="not now"):
            await soon(call)

    async def test_a_nested_call_never_waits_for_the_place_of_the_call_above_it(self, world: World) -> None:
        link = world.worker("outer", "inner", capacity=1)
        other = world.worker("middle")
        outer = world.call("outer")
        task = asyncio.create_task(world.execute(outer, b""))
        world.tasks.append(task)
        await turns()
        middle = world.call("middle", parent=outer)
        world.tasks.append(asyncio.create_task(world.execute(middle, b"")))
        await turns()
        assert len(other.open) == 1
        inner = await world.begin("inner", parent=middle)
        assert len(link.open) == 2
        assert outer.worker is world.known(link)
        link.reply(b"inner", index=1)
        assert await soon(inner) == b"inner"
        link.reply(b"outer")
        assert await soon(task) == b"outer"
        # It is known for as long as the call is.
        assert outer.worker is world.known(link)

    async def test_a_nested_call_of_a_tool_that_other_workers_run_waits_as_any(self, world: World) -> None:
        world.worker("outer")
        busy = world.worker("inner", capacity=1)
        outer = world.call("outer")
        world.tasks.append(asyncio.create_task(world.execute(outer, b"")))
        await world.begin("inner")
        await world.begin("inner", parent=outer)
        assert len(busy.open) == 1


class TestWaiting:
    async def test_calls_wait_in_order_for_a_place(self, world: World) -> None:
        link = world.worker("t", capacity=1)
        calls = [await world.begin("t", payload=b"%d" % number) for number in range(4)]
        assert link.payloads == [b"0"]
        for number, call in enumerate(calls):
            link.reply(b"%d" % number)
            assert await soon(call) == b"%d" % number
            await turns()
        assert link.payloads == [b"0", b"1", b"2", b"3"]

    async def test_whoever_comes_later_does_not_overtake_those_who_wait(self, world: World) -> None:
        link = world.worker("t", capacity=1)
        for number in range(2):
            await world.begin("t", payload=b"%d" % number)
        link.reply()
        # The place was given to the one that waits, who has not had a turn to take it.
        late = asyncio.create_task(world.execute(world.call("t"), b"late"))
        world.tasks.append(late)
        await turns()
        assert link.payloads == [b"0", b"1"]

    async def test_the_tools_of_a_worker_take_turns(self, world: World) -> None:
        link = world.worker("busy", "rare", capacity=1)
        for _ in range(3):
            await world.begin("busy", payload=b"busy")
        await world.begin("rare", payload=b"rare")
        for _ in range(2):
            link.reply()
            await turns()
            # There is always one more.
            await world.begin("busy", payload=b"busy")
        assert link.payloads == [b"busy", b"busy", b"rare"]

    async def test_no_more_wait_than_the_limit(self) -> None:
        world = await made(max_worker_waiting=2)
        link = world.worker("t", capacity=1)
        calls = [await world.begin("t") for _ in range(3)]
        with pytest.raises(ResourceExhaustedError, match="2 calls wait") as caught:
            await soon(await world.begin("t"))
        assert caught.value.details == {"retry_after": "1"}
        for call in calls:
            link.reply()
            await soon(call)
            await turns()
        await world.close()

    async def test_a_call_that_is_cancelled_waits_no_more(self, world: World) -> None:
        link = world.worker("t", capacity=1)
        calls = [await world.begin("t", payload=b"%d" % number) for number in range(4)]
        calls[1].cancel()
        await turns()
        link.reply()
        await turns()
        assert link.payloads == [b"0", b"2"]
        calls[3].cancel()
        await turns()
        assert not world.pool.dispatcher.has_waiting

    async def test_a_call_that_is_cancelled_as_it_gets_its_place_passes_it_on(self, world: World) -> None:
        link = world.worker("t", capacity=1)
        calls = [await world.begin("t", payload=b"%d" % number) for number in range(3)]
        link.reply()
        calls[1].cancel()
        await turns()
        assert link.payloads == [b"0", b"2"]
        assert world.known(link).reserved == 0
        assert world.known(link).active == 1

    async def test_a_place_at_a_worker_that_leaves_at_once_is_none(self, world: World) -> None:
        first = world.worker("t", capacity=1)
        second = world.worker("t", capacity=1)
        for _ in range(2):
            await world.begin("t")
        waiting = await world.begin("t", payload=b"waits")
        first.reply()
        world.pool.on_drain(first)
        await turns()
        assert first.payloads[-1:] != [b"waits"]
        second.reply()
        await turns()
        assert second.payloads[-1:] == [b"waits"]
        second.reply()
        assert await soon(waiting) == b"done"

    async def test_who_lost_its_place_with_a_worker_takes_one_that_is_free(self, world: World) -> None:
        first, second = world.worker("t", capacity=1), world.worker("t", capacity=1)
        for _ in range(2):
            await world.begin("t")
        waiting = await world.begin("t", payload=b"waits")
        first.reply()
        second.reply()
        world.pool.on_drain(first)
        await turns()
        assert second.payloads[-1:] == [b"waits"]
        second.reply()
        assert await soon(waiting) == b"done"

    async def test_a_new_worker_takes_those_who_wait(self, world: World) -> None:
        world.worker("t", capacity=1)
        for _ in range(3):
            await world.begin("t")
        link = world.worker("t")
        await turns()
        assert len(link.open) == 2
        assert not world.pool.dispatcher.has_waiting

    async def test_more_capacity_takes_those_who_wait(self, world: World) -> None:
        link = world.worker("t", capacity=1)
        for _ in range(3):
            await world.begin("t")
        world.offer(link, "t", capacity=2)
        await turns()
        assert len(link.open) == 2


class TestLost:
    async def test_only_what_is_idempotent_goes_to_another_worker(self, world: World) -> None:
        link = world.worker(IDEMPOTENT, "once")
        safe, once = await world.begin("safe"), await world.begin("once")
        other = world.worker(IDEMPOTENT, "once")
        world.pool.on_disconnect(link, "its link was lost")
        with pytest.raises(UnavailableError, match="its link was lost; once is not marked idempotent, so whether it"):
            await soon(once)
        await turns()
        other.reply(b"again")
        assert await soon(safe) == b"again"
        assert world.pool.workers() == [world.known(other)]

    async def test_a_call_that_was_not_sent_goes_to_another_whatever_it_is(self, world: World) -> None:
        link = world.worker("once")
        link.sends = False
        call = await world.begin("once")
        other = world.worker("once")
        world.pool.on_disconnect(link, "its link was lost")
        await turns()
        other.reply(b"elsewhere")
        assert await soon(call) == b"elsewhere"

    async def test_a_call_that_lost_so_many_workers_gets_no_further_one(self, world: World) -> None:
        links = [world.worker(IDEMPOTENT) for _ in range(MAX_LOSSES + 1)]
        call = await world.begin("safe")
        for _ in range(MAX_LOSSES):
            (link,) = [link for link in links if link.waiting]
            links.remove(link)
            world.pool.on_disconnect(link, "killed")
            await turns()
        with pytest.raises(UnavailableError, match="the call has lost 3 workers"):
            await soon(call)
        assert not links[0].open

    async def test_a_stream_begins_anew_elsewhere_only_before_its_first_chunk(self, world: World) -> None:
        first = world.worker(IDEMPOTENT)
        stream = world.stream("safe")
        reading = await world.read(stream)
        second = world.worker(IDEMPOTENT)
        world.pool.on_disconnect(first, "killed")
        await turns()
        second.open[0].on_message(b"chunk")
        assert await soon(reading) == b"chunk"
        third = world.worker(IDEMPOTENT)
        reading = await world.read(stream)
        assert second.granted == len(b"chunk")
        world.pool.on_disconnect(second, "killed")
        with pytest.raises(UnavailableError, match="killed"):
            await soon(reading)
        assert not third.open

    async def test_a_stream_that_may_not_be_repeated_ends_with_its_worker(self, world: World) -> None:
        link = world.worker("once")
        world.worker("once")
        reading = await world.read(world.stream("once"))
        world.pool.on_disconnect(link, "killed")
        with pytest.raises(UnavailableError, match="not marked idempotent"):
            await soon(reading)

    async def test_a_stream_whose_reader_leaves_is_cancelled(self, world: World) -> None:
        link = world.worker("t")
        stream = world.stream("t")
        reading = await world.read(stream)
        link.open[0].on_message(b"chunk")
        await soon(reading)
        await stream.aclose()
        assert not link.waiting
        assert len(link.open) == 1

    async def test_a_stream_ends_where_its_worker_ends_it(self, world: World) -> None:
        link = world.worker("t")
        stream = world.stream("t")
        reading = await world.read(stream)
        link.open[0].on_message(b"chunk")
        link.end()
        assert await soon(reading) == b"chunk"
        with pytest.raises(StopAsyncIteration):
            await soon(anext(stream))

    async def test_losing_it_twice_is_losing_it_once(self, world: World) -> None:
        link = world.worker("once")
        call = await world.begin("once")
        world.pool.on_disconnect(link, "first")
        world.pool.on_disconnect(link, "second")
        with pytest.raises(UnavailableError, match="first"):
            await soon(call)

    async def test_without_a_worker_calls_wait_as_long_as_the_grace_lasts(self) -> None:
        world = await made(worker_grace_period=0.02)
        link = world.worker(IDEMPOTENT)
        running = await world.begin("safe")
        world.pool.on_disconnect(link, "killed")
        later = await world.begin("safe")
        assert [tool.name for tool in world.registry.visible(None)] == ["safe"]
        for call in (running, later):
            with pytest.raises(UnavailableError, match="no worker runs safe now"):
                await soon(call)
        assert world.registry.visible(None) == []
        await world.close()

    async def test_a_worker_that_comes_within_the_grace_keeps_tool_and_calls(self) -> None:
        world = await made(worker_grace_period=60.0)
        link = world.worker("once")
        (tool,) = world.registry.visible(None)
        world.pool.on_disconnect(link, "killed")
        call = await world.begin("once")
        other = world.worker("once")
        await turns()
        other.reply()
        assert await soon(call) == b"done"
        assert world.registry.visible(None) == [tool]
        assert not world.pool._orphans
        await world.close()

    async def test_without_a_worker_and_grace_a_call_fails_at_once(self, world: World) -> None:
        link = world.worker("once")
        call = world.call("once")
        world.pool.unregister(link, "", ["once"])
        with pytest.raises(UnavailableError, match="no worker runs once now"):
            await soon(world.execute(call, b""))

    async def test_the_end_of_the_pool_ends_its_timers(self) -> None:
        world = await made(worker_grace_period=60.0)
        world.pool.on_disconnect(world.worker("t"), "killed")
        assert world.pool._orphans
        await world.close()
        assert not world.pool._orphans


class TestSignsOfLife:
    async def test_one_that_answers_is_never_suspect(self) -> None:
        world = await made(**QUICK)
        link = world.worker("t")
        await until(lambda: link.pings > 10)
        assert not world.known(link).suspect
        await world.close()

    async def test_a_silent_one_gets_no_new_calls_and_loses_those_that_may_be_repeated(self) -> None:
        world = await made(**QUICK)
        link = world.worker(IDEMPOTENT, "once")
        safe, once = await world.begin("safe"), await world.begin("once")
        reading = await world.read(world.stream("safe"))
        begun = world.stream("safe")
        first = await world.read(begun)
        link.open[-1].on_message(b"chunk")
        assert await soon(first) == b"chunk"
        other = world.worker(IDEMPOTENT, "once")
        link.alive = False
        await until(lambda: world.known(link).suspect)
        await turns()
        # Its other calls stay with it, and so does a stream that has begun.
        assert [call.owner.tool.name for call in link.waiting] == ["once", "safe"]
        assert len(other.waiting) == 2
        assert not once.done()
        await world.begin("once")
        assert len(other.waiting) == 3

        # It was busy.
        link.alive = True
        await until(lambda: not world.known(link).suspect)
        link.reply(b"late", index=1)
        assert await soon(once) == b"late"
        other.reply()
        assert await soon(safe) == b"done"
        assert not reading.done()
        await begun.aclose()
        await world.close()

    async def test_calls_stay_with_a_silent_one_where_there_is_no_other(self) -> None:
        world = await made(**QUICK)
        link = world.worker(IDEMPOTENT)
        running = await world.begin("safe")
        link.alive = False
        await until(lambda: world.known(link).suspect)
        waiting = await world.begin("safe", payload=b"waits")
        assert link.payloads == [b""]
        link.alive = True
        await until(lambda: len(link.payloads) == 2)
        link.reply()
        link.reply()
        assert [await soon(call) for call in (running, waiting)] == [b"done", b"done"]
        await world.close()

    async def test_calls_go_elsewhere_when_another_comes_later(self) -> None:
        world = await made(**QUICK)
        link = world.worker(IDEMPOTENT)
        call = await world.begin("safe")
        link.alive = False
        await until(lambda: world.known(link).suspect)
        other = world.worker(IDEMPOTENT)
        await until(lambda: other.waiting)
        other.reply(b"elsewhere")
        assert await soon(call) == b"elsewhere"
        await world.close()

    async def test_one_that_stays_silent_is_out(self) -> None:
        world = await made(**{**QUICK, "worker_lost_after": 0.05})
        link = world.worker("once")
        call = await world.begin("once")
        link.alive = False
        with pytest.raises(UnavailableError, match=r"it did not answer for 0\.05 s"):
            await soon(call)
        assert link.given_up == ["it did not answer for 0.05 s"]
        assert not len(world.pool)
        await world.close()

    async def test_whoever_is_no_worker_is_heard_without_effect(self, world: World) -> None:
        world.pool.on_pong(FakeLink(world.pool))
        assert not world.pool.offers(FakeLink(world.pool))


class TestLeaving:
    async def test_one_that_drains_finishes_its_calls_gets_no_more_and_is_released(self, world: World) -> None:
        link, other = world.worker("t"), world.worker("t")
        call = await world.begin("t")
        assert link.open
        world.pool.on_drain(link)
        assert not link.released
        for _ in range(3):
            await world.begin("t")
        assert len(other.open) == 3
        link.reply(b"last")
        assert await soon(call) == b"last"
        assert link.released == [0]
        assert world.pool.workers() == [world.known(other)]
        world.pool.on_disconnect(link, "its link ended")

    async def test_one_without_calls_is_released_at_once(self, world: World) -> None:
        link = world.worker("t")
        world.pool.on_drain(link)
        assert link.released == [0]
        assert not len(world.pool)

    async def test_a_peer_that_is_no_worker_is_told_nothing(self, world: World) -> None:
        link = FakeLink(world.pool)
        world.pool.on_drain(link)
        assert not link.released

    async def test_draining_twice_is_draining_once(self, world: World) -> None:
        link = world.worker("t")
        await world.begin("t")
        for _ in range(2):
            world.pool.on_drain(link)
        assert not link.released
        link.reply()
        assert link.released == [0]

    async def test_one_that_drains_offers_nothing_any_more(self, world: World) -> None:
        link = world.worker("t")
        await world.begin("t")
        world.pool.on_drain(link)
        with pytest.raises(UnavailableError, match="is draining and cannot register tools"):
            world.offer(link, "u")

    async def test_its_namesake_does_not_cut_its_calls_short(self, world: World) -> None:
        link = world.worker("t", name="w")
        call = await world.begin("t")
        world.pool.on_drain(link)
        world.worker("t", name="w")
        assert not link.given_up
        link.reply(b"finished")
        assert await soon(call) == b"finished"


class TestRegistering:
    async def test_replicas_join_where_schema_and_version_are_the_same(self, world: World) -> None:
        spec = ToolSpec(name="t", version="1", input_schema="{}")
        first = world.worker(spec)
        (tool,) = world.registry.visible(None)
        described = ToolSpec(name="t", version="1", input_schema="{}", description="In other words.")
        second = world.worker(described)
        assert world.registry.visible(None) == [tool]
        assert workers_of(tool) == [world.known(first), world.known(second)]
        with pytest.raises(AlreadyExistsError, match="has a tool 't' from 2 other workers, with another schema"):
            world.worker(ToolSpec(name="t", version="1"))
        assert len(world.pool) == 2

    async def test_another_version_is_another_tool_with_workers_of_its_own(self, world: World) -> None:
        first, second = (world.worker(ToolSpec(name="t", version=version)) for version in ("1", "2"))
        newest, older = world.registry.visible(None)
        assert (newest.name, newest.version, older.name, older.version) == ("t", "2", "t@1", "1")
        assert workers_of(newest) == [world.known(second)]
        assert workers_of(older) == [world.known(first)]
        world.pool.on_disconnect(second, "killed")
        world.pool._drop(list(world.pool._orphans))
        (left,) = world.registry.visible(None)
        assert (left.name, workers_of(left)) == ("t", [world.known(first)])

    async def test_a_worker_takes_back_one_version_and_keeps_the_other(self, world: World) -> None:
        link = world.worker(ToolSpec(name="t", version="1"), ToolSpec(name="t", version="2"))
        world.pool.unregister(link, "", ["t@2"])
        assert [(tool.name, tool.version) for tool in world.registry.visible(None)] == [("t", "1")]
        with pytest.raises(NotFoundError, match="'t@2'"):
            world.pool.unregister(link, "", ["t@2"])

    async def test_a_tool_of_those_who_have_gone_can_be_another(self) -> None:
        world = await made(worker_grace_period=60.0)
        world.pool.on_disconnect(world.worker(ToolSpec(name="t", version="1")), "killed")
        link = world.worker(ToolSpec(name="t", version="2"))
        (tool,) = world.registry.visible(None)
        assert tool.spec.version == "2"
        assert workers_of(tool) == [world.known(link)]
        await world.close()

    async def test_calls_that_wait_for_a_tool_that_became_another_are_told_at_once(self) -> None:
        world = await made(worker_grace_period=3_600.0)
        world.pool.on_disconnect(world.worker(ToolSpec(name="t", version="1")), "killed")
        waiting = await world.begin("t")
        world.worker(ToolSpec(name="t", version="2"))
        with pytest.raises(UnavailableError, match="no worker runs t now"):
            await soon(waiting)
        assert not world.pool._orphans
        await world.close()

    async def test_calls_that_wait_for_a_worker_that_dials_again_with_another_schema_are_told_at_once(self) -> None:
        world = await made(worker_grace_period=3_600.0)
        world.worker(ToolSpec(name="t", version="1"), name="w", capacity=1)
        await world.begin("t")
        waiting = await world.begin("t")
        world.worker(ToolSpec(name="t", version="2"), name="w")
        with pytest.raises(UnavailableError, match="no worker runs t now"):
            await soon(waiting)
        assert not world.pool._orphans
        await world.close()

    async def test_one_that_changes_its_tool_leaves_nothing_of_the_old_one(self, world: World) -> None:
        link = world.worker(ToolSpec(name="t", input_schema="{}"), "other", capacity=1)
        await world.begin("t")
        waiting = await world.begin("t")
        world.offer(link, ToolSpec(name="t", input_schema='{"type": "object"}'))
        with pytest.raises(UnavailableError, match="no worker runs t now"):
            await soon(waiting)
        assert sorted(tool.name for tool in world.known(link).tools) == ["other", "t"]
        assert world.call("t").tool.spec.input_schema == '{"type": "object"}'

    async def test_a_worker_that_dials_again_takes_its_own_place(self, world: World) -> None:
        first = world.worker("t", name="w")
        call = await world.begin("t")
        second = world.worker("t", name="w")
        assert first.given_up == ["the worker 'w' has reconnected"]
        with pytest.raises(UnavailableError, match="it has reconnected"):
            await soon(call)
        assert [worker.link for worker in world.pool.workers()] == [second]
        assert [tool.name for tool in world.registry.visible(None)] == ["t"]

    async def test_a_worker_that_dials_again_may_bring_another_schema(self, world: World) -> None:
        world.worker(ToolSpec(name="t", version="1"), name="w")
        world.worker(ToolSpec(name="t", version="2"), name="w")
        (tool,) = world.registry.visible(None)
        assert tool.spec.version == "2"

    async def test_a_worker_that_calls_itself_nothing_gets_an_id_of_its_own(self, world: World) -> None:
        ids = {world.known(world.worker("t")).id for _ in range(2)}
        assert len(ids) == 2
        assert all(ids)

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"capacity": -1}, r"capacity must be 0 \(the default\) or more, not -1"),
            ({"name": "a\nb"}, "a worker id"),
            ({"name": "x" * 257}, "a worker id"),
        ],
    )
    async def test_one_that_cannot_be_is_refused(self, world: World, options: dict[str, Any], text: str) -> None:
        with pytest.raises(ValidationError, match=text):
            world.worker("t", **options)
        assert not len(world.pool)
        assert not world.registry.visible(None)

    async def test_a_link_is_one_worker(self, world: World) -> None:
        link = world.worker("t", name="w")
        with pytest.raises(ValidationError, match="this link belongs to the worker 'w'"):
            world.offer(link, "u", name="v")
        assert world.offer(link, "u", name="w")

    async def test_capacity_is_what_it_says_and_at_most_what_a_link_carries(self) -> None:
        world = await made(max_link_calls=500)
        link = world.worker("t")
        assert world.known(link).capacity == DEFAULT_CAPACITY
        world.offer(link, "t", capacity=7)
        assert world.known(link).capacity == 7
        world.offer(link, "u")
        assert world.known(link).capacity == 7
        world.offer(link, "t", capacity=2**31 - 1)
        assert world.known(link).capacity == 500
        await world.close()

    async def test_too_many_tools_are_refused_and_the_same_ones_again_are_not(self, world: World) -> None:
        names = [f"t{number}" for number in range(MAX_WORKER_TOOLS)]
        link = world.worker(*names)
        world.offer(link, *names)
        with pytest.raises(ResourceExhaustedError, match="10,001 tools"):
            world.offer(link, "one_more")

    async def test_what_it_takes_back_is_gone_unless_others_offer_it(self, world: World) -> None:
        first, second = world.worker("a", "b"), world.worker("a")
        assert world.pool.unregister(first, "", ["a", "b"]) == ["a", "b"]
        assert [tool.name for tool in world.registry.visible(None)] == ["a"]
        await world.begin("a")
        assert second.open
        with pytest.raises(NotFoundError):
            world.pool.unregister(first, "", ["a"])

    async def test_without_names_it_takes_back_all_of_a_scope(self, world: World) -> None:
        link = world.worker("a", "b")
        world.offer(link, "c", session_id="s")
        assert sorted(world.pool.unregister(link, "", [])) == ["a", "b"]
        assert [tool.name for tool in world.registry.visible(world.session)] == ["c"]

    async def test_calls_in_flight_of_a_tool_that_was_taken_back_go_on(self, world: World) -> None:
        link = world.worker("t")
        call = await world.begin("t")
        world.pool.unregister(link, "", ["t"])
        link.reply(b"still")
        assert await soon(call) == b"still"

    async def test_tools_of_a_session_end_with_it(self, world: World) -> None:
        link = world.worker("t", session_id="s", capacity=1)
        await world.begin("t")
        waiting = await world.begin("t")
        world.pool.session_ended(world.session)
        with pytest.raises(UnavailableError, match="no worker runs t now"):
            await soon(waiting)
        assert not world.known(link).tools

    async def test_a_session_that_is_not_there_gets_no_tools(self, world: World) -> None:
        with pytest.raises(SessionError):
            world.worker("t", session_id="nobody's")
        assert not len(world.pool)


# ------------------------------------------------------------------------------------------------- who watches them


@pytest.fixture
def changes(world: World) -> list[tuple[str, str]]:
    """What the pool tells of its workers."""
    seen: list[tuple[str, str]] = []
    world.pool.on_change = lambda change, worker: seen.append((change, worker.id))
    return seen


async def test_whoever_watches_is_told_how_a_worker_comes_and_goes(
    world: World, changes: list[tuple[str, str]]
) -> None:
    link = world.worker("add", name="w")
    world.offer(link, "more")
    world.pool.unregister(link, "", ["more"])
    world.pool.on_drain(link)
    world.pool.on_disconnect(link, "its link ended")
    assert changes == [
        ("connected", "w"),
        ("changed", "w"),
        ("changed", "w"),
        ("draining", "w"),
        ("disconnected", "w"),
    ]


async def test_whoever_watches_is_told_of_a_worker_that_was_lost_and_of_one_that_takes_its_place(
    world: World, changes: list[tuple[str, str]]
) -> None:
    world.worker("add", name="w")
    link = world.worker("add", name="w")
    world.pool.on_disconnect(link, "it was lost")
    assert changes == [("connected", "w"), ("disconnected", "w"), ("connected", "w"), ("disconnected", "w")]


async def test_whoever_watches_is_told_where_a_session_takes_its_tools_along(
    world: World, changes: list[tuple[str, str]]
) -> None:
    world.worker("add", "more", name="w", session_id="s")
    world.pool.session_ended(world.session)
    assert changes == [("connected", "w"), ("changed", "w")]


async def test_whoever_watches_is_told_of_calls_that_wait_for_a_worker_and_get_one(world: World) -> None:
    told: list[tuple[bool, bool]] = []

    class Observer:
        def moved(self, call: Any) -> None:
            told.append((call.is_waiting, call.worker is not None))

    observer: Any = Observer()
    world.pool.dispatcher.observer = observer
    link = world.worker("add", capacity=1)
    first, second = await world.begin("add"), await world.begin("add")
    assert told == [(False, True), (True, False)]
    link.reply()
    await soon(first)
    await until(lambda: link.open)
    link.reply()
    await soon(second)
    assert told[2:] == [(False, True)]


class TestOtherHubs:
    async def test_another_hub_gets_a_call_only_if_no_own_worker_has_room(self, world: World) -> None:
        peer, own = world.peer("hub:b", capacity=2), world.worker("t", capacity=1)
        for _ in range(4):
            await world.begin("t")
        assert (len(own.open), len(peer.open)) == (1, 2)

    async def test_the_hub_with_the_most_room_gets_a_call(self, world: World) -> None:
        small, large = world.peer("hub:b", capacity=1), world.peer("hub:c", capacity=3)
        for _ in range(2):
            await world.begin("t")
        assert (len(small.open), len(large.open)) == (0, 2)
        world.pool.set_room("hub:c", 0)
        await world.begin("t")
        assert (len(small.open), len(large.open)) == (1, 2)

    async def test_a_call_that_waits_gets_the_room_that_is_free_first(self, world: World) -> None:
        peer, own = world.peer("hub:b", capacity=1), world.worker("t", capacity=1)
        calls = [await world.begin("t", payload=bytes([number])) for number in range(4)]
        peer.reply()
        await soon(calls[1])
        await until(lambda: peer.payloads == [b"\1", b"\2"])
        own.reply()
        await until(lambda: own.payloads == [b"\0", b"\3"])

    async def test_room_that_another_hub_tells_of_serves_what_waits(self, world: World) -> None:
        peer = world.peer("hub:b", capacity=0)
        await world.begin("t")
        assert not peer.open
        world.pool.register(
            peer, RegisterToolsRequest(worker_id="hub:b", tools=[ToolSpec(name="t")], capacity=1), is_peer=True
        )
        await until(lambda: peer.open)

    async def test_a_call_of_another_hub_waits_for_an_own_worker(self, world: World) -> None:
        peer, own = world.peer("hub:b", capacity=5), world.worker("t", capacity=1)
        await world.begin_guest("t")
        guest = await world.begin_guest("t")
        assert (len(own.open), len(peer.open)) == (1, 0)
        own.reply()
        await until(lambda: len(own.payloads) == 2)
        own.reply()
        assert await soon(guest) == b"done"
        assert not peer.payloads

    async def test_own_calls_and_those_of_other_hubs_have_their_turns_in_the_order_in_which_they_came(
        self, world: World
    ) -> None:
        own = world.worker("t", capacity=1)
        await world.begin("t", payload=b"1")
        await world.begin("t", payload=b"2")
        await world.begin_guest("t")
        await world.begin("t", payload=b"3")
        for _ in range(3):
            own.reply()
            await turns()
        assert own.payloads == [b"1", b"2", b"guest", b"3"]

    async def test_a_call_of_another_hub_whose_worker_is_lost_goes_back_to_it(self) -> None:
        world = await made(worker_grace_period=60)
        own = world.worker(ToolSpec(name="t", idempotent=True))
        guest = await world.begin_guest("t")
        world.pool.on_disconnect(own, "a test")
        with pytest.raises(WorkerLostError):
            await soon(guest)
        await world.close()

    async def test_a_call_of_another_hub_of_a_tool_that_only_others_offer_is_refused(self, world: World) -> None:
        world.peer("hub:b", capacity=5)
        with pytest.raises(UnavailableError, match="no worker runs"):
            await soon(await world.begin_guest("t"))

    async def test_the_calls_that_wait_for_a_tool_that_is_gone_are_refused(self, world: World) -> None:
        own = world.worker("t", capacity=1)
        calls = [await world.begin("t"), await world.begin("t"), await world.begin_guest("t")]
        world.pool.unregister(own, "", ["t"])
        for call in calls[1:]:
            with pytest.raises(UnavailableError, match="no worker runs"):
                await soon(call)

    async def test_other_hubs_are_no_workers_in_lists(self, world: World) -> None:
        changes: list[str] = []
        world.pool.on_change = lambda change, worker: changes.append(worker.id)
        world.peer("hub:b", capacity=5)
        assert not world.pool.workers()
        assert not len(world.pool)
        assert [peer.id for peer in world.pool.peers()] == ["hub:b"]
        assert not changes
