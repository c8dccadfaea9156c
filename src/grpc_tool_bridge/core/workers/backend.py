"""Tools of workers, as the hub calls them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.forwarded import ForwardedChunk, ForwardedResponse, call_bytes
from grpc_tool_bridge.core.interfaces import Cancellable, Done
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.workers.dispatch import Dispatcher
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError
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
    """

    def __init__(self, dispatcher: Dispatcher, worker: Worker) -> None:
        self.workers = [worker]
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
        data = await call.step(self._dispatcher.call(call, self.workers, call.prepared))
        call.refuse_late()
        response = self._read(call, data)
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
        async with aclosing(self._dispatcher.stream(call, self.workers, call.prepared)) as chunks:
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

        def answered(data: bytes | None, error: BaseException | None) -> None:
            response: ForwardedResponse | None = None
            if data is not None:
                try:
                    response = self._read(call, data)
                except (MessageTooLargeError, ProtocolError) as unreadable:
                    error = unreadable
            done(response, error)

        return self._dispatcher.try_call(call, self.workers, payload, answered)

    def _read(self, call: HubCall, data: bytes) -> ForwardedResponse:
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
