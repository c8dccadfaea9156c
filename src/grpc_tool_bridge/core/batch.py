"""A batch: many calls in one request."""

import asyncio
import time
from collections.abc import Iterator

from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.errors import (
    CallCancelledError,
    MessageTooLargeError,
    ToolBridgeError,
    ValidationError,
    error_info,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchMetrics,
    BatchToolCallRequest,
    BatchToolCallResponse,
    ToolCallItem,
    ToolCallResult,
)
from grpc_tool_bridge.tasks import TaskSet

Slot = tuple[int, ToolCallItem]


class Batch:
    """Runs the items of one request.

    Args:
        executor: Runs each item as a call of its own, with its own deadline, checks and places.
        request: The batch.
        deadline: Of the transport, on the monotonic clock; None: only the hub's limit for a batch holds.
    """

    def __init__(self, executor: Executor, request: BatchToolCallRequest, deadline: float | None) -> None:
        self._executor = executor
        self._request = request
        self._results: list[ToolCallResult | None] = [None] * len(request.items)
        limit = time.monotonic() + executor.settings.batch_timeout
        self._deadline = limit if deadline is None else min(limit, deadline)
        self._queue: Iterator[Slot] = iter(enumerate(request.items))
        self._left = len(request.items)
        self._stopped = False
        self._workers = TaskSet()

    async def run(self) -> BatchToolCallResponse:
        """Runs the batch and answers it; the results are in the order of the items."""
        request = self._request
        began = time.perf_counter_ns()
        try:
            self._check()
        except ToolBridgeError as error:
            return BatchToolCallResponse(batch_id=request.batch_id, error=error_info(error))
        # A batch counts as one operation beside those of its items, so that a drain waits for the ones to come.
        self._executor.active += 1
        try:
            await self._work(self._width())
        finally:
            self._executor.ended()
            await self._workers.aclose()
        duration_us = (time.perf_counter_ns() - began) // 1_000
        results = [result or self._not_run(item) for result, item in zip(self._results, request.items, strict=True)]
        self._fit(results)
        return BatchToolCallResponse(
            batch_id=request.batch_id, results=results, metrics=_batch_metrics(results, duration_us)
        )

    def _check(self) -> None:
        self._executor.let_in(self._request.session_id)
        settings, request = self._executor.settings, self._request
        if len(request.items) > settings.max_batch_items:
            raise ValidationError(
                f"a batch has at most {settings.max_batch_items} items; this one has {len(request.items)}: split it",
                details={"items": str(len(request.items)), "limit": str(settings.max_batch_items)},
            )
        if request.config.max_parallel < 0:
            raise ValidationError(f"max_parallel is {request.config.max_parallel}; it is 0 (the default) or more")
        size = request.ByteSize()
        if size > settings.max_message_bytes:
            raise MessageTooLargeError.of("the batch", size, settings.max_message_bytes)

    def _width(self) -> int:
        config = self._request.config
        if not config.parallel:
            return 1
        return config.max_parallel or self._executor.settings.max_session_calls

    async def _work(self, width: int) -> None:
        """Runs items until none is left.

        Before each, another worker is made ready: it begins when this one first has to wait. Items that never wait
        are thus run one after another without a task for each, and items that wait run at once.
        """
        helper: asyncio.Task[None] | None = None
        for position, item in self._queue:
            self._left -= 1
            if helper is None and width > 1 and self._left:
                helper = self._workers.spawn(self._work(width - 1), "batch")
            if self._stopped:
                continue
            self._results[position] = await self._one(item)
        if helper is not None:
            await helper

    async def _one(self, item: ToolCallItem) -> ToolCallResult:
        result, error, metrics = await self._executor.run(
            self._request.session_id, item, deadline=self._deadline, in_batch=True
        )
        if error is not None and self._request.config.stop_on_error:
            self._stopped = True
        return ToolCallResult(index=item.index, success=error is None, result=result, error=error, metrics=metrics)

    def _not_run(self, item: ToolCallItem) -> ToolCallResult:
        error = CallCancelledError(f"{item.tool_id} was not called: an item before it failed, and stop_on_error is set")
        return ToolCallResult(index=item.index, error=error_info(error))

    def _fit(self, results: list[ToolCallResult]) -> None:
        """Keeps the answer within the message limit: results that do not fit give way to an error that says so."""
        limit = room = self._executor.settings.max_message_bytes
        for result in results:
            size = result.ByteSize()
            if size > room:
                error = MessageTooLargeError.of("the batch's answer with this result", limit - room + size, limit)
                result.ClearField("result")
                result.success = False
                result.error.CopyFrom(error_info(error))
                size = result.ByteSize()
            room -= size


def _batch_metrics(results: list[ToolCallResult], duration_us: int) -> BatchMetrics:
    successful = sum(result.success for result in results)
    ran = [result.metrics.duration_us for result in results if result.HasField("metrics")]
    return BatchMetrics(
        total_items=len(results),
        successful_items=successful,
        failed_items=len(results) - successful,
        total_duration_ms=duration_us // 1_000 + 1,
        avg_duration_ms=sum(ran) / len(ran) / 1_000 if ran else 0.0,
    )
