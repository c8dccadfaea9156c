"""A batch: many calls in one request."""

import asyncio
import time
from collections.abc import Iterator

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.names import clip
from grpc_tool_bridge.errors import (
    CallCancelledError,
    MessageTooLargeError,
    ToolBridgeError,
    ValidationError,
    error_info,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchToolCallRequest,
    BatchToolCallResponse,
    ErrorInfo,
    ToolCallItem,
    ToolCallResult,
)
from grpc_tool_bridge.rpc.bounds import check_request
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext

Slot = tuple[int, ToolCallItem]


class Batch:
    """Runs the items of one request.

    Args:
        executor: Runs each item as a call with its own deadline, checks and permits.
        request: The batch.
        context: Its deadline, if any, also limits the batch.
    """

    def __init__(self, executor: Executor, request: BatchToolCallRequest, context: RequestContext = LOCAL) -> None:
        self._executor = executor
        self._request = request
        self._size = context.size
        self._parent: HubCall | None = context.parent
        self._response = BatchToolCallResponse(batch_id=clip(request.batch_id))
        limit = time.monotonic() + executor.settings.batch_timeout
        deadline = limit if context.deadline is None else min(limit, context.deadline)
        self._context = context.within(deadline, admitted=True)
        self._queue: Iterator[Slot] = iter(enumerate(request.items))
        self._left = len(request.items)
        self._stopped = False
        self._workers = TaskSet()
        self._turns = Turns()

    async def run(self) -> BatchToolCallResponse:
        """Runs the batch and returns its results in the order of the items."""
        request, response = self._request, self._response
        began = time.perf_counter_ns()
        try:
            self._check()
        except ToolBridgeError as error:
            response.error.CopyFrom(error_info(error))
            self._refused(request, response.error)
            return response
        for item in request.items:
            response.results.add(index=item.index)
        # The batch itself is counted too, so that a drain waits for items that have not begun.
        self._executor.admission.active += 1
        try:
            await self._work(self._width())
        finally:
            self._executor.admission.ended()
            await self._workers.aclose()
        duration_us = (time.perf_counter_ns() - began) // 1_000
        if response.ByteSize() > self._executor.settings.max_message_bytes:
            self._fit()
        _measure(response, duration_us)
        return response

    def _check(self) -> None:
        if self._parent is None:
            self._executor.admission.require_session(self._request.session_id, self._context)
        settings, request = self._executor.settings, self._request
        check_request(request)
        if len(request.items) > settings.max_batch_items:
            raise ValidationError(
                f"a batch has at most {settings.max_batch_items} items; this one has {len(request.items)}: split it",
                details={"items": str(len(request.items)), "limit": str(settings.max_batch_items)},
            )
        if request.config.max_parallel < 0:
            raise ValidationError(f"max_parallel must be 0 (the default) or more, not {request.config.max_parallel}")
        size = self._size or request.ByteSize()
        if size > settings.max_message_bytes:
            raise MessageTooLargeError.of("the batch", size, settings.max_message_bytes)

    def _width(self) -> int:
        config = self._request.config
        if not config.parallel:
            return 1
        return config.max_parallel or self._executor.settings.max_session_calls

    async def _work(self, width: int) -> None:
        """Runs items until none is left.

        Before the first item it spawns a task that begins when this one first has to wait. So items that never wait
        run one after another without a task for each, and items that wait run concurrently.
        """
        helper: asyncio.Task[None] | None = None
        for position, item in self._queue:
            self._left -= 1
            if helper is None and width > 1 and self._left:
                helper = self._workers.spawn(self._work(width - 1), "batch")
            await self._one(item, self._response.results[position])
            if self._turns.due:
                await self._turns.give()
        if helper is not None:
            await helper

    async def _one(self, item: ToolCallItem, result: ToolCallResult) -> None:
        if self._stopped:
            text = f"{clip(item.tool_id)} was not called: an item before it failed, and stop_on_error is set"
            result.error.CopyFrom(error_info(CallCancelledError(text)))
            self._refused(item, result.error)
            return
        await self._executor.run(item, result, self._context, self._request.session_id)
        if not result.success and self._request.config.stop_on_error:
            self._stopped = True

    def _refused(self, request: BatchToolCallRequest | ToolCallItem, error: ErrorInfo) -> None:
        """Audits the batch, or one of its items, that does not run."""
        self._executor.admission.refused(request, self._context, clip(self._request.session_id), "", error, logs=False)

    def _fit(self) -> None:
        """Keeps the answer within the message limit: an error replaces each result that does not fit."""
        limit = room = self._executor.settings.max_message_bytes
        for result in self._response.results:
            size = result.ByteSize()
            if size > room:
                error = MessageTooLargeError.of("the batch's answer with this result", limit - room + size, limit)
                result.ClearField("result")
                result.success = False
                result.error.CopyFrom(error_info(error))
                size = result.ByteSize()
            room -= size


def _measure(response: BatchToolCallResponse, duration_us: int) -> None:
    successful = ran = ran_us = 0
    for result in response.results:
        successful += result.success
        if result.HasField("metrics"):
            ran += 1
            ran_us += result.metrics.duration_us
    metrics = response.metrics
    metrics.total_items = len(response.results)
    metrics.successful_items = successful
    metrics.failed_items = metrics.total_items - successful
    metrics.total_duration_ms = duration_us // 1_000 + 1
    metrics.avg_duration_ms = ran_us / ran / 1_000 if ran else 0.0
