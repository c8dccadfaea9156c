"""Executes calls: find, open, prepare, acquire, run, answer, end.

A call takes these steps whichever transport or gateway it came by. They are plain code, not a chain of objects: at some
ten microseconds a call, the calls between layers would be most of the cost. ``admission`` decides whether a call may
run, and a ``Backend`` runs it.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Literal, cast

from grpc_tool_bridge.aio.eager import Done
from grpc_tool_bridge.core.admission import Admission
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.direct_calls import DirectCalls
from grpc_tool_bridge.core.forwarded import with_id
from grpc_tool_bridge.core.forwarder import Forwarded, Forwarder
from grpc_tool_bridge.core.idempotency import KeyedCalls
from grpc_tool_bridge.core.interfaces import Backend
from grpc_tool_bridge.core.limits import Permits
from grpc_tool_bridge.core.middleware import CallMiddleware
from grpc_tool_bridge.core.names import check_name, clip
from grpc_tool_bridge.core.payers import counted
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.result_cache import CacheEntry, ResultCache
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.tool_runtime import HubRuntime
from grpc_tool_bridge.errors import ConflictError, NotFoundError, ToolBridgeError, error_info
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    LogRecord,
    Progress,
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolSpec,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.bounds import check_request
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.callers import caller_of, drop_reserved
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.rpc.large_messages import whole
from grpc_tool_bridge.rpc.request_ids import new_request_id
from grpc_tool_bridge.runner.runner import ToolRunner, last_chunk, set_duration
from grpc_tool_bridge.tools.context import ToolRuntime
from grpc_tool_bridge.tools.middleware import CallNext


class Executor:
    """Runs calls.

    Args:
        store: The sessions.
        registry: The tools.

    Attributes:
        admission: Decides whether a call may run.
        local: Runs the tools of this process.
        pools: Its threads and processes, as in ``ToolRunner``.
        surroundings: What the tools of this process run in.
        side: As for ``ToolCall``.
        try_begin: As ``DirectCalls.begin``.
        run_directly, forward: As ``DirectCalls.run`` and ``Forwarder.start``, for calls that were admitted otherwise.
    """

    side: Literal["hub", "worker"] = "hub"

    def __init__(self, store: SessionStore, registry: ToolRegistry) -> None:
        self.settings = store.settings
        self._store = store
        self._registry = registry
        self._runner = ToolRunner(self.settings, self._runtime_of)
        # Makes the runtime of a call that another hub has sent; None: none sends any.
        self.runtime_of_guest: Callable[[HubCall], ToolRuntime] | None = None
        self.admission = Admission(store, registry, self._runner.tasks)
        self.acquire, self.check_size = self.admission.acquire, self._runner.check_size
        self.error_of = self._runner.error_of
        self.local: Backend[HubCall] = self._runner
        self.pools = self._runner.pools
        self.surroundings = self._runner.surroundings
        self._forwarder = Forwarder(self.admission, self.error_of)
        self._direct = DirectCalls(store, self.admission, self._runner, self._forwarder)
        self.try_begin = self._direct.begin
        self.run_directly, self.forward = self._direct.run, self._forwarder.start
        self.error_info_of = self._runner.error_info_of
        # Runs around every call, if set; ``begin`` and ``try_begin`` must not be used then.
        self.middleware: CallMiddleware | None = None

    def _runtime_of(self, call: HubCall) -> ToolRuntime:
        if call.origin is not None and self.runtime_of_guest is not None:
            return self.runtime_of_guest(call)
        return HubRuntime(call, self, self._store)

    def wrap(self, chain: CallNext) -> None:
        """Runs a chain of middleware around every call from now on."""
        self.middleware = CallMiddleware(chain, self)

    async def aclose(self) -> None:
        """Ends orphaned tools."""
        await self._runner.aclose()

    def abandon(self) -> None:
        """Frees what was left in an event loop that has ended."""
        self._runner.abandon()

    @property
    def threads_busy(self) -> int:
        """Number of threads that run a tool, including orphaned ones."""
        return self._runner.threads_busy

    @property
    def processes_busy(self) -> int:
        """Number of processes that run a tool."""
        return self._runner.processes_busy

    @property
    def processes_replaced(self) -> int:
        """Number of processes that were replaced because of their age."""
        return self._runner.processes_replaced

    def spec_of(self, session_id: str, tool_id: str) -> ToolSpec | None:
        """Returns the spec of a tool that a session sees; None if there is none, and the call will fail."""
        try:
            return self._registry.find(self._store.find(session_id), tool_id).spec
        except NotFoundError:
            return None

    def told(self, call: HubCall, event: Progress | LogRecord) -> None:
        """Handles progress and log records of a tool in this process; from any thread."""
        if isinstance(event, Progress):
            call.progress = event
        observer = self.admission.observer
        if observer is not None:
            observer.told(call, event)

    # -------------------------------------------------------------------------------------------------- calls

    def execute(self, request: ToolCallRequest, context: RequestContext = LOCAL) -> Coroutine[Any, Any, Any]:
        """Runs one call; every failure becomes an answer.

        Args:
            request: The call.
            context: Its deadline can only shorten that of the call. With a parent, the call shares the parent's permit
                and deadline.

        Returns:
            A coroutine that returns the ToolCallResponse, or its bytes if the context has the payload.

        Raises (when it is awaited):
            asyncio.CancelledError: The caller cancelled the call.
        """
        if request.context:
            _drop_reserved(request, context)
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
        """Starts one call for a caller that takes a callback.

        Args:
            request: The call, from outside.
            context: The context, with the request's payload.
            done: Called later with the answer, as from ``execute``, or with the CancelledError.

        Returns:
            The forwarded call if it waits only for its outcome; ``cancel`` ends it. Otherwise a coroutine, as from
            ``execute``, and ``done`` is not called.
        """
        if request.context:
            _drop_reserved(request, context)
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
            return self._refused(request, response, context, error, began)
        if tool.backend is not None and tool.rate is None and not session.caching:
            forwarded = self._forwarder.start(call, tool.backend, request, context, done)
            if forwarded is not None:
                return forwarded
        return self.run(request, response, context, session.id, call)

    async def _refused(
        self,
        request: ToolCallRequest,
        response: ToolCallResponse,
        context: RequestContext,
        error: ToolBridgeError,
        began: int,
    ) -> ToolCallResponse:
        response.error.CopyFrom(error_info(error))
        duration_us = (time.perf_counter_ns() - began) // 1_000
        self._note_failed(request, response, context, request.session_id, response.request_id, duration_us)
        set_duration(response.metrics, duration_us)
        return response

    def _note_failed(
        self,
        request: ToolCallRequest | ToolCallItem,
        answer: ToolCallResponse | ToolCallResult,
        context: RequestContext,
        session_id: str,
        request_id: str,
        duration_us: int,
        *,
        was_counted: bool = False,
        ran: bool = False,
    ) -> None:
        """Gives a failed call an id, and tells of it unless it was counted and so is told of at its end.

        Of one that ``ran`` and whose answer could not be kept, only the log is told.
        """
        request_id = request_id or new_request_id()
        if isinstance(answer, ToolCallResponse):
            answer.request_id = request_id
        if not was_counted:
            audited = None if ran else context
            self.admission.refused(request, audited, session_id, request_id, answer.error, duration_us)

    async def _execute_once(self, request: ToolCallRequest, context: RequestContext) -> ToolCallResponse:
        """Runs a call that has an idempotency key, or returns the answer that its key has already."""
        began = time.monotonic()
        # Waiting for another call with this key counts against the call's own deadline.
        request = whole(request)
        ends = [began + request.timeout_ms / 1000] if request.timeout_ms > 0 else []
        if context.deadline is not None:
            ends.append(context.deadline)
        if context.parent is not None:
            ends.append(context.parent.deadline)
        end = min(ends, default=None)
        context.payload = b""

        ran = False

        async def call() -> ToolCallResponse:
            nonlocal ran
            ran = True
            response = ToolCallResponse(request_id=request.request_id)
            within = context.within(end)
            await self.run(request, response, within, request.session_id, None, request.request_id)
            return response

        try:
            check_request(request)
            session = self._store.find(request.session_id)
            tool = self._store.tool_of(session, request.tool_id)
            self.admission.check_keyed(session, tool, request, context)
            keyed = self._keyed(session)
            until = began + (session.call_timeout or self.settings.call_timeout) if end is None else end
            again = tool is not None and tool.spec.idempotent
            try:
                caller = caller_of(context)
                name = "" if caller is None else caller.name
                answer = await keyed.run(request, call, until=until, again=again, caller=name)
            except asyncio.CancelledError:
                if not ran:
                    self._audit_kept(request, context, began, ErrorInfo())
                raise
            except ConflictError as error:
                if tool is None and error.details.get("outcome") == "unknown":
                    # Whether it may run again is known once whoever offers it is back.
                    raise self._registry.not_found(session, request.tool_id) from None
                raise
            if not ran:
                self._audit_kept(request, context, began, None)
        except ToolBridgeError as error:
            answer = ToolCallResponse(request_id=clip(request.request_id), error=error_info(error))
            duration_us = int((time.monotonic() - began) * 1_000_000)
            self._note_failed(request, answer, context, request.session_id, answer.request_id, duration_us, ran=ran)
        return answer

    def _keyed(self, session: Session) -> KeyedCalls:
        if session.keyed is None:
            memory = self._store.memory_of(session)
            session.keyed = KeyedCalls(session.id, self.settings, memory, self._store.durable)
        return session.keyed

    def _audit_kept(
        self, request: ToolCallRequest, context: RequestContext, began: float, error: ErrorInfo | None
    ) -> None:
        """Audits a call with an idempotency key that did not run: another one with its key has, or does."""
        if self.admission.audit is not None:
            duration_us = int((time.monotonic() - began) * 1_000_000)
            self.admission.audit.unopened(
                request,
                context,
                session_id=request.session_id,
                request_id=clip(request.request_id),
                error=error,
                duration_us=duration_us,
            )

    async def run(
        self,
        request: ToolCallRequest | ToolCallItem,
        answer: ToolCallResponse | ToolCallResult,
        context: RequestContext,
        session_id: str,
        made: HubCall | None = None,
        request_id: str = "",
    ) -> Any:
        """Runs one call and fills in its answer: the result or the error, and the metrics.

        Other arguments as for ``execute``; ``made`` is the call if it exists already, else a new one gets
        ``request_id``.

        Returns:
            The answer, or its bytes if the context has the payload and the backend returned bytes.
        """
        began = time.perf_counter_ns()
        call: HubCall | None = None
        permits: Permits = ()
        outcome: object = answer
        payload, context.payload = context.payload, b""
        try:
            # ByteSize() is expensive: protobuf serializes the whole request.
            size = context.size or (0 if context.admitted else request.ByteSize())
            if made is None:
                made = self._make(request, context, session_id, size)
                made.request_id = request_id
            self.admission.enter(made, context, size, request)
            call = made
            entry = self.cache_entry(call, whole(request)) if call.session.caching else None
            if self.middleware is not None:
                await self.middleware.call(call, request, answer, payload, size)
            elif entry is None or not entry.fill(answer):
                as_bytes = bool(payload) and entry is None
                backend = call.tool.backend or self.local
                preparing = backend.prepare(call, request, payload, size)
                # A waiting call need not hold the bytes as well.
                payload = b""
                if preparing is not None:
                    await preparing
                permits = await self.admission.acquire(call)
                outcome = await backend.call(call, request, answer, as_bytes=as_bytes) or answer
                if outcome is not answer:
                    return outcome if answer.success else _named(call, cast("Payload", outcome))
                if entry is not None and answer.success:
                    entry.keep(answer)
        except BaseException as failure:  # noqa: BLE001 - every failure is an answer
            answer.success = False
            answer.error.CopyFrom(await self._runner.error_info_of(failure, call))
        finally:
            if call is not None:
                self.admission.end(call, permits, ok=answer.success, outcome=outcome)
        duration_us = (time.perf_counter_ns() - began) // 1_000
        if not answer.success:
            request_id = request_id if call is None else call.identify()
            counted = call is not None
            self._note_failed(request, answer, context, session_id, request_id, duration_us, was_counted=counted)
        set_duration(answer.metrics, duration_us)
        return answer

    def _make(
        self, request: ToolCallRequest | ToolCallItem, context: RequestContext, session_id: str, size: int
    ) -> HubCall:
        session, tool = self.admission.find(session_id, request, context, size)
        # An item of a batch has no timeout of its own.
        return self.admission.make(session, tool, context, timeout_ms=getattr(request, "timeout_ms", 0))

    def cache_entry(self, call: HubCall, request: ToolCallRequest | ToolCallItem) -> CacheEntry | None:
        """Returns the cache entry for the result of a call; None if the tool is not idempotent."""
        session = call.session
        # A kept result would answer calls that nobody has approved.
        if not call.tool.spec.idempotent or call.tool.needs_approval:
            return None
        if session.cache is None:
            session.cache = ResultCache(self.settings, self._store.memory_of(session))
        return session.cache.entry(call.tool, request, call.principal, call.via)

    # ------------------------------------------------------------------------------------------------ streams

    async def stream(
        self, request: ToolStreamRequest, context: RequestContext = LOCAL, made: HubCall | None = None
    ) -> AsyncGenerator[Any, None]:
        """Runs one stream: yields a chunk for each value, then exactly one ``complete`` or ``error``.

        Arguments as for ``execute``, and ``made`` as for ``run``; if the context has the payload, chunks may be bytes.
        The tool is paused while the reader takes no chunk.
        """
        began = time.perf_counter_ns()
        stream_id = clip(request.stream_id) or uuid.uuid4().hex
        call: HubCall | None = None
        error: ErrorInfo | None = None
        sequence = sent = 0
        permits: Permits = ()
        payload = _taken_payload(request, context)
        try:
            size = context.size or request.ByteSize()
            if made is None:
                session, tool = self.admission.find(request.session_id, request, context, size)
                default = self.settings.stream_timeout
                made = self.admission.make(session, tool, context, timeout_ms=request.timeout_ms, default=default)
            made.request_id = clip(request.stream_id)
            self.admission.enter(made, context, size, request)
            call = made
            # A stream that waits only for its reader is never armed, which would enter its session.
            call.enter_session()
            if request.stream_id:
                # Every chunk carries it.
                check_name(request.stream_id, "a stream id")
            else:
                request.stream_id = stream_id
                if call.tool.backend is None or self.middleware is not None:
                    # Otherwise a worker makes its own, which the hub knows.
                    call.request_id = stream_id
            opening = self._open_stream(call, request, payload, size)
            payload = b""
            source, permits = await opening
            async with aclosing(source) as chunks:
                async for chunk in chunks:
                    yield chunk
                    sequence += 1
                    sent += isinstance(chunk, Payload) or chunk.HasField("data")
            error = call.error
        except BaseException as failure:  # noqa: BLE001 - every failure is an answer
            error = await self._runner.error_info_of(failure, call)
        finally:
            if call is not None:
                self.admission.end(call, permits, ok=error is None, streamed=True, outcome=error)
        duration_us = (time.perf_counter_ns() - began) // 1_000
        if call is None and error is not None:
            self.admission.refused(request, context, request.session_id, stream_id, error, duration_us)
        if call is not None:
            if call.last_chunk is not None:
                yield call.last_chunk
                return
            stream_id = call.identify()
        yield last_chunk(stream_id, sequence, sent=sent, error=error, duration_us=duration_us)

    async def _open_stream(
        self, call: HubCall, request: ToolStreamRequest, payload: Payload, size: int
    ) -> tuple[AsyncGenerator[ToolStreamChunk | Payload, None], Permits]:
        """Prepares a stream; returns its chunks without the last, and the permits that it has acquired."""
        if self.middleware is not None:
            return counted(call.quota, self.middleware.stream(call, request, payload, size)), ()
        backend = call.tool.backend or self.local
        preparing = backend.prepare(call, request, payload, size)
        as_bytes, payload = bool(payload), b""
        if preparing is not None:
            await preparing
        permits = await self.admission.acquire(call)
        return counted(call.quota, backend.stream(call, request, as_bytes=as_bytes)), permits


def _drop_reserved(request: ToolCallRequest, context: RequestContext) -> None:
    """Removes what a client must not say in the metadata of a call, and the bytes of the request that say it."""
    if drop_reserved(request.context):
        context.payload = b""


def _taken_payload(request: ToolStreamRequest, context: RequestContext) -> Payload:
    """Takes the bytes of a request out of its context; none if they say what a client must not say."""
    payload, context.payload = context.payload, b""
    return b"" if request.context and drop_reserved(request.context) else payload


def _named(call: HubCall, answer: Payload) -> Payload:
    """Returns a worker's answer with the id of its call; the worker repeats one that the caller gave."""
    return answer if call.request_id else with_id(call.identify(), answer)
