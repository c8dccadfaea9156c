"""The one call path: find, open, prepare, acquire, run, answer, end.

Whatever edge or transport a call came by, it goes this way. The steps are plain code, not a chain of objects: at some
ten microseconds a call, the calls between layers would be most of the cost. What decides whether a call may run stands
in ``admission``, what runs it behind a ``Backend``.
"""

import time
import uuid
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.core.admission import Admission, Permits
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.forwarder import Forwarded, Forwarder
from grpc_tool_bridge.core.idempotency import KeyedCalls
from grpc_tool_bridge.core.interfaces import Backend, Done
from grpc_tool_bridge.core.names import check_name, clip
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.result_cache import ResultCache, ResultPlace
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.tool_runtime import HubRuntime
from grpc_tool_bridge.errors import NotFoundError, ToolBridgeError, error_info
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    LogRecord,
    Progress,
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolSpec,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.bounds import check_request
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.runner.runner import ToolRunner, last_chunk, set_duration


class Executor:
    """Runs calls.

    Args:
        store: The sessions.
        registry: The tools.

    Attributes:
        admission: Decides what runs.
    """

    def __init__(
        self,
        store: SessionStore,
        registry: ToolRegistry,
    ) -> None:
        self.settings = store.settings
        self._store = store
        self._registry = registry
        self._runner = ToolRunner(self.settings, lambda call: HubRuntime(call, self, store))
        self.admission = Admission(store, registry, self._runner.tasks)
        self.check_size = self._runner.check_size
        self.error_of = self._runner.error_of
        self._local: Backend[HubCall] = self._runner
        self._forwarder = Forwarder(self.admission, self.error_of)

    async def aclose(self) -> None:
        """Ends orphaned tools."""
        await self._runner.aclose()

    def abandon(self) -> None:
        """Ends what was left in an event loop that has ended."""
        self._runner.abandon()

    @property
    def threads_busy(self) -> int:
        """Threads that run a tool now, orphaned ones included."""
        return self._runner.threads_busy

    @property
    def processes_busy(self) -> int:
        """Processes that run a tool now."""
        return self._runner.processes_busy

    def spec_of(self, session_id: str, tool_id: str) -> ToolSpec | None:
        """Returns the spec of a tool that a session sees; None where it sees none, which the call will say."""
        try:
            return self._registry.find(self._store.find(session_id), tool_id).spec
        except NotFoundError:
            return None

    def told(self, call: HubCall, event: Progress | LogRecord) -> None:
        """Takes what a tool of this process reports on the way; from any thread."""
        if isinstance(event, Progress):
            call.progress = event
        observer = self.admission.observer
        if observer is not None:
            observer.told(call, event)

    # -------------------------------------------------------------------------------------------------- calls

    def execute(self, request: ToolCallRequest, context: RequestContext = LOCAL) -> Coroutine[Any, Any, Any]:
        """Runs one call and answers it, whatever happens.

        Args:
            request: The call.
            context: Its deadline can only shorten the call's; its parent gives its permit, and its deadline holds too.

        Returns:
            What gives the answer, a ToolCallResponse; where the context has the payload it may be the bytes of one.

        Raises (when it is awaited):
            asyncio.CancelledError: The caller has gone.
        """
        if request.idempotency_key:
            return self._execute_once(request, context)
        response = ToolCallResponse()
        request_id = request.request_id
        if request_id:
            request_id = response.request_id = clip(request_id)
        return self.run(request, response, context, request.session_id, None, request_id)

    def begin(
        self, request: ToolCallRequest, context: RequestContext, done: Done
    ) -> Coroutine[Any, Any, Any] | Forwarded:
        """Begins one call for a caller that can be called back.

        Args:
            request: The call; it comes from outside.
            context: With the request's payload.
            done: Called, later, with the answer as ``execute`` gives it, or with the cancellation.

        Returns:
            The call, where it waits for nothing but an answer from elsewhere; ``cancel`` ends it. Else what to await,
            as of ``execute``; ``done`` is not called then.
        """
        if request.idempotency_key:
            return self._execute_once(request, context)
        began = time.perf_counter_ns()
        response = ToolCallResponse()
        request_id = request.request_id
        if request_id:
            request_id = response.request_id = clip(request_id)
        try:
            session, tool = self.admission.find(request.session_id, request, context, context.size)
            call = self.admission.make(session, tool, context, timeout_ms=request.timeout_ms)
            if request_id:
                call.request_id = request_id
        except ToolBridgeError as error:
            return self._refused(response, error, began)
        if tool.backend is not None and tool.rate is None and not session.caching:
            forwarded = self._forwarder.start(call, tool.backend, request, context, done)
            if forwarded is not None:
                return forwarded
        return self.run(request, response, context, session.id, call)

    async def _refused(self, response: ToolCallResponse, error: ToolBridgeError, began: int) -> ToolCallResponse:
        response.error.CopyFrom(error_info(error))
        set_duration(response.metrics, (time.perf_counter_ns() - began) // 1_000)
        return response

    async def _execute_once(self, request: ToolCallRequest, context: RequestContext) -> ToolCallResponse:
        """Runs a call that has an idempotency key, or answers as it was answered before."""
        began = time.monotonic()
        # What the call waits for another of its key is taken off its own time.
        ends = [began + request.timeout_ms / 1000] if request.timeout_ms > 0 else []
        if context.deadline is not None:
            ends.append(context.deadline)
        if context.parent is not None:
            ends.append(context.parent.deadline)
        end = min(ends, default=None)
        context.payload = b""

        async def call() -> ToolCallResponse:
            response = ToolCallResponse(request_id=request.request_id)
            within = context.within(end)
            await self.run(request, response, within, request.session_id, None, request.request_id)
            return response

        try:
            check_request(request)
            session = self._store.find(request.session_id)
            if session.keyed is None:
                session.keyed = KeyedCalls(self.settings, self._store.memory_of(session))
            until = began + (session.call_timeout or self.settings.call_timeout) if end is None else end
            return await session.keyed.run(request, call, until=until)
        except ToolBridgeError as error:
            return ToolCallResponse(request_id=clip(request.request_id), error=error_info(error))

    async def run(
        self,
        request: ToolCallRequest | ToolCallItem,
        answer: ToolCallResponse | ToolCallResult,
        context: RequestContext,
        session_id: str,
        made: HubCall | None = None,
        request_id: str = "",
    ) -> Any:
        """Runs one call of a session and fills its answer in: the result or the error, and what it took.

        Other arguments as of ``execute``; ``made`` is the call, where it was made before, else it gets ``request_id``.

        Returns:
            The answer, or the bytes of the whole answer, where the backend gave them and the context has the payload.
        """
        began = time.perf_counter_ns()
        call: HubCall | None = None
        permits: Permits = ()
        outcome: object = answer
        payload, context.payload = context.payload, b""
        try:
            # To find it out, protobuf writes all of a request.
            size = context.size or (0 if context.admitted else request.ByteSize())
            if made is None:
                session, tool = self.admission.find(session_id, request, context, size)
                # An item of a batch gives itself none.
                made = self.admission.make(session, tool, context, timeout_ms=getattr(request, "timeout_ms", 0))
                made.request_id = request_id
            self.admission.begin(made, context, size, request)
            call = made
            place = self._result_place(call, request) if call.session.caching else None
            if place is None or not place.fill(answer):
                as_bytes = bool(payload) and place is None
                backend = call.tool.backend or self._local
                preparing = backend.prepare(call, request, payload, size)
                # What waits need not hold the bytes as well.
                payload = b""
                if preparing is not None:
                    await preparing
                permits = await self.admission.acquire(call)
                outcome = await backend.call(call, request, answer, as_bytes=as_bytes) or answer
                if outcome is not answer:
                    return outcome
                if place is not None and answer.success:
                    place.keep(answer)
        except BaseException as failure:  # noqa: BLE001 - every failure is an answer
            answer.success = False
            answer.error.CopyFrom(await self._runner.error_info_of(failure, call))
        finally:
            if call is not None:
                self.admission.end(call, permits, ok=answer.success, outcome=outcome)
        set_duration(answer.metrics, (time.perf_counter_ns() - began) // 1_000)
        return answer

    def _result_place(self, call: HubCall, request: ToolCallRequest | ToolCallItem) -> ResultPlace | None:
        """Returns where the result of a call is kept; None where it is not, since the tool is not idempotent."""
        session = call.session
        if not call.tool.spec.idempotent:
            return None
        if session.cache is None:
            session.cache = ResultCache(self.settings, self._store.memory_of(session))
        return session.cache.place(call.tool, request)

    # ------------------------------------------------------------------------------------------------ streams

    async def stream(self, request: ToolStreamRequest, context: RequestContext = LOCAL) -> AsyncGenerator[Any, None]:
        """Runs one stream: a chunk for each value as it is made, then exactly one ``complete`` or ``error``.

        Arguments as of ``execute``; where the payload was given, chunks may come as their bytes. The tool is held up
        while the reader takes no chunk.
        """
        began = time.perf_counter_ns()
        stream_id = clip(request.stream_id) or uuid.uuid4().hex
        call: HubCall | None = None
        error: ErrorInfo | None = None
        sequence = sent = 0
        permits: Permits = ()
        payload, context.payload = context.payload, b""
        try:
            size = context.size or request.ByteSize()
            session, tool = self.admission.find(request.session_id, request, context, size)
            default = self.settings.stream_timeout
            made = self.admission.make(session, tool, context, timeout_ms=request.timeout_ms, default=default)
            made.request_id = clip(request.stream_id)
            self.admission.begin(made, context, size, request)
            call = made
            # It may never wait for anything but its reader.
            call.enter_session()
            if request.stream_id:
                # Each chunk carries it.
                check_name(request.stream_id, "a stream id")
            else:
                request.stream_id = stream_id
            backend = tool.backend or self._local
            preparing = backend.prepare(call, request, payload, size)
            as_bytes, payload = bool(payload), b""
            if preparing is not None:
                await preparing
            permits = await self.admission.acquire(call)
            async with aclosing(backend.stream(call, request, as_bytes=as_bytes)) as chunks:
                async for chunk in chunks:
                    yield chunk
                    sequence += 1
                    sent += not isinstance(chunk, bytes) and chunk.HasField("data")
            error = call.error
        except BaseException as failure:  # noqa: BLE001 - every failure is an answer
            error = await self._runner.error_info_of(failure, call)
        finally:
            if call is not None:
                self.admission.end(call, permits, ok=error is None, streamed=True, outcome=error)
        if call is not None and call.last_chunk is not None:
            yield call.last_chunk
            return
        duration_us = (time.perf_counter_ns() - began) // 1_000
        yield last_chunk(stream_id, sequence, sent=sent, error=error, duration_us=duration_us)
