"""Calls that are only passed on: what takes the short way, and that it ends as any other call does."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import forwarder as module
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.forwarder import MAX_BYTES, Forwarded
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.workers.dispatch import MAX_LOSSES
from grpc_tool_bridge.core.workers.pool import WorkerPool
from grpc_tool_bridge.errors import CallCancelledError, UnavailableError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    RegisterToolsRequest,
    ResourceLimits,
    SessionConfig,
    ToolCallRequest,
    ToolCallResponse,
    ToolSpec,
)
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.values.serialization import serialize_value
from support.patience import PATIENCE
from support.waiting import until
from unit.core.workers.test_pool import CALM, FakeLink

NO_ARGUMENTS = '{"type": "object", "properties": {}, "additionalProperties": false}'


class World:
    """A hub's inner parts, a worker with a tool, and calls of it."""

    def __init__(self, **settings: Any) -> None:
        self.store = SessionStore(Settings(**{**CALM, "worker_grace_period": 3_600, **settings}))
        self.registry = ToolRegistry(self.store)
        self.pool = WorkerPool(self.registry)
        self.executor = Executor(self.store, self.registry)
        self.link = FakeLink(self.pool)
        self.session: Session
        self.answers: list[tuple[Any, BaseException | None]] = []
        self.answered = asyncio.Event()
        self.left: list[asyncio.Task[Any]] = []

    async def open(self, **spec: Any) -> None:
        self.session = await self.store.create_session("s")
        self.offer(self.link, **spec)

    def offer(self, link: FakeLink, **spec: Any) -> None:
        self.pool.register(link, RegisterToolsRequest(tools=[ToolSpec(name="add", **spec)]))

    def call(self, **fields: Any) -> Forwarded | None:
        request = ToolCallRequest(**{"session_id": "s", "tool_id": "add", "request_id": "r", **fields})
        deadline = time.monotonic() + 60
        context = RequestContext(deadline=deadline, payload=request.SerializeToString())
        begun = self.executor.begin(request, context, self._done)
        if isinstance(begun, Forwarded):
            return begun
        self.left.append(asyncio.create_task(begun))
        return None

    async def leave(self) -> None:
        """Ends what was left to the executor."""
        await asyncio.sleep(0)
        for task in self.left:
            task.cancel()
        await asyncio.gather(*self.left, return_exceptions=True)

    def relayed(self, **fields: Any) -> Forwarded:
        relay = self.call(**fields)
        assert relay is not None
        return relay

    def _done(self, answer: Any, error: BaseException | None) -> None:
        self.answers.append((answer, error))
        self.answered.set()

    def error(self) -> Any:
        """Returns the error of the one answer there is."""
        [(answer, error)] = self.answers
        assert error is None
        assert isinstance(answer, ToolCallResponse)
        assert not answer.success
        assert answer.request_id == "r"
        assert answer.metrics.duration_ms >= 1
        return answer.error

    def assert_nothing_is_left(self) -> None:
        assert self.executor.admission.active == 0
        assert self.session.active == 0
        assert not self.session.calls
        assert self.registry.find(self.session, "add").metrics.active == 0


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.open()
    yield made
    await made.leave()
    await made.pool.aclose()
    await made.executor.aclose()


def good(result: int = 3) -> bytes:
    return ToolCallResponse(success=True, result=serialize_value(result), request_id="r").SerializeToString()


async def test_the_answer_is_passed_on_as_the_bytes_that_came(world: World) -> None:
    world.relayed()
    assert world.executor.admission.active == world.session.active == 1
    assert not world.answers

    world.link.reply(good())

    assert world.answers == [(good(), None)]
    world.assert_nothing_is_left()
    counts = world.registry.find(world.session, "add").metrics
    assert (counts.calls, counts.errors) == (1, 0)


async def test_the_worker_gets_the_request_as_it_came(world: World) -> None:
    forwarded = world.relayed()

    request = ToolCallRequest.FromString(world.link.payloads[0])

    assert (request.session_id, request.tool_id, request.request_id) == ("s", "add", "r")
    assert forwarded.call.worker is world.pool.workers()[0]


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({}, {"idempotency_key": "k"}),
        ({}, {"session_id": "another"}),
        ({}, {"tool_id": "another"}),
        ({}, {"timeout_ms": -1}),
        ({}, {"args": [serialize_value(b"x" * MAX_BYTES)]}),
        ({"input_schema": NO_ARGUMENTS}, {"kwargs": {"unknown": serialize_value(1)}}),
        ({"limits": ResourceLimits(rate_limit_per_minute=1_000)}, {}),
    ],
)
async def test_what_is_not_plain_is_left_to_the_executor(spec: dict[str, Any], fields: dict[str, Any]) -> None:
    world = World()
    await world.open(**spec)
    try:
        assert world.call(**fields) is None
        assert not world.link.payloads
        await world.leave()
        world.assert_nothing_is_left()
    finally:
        await world.pool.aclose()


