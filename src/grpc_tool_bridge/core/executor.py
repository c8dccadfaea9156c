"""The one call path: find, check, admit, run, measure, answer.

Whatever edge or transport a call came by, it goes this way. The steps are plain code, not a chain of objects: at some
ten microseconds a call, the calls between layers would be most of the cost.
"""

import asyncio
import functools
import logging
import time
import types
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from google.protobuf import any_pb2

from grpc_tool_bridge.context import ToolContext
from grpc_tool_bridge.core.calls import Call
from grpc_tool_bridge.core.events import Event, EventStream
from grpc_tool_bridge.core.idempotency import KeyedCalls
from grpc_tool_bridge.core.limits import Places
from grpc_tool_bridge.core.registered import RegisteredTool
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.runtime import HubRuntime
from grpc_tool_bridge.core.sessions import Session, SessionStore
from grpc_tool_bridge.core.threads import ToolThreads
from grpc_tool_bridge.core.variables import check_name, clip
from grpc_tool_bridge.core.waiters import Waiters
from grpc_tool_bridge.errors import (
    CallCancelledError,
    MessageTooLargeError,
    SerializationError,
    SessionExpiredError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
    error_info,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    CompleteSignal,
    ErrorInfo,
    ExecutionMetrics,
    Progress,
    StreamMetadata,
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.tasks import TaskSet
from grpc_tool_bridge.wire.values import deserialize_value, pack_value

# Tools that call tools that call tools: each takes some ten frames of Python's stack, which has a thousand.
MAX_NESTED_CALLS = 32

_log = logging.getLogger(__name__)

Request = ToolCallRequest | ToolStreamRequest | ToolCallItem


class _ToolRaised(Exception):  # noqa: N818 - not an error of its own: it carries the tool's through the bridge's code
    """What a tool raised, so that it is not taken for an error of the bridge."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class Executor:
    """Runs calls.

    Args:
        store: The sessions.
        registry: The tools.
    """

    def __init__(self, store: SessionStore, registry: ToolRegistry) -> None:
        self.settings = store.settings
        self.draining = False
        self.active = 0
        self._store = store
        self._registry = registry
        self._threads = ToolThreads(self.settings.max_threads)
        self._tasks = TaskSet()
        self._ends = Waiters()

    async def aclose(self) -> None:
        """Ends what cancelled calls left behind."""
        await self._tasks.aclose()

    @property
    def threads_busy(self) -> int:
        """Threads that run a tool now, those left behind included."""
        return self._threads.busy

    async def idle(self) -> None:
        """Waits until no call runs."""
        while self.active:
            await self._ends.wait()

    async def session_idle(self, session: Session) -> None:
        """Waits until no call of ``session`` runs or waits for a place."""
        while session.active:
            await self._ends.wait()

    def _end(self, call: Call | None, held: Sequence[Places]) -> None:
        if call is not None:
            call.disarm()
        for places in held:
            places.release()
        self.ended()

    def ended(self) -> None:
        """Counts the end of a call or a batch."""
        self.active -= 1
        self._ends.wake()

    def check_size(self, what: str, size: int) -> None:
        """Raises MessageTooLargeError where ``size`` bytes are over the limit of a message."""
        if size > self.settings.max_message_bytes:
            raise MessageTooLargeError.of(what, size, self.settings.max_message_bytes)

    # -------------------------------------------------------------------------------------------------- calls

    async def execute(
        self, request: ToolCallRequest, *, deadline: float | None = None, parent: Call | None = None, size: int = 0
    ) -> ToolCallResponse:
        """Runs one call and answers it, whatever happens.

        Args:
            request: The call.
            deadline: Of the transport, on the monotonic clock; it can only shorten the call's.
            parent: The call whose tool makes this one; it gives its place, and its deadline holds.
            size: Of the request in bytes, where the transport knows it; to find out, protobuf writes all of it.

        Raises:
            asyncio.CancelledError: The caller has gone.
        """
        if request.idempotency_key:
            return await self._execute_once(request, deadline, size)
        response = ToolCallResponse()
        if request.request_id:
            response.request_id = request.request_id
        await self.run(
            request.session_id,
            request,
            response,
            timeout_ms=request.timeout_ms,
            deadline=deadline,
            parent=parent,
            size=size,
        )
        return response

    async def _execute_once(self, request: ToolCallRequest, deadline: float | None, size: int) -> ToolCallResponse:
        """Runs a call that has an idempotency key, or answers as it was answered before."""

        async def call() -> ToolCallResponse:
            response = ToolCallResponse(request_id=request.request_id)
            await self.run(
                request.session_id, request, response, timeout_ms=request.timeout_ms, deadline=deadline, size=size
            )
            return response

        patience = request.timeout_ms / 1000 if request.timeout_ms > 0 else self.settings.call_timeout
        if deadline is not None:
            patience = min(patience, deadline - time.monotonic())
        try:
            session = self._store.find(request.session_id)
            if session.keyed is None:
                session.keyed = KeyedCalls(self.settings)
            return await session.keyed.run(request, call, patience=patience)
        except ToolBridgeError as error:
            return ToolCallResponse(request_id=request.request_id, error=error_info(error))

    async def run(
        self,
        session_id: str,
        request: ToolCallRequest | ToolCallItem,
        answer: ToolCallResponse | ToolCallResult,
        *,
        timeout_ms: int = 0,
        deadline: float | None = None,
        parent: Call | None = None,
        in_batch: bool = False,
        size: int = 0,
    ) -> None:
        """Runs one call and fills its answer in: the result or the error, and what it took.

        Other arguments as of ``execute``. A call ``in_batch`` belongs to a request that was let in already, as one with
        a parent does.
        """
        began = time.perf_counter_ns()
        tool: RegisteredTool | None = None
        call: Call | None = None
        held: Sequence[Places] = ()
        self.active += 1
        try:
            within_another = parent is not None or in_batch
            session = self._store.find(session_id) if within_another else self.let_in(session_id)
            tool = self._find(session, request, size)
            tool.metrics.active += 1
            call = self._call(session, tool, timeout_ms, self.settings.call_timeout, deadline, parent)
            args, kwargs = self._arguments(tool, request)
            held = await self._admit(call)
            value = await self._invoke(call, request, args, kwargs)
            call.refuse_late()
            self._encode(tool, value, answer.result)
            answer.success = True
        except Exception as failure:  # noqa: BLE001 - every failure is an answer
            answer.error.CopyFrom(self._error_of(failure, call))
        except asyncio.CancelledError as cancelled:
            answer.error.CopyFrom(self._cancelled(call, cancelled))
        finally:
            duration_us = (time.perf_counter_ns() - began) // 1_000
            self._end(call, held)
            if tool is not None:
                tool.metrics.active -= 1
                tool.metrics.record(duration_us, ok=answer.success)
        metrics = answer.metrics
        metrics.duration_ms = duration_us // 1_000 + 1
        metrics.duration_us = duration_us

    # ------------------------------------------------------------------------------------------------ streams

    async def stream(
        self, request: ToolStreamRequest, *, deadline: float | None = None, parent: Call | None = None, size: int = 0
    ) -> AsyncGenerator[ToolStreamChunk, None]:
        """Runs one stream: a chunk for each value as it is made, then exactly one ``complete`` or ``error``.

        Arguments as of ``execute``. The tool is held up while the reader takes no chunk.
        """
        began = time.perf_counter_ns()
        stream_id = clip(request.stream_id) or uuid.uuid4().hex
        tool: RegisteredTool | None = None
        call: Call | None = None
        error: ErrorInfo | None = None
        sequence = sent = 0
        held: Sequence[Places] = ()
        self.active += 1
        try:
            session_id = request.session_id
            session = self._store.find(session_id) if parent is not None else self.let_in(session_id)
            tool = self._find(session, request, size)
            tool.metrics.active += 1
            call = self._call(session, tool, request.timeout_ms, self.settings.stream_timeout, deadline, parent)
            args, kwargs = self._arguments(tool, request)
            held = await self._admit(call)
            values = self._values(call, request, args, kwargs)
            try:
                async for event, value in values:
                    chunk = ToolStreamChunk(stream_id=stream_id, sequence=sequence)
                    if event is None:
                        self._encode(tool, value, chunk.data)
                        sent += 1
                    else:
                        chunk.metadata.CopyFrom(_event_metadata(event))
                    yield chunk
                    sequence += 1
                    call.check()
            finally:
                await values.aclose()
        except Exception as failure:  # noqa: BLE001 - every failure is an answer
            error = self._error_of(failure, call)
        except asyncio.CancelledError as cancelled:
            error = self._cancelled(call, cancelled)
        finally:
            duration_us = (time.perf_counter_ns() - began) // 1_000
            self._end(call, held)
            if tool is not None:
                tool.metrics.active -= 1
                tool.metrics.record(duration_us, ok=error is None)
        last = ToolStreamChunk(stream_id=stream_id, sequence=sequence)
        if error is not None:
            last.error.CopyFrom(error)
        else:
            metrics = ExecutionMetrics(duration_ms=duration_us // 1_000 + 1, duration_us=duration_us)
            last.complete.CopyFrom(CompleteSignal(total_chunks=sent, metrics=metrics))
        yield last

    async def _values(
        self, call: Call, request: ToolStreamRequest, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> AsyncGenerator[tuple[Event | None, Any], None]:
        """Yields what the tool yields and, where the caller asked for it, what it tells on the way."""
        if request.stream_id:
            # Each chunk carries it.
            check_name(request.stream_id, "a stream id")
        buffer = self._buffer(call.tool, request.config.buffer_size)
        if request.config.include_events:
            events = EventStream(buffer)
            source = self._source(call, request, args, kwargs, buffer=buffer, emit=events)
            merged = events.merge(source, self._tasks)
            try:
                async for item in merged:
                    yield item
            finally:
                await merged.aclose()
            return
        source = self._source(call, request, args, kwargs, buffer=buffer)
        try:
            async for value in source:
                yield None, value
        finally:
            await source.aclose()

    def _buffer(self, tool: RegisteredTool, asked: int) -> int:
        """Values that may wait for the reader: as many as it asks for, at most as many as the hub allows."""
        if asked < 0:
            raise ValidationError(f"{tool.name}: buffer_size is {asked}; it is 0 (the default) or more")
        return min(asked or self.settings.stream_buffer, self.settings.stream_buffer)

    async def _source(
        self,
        call: Call,
        request: Request,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        *,
        buffer: int,
        emit: EventStream | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Yields the values of any local tool; of one that returns, its result."""
        tool = call.tool.tool
        if tool is None or not tool.is_stream:
            yield await self._invoke(call, request, args, kwargs, emit=emit)
            return
        self._give_context(call, request, kwargs, emit)
        function = functools.partial(tool.function, *args, **kwargs)
        values = function() if tool.is_async else self._iterate(call, function, buffer)
        try:
            while True:
                try:
                    value = await call.step(values.__anext__())
                except StopAsyncIteration:
                    return
                except BaseException as error:
                    if call.is_raised_by_tool(error):
                        raise _ToolRaised(error) from error
                    raise
                yield value
        finally:
            await _close(call, values)

    def _iterate(self, call: Call, function: "functools.partial[Any]", buffer: int) -> AsyncGenerator[Any, None]:
        if call.tool.tool is not None and call.tool.tool.executor == "thread":
            return self._threads.iterate(function, buffer)
        return _in_place(function)

    # -------------------------------------------------------------------------------------------- the way in

    def let_in(self, session_id: str) -> Session:
        """Returns the session of a call from outside.

        Raises where the hub or the session takes no new calls; those that run may still make further ones.
        """
        if self.draining:
            raise UnavailableError("the hub is shutting down and takes no new calls; call again when it is back")
        session = self._store.find(session_id)
        if session.closing:
            raise SessionExpiredError(
                f"session {session_id!r} is being removed and takes no new calls; start a new one"
            )
        return session

    def _find(self, session: Session, request: Request, size: int) -> RegisteredTool:
        tool = self._registry.find(session, request.tool_id)
        # The items of a batch were weighed with it.
        if type(request) is not ToolCallItem:
            size = size or request.ByteSize()
            if size > self.settings.max_message_bytes:
                self.check_size(f"the call of {tool.name}", size)
        return tool

    def _call(
        self,
        session: Session,
        tool: RegisteredTool,
        timeout_ms: int,
        default: float,
        deadline: float | None,
        parent: Call | None,
    ) -> Call:
        """Sets the deadline: the caller's, else the tool's, the session's or the hub's; never past an outer one."""
        if parent is not None and parent.over:
            raise CallCancelledError(f"{parent.tool.name} is over for its caller and may call no further tools")
        if parent is not None and parent.depth >= MAX_NESTED_CALLS:
            raise ValidationError(
                f"{tool.name}: {MAX_NESTED_CALLS} tools have called one another already, which is the limit; "
                "see whether one of them calls itself without end"
            )
        if timeout_ms < 0:
            raise ValidationError(f"{tool.name}: timeout_ms is {timeout_ms}; it is 0 (the default) or more")
        seconds = timeout_ms / 1000 if timeout_ms else tool.timeout or session.call_timeout or default
        if tool.timeout is not None and tool.timeout < seconds:
            seconds = tool.timeout
        now = time.monotonic()
        end = now + seconds
        if deadline is not None and deadline < end:
            end = deadline
        if parent is not None and parent.deadline < end:
            end = parent.deadline
        call = Call(session, tool, end, parent=parent, left_behind=self._tasks)
        if end <= now:
            raise call.timeout_error()
        return call

    def _arguments(self, tool: RegisteredTool, request: Request) -> tuple[Sequence[Any], dict[str, Any]]:
        if tool.tool is None:
            raise UnavailableError(f"nobody runs {tool.name} now; it was described, but not offered by a worker")
        depth = self.settings.max_depth
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        which = ""
        try:
            for message in list(request.args):
                args.append(deserialize_value(message, max_depth=depth))  # noqa: PERF401 - its length names what fails
            # Asking an empty map for its items costs five times as much as asking whether it is empty.
            if request.kwargs:
                for which, message in request.kwargs.items():
                    kwargs[which] = deserialize_value(message, max_depth=depth)
        except SerializationError as error:
            named = repr(which) if which else len(args)
            raise SerializationError(f"{tool.name}: argument {named}: {error.message}", details=error.details) from None
        return tool.tool.bind(args, kwargs)

    async def _admit(self, call: Call) -> Sequence[Places]:
        """Counts the call on every limit, waiting for its places; returns those to give back."""
        tool, session = call.tool, call.session
        if tool.rate is not None:
            tool.rate.take(tool.name)
        wanted: list[Places] = []
        if call.parent is None:
            if session.places is None:
                session.places = Places(
                    session.max_calls or self.settings.max_session_calls,
                    self.settings.max_session_waiting,
                    f"session {session.id!r}",
                )
            wanted.append(session.places)
        if tool.places is not None and not _held_above(call):
            wanted.append(tool.places)
        held: list[Places] = []
        try:
            for places in wanted:
                if not places.take_now():
                    await call.step(places.take())
                held.append(places)
        except BaseException:
            for places in held:
                places.release()
            raise
        return held

    # ------------------------------------------------------------------------------------------- the tool itself

    async def _invoke(
        self,
        call: Call,
        request: Request,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        *,
        emit: EventStream | None = None,
    ) -> Any:
        """Runs a local tool to its result; of a streaming tool, the list of what it yields."""
        tool = call.tool.tool
        assert tool is not None  # noqa: S101 - _arguments refused it otherwise
        if tool.is_stream:
            return await self._collect(call, request, args, kwargs)
        if tool.context_parameter is not None:
            self._give_context(call, request, kwargs, emit)
        try:
            if tool.is_async:
                return await call.step(tool.function(*args, **kwargs))
            if tool.executor == "async":
                result = tool.function(*args, **kwargs)
            else:
                result = await call.step(self._threads.run(functools.partial(tool.function, *args, **kwargs)))
            return await call.step(result) if type(result) is types.CoroutineType else result
        except BaseException as error:
            if call.is_raised_by_tool(error):
                raise _ToolRaised(error) from error
            raise

    async def _collect(self, call: Call, request: Request, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
        values: list[Any] = []
        size = 0
        source = self._source(call, request, args, kwargs, buffer=self.settings.stream_buffer)
        try:
            async for value in source:
                size += len(self._pack(call.tool, value)[1])
                self.check_size(f"the result of {call.tool.name}", size)
                values.append(value)
        finally:
            await source.aclose()
        return values

    def _give_context(self, call: Call, request: Request, kwargs: dict[str, Any], emit: EventStream | None) -> None:
        tool = call.tool.tool
        if tool is None or tool.context_parameter is None:
            return
        call.context = ToolContext(
            session_id=call.session.id,
            tool_name=call.tool.name,
            request_id=getattr(request, "request_id", ""),
            metadata=dict(request.context) if not isinstance(request, ToolCallItem) else {},
            deadline=call.deadline,
            loop=asyncio.get_running_loop(),
            runtime=HubRuntime(call, self, self._store),
            emit=emit.emit if emit is not None else None,
        )
        kwargs[tool.context_parameter] = call.context

    # ------------------------------------------------------------------------------------------------- answers

    def _encode(self, tool: RegisteredTool, value: Any, into: any_pb2.Any) -> None:
        into.type_url, into.value = self._pack(tool, value)

    def _pack(self, tool: RegisteredTool, value: Any) -> tuple[str, bytes]:
        try:
            packed = pack_value(value, max_depth=self.settings.max_depth)
        except SerializationError as error:
            raise SerializationError(f"the result of {tool.name}: {error.message}", details=error.details) from None
        if len(packed[1]) > self.settings.max_message_bytes:
            self.check_size(f"the result of {tool.name}", len(packed[1]))
        return packed

    def _error_of(self, failure: Exception, call: Call | None) -> ErrorInfo:
        if isinstance(failure, _ToolRaised):
            if call is not None and call.cause is not None:
                # What the tool raised while it was ended hides what ended it.
                return error_info(call.cause)
            if call is not None and isinstance(failure.error, TimeoutError) and call.deadline <= time.monotonic():
                # A nested call shares the deadline, and may notice first that it has passed.
                return error_info(call.timeout_error())
            return error_info(failure.error, raised_by_tool=True, show_traceback=self.settings.show_tracebacks)
        info = error_info(failure)
        if not isinstance(failure, ToolBridgeError):
            _log.error("fault %s in a call", info.details["error_id"], exc_info=failure)
        return info

    def _cancelled(self, call: Call | None, cancelled: asyncio.CancelledError) -> ErrorInfo:
        """Answers a cancellation that was the call's own or the tool's; one from outside goes on."""
        cause = call.convert() if call is not None else None
        if cause is not None:
            return error_info(cause)
        if call is None or call.cancelled_from_outside():
            raise cancelled
        return error_info(cancelled, raised_by_tool=True, show_traceback=self.settings.show_tracebacks)


async def _in_place(function: "functools.partial[Any]") -> AsyncGenerator[Any, None]:
    """Iterates a generator that promised not to block, giving the loop a turn after each value."""
    generator = function()
    try:
        for value in generator:
            yield value
            await asyncio.sleep(0)
    finally:
        generator.close()


async def _close(call: Call, values: AsyncGenerator[Any, None]) -> None:
    """Lets a tool's generator clean up, within the time that its call has for that."""
    if call.abandoned:
        # It still runs, and is not ours any more.
        return
    try:
        await call.step(values.aclose())
    except asyncio.CancelledError:
        if call.convert() is None:
            raise
    except Exception:  # noqa: BLE001 - the tool's, and nobody waits for it any more
        _log.exception("%s failed in its clean-up", call.tool.name)


def _held_above(call: Call) -> bool:
    above = call.parent
    while above is not None:
        if above.tool is call.tool:
            return True
        above = above.parent
    return False


def _event_metadata(event: Event) -> StreamMetadata:
    metadata = StreamMetadata(key="progress" if isinstance(event, Progress) else "log")
    metadata.value.Pack(event)
    return metadata
