"""Calls with an idempotency key: what runs once, what runs again, and what is remembered."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest, ToolCallResponse
from grpc_tool_bridge.wire.values import deserialize_value, serialize_value


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


@pytest.fixture
def counter() -> Counter:
    return Counter()


def caller(counter: Counter, **settings: Any) -> Call:
    store = SessionStore(Settings(**settings))
    registry = ToolRegistry(store)
    registry.register_batch("", [counter.count])
    executor = Executor(store, registry)

    async def call(
        key: str, *args: Any, session: str = "s", timeout_ms: int = 0, deadline: float | None = None, **kwargs: Any
    ) -> ToolCallResponse:
        if session not in {known.id for known in store.sessions()}:
            await store.create_session(session)
        request = ToolCallRequest(session_id=session, tool_id="count", idempotency_key=key, timeout_ms=timeout_ms)
        request.args.extend(serialize_value(value) for value in args)
        for name, value in kwargs.items():
            request.kwargs[name].CopyFrom(serialize_value(value))
        request.request_id = f"for {key}"
        return await executor.execute(request, deadline=deadline)

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
        assert "take a new key" in error.message
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


async def test_a_call_waits_no_longer_than_its_own_time(counter: Counter) -> None:
    call = caller(counter)
    counter.go_on.clear()
    first = asyncio.create_task(call("k", 1))
    await counter.started.wait()
    for late in (await call("k", 1, timeout_ms=1), await call("k", 1, deadline=0.0)):
        assert late.error.type == "TimeoutError"
        assert "ask again later" in late.error.message
    counter.go_on.set()
    assert (await first).success


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


@pytest.mark.parametrize("key", ["x" * 257, "a\nb"])
async def test_a_key_that_cannot_be_one_is_refused(counter: Counter, key: str) -> None:
    error = (await caller(counter)(key, 1)).error
    assert error.type == "ValidationError"
    assert error.message.startswith("an idempotency key has")
    assert counter.runs == 0


async def test_the_session_must_be_there(counter: Counter) -> None:
    store = SessionStore()
    executor = Executor(store, ToolRegistry(store))
    response = await executor.execute(ToolCallRequest(session_id="none", idempotency_key="k", request_id="r"))
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


async def test_changing_an_answer_does_not_change_what_is_remembered(counter: Counter) -> None:
    call = caller(counter)
    for _ in range(2):
        response = await call("k", 1)
        assert deserialize_value(response.result) == "run 1 of 1"
        response.result.Clear()
    assert counter.runs == 1
