"""Tools of workers, as the hub calls them."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.forwarded import ForwardedChunk, ForwardedResponse, call_bytes
from grpc_tool_bridge.core.interfaces import Cancellable, Done
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.workers.dispatch import Dispatcher, Place, check_repeatable
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ToolBridgeError
from grpc_tool_bridge.link.calls import WorkerCall, WorkerLostError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
    ToolStreamRequest,
)

# Bytes that stand beside the value in an answer: its type, what the call took.
ANSWER_OVERHEAD = 4_096


class WorkerBackend:
    """The workers of one tool.

    A call is passed on as the bytes that it came in, and its answer as the bytes that the worker gave, wherever the
    transport takes them so.

    Args:
        dispatcher: Gives the calls to workers.
        worker: The first that offers the tool.

    Attributes:
        workers: Who offers it, the one that had a call longest ago first.
        places: The calls that wait for one of them.
    """

    def __init__(self, dispatcher: Dispatcher, worker: Worker) -> None:
        self.workers = [worker]
        self.places: OrderedDict[Place, None] = OrderedDict()
        self._dispatcher = dispatcher
        self._limit = dispatcher.settings.max_message_bytes
        self._shows_tracebacks = dispatcher.settings.show_tracebacks

    def prepare(
        self, call: HubCall, request: ToolCallRequest | ToolCallItem | ToolStreamRequest, payload: bytes, size: int
    ) -> None:
        """Checks the arguments as far as the spec tells."""
        del size
        call.tool.check(request)
        call.prepared = payload or call_bytes(request, call.session.id)

    async def call(
        self, call: HubCall, request: Any, answer: ToolCallResponse | ToolCallResult, *, as_bytes: bool
    ) -> bytes | None:
        """Has a worker run it."""
        del request
        data = await call.step(self._dispatcher.call(call, self, call.prepared))
        call.refuse_late()
        response = self.read(call, data)
        if not as_bytes:
            response.put_into(answer)
            return None
        answer.success = response.success
        return response.data

    async def stream(
        self, call: HubCall, request: ToolStreamRequest, *, as_bytes: bool
    ) -> AsyncGenerator[ToolStreamChunk | bytes, None]:
        """Yields what a worker gives, as it comes and in order."""
        del request
        name, sequence = call.tool.name, 0
        async with aclosing(self._dispatcher.stream(call, self, call.prepared)) as chunks:
            while True:
                try:
                    data = await call.step(chunks.__anext__())
                except StopAsyncIteration:
                    raise ProtocolError(f"the worker's stream of {name} ended without 'complete' or 'error'") from None
                self._check_size(f"a value of {name}", data)
                chunk = ForwardedChunk(data, name, sequence, show_traceback=self._shows_tracebacks)
                if chunk.error is not None:
                    chunk.restate(call.deadline - call.opened_at)
                message = chunk.data if as_bytes else chunk.message()
                if chunk.is_last:
                    call.last_chunk, call.error = message, chunk.error
                    return
                yield message
                sequence += 1
                call.check()

    def try_call(self, call: HubCall, request: ToolCallRequest, payload: bytes, done: Done) -> Cancellable | None:
        """Sends it to a worker, where one has room."""
        call.tool.check(request)
        worker = self.choose(call)
        if worker is None:
            return None
        direct = _DirectCall(call, self, worker, payload, done)
        call.worker = worker
        worker.link.send(direct, payload)
        return direct

    def repeat(self, direct: "_DirectCall", losses: int) -> "asyncio.Task[None]":
        """Gives a call to another worker, after so many losses."""
        return self._dispatcher.repeat(direct.owner, self, direct.payload, losses, direct.repeated)

    def choose(self, call: HubCall) -> Worker | None:
        """Returns the worker with the fewest calls among those with room; None where others wait for one, or none has.

        Of several with as few it is the one that had its last call longest ago.
        """
        best: Worker | None = None
        workers = self.workers
        if not self.places:
            fewest = math.inf
            for worker in workers:
                active = worker.link.open_calls + worker.reserved
                if active < worker.capacity and active < fewest and not worker.suspect:
                    best, fewest = worker, active
        if best is None and call.parent is not None:
            # It has the permit of the call that made it, so that calls never wait for themselves.
            best = next((worker for worker in workers if not worker.suspect and _runs_above(call, worker)), None)
        if best is not None and len(workers) > 1:
            workers.remove(best)
            workers.append(best)
        return best

    def read(self, call: HubCall, data: bytes) -> ForwardedResponse:
        """Reads a worker's answer to a call.

        Raises:
            MessageTooLargeError: It is over the limit of a message.
            ProtocolError: It is no answer.
        """
        name = call.tool.name
        self._check_size(f"the result of {name}", data)
        response = ForwardedResponse(data, name, show_traceback=self._shows_tracebacks)
        if not response.success:
            response.restate(call.deadline - call.opened_at)
        return response

    def _check_size(self, what: str, data: bytes) -> None:
        if len(data) - ANSWER_OVERHEAD > self._limit:
            raise MessageTooLargeError.of(what, len(data) - ANSWER_OVERHEAD, self._limit)


def backend_of(tool: RegisteredTool) -> WorkerBackend | None:
    """Returns the workers of a tool; None where it is not one of workers."""
    return tool.backend if isinstance(tool.backend, WorkerBackend) else None


def workers_of(tool: RegisteredTool) -> list[Worker]:
    """Lists the workers of a tool."""
    backend = backend_of(tool)
    return backend.workers if backend is not None else []


class _DirectCall(WorkerCall):
    """A call whose end is called back.

    Args:
        owner: The call as the hub has it.
        backend: The workers of its tool.
        worker: Who runs it.
        payload: The serialized request.
        done: As of ``WorkerBackend.try_call``; not called after ``cancel``.
    """

    owner: HubCall
    _repeating: "asyncio.Task[None] | None" = None

    def __init__(
        self,
        owner: HubCall,
        backend: WorkerBackend,
        worker: Worker,
        payload: bytes,
        done: Done,
    ) -> None:
        super().__init__(owner, streaming=False)
        self.payload = payload
        self._backend = backend
        self._worker = worker
        self._done = done

    def on_reply(self, payload: bytes) -> None:
        """Takes the answer."""
        self._end(payload, None)

    def fail(self, error: Exception) -> None:
        """Takes the worker's refusal."""
        if self._repeating is None:
            self._end(None, error)

    def lost(self, error: WorkerLostError) -> None:
        """Goes to another worker, where the call may be repeated."""
        # A link that is aborted is lost once more when it ends.
        if self._over or self._repeating is not None:
            return
        losses = int(error.began)
        try:
            check_repeatable(self.owner, error, losses)
        except ToolBridgeError as refusal:
            self._end(None, refusal)
            return
        self._repeating = self._backend.repeat(self, losses)

    def repeated(self, payload: bytes | None, error: BaseException | None) -> None:
        """Takes the outcome of the other worker."""
        self._repeating = None
        self._end(None, error) if error is not None else self._end(payload, None)

    def cancel(self) -> bool:
        """Ends it; nobody is told."""
        if self._over:
            return False
        self._over = True
        if self._repeating is not None:
            self._repeating.cancel()
        else:
            self._worker.link.cancel(self)
        return True

    def _end(self, payload: bytes | None, error: BaseException | None) -> None:
        if self._over:
            return
        self._over = True
        if self._repeating is not None:
            # The first worker has answered after all.
            self._repeating.cancel()
        response: ForwardedResponse | None = None
        if payload is not None:
            try:
                response = self._backend.read(self.owner, payload)
            except (MessageTooLargeError, ProtocolError) as unreadable:
                error = unreadable
        self._done(response, error)


def _runs_above(call: HubCall, worker: Worker) -> bool:
    above = call.parent
    while above is not None:
        if above.worker is worker:
            return True
        above = above.parent
    return False
