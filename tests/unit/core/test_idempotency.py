"""Calls with an idempotency key: what runs once, what runs again, and what is remembered."""

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import admission
from grpc_tool_bridge.core import expiring_lru as kept
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest, ToolCallResponse
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.waiting import turns


class Counter:
    """A tool that counts how often it ran, and waits where it is told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.failure: Exception | None = None
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def count(self, number: int = 0, text: str = "") -> str:
        self.runs += 1
        self.started.set()
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        return f"run {self.runs} of {number}{text}"


Call = Callable[..., Any]


async def all_at_once(counter: Counter, call: Call, number: int) -> list[ToolCallResponse]:
    """Makes calls of one key that wait for the first of them."""
    counter.go_on.clear()
    tasks = [asyncio.create_task(call("k", 1)) for _ in range(number)]
    await turns()
    counter.go_on.set()
    return [await task for task in tasks]


@pytest.fixture
def counter() -> Counter:
    return Counter()


def caller(counter: Counter, **settings: Any) -> Call:
    store = SessionStore(Settings(**settings))
    registry = ToolRegistry(store)
    registry.register_batch("", [counter.count])
    running = Executor(store, registry)

    async def call(
        key: str,
        *args: Any,
        session: str = "s",
        timeout_ms: int = 0,
        deadline: float | None = None,
        parent: HubCall | None = None,
        **kwargs: Any,
    ) -> ToolCallResponse:
        if session not in {known.id for known in store.sessions()}:
            await store.create_session(session)
        request = ToolCallRequest(session_id=session, tool_id="count", idempotency_key=key, timeout_ms=timeout_ms)
        request.args.extend(serialize_value(value) for value in args)
        for name, value in kwargs.items():
            request.kwargs[name].CopyFrom(serialize_value(value))
        request.request_id = f"for {key[:9]}"
        response: ToolCallResponse = await running.execute(request, RequestContext(deadline=deadline, parent=parent))
        return response

    return call


async def test_the_same_key_and_arguments_run_once(counter: Counter) -> None:
    call = caller(counter)
    first, second = await call("k", 1, text="x"), await call("k", 1, text="x")
    assert counter.runs == 1
    assert deserialize_value(second.result) == deserialize_value(first.result) == "run 1 of 1x"
    assert (second.success, second.request_id) == (True, "for k")


async def test_another_key_and_another_session_run_again(counter: Counter) -> None:
    call = caller(counter)
    await call("k", 1)
    await call("other", 1)
    await call("k", 1, session="t")
    assert counter.runs == 3


async def test_a_key_with_other_arguments_is_a_conflict(counter: Counter) -> None:
    call = caller(counter)
    await call("k", 1)
    for args in ((2,), (1, "x"), ()):
        error = (await call("k", *args)).error
        assert (error.type, error.retryable) == ("IdempotencyConflict", False)
        assert "use a new key" in error.message
    assert counter.runs == 1


async def test_the_order_of_arguments_by_name_is_no_difference(counter: Counter) -> None:
    call = caller(counter)
    await call("k", number=1, text="x")
    assert (await call("k", text="x", number=1)).success
    assert counter.runs == 1


async def test_a_call_whose_key_runs_waits_for_that_answer(counter: Counter) -> None:
    call = caller(counter)
    counter.go_on.clear()
    first = asyncio.create_task(call("k", 1))
    await counter.started.wait()
    second = asyncio.create_task(call("k", 1))
    await asyncio.sleep(0)
    counter.go_on.set()
    assert deserialize_value((await first).result) == deserialize_value((await second).result) == "run 1 of 1"


async def test_what_the_tool_made_of_a_call_is_the_answer_of_those_who_wait_even_where_it_is_not_kept(
    counter: Counter,
) -> None:
    class BusyError(Exception):
        retryable = True

    call = caller(counter, max_session_answer_bytes=1)
    for failure in (None, BusyError("not now")):
        counter.failure = failure
        runs = counter.runs
        first, *others = await all_at_once(counter, call, 4)
        assert counter.runs == runs + 1
        assert first.success is (failure is None)
        assert [(other.result, other.error) for other in others] == [(first.result, first.error)] * 3
        await call("k", 1)
        assert counter.runs == runs + 2


async def test_of_those_who_wait_for_a_call_that_came_to_no_end_one_runs_it(counter: Counter) -> None:
    call = caller(counter, max_session_calls=1, max_session_waiting=5)
    counter.go_on.clear()
    tasks = [asyncio.create_task(call("k", 1)) for _ in range(4)]
    await counter.started.wait()
    for left in range(3, 0, -1):
        await turns()
        counter.started.clear()
        tasks.pop(0).cancel()
        await counter.started.wait()
        assert [task.done() for task in tasks] == [False] * left
    counter.go_on.set()
    assert deserialize_value((await tasks[0]).result) == "run 4 of 1"


async def test_a_refusal_is_the_answer_of_its_own_call_only(counter: Counter) -> None:
    call = caller(counter, max_session_calls=1, max_session_waiting=2)
    counter.go_on.clear()
    running = asyncio.create_task(call("other", 1))
    await counter.started.wait()
    waiting = asyncio.create_task(call("k", 1, timeout_ms=1))
    await turns()
    patient = asyncio.create_task(call("k", 1))
    assert (await waiting).error.type == "TimeoutError"
    counter.go_on.set()
    assert (await running).success
    assert deserialize_value((await patient).result) == "run 2 of 1"


async def test_more_calls_that_wait_for_one_of_their_key_than_the_limit_are_refused(counter: Counter) -> None:
    call = caller(counter, max_session_waiting=2)
    counter.go_on.clear()
    tasks = [asyncio.create_task(call("k", 1)) for _ in range(3)]
    await turns()
    refused = (await call("k", 1)).error
    assert (refused.type, refused.retryable, refused.details["retry_after"]) == ("ResourceExhausted", True, "1")
    assert "2 calls waiting" in refused.message
    counter.go_on.set()
    assert all([(await task).success for task in tasks])
    assert (await call("k", 1)).success
    assert counter.runs == 1


async def test_a_call_waits_no_longer_than_its_own_time(counter: Counter) -> None:
    call = caller(counter)
    counter.go_on.clear()
    first = asyncio.create_task(call("k", 1))
    await counter.started.wait()
    outer: Any = SimpleNamespace(deadline=0.0)
    for limit in ({"timeout_ms": 1}, {"deadline": 0.0}, {"parent": outer}):
        late = await call("k", 1, **limit)
        assert late.error.type == "TimeoutError"
        assert "call again later" in late.error.message
    counter.go_on.set()
    assert (await first).success


async def test_the_time_that_a_call_waited_for_one_of_its_key_is_taken_off_its_own(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = caller(counter)
    counter.go_on.clear()
    first = asyncio.create_task(call("k", 1))
    await counter.started.wait()
    second = asyncio.create_task(call("k", 1, timeout_ms=60_000))
    await turns()
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 60, perf_counter_ns=time.perf_counter_ns)
    monkeypatch.setattr(admission, "time", clock)
    first.cancel()
    counter.go_on.set()
    assert (await second).error.type == "TimeoutError"
    assert counter.runs == 1


async def test_where_the_first_caller_leaves_the_next_one_runs_the_call(counter: Counter) -> None:
    call = caller(counter)
    counter.go_on.clear()
    first = asyncio.create_task(call("k", 1))
    await counter.started.wait()
    second = asyncio.create_task(call("k", 1))
    await asyncio.sleep(0)
    first.cancel()
    counter.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert deserialize_value((await second).result) == "run 2 of 1"


async def test_what_a_tool_raised_is_its_answer(counter: Counter) -> None:
    call = caller(counter)
    counter.failure = KeyError("gone")
    first, second = await call("k", 1), await call("k", 1)
    assert counter.runs == 1
    assert second.error == first.error
    assert second.error.type == "KeyError"


async def test_what_may_succeed_later_runs_again(counter: Counter) -> None:
    class BusyError(Exception):
        retryable = True

    call = caller(counter)
    counter.failure = BusyError()
    assert (await call("k", 1)).error.retryable
    counter.failure = None
    assert deserialize_value((await call("k", 1)).result) == "run 2 of 1"


async def test_what_the_bridge_refused_or_ended_leaves_the_key_free(counter: Counter) -> None:
    call = caller(counter)
    assert (await call("k", "no number")).error.type == "ValidationError"
    counter.go_on.clear()
    assert (await call("k", 1, timeout_ms=1)).error.type == "TimeoutError"
    counter.go_on.set()
    assert (await call("k", 1)).success


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("x" * 257, "idempotency_key has at most 256 characters; this one has 257"),
        ("a\nb", "an idempotency key must have only printable"),
    ],
)
async def test_a_key_that_cannot_be_one_is_refused(counter: Counter, key: str, text: str) -> None:
    error = (await caller(counter)(key, 1)).error
    assert error.type == "ValidationError"
    assert error.message.startswith(text)
    assert counter.runs == 0


async def test_the_session_must_be_there(counter: Counter) -> None:
    store = SessionStore()
    response = await Executor(store, ToolRegistry(store)).execute(
        ToolCallRequest(session_id="none", idempotency_key="k", request_id="r")
    )
    assert (response.error.type, response.request_id) == ("SessionNotFound", "r")


async def test_the_answer_least_recently_asked_for_is_forgotten_first(counter: Counter) -> None:
    call = caller(counter, max_session_answers=2)
    await call("a", 1)
    await call("b", 1)
    await call("a", 1)
    await call("c", 1)
    assert counter.runs == 3
    await call("a", 1)
    assert counter.runs == 3
    await call("b", 1)
    assert counter.runs == 4


async def test_answers_are_kept_within_their_bytes(counter: Counter) -> None:
    call = caller(counter, max_session_answer_bytes=600)
    for key in ("a", "b", "c"):
        await call(key, 1, "x" * 200)
    assert counter.runs == 3
    await call("c", 1, "x" * 200)
    assert counter.runs == 3
    await call("a", 1, "x" * 200)
    assert counter.runs == 4
    for _ in range(2):
        await call("large", 1, "x" * 700)
    assert counter.runs == 6


async def test_an_answer_is_forgotten_once_its_time_is_over(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(kept, "time", SimpleNamespace(monotonic=lambda: now))
    call = caller(counter, answer_ttl=20)
    await call("k", 1)
    now += 19
    await call("k", 1)
    assert counter.runs == 1
    now += 1
    await call("k", 2)
    assert counter.runs == 2


async def test_changing_an_answer_does_not_change_what_is_remembered(counter: Counter) -> None:
    call = caller(counter)
    for _ in range(2):
        response = await call("k", 1)
        assert deserialize_value(response.result) == "run 1 of 1"
        response.result.Clear()
    assert counter.runs == 1
