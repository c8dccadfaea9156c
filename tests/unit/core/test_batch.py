"""A batch: many calls in one request."""

import asyncio
import time
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.batch import Batch
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchConfig,
    BatchToolCallRequest,
    BatchToolCallResponse,
    ToolCallItem,
)
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.tools.tool import tool
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.waiting import turns, until


class Bench:
    """An executor with a session "s", and tools that tell how they run."""

    def __init__(self, **settings: Any) -> None:
        self.running = self.most = self.raised = 0
        self.began: list[int] = []
        self.go = asyncio.Event()
        self.store = SessionStore(Settings(**settings))
        registry = ToolRegistry(self.store)
        registry.register_batch("", [self.quick, self.slow, self.fail, self.big])
        self.executor = Executor(self.store, registry)

    @tool(executor="async")
    def quick(self, n: int) -> int:
        self.began.append(n)
        return n

    @tool
    async def slow(self, n: int) -> int:
        self.began.append(n)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
        finally:
            self.running -= 1
        return n

    @tool(executor="async")
    def fail(self, n: int) -> None:
        self.raised += 1
        raise LookupError(str(n))

    @tool(executor="async")
    def big(self, n: int) -> str:
        return "x" * n

    async def run(self, *calls: tuple[str, int], deadline: float | None = None, **config: Any) -> BatchToolCallResponse:
        if not len(self.store):
            await self.store.create_session("s")
        items = [
            ToolCallItem(index=index, tool_id=name, args=[serialize_value(n)]) for index, (name, n) in enumerate(calls)
        ]
        request = BatchToolCallRequest(session_id="s", batch_id="b", items=items, config=BatchConfig(**config))
        return await Batch(self.executor, request, RequestContext(deadline=deadline)).run()

    def assert_even(self) -> None:
        assert self.executor.admission.active == 0
        assert self.store.peek("s").active == 0
        assert self.running == 0


def told(response: BatchToolCallResponse) -> list[Any]:
    assert not response.HasField("error"), response.error
    return [deserialize_value(result.result) if result.success else result.error.type for result in response.results]


async def test_results_are_in_the_order_of_the_items_with_their_errors_in_place() -> None:
    bench = Bench()
    for parallel in (False, True):
        response = await bench.run(("quick", 1), ("fail", 2), ("nobody", 3), ("quick", 4), parallel=parallel)
        assert told(response) == [1, "LookupError", "ToolNotFound", 4]
        assert response.batch_id == "b"
        assert [result.index for result in response.results] == [0, 1, 2, 3]
        metrics = response.metrics
        assert (metrics.total_items, metrics.successful_items, metrics.failed_items) == (4, 2, 2)
        assert metrics.total_duration_ms >= 1
    bench.assert_even()


async def test_a_batch_of_nothing_has_no_results() -> None:
    response = await Bench().run()
    assert told(response) == []
    assert response.metrics.avg_duration_ms == 0


async def test_without_parallel_one_item_runs_after_another() -> None:
    bench = Bench()
    bench.go.set()
    assert told(await bench.run(*[("slow", n) for n in range(5)])) == [0, 1, 2, 3, 4]
    assert bench.most == 1
    assert bench.began == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("asked", "limit", "expected"), [(3, 100, 3), (1, 100, 1), (0, 4, 4), (0, 100, 10)])
async def test_with_parallel_so_many_items_run_at_once(asked: int, limit: int, expected: int) -> None:
    bench = Bench(max_session_calls=limit)
    task = asyncio.create_task(bench.run(*[("slow", n) for n in range(10)], parallel=True, max_parallel=asked))
    await turns()
    assert bench.running == expected
    bench.go.set()
    assert told(await task) == list(range(10))
    assert bench.most == expected
    bench.assert_even()


async def test_items_that_never_wait_run_in_order_among_those_that_do() -> None:
    bench = Bench()
    task = asyncio.create_task(bench.run(("quick", 0), ("slow", 1), ("quick", 2), ("quick", 3), parallel=True))
    await turns()
    assert bench.began == [0, 1, 2, 3]
    bench.go.set()
    assert told(await task) == [0, 1, 2, 3]


