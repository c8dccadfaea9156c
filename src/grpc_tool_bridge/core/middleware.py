"""The middleware of a hub or a worker: runs its chain around each call, stream and item of a batch, nested ones too.

The chain is inside of the call: it was admitted and is counted, and its deadline and its cancellation end middleware
that waits. The innermost step of the chain prepares the request, waits for permits and runs the backend, so that
middleware sees what those refuse, too.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Literal, Protocol

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.forwarded import with_id
from grpc_tool_bridge.core.interfaces import Backend
from grpc_tool_bridge.core.limits import Permits, release
from grpc_tool_bridge.core.result_cache import CacheEntry
from grpc_tool_bridge.errors import (
    CallCancelledError,
    ProtocolError,
    SerializationError,
    ToolBridgeError,
    error_from_info,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.buffers import Payload, joined
from grpc_tool_bridge.rpc.large_messages import LargeValue, whole
from grpc_tool_bridge.rpc.nodes import is_slow, read_message
from grpc_tool_bridge.runner.calls import Call
from grpc_tool_bridge.tools.middleware import CallKind, CallNext, EncodedValue, ToolCall, checked_iterator
from grpc_tool_bridge.values.arguments import pack_argument
from grpc_tool_bridge.values.offload import in_reader, outside_loop, read_value, written
from grpc_tool_bridge.values.scalars import SCALARS
from grpc_tool_bridge.values.serialization import deserialize_value

Request = ToolCallRequest | ToolStreamRequest
# An argument or a result, as it was encoded.
Encoded = AnyMessage | LargeValue


class Work(Protocol):
    """What runs the calls inside of the chain: the executor, or the service of a worker.

    Attributes:
        local: Runs the tools of this process.
        settings: Limits of values.
        side: Of the calls, as for ``ToolCall``.
    """

    local: Backend[Any]
    settings: Settings
    side: Literal["hub", "worker"]

    def acquire(self, call: Any, /) -> Awaitable[Permits]:
        """Waits for the permits of a call."""
        ...

    def check_size(self, what: str, size: int, /) -> None:
        """Raises MessageTooLargeError for what is too large for a message."""

    def error_info_of(self, failure: BaseException, call: Any, /) -> Awaitable[ErrorInfo]:
        """As in ``ToolRunner``."""

    def cache_entry(self, call: Any, request: ToolCallRequest) -> CacheEntry | None:
        """Returns the cache entry for the result of a call; None if results of its tool are not kept."""


class CallMiddleware:
    """Runs the chain around calls.

    Args:
        chain: The chain.
        work: Runs the calls inside of it.
    """

    def __init__(self, chain: CallNext, work: Work) -> None:
        self._chain = chain
        self._work = work

    async def call(
        self, call: Any, request: Any, answer: ToolCallResponse | ToolCallResult, payload: Payload, size: int
    ) -> None:
        """Runs a call and fills in its answer.

        Args:
            call: The call, which is counted: the hub's, or a worker's.
            request: Its request.
            answer: Gets the result.
            payload: The request's bytes; empty if the transport has none.
            size: Bytes of the request; 0 if not known.

        Raises:
            BaseException: Any exception; it becomes the call's error.
        """
        made = ServedToolCall(call, request, payload, size, self._work)
        try:
            result = await _within(call, self._run(made))
            call.refuse_late()
            encoded = await made.written(result)
        finally:
            made.leave()
        self._work.check_size(f"the result of {call.tool.name}", len(encoded.value))
        answer.result.CopyFrom(encoded)
        answer.metrics.CopyFrom(made.metrics)
        answer.success = True

    async def stream(
        self, call: Any, request: ToolStreamRequest, payload: Payload, size: int
    ) -> AsyncGenerator[ToolStreamChunk, None]:
        """Runs a stream; yields all its chunks except the last. Arguments and errors as for ``call``."""
        made = ServedToolCall(call, request, payload, size, self._work)
        try:
            if request.config.include_events:
                # Middleware may read values, and so meet events, before it returns.
                source = made.with_events(self._values(made))
            else:
                source = made.steps(checked_iterator(made, await _within(call, self._run(made))))
            sequence = 0
            async with aclosing(source) as each:
                async for event, value in each:
                    chunk = ToolStreamChunk(stream_id=request.stream_id, sequence=sequence)
                    if event is not None:
                        chunk.metadata.CopyFrom(event.metadata)
                    else:
                        chunk.data.CopyFrom(await made.written(value))
                        self._work.check_size(f"a value of {call.tool.name}", len(chunk.data.value))
                    yield chunk
                    sequence += 1
                    call.check()
            call.refuse_late()
        finally:
            await made.aclose()

    async def _run(self, made: "ServedToolCall") -> Any:
        return await self._chain(made)

    async def _values(self, made: "ServedToolCall") -> AsyncGenerator[Any, None]:
        values = checked_iterator(made, await self._run(made))
        try:
            async for value in values:
                yield value
        finally:
            await _close(values)


class ServedToolCall(ToolCall):
    """A call that the hub or a worker runs, as its middleware sees it.

    Args:
        call: The call.
        request: Its request.
        payload: The request's bytes, which are forwarded if nothing changes; empty if there are none.
        size: Bytes of the request; 0 if not known.
        work: Runs the call.

    Attributes:
        metrics: Those of the answer.
    """

    def __init__(self, call: Any, request: Any, payload: Payload, size: int, work: Work) -> None:
        if isinstance(request, ToolCallItem):
            kind: CallKind = "batch"
            request = ToolCallRequest(
                session_id=call.session.id, tool_id=request.tool_id, args=request.args, kwargs=request.kwargs
            )
        else:
            kind = "stream" if isinstance(request, ToolStreamRequest) else "call"
        if call.parent is not None:
            kind = "agent" if call.parent.run_id else "nested"
        elif call.depth:
            # A worker does not know the calls above it.
            kind = "nested"
        super().__init__(
            spec=call.tool.spec,
            session_id=call.session.id,
            request_id=call.identify(),
            parent_id=call.parent.identify() if call.parent is not None else "",
            metadata=call.metadata_of(request),
            timeout=call.deadline - call.opened_at,
            kind=kind,
            is_stream=isinstance(request, ToolStreamRequest),
            idempotency_key=getattr(request, "idempotency_key", ""),
            side=work.side,
            principal=call.principal,
            via=call.via,
        )
        self.metrics = ToolCallResponse().metrics
        self._call = call
        self._request = request
        self._payload = payload
        self._size = size
        self._work = work
        self._metadata_before = dict(self.metadata)
        # The decoded arguments, as they were; None before they are read.
        self._given: tuple[list[Any], dict[str, Any]] | None = None
        self._permits: list[Permits] = []
        # The last decoded result, and as it was encoded.
        self._result: tuple[Any, AnyMessage] | None = None
        # The generator that ``proceed`` has returned last; the task in which the call runs; and whether all is over.
        self._values: Any = None
        self._running: asyncio.Task[Any] | None = None
        self._is_over = False
        # An event of the tool that was not sent yet; and who waits for one, and for that it is sent.
        self._events: deque[ToolStreamChunk] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None

    # ------------------------------------------------------------------------------------------------ arguments

    @property
    def args(self) -> list[Any]:
        """See ``ToolCall``."""
        self._decode()
        return self._args

    @args.setter
    def args(self, args: Any) -> None:
        self._decode()
        self._set_args(args)

    @property
    def kwargs(self) -> dict[str, Any]:
        """See ``ToolCall``."""
        self._decode()
        return self._kwargs

    @kwargs.setter
    def kwargs(self, kwargs: Mapping[str, Any]) -> None:
        self._decode()
        self._set_kwargs(kwargs)

    async def read_arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """See ``ToolCall``."""
        values = (*self._request.args, *self._request.kwargs.values())
        if self._given is None and any(is_slow(value.type_url, value.value) for value in values):
            self._take(await self._call.step(in_reader(self._decoded)))
            self._call.set_in_tool(inside=self._call.armed)
        return self.args, self.kwargs

    def _decode(self) -> None:
        if self._given is None:
            self._take(self._decoded())

    def _take(self, decoded: tuple[list[Any], dict[str, Any]]) -> None:
        self._given = decoded
        args, kwargs = decoded
        self._args, self._kwargs = list(args), dict(kwargs)

    def _decoded(self) -> tuple[list[Any], dict[str, Any]]:
        read = partial(deserialize_value, max_depth=self._depth, max_nodes=self._nodes)
        return [read(value) for value in self._request.args], {
            name: read(value) for name, value in self._request.kwargs.items()
        }

    async def _changed_request(self) -> tuple[Any, Payload]:
        """Returns the request with what middleware has changed, and its bytes if nothing was."""
        self.check_changes()
        metadata = self.metadata if self.metadata != self._metadata_before else None
        values = None if self._given is None else await outside_loop(self._encoded_arguments)
        if metadata is None and values is None:
            # The hub may have made the id.
            if self._payload:
                return self._request, with_id(self.request_id, self._payload)
            _name(self._request, self.request_id)
            return self._request, b""
        original = whole(self._request)
        request: Request = type(original)()
        request.CopyFrom(original)
        _name(request, self.request_id)
        if values is not None:
            args, kwargs = values
            del request.args[:]
            request.args.extend(args)
            request.kwargs.clear()
            for name, value in kwargs.items():
                request.kwargs[name].CopyFrom(value)
        if metadata is not None:
            # It has that of the session, too, if middleware has left it.
            self._call.adds_metadata = False
            request.context.clear()
            request.context.update(metadata)
        return request, b""

    def _encoded_arguments(self) -> tuple[list[AnyMessage], dict[str, AnyMessage]] | None:
        """Returns the arguments, encoded; None if none has changed. One that has not is sent as it came."""
        assert self._given is not None  # noqa: S101 - as the caller has checked
        before, before_named = self._given
        same = len(before) == len(self._args) and before_named.keys() == self._kwargs.keys()
        args: list[AnyMessage] = []
        kwargs: dict[str, AnyMessage] = {}
        for place, value in enumerate(self._args):
            if place < len(before) and _is_unchanged(value, before[place]):
                args.append(_message(self._request.args[place]))
            else:
                same = False
                args.append(self._packed(value, place))
        for name, value in self._kwargs.items():
            if name in before_named and _is_unchanged(value, before_named[name]):
                kwargs[name] = _message(self._request.kwargs[name])
            else:
                same = False
                kwargs[name] = self._packed(value, name)
        return None if same else (args, kwargs)

    def _packed(self, value: Any, which: int | str) -> AnyMessage:
        type_url, payload = pack_argument(value, which, self.spec, max_depth=self._depth)
        return AnyMessage(type_url=type_url, value=joined(payload))

    # ------------------------------------------------------------------------------------------------- the call

    async def proceed(self) -> Any:
        """Runs the call, and returns its result; for a stream, an iterator of its values.

        Raises:
            ToolExecutionError: It failed, as its caller would be told.
            ProtocolError: Another one runs, or the iterator of an earlier one has not ended.
        """
        answer = ToolCallResponse()
        self._enter()
        try:
            self._call.check()
            request, payload = await self._changed_request()
            if self.is_stream:
                await self._prepare(request, payload)
                self._values = self._iterate(request)
                return self._values
            await self._execute(request, payload, answer)
        except BaseException as failure:
            if self._is_over:
                raise
            raise await self._error_of(failure) from failure
        finally:
            self._back_in_middleware()
        if not answer.success:
            raise error_from_info(answer.error, self.tool)
        self.metrics.CopyFrom(answer.metrics)
        return await self._read(answer.result)

    def _back_in_middleware(self) -> None:
        self._running = None
        if not self._is_over:
            # The steps of the call inside have ended, and middleware is what its end has to cancel.
            self._call.set_in_tool(inside=self._call.armed)

    def _enter(self) -> None:
        """Notes that the call runs from now on; all of its runs share one call of the hub, so only one can."""
        if self._is_over:
            raise CallCancelledError(
                f"{self.tool} was answered already; middleware must await call_next and its result"
            )
        if self._running is not None:
            raise ProtocolError(f"middleware called call_next of {self.tool} while it runs; await it first")
        if self._values is not None and self._values.ag_frame is not None:
            raise ProtocolError(
                f"middleware called call_next of {self.tool} before the end of the iterator that it has returned; read "
                "all of it or close it with aclose() first"
            )
        self.release()
        self._running = asyncio.current_task()

    async def _execute(self, request: Any, payload: Payload, answer: ToolCallResponse) -> None:
        call = self._call
        entry = self._work.cache_entry(call, whole(request)) if call.session.caching else None
        if entry is not None and entry.fill(answer):
            return
        await self._prepare(request, payload)
        try:
            await self._backend.call(call, request, answer, as_bytes=False)
        finally:
            self.release()
        if entry is not None and answer.success:
            entry.keep(answer)

    async def _prepare(self, request: Any, payload: Payload) -> None:
        """Prepares the request and waits for the permits; middleware may do so again, to try again."""
        preparing = self._backend.prepare(self._call, request, payload, self._size)
        if preparing is not None:
            await preparing
        self._permits.append(await self._work.acquire(self._call))

    async def _iterate(self, request: ToolStreamRequest) -> AsyncGenerator[Any, None]:
        """Yields the values of a stream; its events are sent meanwhile."""
        call = self._call
        self._running = asyncio.current_task()
        try:
            async with aclosing(self._backend.stream(call, request, as_bytes=False)) as chunks:
                async for chunk in chunks:
                    message = chunk if isinstance(chunk, ToolStreamChunk) else read_message(ToolStreamChunk, chunk, "")
                    call.set_in_tool(inside=call.armed)
                    if message.HasField("data"):
                        value = await self._read(message.data)
                        self._running = None
                        yield value
                        self._running = asyncio.current_task()
                    elif self._wake is not None:
                        await self._pass_on(message)
        except GeneratorExit:
            raise
        except BaseException as failure:
            if self._is_over:
                raise
            raise await self._error_of(failure) from failure
        finally:
            self._back_in_middleware()
            self.release()
        # The executor makes the last chunk.
        error, call.last_chunk, call.error = call.error, None, None
        if error is not None:
            raise error_from_info(error, self.tool)

    async def _error_of(self, failure: BaseException) -> ToolBridgeError:
        """Returns the error that the caller of the failed call would get; raises a cancellation from outside again."""
        return error_from_info(await self._work.error_info_of(failure, self._call), self.tool)

    async def _read(self, encoded: AnyMessage) -> Any:
        try:
            value = await read_value(encoded, max_depth=self._depth, max_nodes=self._nodes)
        except SerializationError:
            value = EncodedValue(encoded)
        self._result = value, encoded
        return value

    async def written(self, result: Any) -> AnyMessage:
        """Returns a result, encoded: as it came if it is the one that ``proceed`` has returned."""
        if isinstance(result, EncodedValue):
            return result.encoded
        if self._result is not None and _is_unchanged(result, self._result[0]):
            return self._result[1]
        return await written(result, max_depth=self._depth, max_nodes=self._nodes)

    def release(self) -> None:
        """Releases the permits."""
        while self._permits:
            release(self._permits.pop())

    def leave(self) -> None:
        """Ends what middleware has left running, and releases the permits."""
        self._is_over = True
        if self._running is not None and self._running is not asyncio.current_task():
            self._running.cancel()
        self.release()

    async def aclose(self) -> None:
        """As ``leave``; ends the iterator that ``proceed`` has returned, too."""
        try:
            # One that a task of middleware reads ends with what that task waits for.
            if self._values is not None and not self._values.ag_running:
                await self._values.aclose()
        finally:
            self.leave()

    @property
    def _backend(self) -> Backend[Any]:
        backend: Backend[Any] = self._call.tool.backend or self._work.local
        return backend

    @property
    def _depth(self) -> int:
        return self._work.settings.max_depth

    @property
    def _nodes(self) -> int:
        return self._work.settings.max_message_nodes

    # --------------------------------------------------------------------------------------------- its iterators

    async def steps(self, values: AsyncIterator[Any]) -> AsyncGenerator[tuple[None, Any], None]:
        """Yields what middleware yields, each after None in the place of an event."""
        try:
            while (found := await _within(self._call, _next_of(values))) is not None:
                yield None, found[0]
        finally:
            await _close(values)

    async def with_events(self, values: AsyncIterator[Any]) -> AsyncGenerator[tuple[ToolStreamChunk | None, Any], None]:
        """Yields what middleware yields, as ``steps``, and each event of the tool as soon as it arrives."""
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        waiting = loop.create_task(_next_of(values))
        try:
            while True:
                self._wake = loop.create_future()
                if not self._events and not waiting.done():
                    waiting.add_done_callback(self._awake)
                    await _within(self._call, _wait_for(self._wake))
                if self._events:
                    yield self._events.popleft(), None
                    if self._taken is not None and not self._taken.done():
                        self._taken.set_result(None)
                elif waiting.done():
                    found = waiting.result()
                    if found is None:
                        return
                    yield None, found[0]
                    waiting = loop.create_task(_next_of(values))
        finally:
            waiting.cancel()
            with suppress(BaseException):
                await waiting
            await _close(values)

    async def _pass_on(self, event: ToolStreamChunk) -> None:
        """Has an event sent, and waits until it was taken."""
        self._taken = asyncio.get_running_loop().create_future()
        self._events.append(event)
        self._awake()
        await self._taken

    def _awake(self, _: object = None) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


def _name(request: Any, request_id: str) -> None:
    """Sets the id of a request."""
    if isinstance(request, ToolStreamRequest):
        request.stream_id = request_id
    else:
        request.request_id = request_id


async def _within(call: Call, work: Coroutine[Any, Any, Any]) -> Any:
    """Runs middleware as a step of its call, whose end cancels it."""
    try:
        return await call.step(work)
    finally:
        call.set_in_tool(inside=False)


async def _wait_for(wake: "asyncio.Future[None]") -> None:
    await wake


async def _next_of(values: AsyncIterator[Any]) -> tuple[Any] | None:
    """Returns the next value in a tuple; None at the end."""
    try:
        return (await anext(values),)
    except StopAsyncIteration:
        return None


async def _close(values: Any) -> None:
    close = getattr(values, "aclose", None)
    if close is not None:
        await close()


def _is_unchanged(value: Any, before: Any) -> bool:
    """Returns whether a value is one that was decoded before, and can only be replaced, not changed in place."""
    return value is before and type(value) in SCALARS


def _message(value: Encoded) -> AnyMessage:
    return value.message() if isinstance(value, LargeValue) else value