async def test_a_session_that_keeps_results_is_left_to_the_executor(world: World) -> None:
    await world.store.create_session("keeps", config=SessionConfig(enable_caching=True))
    assert world.call(session_id="keeps") is None


@pytest.mark.parametrize("spec", [{"limits": ResourceLimits(max_concurrent_calls=1)}, {}])
async def test_a_call_without_a_free_place_is_left_to_the_executor(spec: dict[str, Any]) -> None:
    world = World(max_session_calls=100 if spec else 1)
    await world.open(**spec)
    try:
        world.relayed()
        assert world.call() is None
        await world.leave()
        world.link.reply(good())
        world.assert_nothing_is_left()
        world.relayed()
    finally:
        await world.pool.aclose()


async def test_a_call_without_a_worker_that_has_room_gives_back_its_place() -> None:
    world = World()
    world.session = await world.store.create_session("s")
    world.pool.register(world.link, RegisterToolsRequest(tools=[ToolSpec(name="add")], capacity=1))
    try:
        world.relayed()
        assert world.call() is None
        await world.leave()
        assert world.session.active == world.executor.admission.active == 1
    finally:
        await world.pool.aclose()


async def test_a_tool_of_the_hub_itself_is_left_to_the_executor(world: World) -> None:
    async def local() -> int:
        return 1

    world.registry.register_batch("", [local])
    assert world.call(tool_id="local") is None


async def test_a_workers_error_counts_as_one_and_is_passed_on(world: World) -> None:
    answer = ToolCallResponse(request_id="r")
    answer.error.type, answer.error.message = "KeyError", "'x'"
    world.relayed()

    world.link.reply(answer.SerializeToString())

    assert world.answers == [(answer.SerializeToString(), None)]
    assert world.registry.find(world.session, "add").metrics.errors == 1


@pytest.mark.parametrize("data", [b"\xff\xff", b"", ToolCallResponse(success=True).SerializeToString()])
async def test_an_answer_that_is_none_is_an_error_of_the_call(world: World, data: bytes) -> None:
    world.relayed()
    world.link.reply(data)
    assert world.error().type == "ProtocolError"
    world.assert_nothing_is_left()


async def test_an_answer_over_the_limit_of_a_message_is_refused() -> None:
    world = World(max_message_bytes=1_000)
    await world.open()
    try:
        world.relayed()
        world.link.reply(b"\x00" * 10_000)
        assert world.error().type == "MessageTooLarge"
    finally:
        await world.pool.aclose()


async def test_a_workers_refusal_is_the_answer(world: World) -> None:
    world.relayed()
    world.link.end(14, "no room here")
    assert world.error().type == "WorkerUnavailable"
    assert world.error().message == "no room here"
    world.assert_nothing_is_left()


async def test_a_caller_that_leaves_ends_the_call_at_the_worker(world: World) -> None:
    relay = world.relayed()

    relay.cancel()

    [(answer, error)] = world.answers
    assert answer is None
    assert isinstance(error, asyncio.CancelledError)
    assert not world.link.waiting
    world.assert_nothing_is_left()
    relay.cancel()
    world.link.reply(good())
    assert len(world.answers) == 1


async def test_a_session_that_ends_takes_its_calls_with_it(world: World) -> None:
    world.relayed()
    assert world.session.calls is not None
    for call in list(world.session.calls):
        call.cancel(CallCancelledError("the session has ended"))
        call.cancel(CallCancelledError("only the first counts"))
    assert world.error().type == "Cancelled"
    assert world.error().message == "the session has ended"
    assert not world.link.waiting
    world.assert_nothing_is_left()