async def test_stop_on_error_leaves_out_the_items_after_the_first_failure() -> None:
    bench = Bench()
    response = await bench.run(("quick", 0), ("fail", 1), ("quick", 2), ("quick", 3), stop_on_error=True)
    assert told(response) == [0, "LookupError", "Cancelled", "Cancelled"]
    assert "quick was not called: an item before it failed" in response.results[2].error.message
    assert bench.began == [0]
    assert response.metrics.failed_items == 3


async def test_stop_on_error_lets_items_that_run_already_finish() -> None:
    bench = Bench()
    task = asyncio.create_task(
        bench.run(("slow", 0), ("fail", 1), ("quick", 2), stop_on_error=True, parallel=True, max_parallel=2)
    )
    # The batch and the slow item are left; the failure is told in a thread.
    await until(lambda: bench.raised and bench.executor.admission.active == 2)
    bench.go.set()
    assert told(await task) == [0, "LookupError", "Cancelled"]
    bench.assert_even()


async def test_too_many_items_are_refused_whole() -> None:
    bench = Bench(max_batch_items=2)
    response = await bench.run(("quick", 0), ("quick", 1), ("quick", 2))
    assert response.error.type == "ValidationError"
    assert "a batch has at most 2 items; this one has 3: split it" in response.error.message
    assert (response.batch_id, len(response.results), bench.began) == ("b", 0, [])
    bench.assert_even()


async def test_a_negative_width_is_refused() -> None:
    error = (await Bench().run(("quick", 0), max_parallel=-1)).error
    assert error.message == "max_parallel must be 0 (the default) or more, not -1"


async def test_a_batch_over_the_message_limit_is_refused() -> None:
    bench = Bench(max_message_bytes=100)
    error = (await bench.run(*[("quick", n) for n in range(10)])).error
    assert error.type == "MessageTooLarge"
    assert "the batch takes" in error.message


async def test_results_that_do_not_fit_together_give_way_to_an_error() -> None:
    bench = Bench(max_message_bytes=2_000)
    response = await bench.run(("big", 900), ("big", 1_500), ("quick", 3))
    assert [kind if isinstance(kind, (str, int)) and len(str(kind)) < 50 else "big" for kind in told(response)] == [
        "big",
        "MessageTooLarge",
        3,
    ]
    assert "the batch's answer with this result takes" in response.results[1].error.message
    assert response.metrics.successful_items == 2


async def test_a_passed_deadline_ends_what_runs_and_leaves_out_the_rest() -> None:
    bench = Bench()
    response = await bench.run(("slow", 0), ("quick", 1), deadline=time.monotonic() + 0.01)
    assert told(response) == ["TimeoutError", "TimeoutError"]
    assert bench.began == [0]
    bench.assert_even()


async def test_a_cancelled_batch_cancels_all_that_runs() -> None:
    bench = Bench()
    task = asyncio.create_task(bench.run(*[("slow", n) for n in range(10)], parallel=True, max_parallel=3))
    await turns()
    assert bench.running == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.began == [0, 1, 2]
    bench.assert_even()


async def test_a_batch_in_flight_finishes_whole_while_the_hub_drains_and_is_waited_for() -> None:
    bench = Bench()
    task = asyncio.create_task(bench.run(("slow", 0), ("quick", 1)))
    await turns()
    bench.executor.admission.draining = True
    idle = asyncio.create_task(bench.executor.admission.idle())
    refused = await bench.run(("quick", 5))
    assert refused.error.type == "WorkerUnavailable"
    assert not idle.done()
    bench.go.set()
    assert told(await task) == [0, 1]
    await idle
    bench.assert_even()


async def test_a_batch_of_an_unknown_session_is_refused() -> None:
    bench = Bench()
    request = BatchToolCallRequest(session_id="nobody", items=[ToolCallItem(tool_id="quick")])
    assert (await Batch(bench.executor, request).run()).error.type == "SessionNotFound"
    assert bench.executor.admission.active == 0