async def test_a_worker_that_lets_the_deadline_pass_does_not_hold_its_caller(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWEEP_INTERVAL", 0.01)
    world.relayed(timeout_ms=1)
    async with asyncio.timeout(PATIENCE):
        await world.answered.wait()
    assert world.error().type == "TimeoutError"
    assert not world.link.waiting
    world.assert_nothing_is_left()


async def test_a_call_whose_worker_is_lost_fails_where_it_must_not_be_repeated(world: World) -> None:
    world.relayed()
    world.pool.on_disconnect(world.link, "somebody killed it")
    assert world.error().type == "WorkerUnavailable"
    assert "somebody killed it" in world.error().message
    world.assert_nothing_is_left()


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_call_that_may_be_repeated_goes_to_another_worker(idempotent: bool) -> None:
    world = World()
    await world.open(idempotent=idempotent)
    world.link.sends = idempotent
    other = FakeLink(world.pool)
    try:
        world.relayed()
        world.offer(other, idempotent=idempotent)
        world.pool.on_disconnect(world.link, "somebody killed it")
        assert not world.answers
        await until(lambda: bool(other.payloads))
        other.reply(good())
        async with asyncio.timeout(PATIENCE):
            await world.answered.wait()
        assert world.answers == [(good(), None)]
        world.assert_nothing_is_left()
    finally:
        await world.pool.aclose()
        await world.executor.aclose()


async def test_a_caller_may_leave_while_its_call_waits_for_another_worker() -> None:
    world = World()
    await world.open(idempotent=True)
    try:
        relay = world.relayed()
        world.pool.on_disconnect(world.link, "somebody killed it")
        await asyncio.sleep(0)
        relay.cancel()
        async with asyncio.timeout(PATIENCE):
            await world.answered.wait()
        [(answer, error)] = world.answers
        assert answer is None
        assert isinstance(error, asyncio.CancelledError)
        world.assert_nothing_is_left()
    finally:
        await world.pool.aclose()
        await world.executor.aclose()


async def test_a_hub_that_drains_takes_none(world: World) -> None:
    world.executor.admission.draining = True
    assert world.call() is None
    with pytest.raises(UnavailableError):
        world.executor.admission.require_session("s")


@pytest.mark.parametrize("state", ["draining", "closing"])
async def test_a_call_that_was_let_in_goes_to_another_worker_although_no_new_ones_are_taken(state: str) -> None:
    world = World()
    await world.open(idempotent=True)
    other = FakeLink(world.pool)
    try:
        world.relayed()
        world.executor.admission.draining = state == "draining"
        world.session.closing = state == "closing"
        idle = asyncio.create_task(world.executor.admission.idle())
        unused = asyncio.create_task(world.executor.admission.session_idle(world.session))
        await asyncio.sleep(0)
        world.offer(other, idempotent=True)
        world.pool.on_disconnect(world.link, "somebody killed it")
        await until(lambda: bool(other.payloads))
        assert not idle.done()
        assert not unused.done()
        other.reply(good())
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(world.answered.wait(), idle, unused)
        assert world.answers == [(good(), None)]
        world.assert_nothing_is_left()
    finally:
        await world.pool.aclose()
        await world.executor.aclose()


async def test_a_call_that_lost_so_many_workers_gets_no_further_one() -> None:
    world = World()
    await world.open(idempotent=True)
    links = [world.link, *(FakeLink(world.pool) for _ in range(MAX_LOSSES))]
    try:
        world.relayed()
        for link, following in itertools.pairwise(links):
            world.offer(following, idempotent=True)
            await until(partial(bool, link.payloads))
            world.pool.on_disconnect(link, "somebody killed it")
        async with asyncio.timeout(PATIENCE):
            await world.answered.wait()
        assert f"has lost {MAX_LOSSES} workers" in world.error().message
        assert not links[-1].payloads
        world.assert_nothing_is_left()
    finally:
        await world.pool.aclose()
        await world.executor.aclose()


async def test_losing_its_worker_twice_is_losing_it_once() -> None:
    world = World()
    await world.open(idempotent=True)
    other = FakeLink(world.pool)
    try:
        world.relayed()
        world.offer(other, idempotent=True)
        world.pool.on_disconnect(world.link, "it has reconnected")
        world.pool.on_disconnect(world.link, "its link ended")
        await until(lambda: bool(other.payloads))
        other.reply(good())
        async with asyncio.timeout(PATIENCE):
            await world.answered.wait()
        assert len(other.payloads) == 1
        world.assert_nothing_is_left()
    finally:
        await world.pool.aclose()
        await world.executor.aclose()


async def test_a_session_that_ends_takes_with_it_a_call_that_waits_for_another_worker() -> None:
    world = World()
    await world.open(idempotent=True)
    try:
        world.relayed()
        world.pool.on_disconnect(world.link, "somebody killed it")
        await asyncio.sleep(0)
        for call in list(world.session.calls or ()):
            call.cancel(CallCancelledError("the session has ended"))
        async with asyncio.timeout(PATIENCE):
            await world.answered.wait()
        assert world.error().message == "the session has ended"
        world.assert_nothing_is_left()
        other = FakeLink(world.pool)
        world.offer(other, idempotent=True)
        await asyncio.sleep(0)
        assert not other.payloads
    finally:
        await world.pool.aclose()
        await world.executor.aclose()


async def test_an_answer_that_comes_from_the_first_worker_after_all_ends_the_call_at_the_second() -> None:
    world = World()
    await world.open(idempotent=True)
    other = FakeLink(world.pool)
    try:
        world.relayed()
        (first,) = world.link.waiting
        world.offer(other, idempotent=True)
        world.pool.on_disconnect(world.link, "it does not answer")
        await until(lambda: bool(other.payloads))
        first.on_reply(good())
        assert world.answers == [(good(), None)]
        await until(lambda: not other.waiting)
        other.reply(good(4))
        assert len(world.answers) == 1
        world.assert_nothing_is_left()
    finally:
        await world.pool.aclose()
        await world.executor.aclose()
